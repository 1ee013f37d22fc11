//! Frames: how one record stands in a file. Magic, length, checksum of the payload, stamp of the file, checksum of these four; then
//! the payload. The header has a checksum of its own so that a damaged length is told from a damaged payload, and the next record can
//! be found again. The stamp tells the records of a file from those that stood in its place before: segments are used again.

use std::io::{self, Read, Seek, SeekFrom};

/// Bytes before the payload.
pub const HEADER: usize = 24;
const MAGIC: [u8; 4] = *b"WFR2";
/// The stamp of files that are never used again.
pub const NO_STAMP: u64 = 0;

/// Fills in the header of a frame whose first [`HEADER`] bytes were left free. Fails on payloads of 4 GiB and more.
pub fn seal(frame: &mut [u8]) -> io::Result<()> {
    let (header, payload) = frame
        .split_first_chunk_mut::<HEADER>()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a frame is shorter than its header"))?;
    let length = u32::try_from(payload.len())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a record of 4 GiB or more does not fit the log"))?;
    header[..4].copy_from_slice(&MAGIC);
    header[4..8].copy_from_slice(&length.to_le_bytes());
    header[8..12].copy_from_slice(&crc32c::crc32c(payload).to_le_bytes());
    stamp(frame, NO_STAMP);
    Ok(())
}

/// Gives a sealed frame the stamp of the file that it will stand in.
pub fn stamp(frame: &mut [u8], stamp: u64) {
    if let Some((header, _)) = frame.split_first_chunk_mut::<HEADER>() {
        header[12..20].copy_from_slice(&stamp.to_le_bytes());
        let own = crc32c::crc32c(&header[..20]);
        header[20..].copy_from_slice(&own.to_le_bytes());
    }
}

/// What a header says.
struct Header {
    length: u64,
    checksum: u32,
    stamp: u64,
}

/// The header, if these bytes are one.
fn parse(header: &[u8; HEADER]) -> Option<Header> {
    let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let stamp = u64::from(word(12)) | u64::from(word(16)) << 32;
    (header[..4] == MAGIC && word(20) == crc32c::crc32c(&header[..20])).then(|| Header {
        length: u64::from(word(4)),
        checksum: word(8),
        stamp,
    })
}

/// What a scan meets.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// A whole record: where its payload starts. The payload is in [`Scan::payload`].
    Record {
        /// Offset of the payload in the file.
        at: u64,
    },
    /// Bytes that are no record, with at least one whole record after them.
    Damage {
        /// Where they start.
        from: u64,
        /// Where the next header stands.
        to: u64,
    },
    /// Bytes that are no record up to the end of the file: a write that was cut short.
    Torn {
        /// Where they start.
        from: u64,
    },
    /// The end.
    End,
}

/// Walks over the frames of a file.
#[derive(Debug)]
pub struct Scan<F> {
    file: F,
    at: u64,
    end: u64,
    /// The stamp of the file; that of the first whole record where it is not known.
    stamp: Option<u64>,
    /// The payload of the record that was found last.
    pub payload: Vec<u8>,
}

impl<F: Read + Seek> Scan<F> {
    /// From offset `at` to the end of the file. Records of another stamp than the file's are none; `None` where the stamp can no
    /// longer be told.
    pub fn new(mut file: F, at: u64, stamp: Option<u64>) -> io::Result<Self> {
        let end = file.seek(SeekFrom::End(0))?;
        Ok(Scan { file, at, end, stamp, payload: Vec::new() })
    }

    /// The next thing in the file. Damage is found by looking for the next place where a whole record stands.
    pub fn next(&mut self) -> io::Result<Found> {
        if self.at >= self.end {
            return Ok(Found::End);
        }
        let from = self.at;
        if self.read_frame(from)? {
            return Ok(Found::Record { at: from + HEADER as u64 });
        }
        match self.next_whole(from + 1)? {
            Some(to) => {
                self.at = to;
                Ok(Found::Damage { from, to })
            }
            None => {
                self.at = self.end;
                Ok(Found::Torn { from })
            }
        }
    }

    /// Reads the frame at `at` into `payload` and moves behind it; false if there is none that is whole.
    fn read_frame(&mut self, at: u64) -> io::Result<bool> {
        let mut header = [0; HEADER];
        if self.end - at < HEADER as u64 {
            return Ok(false);
        }
        self.file.seek(SeekFrom::Start(at))?;
        self.file.read_exact(&mut header)?;
        let Some(Header { length, checksum, stamp }) = parse(&header) else { return Ok(false) };
        if self.stamp.is_some_and(|own| own != stamp) {
            return Ok(false);
        }
        let start = at + HEADER as u64;
        if self.end - start < length {
            return Ok(false);
        }
        self.payload.resize(length as usize, 0);
        self.file.read_exact(&mut self.payload)?;
        if crc32c::crc32c(&self.payload) != checksum {
            return Ok(false);
        }
        self.stamp = Some(stamp);
        self.at = start + length;
        Ok(true)
    }

    /// The first offset from `from` on where a whole record stands.
    fn next_whole(&mut self, from: u64) -> io::Result<Option<u64>> {
        const WINDOW: usize = 1 << 16;
        let mut window = vec![0; WINDOW];
        let (saved, mut base) = (self.at, from);
        while base < self.end {
            let length = usize::try_from(self.end - base).unwrap_or(WINDOW).min(WINDOW);
            self.file.seek(SeekFrom::Start(base))?;
            self.file.read_exact(&mut window[..length])?;
            for (offset, word) in window[..length].windows(4).enumerate() {
                let at = base + offset as u64;
                if word == MAGIC && self.read_frame(at)? {
                    self.at = saved;
                    return Ok(Some(at));
                }
            }
            if length < WINDOW {
                break;
            }
            base += (WINDOW - 3) as u64;
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Cursor;

    fn framed(payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; HEADER];
        frame.extend_from_slice(payload);
        seal(&mut frame).unwrap();
        frame
    }

    fn scan(bytes: &[u8]) -> (Vec<Vec<u8>>, usize, bool) {
        let mut scan = Scan::new(Cursor::new(bytes), 0, Some(NO_STAMP)).unwrap();
        let (mut records, mut damage, mut torn) = (Vec::new(), 0, false);
        loop {
            match scan.next().unwrap() {
                Found::Record { .. } => records.push(scan.payload.clone()),
                Found::Damage { .. } => damage += 1,
                Found::Torn { .. } => torn = true,
                Found::End => return (records, damage, torn),
            }
        }
    }

    #[test]
    fn every_cut_leaves_the_whole_records_before_it() {
        let payloads: [&[u8]; 4] = [b"first", b"", b"WFR2WFR2 a magic inside", &[7; 300]];
        let bytes: Vec<u8> = payloads.iter().flat_map(|p| framed(p)).collect();
        let mut end = 0;
        let ends: Vec<usize> = payloads
            .iter()
            .map(|p| {
                end += HEADER + p.len();
                end
            })
            .collect();
        for cut in 0..=bytes.len() {
            let whole = ends.iter().filter(|end| **end <= cut).count();
            let (records, damage, torn) = scan(&bytes[..cut]);
            assert_eq!((records.len(), damage), (whole, 0), "cut at {cut}");
            assert_eq!(torn, cut != 0 && !ends.contains(&cut), "cut at {cut}");
        }
    }

    #[test]
    fn records_that_stood_there_before_are_none() {
        let old: Vec<u8> = (0..9u8).flat_map(|n| framed(&[n; 40])).collect();
        let new: Vec<u8> = (0..2u8)
            .flat_map(|n| {
                let mut frame = framed(&[n; 33]);
                stamp(&mut frame, 7);
                frame
            })
            .collect();
        let bytes = [&new[..], &old[new.len()..]].concat();
        for known in [Some(7), None] {
            let mut scan = Scan::new(Cursor::new(&bytes), 0, known).unwrap();
            for n in 0..2u8 {
                assert!(matches!(scan.next().unwrap(), Found::Record { .. }));
                assert_eq!(scan.payload, [n; 33]);
            }
            assert_eq!(scan.next().unwrap(), Found::Torn { from: new.len() as u64 });
            assert_eq!(scan.next().unwrap(), Found::End);
        }
    }

    #[test]
    fn records_after_damage_are_found_again_even_far_away() {
        for gap in [1usize, 3, 65_530, 65_536, 200_000] {
            let mut bytes = framed(b"before");
            bytes.extend(vec![b'W'; gap]);
            bytes.extend(framed(b"after"));
            assert_eq!(scan(&bytes), (vec![b"before".to_vec(), b"after".to_vec()], 1, false), "{gap}");
        }
    }

    proptest! {
        #[test]
        fn a_flipped_bit_costs_at_most_its_record(sizes in prop::collection::vec(0usize..200, 1..8), at: prop::sample::Index, bit in 0u8..8) {
            let payloads: Vec<Vec<u8>> = sizes.iter().enumerate().map(|(n, size)| vec![n as u8; *size]).collect();
            let mut bytes: Vec<u8> = payloads.iter().flat_map(|p| framed(p)).collect();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let mut end = 0;
            let hit = payloads.iter().position(|p| { end += HEADER + p.len(); at < end }).unwrap();
            let mut wanted = payloads.clone();
            wanted.remove(hit);
            prop_assert_eq!(scan(&bytes).0, wanted);
        }
    }
}
