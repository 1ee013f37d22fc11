//! From a test file to what it names: rule files (with sidecars beside them), the configuration. Reads the disk; nothing else here does.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use alerting::RuleSet;
use model::labels::{MatchOp, Matcher};
use store::promql::PromQl;
use store::promql::memory::MemorySource;

use super::file::{FileYaml, line};
use super::run::in_order;
use crate::config::{self, Config};
use crate::pipeline;
use model::query::MetricQuery;

/// What stands in for a variable of the configuration that is not set: tests need no secrets. It is a URL, because some must be.
const UNSET: &str = "https://unset.invalid";

/// Whether a name fits a pattern of `*`, `?` and `[a-z]`.
fn fits(pattern: &str, name: &str) -> bool {
    let mut expression = String::new();
    for c in pattern.chars() {
        match c {
            '*' => expression.push_str(".*"),
            '?' => expression.push('.'),
            '[' | ']' | '-' => expression.push(c),
            c if c.is_alphanumeric() || c == '_' => expression.push(c),
            c => {
                expression.push('\\');
                expression.push(c);
            }
        }
    }
    Matcher::new("name", MatchOp::Regex, &expression).is_ok_and(|matcher| matcher.matches_value(name))
}

/// The files that a pattern names, in order; a path without `*`, `?`, `[` names itself where it exists.
fn glob(folder: &Path, pattern: &str) -> Vec<PathBuf> {
    let mut found = vec![if pattern.starts_with('/') { PathBuf::from("/") } else { folder.to_owned() }];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        found = match part.contains(['*', '?', '[']) {
            false => found.into_iter().map(|path| path.join(part)).collect(),
            true => found
                .iter()
                .filter_map(|path| std::fs::read_dir(if path.as_os_str().is_empty() { Path::new(".") } else { path }).ok())
                .flat_map(|entries| entries.filter_map(Result::ok))
                .filter(|entry| fits(part, &entry.file_name().to_string_lossy()))
                .map(|entry| entry.path())
                .collect(),
        };
    }
    found.retain(|path| path.is_file());
    found.sort();
    found
}

/// Rule files with the sidecars beside them, read and checked but for the names of ladders. One sentence for each problem.
pub fn files(paths: &[PathBuf]) -> Result<Vec<(String, String)>, Vec<String>> {
    let (mut files, mut errors, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
    for file in paths.iter().flat_map(|file| std::iter::once(file.clone()).chain(sidecar(file))) {
        if !seen.insert(file.clone()) {
            continue;
        }
        match std::fs::read_to_string(&file) {
            Ok(text) => files.push((file.display().to_string(), text)),
            Err(error) => errors.push(format!("{}: the file cannot be read: {error}", file.display())),
        }
    }
    if errors.is_empty() { Ok(files) } else { Err(errors) }
}

/// `<name>.watchfire.yaml` beside a rule file.
fn sidecar(path: &Path) -> Option<PathBuf> {
    let stem = path.file_name()?.to_str()?.strip_suffix(".yaml").or_else(|| path.file_name()?.to_str()?.strip_suffix(".yml"))?;
    ["yaml", "yml"].into_iter().map(|ending| path.with_file_name(format!("{stem}.watchfire.{ending}"))).find(|path| path.is_file())
}

/// The configuration that the file, or else the command line, names; its variables need not be set.
pub(super) fn config(path: &Path, yaml: &FileYaml, given: Option<&Path>) -> Result<Config, String> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let Some(chosen) = yaml.config.as_ref().map(|named| folder.join(&named.value)).or_else(|| given.map(Path::to_owned)) else {
        return Ok(Config::default());
    };
    #[allow(clippy::disallowed_methods)] // the command line is where the environment is read
    let environment = |name: &str| std::env::var(name).ok().or_else(|| Some(UNSET.to_owned()));
    config::read(Some(&chosen), &environment).map_err(|error| format!("{error:#}"))
}

/// The rules that a test file names, in the order of evaluation, checked. Also what to warn of.
pub(super) fn rules(path: &Path, yaml: &FileYaml, config: &Config) -> Result<(RuleSet, Vec<String>), Vec<String>> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let (mut paths, mut warnings) = (Vec::new(), Vec::new());
    for pattern in yaml.rule_files.iter().flatten() {
        let found = glob(folder, &pattern.value);
        if found.is_empty() {
            warnings.push(format!("{}, line {}: no file matches `{}`", path.display(), line(pattern), pattern.value));
        }
        paths.extend(found);
    }
    let lines = |errors: Vec<alerting::RuleError>| errors.iter().map(ToString::to_string).collect::<Vec<String>>();
    let files = files(&paths)?;
    let mut rules = RuleSet::load(files).map_err(lines)?;
    let parser = PromQl::new(Arc::new(MemorySource::new()));
    let mut errors = lines(rules.check(|expr| parser.check(expr), pipeline::statements(config), &config.alerting.escalations));
    let order = yaml.group_eval_order.clone().unwrap_or_default();
    let distinct: BTreeSet<&String> = order.iter().collect();
    if distinct.len() < order.len() {
        errors.push(format!("{}: group_eval_order names a group twice: remove one of them", path.display()));
    }
    in_order(&mut rules, yaml);
    if errors.is_empty() { Ok((rules, warnings)) } else { Err(errors) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_name_files_as_a_shell_does() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        for name in ["a.yml", "b.yml", "b.watchfire.yaml", "c.txt", "sub/d.yml"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let names = |pattern: &str| {
            let found = glob(folder.path(), pattern);
            found.iter().map(|path| path.strip_prefix(folder.path()).unwrap().display().to_string()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names("*.yml"), "a.yml b.yml");
        assert_eq!(names("[b-z].yml"), "b.yml");
        assert_eq!(names("*/d.y?l"), "sub/d.yml");
        assert_eq!(names("c.txt"), "c.txt");
        assert_eq!(names("x.yml"), "");
        assert_eq!(sidecar(&folder.path().join("b.yml")), Some(folder.path().join("b.watchfire.yaml")));
        assert_eq!(sidecar(&folder.path().join("a.yml")), None);
    }
}
