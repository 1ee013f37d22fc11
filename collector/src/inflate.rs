//! Decompression with a limit that holds while inflating. In: a body and its content encoding. Fails: too large, truncated,
//! garbage after the end, or no memory left.

use std::io::{BufReader, Read};

use flate2::read::{MultiGzDecoder, ZlibDecoder};

use crate::admission::{Full, Reservation};

/// How much is inflated between two looks at the limits.
const STEP: usize = 64 << 10;
/// Largest window of a zstd frame, as a power of two: what `zstd --ultra` uses at most without `--long`.
const ZSTD_WINDOW: u32 = 27;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// Not at all.
    Identity,
    /// RFC 1952, one or more members.
    Gzip,
    /// RFC 1950: HTTP's `deflate` is zlib.
    Deflate,
    /// RFC 8878, one or more frames.
    Zstd,
    /// RFC 7932.
    Brotli,
    /// Snappy's block format, as Prometheus and Loki send it; no `Content-Encoding` of other protocols.
    Snappy,
}

impl Encoding {
    /// The encoding that HTTP's `Content-Encoding` or gRPC's `grpc-encoding` names; `None` for one that is not known.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Some(Encoding::Identity),
            "gzip" | "x-gzip" => Some(Encoding::Gzip),
            "deflate" => Some(Encoding::Deflate),
            "zstd" => Some(Encoding::Zstd),
            "br" => Some(Encoding::Brotli),
            _ => None,
        }
    }
    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Encoding::Identity => "identity",
            Encoding::Gzip => "gzip",
            Encoding::Deflate => "deflate",
            Encoding::Zstd => "zstd",
            Encoding::Brotli => "br",
            Encoding::Snappy => "snappy",
        }
    }
}

/// Why a body could not be inflated.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InflateError {
    /// It grew past the limit.
    #[error("more than {0} bytes after decompression")]
    TooLarge(u64),
    /// It is no complete stream of its encoding.
    #[error("not a complete stream: {0}")]
    Broken(#[source] std::io::Error),
    /// The memory of all requests is taken.
    #[error("no memory left")]
    Full(Full),
}

/// Inflates a body, at most `limit` bytes, and reserves the memory step by step.
pub(crate) fn inflate(encoding: Encoding, wire: &[u8], limit: u64, reservation: &mut Reservation) -> Result<Vec<u8>, InflateError> {
    match encoding {
        Encoding::Identity => read_all(wire, wire.len(), limit, reservation),
        Encoding::Gzip => read_all(MultiGzDecoder::new(wire), wire.len(), limit, reservation),
        Encoding::Deflate => {
            let mut decoder = ZlibDecoder::new(wire);
            let body = read_all(&mut decoder, wire.len(), limit, reservation)?;
            match decoder.total_in() == wire.len() as u64 {
                true => Ok(body),
                false => Err(InflateError::Broken(std::io::Error::other("bytes follow the end of the stream"))),
            }
        }
        Encoding::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(BufReader::new(wire)).map_err(InflateError::Broken)?;
            decoder.window_log_max(ZSTD_WINDOW).map_err(InflateError::Broken)?;
            read_all(decoder, wire.len(), limit, reservation)
        }
        Encoding::Brotli => read_all(brotli_decompressor::Decompressor::new(wire, STEP), wire.len(), limit, reservation),
        Encoding::Snappy => unsnap(wire, limit, reservation),
    }
}

/// The beginning of a body, at most `limit` bytes; less where the stream is broken.
pub(crate) fn beginning(encoding: Encoding, wire: &[u8], limit: usize) -> Vec<u8> {
    let mut body = Vec::with_capacity(limit);
    let mut read = |from: &mut dyn Read| {
        // What could be read before an error is kept; the whole body will tell of the error.
        let _ = from.take(limit as u64).read_to_end(&mut body);
    };
    match encoding {
        Encoding::Identity => read(&mut &*wire),
        Encoding::Gzip => read(&mut MultiGzDecoder::new(wire)),
        Encoding::Deflate => read(&mut ZlibDecoder::new(wire)),
        Encoding::Zstd => {
            if let Ok(mut decoder) = zstd::Decoder::with_buffer(BufReader::new(wire))
                && decoder.window_log_max(ZSTD_WINDOW).is_ok()
            {
                read(&mut decoder);
            }
        }
        Encoding::Brotli => read(&mut brotli_decompressor::Decompressor::new(wire, STEP)),
        // A block is decompressed whole or not at all; no protocol that asks for a beginning uses it.
        Encoding::Snappy => {}
    }
    body
}

/// A block cannot become more than this many times as long: an element of three bytes copies at most 64.
const SNAPPY_RATIO: u64 = 22;

/// A block announces its length, so the limit holds before anything is inflated.
fn unsnap(wire: &[u8], limit: u64, reservation: &mut Reservation) -> Result<Vec<u8>, InflateError> {
    let broken = |error: snap::Error| InflateError::Broken(std::io::Error::other(error.to_string()));
    let length = snap::raw::decompress_len(wire).map_err(broken)? as u64;
    if length > limit {
        return Err(InflateError::TooLarge(limit));
    }
    if length > wire.len() as u64 * SNAPPY_RATIO {
        return Err(InflateError::Broken(std::io::Error::other("it announces more bytes than it can hold")));
    }
    reservation.try_grow(length).map_err(InflateError::Full)?;
    snap::raw::Decoder::new().decompress_vec(wire).map_err(broken)
}

fn read_all(mut from: impl Read, wire: usize, limit: u64, reservation: &mut Reservation) -> Result<Vec<u8>, InflateError> {
    let (mut body, mut step) = (Vec::with_capacity((wire * 3).min(1 << 20)), vec![0; STEP]);
    loop {
        let read = match from.read(&mut step) {
            Ok(0) => return Ok(body),
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(InflateError::Broken(error)),
        };
        if (body.len() + read) as u64 > limit {
            return Err(InflateError::TooLarge(limit));
        }
        reservation.try_grow(read as u64).map_err(InflateError::Full)?;
        body.extend_from_slice(&step[..read]);
    }
}
