//! The evaluator on a simulated world: what it writes, what a restart keeps, what happens when two of them race.

use std::time::Duration;

use model::alert::{Acknowledgement, AlertProbe, Verdict};
use model::event::{Actor, EventKind};
use model::fingerprint::Fingerprint;
use model::ids::{IssueId, SequentialIds, SilenceId};
use model::issue::{Group as IssueGroup, Issue, IssueState};
use model::labels::METRIC_NAME;
use model::query::{Cell, Rows, SeriesSample};
use model::severity::Severity;
use model::state::{Records, load};
use model::tenant::TenantId;
use model::units::Value;

use super::*;
use crate::silence::Silence;
use crate::testing::{World, labels};

const RULES: &str = r#"
groups:
  - name: g
    rules:
      - record: job:up
        expr: raw
        labels: { kind: recorded }
      - alert: Down
        expr: down
        for: 30s
        keep_firing_for: 60s
        labels: { severity: page, job: "{{ $labels.job | toUpper }}" }
        annotations: { summary: "{{ $labels.job }} is {{ $value }}, {{ query \"raw\" | first | value }} in all" }
"#;

const API: &[(&str, &str)] = &[("__name__", "down"), ("job", "api")];

fn world() -> World {
    world_of(RULES)
}

fn world_of(rules: &str) -> World {
    let world = World::new("external_labels: { dc: eu }", rules);
    world.set("raw", &[(&[("__name__", "raw"), ("job", "api")], 7.0)]);
    world
}

#[tokio::test]
async fn states_events_and_series_of_one_alert() {
    let world = world_of(&format!("{RULES}      - alert: Follows\n        expr: ALERTS\n"));
    world.set("down", &[(API, 1.0)]);
    world.tick().await;
    let written = world.take_written();
    let value = |labels: Labels| written.iter().find(|(name, _)| *name == labels).map(|(_, sample)| sample.value);
    assert_eq!(value(labels(&[(METRIC_NAME, "job:up"), ("job", "api"), ("kind", "recorded")])), Some(7.0));
    let down = labels(&[("alertname", "Down"), ("job", "API"), ("severity", "page")]);
    assert_eq!(value(down.clone().with(METRIC_NAME, "ALERTS").with("alertstate", "pending")), Some(1.0));
    let since = world.now().millis() as f64 / 1_000.0;
    assert_eq!(value(down.clone().with(METRIC_NAME, "ALERTS_FOR_STATE")), Some(since));
    let follows = written.iter().find(|(labels, _)| labels.get("alertname") == Some("Follows")).unwrap();
    assert_eq!(follows.0.get("job"), Some("API"), "a later rule sees what an earlier one of the same cycle wrote");

    world.pass(30).await;
    let written = world.take_written();
    let pending = down.clone().with(METRIC_NAME, "ALERTS").with("alertstate", "pending");
    let ended = written.iter().rev().find(|(labels, _)| *labels == pending).unwrap();
    assert_eq!(ended.1.value.to_bits(), STALE.to_bits(), "the pending series ends with a staleness marker");
    let alert = world.alerts().await.into_iter().find(|one| one.alert.rule.name == "Down").unwrap().alert;
    assert_eq!((alert.severity, alert.summary().as_str()), (Severity::High, "api is 1, 7 in all"));
    assert_eq!(alert.labels, down);

    world.set("down", &[]);
    world.pass(60).await;
    let down = |world: &World| world.alerting.evaluator().views()[0].rules[1].instances[0].alert.state.name();
    assert_eq!(down(&world), "firing", "keep_firing_for counts from the evaluation that first missed it");
    world.pass(15).await;
    assert_eq!(down(&world), "resolved");
    let journal = world.journal();
    for line in ["0s alert_pending", "30s alert_fired", "105s alert_resolved"] {
        assert!(journal.contains(&line.to_owned()), "{line} in {journal:?}");
    }
}

#[tokio::test]
async fn a_restart_keeps_everything() {
    let mut world = world();
    world.set("down", &[(API, 1.0)]);
    world.tick().await;
    world.pass(15).await;
    world.restart();
    world.pass(15).await;
    assert!(world.journal().contains(&"30s alert_fired".to_owned()), "`for` goes on where it was: {:?}", world.journal());
    world.set("down", &[]);
    world.pass(30).await;
    world.restart();
    world.pass(30).await;
    assert_eq!(world.count("alert_resolved"), 0);
    world.pass(15).await;
    assert!(world.journal().contains(&"105s alert_resolved".to_owned()), "keep_firing_for too: {:?}", world.journal());
    let fired = world
        .state
        .journal()
        .iter()
        .filter(|one| matches!(&one.event.kind, EventKind::AlertFired { rule, .. } if rule.name == "Down"))
        .count();
    assert_eq!(fired, 1);
}

/// Every evaluation by another process, as where two nodes take turns: what flaps is held open, and settles all the same.
#[tokio::test]
async fn what_flaps_settles_whoever_evaluates_it() {
    let mut world = World::new("", "groups:\n- { name: g, rules: [{ alert: Plain, expr: plain }] }\n");
    for flip in 0..8 {
        world.set("plain", if flip % 2 == 0 { &[(API, 1.0)] } else { &[] });
        world.pass(15).await;
        world.restart();
    }
    let firing = async |world: &World| world.alerts().await.iter().any(|one| one.alert.is_firing());
    assert!(firing(&world).await, "held open: {:?}", world.journal());
    for _ in 0..20 {
        world.restart();
        world.pass(15).await;
    }
    assert!(!firing(&world).await, "settled: {:?}", world.journal());
}

/// What comes and goes is told until it counts as flapping; then the last notice stands, whatever it does, until it has settled.
#[tokio::test]
async fn while_an_alert_flaps_one_notice_stands() {
    let world = World::new(
        "default_receivers: [mail]\nflapping: { changes: 4, evaluations: 10 }",
        "groups:\n- { name: g, rules: [{ alert: Plain, expr: plain, labels: { severity: warning } }] }\n",
    );
    for flip in 0..60 {
        world.set("plain", if flip % 2 == 0 { &[(API, 1.0)] } else { &[] });
        world.pass(15).await;
    }
    let told = || world.deliveries().into_iter().map(|(_, _, action)| action).collect::<Vec<_>>();
    assert_eq!(told(), ["trigger", "resolve", "trigger"], "sixty changes: {:?}", world.journal());
    world.pass(15 * 20).await;
    assert_eq!(told(), ["trigger", "resolve", "trigger", "resolve"], "it has settled");
}

/// Few changes in many evaluations are no flapping, though nothing was written of most of them, and processes came and went.
#[tokio::test]
async fn a_restart_forgets_no_evaluation_in_which_nothing_changed() {
    for restarts in [false, true] {
        let mut world = World::new("", "groups:\n- { name: g, rules: [{ alert: Plain, expr: plain }] }\n");
        for flip in 0..8 {
            world.set("plain", if flip % 2 == 0 { &[(API, 1.0)] } else { &[] });
            world.pass(5 * 15).await;
            if restarts {
                world.restart();
            }
        }
        assert_eq!((world.count("alert_fired"), world.count("alert_resolved")), (4, 4), "with restarts: {restarts}");
        let flapped = world.alerts().await.iter().any(|one| one.memory.flapping);
        assert!(!flapped, "six changes in forty evaluations: {:?}", world.journal());
    }
}

/// `query_offset` is about the moment that is asked about, not about when.
#[tokio::test]
async fn a_group_asks_about_an_earlier_moment_where_it_has_an_offset() {
    let rules = "groups:\n- { name: g, query_offset: 40s, rules: [{ alert: Late, expr: late, for: 30s }] }\n- { name: h, rules: [{ alert: Now, expr: now }] }\n";
    for (config, other) in [("", 0), ("query_offset: 10s", 10)] {
        let world = World::new(config, rules);
        world.set("late", &[(API, 1.0)]);
        world.tick().await;
        let before = |expr: &str| world.now().since(world.asked().into_iter().find(|(asked, _)| asked == expr).unwrap().1).as_secs();
        assert_eq!((before("late"), before("now")), (40, other), "{config}");
        world.pass(30).await;
        assert!(world.journal().contains(&"30s alert_fired".to_owned()), "`for` counts from the evaluation: {:?}", world.journal());
    }
}

/// A group's own limit holds for its alerts and for what it records; the stricter of it and the configured one counts.
#[tokio::test]
async fn a_group_that_finds_more_than_its_limit_fails_and_writes_nothing() {
    let rules = "groups:\n- { name: g, limit: 2, rules: [{ alert: Many, expr: many }, { record: job:many, expr: many }] }\n";
    for (config, limit) in [("", 2), ("max_alerts_per_rule: 1", 1)] {
        let world = World::new(config, rules);
        let three: [&[(&str, &str)]; 3] = [&[("job", "a")], &[("job", "b")], &[("job", "c")]];
        world.set("many", &three[..limit].iter().map(|labels| (*labels, 1.0)).collect::<Vec<_>>());
        world.tick().await;
        assert_eq!(world.count("alert_fired"), limit, "as many as it may");
        assert_eq!(world.take_written().iter().filter(|(labels, _)| labels.get(METRIC_NAME) == Some("job:many")).count(), limit);
        world.set("many", &three[..=limit].iter().map(|labels| (*labels, 1.0)).collect::<Vec<_>>());
        world.pass(15).await;
        let view = &world.alerting.evaluator().views()[0];
        let said: Vec<&str> = view.rules.iter().take(2).map(|rule| rule.last_error.as_deref().unwrap()).collect();
        let more = limit + 1;
        assert_eq!(
            said,
            [format!("exceeded limit of {limit} with {more} alerts"), format!("exceeded limit of {limit} with {more} series")]
        );
        assert_eq!(world.count("alert_fired"), limit);
        let recorded = world.take_written().into_iter().filter(|(labels, _)| labels.get(METRIC_NAME) == Some("job:many"));
        assert_eq!(recorded.filter(|(_, sample)| sample.value.to_bits() != STALE.to_bits()).count(), 0, "nothing of it is written");
    }
}

#[tokio::test]
async fn nothing_is_written_while_nothing_changes_and_values_once_a_minute() {
    let world = world();
    world.set("down", &[(API, 1.0)]);
    world.tick().await;
    world.pass(30).await;
    let commits = world.state.commits();
    world.pass(600).await;
    assert_eq!(world.state.commits(), commits);
    for second in 0..12 {
        world.set("down", &[(API, f64::from(second) + 2.0)]);
        world.pass(15).await;
    }
    let writes = world.state.commits() - commits;
    assert!((2..=4).contains(&writes), "{writes} writes in three minutes");
    assert!(world.asked().iter().all(|(_, at)| at.millis() % 15_000 == 0));
}

#[tokio::test]
async fn a_failing_query_holds_the_alert_and_the_broken_rule_alerts_itself() {
    let mut world = world();
    world.set("down", &[(API, 1.0)]);
    world.tick().await;
    world.pass(30).await;
    world.fail("down");
    world.pass(30).await;
    world.restart();
    world.pass(600).await;
    assert_eq!((world.count("rule_unknown"), world.count("alert_resolved")), (1, 0), "{:?}", world.journal());
    let alerts = world.alerts().await;
    let held = alerts.iter().find(|one| one.alert.rule.name == "Down").unwrap();
    assert!(held.alert.is_firing() && held.alert.unknown);
    let own = alerts.iter().find(|one| one.alert.labels.get("alertname") == Some("WatchfireRuleFailing")).unwrap();
    assert_eq!((own.alert.severity, own.alert.labels.get("rule")), (Severity::Warning, Some("Down")));
    assert!(own.alert.is_firing() && own.alert.summary().contains("engine down"), "{}", own.alert.summary());
    world.set("down", &[(API, 1.0)]);
    world.pass(15).await;
    assert_eq!(world.count("rule_recovered"), 1);
    let alerts = world.alerts().await;
    assert!(alerts.iter().any(|one| one.alert.rule.name == "Down" && one.alert.is_firing() && !one.alert.unknown));
    let own = alerts.iter().filter(|one| one.alert.labels.get("alertname") == Some("WatchfireRuleFailing")).collect::<Vec<_>>();
    assert!(own.len() == 1 && !own[0].alert.is_firing(), "one alert over the restart, and it is over now");
    assert_eq!(world.count("alert_fired"), 2, "Down and the failing rule, once each");
}

#[tokio::test]
async fn two_results_with_one_identity_fail_the_whole_rule() {
    let world = world();
    world.set("down", &[(API, 1.0), (&[("job", "API")], 2.0)]);
    world.tick().await;
    assert_eq!(world.count("rule_unknown"), 1);
    assert!(!world.alerts().await.iter().any(|one| one.alert.rule.name == "Down"), "nothing is sent");
    let views = world.alerting.evaluator().views();
    assert_eq!(views[0].rules[1].health, Health::Failing);
    assert!(views[0].rules[1].last_error.as_deref().unwrap().contains("same labelset"));
}

#[tokio::test]
async fn too_many_alerts_fail_the_rule_and_open_ones_are_held() {
    let world = World::new("max_alerts_per_rule: 2", RULES);
    world.set("down", &[(API, 1.0)]);
    world.tick().await;
    world.pass(30).await;
    world.set("down", &[(API, 1.0), (&[("job", "b")], 1.0), (&[("job", "c")], 1.0)]);
    world.pass(15).await;
    let view = world.alerting.evaluator().views()[0].rules[1].clone();
    assert_eq!(view.last_error.as_deref(), Some("exceeded limit of 2 with 3 alerts"));
    assert_eq!(view.instances.iter().map(|one| one.alert.is_firing()).collect::<Vec<_>>(), [true]);
}

#[tokio::test]
async fn an_acknowledgement_between_evaluations_is_kept() {
    let world = world();
    world.set("down", &[(API, 1.0)]);
    world.tick().await;
    world.pass(30).await;
    let tenant = TenantId::default();
    let id = world.alerts().await.into_iter().find(|one| one.alert.rule.name == "Down").unwrap().alert.id;
    let found = load::<Instance>(&*world.state, &tenant, &id.to_string()).await.unwrap().unwrap();
    let mut instance = found.entity;
    instance.alert.acknowledged = Some(Acknowledgement { at: world.now(), by: Actor::User { id: "ada".to_owned() } });
    let mut commit = Commit::at(world.now());
    commit.put(&instance, Expect::Version(found.version)).unwrap();
    world.state.commit(commit).await.unwrap();
    world.set("down", &[]);
    world.pass(75).await;
    let alert = world.alerts().await.into_iter().find(|one| one.alert.id == id).unwrap().alert;
    assert_eq!(alert.state.name(), "resolved");
    assert!(alert.acknowledged.is_some());
}

#[tokio::test]
async fn two_evaluators_on_one_store_decide_once() {
    let world = world();
    let other = world.another().evaluator();
    let both = async |world: &World| {
        let now = world.now();
        let (first, second) = (world.alerting.evaluator(), other.clone());
        let (a, b) = tokio::join!(async move { first.evaluate_all(now, None).await }, async move { second.evaluate_all(now, None).await });
        a.unwrap();
        b.unwrap();
        world.settle().await.unwrap();
    };
    for (steps, down) in [(5, true), (7, false), (4, true), (10, false)] {
        world.set("down", if down { &[(API, 1.0)] } else { &[] });
        for _ in 0..steps {
            world.clock.advance(Duration::from_secs(15));
            both(&world).await;
        }
    }
    let events = |rule: &str, tag: &str| {
        let journal = world.state.journal();
        let ids: Vec<_> = journal
            .iter()
            .filter(|one| matches!(&one.event.kind, EventKind::AlertPending { rule: key, .. } | EventKind::AlertFired { rule: key, .. } if key.name == rule))
            .map(|one| one.event.subject.alert)
            .collect();
        journal.iter().filter(|one| one.event.kind.tag() == tag && ids.contains(&one.event.subject.alert)).count()
    };
    assert_eq!((events("Down", "alert_pending"), events("Down", "alert_fired"), events("Down", "alert_resolved")), (2, 2, 2));
    assert_eq!(world.alerts().await.iter().filter(|one| one.alert.rule.name == "Down").count(), 2);
}

#[tokio::test]
async fn the_old_leader_is_fenced_and_the_new_one_reads_the_state_again() {
    let mut world = world();
    let (old, new) = (world.state.lead(1), 2);
    world.fence = Some(old.clone());
    world.set("down", &[(API, 1.0)]);
    world.tick().await;
    let successor = world.another().evaluator();
    let fence = world.state.lead(new);
    world.clock.advance(Duration::from_secs(30));
    let refused = world.alerting.evaluator().evaluate_all(world.now(), Some(&old)).await;
    assert!(matches!(refused, Err(StateError::Fenced { .. })));
    successor.evaluate_all(world.now(), Some(&fence)).await.unwrap();
    let alert = world.alerts().await.into_iter().find(|one| one.alert.rule.name == "Down").unwrap().alert;
    assert!(alert.is_firing() && alert.state.active_at() == world.now().minus(Duration::from_secs(30)));
}

#[tokio::test]
async fn rules_that_are_gone_resolve_and_edited_ones_go_on() {
    let mut world = world();
    world.set("down", &[(API, 1.0)]);
    world.tick().await;
    world.pass(30).await;
    world.reload(&RULES.replace("expr: down\n", "expr: down_now\n"));
    world.set("down_now", &[(API, 1.0)]);
    world.pass(15).await;
    assert_eq!(world.count("alert_resolved"), 0, "alert state survives an edit of the expression");
    world.reload("groups: []\n");
    world.pass(15).await;
    assert_eq!(world.count("alert_resolved"), 1);
    assert!(world.alerts().await.iter().all(|one| !one.alert.is_firing()));
}

fn silence(world: &World, matcher: &str, seconds: u64) -> Silence {
    Silence {
        id: SilenceId::new(world.now(), &SequentialIds::default()),
        tenant: TenantId::default(),
        matchers: vec![matcher.parse::<crate::silence::MatcherText>().unwrap().0],
        starts_at: world.now(),
        ends_at: world.now().plus(Duration::from_secs(seconds)),
        created_by: Actor::system("test"),
        comment: String::new(),
        over: false,
        maintenance: None,
        author: None,
        updated_at: None,
    }
}

const PAGING: &str = "escalations: [{ name: p, steps: [{ after: 0s, notify: [pd] }, { after: 5m, notify: [sms] }] }]\ninhibit_rules: [{ source_matchers: [severity=critical], target_matchers: [severity=warning], equal: [job] }]\n";
const PLAIN: &str = "groups:\n- name: g\n  rules:\n  - alert: Big\n    expr: big\n    labels: { severity: critical }\n    escalation: p\n  - alert: Small\n    expr: small\n    labels: { severity: warning }\n    escalation: p\n";

#[tokio::test]
async fn a_silenced_alert_fires_quietly_and_its_ladder_starts_when_the_silence_ends() {
    let world = World::new(PAGING, PLAIN);
    let mut commit = Commit::at(world.now());
    commit.put(&silence(&world, "job=api", 100), Expect::New).unwrap();
    world.state.commit(commit).await.unwrap();
    world.set("big", &[(&[("job", "api")], 1.0), (&[("job", "web")], 1.0)]);
    world.tick().await;
    assert_eq!((world.count("alert_fired"), world.count("alert_muted")), (2, 1));
    world.pass(10).await;
    assert_eq!(world.outbox().len(), 1, "only web pages");
    world.set("big", &[(&[("job", "api")], 1.0)]);
    world.pass(94).await;
    assert_eq!(world.outbox(), ["0s pd trigger", "15s pd resolve"]);
    world.pass(1).await;
    assert_eq!(world.outbox()[2..], ["105s pd trigger"]);
    assert_eq!(world.count("alert_unmuted"), 1);
}

#[tokio::test]
async fn a_silence_in_the_middle_pauses_the_ladder_where_it_stands() {
    let world = World::new(PAGING, PLAIN);
    world.set("small", &[(&[("job", "api")], 1.0)]);
    world.tick().await;
    world.pass(60).await;
    let mut commit = Commit::at(world.now());
    commit.put(&silence(&world, "alertname=Small", 600), Expect::New).unwrap();
    world.state.commit(commit).await.unwrap();
    world.pass(599).await;
    assert_eq!(world.outbox(), ["0s pd trigger"]);
    world.pass(1).await;
    assert_eq!(world.outbox()[1..], ["660s sms trigger"], "it goes on with the step that was next");
    assert!(world.journal().contains(&"75s ladder_stopped".to_owned()), "{:?}", world.journal());
}

#[tokio::test]
async fn inhibition_rules_change_while_it_runs() {
    let world = World::new(PAGING, PLAIN);
    world.set("big", &[(&[("job", "api")], 1.0)]);
    world.set("small", &[(&[("job", "api")], 1.0)]);
    world.tick().await;
    assert_eq!(world.outbox().len(), 1, "the warning is muted");
    let without: crate::Config = serde_saphyr::from_str("resolve_timeout: 7m").unwrap();
    world.alerting.reroute(crate::routing::Routing::of(&without));
    world.pass(15).await;
    assert_eq!(world.outbox().len(), 2, "{:?}", world.outbox());
}

#[tokio::test]
async fn a_critical_alert_inhibits_the_warning_beside_it() {
    let world = World::new(PAGING, PLAIN);
    world.set("big", &[(&[("job", "api")], 1.0)]);
    world.set("small", &[(&[("job", "api")], 1.0), (&[("job", "web")], 1.0)]);
    world.tick().await;
    world.pass(30).await;
    assert_eq!(world.outbox().len(), 2, "the critical one and the warning of another job: {:?}", world.outbox());
    world.set("big", &[]);
    world.pass(15).await;
    assert_eq!(world.outbox().iter().filter(|line| line.ends_with("trigger")).count(), 3, "{:?}", world.outbox());
}

#[tokio::test]
async fn the_probe_asks_the_alerts_own_expression_for_its_own_label_set() {
    let mut world = world();
    world.set("down", &[(API, 1.0)]);
    world.tick().await;
    world.pass(30).await;
    let alert = world.alerts().await.into_iter().find(|one| one.alert.rule.name == "Down").unwrap().alert;
    let verdicts = async |world: &World| {
        let probe: std::sync::Arc<dyn AlertProbe> = world.alerting.probe();
        world.set("down", &[(API, 4.0)]);
        let active = probe.probe(&alert, world.now()).await;
        world.set("down", &[(&[("job", "other")], 4.0)]);
        let cleared = probe.probe(&alert, world.now()).await;
        world.fail("down");
        (active, cleared, probe.probe(&alert, world.now()).await)
    };
    for gone in [false, true] {
        if gone {
            world.reload("groups: []\n");
        }
        let (active, cleared, unknown) = verdicts(&world).await;
        assert_eq!(active, Verdict::Active { value: Value(4.0), severity: Severity::High }, "rule gone: {gone}");
        assert_eq!(cleared, Verdict::Cleared);
        assert!(matches!(unknown, Verdict::Unknown { reason } if reason.contains("engine down")));
    }
}

#[tokio::test]
async fn a_ladder_that_nobody_drives_raises_an_alert() {
    let world = World::new(PAGING, PLAIN);
    world.set("small", &[(&[("job", "api")], 1.0)]);
    world.tick().await;
    world.clock.advance(Duration::from_secs(345));
    world.evaluate().await.unwrap();
    assert!(!world.alerts().await.iter().any(|one| one.alert.rule.name == "WatchfireLadderOverdue"), "45 s are not late yet");
    world.clock.advance(Duration::from_secs(30));
    world.evaluate().await.unwrap();
    let own = world.alerts().await.into_iter().find(|one| one.alert.rule.name == "WatchfireLadderOverdue").unwrap();
    assert!(own.alert.is_firing() && own.alert.summary().contains("1m15s late"), "{}", own.alert.summary());
    world.settle().await.unwrap();
    world.pass(15).await;
    assert!(world.alerts().await.iter().any(|one| one.alert.rule.name == "WatchfireLadderOverdue" && !one.alert.is_firing()));
}

#[tokio::test]
async fn the_driver_evaluates_while_it_leads_and_stops_when_told() {
    let mut world = World::new("evaluation_interval: 5ms", PLAIN);
    world.set("big", &[(&[("job", "api")], 1.0)]);
    let fence = world.state.lead(1);
    world.fence = Some(fence.clone());
    let (lead, leads) = watch::channel(None);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let driver = tokio::spawn(world.alerting.evaluator().run(leads, async move {
        let _ = stopped.await;
    }));
    lead.send_replace(Some(fence));
    while world.count("alert_fired") == 0 {
        tokio::task::yield_now().await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let asked = world.asked().len();
    world.clock.advance(Duration::from_millis(50));
    while world.asked().len() == asked {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    stop.send(()).unwrap();
    driver.await.unwrap();
    assert_eq!(world.count("alert_fired"), 1);
}

#[tokio::test]
async fn the_series_of_rules_that_are_gone_end_with_them() {
    let rules = |recorded: &str, alert: &str| {
        format!(
            "groups:\n- name: g\n  rules:\n  - record: {recorded}\n    expr: down\n  - alert: {alert}\n    expr: down\n- name: other\n  rules: []\n"
        )
    };
    let mut world = World::new("", &rules("rec:a", "A"));
    world.set("down", &[(API, 1.0)]);
    world.tick().await;
    world.take_written();
    let ended = |written: Vec<(Labels, SeriesSample)>| -> Vec<String> {
        let stale = written.into_iter().filter(|(_, sample)| sample.value.to_bits() == STALE.to_bits());
        let mut names: Vec<String> = stale.map(|(labels, _)| labels.get("__name__").unwrap_or_default().to_owned()).collect();
        names.sort();
        names
    };

    // Twice, before anything is evaluated: only the rules that wrote something count.
    world.reload("groups: []\n");
    world.reload(&rules("rec:b", "B"));
    world.clock.advance(Duration::from_secs(15));
    world.tick().await;
    assert_eq!(ended(world.take_written()), ["ALERTS", "ALERTS_FOR_STATE", "rec:a"]);

    // A rule that goes on after a reload knows what it wrote before.
    world.reload(&rules("rec:b", "B"));
    world.set("down", &[]);
    world.clock.advance(Duration::from_secs(15));
    world.tick().await;
    assert_eq!(ended(world.take_written()), ["ALERTS", "ALERTS_FOR_STATE", "rec:b"]);

    // One that moved to another group goes on with its series.
    world.set("down", &[(API, 1.0)]);
    world.tick().await;
    world.take_written();
    world.reload(&rules("rec:b", "B").replace("name: g\n", "name: h\n"));
    world.clock.advance(Duration::from_secs(15));
    world.tick().await;
    assert_eq!(ended(world.take_written()), Vec::<String>::new());
}

#[tokio::test]
async fn an_alert_with_a_recovery_threshold_is_over_only_below_it() {
    let rules = "groups:\n- name: g\n  limit: 1\n  rules:\n  - alert: Full\n    expr: disk\n    thresholds: { warning: '> 80', critical: '> 95' }\n    recovery: '< 70'\n";
    let world = World::new("", rules);
    let mut seen = Vec::new();
    for value in [75.0, 96.0, 75.0, 70.0, f64::NAN, 81.0, 79.0, 69.0, 79.0] {
        world.set("disk", &[(&[("host", "a")], value), (&[("host", "b")], 75.0)]);
        world.tick().await;
        let firing = world.alerts().await.into_iter().find(|one| one.alert.is_firing());
        seen.push(firing.map(|one| one.alert.severity.as_str()));
    }
    let (no, warning, critical) = (None, Some("warning"), Some("critical"));
    assert_eq!(seen, [no, critical, warning, warning, no, warning, warning, no, no], "what is not a number holds nothing");
}

fn rows(columns: &[&str], rows: Vec<Vec<Cell>>) -> Rows {
    Rows { columns: columns.iter().map(|name| (*name).to_owned()).collect(), rows }
}

const SOURCES: &str = r#"
groups:
  - name: g
    rules:
      - alert: Refused
        logs: { match: refused, service: shop, by: service }
        window: 2m
        thresholds: { warning: "> 5", critical: "> 50" }
      - alert: Many
        sql: SELECT toString(service) AS service, count() AS value FROM logs WHERE ts > {from} AND ts <= {to} GROUP BY service
        annotations: { summary: "{{ $labels.service }}: {{ $value }}", example_log: own words }
"#;

#[tokio::test]
async fn rules_over_other_signals_run_through_the_same_machine_with_evidence() {
    let world = World::new("", SOURCES);
    let refused = |count: f64| {
        let cells = vec![Cell::Text("shop".to_owned()), Cell::Number(count), Cell::Text("connection refused".to_owned())];
        Ok(rows(&["service_name", "value", "example_log"], vec![cells]))
    };
    world.set_rows("hasToken", refused(7.0));
    let many = vec![Cell::Text("shop".to_owned()), Cell::Number(3.0), Cell::Text("a line".to_owned())];
    world.set_rows("GROUP BY service", Ok(rows(&["service", "value", "example_log"], vec![many])));
    world.tick().await;
    let alerts = world.alerts().await;
    let of = |name: &str| alerts.iter().find(|one| one.alert.labels.get("alertname") == Some(name)).unwrap().clone();
    let one = of("Refused");
    assert_eq!((one.alert.severity, one.alert.value), (Severity::Warning, Value(7.0)));
    assert_eq!(one.alert.annotations["example_log"], "connection refused");
    assert!(one.alert.expr.contains("\"match\":\"refused\"") && one.alert.expr.ends_with("over 2m"), "{}", one.alert.expr);
    assert_eq!(of("Many").alert.annotations["summary"], "shop: 3");
    assert_eq!(of("Many").alert.annotations["example_log"], "own words", "what the rule says comes first");

    // The rule is gone: the probe asks what the record keeps of it.
    world.set_rows("hasToken", refused(60.0));
    world.alerting.reload(RuleSet::default());
    let verdict = world.alerting.probe().probe(&one.alert, world.now()).await;
    assert!(matches!(verdict, Verdict::Active { severity: Severity::Critical, .. }), "{verdict:?}");

    world.alerting.reload(RuleSet::load(vec![("a.yaml".to_owned(), SOURCES.to_owned())]).unwrap());

    // A statement that fails holds the alert, and the rule itself is told.
    world.set_rows("hasToken", Err(model::query::QueryError::Execution("too many rows".to_owned())));
    world.pass(120).await;
    let alerts = world.alerts().await;
    let held = alerts.iter().find(|one| one.alert.labels.get("alertname") == Some("Refused")).unwrap();
    assert!(held.alert.is_firing() && held.alert.unknown, "{held:?}");
    let own = alerts.iter().find(|one| one.alert.labels.get("alertname") == Some("WatchfireRuleFailing")).unwrap();
    assert!(own.alert.annotations["summary"].contains("too many rows"), "{own:?}");
    world.set_rows("hasToken", refused(0.0));
    world.pass(30).await;
    assert!(world.alerts().await.iter().all(|one| one.alert.labels.get("alertname") != Some("Refused") || !one.alert.is_firing()));
}

const SILENT: &str = r#"
groups:
  - name: g
    rules:
      - alert: Told
        expr: down
      - alert: Fine
        expr: other
        no_data: ok
      - alert: Broken
        logs: { match: refused }
        no_data: error
"#;

#[tokio::test]
async fn rules_without_data_are_told_as_they_say() {
    let mut world = World::new("no_data_after: 10m\nfailing_for: 30s", SILENT);
    world.pass(540).await;
    let names = |alerts: Vec<Instance>| {
        let open = alerts.into_iter().filter(|one| one.alert.is_firing());
        open.map(|one| one.alert.labels.get("alertname").unwrap().to_owned()).collect::<Vec<_>>()
    };
    let alerts = world.alerts().await;
    assert_eq!(names(alerts), ["WatchfireRuleFailing"], "the one that says so is as good as broken");
    // A restart does not begin to count anew.
    world.restart();
    world.pass(120).await;
    let alerts = world.alerts().await;
    let told = alerts.iter().find(|one| one.alert.labels.get("alertname") == Some("WatchfireRuleNoData")).unwrap();
    assert!(told.alert.annotations["summary"].contains("for Told: nothing"), "{told:?}");
    assert_eq!(told.alert.severity, Severity::Info);
    world.set("down", &[(API, 0.0)]);
    world.set_rows("SELECT 1 AS value FROM logs", Ok(rows(&["value"], vec![vec![Cell::Number(1.0)]])));
    world.pass(60).await;
    let alerts = world.alerts().await;
    assert_eq!(names(alerts), ["Told"], "data came");
    let kept = model::state::all::<SilentRule>(&*world.state, None, &[], 0).await.unwrap();
    assert!(kept.is_empty(), "{kept:?}");
}

const ISSUES: &str = r#"
groups:
  - name: g
    rules:
      - alert: Back
        errors: { is: regressed, service: shop, release: "1.4" }
        window: 10m
      - alert: New
        errors: { is: new }
"#;

fn issue(number: u64, state: IssueState, print: u64, now: Timestamp) -> Issue {
    Issue {
        id: IssueId::new(now, &SequentialIds::default()),
        tenant: TenantId::default(),
        number,
        title: "KeyError: 'price'".to_owned(),
        kind: "KeyError".to_owned(),
        message: String::new(),
        culprit: String::new(),
        grouped_by: String::new(),
        state,
        assignee: None,
        services: vec!["shop".to_owned()],
        first_release: None,
        releases: Vec::new(),
        groups: vec![IssueGroup { fingerprint: Fingerprint(print), first_seen: now, last_seen: now }],
        absorbed: Vec::new(),
        regressions: 2,
        history: Vec::new(),
    }
}

#[tokio::test]
async fn issues_that_came_back_are_told_and_ignored_ones_are_left_out() {
    let world = World::new("", ISSUES);
    let now = world.now();
    let put = async |issue: &Issue| {
        let mut commit = Commit::at(now);
        commit.put(issue, Expect::New).unwrap();
        world.state.commit(commit).await.unwrap();
    };
    put(&issue(7, IssueState::Regressed { at: now, release: Some("1.4".to_owned()) }, 70, now)).await;
    let other = IssueId::new(now.plus(Duration::from_secs(1)), &SequentialIds::default());
    let elsewhere = IssueState::Regressed { at: now, release: Some("1.3".to_owned()) };
    put(&Issue { id: other, ..issue(8, elsewhere, 80, now) }).await;
    let hidden = IssueId::new(now.plus(Duration::from_secs(2)), &SequentialIds::default());
    let ignored = IssueState::Ignored { at: now, by: Actor::system("test"), until: model::issue::IgnoreUntil::Forever };
    put(&Issue { id: hidden, ..issue(9, ignored, 90, now) }).await;
    world.tick().await;
    let back: Vec<Instance> = world.alerts().await.into_iter().filter(|one| one.alert.labels.get("alertname") == Some("Back")).collect();
    assert_eq!(back.len(), 1, "one of this release: {back:?}");
    assert_eq!((back[0].alert.labels.get("issue"), back[0].alert.labels.get("service_name")), (Some("7"), Some("shop")));
    assert_eq!(back[0].alert.annotations["issue"], "#7 KeyError: 'price' (watchfire error show 7)");
    assert!(world.asked().iter().any(|(statement, _)| statement.contains("fingerprint NOT IN (90)")), "{:?}", world.asked());
    world.pass(660).await;
    let open = world.alerts().await.into_iter().any(|one| one.alert.labels.get("alertname") == Some("Back") && one.alert.is_firing());
    assert!(!open, "ten minutes ago is not within the window");
}
