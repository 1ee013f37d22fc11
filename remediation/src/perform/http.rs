//! The action `http`. In: an action and its facts. Out: one request at most, no redirects followed, 64 KiB of the answer read. A request
//! that certainly was not sent is told apart from one that may have arrived.

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use model::time::Stopwatch;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, Response, Url};

use super::{Order, Outcome, Performed, one_line, without_secrets};
use crate::config::HttpAction;
use crate::template::{self, Escape, Facts, TemplateError};

/// How much of an answer is read.
const LARGEST_ANSWER: usize = 64 * 1024;
/// How much of it is shown.
const SHOWN: usize = 300;

/// Sends the requests of actions.
pub struct Sender {
    client: Client,
    refuse_private: bool,
}

impl Sender {
    /// A client that follows no redirect: an action goes where the configuration says.
    pub fn new(refuse_private: bool) -> Result<Self, reqwest::Error> {
        let mut builder = Client::builder().redirect(reqwest::redirect::Policy::none()).user_agent("watchfire-remediation").no_proxy();
        if refuse_private {
            builder = builder.dns_resolver(Arc::new(PublicOnly));
        }
        Ok(Sender { client: builder.build()?, refuse_private })
    }

    /// Carries out the action.
    pub async fn send(&self, action: &HttpAction, order: Order<'_>) -> Performed {
        let watch = Stopwatch::start();
        let (url, headers, body) = match prepare(action, order) {
            Ok(prepared) => prepared,
            Err(problem) => return Performed::not_sent(problem),
        };
        let what = format!("{} {}", action.method, shown(&url));
        if self.refuse_private && host_address(&url).is_some_and(|address| !is_public(address)) {
            return Performed::not_sent(format!("{what}: refused, it is a private address"));
        }
        let Ok(method) = Method::from_bytes(action.method.as_bytes()) else {
            return Performed::not_sent(format!("{what}: `{}` is no method", action.method));
        };
        let mut request = self.client.request(method, url).timeout(action.timeout.0).headers(headers);
        if let Some(body) = body {
            request = request.body(body);
        }
        match request.send().await {
            Ok(response) => self.answered(action, &what, response, watch).await,
            Err(error) => {
                let outcome = if error.is_connect() || error.is_builder() { Outcome::NotSent } else { Outcome::Failed };
                let why = if error.is_timeout() { format!("no answer within {}", action.timeout) } else { causes(&error.without_url()) };
                Performed { outcome, text: format!("{what}: {why}") }
            }
        }
    }

    async fn answered(&self, action: &HttpAction, what: &str, mut response: Response, watch: Stopwatch) -> Performed {
        let status = response.status();
        let good = if action.expect_status.is_empty() { status.is_success() } else { action.expect_status.contains(&status.as_u16()) };
        let mut body = Vec::new();
        // The status decides; an answer that breaks off is shown as far as it came.
        while let Ok(Some(chunk)) = response.chunk().await {
            let room = LARGEST_ANSWER - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if body.len() >= LARGEST_ANSWER {
                break;
            }
        }
        let said = without_secrets(&one_line(&String::from_utf8_lossy(&body), SHOWN), action.headers.values());
        let said = if said.is_empty() { String::new() } else { format!(": {said}") };
        let millis = watch.elapsed().as_millis();
        let outcome = if good { Outcome::Done } else { Outcome::Failed };
        Performed { outcome, text: format!("{what} -> {} in {millis} ms{said}", status.as_u16()) }
    }
}

fn prepare(action: &HttpAction, order: Order<'_>) -> Result<(Url, HeaderMap, Option<String>), String> {
    let url = template::address(&action.url, order.facts).map_err(|error| error.to_string())?;
    let body = body(action, order.facts).map_err(|error| error.to_string())?;
    let mut headers = HeaderMap::new();
    if body.is_some() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    for (name, value) in &action.headers {
        // Neither the value nor what its template says about it may show.
        let wrong = || format!("header `{name}` cannot be filled in");
        let filled = template::text(value.reveal(), order.facts, Escape::Nothing).map_err(|_| wrong())?;
        let mut filled = HeaderValue::from_str(&filled).map_err(|_| wrong())?;
        filled.set_sensitive(true);
        headers.insert(HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?, filled);
    }
    let key = HeaderValue::from_str(order.key).map_err(|_| "the idempotency key is no header value".to_owned())?;
    headers.insert(HeaderName::from_static("idempotency-key"), key);
    Ok((url, headers, body))
}

/// The body, with values escaped for its media type.
pub fn body(action: &HttpAction, facts: &Facts) -> Result<Option<String>, TemplateError> {
    let media = action.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type")).map(|(_, value)| value.reveal());
    let escape = match media {
        None => Escape::Json,
        Some(media) if media.contains("json") => Escape::Json,
        Some(media) if media.contains("x-www-form-urlencoded") => Escape::Percent,
        Some(_) => Escape::Nothing,
    };
    action.body.as_deref().map(|body| template::text(body, facts, escape)).transpose()
}

/// An address without user, password, query and fragment.
pub fn shown(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    one_line(&format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or(""), url.path()), 300)
}

fn host_address(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        url::Host::Ipv4(address) => Some(IpAddr::V4(address)),
        url::Host::Ipv6(address) => Some(IpAddr::V6(address)),
        url::Host::Domain(_) => None,
    }
}

fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    one_line(&text, SHOWN)
}

/// Whether an address belongs to the public internet: not loopback, private, link-local, shared, documentation, multicast, reserved.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            let shared = a == 100 && (64..128).contains(&b);
            let special = a == 0 || a >= 240 || (a == 192 && b == 0 && c == 0) || (a == 198 && (b == 18 || b == 19));
            !(v4.is_loopback() || v4.is_private() || v4.is_link_local() || v4.is_documentation() || v4.is_multicast() || shared || special)
        }
        IpAddr::V6(v6) => match v6.to_ipv4() {
            // Mapped and compatible forms reach the IPv4 address that they hold.
            Some(v4) => !v6.is_loopback() && !v6.is_unspecified() && is_public(IpAddr::V4(v4)),
            None => {
                let first = v6.segments()[0];
                let global = (0x2000..0x4000).contains(&first);
                // 6to4 and Teredo embed IPv4 addresses; 2001:db8 is documentation.
                global && first != 0x2002 && !(first == 0x2001 && matches!(v6.segments()[1], 0 | 0x0db8))
            }
        },
    }
}

/// Resolves names, and lets public addresses through only: the check and the connection see the same answer.
struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            let public: Vec<SocketAddr> = found.into_iter().filter(|address| is_public(address.ip())).collect();
            if public.is_empty() {
                return Err(format!("{host} has no public address, and remediation.refuse_private_addresses is on").into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}
