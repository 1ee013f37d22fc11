//! Reading one segment again at start: its records, what is torn at its end, what is damaged in its middle.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use model::columns::TableSpec;
use model::tables;

use super::frame::{Found, Scan};
use super::record::{self, BlockRef};
use super::segments::{self, HEADER, Header, Note};

/// What a segment holds.
#[derive(Debug, Default)]
pub struct Replayed {
    /// All blocks, in order, with their table.
    pub blocks: Vec<(&'static TableSpec, BlockRef)>,
    /// All requests.
    pub requests: Vec<Note>,
    /// Good length.
    pub bytes: u64,
    /// Whether the end was cut short (and is cut off now); not told of segments that were written over others.
    pub torn: bool,
    /// How many damaged places there are.
    pub damage: u64,
}

/// Why a segment cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// Reading or cutting failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It was written before the first release.
    #[error("it has format version 1, from before the first release: start that version once more, so that it stores what is in it")]
    Older,
    /// It was written by a newer version.
    #[error("it has format version {0}, which this version does not know: start the newer version again")]
    Newer(u32),
    /// It holds rows of a table that a newer version knows.
    #[error("it holds rows of table number {0}, which this version does not know: start the newer version again")]
    UnknownTable(u16),
}

/// Reads segment `number` whole and checks every checksum. A torn end is cut off; `None` if not even the header was written (then no
/// record was ever acknowledged in it). Its requests count as accepted at `now` (`Clock::steady`).
pub fn read(dir: &Path, number: u64, now: Duration) -> Result<Option<Replayed>, ReplayError> {
    let path = segments::path(dir, number);
    let mut file = File::open(&path)?;
    let mut header = [0; HEADER];
    match file.read_exact(&mut header) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let mut found = Replayed { bytes: file.metadata()?.len(), ..Replayed::default() };
    let (stamp, recycled) = match segments::parse_header(&header) {
        Header::Ours { stamp, recycled } => (Some(stamp), recycled),
        Header::Older => return Err(ReplayError::Older),
        Header::Newer(version) => return Err(ReplayError::Newer(version)),
        // The records speak for themselves.
        Header::Damaged => {
            found.damage += 1;
            (None, false)
        }
    };
    let mut scan = Scan::new(io::BufReader::new(file), HEADER as u64, stamp)?;
    loop {
        match scan.next()? {
            Found::Record { at } => found.take(&scan.payload, number, at, now)?,
            Found::Damage { from, to } => {
                tracing::error!(segment = %path.display(), from, to, "damaged bytes in the write-ahead log: what stood there is lost");
                found.damage += 1;
            }
            Found::Torn { from } => {
                let file = OpenOptions::new().write(true).open(&path)?;
                file.set_len(from)?;
                file.sync_all()?;
                // Behind the last record of a segment that was written over stands what was there before.
                (found.bytes, found.torn) = (from, !recycled);
            }
            Found::End => return Ok(Some(found)),
        }
    }
}

impl Replayed {
    fn take(&mut self, payload: &[u8], segment: u64, at: u64, now: Duration) -> Result<(), ReplayError> {
        let meta = match record::parse(payload) {
            Ok(meta) => meta,
            Err(error) => {
                tracing::error!(segment, at, %error, "a record of the write-ahead log cannot be read");
                self.damage += 1;
                return Ok(());
            }
        };
        for (table, block) in meta.placed(segment, at) {
            let table = tables::by_number(table).ok_or(ReplayError::UnknownTable(table))?;
            self.blocks.push((table, block));
        }
        if let Some(hash) = meta.request {
            self.requests.push(Note { arrived: meta.arrived, accepted: now, key: (meta.tenant, hash) });
        }
        Ok(())
    }
}
