//! Zipkin v2, `POST /api/v2/spans`: a list of spans in JSON. Tags become attributes, annotations events, the local endpoint the
//! resource, the tag `error` the status. Ids of 64 bits are filled up with zeros. A shared span (the server's half, which has
//! the id of the client's) is a row of its own under that id, marked by `zipkin.shared`. Answers 202, and with a sentence where
//! spans can never be stored; errors in plain text. Fails: as [`Failure::http`] says.

mod span;

use std::fmt;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::post;
use http::request::Parts;
use http::{StatusCode, header};
use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};

use crate::admission::Full;
use crate::decode::{DecodeError, Protocol};
use crate::failure::Failure;
use crate::http::encoding;
use crate::inflate::Encoding;
use crate::intake::Collector;
use crate::push::{answer, content_type, receive, refusal};
use crate::record::Span;
use crate::rows::Builder;
use span::{Around, ZipkinSpan};

impl Collector {
    /// `POST /api/v2/spans`. Takes the principal from the request's extensions; without one it answers 401.
    pub fn zipkin_router(&self) -> Router {
        Router::new().route("/api/v2/spans", post(spans)).with_state(self.clone())
    }
}

async fn spans(State(collector): State<Collector>, request: Request) -> Response {
    let respond = |status, text| answer(&collector, ("zipkin", "traces"), status, "text/plain; charset=utf-8", text);
    match receive(&collector, request, what).await {
        Ok(accepted) => respond(StatusCode::ACCEPTED, accepted.message.map_or_else(String::new, |message| format!("{message}\n"))),
        Err(failure) => refusal(respond(failure.http(), format!("{failure}\n")), &failure),
    }
}

/// JSON, also where no content type is named: Zipkin's own server takes it so.
fn what(parts: &Parts) -> Result<(Protocol, Encoding), Failure> {
    match content_type(parts).as_str() {
        "application/json" | "" => Ok((Protocol::Zipkin, encoding(&parts.headers, header::CONTENT_ENCODING.as_str())?)),
        other => Err(Failure::NotJson(other.chars().filter(|c| !c.is_control()).take(64).collect())),
    }
}

/// Reads a request into the builder's rows.
pub(crate) fn read<'a>(body: &'a [u8], to: &mut Builder<'a, '_>) -> Result<(), DecodeError> {
    let text = std::str::from_utf8(body)?;
    let mut json = serde_json::Deserializer::from_str(text);
    let mut full = None;
    let read = Spans { to, full: &mut full }.deserialize(&mut json).and_then(|()| json.end());
    match full {
        Some(full) => Err(DecodeError::Full(full)),
        None => read.map_err(DecodeError::Json),
    }
}

/// The list, read span by span.
struct Spans<'s, 'a, 'r> {
    to: &'s mut Builder<'a, 'r>,
    /// Why reading was given up, where it was not the text's fault.
    full: &'s mut Option<Full>,
}

impl<'a> DeserializeSeed<'a> for Spans<'_, 'a, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'a>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'a> Visitor<'a> for Spans<'_, 'a, '_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of spans")
    }
    fn visit_seq<S: SeqAccess<'a>>(self, mut list: S) -> Result<(), S::Error> {
        let (mut record, mut around) = (Span::default(), None::<Around<'a>>);
        while let Some(span) = list.next_element::<ZipkinSpan<'a>>()? {
            record.clear();
            let here = span.record(&mut record);
            if around.as_ref() != Some(&here) {
                here.clone().enter(self.to);
                around = Some(here);
            }
            if let Err(full) = self.to.span(&mut record) {
                *self.full = Some(full);
                return Err(S::Error::custom("no memory left"));
            }
        }
        Ok(())
    }
}
