//! `prometheus.WriteRequest`. Field numbers are those of Prometheus's `prompb/remote.proto` and `types.proto`.

use std::collections::HashMap;
use std::sync::Arc;

use super::{EXEMPLAR_LABELS, Labels, histogram, number};
use crate::decode::DecodeError;
use crate::decode::protobuf::{Field, Message, WireError};
use crate::family::{Family, FamilyKind};
use crate::rows::Builder;
use crate::rows::named::Named;
use crate::rows::tally::Reason;
use model::labels::METRIC_NAME;

/// Reads a request into the builder's rows: metadata first, so that series of the same request have it.
pub(crate) fn v1<'a>(body: &'a [u8], to: &mut Builder<'a, '_>) -> Result<(), DecodeError> {
    let mut message = Message::new("WriteRequest", body);
    while let Some(field) = message.next()? {
        match field.number {
            3 => metadata(field.message("MetricMetadata")?, to)?,
            // Nothing of it would be read, and all of it be acknowledged.
            4 | 5 => return Err(field.error("a request of version 2; its content type is proto=io.prometheus.write.v2.Request").into()),
            _ => {}
        }
    }
    let mut reader = Reader { labels: Labels::default(), families: HashMap::new() };
    let mut message = Message::new("WriteRequest", body);
    while let Some(field) = message.next()? {
        if field.number == 1 {
            reader.series(&field, to)?;
        }
    }
    Ok(())
}

fn metadata(mut message: Message<'_>, to: &mut Builder<'_, '_>) -> Result<(), WireError> {
    let (mut kind, mut name, mut help, mut unit) = (FamilyKind::Unknown, "", "", "");
    while let Some(field) = message.next()? {
        match field.number {
            1 => kind = FamilyKind::numbered(field.int32()?),
            2 => name = field.str()?,
            4 => help = field.str()?,
            5 => unit = field.str()?,
            _ => {}
        }
    }
    let limit = to.limits().name;
    if !name.is_empty() && name.len() <= limit {
        to.families().learn(to.tenant(), name, kind, &help[..help.floor_char_boundary(limit)], &unit[..unit.floor_char_boundary(limit)]);
    }
    Ok(())
}

struct Reader<'a> {
    labels: Labels<'a>,
    /// What is known of the families of this request's series, by name.
    families: HashMap<&'a str, Arc<Family<'static>>>,
}

impl<'a> Reader<'a> {
    /// A time series: its labels may stand anywhere in it, so they are read first.
    fn series(&mut self, field: &Field<'a>, to: &mut Builder<'a, '_>) -> Result<(), DecodeError> {
        self.labels.clear();
        let (mut message, mut records) = (field.message("TimeSeries")?, 0);
        let limit = to.limits().labels;
        while let Some(field) = message.next()? {
            match field.number {
                1 => label(&field, limit, &mut self.labels)?,
                2 | 4 => records += 1,
                _ => {}
            }
        }
        if self.labels.cut {
            to.refuse(Reason::TooManyLabels, records);
            return Ok(());
        }
        let family = self.family(to);
        let Some(identity) = to.identity(&mut self.labels.list, records) else { return Ok(()) };
        let series = Named { labels: &self.labels.list, identity, family: &family };
        let mut message = field.message("TimeSeries")?;
        let mut exemplars = false;
        while let Some(field) = message.next()? {
            match field.number {
                2 => number(&field, 0, &series, to)?,
                3 => exemplars = true,
                4 => histogram(&field, 0, &series, to)?,
                _ => {}
            }
        }
        let mut message = field.message("TimeSeries")?;
        while exemplars && let Some(field) = message.next()? {
            if field.number == 3 {
                exemplar(&field, &series, to)?;
            }
        }
        Ok(())
    }

    fn family(&mut self, to: &Builder<'_, '_>) -> Arc<Family<'static>> {
        let name = self.labels.list.iter().find_map(|(name, value)| match (name.as_ref(), value) {
            (METRIC_NAME, std::borrow::Cow::Borrowed(value)) => Some(*value),
            _ => None,
        });
        let Some(name) = name else { return Arc::default() };
        let found = self.families.entry(name);
        Arc::clone(found.or_insert_with(|| to.families().of_series(to.tenant(), name).unwrap_or_default()))
    }
}

fn label<'a>(field: &Field<'a>, limit: usize, to: &mut Labels<'a>) -> Result<(), WireError> {
    let (mut message, mut name, mut value) = (field.message("Label")?, "", "");
    while let Some(field) = message.next()? {
        match field.number {
            1 => name = field.str()?,
            2 => value = field.str()?,
            _ => {}
        }
    }
    to.push(name, value, limit);
    Ok(())
}

fn exemplar(field: &Field<'_>, series: &Named<'_>, to: &mut Builder<'_, '_>) -> Result<(), WireError> {
    let (mut message, mut labels, mut value, mut at) = (field.message("Exemplar")?, Labels::default(), 0.0, 0);
    while let Some(field) = message.next()? {
        match field.number {
            1 => label(&field, EXEMPLAR_LABELS, &mut labels)?,
            2 => value = field.double()?,
            3 => at = field.varint()? as i64,
            _ => {}
        }
    }
    to.named_exemplar(series, at, value, labels.list);
    Ok(())
}
