//! The C interface of `libchdb.so`: the one module that is `unsafe`. Safe wrappers own every handle and free it once.
//!
//! Facts relied on (tried on 26.7): one data path per process; many connections, one statement at a time on each; opening one more
//! connection costs 0.1 ms; every result is owned by the caller; a stream of results must be cancelled if it is left early and is
//! freed like a result; an insert stream is never null and must be destroyed on every path; strings go in by pointer and length
//! and are copied; binary data must go through an insert stream.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use libloading::Library;

type Conn = *mut c_void;
type ConnHolder = *mut Conn;
type ResultHandle = *mut c_void;
type StreamHandle = *mut c_void;

/// Why the engine did not do it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EngineError {
    /// The library cannot be loaded.
    #[error("the engine's library {path} cannot be loaded: {why}")]
    Load {
        /// Which file.
        path: String,
        /// Why.
        why: String,
    },
    /// The data folder cannot be opened.
    #[error("the engine does not open its data folder: another process may hold it, or its configuration is wrong")]
    Connect,
    /// A statement failed: ClickHouse's own words.
    #[error("{0}")]
    Statement(String),
    /// An argument holds a NUL byte.
    #[error("an argument holds a NUL byte")]
    Nul,
}

impl EngineError {
    /// Whether the engine refused to stream a statement that it would run otherwise.
    pub fn is_not_streamable(&self) -> bool {
        matches!(self, EngineError::Statement(words) if words.contains("Streaming query is not supported"))
    }
}

struct Functions {
    connect: unsafe extern "C" fn(c_int, *mut *mut c_char) -> ConnHolder,
    close: unsafe extern "C" fn(ConnHolder),
    query: unsafe extern "C" fn(Conn, *const c_char, usize, *const c_char, usize) -> ResultHandle,
    stream: unsafe extern "C" fn(Conn, *const c_char, usize, *const c_char, usize) -> ResultHandle,
    stream_fetch: unsafe extern "C" fn(Conn, ResultHandle) -> ResultHandle,
    stream_cancel: unsafe extern "C" fn(Conn, ResultHandle),
    result_buffer: unsafe extern "C" fn(ResultHandle) -> *const c_char,
    result_length: unsafe extern "C" fn(ResultHandle) -> usize,
    result_rows: unsafe extern "C" fn(ResultHandle) -> u64,
    result_rows_written: unsafe extern "C" fn(ResultHandle) -> u64,
    result_bytes_written: unsafe extern "C" fn(ResultHandle) -> u64,
    result_storage_rows: unsafe extern "C" fn(ResultHandle) -> u64,
    result_storage_bytes: unsafe extern "C" fn(ResultHandle) -> u64,
    result_error: unsafe extern "C" fn(ResultHandle) -> *const c_char,
    result_destroy: unsafe extern "C" fn(ResultHandle),
    insert: unsafe extern "C" fn(Conn, *const c_char, usize, *const c_char, usize) -> StreamHandle,
    insert_error: unsafe extern "C" fn(StreamHandle) -> *const c_char,
    insert_append: unsafe extern "C" fn(StreamHandle, *const c_void, usize) -> c_int,
    insert_done: unsafe extern "C" fn(StreamHandle) -> ResultHandle,
    insert_cancel: unsafe extern "C" fn(StreamHandle),
    insert_destroy: unsafe extern "C" fn(StreamHandle),
}

/// The loaded library. It is never unloaded: the engine's own threads run its code until the process ends.
pub struct EngineLibrary {
    functions: Functions,
}

impl EngineLibrary {
    /// Loads the library and turns its signal handlers off.
    ///
    /// # Errors
    /// [`EngineError::Load`] when the file is missing, is no library, or lacks one of the functions.
    pub fn load(path: &Path) -> Result<Arc<Self>, EngineError> {
        let fail = |why: libloading::Error| EngineError::Load { path: path.display().to_string(), why: why.to_string() };
        // SAFETY: loading runs the library's constructors; libchdb is made to be loaded into a process.
        let library = unsafe { Library::new(path) }.map_err(fail)?;
        macro_rules! function {
            ($name:literal) => {
                // SAFETY: the type is the function's signature as chdb.h of 26.7 declares it.
                *unsafe { library.get(concat!($name, "\0").as_bytes()) }.map_err(fail)?
            };
        }
        let functions = Functions {
            connect: function!("chdb_connect"),
            close: function!("chdb_close_conn"),
            query: function!("chdb_query_n"),
            stream: function!("chdb_stream_query_n"),
            stream_fetch: function!("chdb_stream_fetch_result"),
            stream_cancel: function!("chdb_stream_cancel_query"),
            result_buffer: function!("chdb_result_buffer"),
            result_length: function!("chdb_result_length"),
            result_rows: function!("chdb_result_rows_read"),
            result_rows_written: function!("chdb_result_rows_written"),
            result_bytes_written: function!("chdb_result_bytes_written"),
            result_storage_rows: function!("chdb_result_storage_rows_read"),
            result_storage_bytes: function!("chdb_result_storage_bytes_read"),
            result_error: function!("chdb_result_error"),
            result_destroy: function!("chdb_destroy_query_result"),
            insert: function!("chdb_stream_insert_n"),
            insert_error: function!("chdb_stream_insert_error"),
            insert_append: function!("chdb_stream_append"),
            insert_done: function!("chdb_stream_done"),
            insert_cancel: function!("chdb_stream_cancel_insert"),
            insert_destroy: function!("chdb_destroy_insert_stream"),
        };
        let signal_handlers: unsafe extern "C" fn(c_int) = function!("chdb_set_signal_handlers_enabled");
        // SAFETY: a plain setter, called before any connection exists.
        unsafe { signal_handlers(0) };
        std::mem::forget(library);
        Ok(Arc::new(EngineLibrary { functions }))
    }
}

/// An open data folder. Cheap to clone; the engine holds the folder as long as one connection is open.
#[derive(Clone)]
pub struct Engine {
    library: Arc<EngineLibrary>,
    data: PathBuf,
    config: PathBuf,
}

impl Engine {
    /// Opens the folder and returns its first connection too: while that one lives, the engine keeps the folder open.
    ///
    /// # Errors
    /// [`EngineError::Connect`] when the engine refuses the folder or the configuration file.
    pub fn open(library: Arc<EngineLibrary>, data: &Path, config: &Path) -> Result<(Self, Connection), EngineError> {
        let engine = Engine { library, data: data.to_owned(), config: config.to_owned() };
        let first = engine.connect()?;
        Ok((engine, first))
    }

    /// One more connection: a session of its own with default settings, closed when it is dropped.
    ///
    /// # Errors
    /// [`EngineError::Connect`] when the engine gives none; [`EngineError::Nul`] when a path holds a NUL byte.
    pub fn connect(&self) -> Result<Connection, EngineError> {
        let arguments =
            ["clickhouse".to_owned(), format!("--path={}", self.data.display()), format!("--config-file={}", self.config.display())]
                .into_iter()
                .map(|argument| CString::new(argument).map_err(|_| EngineError::Nul))
                .collect::<Result<Vec<_>, _>>()?;
        let mut pointers: Vec<*mut c_char> = arguments.iter().map(|argument| argument.as_ptr().cast_mut()).collect();
        let count = c_int::try_from(pointers.len()).map_err(|_| EngineError::Nul)?;
        // SAFETY: `pointers` are `count` NUL-terminated strings that live over the call; the engine copies them.
        let holder = unsafe { (self.library.functions.connect)(count, pointers.as_mut_ptr()) };
        if holder.is_null() {
            return Err(EngineError::Connect);
        }
        // SAFETY: a non-null holder points to a connection handle (which may itself be null).
        let handle = unsafe { *holder };
        if handle.is_null() {
            return Err(EngineError::Connect);
        }
        Ok(Connection { library: self.library.clone(), holder, handle })
    }
}

/// One connection: one statement at a time, which `&mut self` enforces.
pub struct Connection {
    library: Arc<EngineLibrary>,
    holder: ConnHolder,
    handle: Conn,
}

// SAFETY: a connection may be used from any thread, by one at a time; it is not `Sync`, and every call takes `&mut self`.
unsafe impl Send for Connection {}

impl Connection {
    /// Runs one statement to its end. A `FORMAT` clause in the text overrides `format`.
    ///
    /// # Errors
    /// [`EngineError::Statement`] with ClickHouse's own words.
    pub fn query(&mut self, sql: &str, format: &str) -> Result<Answer<'_>, EngineError> {
        let functions = &self.library.functions;
        // SAFETY: the handle is live; both texts are given by pointer and length and are copied by the engine.
        let result = unsafe { (functions.query)(self.handle, sql.as_ptr().cast(), sql.len(), format.as_ptr().cast(), format.len()) };
        Answer::new(functions, result)
    }

    /// Starts a SELECT whose rows are fetched piece by piece. **Each piece is formatted by itself**: only formats whose pieces can be
    /// joined make one answer. Statements other than SELECT are refused before they run (see [`EngineError::is_not_streamable`]).
    ///
    /// # Errors
    /// [`EngineError::Statement`]; most errors come with the first piece.
    pub fn stream(&mut self, sql: &str, format: &str) -> Result<QueryStream<'_>, EngineError> {
        let functions = &self.library.functions;
        // SAFETY: as for `query`.
        let handle = unsafe { (functions.stream)(self.handle, sql.as_ptr().cast(), sql.len(), format.as_ptr().cast(), format.len()) };
        if handle.is_null() {
            return Err(EngineError::Statement("the engine gave no stream".to_owned()));
        }
        // SAFETY: the handle is live; the text belongs to it and is copied at once.
        let error = unsafe { text((functions.result_error)(handle)) };
        let stream = QueryStream { functions, connection: self.handle, handle, begun: false, ended: error.is_some() };
        error.map_or(Ok(stream), |words| Err(EngineError::Statement(words)))
    }

    /// Starts an INSERT whose data follows in `format`. The statement must not carry a `FORMAT` or `VALUES` clause, nor data.
    ///
    /// # Errors
    /// [`EngineError::Statement`].
    pub fn insert(&mut self, sql: &str, format: &str) -> Result<InsertStream<'_>, EngineError> {
        let functions = &self.library.functions;
        // SAFETY: as for `query`; the stream is never null and is destroyed when the guard is dropped.
        let handle = unsafe { (functions.insert)(self.handle, sql.as_ptr().cast(), sql.len(), format.as_ptr().cast(), format.len()) };
        let stream = InsertStream { functions, handle, open: true, _connection: PhantomData };
        stream.check()?;
        Ok(stream)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: the holder came from `chdb_connect` and is closed once.
        unsafe { (self.library.functions.close)(self.holder) };
    }
}

/// What a statement gave, in the engine's memory until it is dropped.
pub struct Answer<'c> {
    functions: &'c Functions,
    handle: ResultHandle,
}

impl<'c> Answer<'c> {
    fn new(functions: &'c Functions, handle: ResultHandle) -> Result<Self, EngineError> {
        if handle.is_null() {
            return Err(EngineError::Statement("the engine gave no result".to_owned()));
        }
        let answer = Answer { functions, handle };
        // SAFETY: the handle is live; the text belongs to it and is copied at once.
        match unsafe { text((functions.result_error)(handle)) } {
            None => Ok(answer),
            Some(words) => Err(EngineError::Statement(words)),
        }
    }

    /// The formatted rows.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: buffer and length belong to the live result, which outlives the borrow of `self`.
        unsafe {
            let (length, buffer) = ((self.functions.result_length)(self.handle), (self.functions.result_buffer)(self.handle));
            if buffer.is_null() || length == 0 { &[] } else { std::slice::from_raw_parts(buffer.cast::<u8>(), length) }
        }
    }

    /// Rows in this answer.
    pub fn rows(&self) -> u64 {
        // SAFETY: a getter on a live result.
        unsafe { (self.functions.result_rows)(self.handle) }
    }

    /// What was read and written to get it.
    pub fn counts(&self) -> Counts {
        // SAFETY: getters on a live result.
        unsafe {
            Counts {
                read_rows: (self.functions.result_storage_rows)(self.handle),
                read_bytes: (self.functions.result_storage_bytes)(self.handle),
                written_rows: (self.functions.result_rows_written)(self.handle),
                written_bytes: (self.functions.result_bytes_written)(self.handle),
            }
        }
    }
}

impl Drop for Answer<'_> {
    fn drop(&mut self) {
        // SAFETY: the result is ours and is freed once.
        unsafe { (self.functions.result_destroy)(self.handle) };
    }
}

/// What a statement read from and wrote to tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rows read.
    pub read_rows: u64,
    /// Bytes read, uncompressed.
    pub read_bytes: u64,
    /// Rows written.
    pub written_rows: u64,
    /// Bytes written, uncompressed.
    pub written_bytes: u64,
}

/// A SELECT whose pieces are fetched one by one; the engine waits when nobody fetches. Dropped early, it is cancelled.
pub struct QueryStream<'c> {
    functions: &'c Functions,
    connection: Conn,
    handle: ResultHandle,
    begun: bool,
    ended: bool,
}

impl QueryStream<'_> {
    /// The next piece; `None` at the end. An empty result may still have one piece without rows (a header).
    ///
    /// # Errors
    /// [`EngineError::Statement`]: the statement failed, perhaps after pieces were given; nothing follows.
    pub fn next_piece(&mut self) -> Result<Option<Answer<'_>>, EngineError> {
        if self.ended {
            return Ok(None);
        }
        // SAFETY: stream and connection are live and are used by this thread only; the piece is ours.
        let piece = unsafe { (self.functions.stream_fetch)(self.connection, self.handle) };
        let first = !std::mem::replace(&mut self.begun, true);
        match Answer::new(self.functions, piece) {
            Ok(answer) if answer.rows() > 0 => Ok(Some(answer)),
            Ok(answer) => {
                self.ended = true;
                Ok((first && !answer.bytes().is_empty()).then_some(answer))
            }
            Err(error) => {
                self.ended = true;
                Err(error)
            }
        }
    }
}

impl Drop for QueryStream<'_> {
    fn drop(&mut self) {
        // SAFETY: a stream that did not end is cancelled; every stream is freed once, as a result.
        unsafe {
            if !self.ended {
                (self.functions.stream_cancel)(self.connection, self.handle);
            }
            (self.functions.result_destroy)(self.handle);
        }
    }
}

/// An open INSERT. Dropped before [`InsertStream::finish`], it is cancelled: blocks that were already written stay, as always in
/// ClickHouse.
pub struct InsertStream<'c> {
    functions: &'c Functions,
    handle: StreamHandle,
    open: bool,
    _connection: PhantomData<&'c mut Connection>,
}

impl<'c> InsertStream<'c> {
    /// Gives more data; a piece may end anywhere. Waits while the engine is behind.
    ///
    /// # Errors
    /// [`EngineError::Statement`]: the engine refused what it got so far.
    pub fn append(&mut self, data: &[u8]) -> Result<(), EngineError> {
        // SAFETY: the stream is open; the data is copied before the call returns.
        let failed = unsafe { (self.functions.insert_append)(self.handle, data.as_ptr().cast(), data.len()) };
        if failed == 0 {
            return Ok(());
        }
        self.check()?;
        Err(EngineError::Statement("the engine stopped taking data and did not say why".to_owned()))
    }

    /// Ends the data and stores it.
    ///
    /// # Errors
    /// [`EngineError::Statement`].
    pub fn finish(mut self) -> Result<Counts, EngineError> {
        self.open = false;
        // SAFETY: the stream is open and is finished once; the result is ours, the stream is still destroyed by the guard.
        let result = unsafe { (self.functions.insert_done)(self.handle) };
        if result.is_null() {
            self.check()?;
        }
        Ok(Answer::new(self.functions, result)?.counts())
    }

    fn check(&self) -> Result<(), EngineError> {
        // SAFETY: the text belongs to the stream and is copied at once.
        match unsafe { text((self.functions.insert_error)(self.handle)) } {
            None => Ok(()),
            Some(words) => Err(EngineError::Statement(words)),
        }
    }
}

impl Drop for InsertStream<'_> {
    fn drop(&mut self) {
        // SAFETY: an unfinished stream is cancelled; every stream is destroyed once.
        unsafe {
            if self.open {
                (self.functions.insert_cancel)(self.handle);
            }
            (self.functions.insert_destroy)(self.handle);
        }
    }
}

/// Copies a text of the engine.
///
/// # Safety
/// `pointer` is null or points to a NUL-terminated text that lives until this returns.
unsafe fn text(pointer: *const c_char) -> Option<String> {
    // SAFETY: promised by the caller.
    (!pointer.is_null()).then(|| unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned())
}
