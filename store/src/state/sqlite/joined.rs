//! SQLite's way to the files of the system, but that its log takes the frames of a commit in one call instead of one or two a page (`frames`).
//! It is the system's own in all but the functions of the log's file below, so that locks and shared memory are as they always are; other
//! connections and processes see nothing of it.
//!
//! For a connection whose cache does not spill (`PRAGMA cache_spill`): then SQLite writes to the log only to commit, and nothing is kept back
//! outside of a commit. Contract: SQLite's "OS Interface", `sqlite3_vfs` and `sqlite3_io_methods`.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

use rusqlite::ffi;

use super::frames::{Frames, Step};

/// What a connection is opened with to have it.
pub(super) const NAME: &CStr = c"watchfire";

/// The log's file: its functions, which SQLite finds by their address, before what they need.
#[repr(C)]
struct Log {
    own: ffi::sqlite3_io_methods,
    system: *const ffi::sqlite3_io_methods,
    frames: Frames,
}

/// The system's way, whose place in memory ours has: what others make the usual one later may need more.
static SYSTEM: AtomicPtr<ffi::sqlite3_vfs> = AtomicPtr::new(std::ptr::null_mut());

/// Makes it known to SQLite, once a process.
///
/// # Errors
/// Where SQLite has no way to files, or takes no other.
pub(super) fn register() -> rusqlite::Result<&'static CStr> {
    static DONE: OnceLock<c_int> = OnceLock::new();
    let done = *DONE.get_or_init(|| {
        // SAFETY: what SQLite finds stays where it is; the copy differs in its name and in `open`, and is never freed.
        unsafe {
            let system = ffi::sqlite3_vfs_find(std::ptr::null());
            if system.is_null() {
                return ffi::SQLITE_ERROR;
            }
            SYSTEM.store(system, Ordering::Release);
            let own = ffi::sqlite3_vfs { pNext: std::ptr::null_mut(), zName: NAME.as_ptr(), xOpen: Some(open), ..*system };
            ffi::sqlite3_vfs_register(Box::into_raw(Box::new(own)), 0)
        }
    });
    match done {
        ffi::SQLITE_OK => Ok(NAME),
        code => {
            Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some("the way to the log's file could not be registered".to_owned())))
        }
    }
}

/// Opens a file as the system does; the log has its own functions from then on. Not where a write may harm what stands beside it: then SQLite
/// fills up the log after a commit, and parts of pages are written.
unsafe extern "C" fn open(
    _: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gives a file of the system's size. Where the system's `open` succeeds its functions are there; `close` frees what is
    // made here and puts them back.
    unsafe {
        let system = SYSTEM.load(Ordering::Acquire);
        let Some(open) = system.as_ref().and_then(|system| system.xOpen) else { return ffi::SQLITE_CANTOPEN };
        let opened = open(system, name, file, flags, out);
        if opened == ffi::SQLITE_OK
            && flags & ffi::SQLITE_OPEN_WAL != 0
            && let Some(functions) = (*file).pMethods.as_ref()
            && functions.xDeviceCharacteristics.is_some_and(|ask| ask(file) & ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE != 0)
        {
            let own = ffi::sqlite3_io_methods {
                xClose: Some(close),
                xRead: Some(read),
                xWrite: Some(write),
                xTruncate: Some(truncate),
                xSync: Some(sync),
                xFileSize: Some(size),
                ..*functions
            };
            let log = Log { own, system: functions, frames: Frames::default() };
            (*file).pMethods = Box::into_raw(Box::new(log)).cast();
        }
        opened
    }
}

/// Calls the system's function of a file, where it has it.
macro_rules! system {
    ($log:expr, $function:ident, $file:expr $(, $argument:expr)*) => {
        match (*$log.system).$function {
            Some(function) => function($file $(, $argument)*),
            None => ffi::SQLITE_IOERR,
        }
    };
}

/// The log that a file of `open` is. SQLite uses a connection's files from one thread at a time.
unsafe fn log<'a>(file: *mut ffi::sqlite3_file) -> &'a mut Log {
    // SAFETY: only files whose functions are those of a `Log` have functions that call this.
    unsafe { &mut *(*file).pMethods.cast_mut().cast::<Log>() }
}

/// Writes what is kept back. What cannot be written is gone, and its commit with it: that has not ended, and SQLite hears of it from the write or
/// the sync that it asked for.
unsafe fn flush(log: &mut Log, file: *mut ffi::sqlite3_file) -> c_int {
    let Some((kept, at)) = log.frames.kept() else { return ffi::SQLITE_OK };
    let written = match (c_int::try_from(kept.len()), i64::try_from(at)) {
        // SAFETY: so many bytes are kept.
        (Ok(length), Ok(at)) => unsafe { system!(log, xWrite, file, kept.as_ptr().cast(), length, at) },
        (_, _) => ffi::SQLITE_IOERR_WRITE,
    };
    log.frames.clear();
    written
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, data: *const c_void, length: c_int, offset: i64) -> c_int {
    // SAFETY: SQLite gives so many bytes there.
    unsafe {
        let log = log(file);
        let bytes = std::slice::from_raw_parts(data.cast::<u8>(), usize::try_from(length).unwrap_or(0));
        match log.frames.write(bytes, u64::try_from(offset).unwrap_or(0)) {
            Step::Kept => ffi::SQLITE_OK,
            Step::Write => flush(log, file),
            Step::Through => match flush(log, file) {
                ffi::SQLITE_OK => system!(log, xWrite, file, data, length, offset),
                failed => failed,
            },
        }
    }
}

unsafe extern "C" fn read(file: *mut ffi::sqlite3_file, data: *mut c_void, length: c_int, offset: i64) -> c_int {
    // SAFETY: the arguments are SQLite's own.
    unsafe {
        let log = log(file);
        match flush(log, file) {
            ffi::SQLITE_OK => system!(log, xRead, file, data, length, offset),
            failed => failed,
        }
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: i64) -> c_int {
    // SAFETY: the arguments are SQLite's own.
    unsafe {
        let log = log(file);
        match flush(log, file) {
            ffi::SQLITE_OK => system!(log, xTruncate, file, size),
            failed => failed,
        }
    }
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: the arguments are SQLite's own.
    unsafe {
        let log = log(file);
        match flush(log, file) {
            ffi::SQLITE_OK => system!(log, xSync, file, flags),
            failed => failed,
        }
    }
}

unsafe extern "C" fn size(file: *mut ffi::sqlite3_file, size: *mut i64) -> c_int {
    // SAFETY: the arguments are SQLite's own.
    unsafe {
        let log = log(file);
        match flush(log, file) {
            ffi::SQLITE_OK => system!(log, xFileSize, file, size),
            failed => failed,
        }
    }
}

/// Nothing is kept back when a connection is closed: each commit was written, and what was not committed is nobody's.
unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: this is the last that SQLite does with the file; the system closes it with its own functions.
    unsafe {
        let log = Box::from_raw((*file).pMethods.cast_mut().cast::<Log>());
        (*file).pMethods = log.system;
        system!(log, xClose, file)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rusqlite::Connection;

    use super::super::{LogLength, Purpose};
    use super::*;

    fn writer(path: &Path) -> Connection {
        Purpose::Writes(LogLength { ahead: 0, ..LogLength::default() }).open(path).unwrap()
    }

    fn insert(connection: &Connection, from: usize, rows: usize) {
        for row in from..from + rows {
            connection.execute("INSERT INTO t VALUES (?1, ?2)", (row as i64, vec![7_u8; 4_000])).unwrap();
        }
    }

    #[test]
    fn who_writes_has_it_and_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        std::fs::write(&path, "").unwrap();
        let way = |connection: &Connection| {
            let mut vfs: *mut ffi::sqlite3_vfs = std::ptr::null_mut();
            // SAFETY: SQLite puts a pointer there, to what lives as long as the process.
            unsafe {
                let asked = ffi::sqlite3_file_control(
                    connection.handle(),
                    c"main".as_ptr(),
                    ffi::SQLITE_FCNTL_VFS_POINTER,
                    (&raw mut vfs).cast::<c_void>(),
                );
                assert_eq!(asked, ffi::SQLITE_OK);
                CStr::from_ptr((*vfs).zName).to_owned()
            }
        };
        assert_eq!(way(&writer(&path)).as_c_str(), NAME);
        assert_ne!(way(&Purpose::Reads.open(&path).unwrap()).as_c_str(), NAME);
    }

    /// Were it written before its end, others could have its place in the log once it is taken back.
    #[test]
    fn nothing_of_a_transaction_is_in_the_log_before_it_is_committed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        std::fs::write(&path, "").unwrap();
        let length = || std::fs::metadata(folder.path().join("state.db-wal")).unwrap().len();
        let connection = writer(&path);
        connection.execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, body BLOB)").unwrap();
        let before = length();
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        insert(&connection, 0, 6_000); // three times what is kept of the file
        assert_eq!(length(), before);
        connection.execute_batch("ROLLBACK").unwrap();
        let other = Purpose::Migrates.open(&path).unwrap();
        insert(&other, 10, 40);
        insert(&connection, 100, 20);
        insert(&other, 200, 3);
        for connection in [&connection, &other] {
            assert_eq!(connection.query_row("SELECT COUNT(*) FROM t", [], |row| row.get::<_, i64>(0)).unwrap(), 63);
            assert_eq!(connection.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0)).unwrap(), "ok");
        }
    }
}
