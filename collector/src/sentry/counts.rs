//! What is counted: sessions, what clients did not send, and check-ins of jobs. Out: series, one point each. Counts are deltas, like
//! the series of spans: `increase` adds them up. Label values that a sender could make up are taken from fixed lists.

use std::collections::BTreeMap;

use super::Said;
use super::event::{CheckIn, ClientReport, Session, SessionAttributes, Sessions};
use super::loose::Num;
use crate::admission::Full;
use crate::record::{Attribute, Data, Kind, Metric, Point, Resource};
use crate::rows::Builder;

/// OTLP's delta temporality.
const DELTA: i32 = 1;
/// The longest slug of a monitor, as Sentry has it.
const MAX_SLUG: usize = 50;
/// How a session ends, or that it began.
const SESSION_STATUSES: [&str; 4] = ["exited", "crashed", "abnormal", "errored"];
/// Why clients discard.
const REASONS: [&str; 17] = [
    "backpressure",
    "batch_overflow",
    "before_send",
    "buffer_overflow",
    "cache_overflow",
    "event_processor",
    "ignored",
    "insufficient_data",
    "internal_sdk_error",
    "invalid",
    "network_error",
    "no_parent_span",
    "queue_overflow",
    "ratelimit_backoff",
    "sample_rate",
    "send_error",
    "too_many_spans",
];
/// What they discard.
const CATEGORIES: [&str; 15] = [
    "attachment",
    "default",
    "error",
    "feedback",
    "internal",
    "log_byte",
    "log_item",
    "monitor",
    "profile",
    "profile_chunk",
    "replay",
    "security",
    "session",
    "span",
    "transaction",
];
/// What check-ins say.
const CHECK_IN_STATUSES: [&str; 3] = ["ok", "error", "in_progress"];

/// A series, by its metric and labels.
type Key = (&'static str, Vec<(&'static str, String)>);

/// The counts of one envelope.
#[derive(Default)]
pub(super) struct Counts {
    sums: BTreeMap<Key, f64>,
    gauges: BTreeMap<Key, f64>,
}

/// One of a list, or `other`.
fn known(value: &str, list: &[&'static str]) -> String {
    list.iter().find(|known| **known == value).map_or("other", |known| known).to_owned()
}

fn number(number: Num) -> f64 {
    // More is no count: it would drown all others.
    number.0.filter(|number| (0.0..=1e9).contains(number)).unwrap_or(0.0)
}

impl Counts {
    fn add(&mut self, metric: &'static str, labels: Vec<(&'static str, String)>, count: f64) {
        if count > 0.0 {
            *self.sums.entry((metric, labels)).or_default() += count;
        }
    }
    fn sessions(&mut self, of: Option<&SessionAttributes<'_>>, status: &str, count: f64) {
        let of = |field: fn(&SessionAttributes<'_>) -> String| of.map(field).unwrap_or_default();
        let labels = vec![
            ("environment", of(|attributes| attributes.environment.to_string())),
            ("release", of(|attributes| attributes.release.to_string())),
            ("status", status.to_owned()),
        ];
        self.add("watchfire.sentry.sessions", labels, count);
    }
    /// A session that began, or ended.
    pub(super) fn session(&mut self, session: &Session<'_>) {
        let of = session.attrs.0.as_ref();
        if session.init.0 == Some(true) {
            self.sessions(of, "started", 1.0);
        }
        let status = match &*session.status {
            "exited" if session.errors.0.is_some_and(|errors| errors > 0.0) => "errored",
            status => status,
        };
        if SESSION_STATUSES.contains(&status) {
            self.sessions(of, status, 1.0);
        }
    }
    /// Sessions that a server counted: each began and ended.
    pub(super) fn session_aggregates(&mut self, sessions: &Sessions<'_>) {
        let of = sessions.attrs.0.as_ref();
        for minute in &sessions.aggregates.0 {
            let counts = [minute.exited, minute.crashed, minute.abnormal, minute.errored].map(number);
            self.sessions(of, "started", counts.iter().sum());
            for (status, count) in SESSION_STATUSES.iter().zip(counts) {
                self.sessions(of, status, count);
            }
        }
    }
    /// What a client did not send.
    pub(super) fn client_report(&mut self, report: &ClientReport<'_>) {
        for discarded in &report.discarded_events.0 {
            let labels = vec![("category", known(&discarded.category, &CATEGORIES)), ("reason", known(&discarded.reason, &REASONS))];
            self.add("watchfire.sentry.discarded_events", labels, number(discarded.quantity));
        }
    }
    /// A job says how it is: counted, with the time of its arrival and how long it took, so that a rule can tell when none came.
    pub(super) fn check_in(&mut self, check_in: &CheckIn<'_>, now: f64) {
        let slug = &check_in.monitor_slug[..check_in.monitor_slug.floor_char_boundary(MAX_SLUG)];
        let labels = vec![
            ("environment", check_in.environment.to_string()),
            ("monitor", slug.to_owned()),
            ("status", known(&check_in.status, &CHECK_IN_STATUSES)),
        ];
        self.add("watchfire.checkin", labels.clone(), 1.0);
        self.gauges.insert(("watchfire.checkin.timestamp", labels.clone()), now);
        if let Some(duration) = check_in.duration.0 {
            self.gauges.insert(("watchfire.checkin.duration", labels), duration);
        }
    }
    /// Adds the series.
    pub(super) fn store<'a>(self, said: &Said<'_>, to: &mut Builder<'a, '_>) -> Result<(), Full> {
        if self.sums.is_empty() && self.gauges.is_empty() {
            return Ok(());
        }
        let service = said.service(to.arrival()).into_owned();
        to.enter_resource(Resource { attributes: vec![Attribute::text("service.name", service.clone())].into(), ..Resource::default() });
        let now = u64::try_from(to.arrival().at.nanos()).unwrap_or(0);
        let sums = self.sums.into_iter().map(|(key, value)| (Kind::Sum, key, value));
        for (kind, (name, labels), value) in sums.chain(self.gauges.into_iter().map(|(key, value)| (Kind::Gauge, key, value))) {
            let (description, unit) = about(name);
            let sum = kind == Kind::Sum;
            to.enter_metric(Metric {
                name: name.into(),
                description: description.into(),
                unit: unit.into(),
                kind,
                temporality: if sum { DELTA } else { 0 },
                monotonic: sum,
            });
            let mut attributes: Vec<Attribute<'a>> = labels.into_iter().map(|(key, value)| Attribute::text(key, value)).collect();
            attributes.push(Attribute::text("service.name", service.clone()));
            to.point(&mut Point { time: now, attributes: attributes.into(), data: Data::Number(value), ..Point::default() })?;
        }
        Ok(())
    }
}

/// What a metric is, and its unit.
fn about(metric: &str) -> (&'static str, &'static str) {
    match metric {
        "watchfire.sentry.sessions" => ("Sessions that began (status started) and how they ended, as Sentry's SDKs report them.", ""),
        "watchfire.sentry.discarded_events" => ("What Sentry's SDKs did not send, and why.", ""),
        "watchfire.checkin" => ("Check-ins of jobs.", ""),
        "watchfire.checkin.timestamp" => ("When the last check-in of a job arrived.", "s"),
        _ => ("How long a job took, as its check-in says.", "s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(counts: &Counts) -> Vec<String> {
        let line = |((metric, labels), value): (&Key, &f64)| {
            let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
            format!("{metric}{{{}}} {value}", labels.join(","))
        };
        counts.sums.iter().chain(&counts.gauges).map(line).collect()
    }

    #[test]
    fn sessions_are_counted_when_they_begin_and_when_they_end() {
        let mut counts = Counts::default();
        for json in [
            r#"{"init":true,"status":"ok","attrs":{"release":"1.0","environment":"prod"}}"#,
            r#"{"init":false,"status":"ok","errors":1,"attrs":{"release":"1.0","environment":"prod"}}"#,
            r#"{"init":false,"status":"exited","errors":1,"attrs":{"release":"1.0","environment":"prod"}}"#,
            r#"{"init":true,"status":"crashed","attrs":{"release":"1.0","environment":"prod"}}"#,
            r#"{"status":"no such"}"#,
        ] {
            counts.session(&serde_json::from_str(json).unwrap());
        }
        let of = |status: &str, count: u32| format!("watchfire.sentry.sessions{{environment=prod,release=1.0,status={status}}} {count}");
        assert_eq!(shown(&counts), [of("crashed", 1), of("errored", 1), of("started", 2)]);
        let mut counts = Counts::default();
        let json =
            r#"{"aggregates":[{"exited":3,"errored":1},{"exited":2,"crashed":-4},7],"attrs":{"release":"1.0","environment":"prod"}}"#;
        counts.session_aggregates(&serde_json::from_str(json).unwrap());
        assert_eq!(shown(&counts), [of("errored", 1), of("exited", 5), of("started", 6)]);
    }

    #[test]
    fn senders_cannot_make_up_labels_of_reports() {
        let mut counts = Counts::default();
        let json = r#"{"discarded_events":[{"reason":"sample_rate","category":"transaction","quantity":2},
            {"reason":"x1","category":"y1","quantity":1},{"reason":"x2","category":"y2","quantity":1},{"reason":"invalid","category":"error","quantity":1e300}]}"#;
        counts.client_report(&serde_json::from_str(json).unwrap());
        assert_eq!(
            shown(&counts),
            [
                "watchfire.sentry.discarded_events{category=other,reason=other} 2",
                "watchfire.sentry.discarded_events{category=transaction,reason=sample_rate} 2"
            ]
        );
    }

    #[test]
    fn a_check_in_is_a_heartbeat() {
        let mut counts = Counts::default();
        let json = r#"{"check_in_id":"a","monitor_slug":"nightly","status":"ok","duration":12.5,"environment":"prod"}"#;
        counts.check_in(&serde_json::from_str(json).unwrap(), 1_000.0);
        assert_eq!(
            shown(&counts),
            [
                "watchfire.checkin{environment=prod,monitor=nightly,status=ok} 1",
                "watchfire.checkin.duration{environment=prod,monitor=nightly,status=ok} 12.5",
                "watchfire.checkin.timestamp{environment=prod,monitor=nightly,status=ok} 1000",
            ]
        );
    }
}
