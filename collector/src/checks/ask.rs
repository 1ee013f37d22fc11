//! One question to one service, over the network: is it there, and what does it say. Fails with one sentence that holds no secret; the
//! caller watches the time.

mod http;
mod postgres;
mod tls;

use std::net::IpAddr;

use model::time::Timestamp;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use url::Url;

use super::config::{DnsCheck, Kind, RedisCheck, address};

pub(super) use http::Client;

/// What a service said, where it did.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Said {
    /// The HTTP status.
    pub status: Option<u16>,
    /// Until when its certificate is valid.
    pub expires: Option<Timestamp>,
    /// Why it is down although it answered.
    pub wrong: Option<String>,
    /// Why it is degraded.
    pub doubtful: Option<String>,
}

impl Said {
    /// Wrong, for this reason.
    fn wrong(why: impl Into<String>) -> Self {
        Said { wrong: Some(why.into()), ..Said::default() }
    }
}

/// The last cause of an error: what failed, without what was asked.
fn root(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

async fn connect(host: &str, port: u16) -> Result<TcpStream, String> {
    TcpStream::connect((host, port)).await.map_err(|error| format!("no connection to {host}:{port}: {error}"))
}

/// Asks.
pub(super) async fn ask(kind: Kind<'_>, client: Option<&Client>, now: Timestamp) -> Result<Said, String> {
    match kind {
        Kind::Http(check) => http::page(client.ok_or("there is no client")?, check).await,
        Kind::ClickHouse(check) => http::clickhouse(client.ok_or("there is no client")?, check).await,
        Kind::Tcp(check) => {
            let (host, port) = address(&check.address).ok_or("the address is not host:port")?;
            connect(host, port).await.map(|_| Said::default())
        }
        Kind::Tls(check) => tls::certificate(check, now).await,
        Kind::Dns(check) => dns(check).await,
        Kind::Postgres(check) => postgres::answers(check).await,
        Kind::Redis(check) => redis(check).await,
    }
}

async fn dns(check: &DnsCheck) -> Result<Said, String> {
    // The port is part of the call, not of the question.
    let found = lookup_host((check.name.as_str(), 0)).await.map_err(|error| format!("{} does not resolve: {error}", check.name))?;
    let found: Vec<IpAddr> = found.map(|address| address.ip()).collect();
    let missing: Vec<String> = check.expect.iter().filter(|wanted| !found.contains(wanted)).map(ToString::to_string).collect();
    if found.is_empty() {
        return Ok(Said::wrong(format!("{} has no address", check.name)));
    }
    if !missing.is_empty() {
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        return Ok(Said::wrong(format!("{} resolves to {}, not to {}", check.name, found.join(", "), missing.join(", "))));
    }
    Ok(Said::default())
}

/// A command in Redis's protocol.
fn command(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n{word}\r\n", word.len()).into_bytes());
    }
    bytes
}

/// The longest line of an answer.
const LINE: usize = 1_024;

async fn line(stream: &mut (impl AsyncRead + Unpin)) -> Result<String, String> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        if line.len() > LINE {
            return Err("the answer is not Redis's protocol".to_owned());
        }
        line.push(stream.read_u8().await.map_err(|error| format!("the connection broke: {error}"))?);
    }
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}

async fn ping(mut stream: impl AsyncRead + AsyncWrite + Unpin, url: &Url) -> Result<Said, String> {
    let said = |text: String| {
        let shown = text.strip_prefix('-').unwrap_or(&text).to_owned();
        Ok(Said::wrong(format!("Redis says: {shown}")))
    };
    let plain = |text: &str| percent_decode(text);
    if let Some(password) = url.password() {
        let (user, password) = (plain(url.username()), plain(password));
        let words: Vec<&str> = if user.is_empty() { vec!["AUTH", &password] } else { vec!["AUTH", &user, &password] };
        stream.write_all(&command(&words)).await.map_err(|error| format!("the connection broke: {error}"))?;
        let answer = line(&mut stream).await?;
        if answer != "+OK" {
            return said(answer);
        }
    }
    stream.write_all(&command(&["PING"])).await.map_err(|error| format!("the connection broke: {error}"))?;
    match line(&mut stream).await? {
        pong if pong == "+PONG" => Ok(Said::default()),
        other => said(other),
    }
}

/// A part of a URL without its escapes.
fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = (*first == b'%').then(|| after.get(..2)).flatten().and_then(|two| std::str::from_utf8(two).ok());
        match escaped.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn redis(check: &RedisCheck) -> Result<Said, String> {
    let url = Url::parse(check.url.reveal()).map_err(|_| "the URL cannot be read".to_owned())?;
    let host = url.host_str().ok_or("the URL has no host")?.trim_matches(['[', ']']).to_owned();
    let stream = connect(&host, url.port().unwrap_or(6379)).await?;
    if url.scheme() == "rediss" {
        return ping(tls::trusted(stream, &host).await?, &url).await;
    }
    ping(stream, &url).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_of_urls_and_redis_commands() {
        assert_eq!(percent_decode("a%40b%2Fc%"), "a@b/c%");
        assert_eq!(command(&["AUTH", "pä"]), b"*2\r\n$4\r\nAUTH\r\n$3\r\np\xc3\xa4\r\n");
    }
}
