//! Log records: rows of `logs`, and the errors of records that carry an exception.

use super::attributes::{cut, find, push_row, tidy};
use super::tally::Part;
use super::{Builder, nanos};
use crate::admission::Full;
use crate::errors::event::{Exception, Raised, Source};
use crate::pipeline::rates::Flow;
use crate::record::LogRecord;

impl<'a> Builder<'a, '_> {
    /// Adds a log record.
    pub(crate) fn log(&mut self, record: &mut LogRecord<'a>) -> Result<(), Full> {
        self.count()?;
        self.load.add(Flow::Logs);
        let at = match (record.time, record.observed) {
            (0, 0) => u64::try_from(self.arrival.at.nanos()).unwrap_or(0),
            (0, observed) => observed,
            (time, _) => time,
        };
        match self.windows.logs.check(at) {
            Err(reason) => {
                self.tally.reject(reason, 1);
                if let Some(stage) = &mut self.stage {
                    stage.rejected("log record", || record.body.text().into_owned(), reason.label());
                }
            }
            Ok(ts) => {
                if self.stage.as_mut().is_none_or(|stage| stage.log(record)) {
                    self.log_row(record, at, ts);
                }
            }
        }
        Ok(())
    }

    fn log_row(&mut self, record: &mut LogRecord<'a>, at: u64, ts: i64) {
        // What is stored is decided first, what is counted is counted of all.
        let weight = self.stage.as_mut().map_or(Some(1), |stage| stage.sample_log(record, self.tally.records));
        let (limits, tally) = (self.arrival.limits, &mut self.tally);
        let severity = u8::try_from(record.severity).ok().filter(|number| *number <= 24).unwrap_or(0);
        let body = cut(std::mem::take(&mut record.body).into_text(), limits.text, Part::Text, tally);
        let raised = Raised::in_log(&record.attributes);
        tidy(&mut record.attributes, limits, tally);
        self.patterns.add(&body, severity, ts);
        if let Some(raised) = raised {
            let exception = Exception {
                source: Source::Log,
                ts: at,
                fallback_ts: ts,
                service: &self.resource.service,
                resource: &self.resource.attributes.list,
                attributes: &record.attributes.list,
                around: &[],
                level: level(severity),
                message: &body,
                scope: &self.scope.name,
                trace_id: &record.trace_id,
                span_id: &record.span_id,
            };
            self.errors.exception(&exception, &raised, tally);
        }
        if let Some(weight) = weight {
            self.push_log(record, &body, severity, ts, weight);
        }
    }

    fn push_log(&mut self, record: &LogRecord<'a>, body: &str, severity: u8, ts: i64, weight: u32) {
        let (limits, tally, to) = (self.arrival.limits, &mut self.tally, &mut self.logs);
        to.ts.push(ts);
        to.observed.push(match record.observed {
            0 => self.arrival.at.nanos(),
            observed => nanos(observed),
        });
        to.received.push(self.arrival.at.millis());
        to.trace_id.push(&record.trace_id);
        to.span_id.push(&record.span_id);
        to.flags.push(record.flags);
        to.severity_number.push(severity);
        to.severity_text.push(cut(record.severity_text.as_ref(), limits.name, Part::Name, tally).as_bytes());
        to.body.push(body.as_bytes());
        if record.event_name.is_empty() {
            let name = find(&record.attributes.list, "event.name");
            to.event_name.push(cut(name, limits.name, Part::Name, tally).as_bytes());
        } else {
            to.event_name.push(cut(record.event_name.as_ref(), limits.name, Part::Name, tally).as_bytes());
        }
        push_row(&mut to.attributes, &record.attributes.list);
        to.retention_days.push(limits.retention.logs);
        to.dropped_attributes.push(record.dropped_attributes.saturating_add(record.attributes.cut));
        to.sample_rate.push(weight);
        to.resource_dropped_attributes.push(self.resource.dropped);
        to.scope_dropped_attributes.push(self.scope.dropped);
        let of = (self.resource.serial, self.scope.serial);
        if self.log_of == of {
            to.tenant.repeat();
            to.service.repeat();
            to.resource.repeat_row();
            to.resource_schema_url.repeat();
            to.scope_name.repeat();
            to.scope_version.repeat();
            to.scope_attributes.repeat_row();
            to.scope_schema_url.repeat();
        } else {
            to.tenant.push(self.arrival.tenant.as_str().as_bytes());
            to.service.push(self.resource.service.as_bytes());
            push_row(&mut to.resource, &self.resource.attributes.list);
            to.resource_schema_url.push(self.resource.schema_url.as_bytes());
            to.scope_name.push(self.scope.name.as_bytes());
            to.scope_version.push(self.scope.version.as_bytes());
            push_row(&mut to.scope_attributes, &self.scope.attributes.list);
            to.scope_schema_url.push(self.scope.schema_url.as_bytes());
            self.log_of = of;
        }
    }
}

/// The level of an error event, from the severity number; a record without one that carries an exception is an error.
fn level(severity: u8) -> &'static str {
    match severity {
        21.. => "fatal",
        17..=20 | 0 => "error",
        13..=16 => "warning",
        9..=12 => "info",
        1..=8 => "debug",
    }
}
