//! Fetches the engine's library once: the pinned npm package, with the user's own `npm`, into a per-user cache. Integrity is checked
//! against a digest in this file before anything is unpacked.

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

/// The platforms whose package could be read from the registry and pinned.
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
pub fn ensure(cache: &Path) -> Result<PathBuf, FetchError> {
    let library = library_path(cache);
    if library.is_file() {
        return Ok(library);
    }
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    let package = PACKAGES.iter().find(|package| package.os == os && package.arch == arch).ok_or(FetchError::Platform { os, arch })?;
    let folder = library.parent().unwrap_or(cache).to_owned();
    std::fs::create_dir_all(&folder).map_err(io("making", &folder))?;
    let _lock = lock_folder(&folder, Duration::from_secs(600))?;
    if library.is_file() {
        return Ok(library);
    }
    let work = folder.join("fetching");
    // What an interrupted fetch left behind.
    let _ = std::fs::remove_dir_all(&work);
    std::fs::create_dir_all(&work).map_err(io("making", &work))?;
    let packed = pack(package, &work)?;
    check(&packed, package.sha512)?;
    unpack(&packed, &work)?;
    let unpacked = work.join("package/libchdb.so");
    std::fs::rename(&unpacked, &library).map_err(io("installing", &library))?;
    std::fs::remove_dir_all(&work).map_err(io("clearing", &work))?;
    eprintln!("The engine is in {}.", library.display());
    Ok(library)
}

fn pack(package: &Package, work: &Path) -> Result<PathBuf, FetchError> {
    eprintln!("Fetching the ClickHouse engine {VERSION} once ({} MB) with npm ...", package.packed_bytes / 1_000_000);
    let mut npm = Command::new("npm")
        .args(["pack", "--silent", &format!("{}@{VERSION}", package.name)])
        .current_dir(work)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(FetchError::NoNpm)?;
    let bar = progress(package.packed_bytes);
    while npm.try_wait().map_err(FetchError::NoNpm)?.is_none() {
        bar.set_position(size_of(work).min(package.packed_bytes));
        std::thread::sleep(Duration::from_millis(100));
    }
    bar.finish_and_clear();
    let output = npm.wait_with_output().map_err(FetchError::NoNpm)?;
    let packed = std::fs::read_dir(work)
        .map_err(io("reading", work))?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "tgz"));
    match packed {
        Some(packed) if output.status.success() => Ok(packed),
        Some(_) | None => {
            let words = String::from_utf8_lossy(&output.stderr)
                .lines()
                .filter(|line| !line.trim().is_empty())
                .take(2)
                .collect::<Vec<_>>()
                .join(" ");
            Err(FetchError::Npm { package: package.name, words: if words.is_empty() { output.status.to_string() } else { words } })
        }
    }
}

fn progress(total: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(total);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}") {
        bar.set_style(style);
    }
    bar
}

fn size_of(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries.filter_map(|entry| entry.metadata().ok()).filter(std::fs::Metadata::is_file).map(|meta| meta.len()).sum()
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
    let status = Command::new("tar")
        .arg("-xzf")
        .arg(packed)
        .arg("-C")
        .arg(work)
        .arg("package/libchdb.so")
        .status()
        .map_err(io("running tar on", packed))?;
    if status.success() {
        return Ok(());
    }
    Err(FetchError::Io {
        doing: "unpacking (is the disk full?)",
        path: packed.to_owned(),
        source: std::io::Error::other(status.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_bytes_than_pinned_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.tgz");
        std::fs::write(&path, b"not the engine").unwrap();
        assert!(matches!(check(&path, PACKAGES[0].sha512), Err(FetchError::Integrity)));
    }

    #[test]
    fn a_library_that_is_there_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = library_path(folder.path());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, b"library").unwrap();
        assert_eq!(ensure(folder.path()).unwrap(), path);
    }
}
