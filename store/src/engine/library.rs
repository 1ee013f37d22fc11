//! The C interface of `libchdb.so`: the one module that is `unsafe`. Safe wrappers own every handle and free it once.
//!
//! Facts relied on (tried on 26.7): one data path per process; many connections, one statement at a time on each; a result of
//! `chdb_query_n` is owned by the caller; an insert stream is never null and must be destroyed on every path; strings go in by
//! pointer and length and are copied; binary data must go through an insert stream.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;
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

struct Functions {
    connect: unsafe extern "C" fn(c_int, *mut *mut c_char) -> ConnHolder,
    close: unsafe extern "C" fn(ConnHolder),
    query: unsafe extern "C" fn(Conn, *const c_char, usize, *const c_char, usize) -> ResultHandle,
    result_buffer: unsafe extern "C" fn(ResultHandle) -> *const c_char,
    result_length: unsafe extern "C" fn(ResultHandle) -> usize,
    result_rows_read: unsafe extern "C" fn(ResultHandle) -> u64,
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
            result_buffer: function!("chdb_result_buffer"),
            result_length: function!("chdb_result_length"),
            result_rows_read: function!("chdb_result_rows_read"),
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

    /// Opens a connection to the data folder. All connections of a process name the same folder.
    pub fn connect(self: &Arc<Self>, data: &Path, config: &Path) -> Result<Connection, EngineError> {
        let arguments = ["clickhouse".to_owned(), format!("--path={}", data.display()), format!("--config-file={}", config.display())]
            .into_iter()
            .map(|argument| CString::new(argument).map_err(|_| EngineError::Nul))
            .collect::<Result<Vec<_>, _>>()?;
        let mut pointers: Vec<*mut c_char> = arguments.iter().map(|argument| argument.as_ptr().cast_mut()).collect();
        let count = c_int::try_from(pointers.len()).map_err(|_| EngineError::Nul)?;
        // SAFETY: `pointers` are `count` NUL-terminated strings that live over the call; the engine copies them.
        let holder = unsafe { (self.functions.connect)(count, pointers.as_mut_ptr()) };
        if holder.is_null() {
            return Err(EngineError::Connect);
        }
        // SAFETY: a non-null holder points to a connection handle (which may itself be null).
        let handle = unsafe { *holder };
        if handle.is_null() {
            return Err(EngineError::Connect);
        }
        Ok(Connection { library: self.clone(), holder, handle })
    }
}

/// What a statement gave.
#[derive(Debug, Default)]
pub struct Output {
    /// The bytes, in the wanted format.
    pub bytes: Vec<u8>,
    /// Rows that were read to get them.
    pub rows_read: u64,
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
    /// Runs one statement. A `FORMAT` clause in the text overrides `format`.
    pub fn query(&mut self, sql: &str, format: &str) -> Result<Output, EngineError> {
        let functions = &self.library.functions;
        // SAFETY: the handle is live; both texts are given by pointer and length and are copied by the engine.
        let result = unsafe { (functions.query)(self.handle, sql.as_ptr().cast(), sql.len(), format.as_ptr().cast(), format.len()) };
        self.take_result(result)
    }

    /// Runs an INSERT whose data is `data`, in `format`. The statement must not carry data of its own.
    pub fn insert(&mut self, sql: &str, format: &str, data: &[u8]) -> Result<Output, EngineError> {
        let functions = &self.library.functions;
        // SAFETY: as for `query`; the stream is never null and is destroyed when the guard is dropped.
        let stream = unsafe { (functions.insert)(self.handle, sql.as_ptr().cast(), sql.len(), format.as_ptr().cast(), format.len()) };
        let mut guard = InsertGuard { functions, stream, open: true };
        guard.check()?;
        for chunk in data.chunks(1 << 20) {
            // SAFETY: the stream is open; the chunk is copied before the call returns.
            let failed = unsafe { (functions.insert_append)(stream, chunk.as_ptr().cast(), chunk.len()) };
            if failed != 0 {
                guard.check()?;
                return Err(EngineError::Statement("the engine stopped taking data and did not say why".to_owned()));
            }
        }
        guard.open = false;
        // SAFETY: the stream is open and is finished once; the result is ours, the stream is still destroyed by the guard.
        let result = unsafe { (functions.insert_done)(stream) };
        if result.is_null() {
            guard.check()?;
        }
        self.take_result(result)
    }

    fn take_result(&self, result: ResultHandle) -> Result<Output, EngineError> {
        let functions = &self.library.functions;
        if result.is_null() {
            return Err(EngineError::Statement("the engine gave no result".to_owned()));
        }
        // SAFETY: the result is live until it is destroyed below; error and buffer belong to it and are copied before.
        unsafe {
            let error = (functions.result_error)(result);
            let outcome = if error.is_null() {
                let (length, buffer) = ((functions.result_length)(result), (functions.result_buffer)(result));
                let bytes = if buffer.is_null() || length == 0 {
                    Vec::new()
                } else {
                    std::slice::from_raw_parts(buffer.cast::<u8>(), length).to_vec()
                };
                Ok(Output { bytes, rows_read: (functions.result_rows_read)(result) })
            } else {
                Err(EngineError::Statement(CStr::from_ptr(error).to_string_lossy().into_owned()))
            };
            (functions.result_destroy)(result);
            outcome
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: the holder came from `chdb_connect` and is closed once.
        unsafe { (self.library.functions.close)(self.holder) };
    }
}

struct InsertGuard<'a> {
    functions: &'a Functions,
    stream: StreamHandle,
    open: bool,
}

impl InsertGuard<'_> {
    fn check(&self) -> Result<(), EngineError> {
        // SAFETY: the text belongs to the stream and is copied at once.
        unsafe {
            let error = (self.functions.insert_error)(self.stream);
            if error.is_null() { Ok(()) } else { Err(EngineError::Statement(CStr::from_ptr(error).to_string_lossy().into_owned())) }
        }
    }
}

impl Drop for InsertGuard<'_> {
    fn drop(&mut self) {
        // SAFETY: an unfinished stream is cancelled; every stream is destroyed once.
        unsafe {
            if self.open {
                (self.functions.insert_cancel)(self.stream);
            }
            (self.functions.insert_destroy)(self.stream);
        }
    }
}
