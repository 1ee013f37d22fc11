//! Go templates as Prometheus rules use them in labels and annotations. In: a template's text, the data of one sample and the
//! answers to the queries it asks. Out: text, or the next query that must be answered first (so expansion itself does no I/O).
//! Fails like Prometheus: a wrong template is refused when rules are loaded, a failing expansion becomes
//! `<error expanding template: ...>`.

mod eval;
mod functions;
mod lex;
mod number;
mod parse;
mod printf;
mod value;

use std::collections::BTreeMap;
use std::sync::Arc;

use model::labels::Labels;
use model::time::Timestamp;

pub use number::{format_e_shortest, format_float, humanize};
pub use parse::TemplateError;

use value::Val;

/// The most queries that one expansion may ask.
pub const MOST_QUERIES: usize = 32;

/// Further numbers of a sample, by the names of their variables. Prometheus has none of them.
pub const FIGURES: [&str; 3] = ["expected", "lower", "upper"];

/// A parsed template. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Template {
    text: Arc<str>,
    nodes: Arc<[parse::Node]>,
}

impl PartialEq for Template {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// What a template can see.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TemplateData {
    /// `$labels`: the labels of the sample, `__name__` included.
    pub labels: Labels,
    /// `$value`.
    pub value: f64,
    /// Further numbers by the names of their variables, without `$`: an anomaly's `expected`, `lower`, `upper`. Elsewhere they are NaN.
    pub figures: BTreeMap<&'static str, f64>,
    /// `$externalLabels`.
    pub external_labels: Labels,
    /// `$externalURL`.
    pub external_url: String,
    /// The moment of the evaluation: `now`.
    pub at: Timestamp,
}

/// One sample of a query's answer.
pub type QuerySample = (Labels, f64);

/// The queries that have been answered so far: samples, or why there are none.
pub type Answers = BTreeMap<String, Result<Vec<QuerySample>, String>>;

/// What became of an expansion.
#[derive(Clone, Debug, PartialEq)]
pub enum Expansion {
    /// The text.
    Text(String),
    /// The answer to this expression is needed: ask, add it to the answers, expand again.
    NeedsQuery(String),
    /// It failed, and why.
    Failed(String),
}

impl Template {
    /// Parses a template. Fails with one sentence that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        Ok(Template { text: text.into(), nodes: parse::parse(text)?.into() })
    }
    /// The text it was parsed from.
    pub fn text(&self) -> &str {
        &self.text
    }
    /// Expands it for one sample.
    pub fn expand(&self, data: &TemplateData, answers: &Answers) -> Expansion {
        let labels = Val::of_labels(&data.labels);
        let external = Val::of_labels(&data.external_labels);
        let root = Val::Struct(
            [
                ("Labels".to_owned(), labels.clone()),
                ("ExternalLabels".to_owned(), external.clone()),
                ("ExternalURL".to_owned(), Val::Str(data.external_url.clone())),
                ("Value".to_owned(), Val::Float(data.value)),
            ]
            .into(),
        );
        let mut variables = vec![
            ("$".to_owned(), root.clone()),
            ("$labels".to_owned(), labels),
            ("$externalLabels".to_owned(), external),
            ("$externalURL".to_owned(), Val::Str(data.external_url.clone())),
            ("$value".to_owned(), Val::Float(data.value)),
        ];
        let figure = |name: &&str| (format!("${name}"), Val::Float(data.figures.get(name).copied().unwrap_or(f64::NAN)));
        variables.extend(FIGURES.iter().map(figure));
        let world = eval::World { answers, external_url: &data.external_url, now: data.at };
        eval::run(&self.nodes, root, variables, world)
    }
}

/// The text that stands for a failed expansion.
pub fn error_text(reason: &str) -> String {
    format!("<error expanding template: {reason}>")
}

#[cfg(test)]
mod tests;
