//! Rules: what happens to a record, scope or resource that a condition means. In: [`RuleConfig`]. Out: edits and verdicts. Fails: rules
//! that could do nothing or what they do not say, by place. Pure.

use std::borrow::Cow;

use super::Problem;
use super::condition::{AroundLeaf, Compiler, Condition, Leaf};
use super::config::{Place, RuleConfig, Signal};
use super::hash::Hasher;
use super::text::Wording;
use crate::record::{Attribute, Attributes, Value};

/// A compiled rule.
pub(crate) struct Rule {
    /// Its name in metrics and reports.
    pub(crate) name: String,
    /// What it is for.
    pub(crate) condition: Condition,
    /// Whose attributes it changes.
    pub(crate) on: Place,
    /// Whether the record goes.
    pub(crate) drop: bool,
    /// Whether later rules do not drop it.
    pub(crate) keep: bool,
    /// The record's new name.
    pub(crate) set_name: Option<String>,
    edits: Vec<Edit>,
}

enum Edit {
    Rename(String, String),
    Set(String, String),
    Add(String, String),
    Hash(String),
    Delete(Wording),
}

impl Rule {
    /// Compiles one.
    pub(crate) fn new(index: usize, config: &RuleConfig, compiler: &mut Compiler) -> Self {
        let name = config.name.clone().unwrap_or_else(|| format!("rule {}", index + 1));
        let place = match &config.name {
            Some(name) => format!("rules[{index}] `{name}`"),
            None => format!("rules[{index}]"),
        };
        let condition = compiler.condition(&format!("{place}.match"), &config.r#match);
        let mut edits = Vec::new();
        edits.extend(config.rename.iter().map(|(old, new)| Edit::Rename(old.clone(), new.clone())));
        edits.extend(config.set.iter().map(|(key, value)| Edit::Set(key.clone(), value.0.clone())));
        edits.extend(config.add.iter().map(|(key, value)| Edit::Add(key.clone(), value.0.clone())));
        edits.extend(config.hash.iter().map(|key| Edit::Hash(key.clone())));
        edits.extend(config.delete.iter().map(|glob| Edit::Delete(Wording::glob(glob))));
        let rule = Rule { name, condition, on: config.on, drop: config.drop, keep: config.keep, set_name: config.set_name.clone(), edits };
        if let Some(problem) = rule.problem(&compiler.around) {
            compiler.problems.push(Problem::new(&place, problem));
        }
        rule
    }

    /// Why it cannot do what it says.
    fn problem(&self, around: &[AroundLeaf]) -> Option<&'static str> {
        let empty_key = self.edits.iter().any(|edit| match edit {
            Edit::Rename(key, other) => key.is_empty() || other.is_empty(),
            Edit::Set(key, _) | Edit::Add(key, _) | Edit::Hash(key) => key.is_empty(),
            Edit::Delete(_) => false,
        });
        let verdict = self.drop || self.keep || self.set_name.is_some();
        let of_record = |one: &Condition| matches!(one, Condition::Record(_));
        let of_point = |one: &Condition| matches!(one, Condition::Record(Leaf::Attribute(..)));
        let of_scope = |one: &Condition| matches!(one, Condition::Around(at) if around.get(*at).is_some_and(AroundLeaf::of_scope));
        match () {
            () if !verdict && self.edits.is_empty() => Some("does nothing: say drop, keep, set_name, rename, set, add, hash or delete"),
            () if self.drop && self.keep => Some("says both drop and keep: choose one"),
            () if self.drop && (self.set_name.is_some() || !self.edits.is_empty()) => {
                Some("drops the record, so its edits would be lost: remove them, or put them into another rule")
            }
            () if empty_key => Some("names an attribute without a key: write the key"),
            () if self.set_name.as_deref() == Some("") => Some("`set_name` is empty: write the new name"),
            () if self.set_name.is_some() && self.only_metrics() && self.condition.asks(&of_point) => {
                Some("renames a metric, which comes before its points: `match` may not use attributes")
            }
            () if self.on != Place::Record && verdict => Some("`on` is only for attributes: remove `on`, or drop, keep and set_name"),
            () if self.on == Place::Resource && (self.condition.asks(&of_record) || self.condition.asks(&of_scope)) => {
                Some("changes the resource, which comes before its records: `match` may only use service and resource")
            }
            () if self.on == Place::Scope && self.condition.asks(&of_record) => {
                Some("changes the scope, which comes before its records: `match` may only use service, resource and scope")
            }
            () => None,
        }
    }

    fn only_metrics(&self) -> bool {
        self.is_for(Signal::Metric) && !self.is_for(Signal::Span) && !self.is_for(Signal::Log)
    }

    /// Whether it hashes.
    pub(crate) fn hashes(&self) -> bool {
        self.edits.iter().any(|edit| matches!(edit, Edit::Hash(_)))
    }

    /// Whether records of this signal may be meant.
    pub(crate) fn is_for(&self, signal: Signal) -> bool {
        self.on == Place::Record && self.condition.may_hold(signal)
    }

    /// Whether it does more than name.
    pub(crate) fn changes_points(&self) -> bool {
        self.drop || self.keep || !self.edits.is_empty()
    }

    /// Changes attributes.
    pub(crate) fn edit(&self, attributes: &mut Attributes<'_>, hasher: &Hasher) {
        for edit in &self.edits {
            edit.apply(&mut attributes.list, hasher);
        }
    }
}

impl Edit {
    fn apply(&self, list: &mut Vec<Attribute<'_>>, hasher: &Hasher) {
        match self {
            Edit::Rename(old, new) => {
                if let Some(at) = list.iter().position(|attribute| attribute.key == *old) {
                    let value = std::mem::take(&mut list[at].value);
                    list.retain(|attribute| attribute.key != *old && attribute.key != *new);
                    list.push(Attribute { key: Cow::Owned(new.clone()), value });
                }
            }
            Edit::Set(key, value) => {
                let value = Value::Text(Cow::Owned(value.clone()));
                match list.iter_mut().find(|attribute| attribute.key == *key) {
                    Some(attribute) => attribute.value = value,
                    // First, so that it is not what is left out where a record has too many.
                    None => list.insert(0, Attribute { key: Cow::Owned(key.clone()), value }),
                }
            }
            Edit::Add(key, value) => {
                if !list.iter().any(|attribute| attribute.key == *key) {
                    list.insert(0, Attribute::text(key.clone(), value.clone()));
                }
            }
            Edit::Hash(key) => {
                for attribute in list.iter_mut().filter(|attribute| attribute.key == *key) {
                    let hash = hasher.hash(&attribute.value.text());
                    attribute.value = Value::Text(Cow::Owned(hash));
                }
            }
            Edit::Delete(wording) => list.retain(|attribute| !wording.matches(&attribute.key)),
        }
    }
}
