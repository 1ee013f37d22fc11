//! The engine's listener: the part of ClickHouse's HTTP interface that the official clients use, on a Unix socket and, for visitors with
//! a key, on TCP. A client that goes away ends its statement. Statements at once, statements that wait, connections and bodies are
//! bounded, each with a clear refusal.

use std::convert::Infallible;
use std::io::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::access::{Access, Visitor};
use super::encoding::Encoding;
use super::library::Engine;
use super::multipart;
use super::output::{Head, Refusal, StreamedBody, channel};
use super::request::understand;
use super::work::{self, BodyReader, Job, Piece, Progress, Rules};

/// How long a request waits for its turn.
const WAIT: Duration = Duration::from_secs(30);
/// The largest multipart form: it holds a statement and its parameters.
const MAX_FORM: usize = 16 << 20;
/// What is still read of a body after the statement was refused, so that the client sees the answer.
const MAX_DRAINED: usize = 64 << 20;
/// How long a client may pause in the middle of its body.
const BODY_PAUSE: Duration = Duration::from_secs(300);
/// Open connections at once, for each listener.
const MAX_CONNECTIONS: usize = 512;

/// Places for statements at once, and for those that wait for one.
struct Queue {
    turns: Arc<Semaphore>,
    waiting: Semaphore,
    size: usize,
}

impl Queue {
    fn new(size: usize) -> Self {
        Queue { turns: Arc::new(Semaphore::new(size)), waiting: Semaphore::new(size * 16 + 64), size }
    }

    async fn turn(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        let busy = |words: String| Refusal { status: 503, ..Refusal::exception(202, "TOO_MANY_SIMULTANEOUS_QUERIES", &words) };
        let _waiting =
            self.waiting.try_acquire().map_err(|_| busy("Too many statements wait for the engine already: try again later.".to_owned()))?;
        let turn = tokio::time::timeout(WAIT, self.turns.clone().acquire_owned()).await;
        let turn = turn.map_err(|_| busy(format!("{} statements ran for {WAIT:?} without an end: try again later.", self.size)))?;
        turn.map_err(|_| Refusal::request(503, "the engine is stopping"))
    }
}

/// What all connections share.
pub struct Desk {
    engine: Engine,
    rules: Rules,
    queue: Queue,
    /// Visitors pass this one first: half of the places stay free for Watchfire's own inserts and rules.
    visitors: Queue,
    count: AtomicU64,
}

impl Desk {
    /// For `size` statements at once, with `threads` each, under the engine's cap of `memory` bytes.
    pub fn new(engine: Engine, size: usize, threads: usize, memory: u64) -> Arc<Self> {
        // The engine ignores profiles in its configuration file.
        let defaults = vec![
            ("async_insert", "0".to_owned()),
            ("max_threads", threads.max(1).to_string()),
            ("max_insert_threads", "1".to_owned()),
            // By default a memory cap below a few GB would leave every statement one thread.
            ("max_threads_min_free_memory_per_thread", "0".to_owned()),
            ("allow_experimental_time_series_aggregate_functions", "1".to_owned()),
            ("log_queries", "0".to_owned()),
            // The library's defaults are those of the command line tool; a server's are stricter.
            ("implicit_select", "0".to_owned()),
            ("allow_introspection_functions", "0".to_owned()),
        ];
        // An answer that is not streamed is held several times over while it is formatted.
        let rules = Rules { defaults, max_whole_answer: (memory / 16).min(256 << 20) };
        Arc::new(Desk { engine, rules, queue: Queue::new(size), visitors: Queue::new((size / 2).max(1)), count: AtomicU64::new(0) })
    }

    /// Waits until no statement runs, and lets none begin.
    pub async fn drain(&self) {
        let all = u32::try_from(self.queue.size).unwrap_or(u32::MAX);
        if let Ok(turns) = self.queue.turns.acquire_many(all).await {
            turns.forget();
            self.queue.turns.close();
        }
    }
}

/// Serves the Unix socket until the future is dropped.
pub async fn serve_unix(listener: UnixListener, desk: Arc<Desk>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(connection(stream, desk.clone(), None, place))),
            Err(error) => not_accepted(&error).await,
        }
    }
}

/// Serves visitors on TCP until the future is dropped.
pub async fn serve_tcp(listener: TcpListener, desk: Arc<Desk>, access: Arc<Access>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                // Answers come in several writes: the last one must not wait until the client has confirmed the one before it.
                let _ = stream.set_nodelay(true);
                drop(tokio::spawn(connection(stream, desk.clone(), Some(access.clone()), place)));
            }
            Err(error) => not_accepted(&error).await,
        }
    }
}

async fn not_accepted(error: &Error) {
    eprintln!("<Warning> a connection could not be accepted: {error}");
    tokio::time::sleep(Duration::from_millis(50)).await;
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    desk: Arc<Desk>,
    access: Option<Arc<Access>>,
    _place: OwnedSemaphorePermit,
) {
    let service = service_fn(move |request| {
        let (desk, access) = (desk.clone(), access.clone());
        async move { Ok::<_, Infallible>(answer(desk, access, request).await) }
    });
    let mut builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(300));
    // A client that hangs up in the middle is its own business.
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}

type AnswerBody = UnsyncBoxBody<Bytes, Error>;
type Answer = Response<AnswerBody>;

fn plain(status: u16, text: impl Into<Bytes>) -> Answer {
    let body = Full::new(text.into()).map_err(|never: Infallible| match never {});
    let mut response = Response::new(UnsyncBoxBody::new(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

async fn answer(desk: Arc<Desk>, access: Option<Arc<Access>>, request: Request<Incoming>) -> Answer {
    let path = request.uri().path();
    match (request.method(), path) {
        (&Method::GET | &Method::HEAD, "/ping") => return plain(200, "Ok.\n"),
        (&Method::GET, "/alive") if access.is_none() => return alive(&desk).await,
        (&Method::GET, "/") if request.uri().query().is_none() => return plain(200, "Ok.\n"),
        (&Method::GET | &Method::POST, "/") => {}
        _ => return plain(404, "the engine answers GET /ping and GET or POST /?query=...\n"),
    }
    match statement(&desk, access.as_deref(), request).await {
        Ok(answer) => answer,
        Err(refusal) => refused(&refusal),
    }
}

/// Whether the engine itself answers, not only this listener: a statement outside of the queue.
async fn alive(desk: &Desk) -> Answer {
    let engine = desk.engine.clone();
    let asked = tokio::task::spawn_blocking(move || engine.connect()?.query("SELECT 1", "Null").map(drop)).await;
    match asked {
        Ok(Ok(())) => plain(200, "Ok.\n"),
        // An engine that complains (of memory, perhaps) is alive.
        Ok(Err(error)) => plain(200, format!("{error}\n")),
        Err(error) => plain(500, format!("{error}\n")),
    }
}

fn refused(refusal: &Refusal) -> Answer {
    let mut answer = plain(refusal.status, format!("{}\n", refusal.text.trim_end()));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=UTF-8"));
    if let Some(code) = refusal.code {
        headers.insert("X-ClickHouse-Exception-Code", code.into());
    }
    if refusal.status == 401 {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"ClickHouse\""));
    }
    answer
}

/// Ends the statement when the request or its answer is dropped before the statement's end.
struct EndWithClient {
    desk: Arc<Desk>,
    mark: String,
    progress: Arc<Progress>,
}

impl Drop for EndWithClient {
    fn drop(&mut self) {
        if self.progress.over.load(Ordering::Acquire) {
            return;
        }
        self.progress.cancelled.store(true, Ordering::Release);
        let (desk, mark, progress) = (self.desk.clone(), self.mark.clone(), self.progress.clone());
        // Again and again: a statement that had not begun at the first time is not found then.
        tokio::spawn(async move {
            let mut pause = Duration::from_millis(20);
            while !progress.over.load(Ordering::Acquire) {
                let (desk, mark) = (desk.clone(), mark.clone());
                if let Ok(Err(refusal)) = tokio::task::spawn_blocking(move || work::kill(&desk.engine, &mark)).await {
                    eprintln!("<Warning> a statement whose client went away could not be ended: {}", refusal.text);
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(2));
            }
        });
    }
}

/// An answer's body that ends the statement with its client.
struct Watched {
    body: StreamedBody,
    end: EndWithClient,
}

impl Body for Watched {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.end.progress.over.store(true, Ordering::Release);
        }
        polled
    }
}

struct Over(Arc<Progress>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Release);
    }
}

async fn statement(desk: &Arc<Desk>, access: Option<&Access>, request: Request<Incoming>) -> Result<Answer, Refusal> {
    let visitor: Option<Visitor> = access.map(|access| access.enter(request.headers())).transpose()?;
    let (parts, mut body) = request.into_parts();
    let mut parameters: Vec<(String, String)> =
        url::form_urlencoded::parse(parts.uri.query().unwrap_or("").as_bytes()).into_owned().collect();
    let form = text(&parts.headers, CONTENT_TYPE.as_str()).and_then(multipart::boundary).map(str::to_owned);
    if let Some(boundary) = &form {
        parameters.extend(read_form(&mut body, boundary).await?);
    }
    let mut ask =
        understand(parts.method == Method::GET, &parameters, &parts.headers).map_err(|error| Refusal::request(400, error.to_string()))?;
    let body_encoding = Encoding::named(text(&parts.headers, CONTENT_ENCODING.as_str())).map_err(|words| Refusal::request(400, words))?;
    if let Some(visitor) = &visitor {
        visitor.bind(&mut ask)?;
    }
    let place = match visitor {
        Some(_) => Some(desk.visitors.turn().await?),
        None => None,
    };
    let turn = desk.queue.turn().await?;

    let number = desk.count.fetch_add(1, Ordering::Relaxed);
    let process = std::process::id();
    let query_id = ask.query_id.clone().unwrap_or_else(|| format!("engine-{process}-{number}"));
    let mark = format!("[{process}/{number} {query_id}]");
    let tag: String = format!("{number:08x}{process:08x}").bytes().map(|digit| char::from(b'a' + digit % 26)).collect();
    let encoding = ask.encoding;
    let progress = Arc::new(Progress::default());
    let end = EndWithClient { desk: desk.clone(), mark: mark.clone(), progress: progress.clone() };
    let (pieces, pieces_end) = mpsc::channel(4);
    let (output, ends) = channel(encoding, ask.wait_for_end, tag.clone());
    let job = Job { ask, body: BodyReader::new(pieces_end), body_encoding, mark, visitor };
    let desk = desk.clone();
    tokio::task::spawn_blocking(move || {
        let (_turn, _place, _over) = (turn, place, Over(progress.clone()));
        work::run(&desk.engine, &desk.rules, &progress, job, output);
    });

    let mut head = ends.head;
    let pumped = pump(form.is_none().then_some(&mut body), pieces);
    tokio::pin!(pumped);
    let outcome = tokio::select! {
        biased;
        () = &mut pumped => head.await,
        outcome = &mut head => {
            if matches!(outcome, Ok(Err(_))) {
                // The client may read the answer only after it has sent its body.
                let _ = tokio::time::timeout(Duration::from_secs(10), &mut pumped).await;
            }
            outcome
        }
    };
    let outcome = outcome.map_err(|_| Refusal::request(500, "the thread that ran the statement died"))?;
    let ready = outcome.inspect_err(|_| end.progress.over.store(true, Ordering::Release))?;
    let body = UnsyncBoxBody::new(Watched { body: ends.body, end });
    Ok(headed(Response::new(body), &ready, &query_id, &tag, encoding))
}

async fn read_form(body: &mut Incoming, boundary: &str) -> Result<Vec<(String, String)>, Refusal> {
    let bytes = Limited::new(body, MAX_FORM)
        .collect()
        .await
        .map_err(|error| Refusal::request(400, format!("the multipart form could not be read: {error}")))?
        .to_bytes();
    multipart::fields(&bytes, boundary).map_err(|error| Refusal::request(400, error.to_string()))
}

/// Moves a body to the thread that runs the statement. When that does not listen any more, a little is read and thrown away.
async fn pump(body: Option<&mut Incoming>, pieces: mpsc::Sender<Piece>) {
    let Some(body) = body else {
        // The thread may be gone already, and wants nothing then.
        let _ = pieces.send(Piece::End).await;
        return;
    };
    let mut drained = 0;
    loop {
        // Without an end the other side knows that the client went away.
        let Ok(next) = tokio::time::timeout(BODY_PAUSE, body.frame()).await else { return };
        let Some(frame) = next else { break };
        let Ok(frame) = frame else { return };
        let Ok(bytes) = frame.into_data() else { continue };
        let length = bytes.len();
        if drained > 0 || pieces.send(Piece::Data(bytes)).await.is_err() {
            drained += length;
            if drained > MAX_DRAINED {
                return;
            }
        }
    }
    let _ = pieces.send(Piece::End).await;
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn headed(mut answer: Answer, ready: &Head, query_id: &str, tag: &str, encoding: Encoding) -> Answer {
    let headers = answer.headers_mut();
    let kind = match ready.format.as_str() {
        "JSON" | "JSONCompact" | "JSONStrings" | "JSONCompactStrings" => "application/json; charset=UTF-8",
        "JSONEachRow" | "JSONLines" | "NDJSON" => "application/x-ndjson; charset=UTF-8",
        "TabSeparated" | "TSV" | "TabSeparatedWithNames" | "TSVWithNames" => "text/tab-separated-values; charset=UTF-8",
        "CSV" => "text/csv; charset=UTF-8; header=absent",
        "CSVWithNames" => "text/csv; charset=UTF-8; header=present",
        _ => "application/octet-stream",
    };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Some(name) = encoding.header() {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(name));
    }
    for (name, value) in [
        ("X-ClickHouse-Query-Id", query_id),
        ("X-ClickHouse-Format", &ready.format),
        ("X-ClickHouse-Summary", &ready.summary),
        ("X-ClickHouse-Exception-Tag", tag),
    ] {
        // A value that no header can hold is left out.
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
    answer
}
