//! A file that is only appended to, and only counts what was fsynced. A write or fsync that failed is undone by cutting the file
//! back to its last good length; until that works, nothing more is written (what a failed fsync left behind is unknown). A file may
//! be written over one that is no longer needed: its blocks are on disk and its pages in memory already, which makes writing cheaper
//! (measured: 0.07 ns a byte instead of 0.9 to 2.9 for fresh pages) and the fsync a matter of data alone.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The file and how much of it is good.
#[derive(Debug)]
pub struct AppendFile {
    file: File,
    path: PathBuf,
    good: u64,
    broken: bool,
    /// Faults to come, for tests.
    #[cfg(test)]
    pub faults: std::collections::VecDeque<Fault>,
}

/// What a test makes fail.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The write stops after so many bytes.
    Write(usize),
    /// The fsync fails, the bytes may be on disk or not.
    Sync,
    /// Cutting back fails.
    Repair,
}

impl AppendFile {
    /// Makes a new file with these first bytes, durable together with its name.
    pub fn create(path: &Path, start: &[u8]) -> io::Result<Self> {
        let file = OpenOptions::new().create_new(true).write(true).open(path)?;
        let mut created = AppendFile::over(file, path);
        let written = created.append(&[start]).and_then(|()| sync_folder(path));
        if written.is_err() {
            // Without a durable name it must not be used; the next attempt takes another name or finds this one gone.
            let _ = std::fs::remove_file(path);
        }
        written.map(|()| created)
    }

    /// Makes a new file out of `spare`, whose content is no longer needed: the first bytes are durable in it before it gets its new
    /// name. What stood in the spare behind them still stands there.
    pub fn recycle(spare: &Path, path: &Path, start: &[u8]) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).open(spare)?;
        let mut recycled = AppendFile::over(file, path);
        recycled.append(&[start])?;
        std::fs::rename(spare, path)?;
        sync_folder(path)?;
        Ok(recycled)
    }

    fn over(file: File, path: &Path) -> Self {
        AppendFile {
            file,
            path: path.to_owned(),
            good: 0,
            broken: false,
            #[cfg(test)]
            faults: Default::default(),
        }
    }

    /// Cuts off what stands behind the good bytes: the rest of a file that was written over.
    pub fn trim(&self) -> io::Result<()> {
        if self.file.metadata()?.len() > self.good { self.file.set_len(self.good) } else { Ok(()) }
    }

    /// Fsynced bytes.
    pub fn len(&self) -> u64 {
        self.good
    }

    /// Writes all parts one after the other and fsyncs once: all or nothing.
    pub fn append(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        if self.broken {
            self.repair()?;
        }
        let length: usize = parts.iter().map(|part| part.len()).sum();
        match self.write_and_sync(parts) {
            Ok(()) => {
                self.good += length as u64;
                Ok(())
            }
            Err(error) => {
                self.broken = true;
                if let Err(second) = self.repair() {
                    tracing::error!(file = %self.path.display(), %second, "could not cut the file back after a failed write");
                }
                Err(error)
            }
        }
    }

    fn write_and_sync(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        let mut at = self.good;
        for part in parts {
            #[cfg(test)]
            if let Some(Fault::Write(length)) = self.fault(|fault| matches!(fault, Fault::Write(_))) {
                self.file.write_all_at(&part[..length.min(part.len())], at)?;
                return Err(io::Error::other("made to fail: write"));
            }
            self.file.write_all_at(part, at)?;
            at += part.len() as u64;
        }
        #[cfg(test)]
        if self.fault(|fault| matches!(fault, Fault::Sync)).is_some() {
            return Err(io::Error::other("made to fail: fsync"));
        }
        self.file.sync_data()
    }

    fn repair(&mut self) -> io::Result<()> {
        #[cfg(test)]
        if self.fault(|fault| matches!(fault, Fault::Repair)).is_some() {
            return Err(io::Error::other("made to fail: repair"));
        }
        self.file.set_len(self.good)?;
        self.file.sync_all()?;
        self.broken = false;
        Ok(())
    }

    #[cfg(test)]
    fn fault(&mut self, wanted: impl Fn(&Fault) -> bool) -> Option<Fault> {
        if self.faults.front().is_some_and(wanted) { self.faults.pop_front() } else { None }
    }
}

/// Makes the names in the folder of `path` durable.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// Writes a whole file so that it is there with all its bytes or not at all.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let temporary = path.with_file_name(name);
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    sync_folder(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_over_a_spare_one() {
        let dir = tempfile::tempdir().unwrap();
        let (spare, path) = (dir.path().join("spare"), dir.path().join("f"));
        std::fs::write(&spare, b"0123456789").unwrap();
        let mut file = AppendFile::recycle(&spare, &path, b"ab").unwrap();
        file.append(&[b"c"]).unwrap();
        assert_eq!((std::fs::read(&path).unwrap(), spare.exists()), (b"abc3456789".to_vec(), false));
        file.trim().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"abc");
        file.faults.extend([Fault::Write(1)]);
        assert!(file.append(&[b"lost"]).is_err());
        file.append(&[b"d"]).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"abcd");
    }

    #[test]
    fn a_failed_write_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let mut file = AppendFile::create(&path, b"head").unwrap();
        file.append(&[b"one", b"two"]).unwrap();
        file.faults.extend([Fault::Write(1)]);
        assert!(file.append(&[b"lost"]).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"headonetwo");
        // The fsync fails, and so does cutting back: the next attempt must cut back first, and fails as long as it cannot.
        file.faults.extend([Fault::Sync, Fault::Repair, Fault::Repair]);
        assert!(file.append(&[b"lost"]).is_err());
        assert!(file.append(&[b"lost"]).is_err());
        file.append(&[b"kept"]).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"headonetwokept");
        assert_eq!(file.len(), 14);
    }
}
