//! URLs as people type them: `curl 'http://host/api/v1/query?query=up{job="x"} > 0'` sends quotes and angles that no URL may hold, and
//! Prometheus answers. The HTTP library refuses them with an empty answer, so the first line of a connection is put right before it sees it.
//! Programs encode their URLs and send one request after the other; who types them makes a connection for each. Nothing else is touched.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// A first line that is longer is left to the library, which refuses it.
const LONGEST: usize = 64 << 10;
/// What is read at once of it.
const PIECE: usize = 4 << 10;

/// A socket whose connections begin with a line that can be read.
pub struct Forgiving(pub TcpListener);

/// Who is at the other end.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

impl Listener for Forgiving {
    type Io = Forgiven;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Forgiven, SocketAddr) {
        let (stream, peer) = Listener::accept(&mut self.0).await;
        // Else an answer waits until the client has confirmed a packet before it, which clients put off for 40 ms (Nagle, delayed ACK).
        let _ = stream.set_nodelay(true);
        (Forgiven { stream, line: Line::Coming(Vec::new()) }, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

impl Connected<IncomingStream<'_, Forgiving>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Forgiving>) -> Self {
        Peer(*stream.remote_addr())
    }
}

/// How much of the first line is there.
#[derive(Debug)]
enum Line {
    /// Not all of it.
    Coming(Vec<u8>),
    /// All of it, put right, with what came behind it; handed out up to here.
    There(Vec<u8>, usize),
    /// It was handed out.
    Gone,
}

/// A connection.
#[derive(Debug)]
pub struct Forgiven {
    stream: TcpStream,
    line: Line,
}

impl AsyncRead for Forgiven {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            match &mut this.line {
                Line::Gone => return Pin::new(&mut this.stream).poll_read(context, to),
                Line::There(bytes, given) => {
                    let part = &bytes[*given..(*given + to.remaining()).min(bytes.len())];
                    to.put_slice(part);
                    *given += part.len();
                    if *given == bytes.len() {
                        this.line = Line::Gone;
                    }
                    return Poll::Ready(Ok(()));
                }
                Line::Coming(bytes) => {
                    let mut piece = [0; PIECE];
                    let mut read = ReadBuf::new(&mut piece);
                    match Pin::new(&mut this.stream).poll_read(context, &mut read) {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                        Poll::Ready(Ok(())) => {}
                    }
                    let (came, searched) = (read.filled(), bytes.len());
                    bytes.extend_from_slice(came);
                    let end = bytes[searched..].iter().position(|byte| *byte == b'\n').map(|at| searched + at);
                    if let Some(end) = end {
                        let mut line = mended(&bytes[..end]);
                        line.extend_from_slice(&bytes[end..]);
                        this.line = Line::There(line, 0);
                    } else if came.is_empty() || bytes.len() > LONGEST {
                        this.line = if bytes.is_empty() { Line::Gone } else { Line::There(std::mem::take(bytes), 0) };
                    }
                }
            }
        }
    }
}

impl AsyncWrite for Forgiven {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, all: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, all)
    }
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// `GET /path?query HTTP/1.1` with its query's printable characters that no URL may hold written as `%XX`. Another line stays as it is.
fn mended(line: &[u8]) -> Vec<u8> {
    let target = line.iter().position(|byte| *byte == b' ').map(|at| at + 1).unwrap_or(line.len());
    let end = line.windows(6).rposition(|bytes| bytes == b" HTTP/").unwrap_or(line.len());
    let Some(query) = line
        .get(target..end)
        .filter(|target| target.first() == Some(&b'/'))
        .and_then(|url| url.iter().position(|byte| *byte == b'?').map(|at| target + at))
    else {
        return line.to_vec();
    };
    let mut mended = line[..query].to_vec();
    for byte in &line[query..end] {
        match byte {
            b' ' | b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'|' => mended.extend_from_slice(format!("%{byte:02X}").as_bytes()),
            _ => mended.push(*byte),
        }
    }
    mended.extend_from_slice(&line[end..]);
    mended
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::extract::{ConnectInfo, RawQuery};
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[test]
    fn only_the_query_of_a_first_line_is_put_right() {
        for (line, expected) in [
            (r#"GET /q?query=up{a="b"} HTTP/1.1"#, "GET /q?query=up{a=%22b%22} HTTP/1.1"),
            ("GET /q?query=up > 0 HTTP/1.1\r", "GET /q?query=up%20%3E%200 HTTP/1.1\r"),
            (r"POST /q?a=`b\d`|c^d HTTP/1.0", "POST /q?a=%60b%5Cd%60%7Cc%5Ed HTTP/1.0"),
            ("GET /q?query=up%22 HTTP/1.1", "GET /q?query=up%22 HTTP/1.1"),
            (r#"GET /"path" HTTP/1.1"#, r#"GET /"path" HTTP/1.1"#),
            ("PRI * HTTP/2.0\r", "PRI * HTTP/2.0\r"),
            ("", ""),
            ("GET", "GET"),
            ("GET /?", "GET /?"),
            ("\u{16}\u{3}\u{1}?\" <", "\u{16}\u{3}\u{1}?\" <"),
        ] {
            assert_eq!(String::from_utf8(mended(line.as_bytes())).unwrap(), expected);
        }
    }

    async fn answer(pieces: &[&[u8]]) -> String {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let shown = |ConnectInfo(Peer(peer)): ConnectInfo<Peer>, RawQuery(query): RawQuery| async move {
            format!("{} {}", peer.ip(), query.unwrap_or_default())
        };
        let service = Router::new().route("/q", get(shown)).into_make_service_with_connect_info::<Peer>();
        tokio::spawn(async move { axum::serve(Forgiving(socket), service).await.unwrap() });
        let mut stream = TcpStream::connect(address).await.unwrap();
        for piece in pieces {
            stream.write_all(piece).await.unwrap();
            stream.flush().await.unwrap();
            tokio::task::yield_now().await;
        }
        stream.shutdown().await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn a_typed_url_is_answered_however_it_arrives() {
        let rest = b" HTTP/1.1\r\nhost: x\r\n\r\n".as_slice();
        for pieces in [vec![br#"GET /q?query=up{a="b"} > 0"#.as_slice(), rest], vec![b"G", b"ET /q?query=up{a=", b"\"b\"} >", b" 0", rest]]
        {
            let text = answer(&pieces).await;
            assert!(text.starts_with("HTTP/1.1 200") && text.contains("127.0.0.1 query=up{a=%22b%22}%20%3E%200"), "{text}");
        }
        // The second request of a connection is read as it is, and the first one is not lost.
        let two = answer(&[b"GET /q?a=%22 HTTP/1.1\r\nhost: x\r\n\r\nGET /q?a=2 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"]).await;
        assert_eq!(two.matches("HTTP/1.1 200").count(), 2, "{two}");
        assert!(answer(&[b"GET /q"]).await.is_empty(), "who hangs up gets nothing");
        let long = format!("GET /q?a={}", "x".repeat(100_000));
        assert!(answer(&[long.as_bytes(), rest]).await.starts_with("HTTP/1.1 4"), "too long is refused by the library");
    }
}
