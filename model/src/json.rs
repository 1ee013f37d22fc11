//! JSON as text that is read where somebody needs it: bodies of records and work rows pass through the stores without being taken apart.

use std::cell::RefCell;
use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};
use serde_json::Value;

/// JSON text. Equal where the texts are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Json(Box<str>);

impl Json {
    /// What is written as JSON.
    ///
    /// # Errors
    /// What cannot be: maps whose keys are no texts.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        text(value).map(Self::stored)
    }
    /// A text that was written as JSON before. Where it is none, reading it fails.
    pub fn stored(text: String) -> Self {
        Json(text.into_boxed_str())
    }
    /// What is in it.
    ///
    /// # Errors
    /// It does not have the form of `T`, or is no JSON.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.0)
    }
    /// As a value; `null` where it is no JSON.
    pub fn value(&self) -> Value {
        self.read().unwrap_or_default()
    }
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A value as JSON text, of exactly its length: what is written down often waits with thousands of others.
///
/// # Errors
/// What cannot be JSON: maps whose keys are no texts.
pub fn text<T: Serialize + ?Sized>(value: &T) -> Result<String, serde_json::Error> {
    thread_local! {
        static WRITTEN: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    /// What a thread keeps at most.
    const KEPT: usize = 64 << 10;
    // Where writing a value writes another one as text, that one finds nothing here and grows its own.
    let mut written = WRITTEN.take();
    written.clear();
    serde_json::to_writer(&mut written, value)?;
    let text = str::from_utf8(&written).map(str::to_owned).map_err(serde::ser::Error::custom)?;
    written.clear();
    written.shrink_to(KEPT);
    WRITTEN.set(written);
    Ok(text)
}

impl From<Value> for Json {
    fn from(value: Value) -> Self {
        Self::stored(value.to_string())
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value().serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let json = Json::of(&("a\0\"é", 9_007_199_254_740_993_u64, None::<u8>)).unwrap();
        assert_eq!(json.to_string(), r#"["a\u0000\"é",9007199254740993,null]"#);
        assert_eq!(json.read::<(String, u64, Option<u8>)>().unwrap(), ("a\0\"é".to_owned(), 9_007_199_254_740_993, None));
        assert_eq!(serde_json::to_string(&json).unwrap(), json.as_str());
        assert_eq!(Json::from(serde_json::json!({"a": 1})).value()["a"], 1);
        let long = text(&"x".repeat(100_000)).unwrap();
        assert_eq!((long.len(), long.capacity(), text(&[1, 2]).unwrap().as_str()), (100_002, 100_002, "[1,2]"));
        assert!(text(&std::collections::BTreeMap::from([((1, 2), 3)])).is_err());
        assert_eq!(text(&json).unwrap(), json.as_str());
    }

    #[test]
    fn a_broken_text_is_an_error_to_whoever_reads_it() {
        let json = Json::stored("{".to_owned());
        assert!(json.read::<Value>().is_err());
        assert_eq!(json.value(), Value::Null);
    }
}
