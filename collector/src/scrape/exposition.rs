//! What targets answer: Prometheus's text format 0.0.4 and OpenMetrics 1.0, read as Prometheus reads them. In: a text. Out:
//! families and samples that borrow from it. Fails: with the line and what is wrong; then nothing of the text counts. Pure.

mod cursor;
mod series;

use std::borrow::Cow;
use std::collections::HashMap;

use cursor::Cursor;
pub(crate) use series::{Pairs, pairs};

use crate::family::FamilyKind;

/// The NaN that Prometheus stores for `NaN`: every other one could be mistaken for a staleness marker.
const NORMAL_NAN: u64 = 0x7ff8_0000_0000_0001;

/// The formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Text format 0.0.4 and 1.0.0.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

/// A text that is not of its format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}{}", place(.near))]
pub(crate) struct ExpositionError {
    line: usize,
    problem: &'static str,
    near: String,
}

fn place(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(", at `{text}`") }
}

/// A family as the text describes it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct FamilyText<'a> {
    /// Its name.
    pub(crate) name: Cow<'a, str>,
    /// Its type.
    pub(crate) kind: FamilyKind,
    /// For people.
    pub(crate) help: Cow<'a, str>,
    /// The unit.
    pub(crate) unit: Cow<'a, str>,
}

/// A sample.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample<'a> {
    /// Name and labels as they stand in the text; [`pairs`] reads them.
    pub(crate) series: &'a str,
    /// Which of the families it belongs to.
    pub(crate) family: Option<usize>,
    /// The value.
    pub(crate) value: f64,
    /// Milliseconds, where the target says when.
    pub(crate) at: Option<i64>,
    /// An example.
    pub(crate) exemplar: Option<Exemplar<'a>>,
}

/// An exemplar.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Exemplar<'a> {
    /// Its labels in braces, as they stand in the text.
    pub(crate) labels: &'a str,
    /// The value.
    pub(crate) value: f64,
    /// Milliseconds, where the target says when.
    pub(crate) at: Option<i64>,
}

/// A whole text.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Exposition<'a> {
    /// Families in the order in which they are described.
    pub(crate) families: Vec<FamilyText<'a>>,
    /// Samples in their order.
    pub(crate) samples: Vec<Sample<'a>>,
}

/// Reads a text. With a mistake in it, gives also what stands before.
pub(crate) fn read(text: &str, format: Format) -> (Exposition<'_>, Result<(), ExpositionError>) {
    let mut reader = Reader { at: Cursor::new(text), format, found: Exposition::default(), named: HashMap::new(), current: None };
    let ended = reader.lines();
    (reader.found, ended)
}

/// Reads a text as a whole.
#[cfg(test)]
pub(crate) fn parse(text: &str, format: Format) -> Result<Exposition<'_>, ExpositionError> {
    let (found, ended) = read(text, format);
    ended.map(|()| found)
}

struct Reader<'a> {
    at: Cursor<'a>,
    format: Format,
    found: Exposition<'a>,
    /// Families by name.
    named: HashMap<Cow<'a, str>, usize>,
    /// The family that was described or found last.
    current: Option<usize>,
}

impl<'a> Reader<'a> {
    /// Reads all lines.
    fn lines(&mut self) -> Result<(), ExpositionError> {
        while !self.at.is_done() {
            if self.line()? {
                return Ok(());
            }
        }
        match self.format {
            Format::Text => Ok(()),
            Format::OpenMetrics => Err(self.at.error("the text ends without `# EOF`")),
        }
    }

    /// Reads a line; whether it is the end of the text.
    fn line(&mut self) -> Result<bool, ExpositionError> {
        let strict = self.format == Format::OpenMetrics;
        if !strict {
            self.at.skip_blanks();
        }
        match self.at.peek() {
            Some(b'\n') if !strict => {
                self.at.bump();
                Ok(false)
            }
            Some(b'\n') => Err(self.at.error("an empty line, which OpenMetrics does not allow")),
            Some(b'#') => self.comment(),
            Some(_) => self.sample().map(|()| false),
            None => Ok(!strict),
        }
    }

    /// `# HELP`, `# TYPE`, `# UNIT`, `# EOF`; whether it is the end.
    fn comment(&mut self) -> Result<bool, ExpositionError> {
        let line = self.at.clone();
        self.at.bump();
        let blank = self.at.skip_blanks();
        let word = self.at.word();
        match (self.format, word) {
            (_, "HELP" | "TYPE") | (Format::OpenMetrics, "UNIT") if blank && self.at.skip_blanks() => self.describe(word)?,
            (Format::OpenMetrics, "EOF") if blank => {
                let rest = self.at.rest();
                return if matches!(rest, "" | "\n") { Ok(true) } else { Err(self.at.error("something follows `# EOF`")) };
            }
            (Format::OpenMetrics, _) => return Err(line.error("a comment that is none of HELP, TYPE, UNIT and EOF")),
            (Format::Text, _) => {
                self.at.rest_of_line();
            }
        }
        Ok(false)
    }

    fn describe(&mut self, word: &str) -> Result<(), ExpositionError> {
        let name = match self.at.peek() {
            Some(b'"') => series::unescape(self.at.quoted()?),
            _ => Cow::Borrowed(self.at.metric_name()?),
        };
        let here = self.at.clone();
        self.at.skip_blanks();
        let text = self.at.rest_of_line();
        let family = *self.named.entry(name.clone()).or_insert_with(|| {
            self.found.families.push(FamilyText { name, ..FamilyText::default() });
            self.found.families.len() - 1
        });
        self.current = Some(family);
        let family = &mut self.found.families[family];
        match word {
            "HELP" => family.help = unescape_help(text, self.format),
            "UNIT" => {
                if !text.is_empty() && !family.name.strip_suffix(text).is_some_and(|base| base.ends_with('_')) {
                    return Err(here.error("the unit does not end the name of its metric"));
                }
                family.unit = Cow::Borrowed(text);
            }
            _ => {
                family.kind = kind(text.trim_end_matches([' ', '\t']), self.format).ok_or_else(|| here.error("a type that nobody knows"))?
            }
        }
        Ok(())
    }

    fn sample(&mut self) -> Result<(), ExpositionError> {
        let (series, name) = series::series(&mut self.at)?;
        self.at.skip_blanks();
        let here = self.at.clone();
        let value = number(self.at.token()).ok_or_else(|| here.error("a value that is no number"))?;
        let mut sample = Sample { series, family: self.family(&name), value, at: None, exemplar: None };
        let gap = self.at.skip_blanks();
        if gap && !matches!(self.at.peek(), Some(b'#' | b'\n') | None) {
            sample.at = Some(self.time()?);
            self.at.skip_blanks();
        }
        if self.format == Format::OpenMetrics && self.at.peek() == Some(b'#') {
            sample.exemplar = Some(self.exemplar()?);
        }
        if !matches!(self.at.peek(), Some(b'\n') | None) {
            return Err(self.at.error("something follows the sample on its line"));
        }
        self.at.bump();
        self.found.samples.push(sample);
        Ok(())
    }

    /// The family of a series: mostly the one that was described last.
    fn family(&mut self, name: &str) -> Option<usize> {
        let owns = |at: usize| self.found.families[at].kind.owns(&self.found.families[at].name, name);
        if let Some(current) = self.current.filter(|current| owns(*current)) {
            return Some(current);
        }
        let base = || crate::family::SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix));
        let found = self.named.get(name).copied().or_else(|| self.named.get(base()?).copied().filter(|at| owns(*at)));
        self.current = found.or(self.current);
        found
    }

    /// Milliseconds in the text format, seconds in OpenMetrics.
    fn time(&mut self) -> Result<i64, ExpositionError> {
        let here = self.at.clone();
        let text = self.at.token();
        let found = match self.format {
            Format::Text => text.parse().ok().filter(|_| !text.starts_with('+')),
            Format::OpenMetrics => seconds(text),
        };
        found.ok_or_else(|| here.error("a time that is no number"))
    }

    fn exemplar(&mut self) -> Result<Exemplar<'a>, ExpositionError> {
        self.at.bump();
        self.at.skip_blanks();
        let labels = series::braces(&mut self.at)?;
        self.at.skip_blanks();
        let here = self.at.clone();
        let value = number(self.at.token()).ok_or_else(|| here.error("an exemplar's value that is no number"))?;
        let gap = self.at.skip_blanks();
        let at = if gap && !matches!(self.at.peek(), Some(b'\n') | None) { Some(self.time()?) } else { None };
        Ok(Exemplar { labels, value, at })
    }
}

fn kind(text: &str, format: Format) -> Option<FamilyKind> {
    let open = format == Format::OpenMetrics;
    match text {
        "counter" => Some(FamilyKind::Counter),
        "gauge" => Some(FamilyKind::Gauge),
        "histogram" => Some(FamilyKind::Histogram),
        "summary" => Some(FamilyKind::Summary),
        "untyped" if !open => Some(FamilyKind::Unknown),
        "unknown" if open => Some(FamilyKind::Unknown),
        "gaugehistogram" if open => Some(FamilyKind::GaugeHistogram),
        "info" if open => Some(FamilyKind::Info),
        "stateset" if open => Some(FamilyKind::StateSet),
        _ => None,
    }
}

/// A number as Go reads it, hexadecimal ones left out as Prometheus does.
fn number(text: &str) -> Option<f64> {
    let value: f64 = text.parse().ok()?;
    Some(if value.is_nan() { f64::from_bits(NORMAL_NAN) } else { value })
}

fn seconds(text: &str) -> Option<i64> {
    let millis = number(text)? * 1000.0;
    // As Go converts: what has no place is no time.
    (millis.is_finite() && millis.abs() < 9.2e18).then_some(millis as i64)
}

/// `\\` and `\n`, in OpenMetrics `\"` too.
fn unescape_help(text: &str, format: Format) -> Cow<'_, str> {
    match format {
        Format::Text => series::unescape_with(text, false),
        Format::OpenMetrics => series::unescape_with(text, true),
    }
}

#[cfg(test)]
mod tests;
