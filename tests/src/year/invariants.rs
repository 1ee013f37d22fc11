//! What must hold, whatever happens. The [`Ledger`] reads the journal once, in order, and refuses what must not stand there; the functions
//! hold what it has learned against records, work rows and what arrived at providers. Pure: each returns one sentence about what is wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use alerting::ladder::{LadderRun, LadderStatus, LadderSubject};
use alerting::machine::Instance;
use alerting::routing::group::{AlertGroup, Member};
use alerting::routing::tree::Route;
use alerting::routing::{Hours, RoutedLadder, Routing};
use model::alert::Alert;
use model::event::{Event, EventKind, Recorded, Subject};
use model::ids::{AlertId, IncidentId, LadderRunId, NotificationId};
use model::message::PageAction;
use model::severity::Severity;
use model::time::Timestamp;

use super::node::Taken;
use super::outside::Arrival;

/// How long an alert may be without anybody who is told.
pub(super) const PATIENCE: Duration = Duration::from_secs(5 * 60);

/// Where an alert stands by the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Pending,
    Firing,
    Resolved,
    Cancelled,
}

impl Phase {
    fn word(self) -> &'static str {
        match self {
            Phase::Pending => "pending",
            Phase::Firing => "firing",
            Phase::Resolved => "resolved",
            Phase::Cancelled => "cancelled",
        }
    }
}

/// An alert as the journal tells it.
#[derive(Clone, Debug)]
pub(super) struct Story {
    pub phase: Phase,
    pub severity: Option<Severity>,
    pub escalation: bool,
    pub muted: bool,
    pub taken: bool,
    pub incident: Option<IncidentId>,
    /// Since when somebody should be told.
    pub exposed: Timestamp,
}

/// A run of a ladder as the journal tells it.
#[derive(Clone, Debug, Default)]
struct Climb {
    climbs: bool,
    last: Option<(u32, u32)>,
}

/// What the journal has told so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    /// The number of the last event.
    pub seq: u64,
    pub alerts: BTreeMap<AlertId, Story>,
    /// Incidents that somebody has.
    taken: BTreeSet<IncidentId>,
    climbs: BTreeMap<LadderRunId, Climb>,
    /// How many ladder steps were taken.
    pub steps: u64,
    /// How many pages were not sent because somebody had taken meanwhile what they were about.
    pub overtaken: u64,
    /// What each receiver that was told of a beginning was told of.
    began: BTreeSet<(String, String)>,
}

impl Ledger {
    /// Every event stands in the journal once and in order; every alert goes through its states in their order; no step is taken twice or by
    /// a ladder that stands still; and no step is taken about what somebody has.
    pub(super) fn read(&mut self, recorded: &Recorded) -> Result<(), String> {
        if recorded.seq != self.seq + 1 {
            return Err(format!("journal: number {} follows {}", recorded.seq, self.seq));
        }
        self.seq = recorded.seq;
        let unsent = matches!(&recorded.event.kind, EventKind::Noted { details, .. } if details.contains_key("unsent"));
        self.overtaken += u64::from(unsent);
        transitions_are_in_order(self, &recorded.event)?;
        steps_are_taken_once(self, &recorded.event)?;
        nothing_climbs_after_ack(self, &recorded.event)
    }

    /// Nobody is paged about what somebody has, and nobody hears that something is taken of whose beginning he never heard.
    pub(super) fn arrived(&mut self, arrival: &Arrival) -> Result<(), String> {
        nothing_pages_after_ack(self, arrival)?;
        answers_follow_questions(self, arrival)
    }

    /// What somebody has of what this is about.
    fn taken(&self, subject: &Subject) -> Option<String> {
        let alert = subject.alert.filter(|id| self.alerts.get(id).is_some_and(|story| story.taken)).map(|id| id.to_string());
        alert.or_else(|| subject.incident.filter(|id| self.taken.contains(id)).map(|id| id.to_string()))
    }

    fn members(&mut self, incident: Option<IncidentId>) -> impl Iterator<Item = &mut Story> {
        self.alerts.values_mut().filter(move |story| incident.is_some() && story.incident == incident)
    }
}

/// Every transition of every alert is in the journal exactly once and in order.
pub(super) fn transitions_are_in_order(ledger: &mut Ledger, event: &Event) -> Result<(), String> {
    match &event.kind {
        EventKind::IncidentAcknowledged => {
            ledger.taken.extend(event.subject.incident);
            ledger.members(event.subject.incident).for_each(|story| story.taken = true);
            return Ok(());
        }
        EventKind::IncidentUnacknowledged | EventKind::IncidentEscalated { .. } => {
            ledger.taken.retain(|incident| Some(*incident) != event.subject.incident);
            for story in ledger.members(event.subject.incident) {
                (story.taken, story.exposed) = (false, event.at);
            }
            return Ok(());
        }
        _ => {}
    }
    let Some(id) = event.subject.alert else { return Ok(()) };
    let before = ledger.alerts.get(&id).map(|story| story.phase);
    let wrong = |what: &str| Err(format!("journal: alert {id} is {what} while it is {}", before.map_or("unknown", Phase::word)));
    let fresh = |phase| Story { phase, severity: None, escalation: false, muted: false, taken: false, incident: None, exposed: event.at };
    match &event.kind {
        EventKind::AlertPending { .. } if before.is_some() => return wrong("pending again"),
        EventKind::AlertPending { .. } => drop(ledger.alerts.insert(id, fresh(Phase::Pending))),
        EventKind::AlertFired { severity, escalation, .. } => {
            if !matches!(before, None | Some(Phase::Pending)) {
                return wrong("fired");
            }
            let story = Story { severity: Some(*severity), escalation: escalation.is_some(), ..fresh(Phase::Firing) };
            ledger.alerts.insert(id, story);
        }
        EventKind::IncidentOpened { .. } | EventKind::IncidentAlertAttached { .. } => {
            let taken = event.subject.incident.is_some_and(|incident| ledger.taken.contains(&incident));
            if let Some(story) = ledger.alerts.get_mut(&id) {
                story.incident = event.subject.incident;
                story.taken |= taken;
            }
        }
        kind => {
            let Some(story) = ledger.alerts.get_mut(&id) else { return Ok(()) };
            match kind {
                EventKind::AlertCancelled if story.phase == Phase::Pending => story.phase = Phase::Cancelled,
                EventKind::AlertCancelled => return wrong("cancelled"),
                EventKind::AlertResolved { .. } if story.phase == Phase::Firing => story.phase = Phase::Resolved,
                EventKind::AlertResolved { .. } => return wrong("resolved"),
                EventKind::AlertSeverityChanged { from, to, escalation, .. } => {
                    if story.phase != Phase::Firing || story.severity != Some(*from) {
                        return wrong("of another severity");
                    }
                    (story.severity, story.escalation) = (Some(*to), escalation.is_some());
                    story.exposed = event.at;
                }
                EventKind::AlertMuted { .. } if story.phase == Phase::Firing && !story.muted => story.muted = true,
                EventKind::AlertMuted { .. } => return wrong("muted"),
                EventKind::AlertUnmuted if story.phase == Phase::Firing && story.muted => {
                    (story.muted, story.exposed) = (false, event.at);
                }
                EventKind::AlertUnmuted => return wrong("unmuted"),
                EventKind::AlertAcknowledged if story.phase == Phase::Firing => story.taken = true,
                EventKind::AlertAcknowledged => return wrong("acknowledged"),
                EventKind::AlertUnacknowledged { .. } => (story.taken, story.exposed) = (false, event.at),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Within one climb, no step of any repetition is taken twice, and a ladder that stopped takes none.
pub(super) fn steps_are_taken_once(ledger: &mut Ledger, event: &Event) -> Result<(), String> {
    match &event.kind {
        EventKind::LadderStarted { run, .. } => drop(ledger.climbs.insert(*run, Climb { climbs: true, last: None })),
        EventKind::LadderStopped { run, .. } | EventKind::LadderExhausted { run, .. } => {
            ledger.climbs.entry(*run).or_default().climbs = false;
        }
        EventKind::LadderStepTaken { run, step, round, .. } => {
            let climb = ledger.climbs.entry(*run).or_default();
            if !climb.climbs {
                return Err(format!("ladder: run {run} takes step {step} of round {round} while it stands still"));
            }
            if climb.last.is_some_and(|last| last >= (*round, *step)) {
                return Err(format!("ladder: run {run} takes step {step} of round {round} after {:?}", climb.last));
            }
            climb.last = Some((*round, *step));
            ledger.steps += 1;
        }
        _ => {}
    }
    Ok(())
}

/// No ladder takes a step about an alert or an incident that somebody has.
pub(super) fn nothing_climbs_after_ack(ledger: &mut Ledger, event: &Event) -> Result<(), String> {
    let EventKind::LadderStepTaken { ladder, step, .. } = &event.kind else { return Ok(()) };
    match ledger.taken(&event.subject) {
        None => Ok(()),
        Some(id) => Err(format!("ack: ladder {ladder} takes step {step} about {id}, which somebody has")),
    }
}

/// No page leaves about what somebody has at that moment, however long ago its step was taken: a provider that was busy, down or gone is
/// not given it any more.
pub(super) fn nothing_pages_after_ack(ledger: &Ledger, arrival: &Arrival) -> Result<(), String> {
    if !arrival.ladder || arrival.action != PageAction::Trigger {
        return Ok(());
    }
    match ledger.taken(&arrival.about()) {
        None => Ok(()),
        Some(id) => Err(format!("ack: {} is paged with {} about {id}, which somebody has", arrival.receiver, arrival.id)),
    }
}

/// Whoever hears that a thing is taken or over has heard of its beginning. Of a ladder's pages this holds where the provider can be asked:
/// of the others nobody knows what a lost answer meant, and they hear of the end.
pub(super) fn answers_follow_questions(ledger: &mut Ledger, arrival: &Arrival) -> Result<(), String> {
    let place = (arrival.receiver.clone(), arrival.thing.clone());
    match arrival.action {
        PageAction::Trigger => drop(ledger.began.insert(place)),
        PageAction::Acknowledge | PageAction::Resolve if ledger.began.contains(&place) || (arrival.ladder && !arrival.asked) => {}
        PageAction::Acknowledge | PageAction::Resolve => {
            return Err(format!("answer: {} hears {:?} of {}, of whose beginning it never heard", place.0, arrival.action, place.1));
        }
    }
    Ok(())
}

/// Replaying the journal gives every open alert as its record has it.
pub(super) fn replay_gives_the_records(ledger: &Ledger, open: &[Instance]) -> Result<(), String> {
    let told = |story: &Story| (story.phase.word(), story.muted, story.taken);
    for instance in open {
        let alert = &instance.alert;
        let Some(story) = ledger.alerts.get(&alert.id) else { return Err(format!("replay: no event tells of alert {}", alert.id)) };
        let has = (alert.state.name(), alert.muted, alert.acknowledged.is_some());
        if told(story) != has || story.severity.is_some_and(|severity| severity != alert.severity) {
            let severity = (story.severity, alert.severity);
            return Err(format!("replay: alert {} is {has:?} in its record, {:?} by the journal; {severity:?}", alert.id, told(story)));
        }
    }
    let recorded: BTreeSet<AlertId> = open.iter().map(|instance| instance.alert.id).collect();
    let lost = ledger.alerts.iter().find(|(id, story)| matches!(story.phase, Phase::Pending | Phase::Firing) && !recorded.contains(id));
    lost.map_or(Ok(()), |(id, story)| Err(format!("replay: alert {id} is {} by the journal, but has no open record", story.phase.word())))
}

/// An alert of a page-level severity whose rule names a ladder, that is neither muted nor taken, has a ladder that climbs (its next step is a
/// pending row) or was climbed to its end, its own or its incident's, at the latest [`PATIENCE`] after it became so.
pub(super) fn pages_climb(ledger: &Ledger, runs: &[LadderRun], rows: &BTreeSet<String>, now: Timestamp) -> Result<(), String> {
    for (id, story) in ledger.alerts.iter().filter(|(_, story)| story.phase == Phase::Firing && !story.muted && !story.taken) {
        let pages = story.escalation && story.severity.is_some_and(Severity::opens_incident);
        if !pages || now.since(story.exposed) < PATIENCE {
            continue;
        }
        let about = |run: &&LadderRun| is_about(run, *id, story);
        if !runs.iter().filter(about).any(|run| lives(run, rows)) {
            let has: Vec<_> = runs.iter().filter(about).map(|run| (&run.ladder.name, run.status)).collect();
            return Err(format!("page: alert {id} is open, unmuted and untaken since {}, and no ladder climbs: {has:?}", story.exposed));
        }
    }
    Ok(())
}

fn is_about(run: &LadderRun, alert: AlertId, story: &Story) -> bool {
    match run.subject {
        LadderSubject::Alert { id } => id == alert,
        LadderSubject::Incident { id } => story.incident == Some(id),
    }
}

/// Whether it climbs (its next step is a pending row) or was climbed to its end.
fn lives(run: &LadderRun, rows: &BTreeSet<String>) -> bool {
    let next = || rows.contains(&format!("{}/{}/{}/{}", run.id, run.generation, run.round, run.step));
    run.status == LadderStatus::Exhausted || (run.status == LadderStatus::Running && next())
}

/// The tree by which both nodes go.
pub(super) struct Settled<'a> {
    pub routing: &'a Routing,
    /// Since when all that fires was placed by it.
    pub since: Timestamp,
    pub now: Timestamp,
}

impl Settled<'_> {
    /// Alerts that have fired, unmuted and untaken, for so long by this tree, with their stories.
    fn exposed<'l>(&self, ledger: &'l Ledger, firing: &'l [Alert], patience: Duration) -> impl Iterator<Item = (&'l Alert, &'l Story)> {
        let (since, now) = (self.since, self.now);
        let stories = firing.iter().filter_map(|alert| Some((alert, ledger.alerts.get(&alert.id)?)));
        stories.filter(move |(_, story)| {
            story.phase == Phase::Firing && !story.muted && !story.taken && now.since(story.exposed.max(since)) >= patience
        })
    }
}

/// Each ladder that the tree wants for a page-level alert climbs or was climbed to its end, for it or its incident.
pub(super) fn ladders_of_the_tree_climb(
    ledger: &Ledger,
    tree: &Settled<'_>,
    firing: &[Alert],
    runs: &[LadderRun],
    rows: &BTreeSet<String>,
) -> Result<(), String> {
    for (alert, story) in tree.exposed(ledger, firing, PATIENCE).filter(|(alert, _)| alert.severity.opens_incident()) {
        let by_rule = alert.escalation.iter().map(|name| RoutedLadder { name: name.clone(), hours: Hours::default() });
        for wanted in by_rule.chain(tree.routing.ladders(alert)) {
            let mine = |run: &&LadderRun| is_about(run, alert.id, story) && run.ladder.name == wanted.name;
            let found: Vec<&LadderRun> = runs.iter().filter(mine).collect();
            if alert.escalation.is_none() && !found.iter().any(|run| lives(run, rows)) {
                let has: Vec<_> = found.iter().map(|run| (run.subject, run.status)).collect();
                return Err(format!("tree: the tree wants ladder {} for alert {}, and it does not climb: {has:?}", wanted.name, alert.id));
            }
            // A step that the hours hold back is held back by those that the route has now.
            let opens = tree.routing.calendar.closed(&wanted.hours, tree.now).map_or(tree.now, |closed| closed.until);
            let late = |run: &&&LadderRun| run.status == LadderStatus::Running && run.held_until.is_some_and(|until| until > opens);
            if let Some(run) = found.iter().find(late) {
                return Err(format!(
                    "tree: ladder {} of alert {} waits until {:?}, the route until {opens}",
                    wanted.name, alert.id, run.held_until
                ));
            }
        }
    }
    Ok(())
}

/// Of each alert that the tree leads to receivers all of them know, as soon as the route's hours and intervals allow it.
pub(super) fn receivers_know_what_fires(
    ledger: &Ledger,
    tree: &Settled<'_>,
    firing: &[Alert],
    groups: &[AlertGroup],
    members: &[Member],
) -> Result<(), String> {
    // A wait, and an interval where others of the group were told just before.
    let long = 3 * PATIENCE;
    let places: BTreeMap<(&str, AlertId), &Member> = members.iter().map(|member| ((member.group.as_str(), member.alert), member)).collect();
    for (alert, _) in tree.exposed(ledger, firing, long) {
        let open = |route: &&Route| (0..=3).all(|ago| tree.routing.calendar.closed(&route.hours, tree.now.minus(PATIENCE * ago)).is_none());
        for route in tree.routing.routes(alert).into_iter().filter(|route| !route.receivers.is_empty()).filter(open) {
            let id = AlertGroup::id_of(route, &route.group_labels(&alert.labels));
            let group = groups.iter().find(|group| group.id == id);
            let first = group.and_then(|group| group.first.as_ref()).filter(|first| first.alert == alert.id);
            let member = first.or_else(|| places.get(&(id.as_str(), alert.id)).copied());
            let knows = |name: &String| group.and_then(|group| group.told_to.as_ref()).is_some_and(|told_to| told_to.contains(name));
            if !member.is_some_and(|member| member.told) || !route.receivers.iter().all(knows) {
                return Err(format!(
                    "tree: {:?} of route {} do not know that alert {} fires: {member:?} {group:?}",
                    route.receivers, route.id, alert.id
                ));
            }
        }
    }
    Ok(())
}

/// A provider that knows idempotency keys or can be asked gets each notification once; another one gets a second copy only marked as such.
/// `seen` is what arrived before, `asked` says which receivers know.
pub(super) fn each_arrives_once(
    seen: &mut BTreeSet<NotificationId>,
    arrivals: &[Arrival],
    asked: impl Fn(&str) -> bool,
) -> Result<(), String> {
    for arrival in arrivals {
        if !seen.insert(arrival.id) && (asked(&arrival.receiver) || !arrival.resend) {
            return Err(format!("delivery: {} reached {} a second time, unmarked", arrival.id, arrival.receiver));
        }
    }
    Ok(())
}

/// Once all is quiet, whoever heard of the beginning of a thing heard of its end last.
pub(super) fn the_last_word_is_the_end(arrivals: &[Arrival]) -> Result<(), String> {
    let last: BTreeMap<(&str, &str), &Arrival> =
        arrivals.iter().map(|arrival| ((arrival.receiver.as_str(), arrival.thing.as_str()), arrival)).collect();
    let open = last.values().find(|arrival| arrival.action != PageAction::Resolve);
    open.map_or(Ok(()), |arrival| {
        Err(format!("last word: {} was last told to {:?} {}, though nothing fires", arrival.receiver, arrival.action, arrival.thing))
    })
}

/// What the loops of a node commit carries the newest token: a node whose lease went to another one changes nothing.
pub(super) fn fenced_nodes_commit_nothing(taken: &[Taken]) -> Result<(), String> {
    match taken.iter().find(|one| one.token != Some(one.highest)) {
        Some(Taken { node, token, highest }) => Err(format!("fence: node {node} committed with token {token:?} while {highest} was out")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
