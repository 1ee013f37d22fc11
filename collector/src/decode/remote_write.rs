//! Prometheus remote write: `prometheus.WriteRequest` (v1) and `io.prometheus.write.v2.Request` (v2, release candidates 3 and 4),
//! read straight into rows. Fails: bytes that are not the message refuse the request; what is wrong with a single series or
//! sample refuses that one only, and the rest is stored.

mod native;
mod v1;
mod v2;

use std::borrow::Cow;

pub(crate) use v1::v1;
pub(crate) use v2::v2;

use crate::decode::DecodeError;
use crate::decode::protobuf::{Field, WireError};
use crate::rows::Builder;
use crate::rows::named::Named;

/// The versions of remote write, by their messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// `prometheus.WriteRequest`.
    V1,
    /// `io.prometheus.write.v2.Request`.
    V2,
}

/// A number sample; `start` is when its series began to count, 0 where unknown. Milliseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    value: f64,
    at: i64,
    start: i64,
}

impl Sample {
    fn read(field: &Field<'_>) -> Result<Self, WireError> {
        let (mut message, mut sample) = (field.message("Sample")?, Sample::default());
        while let Some(field) = message.next()? {
            match field.number {
                1 => sample.value = field.double()?,
                2 => sample.at = field.varint()? as i64,
                3 => sample.start = field.varint()? as i64,
                _ => {}
            }
        }
        Ok(sample)
    }
}

/// Labels of a series or an exemplar, read up to a limit; empty values are absent labels.
#[derive(Default)]
struct Labels<'a> {
    list: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// Whether there were more than are kept.
    cut: bool,
}

/// Labels past the limit that are still read, so that the refusal can name what is wrong with them first.
const SLACK: usize = 8;

impl<'a> Labels<'a> {
    fn clear(&mut self) {
        self.list.clear();
        self.cut = false;
    }
    fn push(&mut self, name: &'a str, value: &'a str, limit: usize) {
        if value.is_empty() && !name.is_empty() {
            return;
        }
        if self.list.len() < limit + SLACK {
            self.list.push((Cow::Borrowed(name), Cow::Borrowed(value)));
        } else {
            self.cut = true;
        }
    }
}

/// Labels of an exemplar, which are read whole up to this many.
const EXEMPLAR_LABELS: usize = 64;

/// Adds a number sample; `start` is that of the series.
fn number(field: &Field<'_>, start: i64, series: &Named<'_>, to: &mut Builder<'_, '_>) -> Result<(), DecodeError> {
    let sample = Sample::read(field)?;
    to.number(series, sample.at, if sample.start == 0 { start } else { sample.start }, sample.value)?;
    Ok(())
}

/// Adds a native histogram sample; `start` is that of the series.
fn histogram(field: &Field<'_>, start: i64, series: &Named<'_>, to: &mut Builder<'_, '_>) -> Result<(), DecodeError> {
    let raw = native::Raw::read(field)?;
    match raw.sample() {
        Ok(mut sample) => {
            to.native(series, raw.at, if raw.start == 0 { start } else { raw.start }, &mut sample)?;
        }
        Err(reason) => to.refuse(reason, 1),
    }
    Ok(())
}
