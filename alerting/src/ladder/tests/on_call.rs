//! Ladders that name people and schedules, and calls for help. The world begins on Friday 2027-01-15 at 08:00 UTC.

use model::ids::OverrideId;
use model::state::{Commit, Expect, Records};

use super::*;
use crate::on_call::Override;

const PEOPLE: &str = r#"
users:
  - { name: ada, receivers: [ada-sms, ada-phone] }
  - { name: bob, receivers: [bob-sms] }
  - { name: eve, receivers: [eve-mail] }
teams: [{ name: shop, members: [eve, nights] }]
schedules:
  - { name: primary, layers: [{ users: [ada, bob], from: "2027-01-15 00:00", turn: 8h }] }
  - { name: nights, layers: [{ users: [bob], from: "2027-01-01 00:00", turn: 7d, within: [night] }] }
time_intervals: [{ name: night, time_intervals: [{ times: [{ start_time: "20:00", end_time: "24:00" }] }] }]
default_receivers: [pd]
escalations:
  - name: page
    steps: STEPS
    repeat: 1
"#;

const PAGE: &str = r#"
groups:
  - name: g
    rules:
      - { alert: Broken, expr: errors, labels: { severity: critical }, escalation: page }
"#;

async fn fired(steps: &str) -> World {
    let world = World::new(&PEOPLE.replace("STEPS", steps), PAGE);
    world.set("errors", &[(SHOP, 1.0)]);
    world.tick().await;
    world
}

fn reasons(world: &World) -> Vec<String> {
    let notices = world.deliveries().into_iter().filter(|(_, _, action)| *action == "trigger");
    notices
        .map(|(_, delivery, _)| match delivery.message {
            Message::Notice(notice) => notice.reason,
            other => panic!("{other:?}"),
        })
        .collect()
}

#[tokio::test]
async fn a_step_reaches_whose_turn_it_is_when_it_is_taken() {
    // At 08:00 bob's turn has just begun; the second step falls into ada's, at 16:00.
    let world = fired("[{ after: 0s, notify: [primary] }, { after: 8h, notify: [primary, eve] }]").await;
    assert_eq!(world.outbox(), ["0s bob-sms trigger"]);
    assert_eq!(reasons(&world), ["page, step 1 of 2 (bob (on call on primary))"]);
    world.pass(8 * 3600).await;
    let later = world.outbox()[1..].to_vec();
    assert_eq!(later, ["28800s ada-sms trigger", "28800s ada-phone trigger", "28800s eve-mail trigger"]);
    let people = world.state.journal().into_iter().filter_map(|recorded| match recorded.event.kind {
        EventKind::LadderStepTaken { people, .. } => Some(people),
        _ => None,
    });
    assert_eq!(
        people.collect::<Vec<_>>(),
        [vec!["bob (on call on primary)".to_owned()], vec!["ada (on call on primary)".into(), "eve".into()]]
    );
    world.act(EventKind::IncidentAcknowledged).await;
    let told: Vec<String> = world.outbox().into_iter().filter(|line| line.ends_with("acknowledge")).collect();
    assert_eq!(told.len(), 4, "whoever was told hears that somebody has it: {told:?}");
}

#[tokio::test]
async fn a_step_that_reaches_nobody_costs_no_time_and_the_last_one_reaches_everybody() {
    let world = fired("[{ after: 0s, notify: [nights] }, { after: 10m, notify: [eve] }, { after: 30m, notify: [nights] }]").await;
    assert_eq!(world.outbox(), ["0s eve-mail trigger"], "nobody is on call at 08:00, so the next step is taken");
    assert_eq!(reasons(&world), ["page, step 2 of 3: nobody is on call for the step before (eve)"]);
    world.pass(20 * 60).await;
    assert_eq!(world.outbox()[1..], ["1200s bob-sms trigger"], "the pause between the steps stays");
    assert!(reasons(&world)[1].ends_with("(bob (of nights, on which nobody is on call))"), "{:?}", reasons(&world));
    assert_eq!(world.count("ladder_step_taken"), 2);
    assert_eq!(world.count("noted"), 2, "{:?}", world.journal());
    world.pass(3600).await;
    let triggers: Vec<String> = world.outbox().into_iter().filter(|line| line.ends_with("trigger")).collect();
    assert_eq!(triggers.len(), 4, "the repetition does the same: {triggers:?}");
}

#[tokio::test]
async fn an_override_decides_from_the_moment_it_begins() {
    let world = fired("[{ after: 0s, notify: [primary] }, { after: 10m, notify: [primary] }]").await;
    assert_eq!(world.outbox(), ["0s bob-sms trigger"]);
    let now = world.now();
    let one = Override {
        id: OverrideId::derived(now, "override"),
        tenant: TenantId::default(),
        schedule: "primary".into(),
        user: "eve".into(),
        starts_at: now,
        ends_at: now.plus(Duration::from_secs(900)),
        created_by: model::event::Actor::User { id: "eve".into() },
        comment: String::new(),
        over: false,
    };
    let mut commit = Commit::at(now);
    commit.put(&one, Expect::New).unwrap();
    world.state.commit(commit).await.unwrap();
    world.pass(600).await;
    assert_eq!(world.outbox()[1..], ["600s eve-mail trigger"]);
}

#[tokio::test]
async fn a_call_for_help_takes_the_next_step_now_and_goes_on_from_there() {
    let world = fired("[{ after: 0s, notify: [bob] }, { after: 10m, notify: [ada] }, { after: 30m, notify: [eve] }]").await;
    world.pass(60).await;
    world.act(EventKind::IncidentAcknowledged).await;
    world.pass(600).await;
    world.act(EventKind::IncidentEscalated { reason: "the database too".to_owned() }).await;
    let triggers = || world.outbox().into_iter().filter(|line| line.ends_with("trigger")).collect::<Vec<_>>();
    assert_eq!(triggers()[1..], ["660s ada-sms trigger", "660s ada-phone trigger"]);
    assert_eq!(reasons(&world)[1], "page, step 2 of 3: ada calls for help: the database too (ada)");
    world.pass(20 * 60).await;
    assert_eq!(triggers()[3..], ["1860s eve-mail trigger"], "the pause between the steps stays");
    world.act(EventKind::IncidentEscalated { reason: "still".to_owned() }).await;
    assert_eq!(triggers()[4..], ["1860s bob-sms trigger"], "after the last step the ladder begins again");
    world.act(EventKind::IncidentAcknowledged).await;
    world.pass(7200).await;
    assert_eq!(triggers().len(), 5, "nothing after an acknowledgement");
}

#[tokio::test]
async fn a_call_for_help_works_where_the_ladder_has_come_to_its_end_and_is_told_where_nobody_is_left() {
    let world = fired("[{ after: 0s, notify: [bob] }]").await;
    world.pass(3600).await;
    assert_eq!(world.runs().await[0].status, LadderStatus::Exhausted);
    world.act(EventKind::IncidentEscalated { reason: "hello?".to_owned() }).await;
    assert_eq!(world.outbox().last().unwrap(), "3600s bob-sms trigger");

    let world = fired("[{ after: 0s, notify: [bob] }]").await;
    world.silence(world.now(), world.now().plus(Duration::from_secs(7200))).await;
    world.pass(15).await;
    world.act(EventKind::IncidentEscalated { reason: "hello?".to_owned() }).await;
    assert_eq!(world.outbox().len(), 1, "what is silenced pages nobody");
    assert_eq!(world.count("noted"), 1, "and that is told");
}

#[tokio::test]
async fn a_call_for_help_under_a_silence_is_heard_when_it_ends() {
    let world = fired("[{ after: 0s, notify: [bob] }, { after: 10m, notify: [ada] }]").await;
    world.act(EventKind::IncidentAcknowledged).await;
    world.silence(world.now(), world.now().plus(Duration::from_secs(600))).await;
    world.pass(60).await;
    world.act(EventKind::IncidentEscalated { reason: "hello?".to_owned() }).await;
    let triggers = || world.outbox().into_iter().filter(|line| line.ends_with("trigger")).collect::<Vec<_>>();
    assert_eq!(triggers().len(), 1, "what is silenced pages nobody");
    world.pass(600).await;
    assert_eq!(triggers()[1..], ["600s ada-sms trigger", "600s ada-phone trigger"]);
}

#[tokio::test]
async fn what_got_worse_while_somebody_had_it_is_paged_at_a_call_for_help() {
    // The incident climbed the ladder of its severity; a worse alert joined while it was taken.
    let rules = "groups:\n- name: g\n  rules:\n  - { alert: Slow, expr: slow, labels: { severity: high }, escalation: chat }\n  - { alert: Broken, expr: errors, labels: { severity: critical }, escalation: page }\n";
    let steps = "[{ after: 0s, notify: [ada] }]\n  - name: chat\n    steps: [{ after: 0s, notify: [eve] }]";
    let world = World::new(&PEOPLE.replace("STEPS\n    repeat: 1", steps), rules);
    world.set("slow", &[(SHOP, 1.0)]);
    world.tick().await;
    world.act(EventKind::IncidentAcknowledged).await;
    world.set("errors", &[(SHOP, 1.0)]);
    world.pass(30).await;
    let triggers = || world.outbox().into_iter().filter(|line| line.ends_with("trigger")).collect::<Vec<_>>();
    assert_eq!(triggers(), ["0s eve-mail trigger"], "somebody has it");
    world.act(EventKind::IncidentEscalated { reason: "it is all of it".to_owned() }).await;
    world.pass(5).await;
    let told: BTreeSet<String> = triggers()[1..].iter().cloned().collect();
    let all = ["30s ada-sms trigger", "30s ada-phone trigger", "30s eve-mail trigger"].map(str::to_owned);
    assert_eq!(told, all.into(), "the ladder that never began, and the one that had come to its end");
    assert_eq!(world.count("noted"), 0, "somebody was told");
}

#[tokio::test]
async fn names_that_are_gone_cost_no_page() {
    let world = fired("[{ after: 0s, notify: [bob] }, { after: 10m, notify: [primary] }, { after: 20m, notify: [primary] }]").await;
    // While it climbs, the schedule and its people are taken out of the configuration.
    let without = crate::Config { default_receivers: vec!["pd".into()], ..crate::Config::default() };
    let known = ["pd", "bob-sms"].map(str::to_owned);
    world.alerting.reroute(crate::routing::Routing::of(&without).knowing(known));
    world.pass(600).await;
    let triggers = || world.outbox().into_iter().filter(|line| line.ends_with("trigger")).collect::<Vec<_>>();
    assert_eq!(triggers()[1..], ["600s pd trigger"], "the step means nobody, the next one neither: the default receivers are told");
}
