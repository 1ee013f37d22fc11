//! Discovery: where target groups come from. Files are looked at every few seconds and read when they changed; URLs are asked
//! at their interval. What cannot be read keeps its last good state. One of the files that do I/O; the parts that decide are
//! pure functions.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::config::{FileDiscovery, HttpDiscovery, TargetGroup};
use super::fetch::Client;
use super::meters::Meters;

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(5);
/// Largest list of targets in a file or an answer.
const LARGEST: usize = 16 << 20;
/// The longest that a discovery may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A list of groups that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListError {
    /// Not JSON of groups.
    #[error("it is no JSON list of `targets` and `labels`: {0}")]
    Json(#[from] serde_json::Error),
    /// Not YAML of groups.
    #[error("it is no YAML list of `targets` and `labels`: {0}")]
    Yaml(String),
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Read(#[from] std::io::Error),
    /// Larger than [`LARGEST`].
    #[error("it is larger than 16 MiB")]
    TooLarge,
    /// A target that is no address.
    #[error("target `{0}` must be host:port, without a scheme or path")]
    Target(String),
}

/// The groups in a JSON or YAML text.
pub(crate) fn groups(text: &str, json: bool) -> Result<Vec<TargetGroup>, ListError> {
    let groups: Vec<TargetGroup> = if json {
        serde_json::from_str(text)?
    } else if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        Vec::new()
    } else {
        serde_saphyr::from_str(text).map_err(|error| ListError::Yaml(error.to_string()))?
    };
    match groups.iter().flat_map(|group| &group.targets).find(|target| target.contains('/')) {
        Some(target) => Err(ListError::Target(target.clone())),
        None => Ok(groups),
    }
}

/// Groups with a label that says where they come from.
fn with_source(mut groups: Vec<TargetGroup>, name: &str, value: &str) -> Vec<TargetGroup> {
    for group in &mut groups {
        group.labels.insert(name.to_owned(), value.to_owned());
    }
    groups
}

/// Whether a name matches a pattern in which `*` stands for any text.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or("");
    for part in parts {
        let Some(at) = name.find(part) else { return false };
        name = &name[at + part.len()..];
    }
    name.ends_with(last)
}

/// What tells one state of a file from another: size and time of the last change.
type Stamp = (u64, Option<std::time::SystemTime>);

/// The files of a discovery and their stamps. Blocking.
fn look(files: &[String], beside: &Path) -> BTreeMap<PathBuf, Stamp> {
    let mut found = BTreeMap::new();
    let stamp =
        |path: &Path| std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file).map(|about| (about.len(), about.modified().ok()));
    for file in files {
        let path = beside.join(file);
        let pattern = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if !pattern.contains('*') {
            found.extend(stamp(&path).map(|stamp| (path, stamp)));
            continue;
        }
        let entries = path.parent().and_then(|folder| std::fs::read_dir(folder).ok()).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| matches(&pattern, &entry.file_name().to_string_lossy())) {
            let path = entry.path();
            found.extend(stamp(&path).map(|stamp| (path, stamp)));
        }
    }
    found
}

/// Blocking.
fn read(path: &Path) -> Result<Vec<TargetGroup>, ListError> {
    if std::fs::metadata(path)?.len() > LARGEST as u64 {
        return Err(ListError::TooLarge);
    }
    let groups = groups(&std::fs::read_to_string(path)?, path.extension().is_some_and(|extension| extension == "json"))?;
    Ok(with_source(groups, "__meta_filepath", &path.to_string_lossy()))
}

/// What a job's discovery reports to: which of its sources, and what it found.
pub(crate) type Found = (usize, Vec<TargetGroup>);

/// What every source has.
#[derive(Clone)]
pub(crate) struct Context {
    /// The job's name.
    pub(crate) job: String,
    /// Which source of the job it is.
    pub(crate) source: usize,
    /// Where what is found goes.
    pub(crate) to: mpsc::Sender<Found>,
    /// Counts failures.
    pub(crate) meters: Meters,
    /// Ends it.
    pub(crate) end: CancellationToken,
}

impl Context {
    fn failed(&self, kind: &str, place: &str, error: &dyn std::fmt::Display) {
        self.meters.discovery_failures.with_label_values(&[self.job.as_str(), kind]).inc();
        tracing::warn!(job = self.job, place, %error, "targets could not be discovered; the known ones stay");
    }
    /// Whether to go on after waiting.
    async fn pause(&self, wait: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(wait) => true,
            () = self.end.cancelled() => false,
        }
    }
    /// Whether somebody still listens.
    async fn send(&self, groups: Vec<TargetGroup>) -> bool {
        self.to.send((self.source, groups)).await.is_ok()
    }
}

/// The known state of a discovery's files.
#[derive(Default)]
struct Files {
    stamps: BTreeMap<PathBuf, Stamp>,
    groups: BTreeMap<PathBuf, Vec<TargetGroup>>,
}

impl Files {
    /// Reads what changed, or everything. Blocking. Out: itself, whether anything is new, and what could not be read.
    fn refresh(mut self, discovery: &FileDiscovery, beside: &Path, everything: bool) -> (Self, bool, Vec<(PathBuf, ListError)>) {
        let stamps = look(&discovery.files, beside);
        let (mut new, mut errors) = (false, Vec::new());
        self.groups.retain(|path, _| {
            let stays = stamps.contains_key(path);
            new |= !stays;
            stays
        });
        for (path, stamp) in &stamps {
            if !everything && self.stamps.get(path) == Some(stamp) {
                continue;
            }
            match read(path) {
                Ok(groups) => new |= self.groups.insert(path.clone(), groups.clone()).is_none_or(|before| before != groups),
                Err(error) => errors.push((path.clone(), error)),
            }
        }
        self.stamps = stamps;
        (self, new, errors)
    }
}

/// Watches the files of a discovery until the end.
pub(crate) async fn files(discovery: FileDiscovery, beside: Arc<Path>, context: Context) {
    let (mut files, mut since, mut first) = (Files::default(), Duration::ZERO, true);
    let wait = LOOK.min(discovery.refresh_interval.0).max(Duration::from_millis(10));
    loop {
        let everything = since >= discovery.refresh_interval.0;
        let (known, settings, folder) = (std::mem::take(&mut files), discovery.clone(), Arc::clone(&beside));
        let read = tokio::task::spawn_blocking(move || known.refresh(&settings, &folder, everything)).await;
        let Ok((known, new, errors)) = read else { return };
        files = known;
        for (path, error) in &errors {
            context.failed("file", &path.to_string_lossy(), error);
        }
        if (new || first) && !context.send(files.groups.values().flatten().cloned().collect()).await {
            return;
        }
        (since, first) = (if everything { Duration::ZERO } else { since + wait }, false);
        if !context.pause(wait).await {
            return;
        }
    }
}

/// Asks the URL of a discovery until the end.
pub(crate) async fn http(discovery: HttpDiscovery, client: Client, context: Context) {
    let mut known: Option<Vec<TargetGroup>> = None;
    let every = discovery.refresh_interval.0;
    loop {
        let patience = PATIENCE.min(every.max(Duration::from_secs(1)));
        let asked = tokio::select! {
            asked = tokio::time::timeout(patience, client.discover(&discovery.url, every, LARGEST)) => asked,
            () = context.end.cancelled() => return,
        };
        match asked {
            Ok(Ok(body)) => match groups(&String::from_utf8_lossy(&body), true) {
                Ok(groups) => {
                    let groups = with_source(groups, "__meta_url", &discovery.url);
                    if known.as_ref() != Some(&groups) && !context.send(groups.clone()).await {
                        return;
                    }
                    known = Some(groups);
                }
                Err(error) => context.failed("http", &host(&discovery.url), &error),
            },
            Ok(Err(error)) => context.failed("http", &host(&discovery.url), &error),
            Err(_) => context.failed("http", &host(&discovery.url), &format!("no whole answer within {patience:?}")),
        }
        if !context.pause(every).await {
            return;
        }
    }
}

/// A URL without what may be secret.
fn host(url: &str) -> String {
    url::Url::parse(url).ok().and_then(|url| Some(format!("{}://{}", url.scheme(), url.host_str()?))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_names() {
        for (pattern, name, expected) in [
            ("a.yml", "a.yml", true),
            ("a.yml", "b.yml", false),
            ("*.yml", "a.yml", true),
            ("*.yml", "a.json", false),
            ("tg_*.json", "tg_1.json", true),
            ("tg_*.json", "tg.json", false),
            ("*a*b*", "xaxbx", true),
            ("a*a", "a", false),
            ("*", "", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn lists_are_read_and_wrong_ones_named() {
        let yaml = "# targets\n- targets: ['a:1', 'b:2']\n  labels:\n    env: prod\n- targets: []\n";
        let found = groups(yaml, false).unwrap();
        assert_eq!((found.len(), found[0].targets.len(), found[0].labels["env"].as_str()), (2, 2, "prod"));
        assert_eq!(groups(r#"[{"targets": ["a:1"], "labels": {"x": "y"}}]"#, true).unwrap()[0].targets, ["a:1"]);
        assert!(groups("# nothing yet\n", false).unwrap().is_empty());
        for (text, json, said) in [
            ("{", true, "no JSON list"),
            ("[{\"target\": [\"a:1\"]}]", true, "unknown field"),
            ("- target: [a]", false, "no YAML list"),
            ("- targets: ['http://a']", false, "must be host:port"),
        ] {
            let error = groups(text, json).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn files_are_read_when_they_change_and_a_broken_one_keeps_its_last_state() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let discovery: FileDiscovery = serde_saphyr::from_str("{ files: ['*.yml', one.json, missing.json] }").unwrap();
        write("a.yml", "- targets: ['a:1']");
        write("one.json", r#"[{"targets": ["b:1"]}]"#);
        write("other.txt", "nothing");
        let targets = |files: &Files| files.groups.values().flatten().flat_map(|group| group.targets.clone()).collect::<Vec<_>>();
        let (files, new, errors) = Files::default().refresh(&discovery, folder.path(), false);
        assert_eq!((targets(&files), new, errors.len()), (vec!["a:1".into(), "b:1".into()], true, 0));
        assert!(files.groups.values().flatten().all(|group| group.labels.contains_key("__meta_filepath")));
        let (files, new, _) = files.refresh(&discovery, folder.path(), false);
        assert!(!new, "nothing changed");
        write("a.yml", "- targets: ['broken");
        let (files, new, errors) = files.refresh(&discovery, folder.path(), false);
        assert_eq!((targets(&files).len(), new, errors.len()), (2, false, 1));
        write("a.yml", "- targets: ['a:1', 'a:2']");
        std::fs::remove_file(folder.path().join("one.json")).unwrap();
        let (files, new, errors) = files.refresh(&discovery, folder.path(), true);
        assert_eq!((targets(&files), new, errors.len()), (vec!["a:1".into(), "a:2".into()], true, 0));
    }
}
