//! The scalars of the protobuf JSON mapping, each as lenient as the mapping asks; `null` is the default. Fails: a value of
//! another kind, with what was expected.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Unexpected, Visitor};

/// Padding may be left out.
const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// A string.
#[derive(Default)]
pub(super) struct Text(pub(super) String);

impl From<Text> for Cow<'static, str> {
    fn from(text: Text) -> Self {
        Cow::Owned(text.0)
    }
}

/// A boolean.
#[derive(Default)]
pub(super) struct Flag(pub(super) bool);

/// A 32-bit number.
#[derive(Default)]
pub(super) struct Word(pub(super) u32);

/// Bytes in base64, of either alphabet.
#[derive(Default)]
pub(super) struct Base64(pub(super) Vec<u8>);

/// An id in hex.
#[derive(Default)]
pub(super) struct Hex(pub(super) Vec<u8>);

/// An integer, as a number or a string.
#[derive(Default)]
pub(super) struct Int<T = i64>(pub(super) T);

/// A float, as a number or a string; `NaN`, `Infinity` and `-Infinity` too.
#[derive(Default)]
pub(super) struct Float(pub(super) f64);

/// The number of an enum, given as number or name.
pub(super) struct Enum<N>(pub(super) i32, PhantomData<N>);

/// The names of an enum.
pub(super) trait Names {
    /// The number of a name.
    fn number(name: &str) -> Option<i32>;
}

impl<N> Default for Enum<N> {
    fn default() -> Self {
        Enum(0, PhantomData)
    }
}

/// A list.
pub(super) struct List<T>(pub(super) Vec<T>);

impl<T> Default for List<T> {
    fn default() -> Self {
        List(Vec::new())
    }
}

impl<T, U: From<T>> From<List<T>> for Vec<U> {
    fn from(list: List<T>) -> Self {
        list.0.into_iter().map(U::from).collect()
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Option::<String>::deserialize(from).map(|text| Text(text.unwrap_or_default()))
    }
}

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Option::<bool>::deserialize(from).map(|flag| Flag(flag.unwrap_or_default()))
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let number = Int::<u64>::deserialize(from)?.0;
        u32::try_from(number).map(Word).map_err(|_| D::Error::invalid_value(Unexpected::Unsigned(number), &"a 32-bit number"))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Text::deserialize(from)?.0;
        let bytes = BASE64.decode(&text).or_else(|_| BASE64_URL.decode(&text));
        bytes.map(Base64).map_err(|_| D::Error::custom("bytesValue is not base64"))
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Text::deserialize(from)?.0;
        hex::decode(&text).map(Hex).map_err(|_| D::Error::custom("a trace or span id is not hex (OTLP/JSON writes ids as hex, not base64)"))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Items<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Items<T> {
            type Value = List<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }
            fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
                Ok(List::default())
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(List(list))
            }
        }
        from.deserialize_any(Items(PhantomData))
    }
}

/// A number in any of the forms that JSON writers use.
enum Number {
    None,
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Text(String),
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Any;
        impl Visitor<'_> for Any {
            type Value = Number;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, or a number as a string")
            }
            fn visit_unit<E: Error>(self) -> Result<Number, E> {
                Ok(Number::None)
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<Number, E> {
                Ok(Number::Signed(number))
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<Number, E> {
                Ok(Number::Unsigned(number))
            }
            fn visit_f64<E: Error>(self, number: f64) -> Result<Number, E> {
                Ok(Number::Float(number))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Number, E> {
                Ok(Number::Text(text.to_owned()))
            }
        }
        from.deserialize_any(Any)
    }
}

impl Number {
    /// As an integer of either sign; a float counts if it is whole and small enough to be exact.
    fn whole(&self) -> Option<i128> {
        let exact = |number: f64| (number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0).then_some(number as i128);
        match self {
            Number::None => Some(0),
            Number::Signed(number) => Some(i128::from(*number)),
            Number::Unsigned(number) => Some(i128::from(*number)),
            Number::Float(number) => exact(*number),
            Number::Text(text) => text.parse().ok().or_else(|| text.parse().ok().and_then(exact)),
        }
    }
}

impl<'de, T: TryFrom<i128>> Deserialize<'de> for Int<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let whole = Number::deserialize(from)?.whole().and_then(|whole| T::try_from(whole).ok());
        whole.map(Int).ok_or_else(|| D::Error::custom("a 64-bit integer is out of range or no integer"))
    }
}

impl<'de> Deserialize<'de> for Float {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let number = match Number::deserialize(from)? {
            Number::None => Some(0.0),
            Number::Signed(number) => Some(number as f64),
            Number::Unsigned(number) => Some(number as f64),
            Number::Float(number) => Some(number),
            Number::Text(text) => text.parse().ok(),
        };
        number.map(Float).ok_or_else(|| D::Error::custom("a number is neither a number nor NaN, Infinity or -Infinity"))
    }
}

impl<'de, N: Names> Deserialize<'de> for Enum<N> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let number = Number::deserialize(from)?;
        let known = match &number {
            Number::Text(name) => N::number(name),
            Number::None | Number::Signed(_) | Number::Unsigned(_) | Number::Float(_) => None,
        };
        let found = known.or_else(|| number.whole().and_then(|whole| i32::try_from(whole).ok()));
        found.map(|number| Enum(number, PhantomData)).ok_or_else(|| D::Error::custom("an enum is neither a number nor a known name"))
    }
}
