//! Builds the console with the user's `npm`, in the build folder only: the sources of `console/` are copied to `OUT_DIR`, `npm ci` runs there when
//! the lock file changed, `vite build` and the packing when any source did. Out: `console_files.rs`, the list of files to embed. Without the feature
//! `console` nothing is run and the list is empty. Fails with one sentence that names what is missing.

use std::collections::hash_map::DefaultHasher;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs, io};

/// What a build of the console reads, below `console/`.
const SOURCES: [&str; 8] =
    ["package.json", "package-lock.json", "tsconfig.json", "vite.config.ts", "index.html", "scripts/pack.mjs", "public", "src"];
/// The least version of Node.js that Vite runs on.
const NODE: (u32, u32) = (20, 19);

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("{sentence}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    println!("cargo:rerun-if-changed=build.rs");
    let out = PathBuf::from(variable("OUT_DIR")?);
    let listed = out.join("console_files.rs");
    if variable("CARGO_FEATURE_CONSOLE").is_err() {
        return write(&listed, &list(&[]));
    }
    let sources = PathBuf::from(variable("CARGO_MANIFEST_DIR")?).join("console");
    for name in SOURCES {
        println!("cargo:rerun-if-changed=console/{name}");
    }
    node_is_new_enough()?;
    let place = out.join("console");
    copy_sources(&sources, &place)?;
    install(&place)?;
    npm(&place, &["run", "--silent", "build"])?;
    npm(&place, &["run", "--silent", "pack"])?;
    let mut files = Vec::new();
    collect(&place.join("dist"), &mut files)?;
    write(&listed, &list(&files))
}

fn variable(name: &str) -> Result<OsString, String> {
    env::var_os(name).ok_or_else(|| format!("cargo did not set {name}"))
}

const WAY_OUT: &str = "or build without the console: cargo build --no-default-features";

fn node_is_new_enough() -> Result<(), String> {
    let wanted = format!("the console is built with Node.js {}.{} or newer and its npm", NODE.0, NODE.1);
    let output = Command::new("node")
        .arg("--version")
        .output()
        .map_err(|error| format!("{wanted}, and `node` cannot be run ({error}): install Node.js, {WAY_OUT}"))?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let mut numbers = text.trim_start_matches('v').split('.').map_while(|part| part.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) if (major, minor) >= NODE => Ok(()),
        _ => Err(format!("{wanted}, and this machine has {text}: install a newer one, {WAY_OUT}")),
    }
}

fn copy_sources(from: &Path, to: &Path) -> Result<(), String> {
    fs::create_dir_all(to).map_err(|error| failed("made", to, &error))?;
    for name in SOURCES {
        let (source, target) = (from.join(name), to.join(name));
        // What was there before may have files that are gone now.
        if target.is_dir() {
            fs::remove_dir_all(&target).map_err(|error| failed("emptied", &target, &error))?;
        }
        copy(&source, &target)?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).map_err(|error| failed("made", folder, &error))?;
    }
    if !from.is_dir() {
        return fs::copy(from, to).map(drop).map_err(|error| failed("copied", from, &error));
    }
    for entry in fs::read_dir(from).map_err(|error| failed("read", from, &error))? {
        let entry = entry.map_err(|error| failed("read", from, &error))?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

fn failed(what: &str, path: &Path, error: &io::Error) -> String {
    format!("{} cannot be {what}: {error}", path.display())
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| failed("written", path, &error))
}

/// `npm ci`, unless the packages of this very lock file are there.
fn install(place: &Path) -> Result<(), String> {
    let lock = place.join("package-lock.json");
    let (installed, wanted) = (place.join("installed.json"), fs::read(&lock).map_err(|error| failed("read", &lock, &error))?);
    if fs::read(&installed).is_ok_and(|had| had == wanted) {
        return Ok(());
    }
    npm(place, &["ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund"])?;
    fs::write(&installed, wanted).map_err(|error| failed("written", &installed, &error))
}

fn npm(place: &Path, arguments: &[&str]) -> Result<(), String> {
    let program = if cfg!(windows) { "npm.cmd" } else { "npm" };
    let output = Command::new(program).args(arguments).current_dir(place).output().map_err(|error| {
        format!("the console is built with npm, and `npm` cannot be run ({error}): install Node.js with npm, {WAY_OUT}")
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Err(format!(
        "{said}\nthe console cannot be built: `npm {}` failed (is this machine offline?); try again, {WAY_OUT}",
        arguments.join(" ")
    ))
}

/// A built file: its path below `/`, where it lies, its tag.
struct Built {
    path: String,
    file: PathBuf,
    tag: u64,
}

/// The built files in the order of their names; packed forms stand beside them and are no files of their own.
fn collect(folder: &Path, files: &mut Vec<Built>) -> Result<(), String> {
    let root = folder;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(|error| failed("read", &folder, &error))? {
            let file = entry.map_err(|error| failed("read", &folder, &error))?.path();
            if file.is_dir() {
                folders.push(file);
            } else if !file.extension().is_some_and(|end| end == "br" || end == "gz") {
                let mut hasher = DefaultHasher::new();
                fs::read(&file).map_err(|error| failed("read", &file, &error))?.hash(&mut hasher);
                let parts = file.strip_prefix(root).map_err(|error| error.to_string())?.components();
                let path: Vec<_> = parts.map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
                files.push(Built { path: format!("/{}", path.join("/")), file, tag: hasher.finish() });
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(())
}

fn list(files: &[Built]) -> String {
    let mut code = String::from("static FILES: &[File] = &[\n");
    for Built { path, file, tag } in files {
        let packed = |end: &str| {
            let packed = PathBuf::from(format!("{}.{end}", file.display()));
            if packed.is_file() { format!("Some(include_bytes!({packed:?}))") } else { "None".to_owned() }
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            code,
            "    File {{ path: {path:?}, tag: \"W/\\\"{tag:016x}\\\"\", plain: include_bytes!({file:?}), brotli: {}, gzip: {} }},",
            packed("br"),
            packed("gz")
        );
    }
    code.push_str("];\n");
    code
}
