//! Pages and ClickHouse, over HTTP.

use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Method, RequestBuilder, Response};
use url::Url;

use super::{Said, root};
use crate::checks::config::{ClickHouseCheck, HttpCheck, Kind};

/// The most of an answer that is read.
const BODY: usize = 1 << 20;
/// Redirects that are followed at most.
const REDIRECTS: usize = 10;

/// What asks pages.
#[derive(Clone, Debug)]
pub(in crate::checks) struct Client(reqwest::Client);

impl Client {
    /// For a check that needs one.
    ///
    /// # Errors
    /// One sentence where TLS cannot be set up.
    pub(in crate::checks) fn of(kind: Kind<'_>, timeout: Duration) -> Result<Option<Self>, String> {
        let (redirects, insecure) = match kind {
            Kind::Http(check) => (check.follow_redirects.unwrap_or(true), check.insecure_skip_verify),
            Kind::ClickHouse(_) => (true, false),
            Kind::Tcp(_) | Kind::Tls(_) | Kind::Dns(_) | Kind::Postgres(_) | Kind::Redis(_) => return Ok(None),
        };
        let policy = if redirects { Policy::limited(REDIRECTS) } else { Policy::none() };
        let builder = reqwest::Client::builder()
            .timeout(timeout)
            .redirect(policy)
            .user_agent(concat!("watchfire/", env!("CARGO_PKG_VERSION")))
            // Each check is a connection of its own: a pooled one would hide that no new one can be made.
            .pool_max_idle_per_host(0)
            .tls_danger_accept_invalid_certs(insecure);
        builder.build().map(|client| Some(Client(client))).map_err(|error| format!("no client can be made: {}", root(&error)))
    }
}

async fn send(request: RequestBuilder) -> Result<Response, String> {
    request.send().await.map_err(|error| format!("no answer: {}", root(&error)))
}

async fn body(mut response: Response) -> Result<String, String> {
    let mut body = Vec::new();
    while let Some(bytes) = response.chunk().await.map_err(|error| format!("the answer broke off: {}", root(&error)))? {
        let room = BODY.saturating_sub(body.len());
        body.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if bytes.len() >= room {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// Status and body as they should be.
pub(super) async fn page(client: &Client, check: &HttpCheck) -> Result<Said, String> {
    let method = check.method.as_deref().unwrap_or("GET").parse::<Method>().map_err(|_| "the method cannot be sent".to_owned())?;
    let url = Url::parse(&check.url).map_err(|_| "the URL cannot be read".to_owned())?;
    let mut request = client.0.request(method, url);
    for (name, value) in &check.headers {
        request = request.header(name, value.reveal());
    }
    if let Some(body) = &check.body {
        request = request.body(body.clone());
    }
    let response = send(request).await?;
    let status = response.status().as_u16();
    let good = if check.status.is_empty() { (200..300).contains(&status) } else { check.status.contains(&status) };
    let said = Said { status: Some(status), ..Said::default() };
    let wrong = |why: String| Ok(Said { wrong: Some(why), ..said.clone() });
    if !good {
        return wrong(format!("the status is {status}"));
    }
    // Read to the end in any case: an answer that breaks off is none.
    let text = body(response).await?;
    if let Some(part) = check.contains.as_ref().filter(|part| !text.contains(part.as_str())) {
        return wrong(format!("the answer does not contain {part:?}"));
    }
    if let Some(expression) = &check.matches {
        let expression = regex::Regex::new(expression).map_err(|_| "`matches` is not a regular expression".to_owned())?;
        if !expression.is_match(&text) {
            return wrong(format!("the answer does not match {:?}", expression.as_str()));
        }
    }
    Ok(said)
}

/// What ClickHouse is asked where nothing else is said.
const ONE: &str = "SELECT 1";

/// A statement that ClickHouse answers.
pub(super) async fn clickhouse(client: &Client, check: &ClickHouseCheck) -> Result<Said, String> {
    let url = Url::parse(&check.url).map_err(|_| "the URL cannot be read".to_owned())?;
    let mut request = client.0.post(url).body(check.query.clone().unwrap_or_else(|| ONE.to_owned()));
    if !check.user.is_empty() {
        request = request.header("X-ClickHouse-User", &check.user).header("X-ClickHouse-Key", check.password.reveal());
    }
    let response = send(request).await?;
    let status = response.status().as_u16();
    let text = body(response).await?;
    let said = Said { status: Some(status), ..Said::default() };
    if status != 200 {
        let first = text.lines().next().unwrap_or_default();
        let first = &first[..first.floor_char_boundary(300)];
        return Ok(Said { wrong: Some(format!("ClickHouse answers {status}: {first}")), ..said });
    }
    if check.query.is_none() && text.trim() != "1" {
        return Ok(Said { wrong: Some(format!("no ClickHouse: `{ONE}` is not answered with 1")), ..said });
    }
    Ok(said)
}
