//! Which lines somebody wants: the terms of the console's search line (`dashboards/console/src/lib/search.ts`), told over lines in memory as `logWhere`
//! tells them in SQL. Pure. A search that cannot be read fails with one sentence.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::line::Line;

/// The most terms of a search, and the longest text of one.
const MOST: usize = 64;
const LONGEST: usize = 2_048;

/// How a field is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum Op {
    #[serde(rename = "=")]
    Is,
    #[serde(rename = "!=")]
    IsNot,
    #[serde(rename = "~")]
    Has,
    #[serde(rename = "!~")]
    HasNot,
    #[serde(rename = ">")]
    More,
    #[serde(rename = "<")]
    Less,
    #[serde(rename = ">=")]
    AtLeast,
    #[serde(rename = "<=")]
    AtMost,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum Term {
    Text { text: String, not: bool },
    Field { key: String, op: Op, value: String },
}

/// Terms that must all hold.
#[derive(Clone, Debug, Default)]
pub(super) struct Search(Vec<Term>);

/// Levels with the least and the greatest severity number of each.
const LEVELS: [(&str, u8, u8); 6] =
    [("trace", 1, 4), ("debug", 5, 8), ("info", 9, 12), ("warn", 13, 16), ("error", 17, 20), ("fatal", 21, 24)];

impl Search {
    /// From JSON: `[{"kind":"text","text":"timeout","not":false},{"kind":"field","key":"service","op":"=","value":"shop"}]`.
    pub(super) fn parse(json: &str) -> Result<Self, String> {
        let terms: Vec<Term> = serde_json::from_str(json).map_err(|error| {
            format!("`search` is a JSON list of terms such as [{{\"kind\":\"text\",\"text\":\"timeout\",\"not\":false}}]: {error}")
        })?;
        let long = |term: &Term| match term {
            Term::Text { text, .. } => text.len() > LONGEST,
            Term::Field { key, value, .. } => key.len() > LONGEST || value.len() > LONGEST,
        };
        if terms.len() > MOST || terms.iter().any(long) {
            return Err(format!("`search` has more than {MOST} terms, or one longer than {LONGEST} bytes: shorten it"));
        }
        Ok(Search(terms))
    }

    /// Whether all terms hold for a line.
    pub(super) fn fits(&self, line: &Line) -> bool {
        self.0.iter().all(|term| match term {
            Term::Text { text, not } => has(&line.body, text) != *not,
            Term::Field { key, op, value } => field(line, key, *op, value),
        })
    }
}

/// Whether a text stands in another, whatever the case.
fn has(body: &str, text: &str) -> bool {
    body.to_lowercase().contains(&text.to_lowercase())
}

fn compare(have: &str, op: Op, want: &str) -> bool {
    let numbers = || Some((have.trim().parse::<f64>().ok()?, want.parse::<f64>().ok()?));
    match op {
        Op::Is => have == want,
        Op::IsNot => have != want,
        Op::Has => has(have, want),
        Op::HasNot => !has(have, want),
        Op::More => numbers().is_some_and(|(a, b)| a > b),
        Op::Less => numbers().is_some_and(|(a, b)| a < b),
        Op::AtLeast => numbers().is_some_and(|(a, b)| a >= b),
        Op::AtMost => numbers().is_some_and(|(a, b)| a <= b),
    }
}

fn level(severity: u8, op: Op, word: &str) -> bool {
    let word = word.to_lowercase().replacen("warning", "warn", 1);
    let Some((_, from, to)) = LEVELS.into_iter().find(|(name, ..)| *name == word) else { return word == "unset" && severity == 0 };
    match op {
        Op::Is | Op::Has => (from..=to).contains(&severity),
        Op::IsNot | Op::HasNot => !(from..=to).contains(&severity),
        Op::More => severity > to,
        Op::AtLeast => severity >= from,
        Op::Less => severity < from,
        Op::AtMost => severity <= to,
    }
}

/// An id of so many digits; what is none fits nothing.
fn id(have: &str, digits: usize, op: Op, want: &str) -> bool {
    let valid = want.len() == digits && want.bytes().all(|byte| byte.is_ascii_hexdigit());
    valid && (have == want.to_lowercase()) != matches!(op, Op::IsNot | Op::HasNot)
}

fn field(line: &Line, key: &str, op: Op, value: &str) -> bool {
    match key {
        "service" => compare(&line.service, op, value),
        "level" | "severity" => level(line.severity, op, value),
        "trace" | "trace_id" => id(&line.trace, 32, op, value),
        "span" | "span_id" => id(&line.span, 16, op, value),
        "body" => compare(&line.body, op, value),
        _ => {
            let of = |map: &BTreeMap<String, String>| compare(map.get(key).map_or("", String::as_str), op, value);
            match op {
                Op::IsNot | Op::HasNot => of(&line.attributes) && of(&line.resource),
                Op::Is | Op::Has | Op::More | Op::Less | Op::AtLeast | Op::AtMost => of(&line.attributes) || of(&line.resource),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line {
        let pairs = |pairs: &[(&str, &str)]| pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Line {
            nanos: "1".to_owned(),
            severity: 17,
            severity_text: "ERROR".to_owned(),
            service: "shop".to_owned(),
            body: "No Answer after 30 ms".to_owned(),
            trace: "0af7651916cd43dd8448eb211c80319c".to_owned(),
            span: String::new(),
            attributes: pairs(&[("http.route", "/orders"), ("retries", "3")]),
            resource: pairs(&[("host.name", "a1")]),
        }
    }

    #[test]
    fn terms_hold_as_in_sql() {
        for (terms, fits) in [
            (r#"[]"#, true),
            (r#"[{"kind":"text","text":"no answer","not":false}]"#, true),
            (r#"[{"kind":"text","text":"no answer","not":true}]"#, false),
            (r#"[{"kind":"text","text":"50%","not":false}]"#, false),
            (r#"[{"kind":"field","key":"service","op":"=","value":"shop"}]"#, true),
            (r#"[{"kind":"field","key":"service","op":"!=","value":"shop"}]"#, false),
            (r#"[{"kind":"field","key":"level","op":">=","value":"warning"}]"#, true),
            (r#"[{"kind":"field","key":"level","op":"=","value":"info"}]"#, false),
            (r#"[{"kind":"field","key":"level","op":"=","value":"nonsense"}]"#, false),
            (r#"[{"kind":"field","key":"trace","op":"=","value":"0AF7651916CD43DD8448EB211C80319C"}]"#, true),
            (r#"[{"kind":"field","key":"trace","op":"!=","value":"x"}]"#, false),
            (r#"[{"kind":"field","key":"http.route","op":"~","value":"ORD"}]"#, true),
            (r#"[{"kind":"field","key":"retries","op":">","value":"2"}]"#, true),
            (r#"[{"kind":"field","key":"retries","op":">","value":"x"}]"#, false),
            (r#"[{"kind":"field","key":"absent","op":"!=","value":"x"}]"#, true),
            (r#"[{"kind":"field","key":"host.name","op":"=","value":"a1"},{"kind":"text","text":"MS","not":false}]"#, true),
        ] {
            assert_eq!(Search::parse(terms).unwrap().fits(&line()), fits, "{terms}");
        }
    }

    #[test]
    fn what_is_no_search_is_said() {
        for wrong in ["{}", "x", r#"[{"kind":"field","key":"a","op":"like","value":"b"}]"#, r#"[{"kind":"text"}]"#] {
            assert!(Search::parse(wrong).unwrap_err().contains("JSON list of terms"), "{wrong}");
        }
        let long = format!(r#"[{{"kind":"text","text":"{}","not":false}}]"#, "a".repeat(3_000));
        assert!(Search::parse(&long).unwrap_err().contains("shorten"));
    }
}
