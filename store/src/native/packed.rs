//! ClickHouse's compressed blocks (`compress=1`, `decompress=1`): a checksum (CityHash 1.0.2, 128 bits), a method, two lengths, and the
//! compressed bytes, one block after the other. See "Frame format" in ClickHouse's documentation of the Native format.

use std::fmt;
use std::io::{Error, ErrorKind, Read, Write};

use lz4_flex::block::{CompressTable, compress_into_with_table, get_maximum_output_size};

const CHECKSUM: usize = 16;
const HEADER: usize = 9;
const NONE: u8 = 0x02;
const LZ4: u8 = 0x82;
const ZSTD: u8 = 0x90;
/// Larger blocks than this are refused: nobody sends them, and they are taken into memory whole.
const MAX_BLOCK: usize = 256 << 20;
/// What the writer puts into one block at the most.
const WRITTEN_BLOCK: usize = 1 << 20;

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM] {
    // ClickHouse stores the upper half first.
    cityhash_rs::cityhash_102_128(bytes).rotate_right(64).to_le_bytes()
}

fn broken(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidData, format!("a compressed block is broken: {}", what.into()))
}

/// Reads the bytes inside of blocks. Every checksum is checked.
pub struct BlockReader<R> {
    inner: R,
    block: Vec<u8>,
    at: usize,
}

impl<R: Read> BlockReader<R> {
    /// Over compressed bytes.
    pub fn new(inner: R) -> Self {
        BlockReader { inner, block: Vec::new(), at: 0 }
    }

    /// Takes the next block in; false at a clean end.
    fn refill(&mut self) -> std::io::Result<bool> {
        let mut head = [0u8; CHECKSUM + HEADER];
        let mut filled = 0;
        while filled < head.len() {
            match self.inner.read(&mut head[filled..]) {
                Ok(0) if filled == 0 => return Ok(false),
                Ok(0) => return Err(broken("it ends in its header")),
                Ok(read) => filled += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let length = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]) as usize;
        let (method, packed, unpacked) = (head[CHECKSUM], length(CHECKSUM + 1), length(CHECKSUM + 5));
        if !(HEADER..=MAX_BLOCK).contains(&packed) || unpacked > MAX_BLOCK {
            return Err(broken(format!("lengths {packed} and {unpacked}")));
        }
        let mut bytes = head[CHECKSUM..].to_vec();
        bytes.resize(packed, 0);
        self.inner.read_exact(&mut bytes[HEADER..]).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => broken("it ends in its data"),
            _ => error,
        })?;
        if checksum(&bytes) != head[..CHECKSUM] {
            return Err(broken("its checksum does not fit"));
        }
        let data = &bytes[HEADER..];
        self.block = match method {
            NONE => data.to_vec(),
            LZ4 => lz4_flex::block::decompress(data, unpacked).map_err(|error| broken(error.to_string()))?,
            ZSTD => {
                let mut plain = Vec::new();
                zstd::Decoder::new(data)?.take(unpacked as u64 + 1).read_to_end(&mut plain)?;
                plain
            }
            other => return Err(broken(format!("method {other:#04x} is not served: use LZ4, ZSTD or none"))),
        };
        if self.block.len() != unpacked {
            return Err(broken("it unpacks to another length than it says"));
        }
        self.at = 0;
        Ok(true)
    }
}

impl<R: Read> Read for BlockReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.at == self.block.len() {
            if buffer.is_empty() || !self.refill()? {
                return Ok(0);
            }
        }
        let length = buffer.len().min(self.block.len() - self.at);
        buffer[..length].copy_from_slice(&self.block[self.at..self.at + length]);
        self.at += length;
        Ok(length)
    }
}

/// Writes bytes as LZ4 blocks. What is flushed makes blocks of its own.
pub struct BlockWriter<W> {
    inner: W,
    pending: Vec<u8>,
    packer: Packer,
}

impl<W: Write> BlockWriter<W> {
    /// Into `inner`.
    pub fn new(inner: W) -> Self {
        BlockWriter { inner, pending: Vec::new(), packer: Packer::default() }
    }

    fn put_block(&mut self, plain: &[u8]) -> std::io::Result<()> {
        let mut packed = Vec::new();
        self.packer.pack(plain, &mut packed)?;
        self.inner.write_all(&packed)
    }
}

/// Packs, and keeps for the next time what that needs besides its input: the compressor's table, and room for the longest that a block can
/// become, which is a little over a MiB.
#[derive(Default)]
pub struct Packer {
    table: CompressTable,
    room: Vec<u8>,
}

impl fmt::Debug for Packer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packer").field("room", &self.room.len()).finish_non_exhaustive()
    }
}

/// Appends bytes as LZ4 blocks.
pub fn pack(plain: &[u8], out: &mut Vec<u8>) -> std::io::Result<()> {
    Packer::default().pack(plain, out)
}

impl Packer {
    /// Appends bytes as LZ4 blocks.
    pub fn pack(&mut self, plain: &[u8], out: &mut Vec<u8>) -> std::io::Result<()> {
        plain.chunks(WRITTEN_BLOCK).try_for_each(|part| self.block(part, out))
    }

    fn block(&mut self, part: &[u8], out: &mut Vec<u8>) -> std::io::Result<()> {
        let most = get_maximum_output_size(part.len());
        if self.room.len() < most {
            self.room.resize(most, 0);
        }
        let length = compress_into_with_table(part, &mut self.room[..most], &mut self.table).map_err(|error| broken(error.to_string()))?;
        let start = out.len();
        let data = start + CHECKSUM + HEADER;
        out.reserve(CHECKSUM + HEADER + length);
        out.resize(data, 0);
        out.extend_from_slice(&self.room[..length]);
        let too_long = |_| broken("too long");
        let head = start + CHECKSUM;
        out[head] = LZ4;
        out[head + 1..head + 5].copy_from_slice(&u32::try_from(length + HEADER).map_err(too_long)?.to_le_bytes());
        out[head + 5..data].copy_from_slice(&u32::try_from(part.len()).map_err(too_long)?.to_le_bytes());
        let sum = checksum(&out[head..]);
        out[start..head].copy_from_slice(&sum);
        Ok(())
    }
}

/// The bytes inside of blocks.
pub fn unpack(packed: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    BlockReader::new(packed).read_to_end(&mut plain).map(|_| plain)
}

impl<W: Write> Write for BlockWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= WRITTEN_BLOCK {
            let pending = std::mem::take(&mut self.pending);
            for block in pending.chunks(WRITTEN_BLOCK) {
                self.put_block(block)?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let pending = std::mem::take(&mut self.pending);
        if !pending.is_empty() {
            self.put_block(&pending)?;
        }
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut writer = BlockWriter::new(Vec::new());
        writer.write_all(bytes).unwrap();
        writer.flush().unwrap();
        writer.inner
    }

    fn unpacked(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
        unpack(bytes)
    }

    #[test]
    fn the_layout_is_clickhouses() {
        // Method none: what a server sends with `network_compression_method = 'NONE'`; the checksum is the documented one.
        let data = [&[NONE][..], &14u32.to_le_bytes(), &5u32.to_le_bytes(), b"hello"].concat();
        let block = [&checksum(&data)[..], &data].concat();
        assert_eq!(unpacked(&block).unwrap(), b"hello");
    }

    #[test]
    fn zstd_is_read_and_damage_is_found() {
        let compressed = zstd::encode_all(&b"some text"[..], 1).unwrap();
        let mut data = vec![ZSTD];
        data.extend((compressed.len() as u32 + 9).to_le_bytes());
        data.extend(9u32.to_le_bytes());
        data.extend(&compressed);
        let block = [&checksum(&data)[..], &data].concat();
        assert_eq!(unpacked(&block).unwrap(), b"some text");
        for at in 0..block.len() {
            let mut damaged = block.clone();
            damaged[at] ^= 0x40;
            assert!(unpacked(&damaged).is_err(), "byte {at}");
        }
        assert!(unpacked(&block[..block.len() - 1]).is_err());
        assert!(unpacked(&block[..5]).is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(bytes in proptest::collection::vec(0u8..4, 0..5_000), times in 1usize..600) {
            let bytes = bytes.repeat(times);
            prop_assert_eq!(unpacked(&packed(&bytes)).unwrap(), bytes);
        }
    }
}
