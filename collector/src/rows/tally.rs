//! What was kept, rejected and cut in one request. Pure; the shell adds it to the metrics once the request is accepted.

use crate::sentry::items::Seen;

/// Why a record can never be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Older than the retention.
    TooOld,
    /// Further ahead of arrival than allowed.
    TooFarAhead,
    /// No time at all.
    NoTime,
    /// A trace id that is not 16 bytes, or zero.
    BadTraceId,
    /// A span id that is not 8 bytes, or zero.
    BadSpanId,
    /// A parent span id that is not 8 bytes.
    BadParentSpanId,
    /// A metric without a name that PromQL could say.
    BadMetricName,
    /// An attribute without a name that PromQL could say.
    BadLabelName,
    /// A sum or histogram that says neither delta nor cumulative.
    NoTemporality,
    /// A point without a value.
    NoValue,
    /// Histogram bounds and counts that do not fit.
    BadBuckets,
    /// More labels than allowed.
    TooManyLabels,
    /// A label name or value longer than allowed.
    LabelTooLong,
    /// A cumulative series past the limit of its metric, or a metric past the limit of its tenant.
    TooManySeries,
    /// A record of a format with many records that is not of that format.
    Malformed,
    /// A series without `__name__`.
    NoMetricName,
    /// A label without a name.
    EmptyLabelName,
    /// The same label name twice.
    DuplicateLabel,
    /// Another value for a moment that has one already.
    DuplicateSample,
    /// A native histogram that contradicts itself.
    BadNativeHistogram,
    /// A native histogram of a schema that nobody knows.
    UnknownSchema,
    /// A reference past the end of the symbols.
    BadReference,
}

/// All reasons, in the order of the enum.
const REASONS: [Reason; 22] = [
    Reason::TooOld,
    Reason::TooFarAhead,
    Reason::NoTime,
    Reason::BadTraceId,
    Reason::BadSpanId,
    Reason::BadParentSpanId,
    Reason::BadMetricName,
    Reason::BadLabelName,
    Reason::NoTemporality,
    Reason::NoValue,
    Reason::BadBuckets,
    Reason::TooManyLabels,
    Reason::LabelTooLong,
    Reason::TooManySeries,
    Reason::Malformed,
    Reason::NoMetricName,
    Reason::EmptyLabelName,
    Reason::DuplicateLabel,
    Reason::DuplicateSample,
    Reason::BadNativeHistogram,
    Reason::UnknownSchema,
    Reason::BadReference,
];

impl Reason {
    /// The value of the metric label `reason`.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Reason::TooOld => "too_old",
            Reason::TooFarAhead => "too_far_ahead",
            Reason::NoTime => "no_time",
            Reason::BadTraceId => "bad_trace_id",
            Reason::BadSpanId => "bad_span_id",
            Reason::BadParentSpanId => "bad_parent_span_id",
            Reason::BadMetricName => "bad_metric_name",
            Reason::BadLabelName => "bad_label_name",
            Reason::NoTemporality => "no_temporality",
            Reason::NoValue => "no_value",
            Reason::BadBuckets => "bad_buckets",
            Reason::TooManyLabels => "too_many_labels",
            Reason::LabelTooLong => "label_too_long",
            Reason::TooManySeries => "too_many_series",
            Reason::Malformed => "malformed",
            Reason::NoMetricName => "no_metric_name",
            Reason::EmptyLabelName => "empty_label_name",
            Reason::DuplicateLabel => "duplicate_label",
            Reason::DuplicateSample => "duplicate_sample",
            Reason::BadNativeHistogram => "bad_native_histogram",
            Reason::UnknownSchema => "unknown_schema",
            Reason::BadReference => "bad_reference",
        }
    }
    /// For people: what is wrong and what would be right.
    fn sentence(self) -> &'static str {
        match self {
            Reason::TooOld => "older than the retention (check the sender's clock, or raise collector.retention_days)",
            Reason::TooFarAhead => "further in the future than collector.max_ahead (check the sender's clock)",
            Reason::NoTime => "without a time",
            Reason::BadTraceId => "with a trace id that is not 16 bytes or is all zeros",
            Reason::BadSpanId => "with a span id that is not 8 bytes or is all zeros",
            Reason::BadParentSpanId => "with a parent span id that is not 8 bytes",
            Reason::BadMetricName => "of a metric whose name holds no letter or digit, or is longer than collector.max_name",
            Reason::BadLabelName => "with an attribute whose name holds no letter or digit",
            Reason::NoTemporality => "without aggregation temporality (send delta or cumulative)",
            Reason::NoValue => "without a value",
            Reason::BadBuckets => "with bucket counts that do not fit rising bounds (there must be one count more than bounds)",
            Reason::TooManyLabels => "with more labels than collector.max_labels",
            Reason::LabelTooLong => "with a label longer than collector.max_label_name or max_label_value",
            Reason::TooManySeries => "of series past the limit of the metric or tenant (send fewer series, or raise pipeline.cardinality)",
            Reason::Malformed => "that are malformed",
            Reason::NoMetricName => "of a series without the label `__name__`",
            Reason::EmptyLabelName => "of a series with a label without a name",
            Reason::DuplicateLabel => "of a series that has the same label name twice",
            Reason::DuplicateSample => "for a series and time that the same request gives another value",
            Reason::BadNativeHistogram => "native histograms whose spans, buckets, bounds and count do not fit",
            Reason::UnknownSchema => "native histograms of a schema that is not known (send -4 to 8, or -53)",
            Reason::BadReference => "with a label or metadata reference past the end of the symbols, or a name without a value",
        }
    }
}

/// What was cut or dropped at a limit; the record itself is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// An attribute value.
    Value,
    /// A body, message or stack.
    Text,
    /// A name or key.
    Name,
    /// An attribute past the number allowed.
    Attribute,
    /// A span event past the number allowed.
    Event,
    /// A span link past the number allowed.
    Link,
    /// An exemplar of a time that is not kept.
    Exemplar,
    /// The header of a syslog message that is none: the whole text is kept as the body.
    SyslogHeader,
    /// The time of a syslog message that is missing or not of this age: the time of arrival is kept.
    SyslogTime,
    /// The time of a Sentry event that is not of this age, for which the time of arrival is kept; or the clock of an envelope's sender, which
    /// is put right.
    SentryTime,
    /// An item of a Sentry envelope that is only counted, and is not what it says it is: the envelope's other items are stored.
    SentryItem,
}

/// All parts, in the order of the enum.
const PARTS: [Part; 11] = [
    Part::Value,
    Part::Text,
    Part::Name,
    Part::Attribute,
    Part::Event,
    Part::Link,
    Part::Exemplar,
    Part::SyslogHeader,
    Part::SyslogTime,
    Part::SentryTime,
    Part::SentryItem,
];

impl Part {
    /// The value of the metric label `part`.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Part::Value => "value",
            Part::Text => "text",
            Part::Name => "name",
            Part::Attribute => "attribute",
            Part::Event => "event",
            Part::Link => "link",
            Part::Exemplar => "exemplar",
            Part::SyslogHeader => "syslog_header",
            Part::SyslogTime => "syslog_time",
            Part::SentryTime => "sentry_time",
            Part::SentryItem => "sentry_item",
        }
    }
}

/// Records of a request of Prometheus that are stored, those included that the request holds twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    /// Number samples.
    pub(crate) samples: u64,
    /// Native histogram samples.
    pub(crate) histograms: u64,
    /// Exemplars.
    pub(crate) exemplars: u64,
}

/// The counts of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    rejected: [u64; REASONS.len()],
    cut: [u64; PARTS.len()],
    /// Records in the request, kept or not.
    pub(crate) records: u64,
    /// What was kept of a request of Prometheus.
    pub(crate) written: Written,
    /// Spans counted as `overflow` in the derived series.
    pub(crate) red_overflow: u64,
    /// Which records were rejected, counted from 1, and why: the first few, of formats that number them.
    pub(crate) details: Vec<(u64, String)>,
    last: Option<Reason>,
    /// Items of Sentry's envelopes.
    pub(crate) sentry: Seen,
}

/// How many rejected records are told one by one.
const DETAILS: usize = 20;

impl Tally {
    /// Counts records that are not kept.
    pub(crate) fn reject(&mut self, reason: Reason, count: u64) {
        self.rejected[reason as usize] += count;
        self.last = Some(reason);
    }
    /// What was wrong with the record that was rejected last.
    pub(crate) fn last_sentence(&self) -> &'static str {
        self.last.map_or("", Reason::sentence)
    }
    /// Notes why the record of this number was rejected, if not too many were already.
    pub(crate) fn detail(&mut self, number: u64, why: impl FnOnce() -> String) {
        if self.details.len() < DETAILS {
            self.details.push((number, why()));
        }
    }
    /// Counts parts that were cut.
    pub(crate) fn cut(&mut self, part: Part, count: usize) {
        self.cut[part as usize] += count as u64;
    }
    /// The reasons that occurred.
    pub(crate) fn rejected(&self) -> impl Iterator<Item = (Reason, u64)> {
        REASONS.into_iter().zip(self.rejected).filter(|(_, count)| *count > 0)
    }
    /// The parts that were cut.
    pub(crate) fn cuts(&self) -> impl Iterator<Item = (Part, u64)> {
        PARTS.into_iter().zip(self.cut).filter(|(_, count)| *count > 0)
    }
    /// How many records were not kept.
    pub(crate) fn rejected_total(&self) -> u64 {
        self.rejected.iter().sum()
    }
    /// The message of `partial_success`; `None` where everything was kept.
    pub(crate) fn message(&self, noun: &str) -> Option<String> {
        let reasons: Vec<String> = self.rejected().map(|(reason, count)| format!("{count} {}", reason.sentence())).collect();
        (!reasons.is_empty()).then(|| format!("{} of {} {noun} rejected: {}", self.rejected_total(), self.records, reasons.join("; ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_names_every_reason_with_its_count() {
        let mut tally = Tally { records: 10, ..Tally::default() };
        assert_eq!(tally.message("spans"), None);
        tally.reject(Reason::BadTraceId, 2);
        tally.reject(Reason::TooOld, 1);
        let message = tally.message("spans").unwrap();
        assert!(message.starts_with("3 of 10 spans rejected: 1 older than the retention"), "{message}");
        assert!(message.ends_with("; 2 with a trace id that is not 16 bytes or is all zeros"), "{message}");
        assert_eq!(tally.rejected_total(), 3);
    }

    #[test]
    fn lists_follow_the_enums() {
        assert!(REASONS.iter().enumerate().all(|(at, reason)| *reason as usize == at));
        assert!(PARTS.iter().enumerate().all(|(at, part)| *part as usize == at));
    }
}
