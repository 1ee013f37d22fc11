//! Stories on a simulated world: whole incidents from the first alert to the review, with crashes, silences and a dead telemetry store.

mod api;
mod deployments;
mod random;
mod world;

use model::event::{Actor, EventKind, Subject};
use model::ids::{IncidentId, LadderRunId, RemediationId};
use model::incident::{Incident, IncidentStatus};
use model::message::Message;
use model::repair::RepairOutcome;
use model::severity::Severity;
use model::state::{Commit, Expect, Records, StateError, all, by_key, load};
use model::tenant::TenantId;
use model::time::Span;
use model::work::{Queue, WorkState};

use crate::Config;
use crate::groups::IncidentGroup;
use crate::lifecycle::{Command, decide};
use crate::postmortem::Postmortem;
use world::World;

fn with_chat() -> Config {
    Config {
        chat_receiver: Some("slack".into()),
        chat_invite: vec!["U1".into()],
        review_receivers: vec!["mail".into()],
        review_organizer: Some("lead@example.org".into()),
        review_attendees: vec!["ana@example.org".into()],
        ..Config::default()
    }
}

/// One outage with everything: two alerts, a ladder step, a repair whose first rung fails and whose second one helps.
async fn outage(world: &World) -> Result<(), StateError> {
    let first = world.alert("CheckoutErrors", "checkout", Severity::High);
    world.fired(&first).await?;
    world.pass(10).await?;
    let second = world.alert("CheckoutSlow", "checkout", Severity::Critical);
    world.fired(&second).await?;
    world.pass(20).await?;
    let subject = Subject::alert(first.id, None);
    let run = LadderRunId::derived(first.state.active_at(), "run");
    let notify = vec!["sms".to_owned()];
    world
        .say(subject.clone(), EventKind::LadderStepTaken { run, ladder: "critical".into(), step: 1, round: 0, notify, people: Vec::new() })
        .await?;
    let run = RemediationId::derived(first.state.active_at(), "run");
    let rungs = vec!["restart".to_owned(), "scale".to_owned()];
    world.say(subject.clone(), EventKind::RepairStarted { run, remediation: "scale-checkout".into(), rungs }).await?;
    world.pass(30).await?;
    for (rung, cleared) in [("restart", false), ("scale", true)] {
        let rung = rung.to_owned();
        let result = "POST http://checkout/admin -> 200".to_owned();
        world.say(subject.clone(), EventKind::RepairActed { run, rung: rung.clone(), result: result.clone(), ok: true }).await?;
        world.pass(30).await?;
        let detail = if cleared { "no longer true" } else { "still true, value 0.08" }.to_owned();
        world.say(subject.clone(), EventKind::RepairChecked { run, rung: rung.clone(), cleared, detail }).await?;
        if !cleared {
            world.say(subject.clone(), EventKind::RepairUndone { run, rung, result, ok: true }).await?;
        }
    }
    for alert in [first.id, second.id] {
        world.clear(alert).await?;
    }
    world.pass(5).await?;
    let outcome = RepairOutcome::Verified { rung: "scale".into() };
    world.say(subject, EventKind::RepairFinished { run, remediation: "scale-checkout".into(), outcome }).await?;
    world.pass(60).await
}

#[tokio::test]
async fn an_outage_becomes_one_incident_that_ends_with_a_postmortem() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(with_chat(), folder.path());
    outage(&world).await.unwrap();

    let incidents = world.all().await;
    let [incident] = incidents.as_slice() else { panic!("one outage, one incident: {incidents:#?}") };
    assert_eq!((incident.number, incident.status, incident.severity), (1, IncidentStatus::Resolved, Severity::Critical));
    assert_eq!((incident.alerts.len(), incident.firing.len(), incident.repair), (2, 0, None));
    let clocks = incident.clocks;
    assert_eq!(clocks.detected.since(clocks.started).as_secs(), 120);
    assert_eq!(clocks.mitigated, clocks.resolved);
    assert_eq!(clocks.resolved.unwrap().since(clocks.detected).as_secs(), 125);
    assert_eq!(
        world.tags(incident.id),
        [
            "incident_opened",
            "chat_channel_opened",
            "incident_alert_attached",
            "incident_mitigated",
            "incident_resolved",
            "chat_channel_archived",
            "postmortem_drafted",
            "review_scheduled"
        ]
    );
    let chat = incident.chat.clone().unwrap();
    assert!(chat.archived && chat.name == "incident-1" && chat.id == "C1");
}

#[tokio::test]
async fn the_channel_is_archived_after_the_last_post_and_told_what_matters() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(with_chat(), folder.path());
    outage(&world).await.unwrap();
    let posts: Vec<String> = world
        .messages()
        .into_iter()
        .filter_map(|message| match message {
            Message::ChatOpen { name, invite, text, .. } => Some(format!("open {name} {invite:?} {text}")),
            Message::ChatPost { text, .. } => Some(text),
            Message::ChatArchive { .. } => Some("archive".into()),
            Message::Document { title, .. } => Some(title),
            Message::Notice(_) => None,
        })
        .collect();
    assert!(posts[0].starts_with("open incident-1 [\"U1\"] *Incident 1* (high): checkout fails 8% of requests"), "{}", posts[0]);
    for wanted in ["the alert joined", "ladder critical, step 2: notifies sms", "was undone", "rung scale helped"] {
        assert!(posts.iter().any(|post| post.contains(wanted)), "{wanted}: {posts:#?}");
    }
    let farewell = posts.iter().position(|post| post.contains("the incident is resolved: alerts cleared")).unwrap();
    let archive = posts.iter().position(|post| post == "archive").unwrap();
    assert!(farewell < archive);
    assert!(posts[farewell].contains("http://localhost:7700/api/watchfire/v1/incidents/1/postmortem"));
    assert_eq!(posts.iter().filter(|post| *post == "archive").count(), 1);
    assert!(posts.iter().any(|post| post.starts_with("Invitation: review of incident 1")));
}

#[tokio::test]
async fn posts_that_wait_keep_the_channel_open() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(with_chat(), folder.path());
    let alert = world.fire("Down", "cart", Severity::Critical).await;
    world.settle().await.unwrap();
    world.clear(alert).await.unwrap();
    // Slack is slow: the rows are written, nobody takes them yet.
    for follower in world.incidents.followers() {
        while model::drive::advance(&*follower, &*world.state, None, world.now(), 16).await.unwrap() > 0 {}
    }
    for worker in world.incidents.workers() {
        model::drive::work_once(&*worker, &*world.state, None, world.now()).await.unwrap();
    }
    assert!(!world.messages().iter().any(|message| matches!(message, Message::ChatArchive { .. })));
    world.pass(10).await.unwrap();
    assert!(world.incident(1).await.chat.unwrap().archived);
}

#[tokio::test]
async fn the_postmortem_is_the_one_that_was_read_and_found_good() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(with_chat(), folder.path());
    outage(&world).await.unwrap();
    let incident = world.incident(1).await;
    let postmortem: Postmortem = by_key(&*world.state, &TenantId::default(), &incident.id.to_string()).await.unwrap().unwrap().entity;
    let path = folder.path().join("postmortems/default/incident-1.md");
    assert_eq!(postmortem.path.as_deref(), path.to_str());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), postmortem.markdown);
    let wanted = include_str!("stories/postmortem.md");
    let actual = std::env::temp_dir().join("watchfire-postmortem-actual.md");
    if postmortem.markdown != wanted {
        std::fs::write(&actual, &postmortem.markdown).unwrap();
    }
    assert!(postmortem.markdown == wanted, "the draft differs from stories/postmortem.md; it lies in {}", actual.display());
    let calendar = std::fs::read_to_string(path.with_extension("ics")).unwrap();
    for line in ["METHOD:REQUEST", "DTSTART:20260226T061525Z", "ORGANIZER:mailto:lead@example.org", "END:VCALENDAR"] {
        assert!(calendar.contains(line), "{line} in {calendar}");
    }
    assert!(calendar.contains("ATTENDEE") && calendar.replace("\r\n ", "").contains("mailto:ana@example.org"));
}

#[tokio::test]
async fn the_review_is_reminded_of_when_it_is_due_unless_all_is_done() {
    for closed in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let world = World::new(with_chat(), folder.path());
        outage(&world).await.unwrap();
        if closed {
            let mut found =
                load::<Incident>(&*world.state, &TenantId::default(), &world.incident(1).await.id.to_string()).await.unwrap().unwrap();
            found.entity.status = IncidentStatus::Closed;
            let mut commit = Commit::at(world.now());
            commit.put(&found.entity, Expect::Version(found.version)).unwrap();
            world.state.commit(commit).await.unwrap();
        }
        world.pass(24 * 3600).await.unwrap();
        let incident = world.incident(1).await;
        assert_eq!(world.tags(incident.id).iter().any(|tag| tag == "review_due"), !closed);
        let reminders =
            world.messages().into_iter().filter(|one| matches!(one, Message::Document { title, .. } if title.starts_with("Reminder")));
        assert_eq!(reminders.count(), usize::from(!closed));
    }
}

#[tokio::test]
async fn the_clocks_are_metrics_and_series() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(Config::default(), folder.path());
    outage(&world).await.unwrap();
    let text = prometheus::TextEncoder::new().encode_to_string(&world.registry.gather()).unwrap();
    for line in [
        "watchfire_incident_time_to_detect_seconds_sum{severity=\"critical\"} 120",
        "watchfire_incident_time_to_resolve_seconds_sum{severity=\"critical\"} 125",
        "watchfire_incidents_total{severity=\"critical\"} 1",
        "watchfire_incidents_open 0",
        "watchfire_postmortems_total{evidence=\"complete\"} 1",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    assert!(!text.contains("time_to_acknowledge_seconds_sum"), "nobody acknowledged");
    let series: Vec<String> =
        world.telemetry.series.lock().unwrap().iter().map(|(labels, sample)| format!("{labels} {}", sample.value)).collect();
    assert_eq!(
        series,
        [
            "watchfire_incident_time_to_detect_seconds{incident=\"1\", service=\"checkout\", severity=\"high\"} 120",
            "watchfire_incident_time_to_mitigate_seconds{incident=\"1\", service=\"checkout\", severity=\"critical\"} 125",
            "watchfire_incident_time_to_resolve_seconds{incident=\"1\", service=\"checkout\", severity=\"critical\"} 125"
        ]
    );
}

#[tokio::test]
async fn how_long_nobody_had_it_is_a_metric() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(Config::default(), folder.path());
    let alert = world.fire("Down", "cart", Severity::Critical).await;
    world.pass(40).await.unwrap();
    let mut found = load::<Incident>(&*world.state, &TenantId::default(), &world.incident(1).await.id.to_string()).await.unwrap().unwrap();
    found.entity = decide(&found.entity, &Command::Acknowledge, world.now(), &Actor::User { id: "ana".into() }).unwrap().incident;
    let waited = world.now().since(found.entity.clocks.detected).as_secs();
    assert!(waited >= 40);
    let mut commit = Commit::at(world.now());
    commit.put(&found.entity, Expect::Version(found.version)).unwrap();
    world.state.commit(commit).await.unwrap();
    world.pass(300).await.unwrap();
    world.clear(alert).await.unwrap();
    world.pass(60).await.unwrap();
    let text = prometheus::TextEncoder::new().encode_to_string(&world.registry.gather()).unwrap();
    let line = format!("watchfire_incident_time_to_acknowledge_seconds_sum{{severity=\"critical\"}} {waited}\n");
    assert!(text.contains(&line), "{line} in {text}");
}

#[tokio::test]
async fn a_dead_telemetry_store_delays_the_draft_and_then_is_named_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(Config { evidence_attempts: 3, ..Config::default() }, folder.path());
    *world.telemetry.dead.lock().unwrap() = true;
    let alert = world.fire("Down", "cart", Severity::Critical).await;
    world.settle().await.unwrap();
    world.clear(alert).await.unwrap();
    world.settle().await.unwrap();
    let incident = world.incident(1).await;
    let found = || async { by_key::<Postmortem>(&*world.state, &TenantId::default(), &incident.id.to_string()).await.unwrap() };
    assert!(found().await.is_none(), "it is tried again first");
    world.pass(300).await.unwrap();
    let markdown = found().await.unwrap().entity.markdown;
    assert!(markdown.contains("was asked 3 times and did not answer"), "{markdown}");
    assert!(markdown.contains("Fill in the figures that the telemetry store could not give"));
    assert!(!markdown.contains("No error event was recorded"), "what is not known is not said to be nothing");
    *world.telemetry.dead.lock().unwrap() = false;
    world.pass(300).await.unwrap();
    assert!(world.telemetry.series.lock().unwrap().iter().any(|(labels, _)| labels.to_string().contains("time_to_resolve")));
}

#[tokio::test]
async fn what_is_muted_or_mild_opens_nothing_until_it_counts() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(Config::default(), folder.path());
    let mild = world.fire("Odd", "cart", Severity::Warning).await;
    let mut muted = world.alert("Down", "cart", Severity::Critical);
    muted.muted = true;
    world.fired(&muted).await.unwrap();
    world.settle().await.unwrap();
    assert_eq!(world.all().await, []);

    muted.muted = false;
    let mut commit = Commit::at(world.now());
    commit.put(&muted, Expect::Any).unwrap();
    commit.event(world.event(Subject::alert(muted.id, None), EventKind::AlertUnmuted));
    world.state.commit(commit).await.unwrap();
    world.settle().await.unwrap();
    let (from, to, value) = (Severity::Warning, Severity::High, model::units::Value(0.1));
    world.say(Subject::alert(mild, None), EventKind::AlertSeverityChanged { from, to, value, escalation: None }).await.unwrap();
    world.settle().await.unwrap();
    let incidents = world.all().await;
    assert_eq!(incidents.len(), 1, "the same service, the same outage");
    assert_eq!(incidents[0].alerts, [muted.id, mild]);
}

#[tokio::test]
async fn other_services_are_other_incidents_with_the_next_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(Config::default(), folder.path());
    for service in ["cart", "checkout", "search"] {
        world.fire("Down", service, Severity::Critical).await;
    }
    world.settle().await.unwrap();
    let numbers: Vec<u64> = world.all().await.iter().map(|incident| incident.number).collect();
    assert_eq!(numbers, [1, 2, 3]);
}

/// A list of records shows a thousand: whose incident an alert is in does not depend on it.
#[tokio::test]
async fn the_oldest_of_very_many_open_incidents_is_joined_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(Config::default(), folder.path());
    let first = world.fire("Down", "the first", Severity::Critical).await;
    world.settle().await.unwrap();
    let mut commit = Commit::at(world.now());
    let oldest = world.incident(1).await;
    for number in 2..1_200u64 {
        let id = IncidentId::derived(world.now(), &number.to_string());
        let group = [("service_name", number.to_string())].into_iter().collect();
        let other = Incident { id, number, group, alerts: Vec::new(), firing: Vec::new(), ..oldest.clone() };
        commit.put(&other, Expect::New).unwrap();
    }
    world.state.commit(commit).await.unwrap();
    let second = world.fire("Slow", "the first", Severity::High).await;
    world.settle().await.unwrap();
    assert_eq!(world.incident(1).await.alerts, [first, second]);
    for alert in [first, second] {
        world.clear(alert).await.unwrap();
    }
    world.settle().await.unwrap();
    assert_eq!(world.incident(1).await.status, IncidentStatus::Resolved);
    let counted = |text: String| text.lines().any(|line| line == "watchfire_incidents_open 1198");
    assert!(counted(prometheus::TextEncoder::new().encode_to_string(&world.registry.gather()).unwrap()));
}

/// Incidents that opened before there were records of groups, also where two are open for one group.
#[tokio::test]
async fn what_was_open_before_groups_had_records_is_joined() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new(Config::default(), folder.path());
    for service in ["cart", "search"] {
        world.fire("Down", service, Severity::Critical).await;
    }
    world.settle().await.unwrap();
    let mut commit = Commit::at(world.now());
    for found in all::<IncidentGroup>(&*world.state, None, &[], 0).await.unwrap() {
        commit.delete(&found.entity, Expect::Version(found.version));
    }
    assert_eq!(commit.puts.len(), 2);
    let twin = Incident { id: IncidentId::derived(world.now(), "twin"), number: 99, ..world.incident(1).await };
    commit.put(&Incident { alerts: Vec::new(), firing: Vec::new(), ..twin }, Expect::New).unwrap();
    world.state.commit(commit).await.unwrap();
    world.restart();
    let arrivals = [("search", 2), ("cart", 99), ("search", 2), ("cart", 99), ("checkout", 3), ("checkout", 3)];
    for (name, (service, number)) in ["A", "B", "C", "D", "E", "F"].into_iter().zip(arrivals) {
        let alert = world.fire(name, service, Severity::High).await;
        world.settle().await.unwrap();
        assert!(world.incident(number).await.alerts.contains(&alert), "{service}");
    }
    assert_eq!((world.all().await.len(), all::<IncidentGroup>(&*world.state, None, &[], 0).await.unwrap().len()), (4, 3));
}

#[tokio::test]
async fn with_a_hold_an_alert_that_returns_keeps_the_incident_open() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(Config { resolve_after: Span::secs(60), ..Config::default() }, folder.path());
    let first = world.fire("Down", "cart", Severity::Critical).await;
    world.pass(30).await.unwrap();
    world.clear(first).await.unwrap();
    world.pass(40).await.unwrap();
    let again = world.fire("Down", "cart", Severity::Critical).await;
    world.pass(5).await.unwrap();
    world.clear(again).await.unwrap();
    world.pass(40).await.unwrap();
    assert!(world.incident(1).await.status.is_open(), "the first hold has run out, the second has not");
    world.pass(30).await.unwrap();
    let incident = world.incident(1).await;
    assert_eq!((incident.status, incident.alerts.len()), (IncidentStatus::Resolved, 2));
    assert_eq!(world.all().await.len(), 1);
}

#[tokio::test]
async fn an_acknowledged_alert_acknowledges_its_incident() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(with_chat(), folder.path());
    let alert = world.fire("Down", "cart", Severity::Critical).await;
    world.pass(30).await.unwrap();
    let mut event = world.event(Subject::alert(alert, None), EventKind::AlertAcknowledged);
    event.actor = Actor::Chat { provider: "slack".into(), id: "U1".into() };
    let mut commit = Commit::at(world.now());
    commit.event(event);
    world.state.commit(commit).await.unwrap();
    world.settle().await.unwrap();
    let incident = world.incident(1).await;
    assert_eq!(incident.status, IncidentStatus::Acknowledged);
    assert_eq!(incident.acknowledged.unwrap().by.to_string(), "U1 (slack)");
    // Given back, or snoozed and over: the incident is nobody's again, and its ladders climb.
    let reason = "it was snoozed until now".to_owned();
    let mut commit = Commit::at(world.now());
    commit.event(world.event(Subject::alert(alert, None), EventKind::AlertUnacknowledged { reason }));
    world.state.commit(commit).await.unwrap();
    world.settle().await.unwrap();
    let incident = world.incident(1).await;
    assert_eq!((incident.status, incident.acknowledged), (IncidentStatus::Open, None));
}

/// Ends the process after every single commit of the story in turn; the story must end the same each time.
#[tokio::test]
async fn a_crash_after_any_commit_changes_nothing() {
    let straight = tempfile::tempdir().unwrap();
    let world = World::new(with_chat(), straight.path());
    let alert = world.fire("Down", "cart", Severity::Critical).await;
    world.pass(60).await.unwrap();
    world.clear(alert).await.unwrap();
    world.pass(600).await.unwrap();
    let wanted = sorted_tags(&world).await;
    let deliveries = world.messages().len();

    let mut crashes = 0;
    for commits in 0..60 {
        let folder = tempfile::tempdir().unwrap();
        let mut world = World::new(with_chat(), folder.path());
        let alert = world.fire("Down", "cart", Severity::Critical).await;
        world.state.crash_after(commits);
        if world.pass(60).await.is_err() {
            crashes += 1;
            world.restart();
            world.pass(300).await.unwrap();
        }
        if world.clear(alert).await.is_err() || world.pass(600).await.is_err() || world.state.revive() {
            crashes += 1;
            world.restart();
            if !world.state.journal().iter().any(|one| matches!(one.event.kind, EventKind::AlertResolved { .. })) {
                world.clear(alert).await.unwrap();
            }
        }
        world.pass(600).await.unwrap();
        assert_eq!(sorted_tags(&world).await, wanted, "crash after {commits} commits");
        assert_eq!(world.messages().len(), deliveries, "crash after {commits} commits");
        let left: Vec<_> =
            world.state.rows().into_iter().filter(|row| row.state == WorkState::Pending && row.queue == Queue::Incident).collect();
        assert!(left.iter().all(|row| row.key.starts_with("review/")), "{left:#?}");
    }
    assert!(crashes >= 15, "the story has more commits than that: {crashes}");
}

async fn sorted_tags(world: &World) -> Vec<String> {
    let incidents = world.all().await;
    assert_eq!(incidents.len(), 1);
    let mut tags = world.tags(incidents[0].id);
    tags.sort();
    tags
}

#[tokio::test]
async fn two_at_once_get_two_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(Config::default(), folder.path());
    let mut first = Commit::at(world.now());
    let mut second = Commit::at(world.now());
    let tenant = TenantId::default();
    assert_eq!(crate::counter::take(&*world.state, &tenant, &mut first).await.unwrap(), 1);
    assert_eq!(crate::counter::take(&*world.state, &tenant, &mut second).await.unwrap(), 1);
    world.state.commit(first).await.unwrap();
    assert!(world.state.commit(second).await.unwrap_err().is_conflict());
    let mut again = Commit::at(world.now());
    assert_eq!(crate::counter::take(&*world.state, &tenant, &mut again).await.unwrap(), 2);
}
