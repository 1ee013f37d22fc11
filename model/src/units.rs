//! Units as types: a float that survives JSON, a size in bytes.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A sample value. Its text is Prometheus's (`1.5`, `NaN`, `+Inf`, `-Inf`), so that it survives JSON.
#[derive(Clone, Copy, PartialEq, PartialOrd, Default)]
pub struct Value(pub f64);

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let v = self.0;
        if v.is_nan() {
            f.write_str("NaN")
        } else if v.is_infinite() {
            f.write_str(if v > 0.0 { "+Inf" } else { "-Inf" })
        } else if v != 0.0 && (v.abs() < 1e-6 || v.abs() >= 1e21) {
            // Go's strconv 'f' with exponent form outside this range, as Prometheus's JSON does.
            let text = format!("{v:e}");
            let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
            write!(f, "{mantissa}e{sign}{digits:0>2}")
        } else {
            write!(f, "{v}")
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no number.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a number")]
pub struct ValueError(String);

impl FromStr for Value {
    type Err = ValueError;
    fn from_str(text: &str) -> Result<Self, ValueError> {
        text.parse().map(Value).map_err(|_| ValueError(text.to_owned()))
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A size in bytes, written `64MiB`, `1GiB`, `512KiB` or as a plain number of bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteCount(pub u64);

const SIZES: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// A text that is no size.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a size: write a whole number and B, KiB, MiB or GiB, for example 64MiB")]
pub struct ByteCountError(String);

impl FromStr for ByteCount {
    type Err = ByteCountError;
    fn from_str(text: &str) -> Result<Self, ByteCountError> {
        let fail = || ByteCountError(text.to_owned());
        let (digits, factor) =
            SIZES.iter().find_map(|(unit, size)| text.strip_suffix(unit).map(|rest| (rest.trim_end(), *size))).unwrap_or((text, 1));
        let number: u64 = digits.parse().map_err(|_| fail())?;
        number.checked_mul(factor).map(ByteCount).ok_or_else(fail)
    }
}

impl fmt::Display for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, size) = SIZES.iter().find(|(_, size)| self.0 >= *size && self.0.is_multiple_of(*size)).unwrap_or(&SIZES[3]);
        write!(f, "{}{unit}", self.0 / size)
    }
}

impl fmt::Debug for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for ByteCount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteCount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_prometheus_writes_them() {
        for (value, text) in [
            (1.0, "1"),
            (0.05, "0.05"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (1e21, "1e+21"),
            (1e-7, "1e-07"),
            (123456789.0, "123456789"),
        ] {
            assert_eq!(Value(value).to_string(), text);
        }
        assert_eq!("+Inf".parse::<Value>().unwrap().0, f64::INFINITY);
    }

    #[test]
    fn sizes_read_and_write() {
        assert_eq!("64MiB".parse::<ByteCount>().unwrap().0, 64 << 20);
        assert_eq!(ByteCount(1 << 30).to_string(), "1GiB");
        assert!("64 parsecs".parse::<ByteCount>().is_err());
    }
}
