//! Asking over HTTP: what a target or a discovery answers, within limits of time and size. One of the files that do I/O. Fails:
//! with one sentence that holds no secret.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use model::units::ByteCount;
use reqwest::redirect::Policy;
use url::Url;

use super::config::{Client as Settings, ScrapeProtocol, TlsVersion};
use super::exposition::Format;
use crate::admission::Reservation;
use crate::inflate::Encoding;

/// Redirects that are followed at most.
const REDIRECTS: usize = 10;
/// Files with passwords and tokens are shorter.
const LONGEST_SECRET: u64 = 64 << 10;
const TIMEOUT: HeaderName = HeaderName::from_static("x-prometheus-scrape-timeout-seconds");

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// No answer in time.
    #[error("no whole answer within {0:?} (scrape_timeout)")]
    Timeout(Duration),
    /// No connection, or a broken one.
    #[error("{0}")]
    Connection(String),
    /// Another status than 200.
    #[error("the answer has the status {0}")]
    Status(http::StatusCode),
    /// A larger body than allowed.
    #[error("the answer is larger than {}", ByteCount(*.0))]
    TooLarge(u64),
    /// Nothing that was asked for.
    #[error("the answer's {0} is `{1}`, which is not supported")]
    Unsupported(&'static str, String),
    /// A file with a secret cannot be read.
    #[error("{path}: the file cannot be read: {source}", path = path.display())]
    Secret {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A secret that no header can hold.
    #[error("the configured credentials hold characters that a header cannot hold")]
    BadSecret,
    /// No memory for the body.
    #[error("there is no memory left for its answer (collector.max_request_memory)")]
    Memory,
}

/// A client that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A file of certificates cannot be read.
    #[error("{path}: the file cannot be read", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// What it holds is no certificate or key.
    #[error("{key}: {path} holds no PEM of that kind", path = path.display())]
    Pem {
        /// Which key of the configuration.
        key: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The client itself.
    #[error("the HTTP client cannot be made")]
    Build(#[source] reqwest::Error),
}

/// A client for the targets of a job, or for a discovery.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    asks: Asks,
    way: Way,
    compression: bool,
}

/// Who answers.
#[derive(Clone, Debug)]
enum Asks {
    /// Others, over HTTP.
    Http(reqwest::Client),
    /// A test.
    #[cfg(test)]
    Script(std::sync::Arc<dyn super::tests::simulation::Script>),
}

/// One question to a target.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'q> {
    /// Where.
    pub(crate) url: &'q Url,
    /// What the target is told of our patience.
    pub(crate) timeout: Duration,
    /// The most bytes on the wire.
    pub(crate) limit: u64,
    /// What is asked for.
    pub(crate) accept: &'q HeaderValue,
    /// What an answer is that does not say.
    pub(crate) fallback: Format,
}

/// The header that asks for these formats, best first.
pub(crate) fn accept(protocols: &[ScrapeProtocol]) -> HeaderValue {
    let named = protocols.iter().filter_map(|protocol| match protocol {
        ScrapeProtocol::PrometheusProto => None,
        ScrapeProtocol::PrometheusText0_0_4 => Some("text/plain;version=0.0.4"),
        ScrapeProtocol::PrometheusText1_0_0 => Some("text/plain;version=1.0.0;escaping=allow-utf-8"),
        ScrapeProtocol::OpenMetricsText0_0_1 => Some("application/openmetrics-text;version=0.0.1"),
        ScrapeProtocol::OpenMetricsText1_0_0 => Some("application/openmetrics-text;version=1.0.0;escaping=allow-utf-8"),
    });
    let weighted: Vec<String> = named.chain(["*/*"]).zip((1..=9).rev()).map(|(name, weight)| format!("{name};q=0.{weight}")).collect();
    // These are header values by construction.
    HeaderValue::from_str(&weighted.join(",")).unwrap_or(HeaderValue::from_static("*/*"))
}

/// The format of an answer that does not say.
pub(crate) fn fallback(protocol: Option<ScrapeProtocol>) -> Format {
    match protocol {
        Some(ScrapeProtocol::OpenMetricsText0_0_1 | ScrapeProtocol::OpenMetricsText1_0_0) => Format::OpenMetrics,
        Some(ScrapeProtocol::PrometheusProto | ScrapeProtocol::PrometheusText0_0_4 | ScrapeProtocol::PrometheusText1_0_0) | None => {
            Format::Text
        }
    }
}

/// How requests are authorised; files are read at each request.
#[derive(Clone, Debug)]
enum Way {
    None,
    Basic { username: String, password: Source },
    Header { scheme: String, credentials: Source },
}

/// Where a secret is.
#[derive(Clone, Debug)]
enum Source {
    Given(model::secret::Secret),
    File(PathBuf),
}

impl Source {
    fn new(given: &model::secret::Secret, file: Option<&str>, beside: &Path) -> Self {
        file.map_or_else(|| Source::Given(given.clone()), |file| Source::File(beside.join(file)))
    }
    async fn read(&self) -> Result<model::secret::Secret, FetchError> {
        let path = match self {
            Source::Given(secret) => return Ok(secret.clone()),
            Source::File(path) => path,
        };
        let read = async {
            if tokio::fs::metadata(path).await?.len() > LONGEST_SECRET {
                return Err(std::io::Error::other("it is larger than 64 KiB"));
            }
            tokio::fs::read_to_string(path).await
        };
        match read.await {
            Ok(text) => Ok(model::secret::Secret::new(text.trim())),
            Err(source) => Err(FetchError::Secret { path: path.clone(), source }),
        }
    }
}

impl Client {
    /// As configured; relative paths are beside the configuration file.
    pub(crate) fn new(settings: Settings<'_>, beside: &Path) -> Result<Self, ClientError> {
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .user_agent(concat!("Watchfire/", env!("CARGO_PKG_VERSION")))
            .redirect(if settings.follow_redirects { Policy::limited(REDIRECTS) } else { Policy::none() })
            .tls_danger_accept_invalid_certs(settings.tls.insecure_skip_verify);
        if !settings.enable_http2 {
            builder = builder.http1_only();
        }
        let version = |version| match version {
            TlsVersion::TLS10 | TlsVersion::TLS11 | TlsVersion::TLS12 => reqwest::tls::Version::TLS_1_2,
            TlsVersion::TLS13 => reqwest::tls::Version::TLS_1_3,
        };
        if let Some(least) = settings.tls.min_version {
            builder = builder.tls_version_min(version(least));
        }
        if let Some(most) = settings.tls.max_version {
            builder = builder.tls_version_max(version(most));
        }
        let read = |path: &PathBuf| std::fs::read(path).map_err(|source| ClientError::File { path: path.clone(), source });
        if let Some(file) = &settings.tls.ca_file {
            let path = beside.join(file);
            let authorities = reqwest::Certificate::from_pem_bundle(&read(&path)?).map_err(|source| ClientError::Pem {
                key: "ca_file",
                path: path.clone(),
                source,
            })?;
            builder = builder.tls_certs_only(authorities);
        }
        if let (Some(certificate), Some(key)) = (&settings.tls.cert_file, &settings.tls.key_file) {
            let path = beside.join(certificate);
            let mut pem = read(&path)?;
            pem.push(b'\n');
            pem.extend(read(&beside.join(key))?);
            let identity =
                reqwest::Identity::from_pem(&pem).map_err(|source| ClientError::Pem { key: "cert_file", path: path.clone(), source })?;
            builder = builder.identity(identity);
        }
        let header = |scheme: &str, credentials| Way::Header { scheme: scheme.to_owned(), credentials };
        let way = match (settings.basic_auth, settings.authorization, settings.bearer_token_file) {
            (Some(basic), _, _) => Way::Basic {
                username: basic.username.clone(),
                password: Source::new(&basic.password, basic.password_file.as_deref(), beside),
            },
            (None, Some(auth), _) => header(&auth.r#type, Source::new(&auth.credentials, auth.credentials_file.as_deref(), beside)),
            (None, None, Some(file)) => header("Bearer", Source::File(beside.join(file))),
            (None, None, None) if !settings.bearer_token.is_empty() => header("Bearer", Source::Given(settings.bearer_token.clone())),
            (None, None, None) => Way::None,
        };
        Ok(Client { asks: Asks::Http(builder.build().map_err(ClientError::Build)?), way, compression: settings.compression })
    }

    /// Answered by a test.
    #[cfg(test)]
    pub(crate) fn scripted(script: std::sync::Arc<dyn super::tests::simulation::Script>) -> Self {
        Client { asks: Asks::Script(script), way: Way::None, compression: false }
    }

    async fn ask(&self, http: &reqwest::Client, url: &Url, headers: HeaderMap) -> Result<reqwest::Response, FetchError> {
        let request = http.get(url.clone()).headers(headers);
        let request = match &self.way {
            Way::None => request,
            Way::Basic { username, password } => request.basic_auth(username, Some(password.read().await?.reveal())),
            Way::Header { scheme, credentials } => {
                let text = format!("{scheme} {}", credentials.read().await?.reveal());
                let mut value = HeaderValue::from_str(&text).map_err(|_| FetchError::BadSecret)?;
                value.set_sensitive(true);
                request.header(AUTHORIZATION, value)
            }
        };
        let answer = request.send().await.map_err(broken)?;
        if answer.status() != http::StatusCode::OK {
            return Err(FetchError::Status(answer.status()));
        }
        Ok(answer)
    }

    /// What a target exposes. The limit holds for the bytes on the wire; inflating has its own.
    pub(crate) async fn scrape(&self, question: Question<'_>, reservation: &mut Reservation) -> Result<Exposed, FetchError> {
        #[allow(clippy::infallible_destructuring_match)] // tests have another one
        let http = match &self.asks {
            Asks::Http(http) => http,
            #[cfg(test)]
            Asks::Script(script) => return script.answer(question.url).await,
        };
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, question.accept.clone());
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(if self.compression { "gzip" } else { "identity" }));
        if let Ok(value) = HeaderValue::from_str(&question.timeout.as_secs_f64().to_string()) {
            headers.insert(TIMEOUT, value);
        }
        let mut answer = self.ask(http, question.url, headers).await?;
        let header = |name| answer.headers().get(name).map_or("", |value| value.to_str().unwrap_or("?"));
        let format = format(header(CONTENT_TYPE), question.fallback)?;
        let name = header(CONTENT_ENCODING);
        let encoding = Encoding::named(name).ok_or_else(|| FetchError::Unsupported("content encoding", crate::http::shown(name)))?;
        let mut body = BytesMut::new();
        while let Some(chunk) = answer.chunk().await.map_err(broken)? {
            if (body.len() + chunk.len()) as u64 > question.limit {
                return Err(FetchError::TooLarge(question.limit));
            }
            reservation.grow(chunk.len() as u64).await.map_err(|_| FetchError::Memory)?;
            body.extend_from_slice(&chunk);
        }
        Ok(Exposed { body: body.freeze(), encoding, format })
    }

    /// The JSON that a discovery answers, at most `limit` bytes.
    pub(crate) async fn discover(&self, url: &str, every: Duration, limit: usize) -> Result<Bytes, FetchError> {
        let url = Url::parse(url).map_err(|_| FetchError::Connection("its URL cannot be read".to_owned()))?;
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert("x-prometheus-refresh-interval-seconds", HeaderValue::from(every.as_secs()));
        #[allow(clippy::infallible_destructuring_match)] // tests have another one
        let http = match &self.asks {
            Asks::Http(http) => http,
            #[cfg(test)]
            Asks::Script(script) => return script.targets(&url).await,
        };
        let mut answer = self.ask(http, &url, headers).await?;
        let kind = answer.headers().get(CONTENT_TYPE).map_or("", |value| value.to_str().unwrap_or("?"));
        if kind.split(';').next().map(str::trim) != Some("application/json") {
            return Err(FetchError::Unsupported("content type", crate::http::shown(kind)));
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = answer.chunk().await.map_err(broken)? {
            if body.len() + chunk.len() > limit {
                return Err(FetchError::TooLarge(limit as u64));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }
}

/// What a target exposes.
#[derive(Debug)]
pub(crate) struct Exposed {
    /// The body as it came.
    pub(crate) body: Bytes,
    /// How it is compressed.
    pub(crate) encoding: Encoding,
    /// What it is.
    pub(crate) format: Format,
}

/// The format that a content type names; whoever names none, or one that nobody knows, as many exporters do, sends the fallback.
fn format(kind: &str, fallback: Format) -> Result<Format, FetchError> {
    match kind.split(';').next().unwrap_or("").trim().to_ascii_lowercase().as_str() {
        "application/openmetrics-text" => Ok(Format::OpenMetrics),
        "text/plain" => Ok(Format::Text),
        "application/vnd.google.protobuf" => Err(FetchError::Unsupported("content type", crate::http::shown(kind))),
        _ => Ok(fallback),
    }
}

/// An error of the connection with its causes and without the URL, whose parameters may hold secrets.
fn broken(error: reqwest::Error) -> FetchError {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    FetchError::Connection(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_name_formats() {
        for (kind, expected) in [
            ("application/openmetrics-text; version=1.0.0; charset=utf-8", Some(Format::OpenMetrics)),
            ("text/plain; version=0.0.4", Some(Format::Text)),
            ("", Some(Format::Text)),
            ("text/html", Some(Format::Text)),
            ("application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily", None),
        ] {
            assert_eq!(format(kind, Format::Text).ok(), expected, "{kind}");
        }
        let open = fallback(Some(ScrapeProtocol::OpenMetricsText1_0_0));
        assert_eq!(format("", open).ok(), Some(Format::OpenMetrics));
        assert_eq!(format("text/plain", open).ok(), Some(Format::Text), "what it says wins");
    }

    #[test]
    fn formats_are_asked_for_in_their_order() {
        use ScrapeProtocol::*;
        let all = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.9,application/openmetrics-text;version=0.0.1;q=0.8,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.7,text/plain;version=0.0.4;q=0.6,*/*;q=0.5";
        assert_eq!(accept(&super::super::config::Job::default().scrape_protocols), all);
        assert_eq!(accept(&[PrometheusProto, PrometheusText0_0_4]), "text/plain;version=0.0.4;q=0.9,*/*;q=0.8");
    }
}
