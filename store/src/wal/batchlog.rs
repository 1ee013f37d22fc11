//! The batch log: which blocks went into which insert. A batch is fsynced here before it is sent, so that after a crash exactly the
//! same bytes go out under the same token; ClickHouse then drops what it already has. Another list under the same token would be
//! dropped or stored twice without a word, so this file is what "exactly once" rests on.
//!
//! One file at a time, `batches/<number>.log`. At start and whenever it has grown, a new one begins with a summary of what still
//! matters, closed by a mark: a file without the mark was cut short by a crash and the one before it counts.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use model::time::Timestamp;

use super::codec::{Fields, ShortRecord, put_text};
use super::file::{AppendFile, sync_folder};
use super::frame::{self, Found, Scan};
use super::record::BlockRef;
use super::segments::numbered;

/// A batch that was decided on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// The deduplication token.
    pub token: String,
    /// [`model::columns::TableSpec::number`].
    pub table: u16,
    /// crc32c of the bytes that are sent.
    pub checksum: u32,
    /// Its blocks, in the order in which they are sent.
    pub blocks: Vec<BlockRef>,
}

impl Planned {
    /// Rows of all blocks.
    pub fn rows(&self) -> u64 {
        self.blocks.iter().map(|block| u64::from(block.rows)).sum()
    }
    /// Bytes of all blocks.
    pub fn bytes(&self) -> usize {
        self.blocks.iter().map(|block| block.length as usize).sum()
    }
    /// Arrival of the newest block.
    pub fn newest(&self) -> Option<Timestamp> {
        self.blocks.iter().map(|block| block.arrived).max()
    }
    /// Arrival of the oldest block.
    pub fn oldest(&self) -> Option<Timestamp> {
        self.blocks.iter().map(|block| block.arrived).min()
    }
}

/// What the log knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Batches that were planned and are not done, by token.
    pub open: HashMap<String, Planned>,
    /// Per segment, the offsets of the blocks that are done.
    pub done: BTreeMap<u64, Vec<u64>>,
    /// No segment with this number or a higher one has ever been written.
    pub next_segment: u64,
}

const NEXT_SEGMENT: u8 = 1;
const DONE_BLOCKS: u8 = 2;
const SUMMARY_END: u8 = 3;
const PLANNED: u8 = 4;
const DONE: u8 = 5;
const BLOCKS_DONE: u8 = 6;

impl State {
    fn apply(&mut self, payload: &[u8]) -> Result<u8, ShortRecord> {
        let mut fields = Fields(payload);
        let kind = fields.u8()?;
        match kind {
            NEXT_SEGMENT => self.next_segment = self.next_segment.max(fields.u64()?),
            DONE_BLOCKS | BLOCKS_DONE => {
                let (segment, count) = (fields.u64()?, fields.u32()?);
                self.next_segment = self.next_segment.max(segment + 1);
                for _ in 0..count {
                    let offset = fields.u64()?;
                    self.done.entry(segment).or_default().push(offset);
                }
            }
            SUMMARY_END => {}
            PLANNED => {
                let planned = parse_planned(&mut fields)?;
                let newest = planned.blocks.iter().map(|block| block.segment + 1).max();
                self.next_segment = self.next_segment.max(newest.unwrap_or(0));
                self.open.insert(planned.token.clone(), planned);
            }
            DONE => {
                let token = fields.text()?;
                if let Some(planned) = self.open.remove(token) {
                    self.mark_done(&planned.blocks);
                }
            }
            _ => return Err(ShortRecord),
        }
        Ok(kind)
    }

    fn mark_done(&mut self, blocks: &[BlockRef]) {
        for block in blocks {
            self.done.entry(block.segment).or_default().push(block.offset);
        }
    }

    fn summary(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut payload = vec![NEXT_SEGMENT];
        payload.extend_from_slice(&self.next_segment.to_le_bytes());
        push_frame(&payload, &mut bytes)?;
        for (segment, offsets) in &self.done {
            push_frame(&blocks_payload(DONE_BLOCKS, *segment, offsets), &mut bytes)?;
        }
        for planned in self.open.values() {
            push_frame(&planned_payload(planned), &mut bytes)?;
        }
        push_frame(&[SUMMARY_END], &mut bytes)?;
        Ok(bytes)
    }
}

fn push_frame(payload: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let start = out.len();
    out.resize(start + frame::HEADER, 0);
    out.extend_from_slice(payload);
    frame::seal(&mut out[start..])
}

fn blocks_payload(kind: u8, segment: u64, offsets: &[u64]) -> Vec<u8> {
    let mut payload = vec![kind];
    payload.extend_from_slice(&segment.to_le_bytes());
    payload.extend_from_slice(&(offsets.len() as u32).to_le_bytes());
    payload.extend(offsets.iter().flat_map(|offset| offset.to_le_bytes()));
    payload
}

fn planned_payload(planned: &Planned) -> Vec<u8> {
    let mut payload = vec![PLANNED];
    put_text(&planned.token, &mut payload);
    payload.extend_from_slice(&planned.table.to_le_bytes());
    payload.extend_from_slice(&planned.checksum.to_le_bytes());
    payload.extend_from_slice(&(planned.blocks.len() as u32).to_le_bytes());
    for block in &planned.blocks {
        payload.extend_from_slice(&block.segment.to_le_bytes());
        payload.extend_from_slice(&block.offset.to_le_bytes());
        for word in [block.length, block.rows, block.checksum, block.layout] {
            payload.extend_from_slice(&word.to_le_bytes());
        }
        payload.extend_from_slice(&block.arrived.nanos().to_le_bytes());
    }
    payload
}

fn parse_planned(fields: &mut Fields<'_>) -> Result<Planned, ShortRecord> {
    let token = fields.text()?.to_owned();
    let (table, checksum, count) = (fields.u16()?, fields.u32()?, fields.u32()?);
    let mut blocks = Vec::new();
    for _ in 0..count {
        let (segment, offset) = (fields.u64()?, fields.u64()?);
        let (length, rows, checksum, layout) = (fields.u32()?, fields.u32()?, fields.u32()?, fields.u32()?);
        let arrived = Timestamp::from_nanos(fields.i64()?);
        blocks.push(BlockRef { segment, offset, length, rows, checksum, layout, arrived });
    }
    Ok(Planned { token, table, checksum, blocks })
}

/// The open log.
#[derive(Debug)]
pub struct BatchLog {
    dir: PathBuf,
    number: u64,
    /// The file that is appended to (tests make it fail).
    pub file: AppendFile,
    rewrite_at: u64,
    state: State,
}

/// A log smaller than this is not rewritten.
const REWRITE_MIN: u64 = if cfg!(test) { 2_000 } else { 16 << 20 };

/// Reads what the newest whole log in `dir` says, and how many damaged places it has.
pub fn load(dir: &Path) -> io::Result<(State, u64)> {
    let mut damage = 0;
    for number in numbered(dir, "log")?.into_iter().rev() {
        let mut scan = Scan::new(File::open(path(dir, number))?, 0, Some(frame::NO_STAMP))?;
        let (mut state, mut whole, mut damaged) = (State::default(), false, 0);
        loop {
            match scan.next()? {
                Found::Record { .. } => match state.apply(&scan.payload) {
                    Ok(kind) => whole |= kind == SUMMARY_END,
                    Err(ShortRecord) => damaged += 1,
                },
                Found::Damage { .. } => damaged += 1,
                Found::Torn { .. } => {}
                Found::End => break,
            }
        }
        if whole {
            return Ok((state, damage + damaged));
        }
        damage += damaged;
    }
    Ok((State::default(), damage))
}

fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:016x}.log"))
}

impl BatchLog {
    /// Begins a new log with this state; the logs before it are deleted.
    pub fn begin(dir: &Path, state: State) -> io::Result<Self> {
        let older = numbered(dir, "log")?;
        let number = older.last().map_or(1, |last| last + 1);
        let file = AppendFile::create(&path(dir, number), &state.summary()?)?;
        for number in older {
            std::fs::remove_file(path(dir, number))?;
        }
        sync_folder(&path(dir, number))?;
        let rewrite_at = REWRITE_MIN.max(file.len() * 2);
        Ok(BatchLog { dir: dir.to_owned(), number, file, rewrite_at, state })
    }

    fn append(&mut self, payload: &[u8]) -> io::Result<()> {
        if self.file.len() > self.rewrite_at {
            *self = BatchLog::begin(&self.dir, self.state.clone())?;
            tracing::debug!(number = self.number, "batch log rewritten");
        }
        let mut bytes = Vec::with_capacity(payload.len() + frame::HEADER);
        push_frame(payload, &mut bytes)?;
        self.file.append(&[&bytes])
    }

    /// A segment with this number begins; it will not be used again.
    pub fn next_segment(&mut self, number: u64) {
        self.state.next_segment = self.state.next_segment.max(number + 1);
    }

    /// Fsyncs what is about to be sent.
    pub fn plan(&mut self, planned: Planned) -> io::Result<()> {
        self.append(&planned_payload(&planned))?;
        self.state.open.insert(planned.token.clone(), planned);
        Ok(())
    }

    /// Fsyncs that the batch is done: stored, or in quarantine.
    pub fn done(&mut self, token: &str) -> io::Result<()> {
        let mut payload = vec![DONE];
        put_text(token, &mut payload);
        self.append(&payload)?;
        if let Some(planned) = self.state.open.remove(token) {
            self.state.mark_done(&planned.blocks);
        }
        Ok(())
    }

    /// Fsyncs that blocks which never went into a batch are done (they could not be read, or were decided about).
    pub fn blocks_done(&mut self, blocks: &[BlockRef]) -> io::Result<()> {
        let mut offsets: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for block in blocks {
            offsets.entry(block.segment).or_default().push(block.offset);
        }
        for (segment, offsets) in offsets {
            self.append(&blocks_payload(BLOCKS_DONE, segment, &offsets))?;
            // At once: the next segment's may begin a new file, which holds what is known here.
            self.state.done.entry(segment).or_default().extend(offsets);
        }
        Ok(())
    }

    /// Segments that are gone.
    pub fn forget(&mut self, segments: &[u64]) {
        for segment in segments {
            self.state.done.remove(segment);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(token: &str, offsets: &[u64]) -> Planned {
        let block = |offset: &u64| BlockRef {
            segment: 3,
            offset: *offset,
            length: 9,
            rows: 2,
            checksum: 1,
            layout: 5,
            arrived: Timestamp::from_secs(4),
        };
        Planned { token: token.into(), table: 1, checksum: 77, blocks: offsets.iter().map(block).collect() }
    }

    #[test]
    fn what_was_planned_and_what_is_done_come_back_at_every_cut() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = BatchLog::begin(dir.path(), State { next_segment: 2, ..State::default() }).unwrap();
        let start = log.file.len();
        log.plan(planned("a", &[40, 60])).unwrap();
        let planned_a = log.file.len();
        log.plan(planned("b", &[80])).unwrap();
        let planned_b = log.file.len();
        log.done("a").unwrap();
        let file = path(dir.path(), 1);
        let bytes = std::fs::read(&file).unwrap();
        for cut in start as usize..=bytes.len() {
            std::fs::write(&file, &bytes[..cut]).unwrap();
            let (state, damage) = load(dir.path()).unwrap();
            let a_done = cut == bytes.len();
            assert_eq!(state.open.contains_key("a"), cut as u64 >= planned_a && !a_done, "{cut}");
            assert_eq!(state.open.get("b"), (cut as u64 >= planned_b).then(|| planned("b", &[80])).as_ref(), "{cut}");
            assert_eq!(state.done.get(&3), a_done.then(|| vec![40, 60]).as_ref());
            assert_eq!(state.next_segment, if cut as u64 >= planned_a { 4 } else { 2 });
            assert_eq!(damage, 0);
        }
        // A rewrite says the same; cut short it does not count.
        let state = load(dir.path()).unwrap().0;
        BatchLog::begin(dir.path(), state.clone()).unwrap();
        assert_eq!(load(dir.path()).unwrap().0, state);
        let second = std::fs::read(path(dir.path(), 2)).unwrap();
        std::fs::write(&file, &bytes).unwrap();
        for cut in 0..second.len() {
            std::fs::write(path(dir.path(), 2), &second[..cut]).unwrap();
            assert_eq!(load(dir.path()).unwrap().0, state, "{cut}");
        }
    }

    #[test]
    fn a_rewrite_between_the_segments_of_one_note_loses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = BatchLog::begin(dir.path(), State::default()).unwrap();
        let block = |segment| BlockRef { segment, ..planned("a", &[40]).blocks[0] };
        // The first note makes the file too long, so the second begins another.
        log.rewrite_at = log.file.len();
        log.blocks_done(&[block(3), block(4), block(5)]).unwrap();
        let (state, _) = load(dir.path()).unwrap();
        assert!(log.number > 1);
        assert_eq!(state.done.keys().copied().collect::<Vec<_>>(), [3, 4, 5]);
        assert_eq!(state.done, log.state.done);
    }

    #[test]
    fn a_long_log_is_rewritten_and_forgets_what_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = BatchLog::begin(dir.path(), State::default()).unwrap();
        log.next_segment(3);
        log.rewrite_at = 10_000;
        for n in 0..500u64 {
            log.plan(planned(&format!("t{n}"), &[n * 10])).unwrap();
            log.done(&format!("t{n}")).unwrap();
            if n == 400 {
                log.forget(&[3]);
                log.rewrite_at = 10_000;
            }
        }
        let (state, _) = load(dir.path()).unwrap();
        assert_eq!(state, log.state);
        assert_eq!(state.done[&3].len(), 99);
        assert!(log.number > 1);
        assert_eq!(numbered(dir.path(), "log").unwrap(), vec![log.number]);
    }
}
