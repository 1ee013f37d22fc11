//! The processing of one request's records, in the order in which they are built into rows. In: records. Out: the same, changed where
//! something applies, and whether they are stored. Pure but for nothing: what it counts is told once the request is durable.

use super::Pipeline;
use super::record::{Fields, NamedPoint, Record};
use super::redact::Counts;
use super::sampling::{self, Kept};
use super::trace::Trace;
use crate::record::{Attribute, Attributes, LogRecord, Metric, Point, Resource, Scope, Span, Text, Value};
use model::labels::METRIC_NAME;

/// What was changed and left out in one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// Records dropped, by rule.
    pub(crate) dropped: Vec<u64>,
    /// Spans that were not stored because of sampling.
    pub(crate) sampled_spans: u64,
    /// Log records that were not stored because of sampling.
    pub(crate) sampled_logs: u64,
    /// Secrets.
    pub(crate) redacted: Counts,
    /// Points of series over the limit; counted by the builder.
    pub(crate) overflowed: u64,
}

/// The processing of one request.
pub(crate) struct Stage<'r> {
    pipeline: &'r Pipeline,
    /// The answers of the resource and the scope.
    around: Vec<bool>,
    /// How many records the one at hand is: the samples of a series that Prometheus has named are asked about once.
    records: u64,
    /// What was done.
    pub(crate) changes: Changes,
    /// Told for people, where it is asked for.
    pub(crate) trace: Option<Box<Trace>>,
}

impl<'r> Stage<'r> {
    /// For a request; `None` where there is nothing to do.
    pub(crate) fn new(pipeline: &'r Pipeline, trace: bool) -> Option<Self> {
        let idle = pipeline.idle() && !trace;
        (!idle).then(|| Stage {
            pipeline,
            around: vec![false; pipeline.around.len()],
            records: 1,
            changes: Changes::default(),
            trace: trace.then(Box::default),
        })
    }

    /// Changes a resource; answers what conditions ask about it.
    pub(crate) fn resource(&mut self, resource: &mut Resource<'_>) {
        self.begin::<Resource<'_>>(|| resource.attributes.text("service.name").into_owned());
        let pipeline = self.pipeline;
        self.ask_resource(resource);
        for index in &pipeline.resources {
            self.apply(*index, resource);
            // A later rule may ask for what this one set.
            self.ask_resource(resource);
        }
        self.redact(resource);
        self.end_of_context();
    }

    fn ask_resource(&mut self, resource: &Resource<'_>) {
        for (leaf, answer) in self.pipeline.around.iter().zip(&mut self.around) {
            *answer = leaf.resource(&resource.attributes.list);
        }
    }

    /// Changes a scope; answers what conditions ask about it.
    pub(crate) fn scope(&mut self, scope: &mut Scope<'_>) {
        self.begin::<Scope<'_>>(|| scope.name.to_string());
        let pipeline = self.pipeline;
        for (leaf, answer) in pipeline.around.iter().zip(&mut self.around).filter(|(leaf, _)| leaf.of_scope()) {
            *answer = leaf.scope(&scope.name);
        }
        for index in &pipeline.scopes {
            self.apply(*index, scope);
        }
        self.redact(scope);
        self.end_of_context();
    }

    /// Names and redacts a metric.
    pub(crate) fn metric(&mut self, metric: &mut Metric<'_>) {
        self.begin::<Metric<'_>>(|| metric.name.to_string());
        let pipeline = self.pipeline;
        for index in &pipeline.metric_names {
            self.apply(*index, metric);
        }
        self.redact(metric);
        self.end_of_context();
    }

    /// Changes a span; whether it is not dropped.
    pub(crate) fn span(&mut self, span: &mut Span<'_>) -> bool {
        self.begin::<Span<'_>>(|| span.name.to_string());
        let pipeline = self.pipeline;
        self.record(&pipeline.spans, span)
    }

    /// Changes a log record; whether it is not dropped.
    pub(crate) fn log(&mut self, record: &mut LogRecord<'_>) -> bool {
        self.begin::<LogRecord<'_>>(|| record.body.text().into_owned());
        let pipeline = self.pipeline;
        self.record(&pipeline.logs, record)
    }

    /// Changes a point of a metric; whether it is not dropped.
    pub(crate) fn point(&mut self, name: &str, point: &mut Point<'_>) -> bool {
        let pipeline = self.pipeline;
        if pipeline.points.is_empty() && point.exemplars.is_empty() && self.trace.is_none() {
            return true;
        }
        self.begin::<NamedPoint<'_, '_>>(|| name.to_owned());
        self.record(&pipeline.points, &mut NamedPoint { name, point })
    }

    /// Whether [`Stage::series`] would change nothing: no rule is for metrics, and there is no secret in the name.
    pub(crate) fn leaves(&self, labels: &[(Text<'_>, Text<'_>)]) -> bool {
        let name = || labels.iter().find(|(name, _)| name == METRIC_NAME).map_or("", |(_, value)| value.as_ref());
        let clean = self.pipeline.redactor.as_ref().is_none_or(|redactor| redactor.redact(name(), &mut Counts::default()).is_none());
        self.pipeline.points.is_empty() && self.pipeline.metric_names.is_empty() && clean
    }

    /// Changes the labels of a series that Prometheus has named, `__name__` among them; whether it is not dropped with its `records`. Labels are
    /// redacted where the series is first described, its name at once, because it stands in every row.
    pub(crate) fn series<'a>(&mut self, labels: &mut Vec<(Text<'a>, Text<'a>)>, records: u64) -> bool {
        let pipeline = self.pipeline;
        let at = labels.iter().position(|(name, _)| name == METRIC_NAME);
        if pipeline.points.is_empty() && pipeline.metric_names.is_empty() {
            if let (Some(redactor), Some(at)) = (&pipeline.redactor, at) {
                redactor.text(&mut labels[at].1, &mut self.changes.redacted);
            }
            return true;
        }
        let name = at.map(|at| labels.swap_remove(at).1);
        let named = name.is_some();
        let mut metric = Metric { name: name.unwrap_or_default(), ..Metric::default() };
        self.metric(&mut metric);
        let list = labels.drain(..).map(|(name, value)| Attribute { key: name, value: Value::Text(value) }).collect();
        let mut point = Point { attributes: Attributes { list, cut: 0 }, ..Point::default() };
        self.records = records;
        let kept = self.point(&metric.name, &mut point);
        self.records = 1;
        // A label without a value is none.
        let left = point.attributes.list.into_iter().map(|one| (one.key, one.value.into_text()));
        labels.extend(left.filter(|(name, value)| name.is_empty() || !value.is_empty()));
        if named {
            labels.push((METRIC_NAME.into(), metric.name));
        }
        kept
    }

    /// The labels of a new series without secrets; `None` where they have none.
    pub(crate) fn labels<'a>(&mut self, attributes: &[Attribute<'a>]) -> Option<Vec<Attribute<'a>>> {
        let redactor = self.pipeline.redactor.as_ref()?;
        let mut counts = Counts::default();
        let mut list = attributes.to_vec();
        redactor.attributes(&mut list, &mut counts);
        if counts.total() == 0 {
            return None;
        }
        self.changes.redacted.join(&counts);
        if let Some(trace) = &mut self.trace {
            let fields = |list: &[Attribute<'_>]| -> Fields {
                list.iter().map(|one| (format!("attributes.{}", one.key), one.value.text().into_owned())).collect()
            };
            let kinds: Vec<&str> = redactor.labels(&counts).map(|(kind, _)| kind).collect();
            trace.step(format!("redaction ({})", kinds.join(", ")), &fields(attributes), &fields(&list));
        }
        Some(list)
    }

    /// Whether a span is stored; `Some(None)` where no entry of sampling means it.
    pub(crate) fn sample_span(&mut self, span: &Span<'_>, weight: f64) -> Option<Option<Kept>> {
        let around = &self.around;
        let entries = self.pipeline.span_samples.iter().enumerate();
        let entry = span.with_facts(|facts| entries.into_iter().find(|(_, entry)| entry.condition.holds(around, facts)));
        let Some((index, entry)) = entry else { return Some(None) };
        if entry.ratio >= 1.0 {
            return Some(None);
        }
        let kept = sampling::span(entry.ratio, &span.trace_state, &span.trace_id, weight);
        self.sampled("spans", index, kept.as_ref().map(|kept| kept.weight));
        self.changes.sampled_spans += u64::from(kept.is_none());
        kept.map(Some)
    }

    /// How many log records this one stands for; `None` where it is not stored. `at` is its place in the request.
    pub(crate) fn sample_log(&mut self, record: &LogRecord<'_>, at: u64) -> Option<u32> {
        if self.pipeline.log_samples.is_empty() {
            return Some(1);
        }
        let around = &self.around;
        let entries = self.pipeline.log_samples.iter().enumerate();
        let entry = record.with_facts(|facts| entries.into_iter().find(|(_, entry)| entry.condition.holds(around, facts)));
        let Some((index, entry)) = entry.filter(|(_, entry)| entry.ratio < 1.0) else { return Some(1) };
        let weight = sampling::log(entry.ratio, &record.trace_id, &record.body.text(), record.time, at);
        self.sampled("logs", index, weight);
        self.changes.sampled_logs += u64::from(weight.is_none());
        weight
    }

    fn sampled(&mut self, list: &str, index: usize, weight: Option<u32>) {
        let Some(trace) = &mut self.trace else { return };
        match weight {
            Some(weight) => trace.weight(weight),
            None => trace.end("sampled out", Some(format!("sampling.{list}[{index}]"))),
        }
    }

    /// Notes a record that can never be stored.
    pub(crate) fn rejected(&mut self, noun: &'static str, name: impl FnOnce() -> String, why: &'static str) {
        if let Some(trace) = &mut self.trace {
            // A point was begun already.
            if noun != NamedPoint::NOUN {
                trace.begin(noun, name());
            }
            trace.end("rejected", Some(why.to_owned()));
        }
    }

    /// Notes a point that became part of an overflow series.
    pub(crate) fn overflowed(&mut self) {
        if let Some(trace) = &mut self.trace {
            trace.end("stored", Some("cardinality: as the metric's overflow series".to_owned()));
        }
    }

    fn begin<R: Record>(&mut self, name: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.begin(R::NOUN, name());
        }
    }

    /// Resources, scopes and metrics are told only where they changed.
    fn end_of_context(&mut self) {
        if let Some(trace) = &mut self.trace
            && trace.records.last().is_some_and(|record| record.steps.is_empty())
        {
            trace.records.pop();
        }
    }

    fn record<R: Record>(&mut self, rules: &'r [usize], record: &mut R) -> bool {
        let mut kept = false;
        for index in rules {
            let Some(rule) = self.pipeline.rules.get(*index) else { continue };
            if rule.drop {
                if !kept && self.means(*index, record) {
                    self.drop(*index);
                    return false;
                }
            } else if self.means(*index, record) {
                kept |= rule.keep;
                self.apply_to(*index, record);
            }
        }
        self.redact(record);
        true
    }

    fn means<R: Record>(&self, index: usize, record: &R) -> bool {
        let rule = &self.pipeline.rules[index];
        record.with_facts(|facts| rule.condition.holds(&self.around, facts))
    }

    fn apply<R: Record>(&mut self, index: usize, record: &mut R) {
        if self.means(index, record) {
            self.apply_to(index, record);
        }
    }

    fn apply_to<R: Record>(&mut self, index: usize, record: &mut R) {
        let rule = &self.pipeline.rules[index];
        let before = self.trace.as_ref().map(|_| record.fields());
        if let Some(name) = &rule.set_name {
            record.set_name(name);
        }
        record.change(|attributes| rule.edit(attributes, &self.pipeline.hasher));
        if let (Some(trace), Some(before)) = (&mut self.trace, before) {
            trace.step(rule.name.clone(), &before, &record.fields());
        }
    }

    fn drop(&mut self, index: usize) {
        let dropped = &mut self.changes.dropped;
        if dropped.len() <= index {
            dropped.resize(index + 1, 0);
        }
        dropped[index] += self.records;
        if let Some(trace) = &mut self.trace {
            trace.end("dropped", Some(self.pipeline.rule_name(index).to_owned()));
        }
    }

    fn redact<R: Record>(&mut self, record: &mut R) {
        let Some(redactor) = &self.pipeline.redactor else { return };
        let Some(trace) = &mut self.trace else {
            record.redact(redactor, &mut self.changes.redacted);
            return;
        };
        let (before, mut counts) = (record.fields(), Counts::default());
        record.redact(redactor, &mut counts);
        let kinds: Vec<&str> = redactor.labels(&counts).map(|(kind, _)| kind).collect();
        trace.step(format!("redaction ({})", kinds.join(", ")), &before, &record.fields());
        self.changes.redacted.join(&counts);
    }
}
