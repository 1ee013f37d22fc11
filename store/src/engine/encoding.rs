//! Encodings of request and answer bodies: HTTP's gzip, deflate, zstd and lz4, and ClickHouse's own blocks. Readers and writers are
//! synchronous: they run where the statement runs.

use std::io::{Error, ErrorKind, Read, Write};

use crate::native::packed::{BlockReader, BlockWriter};

/// How bytes are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all.
    Identity,
    /// `gzip`.
    Gzip,
    /// `deflate` (zlib).
    Deflate,
    /// `zstd`.
    Zstd,
    /// `lz4`, frames.
    Lz4,
    /// ClickHouse's compressed blocks, which no header announces.
    Blocks,
}

impl Encoding {
    /// The one that an `Accept-Encoding` header gets: the cheapest for its gain that it allows.
    pub fn chosen(accepted: &str) -> Self {
        let allows = |wanted: &str| {
            accepted.split(',').any(|item| {
                let mut parts = item.split(';').map(str::trim);
                let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(wanted));
                named && !parts.any(|weight| matches!(weight.replace(' ', "").as_str(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
            })
        };
        [Encoding::Zstd, Encoding::Lz4, Encoding::Gzip, Encoding::Deflate]
            .into_iter()
            .find(|encoding| encoding.header().is_some_and(allows))
            .unwrap_or(Encoding::Identity)
    }

    /// The one that a `Content-Encoding` header names.
    ///
    /// # Errors
    /// One sentence when it is not served.
    pub fn named(header: Option<&str>) -> Result<Self, String> {
        match header.map(|name| name.trim().to_ascii_lowercase()).as_deref() {
            None | Some("" | "identity") => Ok(Encoding::Identity),
            Some("gzip" | "x-gzip") => Ok(Encoding::Gzip),
            Some("deflate") => Ok(Encoding::Deflate),
            Some("zstd") => Ok(Encoding::Zstd),
            Some("lz4") => Ok(Encoding::Lz4),
            Some(other) => Err(format!("content encoding `{other}` is not served: use gzip, deflate, zstd or lz4")),
        }
    }

    /// Its name in HTTP headers.
    pub fn header(self) -> Option<&'static str> {
        match self {
            Encoding::Identity | Encoding::Blocks => None,
            Encoding::Gzip => Some("gzip"),
            Encoding::Deflate => Some("deflate"),
            Encoding::Zstd => Some("zstd"),
            Encoding::Lz4 => Some("lz4"),
        }
    }

    /// A reader of the decoded bytes.
    ///
    /// # Errors
    /// When the decoder cannot be made.
    pub fn reader<'a>(self, encoded: impl Read + 'a) -> std::io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Encoding::Identity => Box::new(encoded),
            Encoding::Gzip => Box::new(flate2::read::MultiGzDecoder::new(encoded)),
            Encoding::Deflate => Box::new(flate2::read::ZlibDecoder::new(encoded)),
            Encoding::Zstd => Box::new(zstd::Decoder::new(encoded)?),
            Encoding::Lz4 => Box::new(lz4_flex::frame::FrameDecoder::new(encoded)),
            Encoding::Blocks => Box::new(BlockReader::new(encoded)),
        })
    }

    /// A writer that encodes into `inner`.
    ///
    /// # Errors
    /// When the encoder cannot be made.
    pub fn writer<W: Write>(self, inner: W) -> std::io::Result<Encoder<W>> {
        Ok(match self {
            Encoding::Identity => Encoder::Identity(inner),
            Encoding::Gzip => Encoder::Gzip(flate2::write::GzEncoder::new(inner, flate2::Compression::fast())),
            Encoding::Deflate => Encoder::Deflate(flate2::write::ZlibEncoder::new(inner, flate2::Compression::fast())),
            Encoding::Zstd => Encoder::Zstd(zstd::Encoder::new(inner, 1)?),
            Encoding::Lz4 => Encoder::Lz4(Box::new(lz4_flex::frame::FrameEncoder::new(inner))),
            Encoding::Blocks => Encoder::Blocks(BlockWriter::new(inner)),
        })
    }
}

/// A writer that encodes. It must be finished.
pub enum Encoder<W: Write> {
    /// As it is.
    Identity(W),
    /// gzip.
    Gzip(flate2::write::GzEncoder<W>),
    /// zlib.
    Deflate(flate2::write::ZlibEncoder<W>),
    /// zstd.
    Zstd(zstd::Encoder<'static, W>),
    /// lz4 frames.
    Lz4(Box<lz4_flex::frame::FrameEncoder<W>>),
    /// ClickHouse's blocks.
    Blocks(BlockWriter<W>),
}

impl<W: Write> Encoder<W> {
    fn inner(&mut self) -> &mut dyn Write {
        match self {
            Encoder::Identity(writer) => writer,
            Encoder::Gzip(writer) => writer,
            Encoder::Deflate(writer) => writer,
            Encoder::Zstd(writer) => writer,
            Encoder::Lz4(writer) => writer.as_mut(),
            Encoder::Blocks(writer) => writer,
        }
    }

    /// Writes what the encoding ends with, and flushes.
    ///
    /// # Errors
    /// Those of the inner writer.
    pub fn finish(self) -> std::io::Result<()> {
        match self {
            Encoder::Identity(mut writer) => writer.flush(),
            Encoder::Gzip(writer) => writer.finish()?.flush(),
            Encoder::Deflate(writer) => writer.finish()?.flush(),
            Encoder::Zstd(writer) => writer.finish()?.flush(),
            Encoder::Lz4(writer) => writer.finish().map_err(Error::other)?.flush(),
            Encoder::Blocks(mut writer) => writer.flush(),
        }
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.inner().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        self.inner().flush()
    }
}

/// A reader that gives an error after `limit` bytes.
pub struct Capped<R> {
    inner: R,
    left: u64,
    limit: u64,
}

impl<R: Read> Capped<R> {
    /// At most `limit` bytes of `inner`.
    pub fn new(inner: R, limit: u64) -> Self {
        Capped { inner, left: limit, limit }
    }
}

impl<R: Read> Read for Capped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        match self.left.checked_sub(read as u64) {
            Some(left) => self.left = left,
            None => {
                let words = format!("the body is larger than {} bytes: send it in parts", self.limit);
                return Err(Error::new(ErrorKind::FileTooLarge, words));
            }
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Encoding; 6] = [Encoding::Identity, Encoding::Gzip, Encoding::Deflate, Encoding::Zstd, Encoding::Lz4, Encoding::Blocks];

    #[test]
    fn every_encoding_round_trips() {
        let text: Vec<u8> = (0..300_000u32).flat_map(|number| (number / 7).to_le_bytes()).collect();
        for encoding in ALL {
            let mut packed = Vec::new();
            let mut writer = encoding.writer(&mut packed).unwrap();
            for part in text.chunks(70_000) {
                writer.write_all(part).unwrap();
                writer.flush().unwrap();
            }
            writer.finish().unwrap();
            let mut plain = Vec::new();
            encoding.reader(packed.as_slice()).unwrap().read_to_end(&mut plain).unwrap();
            assert!(plain == text, "{encoding:?}");
        }
    }

    #[test]
    fn headers_choose() {
        for (accepted, encoding) in [
            ("lz4", Encoding::Lz4),
            ("gzip, deflate, br", Encoding::Gzip),
            ("gzip;q=0, deflate", Encoding::Deflate),
            ("lz4, zstd;q=0.5", Encoding::Zstd),
            ("br", Encoding::Identity),
            ("", Encoding::Identity),
        ] {
            assert_eq!(Encoding::chosen(accepted), encoding, "{accepted}");
        }
        assert_eq!(Encoding::named(Some("X-GZIP")), Ok(Encoding::Gzip));
        assert!(Encoding::named(Some("br")).unwrap_err().contains("`br` is not served"));
    }

    #[test]
    fn a_cap_is_kept() {
        let mut taken = Vec::new();
        Capped::new(&b"1234"[..], 4).read_to_end(&mut taken).unwrap();
        assert_eq!(taken, b"1234");
        let error = Capped::new(&b"12345"[..], 4).read_to_end(&mut taken).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FileTooLarge);
    }
}
