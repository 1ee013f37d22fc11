//! Attribute values as text, attributes as sorted pairs, and the cutting of what is too long. Pure. Strings stay as they
//! are; booleans and numbers are written out; lists and maps become JSON; bytes become base64.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

use super::Limits;
use super::tally::{Part, Tally};

/// Attributes as sorted pairs, each key once.
pub(crate) type Pairs<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// Says how many attributes of a record were dropped at the limit.
pub(crate) const DROPPED_ATTRIBUTES: &str = "watchfire.dropped_attributes";

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

/// The text of a value; empty where there is none.
pub(crate) fn value_text(value: Option<&AnyValue>) -> Cow<'_, str> {
    let Some(value) = value.and_then(|any| any.value.as_ref()) else {
        return Cow::Borrowed("");
    };
    match value {
        Value::StringValue(text) => Cow::Borrowed(text),
        Value::BoolValue(flag) => Cow::Borrowed(if *flag { "true" } else { "false" }),
        Value::IntValue(number) => Cow::Owned(number.to_string()),
        Value::DoubleValue(number) => Cow::Owned(number.to_string()),
        Value::BytesValue(bytes) => Cow::Owned(STANDARD.encode(bytes)),
        Value::ArrayValue(_) | Value::KvlistValue(_) => Cow::Owned(serde_json::to_string(&Json(value)).unwrap_or_default()),
        // An index into the string table of a profile: meaningless in the other signals.
        Value::StringValueStrindex(_) => Cow::Borrowed(""),
    }
}

/// A value as JSON: numbers that JSON cannot say and bytes are strings.
struct Json<'a>(&'a Value);

/// A value that may be absent, as JSON.
struct MaybeJson<'a>(Option<&'a AnyValue>);

impl Serialize for MaybeJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.and_then(|any| any.value.as_ref()) {
            Some(value) => Json(value).serialize(serializer),
            None => serializer.serialize_unit(),
        }
    }
}

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::StringValue(text) => serializer.serialize_str(text),
            Value::BoolValue(flag) => serializer.serialize_bool(*flag),
            Value::IntValue(number) => serializer.serialize_i64(*number),
            Value::DoubleValue(number) if number.is_finite() => serializer.serialize_f64(*number),
            Value::DoubleValue(number) => serializer.collect_str(number),
            Value::BytesValue(bytes) => serializer.serialize_str(&STANDARD.encode(bytes)),
            Value::StringValueStrindex(_) => serializer.serialize_unit(),
            Value::ArrayValue(list) => {
                let mut items = serializer.serialize_seq(Some(list.values.len()))?;
                for item in &list.values {
                    items.serialize_element(&MaybeJson(Some(item)))?;
                }
                items.end()
            }
            Value::KvlistValue(list) => {
                let mut items = serializer.serialize_map(Some(list.values.len()))?;
                for item in &list.values {
                    items.serialize_entry(&item.key, &MaybeJson(item.value.as_ref()))?;
                }
                items.end()
            }
        }
    }
}

/// The attributes of a record: cut, sorted by key, and where a key stands twice its first value (OTLP leaves that open).
pub(crate) fn pairs<'a>(attributes: &'a [KeyValue], limits: &Limits, tally: &mut Tally) -> Pairs<'a> {
    let kept = attributes.len().min(limits.attributes);
    let mut pairs: Pairs<'a> = Vec::with_capacity(kept + 1);
    for attribute in &attributes[..kept] {
        let key = cut(attribute.key.as_str(), limits.name, Part::Name, tally);
        let value = cut(value_text(attribute.value.as_ref()), limits.value, Part::Value, tally);
        pairs.push((key, value));
    }
    if kept < attributes.len() {
        tally.cut(Part::Attribute, attributes.len() - kept);
        pairs.push((Cow::Borrowed(DROPPED_ATTRIBUTES), Cow::Owned((attributes.len() - kept).to_string())));
    }
    if !pairs.is_sorted_by(|a, b| a.0 < b.0) {
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        pairs.dedup_by(|later, first| later.0 == first.0);
    }
    pairs
}

/// The value of a key in sorted pairs; empty where it is absent.
pub(crate) fn find<'p>(pairs: &'p Pairs<'_>, key: &str) -> &'p str {
    pairs.binary_search_by(|(name, _)| name.as_ref().cmp(key)).map_or("", |at| pairs[at].1.as_ref())
}

/// The first value among some keys that is not empty.
pub(crate) fn find_any<'p>(pairs: &'p Pairs<'_>, keys: &[&str]) -> &'p str {
    keys.iter().map(|key| find(pairs, key)).find(|value| !value.is_empty()).unwrap_or("")
}

/// As `StringMaps` wants them.
pub(crate) fn borrowed<'p>(pairs: &'p [(Cow<'_, str>, Cow<'_, str>)]) -> impl Iterator<Item = (&'p str, &'p str)> {
    pairs.iter().map(|(key, value)| (key.as_ref(), value.as_ref()))
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::{ArrayValue, KeyValueList};

    use super::*;
    use crate::config::Config;
    use crate::tests::fixtures::attribute;

    fn any(value: Value) -> AnyValue {
        AnyValue { value: Some(value) }
    }

    #[test]
    fn values_become_text() {
        let list = Value::ArrayValue(ArrayValue {
            values: vec![
                any(Value::StringValue("a\"b".into())),
                any(Value::IntValue(-3)),
                any(Value::DoubleValue(f64::NAN)),
                AnyValue { value: None },
            ],
        });
        let map = Value::KvlistValue(KeyValueList {
            values: vec![attribute("z", Value::BoolValue(true)), attribute("a", Value::BytesValue(vec![1, 2]))],
        });
        for (value, text) in [
            (Value::StringValue("plain".into()), "plain"),
            (Value::BoolValue(false), "false"),
            (Value::IntValue(i64::MIN), "-9223372036854775808"),
            (Value::DoubleValue(1.5), "1.5"),
            (Value::DoubleValue(2.0), "2"),
            (Value::DoubleValue(f64::INFINITY), "inf"),
            (Value::BytesValue(vec![0xFF, 0xFE]), "//4="),
            (list, r#"["a\"b",-3,"NaN",null]"#),
            (map, r#"{"z":true,"a":"AQI="}"#),
        ] {
            assert_eq!(value_text(Some(&any(value))), text);
        }
        assert_eq!(value_text(None), "");
    }

    #[test]
    fn attributes_are_sorted_and_the_first_of_two_equal_keys_counts() {
        let (limits, mut tally) = (Limits::new(&Config::default()), Tally::default());
        let list = [
            attribute("b", Value::IntValue(1)),
            attribute("a", Value::IntValue(2)),
            attribute("b", Value::IntValue(3)),
            attribute("", Value::IntValue(4)),
        ];
        let found: Vec<_> = pairs(&list, &limits, &mut tally).into_iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(found, ["=4", "a=2", "b=1"]);
        assert_eq!(tally, Tally::default());
    }

    #[test]
    fn what_is_too_long_is_cut_marked_and_counted() {
        let limits = Limits { value: 64, attributes: 2, ..Limits::new(&Config::default()) };
        let mut tally = Tally::default();
        let long = Value::StringValue("é".repeat(500_000));
        let list = [attribute("k", long), attribute("l", Value::IntValue(1)), attribute("m", Value::IntValue(1))];
        let pairs = pairs(&list, &limits, &mut tally);
        assert!(find(&pairs, "k").len() <= 64);
        assert!(find(&pairs, "k").ends_with("...[cut from 1000000 bytes]"), "{}", find(&pairs, "k"));
        assert_eq!(find(&pairs, DROPPED_ATTRIBUTES), "1");
        assert_eq!(tally.cuts().collect::<Vec<_>>(), [(Part::Value, 1), (Part::Attribute, 1)]);
    }
}
