//! One accepted batch as one record: atomic, because a frame is whole or is not there. The layout is frozen (version 1 of the
//! segment): tenant (u16 length, bytes), request (u8 flag, u128), arrival (i64 ns), block count (u16); per block its table number
//! (u16), layout (u64, [`crate::native::layout`]), rows (u32), length (u32), crc32c (u32); then the Native bytes of all blocks, each packed as
//! ClickHouse takes them over HTTP (`decompress=1`): what the log holds is what ClickHouse is sent, at a third of the size.

use model::columns::TableSpec;
use model::sink::{Batch, Refusal};
use model::tables;
use model::tenant::TenantId;
use model::time::Timestamp;

use super::codec::{Fields, ShortRecord, put_text};
use super::frame;
use crate::native;

/// A block in a segment: where its bytes stand and what is in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRef {
    /// The number of the segment.
    pub segment: u64,
    /// Where its bytes start in the file.
    pub offset: u64,
    /// How many bytes.
    pub length: u32,
    /// How many rows.
    pub rows: u32,
    /// crc32c of the bytes.
    pub checksum: u32,
    /// The low half of [`crate::native::layout`]: blocks of one insert share it.
    pub layout: u32,
    /// When it arrived.
    pub arrived: Timestamp,
}

/// A block inside a record that has no place yet; `offset` counts from the start of the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockMeta {
    /// [`TableSpec::number`].
    pub table: u16,
    /// See [`BlockRef`].
    pub layout: u64,
    /// See [`BlockRef`].
    pub rows: u32,
    /// See [`BlockRef`].
    pub length: u32,
    /// See [`BlockRef`].
    pub checksum: u32,
    /// Where its bytes start in the payload.
    pub offset: u64,
}

/// What a record says before its blocks' bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordMeta {
    /// Whose data it is.
    pub tenant: TenantId,
    /// The request's hash.
    pub request: Option<u128>,
    /// When it arrived.
    pub arrived: Timestamp,
    /// Its blocks.
    pub blocks: Vec<BlockMeta>,
}

impl RecordMeta {
    /// The blocks with their table, as they stand in a segment whose record payload starts at `at`.
    pub fn placed(&self, segment: u64, at: u64) -> impl Iterator<Item = (u16, BlockRef)> + '_ {
        self.blocks.iter().map(move |block| {
            let placed = BlockRef {
                segment,
                offset: at + block.offset,
                length: block.length,
                rows: block.rows,
                checksum: block.checksum,
                layout: block.layout as u32,
                arrived: self.arrived,
            };
            (block.table, placed)
        })
    }
}

/// A record ready to be written.
#[derive(Debug)]
pub struct EncodedRecord {
    /// The whole frame.
    pub frame: Vec<u8>,
    /// What is in it.
    pub meta: RecordMeta,
}

/// Where blocks are encoded and then packed: memory that is used again, because fresh memory costs as much as the encoding.
#[derive(Debug, Default)]
pub struct Scratch {
    plain: Vec<u8>,
    packed: Vec<u8>,
    packer: native::packed::Packer,
}

/// Most bytes that a scratch memory keeps of either.
const MAX_SCRATCH: usize = 4 << 20;
/// What stands in a record before its blocks' heads, where a tenant's name is of usual length.
const BEFORE_BLOCKS: usize = 128;
/// What stands in it of each block before the blocks' bytes.
const BLOCK_HEAD: usize = 22;

/// Encodes a batch; blocks without rows are left out.
pub fn encode(batch: &Batch) -> Result<EncodedRecord, Refusal> {
    Scratch::default().encode(batch)
}

impl Scratch {
    /// Encodes a batch; blocks without rows are left out.
    pub fn encode(&mut self, batch: &Batch) -> Result<EncodedRecord, Refusal> {
        self.packed.clear();
        let record = self.record(batch);
        for part in [&mut self.plain, &mut self.packed] {
            part.clear();
            part.shrink_to(MAX_SCRATCH);
        }
        record
    }

    /// Packs the blocks one after the other, and says where each stands.
    fn blocks(&mut self, batch: &Batch) -> Result<Vec<BlockMeta>, Refusal> {
        let Scratch { plain, packed: bytes, packer } = self;
        let mut blocks = Vec::with_capacity(batch.blocks.len());
        for block in batch.blocks.iter().filter(|block| block.rows() > 0) {
            let start = bytes.len();
            plain.clear();
            native::encode(block, plain).map_err(|error| match error {
                native::EncodeError::Block(error) => Refusal::Block(error),
                shape @ native::EncodeError::Shape { .. } => Refusal::Io(std::io::Error::new(std::io::ErrorKind::InvalidInput, shape)),
            })?;
            packer.pack(plain, bytes)?;
            blocks.push(BlockMeta {
                table: block.table.number,
                layout: layout_of(block.table),
                rows: narrow(block.rows())?,
                length: narrow(bytes.len() - start)?,
                checksum: crc32c::crc32c(&bytes[start..]),
                offset: start as u64,
            });
        }
        Ok(blocks)
    }

    fn record(&mut self, batch: &Batch) -> Result<EncodedRecord, Refusal> {
        let mut blocks = self.blocks(batch)?;
        let mut frame = Vec::with_capacity(frame::HEADER + BEFORE_BLOCKS + blocks.len() * BLOCK_HEAD + self.packed.len());
        frame.resize(frame::HEADER, 0);
        put_text(batch.tenant.as_str(), &mut frame);
        frame.push(u8::from(batch.request.is_some()));
        frame.extend_from_slice(&batch.request.map_or(0, |hash| hash.0).to_le_bytes());
        frame.extend_from_slice(&batch.arrived.nanos().to_le_bytes());
        let count = u16::try_from(blocks.len()).map_err(|_| too_large())?;
        frame.extend_from_slice(&count.to_le_bytes());
        for block in &blocks {
            frame.extend_from_slice(&block.table.to_le_bytes());
            frame.extend_from_slice(&block.layout.to_le_bytes());
            for word in [block.rows, block.length, block.checksum] {
                frame.extend_from_slice(&word.to_le_bytes());
            }
        }
        let head = (frame.len() - frame::HEADER) as u64;
        for block in &mut blocks {
            block.offset += head;
        }
        frame.extend_from_slice(&self.packed);
        frame::seal(&mut frame)?;
        let meta = RecordMeta { tenant: batch.tenant.clone(), request: batch.request.map(|hash| hash.0), arrived: batch.arrived, blocks };
        Ok(EncodedRecord { frame, meta })
    }
}

fn narrow(value: usize) -> Result<u32, Refusal> {
    u32::try_from(value).map_err(|_| too_large())
}

fn too_large() -> Refusal {
    Refusal::Io(std::io::Error::new(std::io::ErrorKind::InvalidInput, "a batch of 4 GiB or more does not fit one record of the log"))
}

/// The layout numbers of the known tables, computed once.
fn layout_of(table: &'static TableSpec) -> u64 {
    static KNOWN: std::sync::OnceLock<Vec<u64>> = std::sync::OnceLock::new();
    let known = KNOWN.get_or_init(|| tables::ALL.iter().chain(&tables::LOG_ONLY).map(|table| native::layout(table)).collect());
    let at = tables::ALL.iter().chain(&tables::LOG_ONLY).position(|one| std::ptr::eq(*one, table));
    at.and_then(|at| known.get(at).copied()).unwrap_or_else(|| native::layout(table))
}

/// Why a payload with a right checksum is no record.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RecordError {
    /// It ends early.
    #[error(transparent)]
    Short(#[from] ShortRecord),
    /// The tenant's name is none.
    #[error("the record holds a tenant name that is none")]
    Tenant,
}

/// Reads what stands before the blocks' bytes.
pub fn parse(payload: &[u8]) -> Result<RecordMeta, RecordError> {
    let mut fields = Fields(payload);
    let tenant = TenantId::new(fields.text()?).map_err(|_| RecordError::Tenant)?;
    let has_request = fields.u8()? != 0;
    let hash = fields.u128()?;
    let arrived = Timestamp::from_nanos(fields.i64()?);
    let count = fields.u16()?;
    let mut blocks = Vec::with_capacity(count.into());
    for _ in 0..count {
        let (table, layout) = (fields.u16()?, fields.u64()?);
        let (rows, length, checksum) = (fields.u32()?, fields.u32()?, fields.u32()?);
        blocks.push(BlockMeta { table, layout, rows, length, checksum, offset: 0 });
    }
    for block in &mut blocks {
        block.offset = (payload.len() - fields.0.len()) as u64;
        fields.bytes(block.length as usize)?;
    }
    Ok(RecordMeta { tenant, request: has_request.then_some(hash), arrived, blocks })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wal::samples::block_of;
    use model::sink::RequestHash;

    #[test]
    fn a_record_says_where_its_blocks_are() {
        let blocks = vec![block_of(&tables::SPANS, 3, 1), block_of(&tables::LOGS, 0, 2), block_of(&tables::POINTS, 5, 3)];
        let batch = Batch {
            tenant: TenantId::new("acme").unwrap(),
            request: Some(RequestHash::of("otlp", b"body")),
            arrived: Timestamp::from_secs(7),
            blocks,
        };
        let record = encode(&batch).unwrap();
        let payload = &record.frame[frame::HEADER..];
        let meta = parse(payload).unwrap();
        assert_eq!(meta, record.meta);
        assert_eq!(meta.blocks.len(), 2, "the empty one is left out");
        for (block, wanted) in meta.blocks.iter().zip([&batch.blocks[0], &batch.blocks[2]]) {
            let start = block.offset as usize;
            let bytes = &payload[start..start + block.length as usize];
            let mut alone = Vec::new();
            native::encode(wanted, &mut alone).unwrap();
            assert_eq!(native::packed::unpack(bytes).unwrap(), alone);
            assert_eq!(block.checksum, crc32c::crc32c(bytes));
        }
        for cut in 0..payload.len() {
            assert!(parse(&payload[..cut]).is_err());
        }
    }
}
