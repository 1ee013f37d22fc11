//! Fetches the engine's library once: the pinned npm package, with the user's own `npm`, into a per-user cache. Integrity is checked
//! against a digest in this file before anything is unpacked.

use std::cell::Cell;
use std::fs::File;
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest, Sha512};

use super::child::lock_folder;

/// The pinned version.
pub const VERSION: &str = "26.7.3-stable.1";

struct Package {
    os: &'static str,
    arch: &'static str,
    name: &'static str,
    /// npm's `dist.integrity`: SHA-512 of the packed file in base64.
    sha512: &'static str,
    packed_bytes: u64,
}

/// The platforms whose package could be read from the registry and pinned: the packages of this version for Linux on ARM and for macOS are
/// not there (asked in November 2026).
const PACKAGES: &[Package] = &[Package {
    os: "linux",
    arch: "x86_64",
    name: "@chdb/lib-linux-x64-gnu",
    sha512: "XP97mMqnc5tZpKQywR8N7cLTsHNiTmHr30pC5mzo3jWmukjKn2IBa60c2B/gWUNcuFjOMjWoorQICCqBVj5wpw==",
    packed_bytes: 177_817_999,
}];

/// Why there is no library: one sentence each.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No package is pinned for this platform.
    #[error(
        "there is no pinned engine for {os}/{arch}: bring a libchdb.so of version {VERSION} and pass --engine-lib PATH, or set storage.clickhouse.url to a ClickHouse server"
    )]
    Platform {
        /// Which system.
        os: &'static str,
        /// Which processor.
        arch: &'static str,
    },
    /// `npm` is not there.
    #[error("the engine is fetched once with npm, and npm cannot be run ({0}): install Node.js, or pass --engine-lib PATH")]
    NoNpm(std::io::Error),
    /// `npm` failed.
    #[error("npm could not fetch {package}@{VERSION} (is this machine offline?): {words}; try again online, or pass --engine-lib PATH")]
    Npm {
        /// Which package.
        package: &'static str,
        /// npm's last words.
        words: String,
    },
    /// No space.
    #[error("the disk is full: the engine needs about 1 GB while it is fetched into {path}; make space, or pass --engine-lib PATH")]
    DiskFull {
        /// Where.
        path: PathBuf,
    },
    /// Other bytes than pinned.
    #[error("the fetched engine is not the pinned one (SHA-512 differs): nothing was installed; a proxy may have changed it, try again")]
    Integrity,
    /// A file.
    #[error("{doing} {path}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Somebody else is at it.
    #[error(transparent)]
    Lock(#[from] super::child::ChildError),
}

fn io<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> FetchError + 'a {
    move |source| FetchError::Io { doing, path: path.to_owned(), source }
}

/// Where the library lies in a cache folder.
pub fn library_path(cache: &Path) -> PathBuf {
    cache.join("watchfire/engine").join(VERSION).join("libchdb.so")
}

/// The library's path, fetched if it is not there yet. Blocks; two processes do not fetch at the same time.
///
/// # Errors
/// [`FetchError`], one sentence; nothing is installed then.
pub fn ensure(cache: &Path) -> Result<PathBuf, FetchError> {
    let library = library_path(cache);
    if library.is_file() {
        return Ok(library);
    }
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    let package = PACKAGES.iter().find(|package| package.os == os && package.arch == arch).ok_or(FetchError::Platform { os, arch })?;
    fetch(&library, package, Path::new("npm"))?;
    Ok(library)
}

fn fetch(library: &Path, package: &Package, npm: &Path) -> Result<(), FetchError> {
    let folder = library.parent().unwrap_or(library);
    std::fs::create_dir_all(folder).map_err(io("making", folder))?;
    let _lock = lock_folder(folder, Duration::from_secs(600))?;
    if library.is_file() {
        return Ok(());
    }
    let work = folder.join("fetching");
    // What an interrupted fetch left behind.
    let _ = std::fs::remove_dir_all(&work);
    std::fs::create_dir_all(&work).map_err(io("making", &work))?;
    let outcome = install(library, package, npm, &work);
    // Also after a failure: half a download is worth nothing, and the disk may be full of it.
    let _ = std::fs::remove_dir_all(&work);
    outcome?;
    eprintln!("The engine is in {}.", library.display());
    Ok(())
}

fn install(library: &Path, package: &Package, npm: &Path, work: &Path) -> Result<(), FetchError> {
    let packed = pack(package, npm, work)?;
    check(&packed, package.sha512)?;
    unpack(&packed, work)?;
    let unpacked = work.join("package/libchdb.so");
    // On disk before it has its name: after a power cut there is the whole library or none.
    File::open(&unpacked).and_then(|file| file.sync_all()).map_err(io("writing", &unpacked))?;
    std::fs::rename(&unpacked, library).map_err(io("installing", library))
}

fn pack(package: &Package, npm: &Path, work: &Path) -> Result<PathBuf, FetchError> {
    let mut npm = Command::new(npm)
        .args(["pack", "--silent", "--cache"])
        // A cache of its own: its growth is the progress, and it goes away with the folder.
        .arg(work.join("npm"))
        .arg(format!("{}@{VERSION}", package.name))
        .current_dir(work)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(FetchError::NoNpm)?;
    let words = npm.stderr.take().map(|stderr| std::thread::spawn(move || last_words(stderr)));
    let progress = Progress::new(package.packed_bytes);
    let status = loop {
        if let Some(status) = npm.try_wait().map_err(FetchError::NoNpm)? {
            break status;
        }
        progress.at(largest_file(work));
        std::thread::sleep(Duration::from_millis(200));
    };
    progress.finish();
    let words = words.and_then(|thread| thread.join().ok()).unwrap_or_default();
    let entries = std::fs::read_dir(work).map_err(io("reading", work))?;
    let packed = entries.filter_map(Result::ok).map(|entry| entry.path()).find(|path| path.extension().is_some_and(|kind| kind == "tgz"));
    match packed {
        Some(packed) if status.success() => Ok(packed),
        Some(_) | None if is_disk_full(&words) => Err(FetchError::DiskFull { path: work.to_owned() }),
        Some(_) | None => Err(FetchError::Npm { package: package.name, words: if words.is_empty() { status.to_string() } else { words } }),
    }
}

/// The first lines of an error that say something.
fn last_words(mut from: impl Read) -> String {
    let mut bytes = Vec::new();
    // What could be read has to do.
    let _ = from.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    let told =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("npm warn") && !line.contains("complete log"));
    told.take(3).collect::<Vec<_>>().join(" ")
}

fn is_disk_full(words: &str) -> bool {
    words.contains("ENOSPC") || words.to_ascii_lowercase().contains("no space left")
}

/// A bar on a terminal, a line for every quarter elsewhere.
struct Progress {
    total: u64,
    bar: Option<ProgressBar>,
    quarters: Cell<u64>,
}

impl Progress {
    fn new(total: u64) -> Self {
        eprintln!("Fetching the ClickHouse engine {VERSION} once ({} MB) with npm ...", total / 1_000_000);
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(total);
            // A template that does not parse would only be less pretty.
            if let Ok(style) = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}") {
                bar.set_style(style);
            }
            bar
        });
        Progress { total, bar, quarters: Cell::new(0) }
    }

    fn at(&self, bytes: u64) {
        let bytes = bytes.min(self.total);
        if let Some(bar) = &self.bar {
            bar.set_position(bytes);
            return;
        }
        let quarters = bytes * 4 / self.total.max(1);
        if quarters > self.quarters.replace(quarters.max(self.quarters.get())) && quarters < 4 {
            eprintln!("  {} MB of {} MB", bytes / 1_000_000, self.total / 1_000_000);
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// The size of the largest file in a folder and the folders below: the package, as far as it has come.
fn largest_file(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => largest_file(&entry.path()),
            Ok(meta) => meta.len(),
            // It was renamed in between.
            Err(_) => 0,
        })
        .max()
        .unwrap_or(0)
}

fn check(packed: &Path, pinned: &str) -> Result<(), FetchError> {
    let mut file = File::open(packed).map_err(io("opening", packed))?;
    let mut hasher = Sha512::new();
    let mut buffer = vec![0u8; 1 << 20];
    loop {
        let read = file.read(&mut buffer).map_err(io("reading", packed))?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
    }
    let digest = base64::engine::general_purpose::STANDARD.encode(hasher.finalize());
    if digest == pinned { Ok(()) } else { Err(FetchError::Integrity) }
}

fn unpack(packed: &Path, work: &Path) -> Result<(), FetchError> {
    let output = Command::new("tar")
        .arg("-xzf")
        .arg(packed)
        .arg("-C")
        .arg(work)
        .arg("package/libchdb.so")
        .stdin(Stdio::null())
        .output()
        .map_err(io("running tar on", packed))?;
    if output.status.success() {
        return Ok(());
    }
    let words = last_words(output.stderr.as_slice());
    if is_disk_full(&words) {
        return Err(FetchError::DiskFull { path: work.to_owned() });
    }
    Err(FetchError::Io { doing: "unpacking", path: packed.to_owned(), source: std::io::Error::other(words) })
}

#[cfg(test)]
mod tests;
