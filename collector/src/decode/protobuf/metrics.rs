//! `ExportMetricsServiceRequest`.

use super::common::{Entered, Levels, push};
use super::{Bounds, Field, MAX_BUCKETS, Message, WireError};
use crate::decode::DecodeError;
use crate::record::{Buckets, Data, Exemplar, Exponential, Histogram, Kind, Metric, Point, Summary};
use crate::rows::Builder;

/// Most exemplars of a point and quantiles of a summary that are kept.
const MAX_ITEMS: usize = 256;

/// Reads a request into the builder's rows.
pub(crate) fn metrics<'a>(body: &'a [u8], bounds: Bounds, to: &mut Builder<'a, '_>) -> Result<(), DecodeError> {
    let mut point = Point::default();
    let enter = |to: &mut Builder<'a, '_>, entered| {
        match entered {
            Entered::Resource(resource) => to.enter_resource(resource),
            Entered::Scope(scope) => to.enter_scope(scope),
        }
        Ok(())
    };
    let levels = Levels { names: ["ResourceMetrics", "ScopeMetrics", "Metric"], bounds };
    levels.walk(body, to, enter, |to, message| metric(message, bounds, &mut point, to))
}

/// A metric: what it is stands before or after its points, so it is read first.
fn metric<'a>(mut message: Message<'a>, bounds: Bounds, point: &mut Point<'a>, to: &mut Builder<'a, '_>) -> Result<(), DecodeError> {
    let (mut metric, mut points) = (Metric::default(), None);
    while let Some(field) = message.next()? {
        let (kind, name) = match field.number {
            1 => {
                metric.name = field.text()?;
                continue;
            }
            2 => {
                metric.description = field.text()?;
                continue;
            }
            3 => {
                metric.unit = field.text()?;
                continue;
            }
            5 => (Kind::Gauge, "Gauge"),
            7 => (Kind::Sum, "Sum"),
            9 => (Kind::Histogram, "Histogram"),
            10 => (Kind::ExponentialHistogram, "ExponentialHistogram"),
            11 => (Kind::Summary, "Summary"),
            _ => continue,
        };
        metric.kind = kind;
        points = Some((name, field.bytes()?));
    }
    let Some((name, bytes)) = points else {
        return Ok(());
    };
    describe(Message::new(name, bytes), &mut metric)?;
    to.enter_metric(metric);
    let mut message = Message::new(name, bytes);
    while let Some(field) = message.next()? {
        if field.number == 1 {
            point.clear();
            read(&field, to.metric_kind(), bounds, point)?;
            to.point(point)?;
        }
    }
    Ok(())
}

/// Temporality and monotonicity.
fn describe(mut message: Message<'_>, metric: &mut Metric<'_>) -> Result<(), WireError> {
    while let Some(field) = message.next()? {
        match (field.number, metric.kind) {
            (2, Kind::Sum | Kind::Histogram | Kind::ExponentialHistogram) => metric.temporality = field.int32()?,
            (3, Kind::Sum) => metric.monotonic = field.varint()? != 0,
            _ => {}
        }
    }
    Ok(())
}

fn read<'a>(field: &Field<'a>, kind: Kind, bounds: Bounds, point: &mut Point<'a>) -> Result<(), WireError> {
    match kind {
        Kind::Gauge | Kind::Sum => number(field.message("NumberDataPoint")?, bounds, point),
        Kind::Histogram => histogram(field.message("HistogramDataPoint")?, bounds, point),
        Kind::ExponentialHistogram => exponential(field.message("ExponentialHistogramDataPoint")?, bounds, point),
        Kind::Summary => summary(field.message("SummaryDataPoint")?, bounds, point),
    }
}

fn number<'a>(mut message: Message<'a>, bounds: Bounds, point: &mut Point<'a>) -> Result<(), WireError> {
    while let Some(field) = message.next()? {
        match field.number {
            2 => point.start = field.fixed64()?,
            3 => point.time = field.fixed64()?,
            4 => point.data = Data::Number(field.double()?),
            5 => exemplar(&field, bounds, point)?,
            6 => point.data = Data::Number(field.fixed64()? as i64 as f64),
            7 => push(&mut point.attributes, bounds, field.message("KeyValue")?)?,
            8 => point.flags = field.uint32()?,
            _ => {}
        }
    }
    Ok(())
}

fn histogram<'a>(mut message: Message<'a>, bounds: Bounds, point: &mut Point<'a>) -> Result<(), WireError> {
    let mut data = Histogram::default();
    while let Some(field) = message.next()? {
        match field.number {
            2 => point.start = field.fixed64()?,
            3 => point.time = field.fixed64()?,
            4 => data.count = field.fixed64()?,
            5 => data.sum = Some(field.double()?),
            6 => field.fixed64s(MAX_BUCKETS, |count| {
                data.counts.push(count);
                data.counts.len()
            })?,
            7 => field.fixed64s(MAX_BUCKETS, |bound| {
                data.bounds.push(f64::from_bits(bound));
                data.bounds.len()
            })?,
            8 => exemplar(&field, bounds, point)?,
            9 => push(&mut point.attributes, bounds, field.message("KeyValue")?)?,
            10 => point.flags = field.uint32()?,
            11 => data.min = Some(field.double()?),
            12 => data.max = Some(field.double()?),
            _ => {}
        }
    }
    point.data = Data::Histogram(data);
    Ok(())
}

fn exponential<'a>(mut message: Message<'a>, bounds: Bounds, point: &mut Point<'a>) -> Result<(), WireError> {
    let mut data = Box::<Exponential>::default();
    while let Some(field) = message.next()? {
        match field.number {
            1 => push(&mut point.attributes, bounds, field.message("KeyValue")?)?,
            2 => point.start = field.fixed64()?,
            3 => point.time = field.fixed64()?,
            4 => data.count = field.fixed64()? as f64,
            5 => data.sum = Some(field.double()?),
            6 => data.scale = field.sint32()?,
            7 => data.zero_count = field.fixed64()? as f64,
            8 => buckets(field.message("Buckets")?, &mut data.positive)?,
            9 => buckets(field.message("Buckets")?, &mut data.negative)?,
            10 => point.flags = field.uint32()?,
            11 => exemplar(&field, bounds, point)?,
            12 => data.min = Some(field.double()?),
            13 => data.max = Some(field.double()?),
            14 => data.zero_threshold = field.double()?,
            _ => {}
        }
    }
    point.data = Data::Exponential(data);
    Ok(())
}

fn buckets(mut message: Message<'_>, to: &mut Buckets) -> Result<(), WireError> {
    while let Some(field) = message.next()? {
        match field.number {
            1 => to.offset = field.sint32()?,
            2 => field.varints(MAX_BUCKETS, |count| {
                to.counts.push(count as f64);
                to.counts.len()
            })?,
            _ => {}
        }
    }
    Ok(())
}

fn summary<'a>(mut message: Message<'a>, bounds: Bounds, point: &mut Point<'a>) -> Result<(), WireError> {
    let mut data = Summary::default();
    while let Some(field) = message.next()? {
        match field.number {
            2 => point.start = field.fixed64()?,
            3 => point.time = field.fixed64()?,
            4 => data.count = field.fixed64()?,
            5 => data.sum = field.double()?,
            6 => {
                let quantile = quantile(field.message("ValueAtQuantile")?)?;
                if data.quantiles.len() < MAX_ITEMS {
                    data.quantiles.push(quantile);
                }
            }
            7 => push(&mut point.attributes, bounds, field.message("KeyValue")?)?,
            8 => point.flags = field.uint32()?,
            _ => {}
        }
    }
    point.data = Data::Summary(data);
    Ok(())
}

fn quantile(mut message: Message<'_>) -> Result<(f64, f64), WireError> {
    let mut found = (0.0, 0.0);
    while let Some(field) = message.next()? {
        match field.number {
            1 => found.0 = field.double()?,
            2 => found.1 = field.double()?,
            _ => {}
        }
    }
    Ok(found)
}

fn exemplar<'a>(field: &Field<'a>, bounds: Bounds, point: &mut Point<'a>) -> Result<(), WireError> {
    let (mut message, mut exemplar) = (field.message("Exemplar")?, Exemplar::default());
    while let Some(field) = message.next()? {
        match field.number {
            2 => exemplar.time = field.fixed64()?,
            3 => exemplar.value = field.double()?,
            4 => exemplar.span_id = field.id()?,
            5 => exemplar.trace_id = field.id()?,
            6 => exemplar.value = field.fixed64()? as i64 as f64,
            7 => push(&mut exemplar.attributes, bounds, field.message("KeyValue")?)?,
            _ => {}
        }
    }
    if point.exemplars.len() < MAX_ITEMS {
        point.exemplars.push(exemplar);
    }
    Ok(())
}
