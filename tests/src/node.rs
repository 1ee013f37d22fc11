//! Node programs with packages from npm, installed below `target/`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

static MAKING: Mutex<()> = Mutex::new(());

/// The folder of the Node programs.
pub fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("node")
}

/// A folder that has the packages of `node/package.json` installed; `None` where that cannot be had.
pub fn packages() -> Option<PathBuf> {
    let _one_at_a_time = MAKING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let manifest = programs().join("package.json");
    let wanted = std::fs::read_to_string(&manifest).unwrap();
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| programs().join("../../target"), PathBuf::from);
    let folder = target.join("test-node");
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
