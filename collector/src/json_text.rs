//! Texts in JSON that borrow from the body where they have no escapes, and objects of such texts. In: JSON. Out: texts,
//! attributes. Fails: where another type stands.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};

use crate::record::{Attribute, Attributes, Text, Value};

/// A text.
#[derive(Debug, Default)]
pub(crate) struct Borrowed<'a>(pub(crate) Text<'a>);

/// A text, or a number or boolean as text.
pub(crate) struct Plain<'a>(pub(crate) Text<'a>);

macro_rules! text_visitor {
    ($name:ident, $expecting:literal, { $($also:tt)* }) => {
        impl<'de: 'a, 'a> Deserialize<'de> for $name<'a> {
            fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
                struct Reading;
                impl<'de> Visitor<'de> for Reading {
                    type Value = Text<'de>;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expecting)
                    }
                    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                        Ok(Cow::Borrowed(text))
                    }
                    fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                        Ok(Cow::Owned(text.to_owned()))
                    }
                    $($also)*
                }
                json.deserialize_any(Reading).map($name)
            }
        }
    };
}

text_visitor!(Borrowed, "a text", {});
text_visitor!(Plain, "a text", {
    fn visit_i64<E>(self, number: i64) -> Result<Text<'de>, E> {
        Ok(Cow::Owned(number.to_string()))
    }
    fn visit_u64<E>(self, number: u64) -> Result<Text<'de>, E> {
        Ok(Cow::Owned(number.to_string()))
    }
    fn visit_f64<E>(self, number: f64) -> Result<Text<'de>, E> {
        Ok(Cow::Owned(number.to_string()))
    }
    fn visit_bool<E>(self, flag: bool) -> Result<Text<'de>, E> {
        Ok(Cow::Borrowed(if flag { "true" } else { "false" }))
    }
    fn visit_unit<E>(self) -> Result<Text<'de>, E> {
        Ok(Cow::Borrowed(""))
    }
});

/// An object of texts, of which so many are kept and the others counted. Null is an empty object.
pub(crate) struct Pairs(pub(crate) usize);

impl<'a> DeserializeSeed<'a> for Pairs {
    type Value = Attributes<'a>;
    fn deserialize<D: Deserializer<'a>>(self, json: D) -> Result<Attributes<'a>, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Pairs {
    type Value = Attributes<'a>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of texts")
    }
    fn visit_unit<E>(self) -> Result<Attributes<'a>, E> {
        Ok(Attributes::default())
    }
    fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<Attributes<'a>, M::Error> {
        let mut pairs = Attributes::default();
        while let Some((key, value)) = map.next_entry::<Borrowed<'a>, Plain<'a>>()? {
            pairs.push(Attribute { key: key.0, value: Value::Text(value.0) }, self.0);
        }
        Ok(pairs)
    }
}
