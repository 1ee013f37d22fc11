//! JSON as Sentry's many SDKs write it: numbers where texts belong, `null`, lists of pairs instead of objects. In: any JSON value.
//! Out: what can be used of it, borrowed from the body; a value of another shape is absent, never an error. Fails: broken syntax.

use std::fmt;
use std::marker::PhantomData;

use model::time::Timestamp;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::record::{Text, Value};

/// Reads the rest of a list and forgets it.
fn skip_seq<'de, A: SeqAccess<'de>>(mut items: A) -> Result<(), A::Error> {
    while items.next_element::<IgnoredAny>()?.is_some() {}
    Ok(())
}

/// Reads the rest of an object and forgets it.
fn skip_map<'de, A: MapAccess<'de>>(mut fields: A) -> Result<(), A::Error> {
    while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
    Ok(())
}

/// Visitor methods for values of another shape: the default.
macro_rules! otherwise_default {
    (scalars) => {
        fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        }
        fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        }
        fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        }
        fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        }
        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        }
        fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        }
    };
    (seq) => {
        fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Self::Value, A::Error> {
            skip_seq(items).map(|()| Self::Value::default())
        }
    };
    (map) => {
        fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Self::Value, A::Error> {
            skip_map(fields).map(|()| Self::Value::default())
        }
    };
    (expecting) => {
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("any JSON value")
        }
    };
}

/// A value that is neither list nor object; those are `None`.
#[derive(Debug, Default, PartialEq)]
enum Scalar<'a> {
    #[default]
    None,
    Text(Text<'a>),
    Bool(bool),
    Int(i64),
    Float(f64),
}

/// Visitor methods that make a `Scalar` and hand it to `$from`.
macro_rules! scalars {
    ($from:expr) => {
        fn visit_bool<E: Error>(self, flag: bool) -> Result<Self::Value, E> {
            Ok($from(Scalar::Bool(flag)))
        }
        fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
            Ok($from(Scalar::Int(number)))
        }
        fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
            Ok($from(i64::try_from(number).map_or(Scalar::Float(number as f64), Scalar::Int)))
        }
        fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
            Ok($from(Scalar::Float(number)))
        }
        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok($from(Scalar::None))
        }
        fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
            Ok($from(Scalar::Text(text.into())))
        }
        fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
            Ok($from(Scalar::Text(text.to_owned().into())))
        }
    };
}

impl<'de: 'a, 'a> Deserialize<'de> for Scalar<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Scalar<'de>;
            otherwise_default!(expecting);
            otherwise_default!(seq);
            otherwise_default!(map);
            scalars!(|scalar| scalar);
        }
        from.deserialize_any(Any)
    }
}

impl<'a> From<Scalar<'a>> for Value<'a> {
    fn from(scalar: Scalar<'a>) -> Self {
        match scalar {
            Scalar::None => Value::default(),
            Scalar::Text(text) => Value::Text(text),
            Scalar::Bool(flag) => Value::Bool(flag),
            Scalar::Int(number) => Value::Int(number),
            Scalar::Float(number) => Value::Double(number),
        }
    }
}

/// A text; numbers and booleans as they are written, empty for all else.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Str<'a>(pub(super) Text<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for Str<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Scalar::deserialize(from).map(|scalar| Str(Value::from(scalar).into_text()))
    }
}

impl std::ops::Deref for Str<'_> {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

/// A moment in nanoseconds since 1970, from seconds or RFC 3339; 0 where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct When(pub(super) u64);

impl<'de> Deserialize<'de> for When {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(When(match Scalar::deserialize(from)? {
            Scalar::Int(seconds) => nanos(seconds as f64),
            Scalar::Float(seconds) => nanos(seconds),
            Scalar::Text(text) => text.parse().map_or_else(|_| moment(&text), nanos),
            Scalar::None | Scalar::Bool(_) => 0,
        }))
    }
}

/// Seconds as nanoseconds, exact to the microsecond.
fn nanos(seconds: f64) -> u64 {
    let micros = seconds * 1e6;
    // The comparison is false for NaN too; i64 nanoseconds end in 2262.
    if micros > 0.0 && micros < 9.2e15 { micros.round() as u64 * 1_000 } else { 0 }
}

/// RFC 3339, also without a zone.
fn moment(text: &str) -> u64 {
    let zoned = || format!("{}Z", text.trim()).parse::<Timestamp>();
    text.trim().parse::<Timestamp>().or_else(|_| zoned()).ok().and_then(|time| u64::try_from(time.nanos()).ok()).unwrap_or(0)
}

/// A number.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Num(pub(super) Option<f64>);

impl<'de> Deserialize<'de> for Num {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Num(match Scalar::deserialize(from)? {
            Scalar::Int(number) => Some(number as f64),
            Scalar::Float(number) => Some(number),
            Scalar::Text(text) => text.parse().ok(),
            Scalar::None | Scalar::Bool(_) => None,
        }))
    }
}

/// A boolean.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Flag(pub(super) Option<bool>);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Flag(match Scalar::deserialize(from)? {
            Scalar::Bool(flag) => Some(flag),
            Scalar::None | Scalar::Text(_) | Scalar::Int(_) | Scalar::Float(_) => None,
        }))
    }
}

/// An object; `None` for all else.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Maybe<T>(pub(super) Option<T>);

impl<T> Default for Maybe<T> {
    fn default() -> Self {
        Maybe(None)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Maybe<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Object<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
            type Value = Maybe<T>;
            otherwise_default!(expecting);
            otherwise_default!(scalars);
            otherwise_default!(seq);
            fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(fields)).map(|object| Maybe(Some(object)))
            }
        }
        from.deserialize_any(Object(PhantomData))
    }
}

/// The objects of a list, or of the list under `values` in an object, as older and newer SDKs write them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct List<T>(pub(super) Vec<T>);

impl<T> Default for List<T> {
    fn default() -> Self {
        List(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Items<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Items<T> {
            type Value = List<T>;
            otherwise_default!(expecting);
            otherwise_default!(scalars);
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element::<Maybe<T>>()? {
                    list.extend(item.0);
                }
                Ok(List(list))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
                let mut list = List::default();
                while let Some(key) = fields.next_key::<Str<'de>>()? {
                    if &*key == "values" {
                        list = fields.next_value()?;
                    } else {
                        fields.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(list)
            }
        }
        from.deserialize_any(Items(PhantomData))
    }
}

mod values;
pub(super) use values::{Any, Pairs, Typed};

/// The texts of a list.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Texts<'a>(pub(super) Vec<Str<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Texts<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Items;
        impl<'de> Visitor<'de> for Items {
            type Value = Texts<'de>;
            otherwise_default!(expecting);
            otherwise_default!(scalars);
            otherwise_default!(map);
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = items.next_element()? {
                    texts.push(text);
                }
                Ok(Texts(texts))
            }
        }
        from.deserialize_any(Items)
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    fn read<'a, T: Deserialize<'a>>(json: &'a str) -> T {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn texts_are_borrowed_and_other_shapes_are_absent() {
        assert!(matches!(read::<Str<'_>>(r#""abc""#).0, Cow::Borrowed("abc")));
        for (json, expected) in [(r#""a\nb""#, "a\nb"), ("7", "7"), ("true", "true"), ("null", ""), ("[1,[2]]", ""), (r#"{"a":{}}"#, "")] {
            assert_eq!(&*read::<Str<'_>>(json), expected, "{json}");
        }
        assert_eq!(read::<Maybe<Pairs<'_>>>("[1]").0, None);
        assert_eq!(read::<Flag>("\"yes\"").0, None);
        assert_eq!(read::<Num>("\"1.5\"").0, Some(1.5));
        assert_eq!(read::<List<Pairs<'_>>>("7").0, []);
        assert_eq!(read::<Texts<'_>>(r#"["a",7,null]"#).0.len(), 3);
    }

    #[test]
    fn moments_are_seconds_or_text() {
        for (json, expected) in [
            ("1772323200", 1_772_323_200_000_000_000),
            ("1772323200.123456", 1_772_323_200_123_456_000),
            (r#""2026-03-01T00:00:00.5Z""#, 1_772_323_200_500_000_000),
            (r#""2026-03-01T01:00:00+01:00""#, 1_772_323_200_000_000_000),
            (r#""2026-03-01T00:00:00""#, 1_772_323_200_000_000_000),
            (r#""1772323200.25""#, 1_772_323_200_250_000_000),
            ("-1", 0),
            ("1e300", 0),
            ("null", 0),
            (r#""soon""#, 0),
            ("{}", 0),
        ] {
            assert_eq!(read::<When>(json).0, expected, "{json}");
        }
    }

    #[test]
    fn lists_stand_alone_or_under_values() {
        let names = |json: &str| read::<List<Pairs<'_>>>(json).0.iter().map(|pairs| pairs.0.text("a").into_owned()).collect::<Vec<_>>();
        assert_eq!(names(r#"[{"a":1},null,"x",{"a":"b"}]"#), ["1", "b"]);
        assert_eq!(names(r#"{"other":[1],"values":[{"a":1}]}"#), ["1"]);
        assert_eq!(names(r#"{"values":null}"#), Vec::<String>::new());
    }
}
