//! The way of an answer from the thread that runs the statement to the client: first a head, then encoded frames through a bounded
//! channel, so that a slow client slows the engine down. A failure after the first frame is put into the body as ClickHouse does
//! (`X-ClickHouse-Exception-Tag`), and the body is broken off, so that no client takes it for whole.

use std::io::{Error, ErrorKind, Write};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::encoding::{Encoder, Encoding};
use super::library::EngineError;
use super::status::{error_code, http_status};

/// What `wait_end_of_query` may hold back.
const MAX_HELD: usize = 256 << 20;
/// What is gathered before a frame is sent.
const FRAME: usize = 128 << 10;
/// How long a client may take to read a frame.
const CLIENT_PAUSE: Duration = Duration::from_secs(300);
/// Breaking a body off throws away what was not yet written to the client: so long it has for that.
const LAST_FLUSH: Duration = Duration::from_secs(1);
/// Frames on their way at the most.
const FRAMES: usize = 4;

/// Why a request gets no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP's status.
    pub status: u16,
    /// ClickHouse's error code, for `X-ClickHouse-Exception-Code`.
    pub code: Option<u32>,
    /// The whole text for the client.
    pub text: String,
}

impl Refusal {
    /// A request that makes no sense; ClickHouse never saw it.
    pub fn request(status: u16, text: impl Into<String>) -> Self {
        Refusal { status, code: None, text: text.into() }
    }
    /// In ClickHouse's words, though it is the listener who speaks.
    pub fn exception(code: u32, name: &str, text: &str) -> Self {
        Refusal { status: http_status(code), code: Some(code), text: format!("Code: {code}. DB::Exception: {text} ({name})") }
    }
}

impl From<EngineError> for Refusal {
    fn from(error: EngineError) -> Self {
        let text = error.to_string();
        // 1002: UNKNOWN_EXCEPTION
        let code = error_code(&text).unwrap_or(1002);
        Refusal { status: http_status(code), code: Some(code), text }
    }
}

/// What goes before the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The format of the body.
    pub format: String,
    /// `X-ClickHouse-Summary`, JSON.
    pub summary: String,
}

/// A step of the body.
enum Step {
    Data(Bytes),
    End,
    Broken,
}

#[derive(Clone)]
struct Steps {
    sender: mpsc::Sender<Step>,
    runtime: Handle,
}

impl Steps {
    /// Waits for the client, but not for ever: a client that does not read would keep a statement from others.
    fn send(&self, step: Step) -> std::io::Result<()> {
        let sent = self.runtime.block_on(tokio::time::timeout(CLIENT_PAUSE, self.sender.send(step)));
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Error::new(ErrorKind::BrokenPipe, "the client went away")),
            Err(_) => Err(Error::new(ErrorKind::TimedOut, "the client does not read its answer")),
        }
    }
}

struct FrameWriter {
    steps: Steps,
    pending: Vec<u8>,
}

impl Write for FrameWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= FRAME {
            self.flush()?;
        }
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        let pending = std::mem::take(&mut self.pending);
        if pending.is_empty() { Ok(()) } else { self.steps.send(Step::Data(pending.into())) }
    }
}

enum State {
    /// Nothing was sent. With a buffer: nothing may be sent before the end.
    Silent(oneshot::Sender<Result<Head, Refusal>>, Option<(Option<Head>, Vec<u8>)>),
    Sending(Encoder<FrameWriter>),
    Over,
}

/// The writing end, for the thread that runs the statement.
pub struct Output {
    state: State,
    steps: Steps,
    encoding: Encoding,
    tag: String,
}

/// The reading ends, for the request's future.
pub struct Ends {
    /// The head, or why there is none.
    pub head: oneshot::Receiver<Result<Head, Refusal>>,
    /// The body.
    pub body: StreamedBody,
}

/// A new answer; called inside of the runtime. `tag` marks an exception in the body: 16 letters that the client is told beforehand.
pub fn channel(encoding: Encoding, wait_for_end: bool, tag: String) -> (Output, Ends) {
    let (head, head_end) = oneshot::channel();
    let (sender, steps_end) = mpsc::channel(FRAMES);
    let steps = Steps { sender, runtime: Handle::current() };
    let held = wait_for_end.then(|| (None, Vec::new()));
    let output = Output { state: State::Silent(head, held), steps, encoding, tag };
    (output, Ends { head: head_end, body: StreamedBody { steps: steps_end, breaking: None } })
}

impl Output {
    /// Takes a piece of the body; `head` is asked for at the first one.
    ///
    /// # Errors
    /// When the client is gone, or more is held back than may be.
    pub fn write(&mut self, head: impl FnOnce() -> Head, bytes: &[u8]) -> Result<(), Refusal> {
        self.begin(head)?;
        match &mut self.state {
            State::Silent(_, Some((_, held))) if held.len() + bytes.len() > MAX_HELD => Err(Refusal::exception(
                396,
                "TOO_MANY_ROWS_OR_BYTES",
                &format!("the answer is larger than the {MAX_HELD} bytes that wait_end_of_query holds back: ask without it"),
            )),
            State::Silent(_, Some((_, held))) => {
                held.extend_from_slice(bytes);
                Ok(())
            }
            State::Sending(encoder) => encoder.write_all(bytes).map_err(gone),
            State::Silent(_, None) | State::Over => Err(Refusal::request(500, "the answer is over")),
        }
    }

    /// Sends what was gathered, so that a client that waits for rows gets those that are there.
    ///
    /// # Errors
    /// When the client is gone.
    pub fn flush(&mut self) -> Result<(), Refusal> {
        match &mut self.state {
            State::Sending(encoder) => encoder.flush().map_err(gone),
            State::Silent(..) | State::Over => Ok(()),
        }
    }

    /// Ends the body.
    ///
    /// # Errors
    /// When the client is gone.
    pub fn finish(&mut self, head: impl FnOnce() -> Head) -> Result<(), Refusal> {
        self.begin(head)?;
        self.state = match std::mem::replace(&mut self.state, State::Over) {
            State::Silent(sender, Some((Some(head), held))) => {
                let mut encoder = self.start(sender, head)?;
                encoder.write_all(&held).map_err(gone)?;
                State::Sending(encoder)
            }
            state @ (State::Silent(..) | State::Sending(_) | State::Over) => state,
        };
        self.end()
    }

    fn end(&mut self) -> Result<(), Refusal> {
        if let State::Sending(encoder) = std::mem::replace(&mut self.state, State::Over) {
            encoder.finish().map_err(gone)?;
            self.steps.send(Step::End).map_err(gone)?;
        }
        Ok(())
    }

    fn begin(&mut self, head: impl FnOnce() -> Head) -> Result<(), Refusal> {
        self.state = match std::mem::replace(&mut self.state, State::Over) {
            State::Silent(sender, None) => State::Sending(self.start(sender, head())?),
            State::Silent(sender, Some((None, held))) => State::Silent(sender, Some((Some(head()), held))),
            state @ (State::Silent(_, Some((Some(_), _))) | State::Sending(_) | State::Over) => state,
        };
        Ok(())
    }

    fn start(&self, sender: oneshot::Sender<Result<Head, Refusal>>, head: Head) -> Result<Encoder<FrameWriter>, Refusal> {
        sender.send(Ok(head)).map_err(|_| gone(ErrorKind::BrokenPipe.into()))?;
        self.encoding.writer(FrameWriter { steps: self.steps.clone(), pending: Vec::new() }).map_err(gone)
    }

    /// Says why it failed: as the answer if nothing was sent yet, else in the body, which is then broken off.
    pub fn fail(mut self, refusal: Refusal) {
        match std::mem::replace(&mut self.state, State::Over) {
            // A client that is gone needs no reason.
            State::Silent(sender, _) => drop(sender.send(Err(refusal))),
            State::Sending(mut encoder) => {
                let sent =
                    encoder.flush().and_then(|()| encoder.write_all(&exception(&refusal.text, &self.tag))).and_then(|()| encoder.finish());
                if sent.is_ok() {
                    let _ = self.steps.send(Step::Broken);
                }
            }
            State::Over => {}
        }
    }
}

fn gone(error: Error) -> Refusal {
    Refusal::request(499, error.to_string())
}

/// An exception as it stands in a body, since ClickHouse 25.11.
fn exception(message: &str, tag: &str) -> Vec<u8> {
    let message = format!("{}\n", message.trim_end());
    format!("\r\n__exception__\r\n{tag}\r\n{message}{length} {tag}\r\n__exception__\r\n", length = message.len()).into_bytes()
}

/// The body of an answer. Dropped before its end, it makes the statement fail at its next frame.
pub struct StreamedBody {
    steps: mpsc::Receiver<Step>,
    breaking: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Body for StreamedBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Some(flushed) = &mut self.breaking {
            let failed = || Some(Err(Error::other("the statement failed after its first rows")));
            return flushed.as_mut().poll(context).map(|()| failed());
        }
        match self.steps.poll_recv(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Step::Data(bytes))) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            Poll::Ready(Some(Step::End)) => Poll::Ready(None),
            Poll::Ready(Some(Step::Broken) | None) => {
                self.breaking = Some(Box::pin(tokio::time::sleep(LAST_FLUSH)));
                self.poll_frame(context)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    fn head() -> Head {
        Head { format: "TSV".to_owned(), summary: "{}".to_owned() }
    }

    async fn taken(mut body: StreamedBody) -> (Vec<u8>, bool) {
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => bytes.extend(frame.into_data().unwrap()),
                Err(_) => return (bytes, false),
            }
        }
        (bytes, true)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_whole_answer_ends_well() {
        for wait in [false, true] {
            let (mut output, ends) = channel(Encoding::Identity, wait, "t".to_owned());
            let writer = tokio::task::spawn_blocking(move || {
                for _ in 0..100 {
                    output.write(head, &[b'x'; 10_000]).unwrap();
                }
                output.finish(head).unwrap();
            });
            assert_eq!(ends.head.await.unwrap(), Ok(head()));
            assert_eq!(taken(ends.body).await, (vec![b'x'; 1_000_000], true));
            writer.await.unwrap();
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_failure_is_the_answer_or_breaks_it() {
        let refusal = Refusal::exception(396, "X", "no");
        for (encoding, wait, rows_first) in
            [(Encoding::Identity, false, true), (Encoding::Identity, true, true), (Encoding::Identity, false, false)]
        {
            let (mut output, ends) = channel(encoding, wait, "tagtagtagtagtagt".to_owned());
            let reason = refusal.clone();
            let writer = tokio::task::spawn_blocking(move || {
                if rows_first {
                    output.write(head, b"rows").unwrap();
                }
                output.fail(reason);
            });
            let answer = ends.head.await.unwrap();
            if rows_first && !wait {
                assert_eq!(answer, Ok(head()));
                let (bytes, whole) = taken(ends.body).await;
                let text = String::from_utf8(bytes).unwrap();
                assert!(!whole);
                let expected = "rows\r\n__exception__\r\ntagtagtagtagtagt\r\nCode: 396. DB::Exception: no (X)\n33 tagtagtagtagtagt\r\n__exception__\r\n";
                assert_eq!(text, expected);
            } else {
                assert_eq!(answer, Err(refusal.clone()));
            }
            writer.await.unwrap();
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_client_that_is_gone_stops_the_writer() {
        let (mut output, ends) = channel(Encoding::Identity, false, "t".to_owned());
        drop(ends);
        let stopped = tokio::task::spawn_blocking(move || output.write(head, b"x").is_err()).await.unwrap();
        assert!(stopped);
    }
}
