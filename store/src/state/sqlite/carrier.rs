//! SQLite's log of writes is carried over into the file beside the commits, not in them, and while writes pause: its syncs hold up those of
//! commits, for tens of milliseconds where the log is long. A page that is written often is carried once.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rusqlite::hooks::Wal;
use rusqlite::{Connection, OpenFlags};
use tokio::runtime::Handle;
use tokio::sync::Mutex;

use super::super::dialect::Synced;
use super::Slot;

/// How long nobody writes where writes pause.
const PAUSE: Duration = Duration::from_millis(100);

/// How long the log may be, in pages of 4 KiB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogLength {
    /// It is carried over in the next pause once it has grown by so many.
    pub worth_it: u64,
    /// And without a pause once it has so many.
    pub long: u64,
    /// While commits follow each other it never begins anew, and a commit carries it over itself at so many: it stays bounded.
    pub longest: u64,
}

impl Default for LogLength {
    /// 32, 192 and 384 MiB. An alert that comes by itself writes some 22 pages, a thousand together some 1,200.
    fn default() -> Self {
        LogLength { worth_it: 8_192, long: 49_152, longest: 98_304 }
    }
}

/// Whoever carries it over.
#[derive(Debug)]
pub(super) struct Carrier {
    connection: Mutex<Slot>,
    length: LogLength,
    /// How many commits there were.
    commits: AtomicU64,
    /// How many pages the log has.
    pages: AtomicU64,
    /// How many it had when it was carried over last.
    carried: AtomicU64,
    busy: AtomicBool,
}

impl Carrier {
    pub(super) fn open(path: &Path, length: LogLength) -> rusqlite::Result<Self> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(Duration::ZERO)?;
        let connection = Mutex::new(Slot { connection: Some(connection), synced: Synced::Yes });
        let (commits, pages, carried, busy) = Default::default();
        Ok(Carrier { connection, length, commits, pages, carried, busy })
    }

    /// Another commit was made, and the log has so many pages now. Where it has grown it is carried over on a thread that may wait, while
    /// writes and reads go on.
    pub(super) fn committed(self: &Arc<Self>, log: &mut Wal, pages: u64) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.pages.store(pages, Ordering::Relaxed);
        if pages >= self.length.longest {
            // What is carried over at this moment, or still read, is left for the next commit.
            let carried = log.checkpoint();
            tracing::debug!(pages, ?carried, "a commit carried the state's log over");
            return;
        }
        let carried = self.carried.load(Ordering::Relaxed);
        // Shorter than it was: all of it was carried over, and it began anew.
        let since = pages.checked_sub(carried).unwrap_or_else(|| {
            self.carried.store(0, Ordering::Relaxed);
            pages
        });
        if since < self.length.worth_it || self.busy.swap(true, Ordering::AcqRel) {
            return;
        }
        let carrier = Arc::clone(self);
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || carrier.carry())),
            Err(_) => self.busy.store(false, Ordering::Release),
        }
    }

    fn carry(&self) {
        self.wait_for_a_pause();
        self.carried.store(self.pages.load(Ordering::Relaxed), Ordering::Relaxed);
        let carried = match self.connection.blocking_lock().connection() {
            // What readers still need, and what is written meanwhile, is left for the next time.
            Ok(connection) => connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())),
            Err(_) => Ok(()), // closed: whoever closes last carries over what is left
        };
        if let Err(error) = carried {
            tracing::warn!(%error, "the state's log could not be carried over; a later commit tries again");
        }
        self.busy.store(false, Ordering::Release);
    }

    fn wait_for_a_pause(&self) {
        loop {
            let before = self.commits.load(Ordering::Relaxed);
            std::thread::sleep(PAUSE);
            if self.commits.load(Ordering::Relaxed) == before || self.pages.load(Ordering::Relaxed) >= self.length.long {
                return;
            }
        }
    }

    pub(super) async fn close(&self) {
        drop(self.connection.lock().await.connection.take());
    }
}
