//! A clock that can be set: Debian's `libfaketime` between a process and the kernel's wall clock. The monotonic clock stays as it is, as it
//! does when somebody sets the clock of a machine.

use std::path::PathBuf;

/// The clock of the processes that are started with its environment.
pub struct SetClock {
    library: PathBuf,
    file: tempfile::NamedTempFile,
}

impl SetClock {
    /// A clock that is right; `None` where there is no library: with `CI=true` a failure, else told.
    pub fn new() -> Option<Self> {
        let folders = std::fs::read_dir("/usr/lib").ok()?;
        let library = folders.flatten().map(|folder| folder.path().join("faketime/libfaketimeMT.so.1")).find(|path| path.exists());
        let Some(library) = library else {
            let told = "steps of the clock need libfaketime (apt install libfaketime)";
            assert!(std::env::var("CI").as_deref() != Ok("true"), "{told}");
            eprintln!("SKIPPED: {told}");
            return None;
        };
        let clock = SetClock { library, file: tempfile::NamedTempFile::new().unwrap() };
        clock.set(0);
        Some(clock)
    }

    /// What a process needs in its environment.
    pub fn environment(&self) -> Vec<(String, String)> {
        let pairs = [
            ("LD_PRELOAD", self.library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.path().display().to_string()),
            ("FAKETIME_CACHE_DURATION", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            // Times of files stay true: the processes before and after a step must agree on them.
            ("NO_FAKE_STAT", "1".to_owned()),
        ];
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Sets it to so many seconds after (or before) the true time; processes follow within a second.
    pub fn set(&self, seconds: i64) {
        std::fs::write(self.file.path(), format!("{seconds:+}")).unwrap();
    }
}
