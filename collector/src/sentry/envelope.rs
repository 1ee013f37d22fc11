//! The framing of envelopes: a line of JSON, then items, each a line of JSON and a payload that has the announced length or ends at
//! the line. In: the body. Out: the header and one item after the other, borrowed. Fails: see [`Broken`], with the item's number.

use serde::Deserialize;

use super::loose::{Maybe, Str, When};

/// A body that is no envelope, or an item of it that is not what it says it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// The first line.
    #[error("the first line of the envelope is not a JSON object: {0}")]
    Header(#[source] serde_json::Error),
    /// The line before a payload.
    #[error("the header of item {item} is not a JSON object: {error}")]
    ItemHeader {
        /// Its number, from 1.
        item: usize,
        /// What is wrong.
        #[source]
        error: serde_json::Error,
    },
    /// An item of no type.
    #[error("the header of item {item} names no type")]
    NoType {
        /// Its number, from 1.
        item: usize,
    },
    /// Less follows than was announced.
    #[error("item {item} announces {announced} bytes and {left} follow: the envelope is cut off")]
    CutOff {
        /// Its number, from 1.
        item: usize,
        /// Its header's length.
        announced: u64,
        /// Bytes to the end.
        left: usize,
    },
    /// Something follows on the payload's last line.
    #[error("item {item} does not end with a line break after its {announced} bytes: its length is wrong")]
    NoLineBreak {
        /// Its number, from 1.
        item: usize,
        /// Its header's length.
        announced: u64,
    },
    /// A payload that is not JSON.
    #[error("item {item} ({kind}) is not a JSON object: {error}")]
    Payload {
        /// Its number, from 1.
        item: usize,
        /// Its type.
        kind: &'static str,
        /// What is wrong.
        #[source]
        error: serde_json::Error,
    },
    /// A payload that is not UTF-8.
    #[error("item {item} ({kind}) is not UTF-8: {error}")]
    Utf8 {
        /// Its number, from 1.
        item: usize,
        /// Its type.
        kind: &'static str,
        /// Where.
        #[source]
        error: std::str::Utf8Error,
    },
}

/// What an envelope says of all its items.
#[derive(Debug, Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(super) struct Header<'a> {
    /// The id of the event in it.
    pub(super) event_id: Str<'a>,
    /// Where it was sent to, with the key.
    pub(super) dsn: Str<'a>,
    /// When it was sent, by the sender's clock.
    pub(super) sent_at: When,
    /// What the trace's head decided.
    pub(super) trace: Maybe<Head<'a>>,
}

/// What the head of a trace decided.
#[derive(Debug, Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(super) struct Head<'a> {
    /// The share of traces that are kept, 0 to 1.
    pub(super) sample_rate: Str<'a>,
}

/// An item.
#[derive(Debug)]
pub(super) struct Item<'a> {
    /// Its number in the envelope, from 1.
    pub(super) number: usize,
    /// Its type.
    pub(super) kind: Str<'a>,
    /// Its bytes.
    pub(super) payload: &'a [u8],
}

/// The items of an envelope, in order.
pub(super) struct Items<'a> {
    rest: &'a [u8],
    number: usize,
}

/// The first line and what follows it.
pub(super) fn line(body: &[u8]) -> (&[u8], &[u8]) {
    match body.iter().position(|byte| *byte == b'\n') {
        Some(at) => (&body[..at], &body[at + 1..]),
        None => (body, &[]),
    }
}

/// Opens an envelope.
pub(super) fn open(body: &[u8]) -> Result<(Header<'_>, Items<'_>), Broken> {
    let (first, rest) = line(body);
    Ok((object(first).map_err(Broken::Header)?, Items { rest, number: 0 }))
}

/// A JSON object, of which every field may be missing.
fn object<'a, T: Deserialize<'a> + Default>(json: &'a [u8]) -> Result<T, serde_json::Error> {
    let object = serde_json::from_slice::<Maybe<T>>(json)?;
    object.0.ok_or_else(|| serde::de::Error::custom("another JSON value stands there"))
}

#[derive(Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct ItemHeader<'a> {
    r#type: Str<'a>,
    length: Option<u64>,
}

/// The type that an item's header names.
pub(super) fn kind(header: &[u8]) -> Option<String> {
    object::<ItemHeader<'_>>(header).ok().map(|header| header.r#type.0.into_owned())
}

impl<'a> Items<'a> {
    fn item(&mut self) -> Result<Item<'a>, Broken> {
        let item = self.number;
        let (first, rest) = line(self.rest);
        self.rest = &[];
        let header: ItemHeader<'a> = object(first).map_err(|error| Broken::ItemHeader { item, error })?;
        if header.r#type.is_empty() {
            return Err(Broken::NoType { item });
        }
        let payload = match header.length {
            None => {
                let (payload, after) = line(rest);
                self.rest = after;
                payload
            }
            Some(announced) => {
                let length = usize::try_from(announced).ok().filter(|length| *length <= rest.len());
                let length = length.ok_or(Broken::CutOff { item, announced, left: rest.len() })?;
                let (payload, after) = rest.split_at(length);
                self.rest = match after {
                    [] => after,
                    [b'\n', after @ ..] | [b'\r', b'\n', after @ ..] => after,
                    _ => return Err(Broken::NoLineBreak { item, announced }),
                };
                payload
            }
        };
        Ok(Item { number: item, kind: header.r#type, payload })
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Result<Item<'a>, Broken>;
    fn next(&mut self) -> Option<Self::Item> {
        // Blank lines may stand between items and at the end.
        let start = self.rest.iter().position(|byte| !matches!(byte, b'\n' | b'\r'))?;
        self.rest = &self.rest[start..];
        self.number += 1;
        Some(self.item())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(body: &str) -> Result<Vec<(String, String)>, String> {
        let (_, items) = open(body.as_bytes()).map_err(|error| error.to_string())?;
        let shown = |item: Item<'_>| (item.kind.to_string(), String::from_utf8_lossy(item.payload).into_owned());
        items.map(|item| item.map(shown).map_err(|error| error.to_string())).collect()
    }

    #[test]
    fn payloads_have_a_length_or_end_at_the_line() {
        let (header, _) =
            open(br#"{"event_id":"a","dsn":"http://k@h/1","sent_at":"2026-03-01T00:00:00Z","trace":{"sample_rate":0.5}}"#).unwrap();
        assert_eq!((&*header.event_id, &*header.dsn, header.sent_at.0), ("a", "http://k@h/1", 1_772_323_200_000_000_000));
        assert_eq!(&*header.trace.0.unwrap().sample_rate, "0.5");
        let body =
            "{}\n{\"type\":\"a\"}\n{\"x\":1}\n{\"type\":\"b\",\"length\":3}\nx\ny\n\n{\"type\":\"c\",\"length\":0}\n\n{\"type\":\"d\"}";
        let of = |kind: &str, payload: &str| (kind.to_owned(), payload.to_owned());
        assert_eq!(items(body), Ok(vec![of("a", "{\"x\":1}"), of("b", "x\ny"), of("c", ""), of("d", "")]));
        assert_eq!(items("{}"), Ok(vec![]));
        assert_eq!(items("{}\n\n\n"), Ok(vec![]));
        assert_eq!(items("{}\r\n{\"type\":\"a\",\"length\":1}\r\nx\r\n"), Ok(vec![of("a", "x")]));
    }

    #[test]
    fn what_is_no_envelope_gets_a_sentence() {
        for (body, words) in [
            ("", "first line of the envelope is not a JSON object: EOF"),
            ("[]\n", "first line of the envelope is not a JSON object: another JSON value"),
            ("{}\nx", "header of item 1 is not a JSON object"),
            ("{}\n{}", "header of item 1 names no type"),
            ("{}\n{\"type\":\"a\"}\n1\n{\"type\":\"b\",\"length\":9}\n12", "item 2 announces 9 bytes and 2 follow"),
            ("{}\n{\"type\":\"a\",\"length\":1}\n12\n", "item 1 does not end with a line break after its 1 bytes"),
            ("{}\n{\"type\":\"a\",\"length\":-1}\n12\n", "header of item 1 is not a JSON object"),
            ("{}\n{\"type\":\"a\",\"length\":18446744073709551615}\n12\n", "item 1 announces 18446744073709551615 bytes"),
        ] {
            let error = items(body).unwrap_err();
            assert!(error.contains(words) && !error.contains('\n'), "{body}: {error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(body in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            if let Ok((_, items)) = open(&body) {
                assert!(items.take(500).count() < 500, "it ends");
            }
        }
    }
}
