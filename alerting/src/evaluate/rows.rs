//! From a table to series: each row is one, text columns are its labels, `value` is its value, columns that begin with `example_` are
//! evidence. Pure. Fails with one sentence that names the column and the fix.

use std::collections::BTreeMap;

use model::fingerprint::Fingerprint;
use model::issue::Issue;
use model::labels::Labels;
use model::query::{Cell, Rows};

/// How the columns of evidence begin.
const EXAMPLE: &str = "example_";
/// The evidence that names an error issue.
const FINGERPRINT: &str = "example_fingerprint";
/// The longest evidence, in bytes.
const LONGEST: usize = 2_000;

/// One element of a result.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Element {
    /// Its labels.
    pub labels: Labels,
    /// Its value.
    pub value: f64,
    /// What it was seen in, by the name of the annotation.
    pub evidence: BTreeMap<String, String>,
    /// The kind of error that it is about.
    pub fingerprint: Option<Fingerprint>,
    /// What thresholds are compared with, where that is not the value.
    pub score: Option<f64>,
    /// Further numbers for templates.
    pub figures: BTreeMap<&'static str, f64>,
}

fn is_label(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Hex of nothing but zeros is how the store says "no id".
fn says_something(text: &str) -> bool {
    !text.is_empty() && text.bytes().any(|byte| byte != b'0')
}

fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(LONGEST));
    text
}

fn element(columns: &[String], cells: Vec<Cell>) -> Result<Option<Element>, String> {
    let mut element = Element { value: f64::NAN, ..Element::default() };
    let mut has_value = false;
    for (name, cell) in columns.iter().zip(cells) {
        if name == "value" {
            has_value = true;
            match cell {
                Cell::Number(value) => element.value = value,
                // NULL is no sample.
                Cell::Nothing => return Ok(None),
                Cell::Text(text) => return Err(format!("column `value` is `{text}`, which is no number: select a number AS value")),
            }
        } else if let Some(evidence) = name.strip_prefix(EXAMPLE) {
            let text = match cell {
                Cell::Nothing => continue,
                Cell::Number(number) => number.to_string(),
                Cell::Text(text) => text,
            };
            if name == FINGERPRINT {
                element.fingerprint = u64::from_str_radix(&text, 16).ok().filter(|print| *print != 0).map(Fingerprint);
            } else if says_something(&text) && !evidence.is_empty() {
                element.evidence.insert(name.clone(), cut(text));
            }
        } else {
            match cell {
                Cell::Text(text) if is_label(name) => element.labels.set(name, &text),
                Cell::Text(_) => return Err(format!("column `{name}` cannot be a label: name it with letters, digits and _")),
                Cell::Nothing => {}
                Cell::Number(_) => {
                    return Err(format!(
                        "column `{name}` is a number: name it `value`, make a label of it with toString({name}) AS {name}, or leave it out"
                    ));
                }
            }
        }
    }
    if !has_value {
        return Err("the statement has no column `value`: select one number AS value".to_owned());
    }
    Ok(Some(element))
}

/// The series of a table, in its order.
pub(super) fn elements(rows: Rows) -> Result<Vec<Element>, String> {
    let Rows { columns, rows } = rows;
    if rows.is_empty() && !columns.iter().any(|name| name == "value") {
        return Err("the statement has no column `value`: select one number AS value".to_owned());
    }
    rows.into_iter().filter_map(|cells| element(&columns, cells).transpose()).collect()
}

/// What a notice says of an error issue.
pub(super) fn issue_line(issue: &Issue) -> String {
    cut(format!("#{} {} (watchfire error show {})", issue.number, issue.title, issue.number))
}

/// An issue that came back, as an element.
pub(super) fn regressed(issue: &Issue, release: Option<&str>) -> Element {
    let number = issue.number.to_string();
    let mut labels: Labels = [("issue", number.as_str())].into_iter().collect();
    if let Some(service) = issue.services.first() {
        labels.set("service_name", service);
    }
    let mut evidence = BTreeMap::from([("issue".to_owned(), issue_line(issue)), ("example_error".to_owned(), cut(issue.title.clone()))]);
    evidence.extend(release.map(|release| ("example_release".to_owned(), release.to_owned())));
    Element { labels, value: f64::from(issue.regressions), evidence, ..Element::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(columns: &[&str], rows: Vec<Vec<Cell>>) -> Rows {
        Rows { columns: columns.iter().map(|name| (*name).to_owned()).collect(), rows }
    }

    fn text(text: &str) -> Cell {
        Cell::Text(text.to_owned())
    }

    #[test]
    fn a_row_is_a_series_with_labels_value_and_evidence() {
        let columns = ["service_name", "value", "example_log", "example_trace", "example_fingerprint"];
        let found = vec![
            vec![
                text("shop"),
                Cell::Number(3.0),
                text("no space left"),
                text("00000000000000000000000000000000"),
                text("00000000000000aa"),
            ],
            vec![text(""), Cell::Nothing, text(""), text(""), text("")],
        ];
        let elements = elements(table(&columns, found)).unwrap();
        assert_eq!(elements.len(), 1, "NULL is no sample");
        assert_eq!(elements[0].labels, [("service_name", "shop")].into_iter().collect());
        assert_eq!(elements[0].evidence, BTreeMap::from([("example_log".to_owned(), "no space left".to_owned())]));
        assert_eq!((elements[0].value, elements[0].fingerprint), (3.0, Some(Fingerprint(0xaa))));
    }

    #[test]
    fn what_is_no_series_is_one_sentence() {
        for (columns, cells, part) in [
            (vec!["n"], vec![Cell::Number(1.0)], "column `n` is a number"),
            (vec!["value"], vec![text("x")], "`x`, which is no number"),
            (vec!["a b", "value"], vec![text("x"), Cell::Number(1.0)], "`a b` cannot be a label"),
            (vec!["a"], vec![text("x")], "no column `value`"),
        ] {
            let told = elements(table(&columns, vec![cells])).unwrap_err();
            assert!(told.contains(part), "{told}");
        }
        assert!(elements(table(&["count()"], Vec::new())).unwrap_err().contains("no column `value`"));
        assert_eq!(elements(table(&["value"], Vec::new())).unwrap(), Vec::new());
    }
}
