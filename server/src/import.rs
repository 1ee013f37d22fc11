//! Takes over what Prometheus and Alertmanager are configured with. In: rule files and an `alertmanager.yml` as text. Out: the rule files
//! as they are, a configuration with the same routing tree, and a note with its line for everything that has no counterpart: nothing is
//! dropped in silence. Pure. A file that cannot be read is an error.

mod alerts;
mod matchers;
mod receivers;
mod routes;
mod tree;
mod write;

use std::fmt;

pub use write::RULES;

use tree::Node;

/// Something to know about the result.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Note {
    /// The file it comes from.
    pub file: String,
    /// Its line there, from 1; 0: the whole file.
    pub line: u64,
    /// One sentence.
    pub text: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.text),
            line => write!(f, "{}, line {line}: {}", self.file, self.text),
        }
    }
}

/// What was made of the files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// The configuration: `watchfire.yaml`.
    pub config: String,
    /// Rule files by name.
    pub rules: Vec<(String, String)>,
    /// What could not be translated, in order.
    pub notes: Vec<Note>,
    /// Files that could not be read: one sentence each. They are not in the result.
    pub errors: Vec<String>,
}

/// Translates files, given as name and text. What a file is, is told by its keys.
pub fn import(files: &[(String, String)]) -> Imported {
    let mut imported = Imported::default();
    let (mut rules, mut manager) = (Vec::new(), None);
    for (name, text) in files {
        let tree = match tree::parse(text) {
            Ok(tree) => tree,
            Err(error) => {
                imported.errors.push(format!("{name}: {error}"));
                continue;
            }
        };
        let has = |key: &str| tree.get(key).is_some();
        if has("groups") {
            rules.push((name.as_str(), text.as_str()));
        } else if has("route") || has("receivers") {
            match &manager {
                Some((first, _)) => {
                    imported.errors.push(format!("{name}: {first} is an Alertmanager configuration already: give one at a time"))
                }
                None => manager = Some((name.as_str(), tree)),
            }
        } else {
            imported
                .errors
                .push(format!("{name}: this is neither a rule file (`groups`) nor an Alertmanager configuration (`route`, `receivers`)"));
        }
    }
    let plan = manager.as_ref().map(|(file, tree): &(&str, Node)| {
        let mut notes = tree::Notes::new(file);
        let plan = routes::plan(tree, &mut notes);
        imported.notes.append(&mut notes.into_notes());
        plan
    });
    alerts::take(&rules, &mut imported);
    imported.config = write::config(plan.as_ref(), &imported.notes);
    imported
}

#[cfg(test)]
mod tests;
