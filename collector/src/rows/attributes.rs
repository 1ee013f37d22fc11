//! Attributes as rows hold them: sorted by key, each key once, nothing longer than the limits. Pure.

use std::borrow::Cow;

use model::columns::{StringMaps, Strings};

use super::Limits;
use super::tally::{Part, Tally};
use crate::record::{Attribute, Attributes, Text, Value};

/// Says how many attributes of a record were dropped at the limit.
pub(crate) const DROPPED_ATTRIBUTES: &str = "watchfire.dropped_attributes";

/// Key and value as text, sorted by key, each key once.
pub(crate) type Pairs<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// Cuts a text to at most `limit` bytes at a character, and marks it.
pub(crate) fn cut<'a>(text: impl Into<Cow<'a, str>>, limit: usize, part: Part, tally: &mut Tally) -> Cow<'a, str> {
    let text = text.into();
    if text.len() <= limit {
        return text;
    }
    tally.cut(part, 1);
    let mark = format!("...[cut from {} bytes]", text.len());
    let end = text.floor_char_boundary(limit.saturating_sub(mark.len()));
    Cow::Owned(format!("{}{mark}", &text[..end]))
}

fn cut_in_place(text: &mut Text<'_>, limit: usize, part: Part, tally: &mut Tally) {
    if text.len() > limit {
        *text = cut(std::mem::take(text), limit, part, tally);
    }
}

/// Cuts attributes. Where a key stands twice its first value counts (OTLP leaves that open): that is how rows and lookups take them.
pub(crate) fn tidy(attributes: &mut Attributes<'_>, limits: &Limits, tally: &mut Tally) {
    let list = &mut attributes.list;
    if list.len() > limits.attributes {
        attributes.cut = attributes.cut.saturating_add((list.len() - limits.attributes) as u32);
        list.truncate(limits.attributes);
    }
    for attribute in list.iter_mut() {
        cut_in_place(&mut attribute.key, limits.name, Part::Name, tally);
        if let Value::Text(text) = &mut attribute.value {
            cut_in_place(text, limits.value, Part::Value, tally);
        }
    }
    if attributes.cut > 0 {
        tally.cut(Part::Attribute, attributes.cut as usize);
        list.push(Attribute { key: Cow::Borrowed(DROPPED_ATTRIBUTES), value: Value::Int(i64::from(attributes.cut)) });
    }
}

/// Appends tidy attributes as a row: sorted by key, each key once.
pub(crate) fn push_row(to: &mut StringMaps, attributes: &[Attribute<'_>]) {
    let value = |at: usize, to: &mut Strings| match &attributes[at].value {
        Value::Text(text) => to.push(text.as_bytes()),
        Value::Bool(flag) => to.push(if *flag { b"true" } else { b"false" }),
        Value::Int(number) => to.push(itoa::Buffer::new().format(*number).as_bytes()),
        Value::Double(number) => to.push_display(number),
    };
    to.push_unsorted(attributes.len(), |at| attributes[at].key.as_bytes(), value);
}

/// The value of a key; empty where it is absent.
pub(crate) fn find<'p>(attributes: &'p [Attribute<'_>], key: &str) -> Cow<'p, str> {
    attributes.iter().find(|attribute| attribute.key == key).map_or(Cow::Borrowed(""), |attribute| attribute.value.text())
}

/// The first value among some keys that is not empty.
pub(crate) fn find_any<'p>(attributes: &'p [Attribute<'_>], keys: &[&str]) -> Cow<'p, str> {
    keys.iter().map(|key| find(attributes, key)).find(|value| !value.is_empty()).unwrap_or(Cow::Borrowed(""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn list(pairs: &[(&'static str, Value<'static>)]) -> Attributes<'static> {
        pairs.iter().map(|(key, value)| Attribute { key: Cow::Borrowed(*key), value: value.clone() }).collect::<Vec<_>>().into()
    }

    #[test]
    fn of_two_equal_keys_the_first_counts() {
        let (limits, mut tally) = (Limits::new(&Config::default()), Tally::default());
        let mut attributes = list(&[("b", Value::Int(1)), ("a", Value::Int(2)), ("b", Value::Int(3)), ("", Value::Bool(true))]);
        tidy(&mut attributes, &limits, &mut tally);
        let mut maps = StringMaps::default();
        push_row(&mut maps, &attributes.list);
        assert_eq!(maps.values.iter().collect::<Vec<_>>(), [b"true", &b"2"[..], b"1"]);
        assert_eq!(find(&attributes.list, "b"), "1");
        assert_eq!(tally, Tally::default());
    }

    #[test]
    fn what_is_too_long_is_cut_marked_and_counted() {
        let config = Config { max_attribute_value: model::units::ByteCount(64), max_attributes: 2, ..Config::default() };
        let limits = Limits::new(&config);
        let mut tally = Tally::default();
        let mut attributes = list(&[("k", Value::Text("é".repeat(500_000).into())), ("l", Value::Int(1)), ("m", Value::Int(1))]);
        tidy(&mut attributes, &limits, &mut tally);
        let found = find(&attributes.list, "k");
        assert!(found.len() <= 64 && found.ends_with("...[cut from 1000000 bytes]"), "{found}");
        assert_eq!(find(&attributes.list, DROPPED_ATTRIBUTES), "1");
        assert_eq!(tally.cuts().collect::<Vec<_>>(), [(Part::Value, 1), (Part::Attribute, 1)]);
    }

    #[test]
    fn values_are_written_as_text() {
        let mut maps = StringMaps::default();
        let attributes = list(&[
            ("a", Value::Text("x".into())),
            ("b", Value::Bool(false)),
            ("c", Value::Int(i64::MIN)),
            ("d", Value::Double(2.0)),
            ("e", Value::Double(f64::INFINITY)),
            ("f", Value::Double(f64::MAX)),
        ]);
        push_row(&mut maps, &attributes.list);
        let values: Vec<_> = maps.values.iter().map(|value| String::from_utf8_lossy(value).into_owned()).collect();
        assert_eq!(values[..5], ["x", "false", "-9223372036854775808", "2", "inf"]);
        assert_eq!(values[5], f64::MAX.to_string());
    }
}
