//! The thin loader: reads the rule files of a folder and the folders in it. The only file of `rules` that touches the disk.

use std::path::Path;

use super::RuleError;

/// The largest rule file.
const LARGEST: u64 = 16 * 1024 * 1024;

fn error(path: &Path, doing: &str, source: &std::io::Error) -> RuleError {
    RuleError { file: path.display().to_string(), line: None, message: format!("{doing}: {source}") }
}

/// Every `*.yaml` and `*.yml` below the folder, by path relative to it, in order of path. Hidden files are left out.
pub fn read_folder(folder: &Path) -> Result<Vec<(String, String)>, RuleError> {
    let mut files = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(path) = open.pop() {
        let entries = std::fs::read_dir(&path).map_err(|source| error(&path, "the folder cannot be read", &source))?;
        for entry in entries {
            let entry = entry.map_err(|source| error(&path, "the folder cannot be read", &source))?;
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            if name.starts_with('.') {
                continue;
            }
            let about = std::fs::metadata(&path).map_err(|source| error(&path, "the file cannot be read", &source))?;
            if about.is_dir() {
                open.push(path);
            } else if name.ends_with(".yaml") || name.ends_with(".yml") {
                if about.len() > LARGEST {
                    let message = format!("the file is larger than {LARGEST} bytes: split it");
                    return Err(RuleError { file: path.display().to_string(), line: None, message });
                }
                let text = std::fs::read_to_string(&path).map_err(|source| error(&path, "the file cannot be read as text", &source))?;
                let relative = path.strip_prefix(folder).unwrap_or(&path);
                files.push((relative.to_string_lossy().into_owned(), text));
            }
        }
    }
    files.sort();
    Ok(files)
}
