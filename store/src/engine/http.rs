//! The engine's listener: the part of ClickHouse's HTTP interface that the official clients use, on a Unix socket. A client that
//! goes away ends its statement.

use std::convert::Infallible;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use model::time::Stopwatch;
use tokio::net::UnixListener;

use super::pool::{Pool, PoolError};
use super::statement::{AskError, error_code, status, understand};

/// The largest body, after decoding.
const MAX_BODY: usize = 1 << 30;

struct Desk {
    pool: Arc<Pool>,
    count: AtomicU64,
}

/// Serves connections until the future is dropped.
pub async fn serve(listener: UnixListener, pool: Arc<Pool>) {
    let desk = Arc::new(Desk { pool, count: AtomicU64::new(0) });
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                continue;
            }
        };
        let desk = desk.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let desk = desk.clone();
                async move { Ok::<_, Infallible>(answer(desk, request).await) }
            });
            let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            // A client that hangs up in the middle is its own business.
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

type Answer = Response<Full<Bytes>>;

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response
}

async fn answer(desk: Arc<Desk>, request: Request<Incoming>) -> Answer {
    if request.uri().path() == "/ping" {
        return plain(StatusCode::OK, "Ok.\n");
    }
    if request.uri().path() != "/" || !matches!(*request.method(), Method::GET | Method::POST) {
        return plain(StatusCode::NOT_FOUND, "the engine answers GET /ping and GET or POST /?query=...\n");
    }
    match statement(&desk, request).await {
        Ok(answer) => answer,
        Err(refused) => refused.answer(),
    }
}

enum Refused {
    Body(String),
    Ask(AskError),
    Pool(PoolError),
}

impl Refused {
    fn answer(self) -> Answer {
        let (code, text) = match self {
            Refused::Body(text) => (None, text),
            Refused::Ask(error) => (None, error.to_string()),
            Refused::Pool(error) => {
                let text = error.to_string();
                (Some(error_code(&text).unwrap_or(1002)), text)
            }
        };
        let status =
            code.map_or(StatusCode::BAD_REQUEST, |code| StatusCode::from_u16(status(code)).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
        let mut answer = plain(status, text);
        if let Some(code) = code {
            answer.headers_mut().insert("X-ClickHouse-Exception-Code", code.into());
        }
        answer
    }
}

/// Ends the statement when the request is dropped before its answer.
struct KillOnDrop {
    pool: Arc<Pool>,
    mark: Option<String>,
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        if let Some(mark) = self.mark.take() {
            let pool = self.pool.clone();
            tokio::spawn(async move { pool.kill(&mark).await });
        }
    }
}

async fn statement(desk: &Desk, request: Request<Incoming>) -> Result<Answer, Refused> {
    let stopwatch = Stopwatch::start();
    let parameters: Vec<(String, String)> =
        url::form_urlencoded::parse(request.uri().query().unwrap_or("").as_bytes()).into_owned().collect();
    if parameters.iter().any(|(name, value)| matches!(name.as_str(), "compress" | "decompress") && value == "1") {
        return Err(Refused::Body(
            "block compression (compress=1, decompress=1) is not served here: use HTTP content encodings".to_owned(),
        ));
    }
    let (parts, body) = request.into_parts();
    let body = Limited::new(body, MAX_BODY)
        .collect()
        .await
        .map_err(|error| Refused::Body(format!("the body could not be read: {error}")))?
        .to_bytes();
    let body = decoded(&parts.headers, body)?;
    let ask = understand(&parameters, body).map_err(Refused::Ask)?;
    let number = desk.count.fetch_add(1, Ordering::Relaxed);
    let query_id = ask.query_id.clone().unwrap_or_else(|| format!("engine-{}-{number}", std::process::id()));
    let format = ask.format.clone();
    let mark = format!("{number}/{query_id}");
    let mut guard = KillOnDrop { pool: desk.pool.clone(), mark: Some(mark.clone()) };
    let outcome = desk.pool.run(ask, mark).await;
    guard.mark = None;
    let output = outcome.map_err(Refused::Pool)?;
    let summary = serde_json::json!({
        "read_rows": output.rows_read.to_string(),
        "result_bytes": output.bytes.len().to_string(),
        "elapsed_ns": stopwatch.elapsed().as_nanos().to_string(),
    });
    let (bytes, encoding) = encoded(&parts.headers, output.bytes);
    let mut answer = plain(StatusCode::OK, bytes);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, http::HeaderValue::from_static("application/octet-stream"));
    for (name, value) in
        [("X-ClickHouse-Query-Id", query_id), ("X-ClickHouse-Format", format), ("X-ClickHouse-Summary", summary.to_string())]
    {
        if let Ok(value) = value.parse() {
            headers.insert(http::HeaderName::from_bytes(name.as_bytes()).unwrap_or(CONTENT_TYPE), value);
        }
    }
    if let Some(encoding) = encoding {
        headers.insert(CONTENT_ENCODING, http::HeaderValue::from_static(encoding));
    }
    Ok(answer)
}

fn decoded(headers: &HeaderMap, body: Bytes) -> Result<Vec<u8>, Refused> {
    let encoding = headers.get(CONTENT_ENCODING).map(|value| String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase());
    let reader: Box<dyn Read> = match encoding.as_deref() {
        None | Some("" | "identity") => return Ok(body.to_vec()),
        Some("gzip") => Box::new(flate2::read::MultiGzDecoder::new(std::io::Cursor::new(body))),
        Some("zstd") => Box::new(
            zstd::Decoder::new(std::io::Cursor::new(body)).map_err(|error| Refused::Body(format!("the body is not zstd: {error}")))?,
        ),
        Some("lz4") => Box::new(lz4_flex::frame::FrameDecoder::new(std::io::Cursor::new(body))),
        Some(other) => return Err(Refused::Body(format!("content encoding `{other}` is not served: use gzip, zstd or lz4"))),
    };
    let mut decoded = Vec::new();
    let read = reader
        .take(MAX_BODY as u64 + 1)
        .read_to_end(&mut decoded)
        .map_err(|error| Refused::Body(format!("the body could not be decoded: {error}")))?;
    if read > MAX_BODY {
        return Err(Refused::Body(format!("the body decodes to more than {MAX_BODY} bytes")));
    }
    Ok(decoded)
}

/// Encodes larger answers as gzip where the client takes it.
fn encoded(headers: &HeaderMap, bytes: Vec<u8>) -> (Vec<u8>, Option<&'static str>) {
    let takes = headers.get(ACCEPT_ENCODING).is_some_and(|value| String::from_utf8_lossy(value.as_bytes()).contains("gzip"));
    if !takes || bytes.len() < 4096 {
        return (bytes, None);
    }
    let mut small = Vec::new();
    let mut encoder = flate2::read::GzEncoder::new(bytes.as_slice(), flate2::Compression::fast());
    match encoder.read_to_end(&mut small) {
        Ok(_) => (small, Some("gzip")),
        Err(_) => (bytes, None),
    }
}
