//! `io.prometheus.write.v2.Request`. Field numbers are those of Prometheus's `prompb/io/prometheus/write/v2/types.proto`; the
//! time at which a series began to count stands in the series (release candidate 3) or in the sample (release candidate 4).

use super::{EXEMPLAR_LABELS, Labels, histogram, number};
use crate::decode::DecodeError;
use crate::decode::protobuf::{Field, Message, WireError};
use crate::family::{Family, FamilyKind};
use crate::rows::Builder;
use crate::rows::named::Named;
use crate::rows::tally::Reason;

/// Reads a request into the builder's rows. The symbols may stand anywhere, so they are read first.
pub(crate) fn v2<'a>(body: &'a [u8], to: &mut Builder<'a, '_>) -> Result<(), DecodeError> {
    let (mut message, mut count) = (Message::new("Request", body), 0);
    while let Some(field) = message.next()? {
        match field.number {
            4 => count += 1,
            // Nothing of it would be read, and all of it be acknowledged.
            1..=3 => return Err(field.error("a request of version 1; its content type is proto=prometheus.WriteRequest").into()),
            _ => {}
        }
    }
    to.hold((count * size_of::<&str>()) as u64)?;
    let mut symbols = Vec::with_capacity(count);
    let mut message = Message::new("Request", body);
    while let Some(field) = message.next()? {
        if field.number == 4 {
            symbols.push(field.str()?);
        }
    }
    let mut reader = Reader { symbols, refs: Vec::new(), labels: Labels::default(), described: (0, 0, 0), family: Family::default() };
    let mut message = Message::new("Request", body);
    while let Some(field) = message.next()? {
        if field.number == 5 {
            reader.series(&field, to)?;
        }
    }
    Ok(())
}

struct Reader<'a> {
    symbols: Vec<&'a str>,
    refs: Vec<u32>,
    labels: Labels<'a>,
    /// Type, help and unit of `family`, as they were sent.
    described: (i32, u32, u32),
    family: Family<'a>,
}

/// What the fields of a series say about all of its samples.
#[derive(Default)]
struct Head {
    metadata: (i32, u32, u32),
    start: i64,
    records: u64,
    exemplars: bool,
}

impl<'a> Reader<'a> {
    fn series(&mut self, field: &Field<'a>, to: &mut Builder<'a, '_>) -> Result<(), DecodeError> {
        let head = self.head(field, to.limits().labels)?;
        if let Err(reason) = self.resolve(&head, to.limits().labels, to.limits().name) {
            to.refuse(reason, head.records);
            return Ok(());
        }
        let Some(identity) = to.identity(&mut self.labels.list, head.records) else { return Ok(()) };
        let series = Named { labels: &self.labels.list, identity, family: &self.family };
        let mut message = field.message("TimeSeries")?;
        while let Some(field) = message.next()? {
            match field.number {
                2 => number(&field, head.start, &series, to)?,
                3 => histogram(&field, head.start, &series, to)?,
                _ => {}
            }
        }
        let mut message = field.message("TimeSeries")?;
        while head.exemplars
            && let Some(field) = message.next()?
        {
            if field.number == 4 {
                exemplar(&field, &self.symbols, &series, to)?;
            }
        }
        Ok(())
    }

    fn head(&mut self, field: &Field<'a>, limit: usize) -> Result<Head, WireError> {
        self.refs.clear();
        let (mut message, mut head) = (field.message("TimeSeries")?, Head::default());
        // Of references past the limit only their being there counts.
        let most = 2 * (limit + super::SLACK + 1);
        while let Some(field) = message.next()? {
            match field.number {
                1 => read_refs(&field, most, &mut self.refs)?,
                2 | 3 => head.records += 1,
                4 => head.exemplars = true,
                5 => head.metadata = metadata(field.message("Metadata")?)?,
                6 => head.start = field.varint()? as i64,
                _ => {}
            }
        }
        Ok(head)
    }

    /// The labels and the family behind the references.
    fn resolve(&mut self, head: &Head, limit: usize, longest: usize) -> Result<(), Reason> {
        self.labels.clear();
        resolve(&self.refs, &self.symbols, limit, &mut self.labels)?;
        if self.labels.cut {
            return Err(Reason::TooManyLabels);
        }
        if self.described != head.metadata {
            let (kind, help, unit) = head.metadata;
            let symbol = |at: u32| self.symbols.get(at as usize).copied().or((at == 0).then_some("")).ok_or(Reason::BadReference);
            let short = |text: &'a str| &text[..text.floor_char_boundary(longest)];
            self.family = Family::new(FamilyKind::numbered(kind), short(symbol(help)?), short(symbol(unit)?));
            self.described = head.metadata;
        }
        Ok(())
    }
}

fn read_refs(field: &Field<'_>, most: usize, to: &mut Vec<u32>) -> Result<(), WireError> {
    field.varints(usize::MAX, |reference| {
        if to.len() < most {
            // A reference of more than 32 bits is past the end of any list.
            to.push(u32::try_from(reference).unwrap_or(u32::MAX));
        }
        0
    })
}

fn resolve<'a>(refs: &[u32], symbols: &[&'a str], limit: usize, to: &mut Labels<'a>) -> Result<(), Reason> {
    let (pairs, rest) = refs.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(Reason::BadReference);
    }
    for [name, value] in pairs {
        let (Some(name), Some(value)) = (symbols.get(*name as usize), symbols.get(*value as usize)) else {
            return Err(Reason::BadReference);
        };
        to.push(name, value, limit);
    }
    Ok(())
}

fn metadata(mut message: Message<'_>) -> Result<(i32, u32, u32), WireError> {
    let mut found = (0, 0, 0);
    while let Some(field) = message.next()? {
        match field.number {
            1 => found.0 = field.int32()?,
            3 => found.1 = field.uint32()?,
            4 => found.2 = field.uint32()?,
            _ => {}
        }
    }
    Ok(found)
}

fn exemplar(field: &Field<'_>, symbols: &[&str], series: &Named<'_>, to: &mut Builder<'_, '_>) -> Result<(), WireError> {
    let (mut message, mut refs, mut value, mut at) = (field.message("Exemplar")?, Vec::new(), 0.0, 0);
    while let Some(field) = message.next()? {
        match field.number {
            1 => read_refs(&field, 2 * EXEMPLAR_LABELS, &mut refs)?,
            2 => value = field.double()?,
            3 => at = field.varint()? as i64,
            _ => {}
        }
    }
    let mut labels = Labels::default();
    match resolve(&refs, symbols, EXEMPLAR_LABELS, &mut labels) {
        Ok(()) => to.named_exemplar(series, at, value, labels.list),
        Err(_) => to.tally().cut(crate::rows::tally::Part::Exemplar, 1),
    }
    Ok(())
}
