//! The limits of the log, checked before anything is written.

use std::io;
use std::path::Path;
use std::time::Duration;

use model::sink::Refusal;

/// What is in use.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Bytes of all segments.
    pub bytes: u64,
    /// Blocks that wait for ClickHouse.
    pub blocks: u64,
    /// Bytes left on the disk; `None` where that could not be found out.
    pub disk_free: Option<u64>,
}

/// What may be used.
#[derive(Clone, Copy, Debug)]
pub struct Caps {
    /// See [`crate::wal::WalConfig::max_bytes`].
    pub bytes: u64,
    /// See [`crate::wal::WalConfig::max_blocks`].
    pub blocks: u64,
    /// See [`crate::wal::WalConfig::disk_reserve_bytes`].
    pub disk_reserve: u64,
    /// What a refused sender is told.
    pub retry_after: Duration,
}

impl Caps {
    /// Whether `bytes` more would be within the limits.
    pub fn admit(&self, usage: Usage, bytes: u64) -> Result<(), Refusal> {
        let used = usage.bytes.saturating_add(bytes);
        if used > self.bytes || usage.blocks >= self.blocks {
            return Err(Refusal::LogFull { used: usage.bytes, cap: self.bytes, retry_after: self.retry_after });
        }
        match usage.disk_free {
            Some(free) if free.saturating_sub(bytes) < self.disk_reserve => {
                Err(Refusal::DiskFull { free, reserve: self.disk_reserve, retry_after: self.retry_after })
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Bytes that this user may still write to the file system of `path`.
#[allow(unsafe_code)] // statvfs has no safe form in the standard library
pub fn disk_free(path: &Path) -> io::Result<u64> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    let mut answer = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: `path` is a string that ends in NUL and outlives the call; `answer` has room for the struct the call fills in.
    if unsafe { libc::statvfs(path.as_ptr(), answer.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call returned 0, so it filled in the whole struct.
    let answer = unsafe { answer.assume_init() };
    #[allow(clippy::unnecessary_cast)] // the fields are 32 bits wide on some platforms
    Ok((answer.f_bavail as u64).saturating_mul(answer.f_frsize as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_refuses_with_its_own_words() {
        let caps = Caps { bytes: 100, blocks: 3, disk_reserve: 50, retry_after: Duration::from_secs(5) };
        let usage = Usage { bytes: 90, blocks: 2, disk_free: Some(60) };
        assert!(caps.admit(usage, 10).is_ok());
        assert!(matches!(caps.admit(usage, 11), Err(Refusal::LogFull { used: 90, cap: 100, .. })));
        assert!(matches!(caps.admit(Usage { blocks: 3, ..usage }, 0), Err(Refusal::LogFull { .. })));
        assert!(matches!(caps.admit(Usage { disk_free: Some(59), ..usage }, 10), Err(Refusal::DiskFull { free: 59, reserve: 50, .. })));
        assert!(caps.admit(Usage { disk_free: None, ..usage }, 10).is_ok());
    }

    #[test]
    fn the_disk_says_how_much_is_left() {
        assert!(disk_free(Path::new("/")).unwrap() > 0);
        assert!(disk_free(Path::new("/does/not/exist")).is_err());
    }
}
