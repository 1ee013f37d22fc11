//! Telemetry as the intake handles it, whatever protocol it came by: OTLP's records, borrowing from the request's body where
//! they can. Receivers make them, the rows are built from them. Pure data.

use std::borrow::Cow;

/// A text that may lie in the body.
pub(crate) type Text<'a> = Cow<'a, str>;

/// The value of an attribute or a log body. Bytes are base64 and nested values JSON by the time they stand here.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    /// A string; empty where there is no value.
    Text(Text<'a>),
    /// A boolean.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A float.
    Double(f64),
}

impl Default for Value<'_> {
    fn default() -> Self {
        Value::Text(Cow::Borrowed(""))
    }
}

impl<'a> Value<'a> {
    /// As it is stored.
    pub(crate) fn text(&self) -> Cow<'_, str> {
        match self {
            Value::Text(text) => Cow::Borrowed(text),
            Value::Bool(flag) => Cow::Borrowed(if *flag { "true" } else { "false" }),
            Value::Int(number) => Cow::Owned(number.to_string()),
            Value::Double(number) => Cow::Owned(number.to_string()),
        }
    }
    /// As it is stored, for as long as the body lives.
    pub(crate) fn into_text(self) -> Text<'a> {
        match self {
            Value::Text(text) => text,
            Value::Bool(flag) => Cow::Borrowed(if flag { "true" } else { "false" }),
            Value::Int(number) => Cow::Owned(number.to_string()),
            Value::Double(number) => Cow::Owned(number.to_string()),
        }
    }
}

/// A key and its value.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Attribute<'a> {
    /// The key.
    pub(crate) key: Text<'a>,
    /// The value.
    pub(crate) value: Value<'a>,
}

impl<'a> Attribute<'a> {
    /// An attribute that is a string.
    pub(crate) fn text(key: impl Into<Text<'a>>, value: impl Into<Text<'a>>) -> Self {
        Attribute { key: key.into(), value: Value::Text(value.into()) }
    }
}

/// The attributes of something.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Attributes<'a> {
    /// Those kept.
    pub(crate) list: Vec<Attribute<'a>>,
    /// How many were left out while reading, because there were more than the limit.
    pub(crate) cut: u32,
}

impl<'a> Attributes<'a> {
    /// The value of a key; of a key that stands twice the first one.
    pub(crate) fn get(&self, key: &str) -> Option<&Value<'a>> {
        self.list.iter().find(|attribute| attribute.key == key).map(|attribute| &attribute.value)
    }
    /// The value of a key as text; empty where it is absent.
    pub(crate) fn text(&self, key: &str) -> Cow<'_, str> {
        self.get(key).map_or(Cow::Borrowed(""), Value::text)
    }
    /// Appends one, or counts it where there are `limit` already.
    #[inline]
    pub(crate) fn push(&mut self, attribute: Attribute<'a>, limit: usize) {
        if self.list.len() < limit {
            self.list.push(attribute);
        } else {
            self.cut = self.cut.saturating_add(1);
        }
    }
    /// Empty again, with its buffer kept.
    pub(crate) fn clear(&mut self) {
        self.list.clear();
        self.cut = 0;
    }
}

impl<'a> From<Vec<Attribute<'a>>> for Attributes<'a> {
    fn from(list: Vec<Attribute<'a>>) -> Self {
        Attributes { list, cut: 0 }
    }
}

/// What sent the telemetry.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Resource<'a> {
    /// Its attributes.
    pub(crate) attributes: Attributes<'a>,
    /// Attributes that the sender left out.
    pub(crate) dropped: u32,
    /// The schema of its attributes.
    pub(crate) schema_url: Text<'a>,
}

/// The instrumentation scope.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Scope<'a> {
    /// Its name.
    pub(crate) name: Text<'a>,
    /// Its version.
    pub(crate) version: Text<'a>,
    /// Its attributes.
    pub(crate) attributes: Attributes<'a>,
    /// Attributes left out by the sender.
    pub(crate) dropped: u32,
    /// The schema of the records below it.
    pub(crate) schema_url: Text<'a>,
}

/// A span. Times are nanoseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Span<'a> {
    /// 16 bytes.
    pub(crate) trace_id: Cow<'a, [u8]>,
    /// 8 bytes.
    pub(crate) span_id: Cow<'a, [u8]>,
    /// 8 bytes or none.
    pub(crate) parent_span_id: Cow<'a, [u8]>,
    /// W3C trace state.
    pub(crate) trace_state: Text<'a>,
    /// W3C trace flags and OTLP's remote bits.
    pub(crate) flags: u32,
    /// Its name.
    pub(crate) name: Text<'a>,
    /// OTLP's number of the kind.
    pub(crate) kind: i32,
    /// Start.
    pub(crate) start: u64,
    /// End.
    pub(crate) end: u64,
    /// Attributes.
    pub(crate) attributes: Attributes<'a>,
    /// Attributes left out by the sender.
    pub(crate) dropped_attributes: u32,
    /// Events.
    pub(crate) events: Vec<Event<'a>>,
    /// Events left out by the sender.
    pub(crate) dropped_events: u32,
    /// Events left out by the limit.
    pub(crate) cut_events: u32,
    /// Links.
    pub(crate) links: Vec<Link<'a>>,
    /// Links left out by the sender.
    pub(crate) dropped_links: u32,
    /// Links left out by the limit.
    pub(crate) cut_links: u32,
    /// OTLP's number of the status.
    pub(crate) status: i32,
    /// What the status says.
    pub(crate) status_message: Text<'a>,
    /// How many spans it stands for; 0 where the trace state decides.
    pub(crate) sample_rate: u32,
}

impl Span<'_> {
    /// Empty again, with its buffers kept.
    pub(crate) fn clear(&mut self) {
        let (mut attributes, mut events, mut links) =
            (std::mem::take(&mut self.attributes), std::mem::take(&mut self.events), std::mem::take(&mut self.links));
        attributes.clear();
        events.clear();
        links.clear();
        *self = Span { attributes, events, links, ..Span::default() };
    }
}

/// An event of a span.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Event<'a> {
    /// When.
    pub(crate) time: u64,
    /// Its name.
    pub(crate) name: Text<'a>,
    /// Attributes.
    pub(crate) attributes: Attributes<'a>,
    /// Attributes left out by the sender.
    pub(crate) dropped: u32,
}

/// A link to another span.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Link<'a> {
    /// 16 bytes.
    pub(crate) trace_id: Cow<'a, [u8]>,
    /// 8 bytes.
    pub(crate) span_id: Cow<'a, [u8]>,
    /// W3C trace state.
    pub(crate) trace_state: Text<'a>,
    /// Attributes.
    pub(crate) attributes: Attributes<'a>,
    /// Attributes left out by the sender.
    pub(crate) dropped: u32,
}

/// A log record. Times are nanoseconds since 1970, 0 where unknown.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct LogRecord<'a> {
    /// When it happened.
    pub(crate) time: u64,
    /// When it was observed.
    pub(crate) observed: u64,
    /// OTLP's severity number.
    pub(crate) severity: i32,
    /// The severity as the source calls it.
    pub(crate) severity_text: Text<'a>,
    /// The body.
    pub(crate) body: Value<'a>,
    /// Attributes.
    pub(crate) attributes: Attributes<'a>,
    /// Attributes left out by the sender.
    pub(crate) dropped_attributes: u32,
    /// W3C trace flags.
    pub(crate) flags: u32,
    /// 16 bytes or none.
    pub(crate) trace_id: Cow<'a, [u8]>,
    /// 8 bytes or none.
    pub(crate) span_id: Cow<'a, [u8]>,
    /// The name of the event, where the record is one.
    pub(crate) event_name: Text<'a>,
}

impl LogRecord<'_> {
    /// Empty again, with its buffer kept.
    pub(crate) fn clear(&mut self) {
        let mut attributes = std::mem::take(&mut self.attributes);
        attributes.clear();
        *self = LogRecord { attributes, ..LogRecord::default() };
    }
}

/// What a metric is, its points apart.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Metric<'a> {
    /// The name as sent.
    pub(crate) name: Text<'a>,
    /// For people.
    pub(crate) description: Text<'a>,
    /// UCUM.
    pub(crate) unit: Text<'a>,
    /// The type.
    pub(crate) kind: Kind,
    /// OTLP's number: 1 delta, 2 cumulative.
    pub(crate) temporality: i32,
    /// Of sums.
    pub(crate) monotonic: bool,
}

/// The types of metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The last value counts.
    #[default]
    Gauge,
    /// Values add up.
    Sum,
    /// Explicit buckets.
    Histogram,
    /// Exponential buckets.
    ExponentialHistogram,
    /// Quantiles computed by the sender.
    Summary,
}

/// A point of a metric. Times are nanoseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Point<'a> {
    /// When the sum began; 0 where unknown.
    pub(crate) start: u64,
    /// When.
    pub(crate) time: u64,
    /// OTLP's data point flags: bit 0 says that there is no value.
    pub(crate) flags: u32,
    /// Attributes.
    pub(crate) attributes: Attributes<'a>,
    /// What was measured.
    pub(crate) data: Data,
    /// Examples of single measurements.
    pub(crate) exemplars: Vec<Exemplar<'a>>,
}

impl Point<'_> {
    /// Empty again, with its buffers kept.
    pub(crate) fn clear(&mut self) {
        let (mut attributes, mut exemplars) = (std::mem::take(&mut self.attributes), std::mem::take(&mut self.exemplars));
        attributes.clear();
        exemplars.clear();
        *self = Point { attributes, exemplars, ..Point::default() };
    }
}

/// The value of a point, by the type of its metric.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Data {
    /// None was sent.
    #[default]
    None,
    /// Of gauges and sums.
    Number(f64),
    /// Explicit buckets.
    Histogram(Histogram),
    /// Exponential buckets.
    Exponential(Box<Exponential>),
    /// Quantiles.
    Summary(Summary),
}

/// Explicit buckets.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Histogram {
    /// Number of measurements.
    pub(crate) count: u64,
    /// Their sum.
    pub(crate) sum: Option<f64>,
    /// The least.
    pub(crate) min: Option<f64>,
    /// The greatest.
    pub(crate) max: Option<f64>,
    /// Upper bounds, rising.
    pub(crate) bounds: Vec<f64>,
    /// Measurements in each bucket, one more than bounds.
    pub(crate) counts: Vec<u64>,
}

/// Exponential buckets (OpenTelemetry), or a native histogram (Prometheus), whose buckets may also be the sender's own. Counts are floats
/// because Prometheus's may be; integers are exact up to 2^53.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Exponential {
    /// Number of measurements.
    pub(crate) count: f64,
    /// Their sum.
    pub(crate) sum: Option<f64>,
    /// The least.
    pub(crate) min: Option<f64>,
    /// The greatest.
    pub(crate) max: Option<f64>,
    /// The base is 2^(2^-scale); [`model::tables::CUSTOM_SCALE`] where the bounds are the sender's own.
    pub(crate) scale: i32,
    /// Measurements in the zero bucket.
    pub(crate) zero_count: f64,
    /// The zero bucket reaches from minus this to plus this.
    pub(crate) zero_threshold: f64,
    /// Bucket `i` of `counts` holds measurements in (base^(offset+i), base^(offset+i+1)].
    pub(crate) positive: Buckets,
    /// The same for negative measurements.
    pub(crate) negative: Buckets,
    /// The sender's own upper bounds, finite and rising: `positive` has one bucket more, which reaches to infinity.
    pub(crate) custom_bounds: Vec<f64>,
}

/// Buckets without gaps.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Buckets {
    /// Index of the first bucket.
    pub(crate) offset: i32,
    /// Measurements in each.
    pub(crate) counts: Vec<f64>,
}

/// Quantiles computed by the sender.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Summary {
    /// Number of measurements.
    pub(crate) count: u64,
    /// Their sum.
    pub(crate) sum: f64,
    /// Quantile (0 to 1) and value.
    pub(crate) quantiles: Vec<(f64, f64)>,
}

/// An example of a measurement.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Exemplar<'a> {
    /// When, in nanoseconds since 1970.
    pub(crate) time: u64,
    /// What was measured.
    pub(crate) value: f64,
    /// 16 bytes or none.
    pub(crate) trace_id: Cow<'a, [u8]>,
    /// 8 bytes or none.
    pub(crate) span_id: Cow<'a, [u8]>,
    /// Attributes that the series does not have.
    pub(crate) attributes: Attributes<'a>,
}
