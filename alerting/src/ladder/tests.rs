//! Stories of ladders on a simulated world.

mod on_call;

use std::collections::BTreeSet;

use model::event::EventKind;
use model::message::Message;
use model::state::Leases;
use proptest::prelude::*;

use super::*;
use crate::testing::World;

const CONFIG: &str = r#"
external_url: https://watch.example/
escalations:
  - name: page
    steps:
      - { after: 0s, notify: [pagerduty] }
      - { after: 5m, notify: [sms, phone] }
    repeat: 1
  - name: chat
    steps:
      - { after: 0s, notify: [slack] }
"#;

const RULES: &str = r#"
groups:
  - name: g
    rules:
      - alert: Broken
        expr: errors
        thresholds: { warning: "> 0.01", critical: "> 0.05" }
        escalation: { warning: chat, critical: page }
        annotations: { summary: "{{ $labels.service }} fails {{ $value | humanizePercentage }}" }
"#;

const SHOP: &[(&str, &str)] = &[("service", "shop")];

fn world() -> World {
    World::new(CONFIG, RULES)
}

fn resolved() -> EventKind {
    EventKind::IncidentResolved { reason: "by hand".to_owned() }
}

#[tokio::test]
async fn fire_page_no_answer_second_step_ack_stop_resolve_notice() {
    let world = world();
    world.set("errors", &[(SHOP, 0.2)]);
    world.tick().await;
    assert_eq!(world.outbox(), ["0s pagerduty trigger"], "in the same settling, without any wait");
    world.pass(299).await;
    assert_eq!(world.outbox().len(), 1);
    world.pass(1).await;
    assert_eq!(world.outbox()[1..], ["300s sms trigger", "300s phone trigger"]);
    world.pass(60).await;
    world.act(EventKind::IncidentAcknowledged).await;
    assert_eq!(world.outbox()[3..], ["360s pagerduty acknowledge", "360s sms acknowledge", "360s phone acknowledge"]);
    world.pass(3_600).await;
    assert_eq!(world.outbox().len(), 6, "nothing after an acknowledgement");
    world.set("errors", &[]);
    world.pass(15).await;
    assert_eq!(world.outbox()[6..], ["3975s pagerduty resolve", "3975s sms resolve", "3975s phone resolve"]);
    let deliveries = world.deliveries();
    let keys: BTreeSet<String> = deliveries
        .iter()
        .map(|(_, delivery, _)| match &delivery.message {
            Message::Notice(notice) => notice.dedup_key.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(keys.len(), 1);
    assert!(keys.first().unwrap().starts_with("inc_"), "the incident's id joins all notices");
    let Message::Notice(second) = &deliveries[1].1.message else { panic!() };
    assert_eq!(second.reason, "page, step 2 of 2: nobody acknowledged within 5m");
    assert_eq!((second.incident_number, second.alerts.len()), (Some(1), 1));
    assert_eq!(second.alerts[0].annotations["summary"], "shop fails 20%");
    assert_eq!(second.url.as_deref(), Some("https://watch.example/api/watchfire/v1/incidents/1"));
    let Message::Notice(last) = &deliveries[8].1.message else { panic!() };
    assert!(last.alerts[0].resolved && last.alerts[0].ends_at.is_some());
    assert_eq!(last.reason, "resolved: alerts cleared");
    let alert = &world.alerts().await[0].alert;
    assert!(alert.incident.is_some() && alert.acknowledged.is_some());
}

#[tokio::test]
async fn nobody_answers_to_the_end() {
    let world = world();
    world.set("errors", &[(SHOP, 0.2)]);
    world.tick().await;
    world.pass(3_600).await;
    assert_eq!(
        world.outbox(),
        [
            "0s pagerduty trigger",
            "300s sms trigger",
            "300s phone trigger",
            "600s pagerduty trigger",
            "900s sms trigger",
            "900s phone trigger"
        ]
    );
    assert!(world.journal().contains(&"1200s ladder_exhausted".to_owned()), "{:?}", world.journal());
    assert_eq!((world.count("ladder_exhausted"), world.runs().await[0].status), (1, LadderStatus::Exhausted));
    world.set("errors", &[]);
    world.pass(15).await;
    assert_eq!(
        world.outbox()[6..],
        ["3615s pagerduty resolve", "3615s sms resolve", "3615s phone resolve"],
        "whoever was told hears the end"
    );
}

#[tokio::test]
async fn giving_back_an_incident_restarts_its_ladder() {
    let world = world();
    world.set("errors", &[(SHOP, 0.2)]);
    world.tick().await;
    world.act(EventKind::IncidentAcknowledged).await;
    world.pass(600).await;
    world.act(EventKind::IncidentUnacknowledged).await;
    world.pass(300).await;
    let after: Vec<String> = world.outbox().into_iter().filter(|line| line.ends_with("trigger")).collect();
    assert_eq!(after, ["0s pagerduty trigger", "600s pagerduty trigger", "900s sms trigger", "900s phone trigger"]);
    world.act(resolved()).await;
    world.pass(900).await;
    assert_eq!(world.outbox().iter().filter(|line| line.ends_with("trigger")).count(), 4, "nothing after the end");
    assert_eq!(world.outbox().iter().filter(|line| line.ends_with("resolve")).count(), 3);
}

#[tokio::test]
async fn a_warning_climbs_for_itself_and_rising_starts_the_higher_ladder() {
    let world = world();
    world.set("errors", &[(SHOP, 0.02)]);
    world.tick().await;
    assert_eq!(world.outbox(), ["0s slack trigger"]);
    world.set("errors", &[(SHOP, 0.2)]);
    world.pass(15).await;
    assert_eq!(world.outbox()[1..], ["15s pagerduty trigger"]);
    assert_eq!(world.count("alert_fired"), 1, "the same alert continues");
    let runs = world.runs().await;
    assert_eq!(runs[0].status, LadderStatus::Stopped { reason: StopReason::Superseded });
    assert_eq!(runs[0].dedup_key, world.alerts().await[0].alert.fingerprint_hex());
    world.set("errors", &[(SHOP, 0.02)]);
    world.pass(15).await;
    world.set("errors", &[]);
    world.pass(15).await;
    let mut ends = world.outbox()[2..].to_vec();
    ends.sort();
    assert_eq!(ends, ["45s pagerduty resolve", "45s slack resolve"], "falling tells nobody");
}

#[tokio::test]
async fn without_an_incident_the_ladder_starts_for_the_alert_and_becomes_the_incidents_later() {
    let mut world = world();
    world.incidents = false;
    world.set("errors", &[(SHOP, 0.2)]);
    world.tick().await;
    assert!(world.outbox().is_empty());
    world.pass(2).await;
    assert_eq!(world.outbox(), ["2s pagerduty trigger"]);
    world.incidents = true;
    world.pass(10).await;
    assert_eq!(world.outbox().len(), 1, "the late incident takes the run over: nobody is paged twice");
    let run = world.runs().await.remove(0);
    assert!(matches!(run.subject, LadderSubject::Incident { .. }));
    assert_eq!(run.dedup_key, world.alerts().await[0].alert.fingerprint_hex(), "the key that the provider knows stays");
    world.act(EventKind::IncidentAcknowledged).await;
    assert_eq!(world.outbox()[1..], ["12s pagerduty acknowledge"]);
}

#[tokio::test]
async fn one_ladder_per_incident_and_a_more_severe_alert_starts_its_own() {
    let rules = format!("{RULES}      - alert: Slow\n        expr: slow\n        labels: {{ severity: high }}\n        escalation: chat\n");
    let world = World::new(CONFIG, &rules);
    world.set("slow", &[(SHOP, 1.0)]);
    world.tick().await;
    assert_eq!(world.outbox(), ["0s slack trigger"]);
    world.set("errors", &[(SHOP, 0.2), (&[("service", "web")], 0.3)]);
    world.pass(15).await;
    assert_eq!(world.outbox()[1..], ["15s pagerduty trigger"], "two critical alerts, one incident, one page");
    assert_eq!(world.runs().await.len(), 2);
}

#[tokio::test]
async fn an_alert_acknowledged_without_incident_stops_its_ladder() {
    let world = World::new(CONFIG, &RULES.replace("warning: chat", "warning: page"));
    world.set("errors", &[(SHOP, 0.02)]);
    world.tick().await;
    world.take(true).await;
    world.pass(900).await;
    assert_eq!(world.outbox(), ["0s pagerduty trigger", "0s pagerduty acknowledge"]);
    assert!(world.alerts().await[0].alert.acknowledged.is_some(), "the evaluator writes and keeps what others wrote");
    world.set("errors", &[]);
    world.pass(15).await;
    assert_eq!(world.outbox().len(), 3);
}

#[tokio::test]
async fn what_was_given_back_under_a_silence_is_paged_at_its_end() {
    let world = world();
    world.set("errors", &[(SHOP, 0.2)]);
    world.tick().await;
    world.act(EventKind::IncidentAcknowledged).await;
    world.silence(world.now(), world.now().plus(std::time::Duration::from_secs(45))).await;
    world.pass(15).await;
    assert_eq!(world.count("alert_muted"), 1);
    world.act(EventKind::IncidentUnacknowledged).await;
    world.pass(15).await;
    assert_eq!(world.outbox(), ["0s pagerduty trigger", "0s pagerduty acknowledge"], "the silence holds");
    world.pass(30).await;
    assert_eq!(world.outbox()[2..], ["45s pagerduty trigger"], "from the first step");
}

#[tokio::test]
async fn alerts_without_escalation_go_to_the_default_receivers_once() {
    let rules = "groups:\n- name: g\n  rules:\n  - alert: Plain\n    expr: plain\n";
    let world = World::new(&format!("{CONFIG}default_receivers: [mail, slack]\n"), rules);
    world.set("plain", &[(SHOP, 1.0)]);
    world.tick().await;
    world.pass(3_600).await;
    assert_eq!(world.outbox(), ["0s mail trigger", "0s slack trigger"]);
    assert_eq!(world.count("ladder_exhausted"), 0);
    world.set("plain", &[]);
    world.pass(15).await;
    assert_eq!(world.outbox()[2..], ["3615s mail resolve", "3615s slack resolve"]);
}

/// Between firing and the end of the wait for its incident an alert may begin more than once at one severity: each time it is paged.
#[tokio::test]
async fn what_begins_again_while_its_incident_is_awaited_is_paged() {
    let mut world = World::new(&format!("{CONFIG}incident_wait: 30s\n"), RULES);
    world.incidents = false;
    world.set("errors", &[(SHOP, 0.2)]);
    world.tick().await;
    world.silence(world.now(), world.now().plus(std::time::Duration::from_secs(40))).await;
    world.pass(39).await;
    assert_eq!((world.count("alert_muted"), world.outbox()), (1, Vec::<String>::new()), "the silence came before the end of the wait");
    world.pass(60).await;
    assert_eq!(world.outbox(), ["75s pagerduty trigger"], "unmuted at 45 s, and again nobody opened an incident for it");
    assert_eq!(world.count("ladder_started"), 1);
}

#[tokio::test]
async fn what_was_taken_before_its_ladder_began_is_paged_when_it_is_given_back() {
    let mut world = World::new(&format!("{CONFIG}incident_wait: 30s\n"), RULES);
    world.incidents = false;
    world.set("errors", &[(SHOP, 0.2)]);
    world.tick().await;
    world.pass(10).await;
    world.take(true).await;
    world.pass(60).await;
    assert!(world.outbox().is_empty(), "somebody has it");
    world.take(false).await;
    world.pass(40).await;
    assert_eq!(world.outbox(), ["100s pagerduty trigger"]);
    world.take(true).await;
    world.pass(5).await;
    world.take(false).await;
    world.pass(5).await;
    assert_eq!(world.outbox()[1..], ["110s pagerduty acknowledge", "115s pagerduty trigger"], "and from the first step each time after");
}

#[tokio::test]
async fn what_got_worse_while_somebody_had_it_starts_its_own_ladder_when_it_is_given_back() {
    let mut world = world();
    world.incidents = false;
    world.set("errors", &[(SHOP, 0.02)]);
    world.tick().await;
    world.take(true).await;
    world.set("errors", &[(SHOP, 0.2)]);
    world.pass(60).await;
    assert_eq!(world.outbox(), ["0s slack trigger", "0s slack acknowledge"], "somebody has it");
    world.take(false).await;
    world.pass(60).await;
    assert_eq!(world.outbox()[2..], ["62s pagerduty trigger"]);
}

/// What is left in an incident is muted: its ladder stands still, and goes on when the silence ends.
#[tokio::test]
async fn a_ladder_stands_still_when_only_what_is_muted_fires_on() {
    let world = world();
    let cart: &[(&str, &str)] = &[("service", "cart")];
    world.set("errors", &[(SHOP, 0.2), (cart, 0.2)]);
    world.tick().await;
    world.silence(world.now(), world.now().plus(std::time::Duration::from_secs(900))).await;
    world.pass(15).await;
    assert_eq!(world.count("ladder_stopped"), 0, "`cart` is not muted");
    world.set("errors", &[(SHOP, 0.2)]);
    world.pass(870).await;
    assert_eq!(world.outbox(), ["0s pagerduty trigger"], "the silence holds");
    assert_eq!(world.count("ladder_stopped"), 1);
    world.pass(30).await;
    assert_eq!(world.outbox()[1..], ["900s sms trigger", "900s phone trigger"], "the step that was due");
}

/// All that fired in an incident was muted; then something fires in it that nothing mutes.
#[tokio::test]
async fn a_ladder_that_a_silence_stopped_goes_on_when_something_else_fires_in_its_incident() {
    let world = world();
    world.set("errors", &[(SHOP, 0.2)]);
    world.tick().await;
    world.silence(world.now(), world.now().plus(std::time::Duration::from_secs(3_600))).await;
    world.pass(600).await;
    assert_eq!(world.outbox(), ["0s pagerduty trigger"], "the silence holds");
    let cart: &[(&str, &str)] = &[("service", "cart")];
    world.set("errors", &[(SHOP, 0.2), (cart, 0.2)]);
    world.pass(600).await;
    assert!(world.outbox().iter().any(|line| line.ends_with("sms trigger")), "it is open, unmuted and untaken: {:?}", world.outbox());
}

/// A notice shows twenty alerts; whether all that fires is muted is asked of all.
#[tokio::test]
async fn what_is_not_muted_is_seen_among_many_that_are() {
    let nodes: Vec<String> = (0..30).map(|node| node.to_string()).collect();
    let shops: Vec<[(&str, &str); 2]> = nodes.iter().map(|node| [("service", "shop"), ("node", node)]).collect();
    let many: Vec<(&[(&str, &str)], f64)> = shops.iter().map(|labels| (&labels[..], 0.2)).collect();
    let more = [&many[..], &[(&[("service", "cart")], 0.2)]].concat();
    for joins_a_silence in [false, true] {
        let world = world();
        world.set("errors", &many);
        world.tick().await;
        let until = world.now().plus(std::time::Duration::from_secs(3_600));
        if joins_a_silence {
            world.silence(world.now(), until).await;
            world.pass(600).await;
            assert_eq!((world.outbox(), world.count("ladder_stopped")), (vec!["0s pagerduty trigger".to_owned()], 1));
        }
        world.set("errors", &more);
        world.pass(15).await;
        if !joins_a_silence {
            world.silence(world.now(), until).await;
        }
        world.pass(600).await;
        assert!(world.outbox().iter().any(|line| line.ends_with("sms trigger")), "`cart` is not muted: {:?}", world.outbox());
        let shown = world.deliveries().into_iter().rev().find_map(|(_, delivery, _)| match delivery.message {
            Message::Notice(notice) => Some(notice),
            _ => None,
        });
        assert_eq!(shown.unwrap().alerts[0].labels.get("service"), Some("cart"), "it is why somebody is told");
    }
}

/// A silence ends, and in the same moment the alert joins an incident that somebody has, which its record does not say yet.
#[tokio::test]
async fn what_joins_an_incident_that_somebody_has_does_not_climb_for_itself() {
    let world = world();
    let cart: &[(&str, &str)] = &[("service", "cart")];
    world.set("errors", &[(SHOP, 0.02)]);
    world.tick().await;
    world.silence(world.now(), world.now().plus(std::time::Duration::from_secs(50))).await;
    world.take(true).await;
    world.pass(15).await;
    world.take(false).await;
    world.set("errors", &[(SHOP, 0.2), (cart, 0.2)]);
    world.pass(15).await;
    world.act(EventKind::IncidentAcknowledged).await;
    world.pass(29).await;
    let before = world.outbox();
    assert_eq!(before, ["0s slack trigger", "0s slack acknowledge", "30s pagerduty trigger", "30s pagerduty acknowledge"]);
    world.clock.advance(std::time::Duration::from_secs(1));
    world.evaluate().await.unwrap();
    world.follow(&["incidents", "ladders"]).await;
    assert_eq!(world.count("alert_unmuted"), 1);
    world.pass(300).await;
    assert_eq!(world.outbox(), before, "somebody has it, and knows");
    world.act(EventKind::IncidentUnacknowledged).await;
    assert_eq!(world.outbox().last().unwrap(), "360s pagerduty trigger", "given back, it is paged");
}

/// A ladder climbs for an alert, and its step is due in the moment in which the alert joins an incident that somebody has.
#[tokio::test]
async fn what_climbs_for_an_alert_stops_with_the_incident_that_it_joins_and_is_given_back_with_it() {
    let rules = "groups:\n- name: g\n  rules:\n  - { alert: A, expr: a, labels: { severity: critical }, escalation: page }\n  - { alert: B, expr: b, labels: { severity: critical }, escalation: chat }\n";
    let mut world = World::new(&format!("{CONFIG}incident_wait: 0s\n"), rules);
    world.incidents = false;
    world.set("a", &[(SHOP, 1.0)]);
    world.tick().await;
    assert_eq!(world.outbox(), ["0s pagerduty trigger"], "nobody opened an incident for it");
    world.pass(295).await;
    world.set("b", &[(SHOP, 1.0)]);
    world.clock.advance(std::time::Duration::from_secs(5));
    world.evaluate().await.unwrap();
    // The incident of both, taken at once; ladders have heard of none of it.
    world.follow(&["incidents"]).await;
    world.say(EventKind::IncidentAcknowledged).await;
    world.work(model::work::Queue::Ladder).await;
    world.settle().await.unwrap();
    assert_eq!(world.outbox()[1..], ["300s pagerduty acknowledge"], "the second step is not taken");
    world.pass(600).await;
    assert_eq!(world.outbox().len(), 2, "{:?}", world.outbox());
    world.act(EventKind::IncidentUnacknowledged).await;
    assert!(world.outbox()[2..].contains(&"900s pagerduty trigger".to_owned()), "{:?}", world.outbox());
}

/// Somebody took an alert. It joins an incident after that was given back, and before anybody has followed that.
#[tokio::test]
async fn who_took_an_alert_has_it_though_the_incident_that_it_joins_was_given_back() {
    let world = world();
    let cart: &[(&str, &str)] = &[("service", "cart")];
    world.silence(world.now(), world.now().plus(std::time::Duration::from_secs(50))).await;
    world.set("errors", &[(SHOP, 0.2)]);
    world.tick().await;
    world.take(true).await;
    world.set("errors", &[(SHOP, 0.2), (cart, 0.2)]);
    world.pass(15).await;
    world.act(EventKind::IncidentAcknowledged).await;
    world.pass(44).await;
    world.clock.advance(std::time::Duration::from_secs(1));
    world.say(EventKind::IncidentUnacknowledged).await;
    world.evaluate().await.unwrap();
    world.follow(&["incidents"]).await;
    world.settle().await.unwrap();
    let alerts = world.alerts().await;
    let has = |service: &str| {
        let alert = &alerts.iter().find(|one| one.alert.labels.get("service") == Some(service)).unwrap().alert;
        (alert.incident.is_some(), alert.acknowledged.is_some())
    };
    assert_eq!((has("shop"), has("cart")), ((true, true), (true, false)));
}

/// An alert is given back, and in the next moment somebody takes its whole incident, of which nobody has followed either.
#[tokio::test]
async fn who_takes_the_incident_again_has_what_was_given_back_just_before() {
    let world = world();
    world.set("errors", &[(SHOP, 0.2)]);
    world.tick().await;
    world.set("errors", &[(SHOP, 0.02)]);
    world.pass(15).await;
    world.act(EventKind::IncidentAcknowledged).await;
    let before = world.outbox();
    world.clock.advance(std::time::Duration::from_secs(1));
    let alert = world.alerts().await[0].alert.clone();
    assert!(alert.acknowledged.is_some() && !alert.severity.opens_incident());
    for taken_again in [true, false] {
        world.say_taken(alert.id, false).await;
        if taken_again {
            world.say(EventKind::IncidentUnacknowledged).await;
            world.say(EventKind::IncidentAcknowledged).await;
        }
        world.follow(&["ladders", "ladders"]).await;
        world.settle().await.unwrap();
        if taken_again {
            assert_eq!(world.outbox(), before, "somebody has it");
            world.clock.advance(std::time::Duration::from_secs(1));
            assert!(world.alerts().await[0].alert.acknowledged.is_some());
        } else {
            let after = &world.outbox()[before.len()..];
            assert!(after.iter().any(|line| line.ends_with("slack trigger")), "it is nobody's now: {after:?}");
        }
    }
}

/// Every way through a story with a crash after any commit and a restart ends with the same notices, none twice, none missing.
#[tokio::test]
async fn a_crash_after_any_commit_loses_nothing_and_repeats_nothing() {
    let mut crashed = 0;
    for commits in 0..24 {
        let mut world = world();
        world.set("errors", &[(SHOP, 0.2)]);
        world.state.crash_after(commits);
        let mut second = 0u64;
        while second < 420 {
            if second == 345 {
                world.set("errors", &[]);
            }
            let done = async {
                if second.is_multiple_of(15) {
                    world.evaluate().await?;
                }
                world.settle().await?;
                if second == 320 && world.count("incident_acknowledged") == 0 {
                    world.try_act(EventKind::IncidentAcknowledged).await?;
                }
                Ok::<(), model::state::StateError>(())
            };
            if done.await.is_err() || world.state.is_dead() {
                assert!(world.state.revive());
                crashed += 1;
                world.restart();
                continue;
            }
            second += 1;
            world.clock.advance(Duration::from_secs(1));
        }
        let mut said: Vec<String> = world.outbox().into_iter().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect();
        said.sort();
        assert_eq!(
            said,
            [
                "pagerduty acknowledge",
                "pagerduty resolve",
                "pagerduty trigger",
                "phone acknowledge",
                "phone resolve",
                "phone trigger",
                "sms acknowledge",
                "sms resolve",
                "sms trigger"
            ],
            "after {commits} commits"
        );
        assert_eq!((world.count("alert_fired"), world.count("alert_resolved"), world.count("ladder_started")), (1, 1, 1));
    }
    assert!(crashed > 10, "the story has that many commits");
}

/// The process ends while it takes a step. Started again under the same name, the node takes the step in that very second, not when the
/// claim of the process that is gone runs out.
#[tokio::test]
async fn a_step_that_was_cut_off_is_taken_at_once_after_a_restart() {
    let mut world = world();
    world.set("errors", &[(SHOP, 0.2)]);
    world.tick().await;
    world.pass(299).await;
    world.clock.advance(Duration::from_secs(1));
    world.state.crash_after(0);
    let _ = world.settle().await;
    assert!(world.state.revive(), "it ended in the step's commit");
    world.restart();
    world.settle().await.unwrap();
    assert_eq!(world.outbox().len(), 1, "another node would have to wait");
    assert_eq!(world.state.take_back("this").await.unwrap(), 1);
    world.settle().await.unwrap();
    assert_eq!(world.outbox()[1..], ["300s sms trigger", "300s phone trigger"]);
}

fn run(steps: &[u64], repeat: u32) -> LadderRun {
    let steps = steps
        .iter()
        .map(|after| model::message::LadderStep { after: model::time::Span::secs(*after), notify: vec![format!("r{after}")] })
        .collect();
    LadderRun {
        id: LadderRunId::derived(Timestamp::EPOCH, "x"),
        tenant: TenantId::default(),
        subject: LadderSubject::Alert { id: AlertId::derived(Timestamp::EPOCH, "a") },
        ladder: Ladder { name: "l".to_owned(), steps, repeat },
        hours: crate::routing::Hours::default(),
        route: false,
        severity: Severity::High,
        title: String::new(),
        dedup_key: String::new(),
        status: LadderStatus::Running,
        generation: 0,
        round: 0,
        step: 0,
        started_at: Timestamp::EPOCH,
        round_started: Timestamp::EPOCH,
        next_at: None,
        held_until: None,
        notified: Vec::new(),
    }
}

proptest! {
    /// However late it is driven: each step of each round once, in order, never before its time, and then it ends.
    #[test]
    fn every_step_is_taken_once_in_order_and_never_early(mut gaps in prop::collection::vec(0u64..900, 1..5), repeat in 0u32..4, late in prop::collection::vec(0u64..2_000, 40)) {
        gaps[0] = 0;
        let steps: Vec<u64> = gaps.iter().scan(0, |sum, gap| { *sum += gap; Some(*sum) }).collect();
        let mut run = run(&steps, repeat);
        run.begin(Timestamp::EPOCH);
        let (mut taken, mut keys, mut late) = (Vec::new(), BTreeSet::new(), late.into_iter());
        while let Some(next) = run.next_at {
            prop_assert!(keys.insert(run.work_key()), "a step's work key is used once");
            let now = next.plus(Duration::from_secs(late.next().unwrap_or(0)));
            let round_started = run.round_started;
            if let Some(step) = run.take(now, &[]) {
                prop_assert!(now >= round_started.plus(step.after));
                prop_assert!(run.next_at.is_some_and(|after| after >= now));
                taken.push((step.round, step.step));
            }
        }
        let expected: Vec<(u32, u32)> = (0..=repeat).flat_map(|round| (0..steps.len() as u32).map(move |step| (round, step))).collect();
        prop_assert_eq!(taken, expected);
        prop_assert_eq!(run.status, LadderStatus::Exhausted);
    }
}
