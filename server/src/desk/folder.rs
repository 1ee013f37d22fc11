//! The folder of rule files as the editor sees it: reading all, writing one. The only file of the desk that touches the disk. Writing is by a file
//! beside it and a rename, so that no reader sees half of it.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Where rule files lie.
pub(super) struct Folder(pub(super) PathBuf);

/// One of them.
#[derive(Debug)]
pub(super) struct RuleFile {
    /// Its path below the folder.
    pub(super) name: String,
    pub(super) text: String,
}

impl RuleFile {
    /// Changes with the text.
    pub(super) fn version(&self) -> String {
        version(&self.text)
    }
}

fn version(text: &str) -> String {
    hex::encode(&Sha256::digest(text.as_bytes())[..12])
}

/// Why a file was not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    #[error("the file is not as it was read")]
    Overtaken,
    #[error("it is a link, as mounted ConfigMaps are: change it where it comes from")]
    Link,
    #[error("the file cannot be written: {0}")]
    Io(#[from] std::io::Error),
}

/// A name of the kind `alerts.yml` or `shop/alerts.yml`: no way out of the folder, nothing hidden.
pub(super) fn name(name: &str) -> Result<(), String> {
    let good = |part: &str| {
        !part.is_empty() && !part.starts_with('.') && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
    };
    let yaml = name.ends_with(".yml") || name.ends_with(".yaml");
    if yaml && name.len() <= 200 && name.split('/').all(good) {
        return Ok(());
    }
    Err(format!(
        "`{}` is no name for a rule file: use letters, digits, `-` and `_`, ending in .yml, as in shop.yml",
        name.chars().take(80).collect::<String>()
    ))
}

impl Folder {
    /// All files, by name. Fails with one sentence.
    pub(super) fn read(&self) -> Result<Vec<RuleFile>, String> {
        let found = alerting::rules::read_folder(&self.0).map_err(|error| error.message)?;
        Ok(found.into_iter().map(|(name, text)| RuleFile { name, text }).collect())
    }

    /// Writes a file whose version is (still) `expected`, or that does not exist where none is. Gives back its new version.
    pub(super) fn write(&self, name: &str, text: &str, expected: Option<&str>) -> Result<String, WriteError> {
        let path = self.0.join(name);
        self.without_links(name)?;
        let now = match std::fs::read_to_string(&path) {
            Ok(text) => Some(version(&text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        if now.as_deref() != expected {
            return Err(WriteError::Overtaken);
        }
        let folder = path.parent().unwrap_or(Path::new("."));
        // Hidden, so that nobody reads it as rules.
        let mut beside = tempfile::Builder::new().prefix(".watchfire-").suffix(".tmp").tempfile_in(folder)?;
        beside.write_all(text.as_bytes())?;
        let permissions = match std::fs::metadata(&path) {
            Ok(about) => about.permissions(),
            Err(_) => std::os::unix::fs::PermissionsExt::from_mode(0o644),
        };
        beside.as_file().set_permissions(permissions)?;
        beside.as_file().sync_all()?;
        beside.persist(&path).map_err(|error| error.error)?;
        std::fs::File::open(folder)?.sync_all()?;
        Ok(version(text))
    }

    /// A link below the folder could lead out of it.
    fn without_links(&self, name: &str) -> Result<(), WriteError> {
        let mut path = self.0.clone();
        for part in name.split('/') {
            path.push(part);
            if std::fs::symlink_metadata(&path).is_ok_and(|about| about.is_symlink()) {
                return Err(WriteError::Link);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_nowhere_else() {
        for good in ["a.yml", "shop/alerts.yaml", "a-b_c.watchfire.yaml"] {
            assert!(name(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "a",
            "../a.yml",
            "/etc/a.yml",
            "a/../b.yml",
            ".a.yml",
            "a/.b.yml",
            "a//b.yml",
            "a b.yml",
            "a.yml\n",
            "ä.yml",
            "a\\b.yml",
            "a\0.yml",
        ] {
            assert!(name(bad).is_err(), "{bad:?}");
        }
        assert!(name(&format!("{}.yml", "a".repeat(300))).is_err());
    }

    #[test]
    fn a_file_is_written_over_what_was_read_only() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder(place.path().to_owned());
        let first = folder.write("a.yml", "groups: []\n", None).unwrap();
        assert!(matches!(folder.write("a.yml", "x", None), Err(WriteError::Overtaken)), "it exists");
        assert!(matches!(folder.write("a.yml", "x", Some("other")), Err(WriteError::Overtaken)));
        let second = folder.write("a.yml", "groups: [] # more\n", Some(&first)).unwrap();
        assert_ne!(first, second);
        assert!(matches!(folder.write("b.yml", "x", Some(&first)), Err(WriteError::Overtaken)), "it is gone");
        let all = folder.read().unwrap();
        assert_eq!((all.len(), all[0].name.as_str(), all[0].version()), (1, "a.yml", second));
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1, "nothing is left beside it");
        assert!(matches!(folder.write("none/a.yml", "x", None), Err(WriteError::Io(_))));
    }

    #[test]
    fn links_are_left_alone() {
        let (place, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(other.path().join("a.yml"), "groups: []\n").unwrap();
        std::os::unix::fs::symlink(other.path().join("a.yml"), place.path().join("a.yml")).unwrap();
        std::os::unix::fs::symlink(other.path(), place.path().join("out")).unwrap();
        let folder = Folder(place.path().to_owned());
        for name in ["a.yml", "out/a.yml", "out/new.yml"] {
            assert!(matches!(folder.write(name, "x", None), Err(WriteError::Link)), "{name}");
        }
        assert_eq!(std::fs::read_to_string(other.path().join("a.yml")).unwrap(), "groups: []\n");
    }
}
