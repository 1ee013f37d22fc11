//! The segments: which exist, how many of their blocks ClickHouse has not confirmed, and the end of those that are done. A segment
//! leaves its request hashes behind in a small file as long as they count; a damaged one is moved to `aside/` instead of deleted.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use model::tenant::TenantId;
use model::time::{Clock, Timestamp};

use super::codec::{Fields, ShortRecord, put_text};
use super::file::{sync_folder, write_whole};
use super::record::{BlockRef, RecordMeta};
use super::requests::Key;
use super::{frame, lock};

/// First bytes of a segment: magic, format version (u32), epoch (u128), number (u64), whether it was written over another one (u32),
/// crc32c of these (u32).
pub const HEADER: usize = 44;
const MAGIC: [u8; 8] = *b"WFWALSEG";
/// 2: frames have a stamp, segments may be written over others. Version 1 was never released.
const VERSION: u32 = 2;
/// Segments that are done and kept to be written over: enough for one that fills while another is being emptied.
const SPARES: usize = 3;

/// An accepted request.
#[derive(Clone, Debug)]
pub struct Note {
    /// When it arrived, for people who read the file.
    pub arrived: Timestamp,
    /// When it was accepted ([`Clock::steady`]). One of an earlier process counts from the start of this one: how much time lies between
    /// them cannot be known where somebody may have set the clock, and remembering for longer does no harm.
    pub accepted: Duration,
    /// Whose, and its hash.
    pub key: Key,
}

/// All segments that hold something.
#[derive(Debug)]
pub struct Segments {
    dir: PathBuf,
    aside: PathBuf,
    window: Duration,
    clock: Arc<dyn Clock>,
    inner: Mutex<BTreeMap<u64, Segment>>,
    /// Held while segments are removed.
    retiring: Mutex<()>,
    /// Segments that wait to be written over.
    spares: Mutex<Vec<PathBuf>>,
    /// For each file of request hashes, when the newest of them was accepted.
    kept: Mutex<BTreeMap<u64, Duration>>,
}

#[derive(Debug)]
struct Segment {
    file: Arc<File>,
    bytes: u64,
    pending: u64,
    sealed: bool,
    damaged: bool,
    requests: Vec<Note>,
}

/// Sums over all segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// How many.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Blocks that are not done.
    pub blocks: u64,
}

/// What the first bytes of a segment say.
#[derive(Debug, PartialEq, Eq)]
pub enum Header {
    /// A segment of this format.
    Ours {
        /// The stamp of its frames.
        stamp: u64,
        /// Whether it was written over another one, so that old bytes may stand behind its last record.
        recycled: bool,
    },
    /// A segment of the format before frames had stamps.
    Older,
    /// A segment of a newer format.
    Newer(u32),
    /// None at all.
    Damaged,
}

/// The header of a new segment.
pub fn header(epoch: u128, number: u64, recycled: bool) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[12..28].copy_from_slice(&epoch.to_le_bytes());
    bytes[28..36].copy_from_slice(&number.to_le_bytes());
    bytes[36..40].copy_from_slice(&u32::from(recycled).to_le_bytes());
    let checksum = crc32c::crc32c(&bytes[..40]);
    bytes[40..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// What stamps the frames of a segment: two segments never share it.
pub fn stamp(epoch: u128, number: u64) -> u64 {
    let mut bytes = [0; 24];
    bytes[..16].copy_from_slice(&epoch.to_le_bytes());
    bytes[16..].copy_from_slice(&number.to_le_bytes());
    xxhash_rust::xxh3::xxh3_64(&bytes)
}

/// Reads a header.
pub fn parse_header(bytes: &[u8; HEADER]) -> Header {
    let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
    if bytes[..8] == MAGIC && word(8) == 1 && word(36) == crc32c::crc32c(&bytes[..36]) {
        return Header::Older;
    }
    if bytes[..8] != MAGIC || word(40) != crc32c::crc32c(&bytes[..40]) {
        return Header::Damaged;
    }
    match word(8) {
        VERSION => {
            let epoch = u128::from(long(12)) | u128::from(long(20)) << 64;
            Header::Ours { stamp: stamp(epoch, long(28)), recycled: word(36) != 0 }
        }
        other => Header::Newer(other),
    }
}

/// The path of a segment.
pub fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:016x}.wal"))
}

/// The path of a segment that waits to be written over.
fn spare_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:016x}.spare"))
}

fn requests_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:016x}.requests"))
}

impl Segments {
    /// No segment yet. `dir` and `aside` exist.
    pub fn new(dir: PathBuf, aside: PathBuf, window: Duration, clock: Arc<dyn Clock>) -> Self {
        Segments {
            dir,
            aside,
            window,
            clock,
            inner: Mutex::default(),
            retiring: Mutex::default(),
            spares: Mutex::default(),
            kept: Mutex::default(),
        }
    }

    /// Removes the spare segments that an earlier run left behind: what makes them cheap is gone.
    pub fn forget_spares(&self) -> io::Result<()> {
        for number in numbered(&self.dir, "spare")? {
            std::fs::remove_file(spare_path(&self.dir, number))?;
        }
        Ok(())
    }

    /// A segment to be written over, if one waits.
    pub fn take_spare(&self) -> Option<PathBuf> {
        lock(&self.spares).pop()
    }

    /// Keeps a segment that is done to be written over, or removes it where there are enough.
    fn spare_or_remove(&self, number: u64) -> io::Result<()> {
        let from = path(&self.dir, number);
        let mut spares = lock(&self.spares);
        let done = if spares.len() < SPARES {
            let spare = spare_path(&self.dir, number);
            std::fs::rename(&from, &spare).map(|()| spares.push(spare))
        } else {
            std::fs::remove_file(&from)
        };
        match done {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// The folder of the segments.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Takes in a segment of which `pending` blocks are not done.
    pub fn add(&self, number: u64, bytes: u64, pending: u64, damaged: bool, requests: Vec<Note>) -> io::Result<()> {
        let file = Arc::new(File::open(path(&self.dir, number))?);
        lock(&self.inner).insert(number, Segment { file, bytes, pending, sealed: false, damaged, requests });
        Ok(())
    }

    /// Whether the segment exists.
    pub fn has(&self, number: u64) -> bool {
        lock(&self.inner).contains_key(&number)
    }

    /// A record was made durable in the segment.
    pub fn appended(&self, number: u64, bytes: u64, record: &RecordMeta) {
        if let Some(segment) = lock(&self.inner).get_mut(&number) {
            segment.bytes += bytes;
            segment.pending += record.blocks.len() as u64;
            if let Some(hash) = record.request {
                let key = (record.tenant.clone(), hash);
                segment.requests.push(Note { arrived: record.arrived, accepted: self.clock.steady(), key });
            }
        }
    }

    /// Nothing will be added to the segment any more.
    pub fn seal(&self, number: u64) {
        if let Some(segment) = lock(&self.inner).get_mut(&number) {
            segment.sealed = true;
        }
    }

    /// Reads a block's bytes to the end of `out`; false if they are not what was written.
    pub fn read(&self, block: &BlockRef, out: &mut Vec<u8>) -> io::Result<bool> {
        let file = lock(&self.inner).get(&block.segment).map(|segment| Arc::clone(&segment.file));
        let Some(file) = file else { return Ok(false) };
        let start = out.len();
        out.resize(start + block.length as usize, 0);
        let whole = match file.read_exact_at(&mut out[start..], block.offset) {
            Ok(()) => crc32c::crc32c(&out[start..]) == block.checksum,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => false,
            Err(error) => {
                out.truncate(start);
                return Err(error);
            }
        };
        if !whole {
            out.truncate(start);
        }
        Ok(whole)
    }

    /// Marks a segment as damaged: it will be kept.
    pub fn damaged(&self, number: u64) {
        if let Some(segment) = lock(&self.inner).get_mut(&number) {
            segment.damaged = true;
        }
    }

    /// The blocks are done.
    pub fn complete(&self, blocks: &[BlockRef]) {
        let mut segments = lock(&self.inner);
        for block in blocks {
            if let Some(segment) = segments.get_mut(&block.segment) {
                segment.pending = segment.pending.saturating_sub(1);
            }
        }
    }

    /// Removes the segments that are sealed and done; returns their numbers. What cannot be removed now stays for the next time.
    pub fn retire(&self) -> io::Result<Vec<u64>> {
        let _one_at_a_time = lock(&self.retiring);
        let done: Vec<(u64, bool, Vec<Note>)> = lock(&self.inner)
            .iter()
            .filter(|(_, segment)| segment.sealed && segment.pending == 0)
            .map(|(number, segment)| (*number, segment.damaged, segment.requests.clone()))
            .collect();
        let mut gone = Vec::new();
        for (number, damaged, requests) in done {
            self.keep_requests(number, &requests)?;
            let from = path(&self.dir, number);
            if damaged {
                let kept = path(&self.aside, number);
                std::fs::rename(&from, &kept)?;
                sync_folder(&kept)?;
            } else {
                self.spare_or_remove(number)?;
            }
            lock(&self.inner).remove(&number);
            gone.push(number);
        }
        if !gone.is_empty() {
            sync_folder(&path(&self.dir, 0))?;
        }
        Ok(gone)
    }

    fn keep_requests(&self, number: u64, requests: &[Note]) -> io::Result<()> {
        let now = self.clock.steady();
        let (mut payload, mut newest) = (vec![0; frame::HEADER], Duration::ZERO);
        for note in requests.iter().filter(|note| now.saturating_sub(note.accepted) <= self.window) {
            let (tenant, hash) = &note.key;
            payload.extend_from_slice(&note.arrived.nanos().to_le_bytes());
            payload.extend_from_slice(&hash.to_le_bytes());
            put_text(tenant.as_str(), &mut payload);
            newest = newest.max(note.accepted);
        }
        if payload.len() == frame::HEADER {
            return Ok(());
        }
        frame::seal(&mut payload)?;
        write_whole(&requests_path(&self.dir, number), &payload)?;
        lock(&self.kept).insert(number, newest);
        Ok(())
    }

    /// Deletes the request files whose newest request no longer counts.
    pub fn forget_requests(&self) -> io::Result<()> {
        let now = self.clock.steady();
        let late = |newest: Duration| now.saturating_sub(newest) > self.window;
        let old: Vec<u64> = lock(&self.kept).iter().filter(|(_, newest)| late(**newest)).map(|(number, _)| *number).collect();
        for number in old {
            std::fs::remove_file(requests_path(&self.dir, number))?;
            lock(&self.kept).remove(&number);
        }
        Ok(())
    }

    /// The request hashes that segments which are gone left behind before the start, by the segment's number. A damaged file reads as
    /// empty.
    pub fn kept_requests(&self) -> io::Result<Vec<(u64, Vec<Note>)>> {
        let (mut all, now) = (Vec::new(), self.clock.steady());
        for number in numbered(&self.dir, "requests")? {
            let mut scan = frame::Scan::new(File::open(requests_path(&self.dir, number))?, 0, Some(frame::NO_STAMP))?;
            let notes = match scan.next()? {
                frame::Found::Record { .. } => parse_notes(&scan.payload, now).unwrap_or_default(),
                frame::Found::Damage { .. } | frame::Found::Torn { .. } | frame::Found::End => Vec::new(),
            };
            lock(&self.kept).insert(number, now);
            all.push((number, notes));
        }
        Ok(all)
    }

    /// Sums.
    pub fn totals(&self) -> Totals {
        lock(&self.inner).values().fold(Totals::default(), |sum, segment| Totals {
            segments: sum.segments + 1,
            bytes: sum.bytes + segment.bytes,
            blocks: sum.blocks + segment.pending,
        })
    }
}

fn parse_notes(payload: &[u8], accepted: Duration) -> Result<Vec<Note>, ShortRecord> {
    let mut fields = Fields(payload);
    let mut notes = Vec::new();
    while !fields.0.is_empty() {
        let arrived = Timestamp::from_nanos(fields.i64()?);
        let hash = fields.u128()?;
        let tenant = TenantId::new(fields.text()?).map_err(|_| ShortRecord)?;
        notes.push(Note { arrived, accepted, key: (tenant, hash) });
    }
    Ok(notes)
}

/// The numbers of the files `<16 hex digits>.<extension>` in a folder, ascending.
pub fn numbered(dir: &Path, extension: &str) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ext| ext == extension) {
            let stem = path.file_stem().and_then(|stem| stem.to_str()).filter(|stem| stem.len() == 16);
            numbers.extend(stem.and_then(|stem| u64::from_str_radix(stem, 16).ok()));
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}
