//! Runs one request's statement on a blocking thread: puts the statement together from parameter and body, opens a connection of its
//! own (0.1 ms, so that nothing of a session ever reaches another request), applies the settings, and streams data in or rows out.

use std::io::{Error, ErrorKind, Read};
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use model::time::Stopwatch;
use tokio::sync::mpsc;

use super::access::Visitor;
use super::encoding::{Capped, Encoding};
use super::joining::{Joining, joining};
use super::library::{Connection, Counts, Engine};
use super::output::{Head, Output, Refusal};
use super::request::{Ask, literal, preparations};
use super::sql::{Shape, format_clause, has_word, shape, split};

/// The largest statement, without the data of an INSERT.
const MAX_STATEMENT: usize = 16 << 20;
/// The largest body, decoded.
const MAX_BODY: u64 = 4 << 30;
/// How much data is given to the engine at once.
const APPEND: usize = 1 << 20;

/// A part of a request's body.
pub enum Piece {
    /// Some bytes.
    Data(Bytes),
    /// The end. A body that just stops has none: its client went away.
    End,
}

/// A request's body, read on the thread that runs the statement.
pub struct BodyReader {
    pieces: mpsc::Receiver<Piece>,
    current: Bytes,
    ended: bool,
}

impl BodyReader {
    /// From the pieces that the listener sends.
    pub fn new(pieces: mpsc::Receiver<Piece>) -> Self {
        BodyReader { pieces, current: Bytes::new(), ended: false }
    }
}

impl Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.current.is_empty() && !self.ended {
            match self.pieces.blocking_recv() {
                Some(Piece::Data(bytes)) => self.current = bytes,
                Some(Piece::End) => self.ended = true,
                None => return Err(Error::new(ErrorKind::ConnectionAborted, "the client went away before the end of its body")),
            }
        }
        let length = buffer.len().min(self.current.len());
        buffer[..length].copy_from_slice(&self.current.split_to(length));
        Ok(length)
    }
}

/// How a request and its statement stand; shared with the listener.
#[derive(Default)]
pub struct Progress {
    /// The client went away: do not begin.
    pub cancelled: AtomicBool,
    /// The statement is over.
    pub over: AtomicBool,
}

/// A request, ready to run.
pub struct Job {
    /// What is asked.
    pub ask: Ask,
    /// The body and how it is encoded.
    pub body: BodyReader,
    /// The body's `Content-Encoding`.
    pub body_encoding: Encoding,
    /// What the statement's `log_comment` begins with.
    pub mark: String,
    /// Who asks, over TCP.
    pub visitor: Option<Visitor>,
}

/// What holds for every statement.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Settings that a request may change.
    pub defaults: Vec<(&'static str, String)>,
    /// The largest answer in a format that cannot be streamed, in bytes by the engine's own count.
    pub max_whole_answer: u64,
}

/// Runs a job and answers it.
pub fn run(engine: &Engine, rules: &Rules, progress: &Progress, job: Job, mut output: Output) {
    let worker = Worker { engine, rules, progress, stopwatch: Stopwatch::start() };
    match worker.perform(job, &mut output) {
        Ok(()) => {}
        Err(refusal) => output.fail(refusal),
    }
}

/// Ends the statements with this mark; those that have not begun are not found.
///
/// # Errors
/// The engine's.
pub fn kill(engine: &Engine, mark: &str) -> Result<(), Refusal> {
    let sql = format!("KILL QUERY WHERE startsWith(Settings['log_comment'], {}) ASYNC", literal(mark));
    engine.connect()?.query(&sql, "Null").map(drop).map_err(Refusal::from)
}

struct Worker<'a> {
    engine: &'a Engine,
    rules: &'a Rules,
    progress: &'a Progress,
    stopwatch: Stopwatch,
}

impl Worker<'_> {
    fn perform(&self, job: Job, output: &mut Output) -> Result<(), Refusal> {
        let Job { mut ask, body, body_encoding, mark, visitor } = job;
        let encoding = if ask.blocks_in { Encoding::Blocks } else { body_encoding };
        let mut body = Capped::new(encoding.reader(body).map_err(unreadable)?, MAX_BODY);
        let query = std::mem::take(&mut ask.query);
        let (text, found) = statement(query, &mut body)?;
        let (sql, data) = match &found {
            Shape::InsertData { statement_end, format, data_start } => {
                (&text[..*statement_end], Some((format.as_str(), &text[*data_start..])))
            }
            Shape::Empty | Shape::Unfinished => {
                return Err(Refusal::exception(
                    62,
                    "SYNTAX_ERROR",
                    "Empty query: send a statement as the parameter `query` or as the body",
                ));
            }
            Shape::Select | Shape::Session | Shape::Other => (text.as_slice(), None),
        };
        let sql = std::str::from_utf8(sql).map_err(|_| Refusal::request(400, "the statement is not UTF-8 text"))?;
        if split(sql).len() > 1 {
            return Err(Refusal::exception(62, "SYNTAX_ERROR", "Syntax error (Multi-statements are not allowed)"));
        }
        if found == Shape::Session && ask.session {
            let words = "Sessions are not kept by the embedded engine: give settings and the database as URL parameters, and use no temporary tables";
            return Err(Refusal::exception(48, "NOT_IMPLEMENTED", words));
        }
        let Some(visitor) = &visitor else {
            let mut connection = self.prepared(&ask, false, &mark)?;
            return match data {
                Some((format, start)) => self.insert(&mut connection, sql, format, std::io::Cursor::new(start).chain(body), output),
                None => self.query(&mut connection, sql, found == Shape::Select, &ask, output),
            };
        };
        // A visitor's statement is never run as it came: what the guard made of it is.
        let permitted = visitor.check(sql, &ask.format)?;
        if data.is_some() {
            return Err(Refusal::exception(164, "READONLY", "Cannot execute query in readonly mode."));
        }
        let select = shape(permitted.sql.as_bytes(), true) == Shape::Select;
        ask.format = permitted.format;
        self.query(&mut self.prepared(&ask, true, &mark)?, &permitted.sql, select, &ask, output)
    }

    fn prepared(&self, ask: &Ask, visitor: bool, mark: &str) -> Result<Connection, Refusal> {
        let readonly = match (visitor, ask.get) {
            (true, _) => Some(1),
            // As ClickHouse does: GET never writes, but may bring settings.
            (false, true) => Some(2),
            (false, false) => None,
        };
        let mut connection = self.engine.connect()?;
        for statement in preparations(&self.rules.defaults, ask, readonly, mark) {
            connection.query(&statement, "Null")?;
        }
        if self.progress.cancelled.load(Ordering::Acquire) {
            return Err(Refusal::request(499, "the client went away"));
        }
        Ok(connection)
    }

    fn insert(
        &self,
        connection: &mut Connection,
        sql: &str,
        format: &str,
        mut data: impl Read,
        output: &mut Output,
    ) -> Result<(), Refusal> {
        let mut stream = connection.insert(sql, format)?;
        let mut buffer = vec![0u8; APPEND];
        loop {
            let filled = fill(&mut data, &mut buffer).map_err(unreadable)?;
            if filled == 0 {
                break;
            }
            stream.append(&buffer[..filled])?;
        }
        // The last moment at which nothing is stored of a request whose client is gone.
        if self.progress.cancelled.load(Ordering::Acquire) {
            return Err(Refusal::request(499, "the client went away"));
        }
        let counts = stream.finish()?;
        output.finish(|| Head { format: format.to_owned(), summary: self.summary(counts, 0, 0) })
    }

    fn query(&self, connection: &mut Connection, sql: &str, select: bool, ask: &Ask, output: &mut Output) -> Result<(), Refusal> {
        let named = format_clause(sql).unwrap_or(&ask.format);
        // Totals and extremes are formatted after the rows, which pieces are not made for.
        let apart = ["totals", "extremes", "outfile", "output_format_json_array_of_rows"];
        let whole = has_word(sql, &apart) || ask.settings.keys().any(|name| apart.contains(&name.as_str()));
        if let Some(joining) = joining(named).filter(|_| select && !whole)
            && self.stream(connection, sql, named, joining, output)?
        {
            return Ok(());
        }
        if select && !["max_result_bytes", "result_overflow_mode"].iter().any(|name| ask.settings.contains_key(*name)) {
            let limit = format!("SET max_result_bytes = {}, result_overflow_mode = 'throw'", self.rules.max_whole_answer);
            // Where `readonly` forbids it the engine's own memory cap has to do.
            let _ = connection.query(&limit, "Null");
        }
        let answer = connection.query(sql, &ask.format)?;
        let head = || Head { format: named.to_owned(), summary: self.summary(answer.counts(), answer.rows(), answer.bytes().len()) };
        if !answer.bytes().is_empty() {
            output.write(head, answer.bytes())?;
        }
        output.finish(head)
    }

    /// Streams a SELECT; false when the engine does not stream this statement and has not run it.
    fn stream(&self, connection: &mut Connection, sql: &str, format: &str, joining: Joining, output: &mut Output) -> Result<bool, Refusal> {
        let mut stream = match connection.stream(sql, format) {
            Ok(stream) => stream,
            Err(error) if error.is_not_streamable() => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let head = |counts: Counts, rows: u64, bytes: usize| Head { format: format.to_owned(), summary: self.summary(counts, rows, bytes) };
        let mut header: Option<Vec<u8>> = None;
        while let Some(piece) = stream.next_piece()? {
            let bytes = piece.bytes();
            let rows = match &header {
                None => {
                    let length = joining.header_length(bytes).ok_or_else(unjoinable)?;
                    header = Some(bytes[..length].to_vec());
                    bytes
                }
                Some(header) => bytes.strip_prefix(header.as_slice()).ok_or_else(unjoinable)?,
            };
            output.write(|| head(piece.counts(), piece.rows(), bytes.len()), rows)?;
            output.flush()?;
        }
        output.finish(|| head(Counts::default(), 0, 0))?;
        Ok(true)
    }

    fn summary(&self, counts: Counts, rows: u64, bytes: usize) -> String {
        serde_json::json!({
            "read_rows": counts.read_rows.to_string(),
            "read_bytes": counts.read_bytes.to_string(),
            "written_rows": counts.written_rows.to_string(),
            "written_bytes": counts.written_bytes.to_string(),
            "total_rows_to_read": "0",
            "result_rows": rows.to_string(),
            "result_bytes": bytes.to_string(),
            "elapsed_ns": self.stopwatch.elapsed().as_nanos().to_string(),
        })
        .to_string()
    }
}

fn unjoinable() -> Refusal {
    Refusal::exception(1002, "UNKNOWN_EXCEPTION", "the rows of this format could not be joined: ask for another format")
}

fn unreadable(error: Error) -> Refusal {
    let status = if error.kind() == ErrorKind::FileTooLarge { 413 } else { 400 };
    Refusal::request(status, format!("the body could not be read: {error}"))
}

/// Puts a statement together: the parameter, a line end, the body. Of an INSERT's data only as much is taken as came with the rest.
fn statement(query: String, body: &mut impl Read) -> Result<(Vec<u8>, Shape), Refusal> {
    let mut text = query.into_bytes();
    if !text.is_empty() {
        text.push(b'\n');
    }
    let mut buffer = vec![0u8; 64 << 10];
    loop {
        let found = shape(&text, false);
        if matches!(found, Shape::InsertData { .. }) {
            return Ok((text, found));
        }
        if text.len() > MAX_STATEMENT {
            let words = format!("the statement is larger than {MAX_STATEMENT} bytes: send data as INSERT ... FORMAT");
            return Err(Refusal::request(413, words));
        }
        match body.read(&mut buffer) {
            Ok(0) => {
                let found = shape(&text, true);
                return Ok((text, found));
            }
            Ok(read) => text.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(unreadable(error)),
        }
    }
}

/// Reads until the buffer is full or the source ends.
fn fill(source: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_put_together_and_data_is_left() {
        let (text, found) = statement("INSERT INTO t FORMAT Native".to_owned(), &mut &b"\n\x00data"[..]).unwrap();
        let Shape::InsertData { data_start, .. } = found else { panic!("{found:?}") };
        assert_eq!(&text[data_start..], b"\n\x00data", "the body's own first line end is data");
        let (text, found) = statement("SELECT".to_owned(), &mut &b"1"[..]).unwrap();
        assert_eq!((text.as_slice(), found), (&b"SELECT\n1"[..], Shape::Select));
        let (_, found) = statement(String::new(), &mut &b"INSERT INTO t VALUES (1)"[..]).unwrap();
        assert!(matches!(found, Shape::InsertData { .. }));
        let (_, found) = statement("INSERT INTO t".to_owned(), &mut &b"SELECT 1"[..]).unwrap();
        assert_eq!(found, Shape::Other);
    }

    #[test]
    fn a_large_insert_is_not_taken_whole_and_a_large_statement_is_refused() {
        let data = vec![b'1'; 40 << 20];
        let mut body = data.as_slice();
        statement("INSERT INTO t FORMAT TSV".to_owned(), &mut body).unwrap();
        assert!(body.len() > 39 << 20);
        let refused = statement("SELECT".to_owned(), &mut data.as_slice()).unwrap_err();
        assert_eq!(refused.status, 413);
    }

    #[test]
    fn a_body_that_just_stops_is_an_error() {
        let (sender, receiver) = mpsc::channel(4);
        sender.try_send(Piece::Data(Bytes::from_static(b"12"))).unwrap();
        let mut reader = BodyReader::new(receiver);
        let mut two = [0u8; 2];
        reader.read_exact(&mut two).unwrap();
        sender.try_send(Piece::End).unwrap();
        assert_eq!(reader.read(&mut two).unwrap(), 0);
        let (sender, receiver) = mpsc::channel(4);
        drop(sender);
        assert!(BodyReader::new(receiver).read(&mut two).is_err());
    }
}
