//! An HTTP catcher with a script of faults.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub query: BTreeMap<String, String>,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Request {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }
    pub fn form(&self) -> BTreeMap<String, String> {
        url::form_urlencoded::parse(self.body.as_bytes()).into_owned().collect()
    }
}

/// What goes wrong with one request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This status, with `Retry-After`.
    RetryAfter(u16, &'static str),
    /// This status and body; the provider does nothing.
    Answer(u16, &'static str),
    /// No answer; the provider does nothing.
    Hang,
    /// The connection is reset; the provider does nothing.
    Reset,
    /// The provider does its part, and the connection is reset before the answer.
    LostAnswer,
    /// The provider does its part; half of the answer comes, the rest never.
    SlowBody,
    /// The provider does its part; two megabytes come back.
    Huge,
}

/// What the provider does: status and body for a request.
pub type Behaviour = Box<dyn FnMut(&Request) -> (u16, Value) + Send>;

struct Inner {
    requests: Vec<Request>,
    faults: VecDeque<(String, Fault)>,
    behaviour: Behaviour,
}

/// The catcher. It ends with the test's runtime.
#[derive(Clone)]
pub struct Catcher {
    /// `http://127.0.0.1:<port>`
    pub url: String,
    inner: Arc<Mutex<Inner>>,
}

impl Catcher {
    pub async fn start(behaviour: impl FnMut(&Request) -> (u16, Value) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let inner = Arc::new(Mutex::new(Inner { requests: Vec::new(), faults: VecDeque::new(), behaviour: Box::new(behaviour) }));
        let catcher = Catcher { url, inner };
        let served = catcher.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let catcher = served.clone();
                tokio::spawn(async move { catcher.serve(stream).await });
            }
        });
        catcher
    }
    /// The next request whose path contains `part` meets this fault.
    pub fn fault(&self, part: &str, fault: Fault) {
        self.inner.lock().unwrap().faults.push_back((part.to_owned(), fault));
    }
    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.inner.lock().unwrap().requests.clone()
    }
    /// The bodies of the requests whose path contains `part`.
    pub fn bodies(&self, part: &str) -> Vec<Value> {
        self.requests().iter().filter(|request| request.path.contains(part)).map(Request::json).collect()
    }

    async fn serve(&self, mut stream: TcpStream) {
        let Some(request) = read(&mut stream).await else { return };
        let (fault, answer) = {
            let mut inner = self.inner.lock().unwrap();
            inner.requests.push(request.clone());
            let at = inner.faults.iter().position(|(part, _)| request.path.contains(part));
            let fault = at.and_then(|at| inner.faults.remove(at)).map(|(_, fault)| fault);
            let answer = match fault {
                Some(Fault::RetryAfter(..) | Fault::Answer(..) | Fault::Hang | Fault::Reset) => (500, Value::Null),
                None | Some(Fault::LostAnswer | Fault::SlowBody | Fault::Huge) => (inner.behaviour)(&request),
            };
            (fault, answer)
        };
        let body = answer.1.to_string();
        let _ = match fault {
            None => write(&mut stream, answer.0, "", &body).await,
            Some(Fault::RetryAfter(status, after)) => write(&mut stream, status, &format!("Retry-After: {after}\r\n"), "{}").await,
            Some(Fault::Answer(status, body)) => write(&mut stream, status, "", body).await,
            Some(Fault::Huge) => write(&mut stream, answer.0, "", &"x".repeat(2 << 20)).await,
            Some(Fault::Hang) => hold(stream).await,
            Some(Fault::Reset | Fault::LostAnswer) => stream.set_zero_linger(),
            Some(Fault::SlowBody) => {
                let head = format!("HTTP/1.1 {} X\r\nContent-Length: {}\r\n\r\n{}", answer.0, body.len() + 10, body);
                let _ = stream.write_all(head.as_bytes()).await;
                hold(stream).await
            }
        };
    }
}

/// Until the client goes away.
async fn hold(mut stream: TcpStream) -> std::io::Result<()> {
    let mut rest = [0u8; 64];
    let gone = async { while matches!(stream.read(&mut rest).await, Ok(read) if read > 0) {} };
    let _ = tokio::time::timeout(Duration::from_secs(60), gone).await;
    Ok(())
}

async fn write(stream: &mut TcpStream, status: u16, headers: &str, body: &str) -> std::io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}

async fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let text = String::from_utf8(bytes[..head].to_vec()).ok()?;
    let mut lines = text.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: BTreeMap<String, String> =
        lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    let length: usize = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    while bytes.len() < head + 4 + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let body = String::from_utf8(bytes[head + 4..head + 4 + length].to_vec()).ok()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let query = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    Some(Request { method, path: path.to_owned(), query, headers, body })
}
