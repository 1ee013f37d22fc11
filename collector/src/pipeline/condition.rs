//! Conditions: which records a rule or a sampling entry means. What depends on the resource or the scope alone is decided once for it,
//! not for every record. In: a [`MatchConfig`]. Out: a test of a record. Fails: texts that cannot be compiled, by place. Pure.

use super::Problem;
use super::config::{MatchConfig, Signal, SpanKind, Status};
use super::text::Wording;
use crate::record::{Attribute, Value};
use crate::rows::UNKNOWN_SERVICE;

/// What decides the truth of a condition.
#[derive(Clone, Debug)]
pub(crate) enum Condition {
    /// Always.
    True,
    /// All hold.
    All(Vec<Condition>),
    /// One holds.
    Any(Vec<Condition>),
    /// It does not hold.
    Not(Box<Condition>),
    /// Decided by the resource or scope: an index into [`Around`].
    Around(usize),
    /// Decided by the record.
    Record(Leaf),
}

/// A question about the resource or the scope.
#[derive(Clone, Debug)]
pub(crate) enum AroundLeaf {
    /// `service.name`.
    Service(Wording),
    /// An attribute of the resource.
    Resource(String, Wording),
    /// The scope's name.
    Scope(Wording),
}

impl AroundLeaf {
    /// Whether it is the scope's.
    pub(crate) fn of_scope(&self) -> bool {
        matches!(self, AroundLeaf::Scope(_))
    }
    /// The answer for a resource.
    pub(crate) fn resource(&self, attributes: &[Attribute<'_>]) -> bool {
        match self {
            AroundLeaf::Service(wording) => wording.matches(&service(attributes)),
            AroundLeaf::Resource(key, wording) => attribute(attributes, key, wording),
            AroundLeaf::Scope(_) => false,
        }
    }
    /// The answer for a scope.
    pub(crate) fn scope(&self, name: &str) -> bool {
        match self {
            AroundLeaf::Scope(wording) => wording.matches(name),
            AroundLeaf::Service(_) | AroundLeaf::Resource(..) => false,
        }
    }
}

fn service<'p>(attributes: &'p [Attribute<'_>]) -> std::borrow::Cow<'p, str> {
    match crate::rows::attributes::find(attributes, "service.name") {
        name if name.is_empty() => UNKNOWN_SERVICE.into(),
        name => name,
    }
}

fn attribute(attributes: &[Attribute<'_>], key: &str, wording: &Wording) -> bool {
    attributes.iter().find(|attribute| attribute.key == key).is_some_and(|attribute| match &attribute.value {
        Value::Text(text) => wording.matches(text),
        other => wording.matches(&other.text()),
    })
}

/// A question about a record.
#[derive(Clone, Debug)]
pub(crate) enum Leaf {
    Signal(Vec<Signal>),
    Name(Wording),
    Body(Wording),
    Attribute(String, Wording),
    MinSeverity(u8),
    /// Up to this number, 0 (unknown) too.
    MaxSeverity(u8),
    Status(Vec<Status>),
    Kind(Vec<SpanKind>),
    MinDuration(u64),
    MaxDuration(u64),
}

/// What is asked about a record.
pub(crate) struct Facts<'f, 'a> {
    /// Its name.
    pub(crate) name: &'f str,
    /// Its attributes.
    pub(crate) attributes: &'f [Attribute<'a>],
    /// The rest.
    pub(crate) about: About<'f>,
}

/// What only some records have.
pub(crate) enum About<'f> {
    /// A span: OTLP's numbers of status and kind, nanoseconds.
    Span { status: i32, kind: i32, duration: u64 },
    /// A log record: severity number and body.
    Log { severity: i32, body: &'f str },
    /// A metric point.
    Point,
}

impl Leaf {
    fn holds(&self, facts: &Facts<'_, '_>) -> bool {
        let signal = match facts.about {
            About::Span { .. } => Signal::Span,
            About::Log { .. } => Signal::Log,
            About::Point => Signal::Metric,
        };
        match (self, &facts.about) {
            (Leaf::Signal(signals), _) => signals.contains(&signal),
            (Leaf::Name(wording), _) => wording.matches(facts.name),
            (Leaf::Attribute(key, wording), _) => attribute(facts.attributes, key, wording),
            (Leaf::Body(wording), About::Log { body, .. }) => wording.matches(body),
            (Leaf::MinSeverity(least), About::Log { severity, .. }) => *severity >= i32::from(*least),
            (Leaf::MaxSeverity(most), About::Log { severity, .. }) => *severity <= i32::from(*most),
            (Leaf::Status(list), About::Span { status, .. }) => list.iter().any(|one| *one as i32 == *status),
            (Leaf::Kind(list), About::Span { kind, .. }) => list.iter().any(|one| *one as i32 == *kind),
            (Leaf::MinDuration(nanos), About::Span { duration, .. }) => duration >= nanos,
            (Leaf::MaxDuration(nanos), About::Span { duration, .. }) => duration <= nanos,
            (Leaf::Body(_) | Leaf::MinSeverity(_) | Leaf::MaxSeverity(_), _)
            | (Leaf::Status(_) | Leaf::Kind(_) | Leaf::MinDuration(_) | Leaf::MaxDuration(_), _) => false,
        }
    }
}

impl Condition {
    /// Whether it holds; `around` has the answers of the resource and scope.
    pub(crate) fn holds(&self, around: &[bool], facts: &Facts<'_, '_>) -> bool {
        match self {
            Condition::True => true,
            Condition::All(list) => list.iter().all(|one| one.holds(around, facts)),
            Condition::Any(list) => list.iter().any(|one| one.holds(around, facts)),
            Condition::Not(one) => !one.holds(around, facts),
            Condition::Around(at) => around.get(*at).copied().unwrap_or(false),
            Condition::Record(leaf) => leaf.holds(facts),
        }
    }
    /// Whether it can hold for a record of this signal.
    pub(crate) fn may_hold(&self, signal: Signal) -> bool {
        match self {
            Condition::True | Condition::Not(_) | Condition::Around(_) => true,
            Condition::All(list) => list.iter().all(|one| one.may_hold(signal)),
            Condition::Any(list) => list.iter().any(|one| one.may_hold(signal)),
            Condition::Record(leaf) => match leaf {
                Leaf::Signal(signals) => signals.contains(&signal),
                Leaf::Name(_) | Leaf::Attribute(..) => true,
                Leaf::Body(_) | Leaf::MinSeverity(_) | Leaf::MaxSeverity(_) => signal == Signal::Log,
                Leaf::Status(_) | Leaf::Kind(_) | Leaf::MinDuration(_) | Leaf::MaxDuration(_) => signal == Signal::Span,
            },
        }
    }
    /// Whether a question about this satisfies `asks` somewhere in it.
    pub(crate) fn asks(&self, asks: &dyn Fn(&Condition) -> bool) -> bool {
        asks(self)
            || match self {
                Condition::True | Condition::Around(_) | Condition::Record(_) => false,
                Condition::All(list) | Condition::Any(list) => list.iter().any(|one| one.asks(asks)),
                Condition::Not(one) => one.asks(asks),
            }
    }
}

/// Compiles conditions and collects what they ask about resources and scopes.
#[derive(Default)]
pub(crate) struct Compiler {
    /// The questions about resources and scopes.
    pub(crate) around: Vec<AroundLeaf>,
    /// What is wrong.
    pub(crate) problems: Vec<Problem>,
}

impl Compiler {
    fn around(&mut self, leaf: AroundLeaf) -> Condition {
        self.around.push(leaf);
        Condition::Around(self.around.len() - 1)
    }

    fn wording(&mut self, place: &str, key: &str, text: &super::config::TextMatch) -> Wording {
        Wording::new(text).unwrap_or_else(|error| {
            self.problems.push(Problem::new(place, format!("`{key}`: {error}")));
            Wording::Any
        })
    }

    /// Compiles one; what is wrong is told with `place`.
    pub(crate) fn condition(&mut self, place: &str, config: &MatchConfig) -> Condition {
        let mut all = Vec::new();
        if let Some(signals) = &config.signal {
            all.push(Condition::Record(Leaf::Signal(signals.0.clone())));
        }
        if let Some(text) = &config.service {
            let wording = self.wording(place, "service", text);
            all.push(self.around(AroundLeaf::Service(wording)));
        }
        for (key, text) in &config.resource {
            let wording = self.wording(place, key, text);
            all.push(self.around(AroundLeaf::Resource(key.clone(), wording)));
        }
        if let Some(text) = &config.scope {
            let wording = self.wording(place, "scope", text);
            all.push(self.around(AroundLeaf::Scope(wording)));
        }
        self.record(place, config, &mut all);
        if !config.any.is_empty() {
            let list = config.any.iter().enumerate().map(|(at, one)| self.condition(&format!("{place}.any[{at}]"), one)).collect();
            all.push(Condition::Any(list));
        }
        for (at, one) in config.all.iter().enumerate() {
            all.push(self.condition(&format!("{place}.all[{at}]"), one));
        }
        if let Some(one) = &config.not {
            let inner = self.condition(&format!("{place}.not"), one);
            if matches!(inner, Condition::True) {
                self.problems.push(Problem::new(place, "`not` is empty, so nothing would match: say what must not hold"));
            }
            all.push(Condition::Not(Box::new(inner)));
        }
        match (all.len(), all.pop()) {
            (_, None) => Condition::True,
            (1, Some(only)) => only,
            (_, Some(last)) => {
                all.push(last);
                Condition::All(all)
            }
        }
    }

    /// What is asked about the record itself.
    fn record(&mut self, place: &str, config: &MatchConfig, all: &mut Vec<Condition>) {
        if let Some(text) = &config.name {
            all.push(Condition::Record(Leaf::Name(self.wording(place, "name", text))));
        }
        if let Some(status) = &config.status {
            all.push(Condition::Record(Leaf::Status(status.0.clone())));
        }
        if let Some(kind) = &config.kind {
            all.push(Condition::Record(Leaf::Kind(kind.0.clone())));
        }
        if let Some(severity) = config.min_severity {
            all.push(Condition::Record(Leaf::MinSeverity(severity.first())));
        }
        if let Some(severity) = config.max_severity {
            all.push(Condition::Record(Leaf::MaxSeverity(severity.first() + 3)));
        }
        let nanos = |span: model::time::Span| u64::try_from(span.0.as_nanos()).unwrap_or(u64::MAX);
        all.extend(config.min_duration.map(|span| Condition::Record(Leaf::MinDuration(nanos(span)))));
        all.extend(config.max_duration.map(|span| Condition::Record(Leaf::MaxDuration(nanos(span)))));
        for (key, text) in &config.attributes {
            all.push(Condition::Record(Leaf::Attribute(key.clone(), self.wording(place, key, text))));
        }
        if let Some(text) = &config.body {
            all.push(Condition::Record(Leaf::Body(self.wording(place, "body", text))));
        }
        let both = [
            (config.status.is_some() || config.kind.is_some() || config.min_duration.is_some() || config.max_duration.is_some(), "spans"),
            (config.body.is_some() || config.min_severity.is_some() || config.max_severity.is_some(), "log records"),
        ];
        let asked: Vec<&str> = both.iter().filter(|(asked, _)| *asked).map(|(_, what)| *what).collect();
        if asked.len() > 1 {
            let sentence = "asks for what only spans and what only log records have, so nothing would match: use two entries, or `any`";
            self.problems.push(Problem::new(place, sentence));
        }
    }
}
