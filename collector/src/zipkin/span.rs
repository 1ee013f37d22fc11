//! A span as Zipkin v2 writes it, and what becomes of it. Pure. Fails: while reading, where a field has another type.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};

use crate::json_text::{Borrowed, Pairs};
use crate::record::{Attribute, Attributes, Event, Resource, Scope, Span, Text, Value};
use crate::rows::Builder;

/// Tags and annotations of one span that are read at most; the limits of the configuration come after it.
const MOST: usize = 4_096;

/// The fields of a span. Absent and null are the same.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ZipkinSpan<'a> {
    #[serde(borrow)]
    trace_id: Option<Borrowed<'a>>,
    #[serde(borrow)]
    id: Option<Borrowed<'a>>,
    #[serde(borrow)]
    parent_id: Option<Borrowed<'a>>,
    #[serde(borrow)]
    name: Option<Borrowed<'a>>,
    #[serde(borrow)]
    kind: Option<Borrowed<'a>>,
    timestamp: Option<Micros>,
    duration: Option<Micros>,
    #[serde(borrow)]
    local_endpoint: Option<Endpoint<'a>>,
    #[serde(borrow)]
    remote_endpoint: Option<Endpoint<'a>>,
    #[serde(borrow)]
    annotations: Annotations<'a>,
    #[serde(borrow)]
    tags: Tags<'a>,
    debug: Option<bool>,
    shared: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Endpoint<'a> {
    #[serde(borrow)]
    service_name: Option<Borrowed<'a>>,
    #[serde(borrow)]
    ipv4: Option<Borrowed<'a>>,
    #[serde(borrow)]
    ipv6: Option<Borrowed<'a>>,
    port: Option<i64>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Annotation<'a> {
    timestamp: Option<Micros>,
    #[serde(borrow)]
    value: Option<Borrowed<'a>>,
}

/// Microseconds, since 1970 or of a duration: a whole number, or a float with nothing behind the point.
#[derive(Clone, Copy, Default)]
struct Micros(u64);

impl Micros {
    fn nanos(self) -> u64 {
        self.0.saturating_mul(1_000)
    }
}

impl<'de> Deserialize<'de> for Micros {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct Reading;
        impl Visitor<'_> for Reading {
            type Value = Micros;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of microseconds")
            }
            fn visit_u64<E>(self, number: u64) -> Result<Micros, E> {
                Ok(Micros(number))
            }
            fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Micros, E> {
                // Negative numbers, which only floats and signed integers can be, are none.
                if (0.0..1.8e19).contains(&number) {
                    Ok(Micros(number as u64))
                } else {
                    Err(E::custom("a number of microseconds is out of range"))
                }
            }
        }
        json.deserialize_any(Reading)
    }
}

/// Annotations, of which so many are read and the others counted.
#[derive(Default)]
struct Annotations<'a> {
    list: Vec<Annotation<'a>>,
    cut: u32,
}

impl<'de: 'a, 'a> Deserialize<'de> for Annotations<'a> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct Reading;
        impl<'de> Visitor<'de> for Reading {
            type Value = Annotations<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of annotations")
            }
            fn visit_unit<E>(self) -> Result<Annotations<'de>, E> {
                Ok(Annotations::default())
            }
            fn visit_seq<S: SeqAccess<'de>>(self, mut items: S) -> Result<Annotations<'de>, S::Error> {
                let mut found = Annotations::default();
                while found.list.len() < MOST {
                    let Some(annotation) = items.next_element()? else { return Ok(found) };
                    found.list.push(annotation);
                }
                while items.next_element::<IgnoredAny>()?.is_some() {
                    found.cut = found.cut.saturating_add(1);
                }
                Ok(found)
            }
        }
        json.deserialize_any(Reading)
    }
}

#[derive(Default)]
struct Tags<'a>(Attributes<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for Tags<'a> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        serde::de::DeserializeSeed::deserialize(Pairs(MOST), json).map(Tags)
    }
}

/// What stands around a span: its service and its scope.
#[derive(Clone, PartialEq)]
pub(super) struct Around<'a> {
    service: Text<'a>,
    scope: [Text<'a>; 2],
}

impl<'a> Around<'a> {
    /// Enters the resource and the scope.
    pub(super) fn enter(self, to: &mut Builder<'a, '_>) {
        let list = if self.service.is_empty() { Vec::new() } else { vec![Attribute::text("service.name", self.service)] };
        to.enter_resource(Resource { attributes: list.into(), ..Resource::default() });
        let [name, version] = self.scope;
        to.enter_scope(Scope { name, version, ..Scope::default() });
    }
}

/// An id of so many bytes from hex digits, filled up with zeros in front; empty where it is none.
fn id(text: Option<Borrowed<'_>>, length: usize) -> Cow<'static, [u8]> {
    let text = text.map(|text| text.0).unwrap_or_default();
    let fits = !text.is_empty() && text.len() <= 2 * length;
    let padded = format!("{text:0>width$}", width = 2 * length);
    Cow::Owned(hex::decode(padded).ok().filter(|_| fits).unwrap_or_default())
}

/// Takes a tag out of the tags.
fn take<'a>(tags: &mut Attributes<'a>, key: &str) -> Option<Text<'a>> {
    let at = tags.list.iter().position(|tag| tag.key == key)?;
    Some(tags.list.remove(at).value.into_text())
}

impl<'a> ZipkinSpan<'a> {
    /// Writes the span as a record; gives what stands around it.
    pub(super) fn record(self, to: &mut Span<'a>) -> Around<'a> {
        to.trace_id = id(self.trace_id, 16);
        to.span_id = id(self.id, 8);
        to.parent_span_id = match self.parent_id {
            // A parent of zeros is none.
            Some(parent) if !parent.0.is_empty() => match id(Some(parent), 8) {
                bytes if bytes.len() == 8 && bytes.iter().all(|byte| *byte == 0) => Cow::Borrowed(&[]),
                bytes if bytes.is_empty() => Cow::Borrowed(b"?"),
                bytes => bytes,
            },
            _ => Cow::Borrowed(&[]),
        };
        to.name = self.name.map(|name| name.0).unwrap_or_default();
        to.kind = kind(self.kind.as_ref().map_or("", |kind| &kind.0));
        let first = self.annotations.list.iter().filter_map(|annotation| annotation.timestamp).map(|time| time.0).min();
        let start = self.timestamp.map(|time| time.0).filter(|time| *time > 0).or(first).map_or(0, |micros| Micros(micros).nanos());
        to.start = start;
        to.end = start.saturating_add(self.duration.unwrap_or_default().nanos());
        let mut tags = self.tags.0;
        status(&mut tags, to);
        to.trace_state = take(&mut tags, "w3c.tracestate").unwrap_or_default();
        let scope = ["name", "version"].map(|part| {
            let (new, old) = (take(&mut tags, &format!("otel.scope.{part}")), take(&mut tags, &format!("otel.library.{part}")));
            new.or(old).unwrap_or_default()
        });
        for (flag, key) in [(self.shared, "zipkin.shared"), (self.debug, "zipkin.debug")] {
            if flag == Some(true) {
                tags.list.push(Attribute { key: Cow::Borrowed(key), value: Value::Bool(true) });
            }
        }
        let service = endpoints(self.local_endpoint, self.remote_endpoint, &mut tags);
        to.attributes = tags;
        to.cut_events = self.annotations.cut;
        to.events.extend(self.annotations.list.into_iter().map(|annotation| Event {
            time: annotation.timestamp.unwrap_or_default().nanos(),
            name: annotation.value.map(|value| value.0).unwrap_or_default(),
            ..Event::default()
        }));
        Around { service, scope }
    }
}

/// OTLP's number of a kind; a span without one is internal.
fn kind(name: &str) -> i32 {
    match name {
        "SERVER" => 2,
        "CLIENT" => 3,
        "PRODUCER" => 4,
        "CONSUMER" => 5,
        _ => 1,
    }
}

/// The status: `otel.status_code` where OpenTelemetry's exporter wrote it; else the tag `error` makes an error, whatever its value
/// but `false`.
fn status<'a>(tags: &mut Attributes<'a>, to: &mut Span<'a>) {
    let code = take(tags, "otel.status_code");
    let description = take(tags, "otel.status_description");
    let error = tags.get("error").map(|value| value.text().into_owned());
    to.status = match (code.as_deref(), error.as_deref()) {
        (Some("OK"), _) => 1,
        (Some("ERROR"), _) => 2,
        (_, None | Some("false")) => 0,
        (_, Some(_)) => 2,
    };
    if to.status == 2 {
        let told = error.filter(|text| text != "true").map(Cow::Owned);
        to.status_message = description.or(told).unwrap_or_default();
    }
}

/// Adds what the endpoints say; gives the service.
fn endpoints<'a>(local: Option<Endpoint<'a>>, remote: Option<Endpoint<'a>>, tags: &mut Attributes<'a>) -> Text<'a> {
    let mut service = Cow::Borrowed("");
    for (endpoint, address, port) in
        [(local, "network.local.address", "network.local.port"), (remote, "network.peer.address", "network.peer.port")]
    {
        let Some(endpoint) = endpoint else { continue };
        let name = endpoint.service_name.map(|name| name.0).unwrap_or_default();
        if port == "network.local.port" {
            service = name;
        } else if !name.is_empty() {
            tags.list.push(Attribute::text("peer.service", name));
        }
        if let Some(ip) = endpoint.ipv4.or(endpoint.ipv6) {
            tags.list.push(Attribute::text(address, ip.0));
        }
        if let Some(number) = endpoint.port.filter(|number| *number > 0) {
            tags.list.push(Attribute { key: Cow::Borrowed(port), value: Value::Int(number) });
        }
    }
    service
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<(Span<'_>, String), String> {
        let span: ZipkinSpan<'_> = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let mut record = Span::default();
        let around = span.record(&mut record);
        Ok((record, around.service.into_owned()))
    }

    #[test]
    fn a_whole_span() {
        let (span, service) = read(
            r#"{"traceId":"463ac35c9f6413ad48485a3953bb6124","id":"a2fb4a1d1a96d312","parentId":"1","name":"get /api","kind":"CLIENT",
                "timestamp":1502787600000000,"duration":150000,"shared":true,"debug":false,
                "localEndpoint":{"serviceName":"front","ipv4":"10.0.0.1","port":0},
                "remoteEndpoint":{"serviceName":"back","ipv6":"::1","port":9000},
                "annotations":[{"timestamp":1502787600100000,"value":"retry"}],
                "tags":{"http.method":"GET","error":"500","n":1,"otel.scope.name":"lib"}}"#,
        )
        .unwrap();
        assert_eq!(hex::encode(&span.trace_id), "463ac35c9f6413ad48485a3953bb6124");
        assert_eq!((hex::encode(&span.span_id), hex::encode(&span.parent_span_id)), ("a2fb4a1d1a96d312".into(), "0000000000000001".into()));
        assert_eq!((span.kind, span.start, span.end), (3, 1_502_787_600_000_000_000, 1_502_787_600_150_000_000));
        assert_eq!((span.status, &*span.status_message, service.as_str()), (2, "500", "front"));
        assert_eq!((span.events[0].time, &*span.events[0].name), (1_502_787_600_100_000_000, "retry"));
        let tags: Vec<_> = span.attributes.list.iter().map(|tag| format!("{}={}", tag.key, tag.value.text())).collect();
        assert_eq!(
            tags,
            [
                "http.method=GET",
                "error=500",
                "n=1",
                "zipkin.shared=true",
                "network.local.address=10.0.0.1",
                "peer.service=back",
                "network.peer.address=::1",
                "network.peer.port=9000"
            ]
        );
    }

    #[test]
    fn ids_of_64_bits_are_filled_up_and_bad_ones_are_none() {
        let ids = |trace: &str, id: &str, parent: &str| {
            let (span, _) = read(&format!(r#"{{"traceId":"{trace}","id":"{id}","parentId":"{parent}"}}"#))
                .map(|(s, x)| (s.trace_id.len(), x.len() + s.span_id.len() * 100 + s.parent_span_id.len()))
                .unwrap();
            span
        };
        assert_eq!(ids("48485a3953bb6124", "1", ""), 16);
        let (span, _) = read(r#"{"traceId":"48485A3953bb6124","id":"1f","parentId":"0000000000000000"}"#).unwrap();
        assert_eq!(hex::encode(&span.trace_id), "000000000000000048485a3953bb6124");
        assert_eq!((hex::encode(&span.span_id), span.parent_span_id.len()), ("000000000000001f".to_owned(), 0));
        let (bad, _) = read(r#"{"traceId":"xyz","id":"463ac35c9f6413ad4","parentId":"?"}"#).unwrap();
        assert_eq!((bad.trace_id.len(), bad.span_id.len(), bad.parent_span_id.len()), (0, 0, 1));
        let (none, _) = read("{}").unwrap();
        assert_eq!((none.trace_id.len(), none.span_id.len(), none.start, none.kind), (0, 0, 0, 1));
    }

    #[test]
    fn status_and_absent_times() {
        let status = |tags: &str| {
            let text = format!(r#"{{"tags":{tags},"annotations":[{{"timestamp":7,"value":"a"}},{{"timestamp":5}}]}}"#);
            let (span, _) = read(&text).unwrap();
            (span.status, span.status_message.into_owned(), span.start)
        };
        assert_eq!(status(r#"{"error":""}"#), (2, String::new(), 5_000));
        assert_eq!(status(r#"{"error":"true"}"#), (2, String::new(), 5_000));
        assert_eq!(status(r#"{"error":"false"}"#).0, 0);
        assert_eq!(status(r#"{"otel.status_code":"OK","error":"x"}"#).0, 1);
        assert_eq!(status(r#"{"otel.status_code":"ERROR","otel.status_description":"d","error":"x"}"#), (2, "d".into(), 5_000));
        assert_eq!(status("null").0, 0);
    }

    #[test]
    fn wrong_types_are_told() {
        for (text, words) in [
            (r#"{"timestamp":"1"}"#, "a number of microseconds"),
            (r#"{"timestamp":-1}"#, "a number of microseconds"),
            (r#"{"duration":1e30}"#, "out of range"),
            (r#"{"tags":[]}"#, "an object of texts"),
            (r#"{"annotations":{}}"#, "a list of annotations"),
            (r#"{"id":7}"#, "a text"),
        ] {
            let error = read(text).map(|_| ()).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
