//! Each invariant can fail: a history that breaks it is refused, and the one beside it that does not is taken.

use std::collections::BTreeMap;

use model::alert::{Alert, AlertState, RuleKey};
use model::event::{Actor, Subject};
use model::ids::{EventId, IdSource, SequentialIds};
use model::labels::Labels;
use model::tenant::TenantId;
use model::units::Value;
use serde_json::json;

use super::*;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

/// A journal in the making.
#[derive(Default)]
struct Book {
    ids: SequentialIds,
    ledger: Ledger,
}

impl Book {
    fn alert(&self) -> AlertId {
        AlertId::new(NOW, &self.ids)
    }
    fn tell(&mut self, subject: Subject, kind: EventKind) -> Result<(), String> {
        let (id, seq) = (EventId::new(NOW, &self.ids), self.ledger.seq + 1);
        let event = Event { id, tenant: TenantId::default(), at: NOW, actor: Actor::system("test"), subject, kind };
        self.ledger.read(&Recorded { seq, event })
    }
    fn about(&mut self, alert: AlertId, kind: EventKind) -> Result<(), String> {
        self.tell(Subject::alert(alert, None), kind)
    }
    fn firing(&mut self) -> AlertId {
        let alert = self.alert();
        self.about(alert, fired()).unwrap();
        alert
    }
}

fn rule() -> RuleKey {
    RuleKey { source: "file:a.yaml".into(), group: "g".into(), name: "Errors".into() }
}

fn fired() -> EventKind {
    EventKind::AlertFired {
        rule: rule(),
        labels: Labels::empty(),
        severity: Severity::Critical,
        value: Value::default(),
        summary: String::new(),
        escalation: Some("page".into()),
        remediation: None,
    }
}

fn resolved() -> EventKind {
    EventKind::AlertResolved { value: Value::default() }
}

fn started(run: LadderRunId) -> EventKind {
    EventKind::LadderStarted { run, ladder: "page".into() }
}

fn step(run: LadderRunId, round: u32, step: u32) -> EventKind {
    EventKind::LadderStepTaken { run, ladder: "page".into(), step, round, notify: vec!["pager".into()], people: Vec::new() }
}

fn instance(id: AlertId) -> Instance {
    let alert = Alert {
        id,
        tenant: TenantId::default(),
        rule: rule(),
        fingerprint: 7,
        labels: Labels::empty(),
        annotations: BTreeMap::new(),
        severity: Severity::Critical,
        state: AlertState::Firing { active_at: NOW, fired_at: NOW, keep_firing_since: None },
        value: Value::default(),
        expr: String::new(),
        escalation: Some("page".into()),
        remediation: None,
        acknowledged: None,
        incident: None,
        unknown: false,
        muted: false,
        generator_url: String::new(),
    };
    Instance { alert, memory: Default::default() }
}

fn run(about: AlertId, status: &str, ids: &dyn IdSource) -> LadderRun {
    let body = json!({
        "id": LadderRunId::new(NOW, ids), "tenant": TenantId::default(), "subject": {"about": "alert", "id": about},
        "ladder": {"name": "page", "steps": [{"after": "0s", "notify": ["pager"]}], "repeat": 0}, "route": false, "severity": "critical",
        "title": "", "dedup_key": "7", "status": status, "generation": 0, "round": 0, "step": 1, "started_at": NOW, "round_started": NOW,
        "next_at": null, "notified": ["pager"],
    });
    serde_json::from_value(body).unwrap()
}

fn arrival(receiver: &str, id: NotificationId, action: PageAction, resend: bool) -> Arrival {
    Arrival {
        receiver: receiver.into(),
        id,
        thing: "7".into(),
        action,
        resend,
        asked: true,
        ladder: true,
        subject: Subject::default(),
        seq: 0,
    }
}

#[test]
fn an_event_that_is_missing_is_seen() {
    let mut book = Book::default();
    book.firing();
    book.ledger.seq += 1;
    let event = Event {
        id: EventId::new(NOW, &book.ids),
        tenant: TenantId::default(),
        at: NOW,
        actor: Actor::system("test"),
        subject: Subject::default(),
        kind: EventKind::ReviewDue,
    };
    assert!(book.ledger.read(&Recorded { seq: 2, event }).is_err());
}

#[test]
fn a_transition_twice_or_out_of_order_is_seen() {
    let mut book = Book::default();
    let alert = book.firing();
    assert!(book.about(alert, fired()).is_err(), "fired twice");
    book.about(alert, EventKind::AlertMuted { by: "a silence".into() }).unwrap();
    assert!(book.about(alert, EventKind::AlertMuted { by: "a silence".into() }).is_err(), "muted twice");
    book.about(alert, resolved()).unwrap();
    assert!(book.about(alert, resolved()).is_err(), "resolved twice");
    assert!(book.about(alert, EventKind::AlertUnmuted).is_err(), "unmuted after its end");
    let change =
        EventKind::AlertSeverityChanged { from: Severity::High, to: Severity::Critical, value: Value::default(), escalation: None };
    let other = book.firing();
    assert!(book.about(other, change).is_err(), "from a severity that it does not have");
}

#[test]
fn a_step_twice_or_of_a_ladder_that_stands_still_is_seen() {
    let mut book = Book::default();
    let (alert, id) = (book.firing(), LadderRunId::new(NOW, &SequentialIds::default()));
    book.about(alert, started(id)).unwrap();
    book.about(alert, step(id, 0, 0)).unwrap();
    book.about(alert, step(id, 0, 1)).unwrap();
    book.about(alert, step(id, 1, 0)).unwrap();
    assert!(book.about(alert, step(id, 1, 0)).is_err(), "twice");
    book.about(alert, EventKind::LadderStopped { run: id, ladder: "page".into(), reason: "muted".into() }).unwrap();
    assert!(book.about(alert, step(id, 1, 1)).is_err(), "while it stands still");
    book.about(alert, started(id)).unwrap();
    book.about(alert, step(id, 0, 0)).unwrap();
}

#[test]
fn a_step_after_an_acknowledgement_is_seen() {
    let mut book = Book::default();
    let (alert, id) = (book.firing(), LadderRunId::new(NOW, &SequentialIds::default()));
    book.about(alert, started(id)).unwrap();
    book.about(alert, EventKind::AlertAcknowledged).unwrap();
    assert!(book.about(alert, step(id, 0, 0)).is_err());
    book.about(alert, EventKind::AlertUnacknowledged { reason: "given back".into() }).unwrap();
    book.about(alert, step(id, 0, 1)).unwrap();
    let incident = IncidentId::new(NOW, &SequentialIds::default());
    book.tell(Subject::incident(incident), EventKind::IncidentAcknowledged).unwrap();
    assert!(book.tell(Subject::incident(incident), step(id, 1, 0)).is_err());
    book.tell(Subject::incident(incident), EventKind::IncidentUnacknowledged).unwrap();
    book.tell(Subject::incident(incident), step(id, 1, 1)).unwrap();
}

#[test]
fn a_page_that_leaves_after_an_acknowledgement_is_seen() {
    let mut book = Book::default();
    let (alert, ids) = (book.firing(), SequentialIds::default());
    let page = |subject: Subject| Arrival { subject, ..arrival("hook", NotificationId::new(NOW, &ids), PageAction::Trigger, false) };
    let about = page(Subject::alert(alert, None));
    assert_eq!(book.ledger.arrived(&about), Ok(()));
    book.about(alert, EventKind::AlertAcknowledged).unwrap();
    assert!(book.ledger.arrived(&about).is_err(), "its step was taken in time, but it leaves too late");
    assert_eq!(book.ledger.arrived(&Arrival { ladder: false, ..about.clone() }), Ok(()), "a group's notice informs");
    assert_eq!(book.ledger.arrived(&Arrival { action: PageAction::Acknowledge, ..about.clone() }), Ok(()));
    book.about(alert, EventKind::AlertUnacknowledged { reason: "given back".into() }).unwrap();
    assert_eq!(book.ledger.arrived(&about), Ok(()));
    let incident = IncidentId::new(NOW, &ids);
    book.tell(Subject::incident(incident), EventKind::IncidentAcknowledged).unwrap();
    assert!(book.ledger.arrived(&page(Subject { alert: Some(alert), incident: Some(incident) })).is_err());
}

#[test]
fn an_answer_without_its_question_is_seen() {
    let ids = SequentialIds::default();
    let say = |action| arrival("pager", NotificationId::new(NOW, &ids), action, false);
    for action in [PageAction::Acknowledge, PageAction::Resolve] {
        let mut ledger = Ledger::default();
        assert!(ledger.arrived(&say(action)).is_err(), "{action:?} of what it never heard of");
        assert_eq!(ledger.arrived(&Arrival { asked: false, ..say(action) }), Ok(()), "nobody knows what it heard");
        ledger.arrived(&say(PageAction::Trigger)).unwrap();
        assert_eq!(ledger.arrived(&say(action)), Ok(()));
        assert!(ledger.arrived(&Arrival { receiver: "chat".into(), ladder: false, asked: false, ..say(action) }).is_err(), "another one");
    }
}

#[test]
fn a_record_that_the_journal_does_not_explain_is_seen() {
    let mut book = Book::default();
    let alert = book.firing();
    let record = instance(alert);
    assert_eq!(replay_gives_the_records(&book.ledger, std::slice::from_ref(&record)), Ok(()));
    assert!(replay_gives_the_records(&book.ledger, &[]).is_err(), "lost");
    let unknown = instance(book.alert());
    assert!(replay_gives_the_records(&book.ledger, &[record.clone(), unknown]).is_err(), "without an event");
    let mut muted = record;
    muted.alert.muted = true;
    assert!(replay_gives_the_records(&book.ledger, &[muted]).is_err(), "muted without an event");
}

#[test]
fn a_page_without_a_live_ladder_is_seen() {
    let mut book = Book::default();
    let alert = book.firing();
    let late = NOW.plus(PATIENCE);
    let none = BTreeSet::new();
    assert_eq!(pages_climb(&book.ledger, &[], &none, NOW), Ok(()), "there is time yet");
    assert!(pages_climb(&book.ledger, &[], &none, late).is_err(), "no ladder");
    let running = run(alert, "running", &book.ids);
    assert!(pages_climb(&book.ledger, std::slice::from_ref(&running), &none, late).is_err(), "its next step is no row");
    let rows = BTreeSet::from([format!("{}/0/0/1", running.id)]);
    assert_eq!(pages_climb(&book.ledger, std::slice::from_ref(&running), &rows, late), Ok(()));
    let other = run(book.alert(), "running", &book.ids);
    assert!(pages_climb(&book.ledger, &[other], &rows, late).is_err(), "another alert's ladder");
    assert_eq!(pages_climb(&book.ledger, &[run(alert, "exhausted", &book.ids)], &none, late), Ok(()));
    book.about(alert, EventKind::AlertAcknowledged).unwrap();
    assert_eq!(pages_climb(&book.ledger, &[], &none, late), Ok(()));
}

fn tree(config: serde_json::Value) -> Routing {
    Routing::of(&serde_json::from_value::<alerting::Config>(config).unwrap())
}

/// An alert that no rule gives a ladder, and its story.
fn of_the_tree(book: &mut Book) -> Alert {
    let id = book.firing();
    Alert { escalation: None, labels: Labels::empty().with("service", "shop"), ..instance(id).alert }
}

#[test]
fn a_ladder_of_the_tree_that_does_not_climb_is_seen() {
    let mut book = Book::default();
    let alert = of_the_tree(&mut book);
    let climbs = |ledger: &Ledger, since: Timestamp, runs: &[LadderRun], rows: &BTreeSet<String>| {
        let routing = tree(json!({"route": {"escalation": "page"}}));
        let settled = Settled { routing: &routing, since, now: NOW.plus(PATIENCE) };
        ladders_of_the_tree_climb(ledger, &settled, std::slice::from_ref(&alert), runs, rows)
    };
    let (none, mine) = (BTreeSet::new(), run(alert.id, "running", &book.ids));
    assert!(climbs(&book.ledger, NOW, &[], &none).is_err(), "there is none");
    assert_eq!(climbs(&book.ledger, NOW.plus(PATIENCE), &[], &none), Ok(()), "the tree is new");
    assert!(climbs(&book.ledger, NOW, std::slice::from_ref(&mine), &none).is_err(), "its next step is no row");
    let rows = BTreeSet::from([format!("{}/0/0/1", mine.id)]);
    assert_eq!(climbs(&book.ledger, NOW, std::slice::from_ref(&mine), &rows), Ok(()));
    let mut other = mine.clone();
    other.ladder.name = "inform".into();
    assert!(climbs(&book.ledger, NOW, &[other], &rows).is_err(), "another ladder");
    let held = LadderRun { held_until: Some(NOW.plus(PATIENCE * 2)), ..mine };
    assert!(climbs(&book.ledger, NOW, &[held], &rows).is_err(), "its route has no hours");
}

#[test]
fn a_receiver_that_knows_nothing_is_seen() {
    let mut book = Book::default();
    let alert = of_the_tree(&mut book);
    let cart = json!({"matchers": ["service=cart"], "receivers": []});
    let routing = tree(json!({"route": {"receivers": ["mail", "chat"], "routes": [cart]}}));
    let knows = |ledger: &Ledger, routing: &Routing, groups: &[AlertGroup]| {
        let settled = Settled { routing, since: NOW, now: NOW.plus(PATIENCE * 3) };
        receivers_know_what_fires(ledger, &settled, std::slice::from_ref(&alert), groups, &[])
    };
    assert!(knows(&book.ledger, &routing, &[]).is_err(), "it is in no group");
    let route = routing.root.as_ref().unwrap();
    let mut group = AlertGroup::new(&TenantId::default(), route, route.group_labels(&alert.labels));
    group.first = Some(Member { told: true, ..Member::new(&TenantId::default(), &group.id, alert.id) });
    group.told_to = Some(vec!["mail".into()]);
    assert!(knows(&book.ledger, &routing, std::slice::from_ref(&group)).is_err(), "one of two was told");
    group.told_to = Some(vec!["mail".into(), "chat".into()]);
    assert_eq!(knows(&book.ledger, &routing, std::slice::from_ref(&group)), Ok(()));
    group.first = Some(Member::new(&TenantId::default(), &group.id, alert.id));
    assert!(knows(&book.ledger, &routing, std::slice::from_ref(&group)).is_err(), "of others, before it came");
    let shop = json!({"matchers": ["service=shop"], "mute_time_intervals": ["always"]});
    let always = json!([{"name": "always", "time_intervals": [{}]}]);
    let closed = json!({"time_intervals": always, "route": {"receivers": ["mail"], "routes": [shop]}});
    assert_eq!(knows(&book.ledger, &tree(closed), &[]), Ok(()), "nobody is to be told at this hour");
    book.about(alert.id, EventKind::AlertMuted { by: "a silence".into() }).unwrap();
    assert_eq!(knows(&book.ledger, &routing, &[]), Ok(()));
}

#[test]
fn a_second_copy_is_seen() {
    let id = NotificationId::new(NOW, &SequentialIds::default());
    let twice = |receiver: &str, resend: bool| {
        let copies = [arrival(receiver, id, PageAction::Trigger, false), arrival(receiver, id, PageAction::Trigger, resend)];
        each_arrives_once(&mut BTreeSet::new(), &copies, |receiver| receiver == "pager")
    };
    assert!(twice("pager", true).is_err() && twice("hook", false).is_err());
    assert_eq!(twice("hook", true), Ok(()));
}

#[test]
fn a_last_word_that_is_no_end_is_seen() {
    let ids = SequentialIds::default();
    let say = |action| arrival("pager", NotificationId::new(NOW, &ids), action, false);
    assert_eq!(the_last_word_is_the_end(&[say(PageAction::Trigger), say(PageAction::Resolve)]), Ok(()));
    assert!(the_last_word_is_the_end(&[say(PageAction::Resolve), say(PageAction::Trigger)]).is_err());
    assert!(the_last_word_is_the_end(&[say(PageAction::Trigger), say(PageAction::Acknowledge)]).is_err());
}

#[test]
fn a_commit_of_a_fenced_node_is_seen() {
    let taken = |token| [Taken { node: "a", token, highest: 2 }];
    assert!(fenced_nodes_commit_nothing(&taken(Some(1))).is_err(), "an older token");
    assert!(fenced_nodes_commit_nothing(&taken(None)).is_err(), "no fence at all");
    assert_eq!(fenced_nodes_commit_nothing(&taken(Some(2))), Ok(()));
}
