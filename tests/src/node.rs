//! Node programs with packages from npm, and the web console's sources with theirs, installed below `target/`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

static MAKING: Mutex<()> = Mutex::new(());

/// The folder of the Node programs.
pub fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("node")
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| programs().join("../../target"), PathBuf::from)
}

/// A folder that has the packages of `node/package.json` installed; `None` where that cannot be had.
pub fn packages() -> Option<PathBuf> {
    let _one_at_a_time = MAKING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let manifest = programs().join("package.json");
    let wanted = std::fs::read_to_string(&manifest).unwrap();
    let folder = target().join("test-node");
    let stamp = folder.join("installed");
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Some(folder);
    }
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).ok()?;
    std::fs::copy(&manifest, folder.join("package.json")).ok()?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(&folder).stdout(Stdio::null());
    if !npm.status().is_ok_and(|status| status.success()) {
        return None;
    }
    std::fs::write(&stamp, wanted).unwrap();
    Some(folder)
}

/// The console's sources as they are now, with the packages of its lock file, those for checking it included; `None` where these cannot be had.
pub fn console() -> Option<PathBuf> {
    let _one_at_a_time = MAKING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let sources = programs().join("../../dashboards/console");
    let folder = target().join("test-console");
    std::fs::create_dir_all(&folder).ok()?;
    for name in ["src", "public", "scripts", "index.html", "vite.config.ts", "tsconfig.json", "package.json", "package-lock.json"] {
        let _ = std::fs::remove_dir_all(folder.join(name));
        copy(&sources.join(name), &folder.join(name));
    }
    let (wanted, stamp) = (std::fs::read_to_string(sources.join("package-lock.json")).unwrap(), folder.join("installed"));
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Some(folder);
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(&folder).stdout(Stdio::null());
    if !npm.status().is_ok_and(|status| status.success()) {
        return None;
    }
    std::fs::write(&stamp, wanted).unwrap();
    Some(folder)
}

fn copy(from: &Path, to: &Path) {
    if !from.is_dir() {
        std::fs::copy(from, to).unwrap();
        return;
    }
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        copy(&entry.path(), &to.join(entry.file_name()));
    }
}

/// Debian's Chromium, or the one that `CHROMIUM` names.
pub fn chromium() -> Option<PathBuf> {
    let named = std::env::var_os("CHROMIUM").map(PathBuf::from);
    named
        .into_iter()
        .chain(["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].map(PathBuf::from))
        .find(|path| path.exists())
}
