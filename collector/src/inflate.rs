//! Decompression with a limit that holds while inflating. In: a gzip body of one or more members. Fails: too large,
//! truncated, garbage after the last member, or no memory left.

use std::io::Read;

use flate2::read::MultiGzDecoder;

use crate::admission::{Full, Reservation};

/// How much is inflated between two looks at the limits.
const STEP: usize = 64 << 10;

/// Why a body could not be inflated.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InflateError {
    /// It grew past the limit.
    #[error("more than {0} bytes after decompression")]
    TooLarge(u64),
    /// It is no complete gzip stream.
    #[error("not a complete gzip stream: {0}")]
    Broken(#[source] std::io::Error),
    /// The memory of all requests is taken.
    #[error("no memory left")]
    Full(Full),
}

/// Inflates all members, at most `limit` bytes, and reserves the memory step by step.
pub(crate) fn gunzip(wire: &[u8], limit: u64, reservation: &mut Reservation) -> Result<Vec<u8>, InflateError> {
    let mut decoder = MultiGzDecoder::new(wire);
    let (mut body, mut step) = (Vec::with_capacity((wire.len() * 3).min(1 << 20)), vec![0; STEP]);
    loop {
        let read = match decoder.read(&mut step) {
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
