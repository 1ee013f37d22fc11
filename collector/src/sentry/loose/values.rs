//! Values of any kind, and objects whose keys nobody knows beforehand: tags, extra data, attributes.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::{Maybe, Scalar, Str, Texts, skip_seq};
use crate::record::{Attribute, Attributes, Text, Value};

/// A value of any kind: lists and objects as JSON text.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::sentry) struct Any<'a>(pub(in crate::sentry) Value<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for Any<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Whatever;
        impl<'de> Visitor<'de> for Whatever {
            type Value = Any<'de>;
            otherwise_default!(expecting);
            scalars!(|scalar: Scalar<'de>| Any(scalar.into()));
            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Self::Value, A::Error> {
                let mut json = String::new();
                Write(&mut json).visit_seq(items)?;
                Ok(Any(Value::Text(json.into())))
            }
            fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Self::Value, A::Error> {
                let mut json = String::new();
                Write(&mut json).visit_map(fields)?;
                Ok(Any(Value::Text(json.into())))
            }
        }
        from.deserialize_any(Whatever)
    }
}

/// Writes a value as JSON while it is read.
struct Write<'w>(&'w mut String);

impl Write<'_> {
    fn scalar(self, scalar: Scalar<'_>) {
        match Value::from(scalar) {
            Value::Text(text) => self.text(&text),
            value => self.0.push_str(&value.text()),
        }
    }
    fn text(self, text: &str) {
        self.0.push_str(&serde_json::Value::from(text).to_string());
    }
}

impl<'de> DeserializeSeed<'de> for Write<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Write<'_> {
    type Value = ();
    otherwise_default!(expecting);
    fn visit_bool<E: Error>(self, flag: bool) -> Result<(), E> {
        self.scalar(Scalar::Bool(flag));
        Ok(())
    }
    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        self.scalar(Scalar::Int(number));
        Ok(())
    }
    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        self.0.push_str(&number.to_string());
        Ok(())
    }
    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        self.scalar(Scalar::Float(number));
        Ok(())
    }
    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.0.push_str("null");
        Ok(())
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.text(text);
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        self.0.push('[');
        let start = self.0.len();
        loop {
            let before = self.0.len();
            if before > start {
                self.0.push(',');
            }
            if items.next_element_seed(Write(self.0))?.is_none() {
                self.0.truncate(before);
                self.0.push(']');
                return Ok(());
            }
        }
    }
    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        self.0.push('{');
        let start = self.0.len();
        while let Some(key) = fields.next_key::<Str<'de>>()? {
            if self.0.len() > start {
                self.0.push(',');
            }
            Write(self.0).text(&key);
            self.0.push(':');
            fields.next_value_seed(Write(self.0))?;
        }
        self.0.push('}');
        Ok(())
    }
}

/// Keys and values: an object, or a list of pairs. Values without content are left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::sentry) struct Pairs<'a>(pub(in crate::sentry) Attributes<'a>);

impl<'a> Pairs<'a> {
    fn add(&mut self, key: Text<'a>, value: Value<'a>) {
        if value != Value::default() {
            self.0.list.push(Attribute { key, value });
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Pairs<'de>;
            otherwise_default!(expecting);
            otherwise_default!(scalars);
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Pairs::default();
                while let Some(pair) = items.next_element::<Texts<'de>>()? {
                    let mut pair = pair.0.into_iter();
                    if let (Some(key), Some(value)) = (pair.next(), pair.next()) {
                        pairs.add(key.0, Value::Text(value.0));
                    }
                }
                Ok(pairs)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Pairs::default();
                while let Some((key, value)) = fields.next_entry::<Str<'de>, Any<'de>>()? {
                    pairs.add(key.0, value.0);
                }
                Ok(pairs)
            }
        }
        from.deserialize_any(Fields)
    }
}

/// Keys whose values stand under `value`, beside their type: the attributes of logs, and measurements.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::sentry) struct Typed<'a>(pub(in crate::sentry) Vec<Attribute<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Typed<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Default, serde::Deserialize)]
        #[serde(default, bound(deserialize = "'de: 'a"))]
        struct Field<'a> {
            value: Any<'a>,
        }
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Typed<'de>;
            otherwise_default!(expecting);
            otherwise_default!(scalars);
            otherwise_default!(seq);
            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
                let mut list = Vec::new();
                while let Some((key, field)) = fields.next_entry::<Str<'de>, Maybe<Field<'de>>>()? {
                    list.extend(field.0.map(|field| Attribute { key: key.0, value: field.value.0 }));
                }
                Ok(Typed(list))
            }
        }
        from.deserialize_any(Fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<'a, T: Deserialize<'a>>(json: &'a str) -> T {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn pairs_are_objects_or_lists_of_pairs() {
        let shown = |json: &str| -> Vec<String> {
            read::<Pairs<'_>>(json).0.list.iter().map(|attribute| format!("{}={}", attribute.key, attribute.value.text())).collect()
        };
        assert_eq!(shown(r#"{"a":1,"b":null,"c":true,"d":"x"}"#), ["a=1", "c=true", "d=x"]);
        assert_eq!(shown(r#"[["a","1"],["b"],7,["c",2,3]]"#), ["a=1", "c=2"]);
        assert_eq!(
            shown(r#"{"n":{"k":["x\"\n",1.5,null,-2,{"z":[]}],"e":{}},"l":[18446744073709551615]}"#),
            [r#"n={"k":["x\"\n",1.5,null,-2,{"z":[]}],"e":{}}"#, "l=[18446744073709551615]"]
        );
        let typed = read::<Typed<'_>>(r#"{"a":{"value":7,"type":"integer"},"b":3}"#).0;
        assert_eq!(typed, [Attribute { key: "a".into(), value: Value::Int(7) }]);
    }
}
