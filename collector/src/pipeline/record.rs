//! What rules and redaction see of spans, log records and metric points alike. Pure.

use std::borrow::Cow;

use super::condition::{About, Facts};
use super::redact::{Counts, Redactor};
use crate::record::{Attributes, LogRecord, Metric, Point, Resource, Scope, Span};

/// The texts of a record, by field: for reports.
pub(crate) type Fields = Vec<(String, String)>;

/// Something that rules change and redaction reads.
pub(crate) trait Record {
    /// What it is called in reports.
    const NOUN: &'static str;
    /// What conditions ask about it.
    fn with_facts<T>(&self, ask: impl FnOnce(&Facts<'_, '_>) -> T) -> T;
    /// Its attributes.
    fn change(&mut self, edit: impl FnOnce(&mut Attributes<'_>));
    /// Gives it another name, if it has one of its own.
    fn set_name(&mut self, name: &str);
    /// Redacts all its texts.
    fn redact(&mut self, redactor: &Redactor, counts: &mut Counts);
    /// Its texts.
    fn fields(&self) -> Fields;
}

fn put(fields: &mut Fields, name: &str, text: &str) {
    if !text.is_empty() {
        fields.push((name.to_owned(), text.to_owned()));
    }
}

fn put_attributes(fields: &mut Fields, place: &str, attributes: &Attributes<'_>) {
    for attribute in &attributes.list {
        fields.push((format!("{place}.{}", attribute.key), attribute.value.text().into_owned()));
    }
}

impl Record for Span<'_> {
    const NOUN: &'static str = "span";
    fn with_facts<T>(&self, ask: impl FnOnce(&Facts<'_, '_>) -> T) -> T {
        let about = About::Span { status: self.status, kind: self.kind, duration: self.end.saturating_sub(self.start) };
        ask(&Facts { name: &self.name, attributes: &self.attributes.list, about })
    }
    fn change(&mut self, edit: impl FnOnce(&mut Attributes<'_>)) {
        edit(&mut self.attributes);
    }
    fn set_name(&mut self, name: &str) {
        self.name = Cow::Owned(name.to_owned());
    }
    fn redact(&mut self, redactor: &Redactor, counts: &mut Counts) {
        redactor.text(&mut self.name, counts);
        redactor.text(&mut self.status_message, counts);
        redactor.text(&mut self.trace_state, counts);
        redactor.attributes(&mut self.attributes.list, counts);
        for event in &mut self.events {
            redactor.text(&mut event.name, counts);
            redactor.attributes(&mut event.attributes.list, counts);
        }
        for link in &mut self.links {
            redactor.text(&mut link.trace_state, counts);
            redactor.attributes(&mut link.attributes.list, counts);
        }
    }
    fn fields(&self) -> Fields {
        let mut fields = Fields::new();
        put(&mut fields, "name", &self.name);
        put(&mut fields, "status_message", &self.status_message);
        put(&mut fields, "trace_state", &self.trace_state);
        put_attributes(&mut fields, "attributes", &self.attributes);
        for (at, event) in self.events.iter().enumerate() {
            put(&mut fields, &format!("events[{at}].name"), &event.name);
            put_attributes(&mut fields, &format!("events[{at}]"), &event.attributes);
        }
        for (at, link) in self.links.iter().enumerate() {
            put(&mut fields, &format!("links[{at}].trace_state"), &link.trace_state);
            put_attributes(&mut fields, &format!("links[{at}]"), &link.attributes);
        }
        fields
    }
}

impl Record for LogRecord<'_> {
    const NOUN: &'static str = "log record";
    fn with_facts<T>(&self, ask: impl FnOnce(&Facts<'_, '_>) -> T) -> T {
        let body = self.body.text();
        let about = About::Log { severity: self.severity, body: &body };
        ask(&Facts { name: &self.event_name, attributes: &self.attributes.list, about })
    }
    fn change(&mut self, edit: impl FnOnce(&mut Attributes<'_>)) {
        edit(&mut self.attributes);
    }
    fn set_name(&mut self, name: &str) {
        self.event_name = Cow::Owned(name.to_owned());
    }
    fn redact(&mut self, redactor: &Redactor, counts: &mut Counts) {
        redactor.value(&mut self.body, counts);
        redactor.text(&mut self.severity_text, counts);
        redactor.text(&mut self.event_name, counts);
        redactor.attributes(&mut self.attributes.list, counts);
    }
    fn fields(&self) -> Fields {
        let mut fields = Fields::new();
        put(&mut fields, "body", &self.body.text());
        put(&mut fields, "severity_text", &self.severity_text);
        put(&mut fields, "event_name", &self.event_name);
        put_attributes(&mut fields, "attributes", &self.attributes);
        fields
    }
}

/// A point with the name of its metric.
pub(crate) struct NamedPoint<'p, 'a> {
    /// The name of the metric, as sent or as renamed.
    pub(crate) name: &'p str,
    /// The point.
    pub(crate) point: &'p mut Point<'a>,
}

impl Record for NamedPoint<'_, '_> {
    const NOUN: &'static str = "metric point";
    fn with_facts<T>(&self, ask: impl FnOnce(&Facts<'_, '_>) -> T) -> T {
        ask(&Facts { name: self.name, attributes: &self.point.attributes.list, about: About::Point })
    }
    fn change(&mut self, edit: impl FnOnce(&mut Attributes<'_>)) {
        edit(&mut self.point.attributes);
    }
    /// Metrics are renamed before their points.
    fn set_name(&mut self, _: &str) {}
    /// Labels are redacted where their series is first described, and exemplars with them.
    fn redact(&mut self, redactor: &Redactor, counts: &mut Counts) {
        for exemplar in &mut self.point.exemplars {
            redactor.attributes(&mut exemplar.attributes.list, counts);
        }
    }
    fn fields(&self) -> Fields {
        let mut fields = Fields::new();
        put_attributes(&mut fields, "attributes", &self.point.attributes);
        for (at, exemplar) in self.point.exemplars.iter().enumerate() {
            put_attributes(&mut fields, &format!("exemplars[{at}]"), &exemplar.attributes);
        }
        fields
    }
}

impl Record for Metric<'_> {
    const NOUN: &'static str = "metric";
    fn with_facts<T>(&self, ask: impl FnOnce(&Facts<'_, '_>) -> T) -> T {
        ask(&Facts { name: &self.name, attributes: &[], about: About::Point })
    }
    fn change(&mut self, _: impl FnOnce(&mut Attributes<'_>)) {}
    fn set_name(&mut self, name: &str) {
        self.name = Cow::Owned(name.to_owned());
    }
    fn redact(&mut self, redactor: &Redactor, counts: &mut Counts) {
        redactor.text(&mut self.name, counts);
        redactor.text(&mut self.unit, counts);
        redactor.text(&mut self.description, counts);
    }
    fn fields(&self) -> Fields {
        let mut fields = Fields::new();
        put(&mut fields, "name", &self.name);
        put(&mut fields, "unit", &self.unit);
        put(&mut fields, "description", &self.description);
        fields
    }
}

impl Record for Resource<'_> {
    const NOUN: &'static str = "resource";
    fn with_facts<T>(&self, ask: impl FnOnce(&Facts<'_, '_>) -> T) -> T {
        ask(&Facts { name: "", attributes: &[], about: About::Point })
    }
    fn change(&mut self, edit: impl FnOnce(&mut Attributes<'_>)) {
        edit(&mut self.attributes);
    }
    fn set_name(&mut self, _: &str) {}
    fn redact(&mut self, redactor: &Redactor, counts: &mut Counts) {
        redactor.attributes(&mut self.attributes.list, counts);
        redactor.text(&mut self.schema_url, counts);
    }
    fn fields(&self) -> Fields {
        let mut fields = Fields::new();
        put(&mut fields, "schema_url", &self.schema_url);
        put_attributes(&mut fields, "attributes", &self.attributes);
        fields
    }
}

impl Record for Scope<'_> {
    const NOUN: &'static str = "scope";
    fn with_facts<T>(&self, ask: impl FnOnce(&Facts<'_, '_>) -> T) -> T {
        ask(&Facts { name: "", attributes: &[], about: About::Point })
    }
    fn change(&mut self, edit: impl FnOnce(&mut Attributes<'_>)) {
        edit(&mut self.attributes);
    }
    fn set_name(&mut self, _: &str) {}
    fn redact(&mut self, redactor: &Redactor, counts: &mut Counts) {
        redactor.text(&mut self.name, counts);
        redactor.text(&mut self.version, counts);
        redactor.text(&mut self.schema_url, counts);
        redactor.attributes(&mut self.attributes.list, counts);
    }
    fn fields(&self) -> Fields {
        let mut fields = Fields::new();
        put(&mut fields, "name", &self.name);
        put(&mut fields, "version", &self.version);
        put(&mut fields, "schema_url", &self.schema_url);
        put_attributes(&mut fields, "attributes", &self.attributes);
        fields
    }
}
