//! Newline JSON over HTTP, `POST /api/watchfire/v1/logs`: each line an object or a string; well-known keys become time, severity,
//! body, service and trace context, the others attributes (nested values as JSON text). A bad line is rejected with its number,
//! the others are stored. Senders have no request that they send again, so the same body twice is stored twice. Answers with
//! counts; 400 where no line was good. Fails: as [`Failure::http`] says.

use std::borrow::Cow;
use std::fmt;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::post;
use http::request::Parts;
use http::{StatusCode, header};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::json;
use serde_json::value::RawValue;

use crate::decode::{DecodeError, Protocol};
use crate::failure::Failure;
use crate::http::encoding;
use crate::inflate::Encoding;
use crate::intake::Collector;
use crate::json_text::Borrowed;
use crate::push::{answer, receive, refusal};
use crate::record::{Attribute, Attributes, LogRecord, Resource, Text, Value};
use crate::rows::Builder;
use crate::rows::tally::Reason;
use crate::structured::{BadTime, Times, push, shape};

impl Collector {
    /// `POST /api/watchfire/v1/logs`. Takes the principal from the request's extensions; without one it answers 401.
    pub(crate) fn ndjson_router(&self) -> Router {
        Router::new().route("/api/watchfire/v1/logs", post(logs)).with_state(self.clone())
    }
}

async fn logs(State(collector): State<Collector>, request: Request) -> Response {
    let respond = |status, body: serde_json::Value| answer(&collector, ("ndjson", "logs"), status, "application/json", body.to_string());
    match receive(&collector, request, what).await {
        Ok(accepted) => {
            let kept = accepted.records.saturating_sub(accepted.rejected);
            let status = if kept == 0 && accepted.rejected > 0 { StatusCode::BAD_REQUEST } else { StatusCode::OK };
            let errors: Vec<_> = accepted.details.iter().map(|(line, error)| json!({ "line": line, "error": error })).collect();
            respond(status, json!({ "accepted": kept, "rejected": accepted.rejected, "errors": errors }))
        }
        Err(failure) => refusal(respond(failure.http(), json!({ "error": failure.to_string() })), &failure),
    }
}

/// Whatever its content type says: senders name many, and curl calls everything a form.
fn what(parts: &Parts) -> Result<(Protocol, Encoding), Failure> {
    Ok((Protocol::Ndjson, encoding(&parts.headers, header::CONTENT_ENCODING.as_str())?))
}

/// Why a line is not a log record.
#[derive(Debug, thiserror::Error)]
enum LineError {
    #[error("not JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("not UTF-8")]
    Utf8,
    #[error("neither an object nor a string")]
    Kind,
    #[error(transparent)]
    Time(#[from] BadTime),
}

/// Reads a request into the builder's rows.
pub(crate) fn read<'a>(body: &'a [u8], to: &mut Builder<'a, '_>) -> Result<(), DecodeError> {
    let (mut record, mut service) = (LogRecord::default(), None);
    let mut entered = false;
    for (number, bytes) in (1u64..).zip(body.split(|byte| *byte == b'\n')) {
        let bytes = bytes.trim_ascii();
        if bytes.is_empty() {
            continue;
        }
        record.clear();
        let named = match line(bytes, to.limits().attributes, &mut record) {
            Ok(named) => named,
            Err(error) => {
                to.reject(Reason::Malformed)?;
                to.tally().detail(number, || error.to_string());
                continue;
            }
        };
        if !std::mem::replace(&mut entered, true) || named != service {
            let list = named.iter().map(|name| Attribute::text("service.name", name.clone())).collect::<Vec<_>>();
            to.enter_resource(Resource { attributes: list.into(), ..Resource::default() });
            service = named;
        }
        let before = to.tally().rejected_total();
        to.log(&mut record)?;
        if to.tally().rejected_total() > before {
            let why = to.tally().last_sentence();
            to.tally().detail(number, || why.to_owned());
        }
    }
    Ok(())
}

/// Reads a line into the record; gives the service that it names.
fn line<'a>(bytes: &'a [u8], limit: usize, record: &mut LogRecord<'a>) -> Result<Option<Text<'a>>, LineError> {
    let text = std::str::from_utf8(bytes).map_err(|_| LineError::Utf8)?;
    match bytes.first() {
        Some(b'"') => {
            record.body = Value::Text(string(text)?);
            Ok(None)
        }
        Some(b'{') => {
            let mut json = serde_json::Deserializer::from_str(text);
            Object { to: &mut record.attributes, limit }.deserialize(&mut json)?;
            json.end()?;
            Ok(shape(record, Times::AreTheRecords)?)
        }
        _ => {
            serde_json::from_str::<&RawValue>(text)?;
            Err(LineError::Kind)
        }
    }
}

/// An object, read key by key.
struct Object<'s, 'a> {
    to: &'s mut Attributes<'a>,
    limit: usize,
}

impl<'a> DeserializeSeed<'a> for Object<'_, 'a> {
    type Value = ();
    fn deserialize<D: Deserializer<'a>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'a> Visitor<'a> for Object<'_, 'a> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }
    fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some((key, raw)) = map.next_entry::<Borrowed<'a>, &'a RawValue>()? {
            let value = value(raw.get()).map_err(serde::de::Error::custom)?;
            if let Some(value) = value {
                push(self.to, Attribute { key: key.0, value }, self.limit);
            }
        }
        Ok(())
    }
}

fn string(json: &str) -> Result<Text<'_>, serde_json::Error> {
    serde_json::from_str::<Borrowed<'_>>(json).map(|text| text.0)
}

/// A value as attributes hold it; `None` for null. Lists and objects stay JSON text.
fn value(raw: &str) -> Result<Option<Value<'_>>, serde_json::Error> {
    Ok(match raw.as_bytes().first() {
        Some(b'"') => Some(Value::Text(string(raw)?)),
        Some(b'n') | None => None,
        Some(b't') => Some(Value::Bool(true)),
        Some(b'f') => Some(Value::Bool(false)),
        Some(b'{' | b'[') => Some(Value::Text(Cow::Borrowed(raw))),
        Some(_) => Some(match raw.parse() {
            Ok(number) => Value::Int(number),
            // Integers past 64 bits keep their digits.
            Err(_) if raw.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') => Value::Text(Cow::Borrowed(raw)),
            Err(_) => Value::Double(serde_json::from_str(raw)?),
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_line(text: &str) -> Result<(Option<String>, LogRecord<'_>), String> {
        let mut record = LogRecord::default();
        let service = line(text.as_bytes(), 10, &mut record).map_err(|error| error.to_string())?;
        Ok((service.map(Cow::into_owned), record))
    }

    #[test]
    fn a_line_is_an_object_or_a_string() {
        let (service, record) = read_line(
            r#"{"time":"2026-03-01T00:00:00Z","level":"error","msg":"a\"b","service":"shop","n":1,"f":1.5,"big":18446744073709551616,"b":true,"z":null,"o":{"x":[1, 2]}}"#,
        )
        .unwrap();
        assert_eq!((service.as_deref(), record.severity, record.body.text().as_ref()), (Some("shop"), 17, "a\"b"));
        let rest: Vec<_> = record.attributes.list.iter().map(|pair| format!("{}={}", pair.key, pair.value.text())).collect();
        assert_eq!(rest, ["n=1", "f=1.5", "big=18446744073709551616", "b=true", "o={\"x\":[1, 2]}"]);
        assert_eq!(read_line(r#""just \u00e9 text""#).unwrap().1.body.text(), "just é text");
    }

    #[test]
    fn what_is_wrong_with_a_line_is_said() {
        for (text, words) in [
            ("plain text", "not JSON: expected value at line 1 column 1"),
            ("{\"a\":1", "not JSON: EOF"),
            ("{\"a\":1} {", "not JSON: trailing characters"),
            ("[1]", "neither an object nor a string"),
            ("17", "neither an object nor a string"),
            ("\"open", "not JSON: EOF"),
            (r#"{"ts":"noon"}"#, "`ts` is `noon`, which is no time"),
        ] {
            let error = read_line(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        let _ = read_line(&deep);
    }

    proptest::proptest! {
        #[test]
        fn no_line_makes_it_panic(text in "[{}\\[\\]\":,a0-9.e\\\\unt -]{0,40}", bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..40)) {
            let _ = line(text.as_bytes(), 3, &mut LogRecord::default());
            let _ = line(&bytes, 3, &mut LogRecord::default());
        }
    }
}
