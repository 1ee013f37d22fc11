//! Python programs with packages from PyPI, in a virtual environment below `target/`.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Mutex;

static MAKING: Mutex<()> = Mutex::new(());

/// Says that a test is skipped; in CI that is a failure.
pub fn skip(needs: &str) {
    assert!(std::env::var("CI").is_err(), "in CI nothing is skipped: this test needs {needs}");
    eprintln!("SKIPPED: needs {needs}");
}

fn package_folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The folder of the Python programs.
pub fn programs() -> PathBuf {
    package_folder().join("python")
}

/// The interpreter of an environment that has `python/requirements.txt` installed; `None` where that cannot be had.
pub fn interpreter() -> Option<PathBuf> {
    environment("requirements.txt", "test-python")
}

/// The same with other requirements, in a folder of its own.
pub fn environment(requirements: &str, folder: &str) -> Option<PathBuf> {
    let _one_at_a_time = MAKING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let requirements = programs().join(requirements);
    let wanted = std::fs::read_to_string(&requirements).unwrap();
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| package_folder().join("../target"), PathBuf::from);
    let folder = target.join(folder);
    let (python, stamp) = (folder.join("bin/python"), folder.join("installed"));
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Some(python);
    }
    let run = |command: &mut Command| command.stdout(Stdio::null()).status().is_ok_and(|status| status.success());
    let made = run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))
        && run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]).arg(&requirements));
    if !made {
        return None;
    }
    std::fs::write(&stamp, wanted).unwrap();
    Some(python)
}

/// The Python shop at work.
pub struct Shop {
    child: Child,
    _stdin: ChildStdin,
    /// Its base URL.
    pub url: String,
}

impl Shop {
    /// Starts version 2.4.1; it exports to `endpoint`.
    pub fn start(python: &Path, endpoint: &str) -> Self {
        Shop::start_version(python, endpoint, "2.4.1")
    }
    /// Starts a version; it exports to `endpoint`.
    pub fn start_version(python: &Path, endpoint: &str, version: &str) -> Self {
        let mut child = Command::new(python)
            .arg(package_folder().join("python/shop.py"))
            .args([endpoint, version])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let stdin = child.stdin.take().unwrap();
        Shop { child, _stdin: stdin, url: format!("http://127.0.0.1:{}", line.trim()) }
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
