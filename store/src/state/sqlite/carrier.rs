//! SQLite's log of writes is carried over into the file beside the commits, not in them, and while writes pause: its syncs hold up those of
//! commits, for tens of milliseconds where the log is long. A page that is written often is carried once. In a pause its file is written ahead
//! too (`ahead`).

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use model::time::Stopwatch;
use rusqlite::hooks::Wal;
use rusqlite::{Connection, OpenFlags};
use tokio::runtime::Handle;
use tokio::sync::Mutex;

use super::super::dialect::Synced;
use super::Slot;
use super::ahead::{Ahead, write_ahead};

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
    /// Its file is written ahead to so many, in pauses.
    pub ahead: u64,
    /// Once the store has been open for so long: who starts, or is there for a moment only, has better things to do.
    pub settled: Duration,
}

impl Default for LogLength {
    /// 32, 192, 384 and 128 MiB. An alert that comes by itself writes some 18 pages, a thousand that are each alone in their group some 3,000
    /// until they are told.
    fn default() -> Self {
        LogLength { worth_it: 8_192, long: 49_152, longest: 98_304, ahead: 32_768, settled: Duration::from_secs(5) }
    }
}

/// Whoever carries it over.
#[derive(Debug)]
pub(super) struct Carrier {
    connection: Mutex<Slot>,
    length: LogLength,
    open: Stopwatch,
    /// How many commits there were.
    commits: AtomicU64,
    /// How many pages the log has.
    pages: AtomicU64,
    /// How many it had when it was carried over last.
    carried: AtomicU64,
    busy: AtomicBool,
    /// Whether the log's file is written ahead, or cannot be.
    ahead: AtomicBool,
}

impl Carrier {
    pub(super) fn open(path: &Path, length: LogLength) -> rusqlite::Result<Self> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(Duration::ZERO)?;
        let connection = Mutex::new(Slot { connection: Some(connection), synced: Synced::Yes });
        let (commits, pages, carried, busy, ahead) = Default::default();
        let open = Stopwatch::start();
        Ok(Carrier { connection, length, open, commits, pages, carried, busy, ahead })
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
        if since >= self.length.worth_it {
            self.aside(Carrier::carry);
        } else if !self.ahead.load(Ordering::Relaxed) && self.open.elapsed() >= self.length.settled {
            self.aside(Carrier::go_ahead);
        }
    }

    /// Does something on a thread that may wait, one thing at a time.
    fn aside(self: &Arc<Self>, act: fn(&Self)) {
        if self.busy.swap(true, Ordering::AcqRel) {
            return;
        }
        let carrier = Arc::clone(self);
        let act = move || {
            act(&carrier);
            carrier.busy.store(false, Ordering::Release);
        };
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(act)),
            Err(_) => self.busy.store(false, Ordering::Release),
        }
    }

    /// Writes the log's file ahead, a step in each pause, until it has to be carried over: that comes first.
    fn go_ahead(&self) {
        let grown = || self.pages.load(Ordering::Relaxed).saturating_sub(self.carried.load(Ordering::Relaxed));
        while grown() < self.length.worth_it {
            if !self.pauses() {
                continue;
            }
            let done = match self.connection.blocking_lock().connection() {
                Ok(connection) => write_ahead(connection, self.length.ahead),
                Err(_) => Ok(Ahead::Done), // closed
            };
            if let Err(error) = &done {
                tracing::debug!(%error, "the file of the state's log could not be written ahead: commits take a little longer");
            }
            if !matches!(done, Ok(Ahead::More)) {
                self.ahead.store(true, Ordering::Relaxed);
                return;
            }
        }
        self.carry();
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
    }

    fn wait_for_a_pause(&self) {
        while !self.pauses() && self.pages.load(Ordering::Relaxed) < self.length.long {}
    }

    /// Whether nobody writes for a pause.
    fn pauses(&self) -> bool {
        let before = self.commits.load(Ordering::Relaxed);
        std::thread::sleep(PAUSE);
        self.commits.load(Ordering::Relaxed) == before
    }

    pub(super) async fn close(&self) {
        drop(self.connection.lock().await.connection.take());
    }
}
