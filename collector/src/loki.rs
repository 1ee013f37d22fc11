//! Loki's push API, `POST /loki/api/v1/push`: JSON, or protobuf packed with snappy; gzip besides. Labels become the resource,
//! structured metadata attributes, and the level among either the severity. Answers 204; 400 with a sentence where entries can
//! never be stored (as Loki does: the others are stored); errors in plain text. Fails: as [`Failure::http`] says.

mod json;
mod labels;
mod protobuf;

use std::borrow::Cow;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::post;
use http::request::Parts;
use http::{StatusCode, header};

use crate::decode::{DecodeError, Format, Protocol};
use crate::failure::Failure;
use crate::http::encoding;
use crate::inflate::Encoding;
use crate::intake::Collector;
use crate::push::{answer, content_type, receive, refusal};
use crate::record::{Attribute, Attributes, LogRecord, Resource, Text};
use crate::rows::Builder;
use crate::severity;
pub(crate) use labels::LabelError;

/// Labels that name the service, in the order in which they are asked.
const SERVICE: [&str; 4] = ["service_name", "service", "app", "job"];
/// Labels and metadata that tell the level, in the order in which they are asked.
const LEVEL: [&str; 6] = ["level", "severity", "detected_level", "severity_text", "log_level", "lvl"];
const TRACE: [&str; 4] = ["trace_id", "traceID", "traceId", "traceid"];
const SPAN: [&str; 4] = ["span_id", "spanID", "spanId", "spanid"];

impl Collector {
    /// `POST /loki/api/v1/push`. Takes the principal from the request's extensions; without one it answers 401.
    pub(crate) fn loki_router(&self) -> Router {
        Router::new().route("/loki/api/v1/push", post(push)).with_state(self.clone())
    }
}

async fn push(State(collector): State<Collector>, request: Request) -> Response {
    let respond = |status, text| answer(&collector, ("loki", "logs"), status, "text/plain; charset=utf-8", text);
    match receive(&collector, request, what).await {
        Ok(accepted) => match accepted.message {
            None => respond(StatusCode::NO_CONTENT, String::new()),
            Some(message) => respond(StatusCode::BAD_REQUEST, format!("{message}; the others are stored\n")),
        },
        Err(failure) => refusal(respond(failure.http(), format!("{failure}\n")), &failure),
    }
}

fn what(parts: &Parts) -> Result<(Protocol, Encoding), Failure> {
    let named = parts.headers.get(header::CONTENT_ENCODING).map_or("", |value| value.to_str().unwrap_or("?"));
    match content_type(parts).as_str() {
        "application/json" => Ok((Protocol::Loki(Format::Json), encoding(&parts.headers, header::CONTENT_ENCODING.as_str())?)),
        // Snappy belongs to the format: agents send it with the header or without.
        "application/x-protobuf" if ["", "identity", "snappy"].iter().any(|known| named.eq_ignore_ascii_case(known)) => {
            Ok((Protocol::Loki(Format::Protobuf), Encoding::Snappy))
        }
        "application/x-protobuf" => Err(Failure::AroundSnappy),
        other => Err(Failure::ContentType(other.chars().filter(|c| !c.is_control()).take(64).collect())),
    }
}

/// Reads a request into the builder's rows.
pub(crate) fn read<'a>(format: Format, body: &'a [u8], to: &mut Builder<'a, '_>) -> Result<(), DecodeError> {
    match format {
        Format::Json => json::read(body, to),
        Format::Protobuf => protobuf::read(body, to),
    }
}

/// What a stream's labels say about all of its entries.
#[derive(Default)]
struct Stream {
    severity: i32,
    severity_text: String,
}

impl Stream {
    /// Enters the resource that the labels describe.
    fn enter<'a>(mut labels: Attributes<'a>, to: &mut Builder<'a, '_>) -> Self {
        let level = LEVEL.iter().map(|key| labels.text(key)).find(|level| !level.is_empty()).unwrap_or_default().into_owned();
        let service = SERVICE.iter().map(|key| labels.text(key)).find(|name| !name.is_empty()).map(Cow::into_owned);
        if let Some(service) = service.filter(|_| labels.get("service.name").is_none()) {
            labels.list.push(Attribute::text("service.name", service));
        }
        to.enter_resource(Resource { attributes: labels, ..Resource::default() });
        Stream { severity: severity::of_word(&level).unwrap_or(0), severity_text: level }
    }

    /// Adds an entry whose time, line and metadata are in the record.
    fn add<'a>(&self, record: &mut LogRecord<'a>, to: &mut Builder<'a, '_>) -> Result<(), DecodeError> {
        let level = LEVEL.iter().map(|key| record.attributes.text(key)).find(|level| !level.is_empty()).map(Cow::into_owned);
        let level: Text<'a> = level.map_or_else(|| Cow::Owned(self.severity_text.clone()), Cow::Owned);
        record.severity = severity::of_word(&level).unwrap_or(self.severity);
        record.severity_text = level;
        record.trace_id = id(&mut record.attributes, &TRACE, 16);
        record.span_id = id(&mut record.attributes, &SPAN, 8);
        Ok(to.log(record)?)
    }
}

/// Takes an id in hex out of the metadata; what is none stays there.
fn id(metadata: &mut Attributes<'_>, keys: &[&str], length: usize) -> Cow<'static, [u8]> {
    let fits = |text: &str| hex::decode(text).ok().filter(|id| id.len() == length && id.iter().any(|byte| *byte != 0));
    let found = metadata.list.iter().enumerate().find_map(|(at, attribute)| {
        let known = keys.contains(&&*attribute.key);
        known.then(|| fits(&attribute.value.text())).flatten().map(|id| (at, id))
    });
    match found {
        Some((at, id)) => {
            metadata.list.remove(at);
            Cow::Owned(id)
        }
        None => Cow::Borrowed(&[]),
    }
}
