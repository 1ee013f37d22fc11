//! YAML as a tree that knows its lines, and which of its keys somebody has read: the rest is told.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use super::Note;

/// The notes about one file.
pub(super) struct Notes {
    file: String,
    notes: Vec<Note>,
}

impl Notes {
    pub(super) fn new(file: &str) -> Self {
        Notes { file: file.to_owned(), notes: Vec::new() }
    }
    pub(super) fn say(&mut self, line: u64, text: impl Into<String>) {
        self.notes.push(Note { file: self.file.clone(), line, text: text.into() });
    }
    pub(super) fn into_notes(mut self) -> Vec<Note> {
        self.notes.sort();
        self.notes.dedup();
        self.notes
    }
}

/// What stands somewhere.
#[derive(Debug)]
enum Tree {
    Nothing,
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Spanned<String>, Node)>),
}

/// Something with its line.
#[derive(Debug)]
pub(super) struct Node {
    pub line: u64,
    tree: Tree,
    taken: RefCell<BTreeSet<String>>,
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any)
    }
}

fn node(spanned: Spanned<Tree>) -> Node {
    Node { line: spanned.referenced.line(), tree: spanned.value, taken: RefCell::default() }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }
    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Nothing)
    }
    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree::Nothing)
    }
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        deserializer.deserialize_any(Any)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Text(value.to_string()))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Text(value.to_string()))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Text(value.to_string()))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(Tree::Text(value.to_string()))
    }
    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Text(value.to_owned()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Tree, A::Error> {
        let mut all = Vec::new();
        while let Some(one) = list.next_element::<Spanned<Tree>>()? {
            all.push(node(one));
        }
        Ok(Tree::List(all))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let mut all = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            all.push((key, node(map.next_value::<Spanned<Tree>>()?)));
        }
        Ok(Tree::Map(all))
    }
}

/// Reads a file.
pub(super) fn parse(text: &str) -> Result<Node, String> {
    serde_saphyr::from_str::<Spanned<Tree>>(text).map(node).map_err(|error| {
        let message = alerting::rules::yaml_mistake(&error.without_snippet().to_string());
        match error.location().map(|place| place.line()).filter(|line| *line > 0) {
            Some(line) => format!("line {line}: {message}"),
            None => message,
        }
    })
}

impl Node {
    /// The value of a key; from now on the key counts as read. Nothing where the value is empty.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        let Tree::Map(pairs) = &self.tree else { return None };
        let (_, value) = pairs.iter().find(|(name, _)| name.value == key)?;
        self.taken.borrow_mut().insert(key.to_owned());
        (!matches!(value.tree, Tree::Nothing)).then_some(value)
    }
    /// The value of a key as text.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_text()
    }
    /// The text that stands here.
    pub(super) fn as_text(&self) -> Option<&str> {
        match &self.tree {
            Tree::Text(text) => Some(text),
            Tree::Nothing | Tree::List(_) | Tree::Map(_) => None,
        }
    }
    /// The entries of a list under a key; a single value is a list of one.
    pub(super) fn list(&self, key: &str) -> &[Node] {
        self.get(key).map_or(&[], Node::entries)
    }
    /// The entries of the list that stands here; a single value is a list of one.
    pub(super) fn entries(&self) -> &[Node] {
        match &self.tree {
            Tree::List(all) => all,
            Tree::Nothing => &[],
            Tree::Text(_) | Tree::Map(_) => std::slice::from_ref(self),
        }
    }
    /// The texts of a list under a key.
    pub(super) fn texts(&self, key: &str) -> Vec<String> {
        self.list(key).iter().filter_map(Node::as_text).map(str::to_owned).collect()
    }
    /// The pairs that stand here, all of them read; none where this is no map.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&str, u64, &Node)> {
        let pairs: &[(Spanned<String>, Node)] = match &self.tree {
            Tree::Map(pairs) => pairs,
            Tree::Nothing | Tree::Text(_) | Tree::List(_) => &[],
        };
        self.taken.borrow_mut().extend(pairs.iter().map(|(key, _)| key.value.clone()));
        pairs.iter().map(|(key, value)| (key.value.as_str(), key.referenced.line(), value))
    }
    /// Tells of every key here that nobody has read. `why` ends the sentence.
    pub(super) fn tell_rest(&self, place: &str, why: &str, notes: &mut Notes) {
        let Tree::Map(pairs) = &self.tree else { return };
        for (key, _) in pairs.iter().filter(|(key, _)| !self.taken.borrow().contains(&key.value)) {
            notes.say(key.referenced.line(), format!("`{}` of {place} is left out: {why}", key.value));
        }
    }
}
