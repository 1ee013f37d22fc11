//! Notices that the configuration's files changed, by looking at them every two seconds. Looking is a `stat` of a few files, which
//! costs nothing that could be measured, and unlike notices of the kernel it works on network file systems, through the symbolic
//! links of mounted ConfigMaps and with every way in which editors save. In: the configuration's path. Out: whether to read it again.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::{Config, expand};

/// How often is looked.
pub const EVERY: Duration = Duration::from_secs(2);

/// The most files that are looked at.
const MOST: usize = 10_000;

/// How every file looks: when it was changed (seconds, nanoseconds), how long it is, which inode it has.
pub type Stamp = BTreeMap<PathBuf, (i64, i64, u64, u64)>;

/// The stamp of a configuration file, of the files that it takes secrets and jobs from, and of the rules beside it. What cannot be read is
/// not in it, so that coming and going are changes too.
pub fn stamp(config_file: &Path, running: &Config) -> Stamp {
    let mut files = vec![config_file.to_owned()];
    files.extend(secrets(config_file));
    if let Some(rules) = &running.alerting.rules {
        let folder = config_file.parent().map_or_else(|| rules.clone(), |beside| beside.join(rules));
        below(folder, &mut files);
    }
    files.extend(running.scrape.files(config_file.parent().unwrap_or(Path::new(""))));
    let look = |file: PathBuf| {
        let seen = std::fs::metadata(&file).ok()?;
        Some((file, (seen.mtime(), seen.mtime_nsec(), seen.len(), seen.ino())))
    };
    files.into_iter().filter_map(look).collect()
}

/// Every file below a folder, hidden ones aside, as rules are read; at most [`MOST`].
fn below(folder: PathBuf, files: &mut Vec<PathBuf>) {
    let mut open = vec![folder];
    while let Some(folder) = open.pop().filter(|_| files.len() < MOST) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            if path.is_dir() { open.push(path) } else { files.push(path) }
        }
    }
}

/// The files of its `${file:PATH}`.
fn secrets(config_file: &Path) -> Vec<PathBuf> {
    let found = RefCell::new(Vec::new());
    if let Ok(text) = std::fs::read_to_string(config_file) {
        let note = |path: &str| {
            found.borrow_mut().push(PathBuf::from(path));
            Ok(String::new())
        };
        // Only the names matter here; a text that cannot be expanded is told when it is read.
        let _ = expand::expand(&text, &|_| Some(String::new()), &note);
    }
    found.into_inner()
}

/// Decides when to read again: as soon as the files differ from what was read and have stood still for one look, so that a file is
/// not read while it is being written.
#[derive(Debug)]
pub struct Changes {
    read: Stamp,
    last: Stamp,
}

impl Changes {
    /// As the files were when they were read.
    pub fn new(read: Stamp) -> Self {
        Changes { last: read.clone(), read }
    }
    /// One look. Whether to read now, which then counts as done.
    pub fn look(&mut self, now: Stamp) -> bool {
        let still = now == self.last;
        self.last = now;
        let due = still && self.last != self.read;
        if due {
            self.read.clone_from(&self.last);
        }
        due
    }
    /// They were read for another reason.
    pub fn read(&mut self, now: Stamp) {
        *self = Changes::new(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    #[test]
    fn a_change_is_due_once_it_stands_still() {
        let at = |second: i64| Stamp::from([(PathBuf::from("a"), (second, 0, 1, 1))]);
        let mut changes = Changes::new(at(1));
        assert!(!changes.look(at(1)));
        assert!(!changes.look(at(2)), "it may still be written");
        assert!(!changes.look(at(3)), "and was");
        assert!(changes.look(at(3)));
        assert!(!changes.look(at(3)), "once");
        assert!(!changes.look(Stamp::new()));
        assert!(changes.look(Stamp::new()), "gone is a change");
        changes.look(at(4));
        changes.read(at(4));
        assert!(!changes.look(at(4)), "a signal was first");
    }

    #[test]
    fn rules_and_files_of_secrets_are_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            path
        };
        let secret = file("token", "hunter22");
        let rule = file("rules/a.yaml", "groups: []");
        let config =
            file("watchfire.yaml", &format!("alerting:\n  rules: rules\n# a: ${{file:/nowhere}}\nx: ${{file:{}}}\n", secret.display()));
        let jobs = file("scrape/a.yml", "scrape_configs: []");
        let running = parse("alerting: { rules: rules }\nscrape: { scrape_config_files: ['scrape/*.yml'] }").unwrap();
        let first = stamp(&config, &running);
        assert_eq!(first.keys().cloned().collect::<Vec<_>>(), [rule.clone(), jobs.clone(), secret.clone(), config.clone()]);
        for path in [rule, jobs, secret, config.clone()] {
            let before = stamp(&config, &running);
            let text = std::fs::read_to_string(&path).unwrap();
            std::fs::write(&path, format!("{text}\n")).unwrap();
            assert_ne!(stamp(&config, &running), before, "{}", path.display());
        }
    }
}
