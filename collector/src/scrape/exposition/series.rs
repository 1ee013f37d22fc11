//! Series in a text: `name{label="value",...}`, or `{"name",label="value",...}` where a name needs quotes. The syntax is checked
//! while reading; labels are only taken apart where somebody wants them. Pure.

use std::borrow::Cow;

use model::labels::METRIC_NAME;

use super::ExpositionError;
use super::cursor::Cursor;

/// Name and value, `__name__` among them; values may be empty, as some targets say "no such label" with that.
pub(crate) type Pairs<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// Passes a series; its text and its name.
pub(super) fn series<'a>(at: &mut Cursor<'a>) -> Result<(&'a str, Cow<'a, str>), ExpositionError> {
    let start = at.clone();
    let mut name = None;
    if at.peek() != Some(b'{') {
        name = Some(Cow::Borrowed(at.metric_name()?));
        let end = at.clone();
        at.skip_blanks();
        if at.peek() != Some(b'{') {
            return Ok((end.since(&start), name.unwrap_or_default()));
        }
    }
    let mut labels = Labels::new(at)?;
    while let Some((label, _)) = labels.next()? {
        if let Label::Metric(quoted) = label {
            if name.is_some() {
                return Err(start.error("a series with two names"));
            }
            name = Some(unescape(quoted));
        }
    }
    let name = name.ok_or_else(|| start.error("a series without a name"))?;
    Ok((at.since(&start), name))
}

/// Passes labels in braces; their text.
pub(super) fn braces<'a>(at: &mut Cursor<'a>) -> Result<&'a str, ExpositionError> {
    let start = at.clone();
    let mut labels = Labels::new(at)?;
    while labels.next()?.is_some() {}
    Ok(at.since(&start))
}

/// Takes a text apart that [`series`] or [`braces`] has passed.
pub(crate) fn pairs(text: &str) -> Result<Pairs<'_>, ExpositionError> {
    let (mut at, mut found) = (Cursor::new(text), Vec::new());
    if !matches!(at.peek(), Some(b'{') | None) {
        found.push((Cow::Borrowed(METRIC_NAME), Cow::Borrowed(at.metric_name()?)));
        at.skip_blanks();
    }
    if at.is_done() {
        return Ok(found);
    }
    let mut labels = Labels::new(&mut at)?;
    while let Some((label, value)) = labels.next()? {
        match label {
            Label::Metric(name) => found.push((Cow::Borrowed(METRIC_NAME), unescape(name))),
            Label::Plain(name) => found.push((Cow::Borrowed(name), unescape(value))),
            Label::Quoted(name) => found.push((unescape(name), unescape(value))),
        }
    }
    Ok(found)
}

/// What stands before `=`, or a metric name in quotes.
enum Label<'a> {
    Metric(&'a str),
    Plain(&'a str),
    Quoted(&'a str),
}

/// Reads `{...}` item by item.
struct Labels<'c, 'a> {
    at: &'c mut Cursor<'a>,
    done: bool,
}

impl<'c, 'a> Labels<'c, 'a> {
    fn new(at: &'c mut Cursor<'a>) -> Result<Self, ExpositionError> {
        at.expect(b'{', "`{` was expected")?;
        Ok(Labels { at, done: false })
    }
    fn next(&mut self) -> Result<Option<(Label<'a>, &'a str)>, ExpositionError> {
        let at = &mut *self.at;
        at.skip_blanks();
        if self.done || at.peek() == Some(b'}') {
            if !self.done {
                at.bump();
            }
            self.done = true;
            return Ok(None);
        }
        let label = if at.peek() == Some(b'"') { Label::Quoted(at.quoted()?) } else { Label::Plain(at.label_name()?) };
        at.skip_blanks();
        let found = match (label, at.peek()) {
            (Label::Quoted(name), Some(b',' | b'}')) => (Label::Metric(name), ""),
            (label, _) => {
                at.expect(b'=', "`=` was expected behind a label name")?;
                at.skip_blanks();
                (label, at.quoted()?)
            }
        };
        at.skip_blanks();
        match at.peek() {
            Some(b',') => at.bump(),
            Some(b'}') => {}
            _ => return Err(at.error("`,` or `}` was expected behind a label")),
        }
        Ok(Some(found))
    }
}

/// `\\`, `\n` and `\"`; other escapes stay as they are, as in Prometheus.
pub(super) fn unescape(text: &str) -> Cow<'_, str> {
    unescape_with(text, true)
}

/// The same, quotes only where asked for.
pub(super) fn unescape_with(text: &str, quotes: bool) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let escaped = match rest.as_bytes().get(at + 1) {
            Some(b'\\') => Some('\\'),
            Some(b'n') => Some('\n'),
            Some(b'"') if quotes => Some('"'),
            _ => None,
        };
        out.push(escaped.unwrap_or('\\'));
        rest = &rest[at + 1 + usize::from(escaped.is_some())..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}
