//! Pages that waited for their provider while somebody took the alert, or while it ended: the real ladders and groups write them, the real
//! worker sends them.

use super::*;
use crate::channels::catcher::fakes;
use crate::channels::catcher::http::{Catcher, Fault};
use crate::testing;

const RULES: &str = r#"
groups:
  - name: g
    rules:
      - alert: Broken
        expr: errors
        labels: { severity: critical }
        escalation: page
"#;
const LADDER: &str = "
escalations:
  - { name: page, steps: [{ after: 0s, notify: [pd] }, { after: 2h, notify: [pd] }] }
  - { name: chat, steps: [{ after: 0s, notify: [chat] }] }
";
const SHOP: &[(&str, &str)] = &[("service", "shop")];
/// What a provider asks for that is held up.
const LATER: Fault = Fault::RetryAfter(429, "600");

/// Rules, ladders and groups, and what carries their notices out.
struct Story {
    world: testing::World,
    worker: Arc<DeliveryWorker>,
}

impl Story {
    async fn begin(config: &str, rules: &str, receivers: &str) -> Self {
        let world = testing::World::new(config, rules);
        let receivers: Vec<ReceiverConfig> = serde_saphyr::from_str(receivers).unwrap();
        let config = Config { patience: model::time::Span::secs(60), ..Config::default() };
        let worker = DeliveryWorker::new(&receivers, config, Arc::new(model::ids::RandomIds), &Registry::new()).unwrap();
        let story = Story { world, worker: Arc::new(worker) };
        story.world.set("errors", &[(SHOP, 1.0)]);
        story.world.tick().await;
        story.deliver().await;
        story
    }

    async fn deliver(&self) {
        let state: Arc<dyn StateStore> = self.world.state.clone();
        while self.worker.deliver_due(&state, None, self.world.now()).await.unwrap() > 0 {}
    }

    async fn pass(&self, seconds: u64) {
        for _ in 0..seconds.div_ceil(15) {
            self.world.pass(15).await;
            self.deliver().await;
        }
    }

    /// It is over.
    async fn end(&self) {
        self.world.set("errors", &[]);
        self.pass(700).await;
    }

    /// Actions of the deliveries that were done without a send, with the reason.
    fn unneeded(&self) -> Vec<String> {
        let rows = self.world.state.rows().into_iter().filter(|row| row.queue == model::work::Queue::Delivery);
        let reason = |row: Work| row.progress?["unneeded"].as_str().map(str::to_owned);
        rows.filter_map(reason).collect()
    }

    fn noted(&self) -> Vec<String> {
        let text = |kind| if let EventKind::Noted { text, .. } = kind { Some(text) } else { None };
        self.world.state.kinds().into_iter().filter_map(text).collect()
    }

    /// Nothing is left to do.
    fn assert_settled(&self) {
        let open: Vec<Work> = self.world.state.rows().into_iter().filter(|row| row.state == WorkState::Pending).collect();
        assert!(open.iter().all(|row| row.queue != model::work::Queue::Delivery), "{open:?}");
    }
}

fn actions(catcher: &Catcher) -> Vec<String> {
    let events = catcher.bodies("enqueue");
    events.iter().map(|event| event["event_action"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_page_that_was_held_up_is_not_sent_to_somebody_after_the_acknowledgement_of_another() {
    catcher::crypto();
    let catcher = fakes::pagerduty().await;
    catcher.fault("", LATER);
    let story = Story::begin(LADDER, RULES, &pagerduty(&catcher.url)).await;
    assert_eq!(actions(&catcher), ["trigger"], "and it was turned away");
    story.world.act(EventKind::IncidentAcknowledged).await;
    story.pass(700).await;
    assert_eq!(actions(&catcher), ["trigger"], "no page, and no acknowledgement of what PagerDuty never saw");
    assert_eq!(story.unneeded(), ["acknowledged by ada", "pd was never told of what this would acknowledge"]);
    assert_eq!(story.noted(), ["the page to pd was not sent: acknowledged by ada"]);
    story.end().await;
    assert_eq!(actions(&catcher), ["trigger"]);
    assert_eq!(story.unneeded().last().unwrap(), "pd was never told of what this would resolve");
    story.assert_settled();
}

/// The whole way down: the rows as the API shows them.
#[tokio::test]
async fn the_reason_stands_in_the_delivery() {
    catcher::crypto();
    let catcher = fakes::pagerduty().await;
    catcher.fault("", LATER);
    let story = Story::begin(LADDER, RULES, &pagerduty(&catcher.url)).await;
    story.world.take(true).await;
    story.pass(700).await;
    let rows = story.world.state.rows();
    let row = rows.iter().find(|row| row.key.ends_with("/0/0/0/pd")).unwrap();
    assert_eq!((row.state, row.attempts), (WorkState::Done, 2));
    assert_eq!(row.progress.as_ref().unwrap()["unneeded"], "acknowledged by ada");
    assert!(!story.world.state.kinds().iter().any(|kind| matches!(kind, EventKind::NotificationSent { .. })));
}

#[tokio::test]
async fn a_page_that_was_held_up_until_its_alert_was_over_is_sent_before_the_end() {
    catcher::crypto();
    let catcher = fakes::pagerduty().await;
    catcher.fault("", LATER);
    let story = Story::begin(LADDER, RULES, &pagerduty(&catcher.url)).await;
    story.end().await;
    assert_eq!(actions(&catcher), ["trigger", "trigger", "resolve"], "turned away, then both");
    assert!(story.unneeded().is_empty());
    story.assert_settled();
}

#[tokio::test]
async fn where_the_page_may_have_arrived_its_end_is_told() {
    for fault in [Fault::LostAnswer, Fault::Reset] {
        catcher::crypto();
        let catcher = fakes::pagerduty().await;
        catcher.fault("", fault.clone());
        let story = Story::begin(LADDER, RULES, &pagerduty(&catcher.url)).await;
        story.world.act(EventKind::IncidentAcknowledged).await;
        story.pass(700).await;
        assert_eq!(actions(&catcher), ["trigger", "acknowledge"], "{fault:?}: not twice, but nobody knows whether once");
        story.end().await;
        assert_eq!(actions(&catcher), ["trigger", "acknowledge", "resolve"], "{fault:?}");
        story.assert_settled();
    }
}

#[tokio::test]
async fn a_provider_that_can_be_asked_says_whether_it_has_the_page() {
    for (fault, messages) in [(Fault::LostAnswer, 3), (Fault::Reset, 0)] {
        catcher::crypto();
        let (catcher, workspace) = fakes::slack(secs(START)).await;
        catcher.fault("chat.postMessage", fault.clone());
        let rules = RULES.replace("escalation: page", "escalation: chat");
        let story = Story::begin(LADDER, &rules, &slack(&catcher.url)).await;
        // The fake's clock stands still; the search begins at the attempt.
        workspace.lock().unwrap().now = secs(story.world.now());
        for message in &mut workspace.lock().unwrap().messages {
            message["ts"] = format!("{}.000001", secs(story.world.now())).into();
        }
        story.world.act(EventKind::IncidentAcknowledged).await;
        story.pass(60).await;
        story.end().await;
        let sent = story.world.state.kinds().into_iter().filter(|kind| matches!(kind, EventKind::NotificationSent { .. })).count();
        assert_eq!((workspace.lock().unwrap().messages.len(), sent), (messages, messages), "{fault:?}: {:?}", story.unneeded());
        story.assert_settled();
    }
}

#[tokio::test]
async fn what_is_given_back_is_paged_again_and_closed_at_the_end() {
    catcher::crypto();
    let catcher = fakes::pagerduty().await;
    catcher.fault("", LATER);
    let story = Story::begin(LADDER, RULES, &pagerduty(&catcher.url)).await;
    story.world.act(EventKind::IncidentAcknowledged).await;
    story.pass(700).await;
    story.world.act(EventKind::IncidentUnacknowledged).await;
    story.pass(15).await;
    assert_eq!(actions(&catcher), ["trigger", "trigger"]);
    story.world.act(EventKind::IncidentAcknowledged).await;
    story.pass(15).await;
    story.end().await;
    assert_eq!(actions(&catcher), ["trigger", "trigger", "acknowledge", "resolve"], "now it has something to close");
    story.assert_settled();
}

/// A group told the same receiver of the same alert, under a key of its own: that is no page that could be acknowledged.
#[tokio::test]
async fn what_a_group_told_is_no_page_that_could_be_acknowledged() {
    catcher::crypto();
    let catcher = fakes::pagerduty().await;
    let config = "
escalations: [{ name: page, steps: [{ after: 5m, notify: [pd] }] }]
route: { receivers: [pd], escalation: page, group_wait: 0s, group_interval: 30s }
incident_wait: 0s
";
    let story = Story::begin(config, &RULES.replace("        escalation: page\n", ""), &pagerduty(&catcher.url)).await;
    assert_eq!(actions(&catcher), ["trigger"], "the group's");
    catcher.fault("", LATER);
    story.pass(300).await;
    assert_eq!(actions(&catcher), ["trigger", "trigger"], "the page, turned away");
    story.world.act(EventKind::IncidentAcknowledged).await;
    story.pass(700).await;
    let said: Vec<(String, bool)> = catcher
        .bodies("enqueue")
        .iter()
        .map(|event| {
            let of_the_group = event["dedup_key"] == catcher.bodies("enqueue")[0]["dedup_key"];
            (event["event_action"].as_str().unwrap().to_owned(), of_the_group)
        })
        .collect();
    assert!(said.contains(&("acknowledge".to_owned(), true)) && !said.contains(&("acknowledge".to_owned(), false)), "{said:?}");
    story.end().await;
    story.assert_settled();
}

#[tokio::test]
async fn what_informs_is_sent_though_somebody_has_it() {
    let rules = RULES.replace("        escalation: page\n", "");
    let tree = format!("{LADDER}\nroute: {{ receivers: [pd], group_wait: 0s, group_interval: 30s }}");
    for config in [tree, "default_receivers: [pd]".to_owned()] {
        catcher::crypto();
        let catcher = fakes::pagerduty().await;
        catcher.fault("", LATER);
        let story = Story::begin(&format!("incident_wait: 0s\n{config}"), &rules, &pagerduty(&catcher.url)).await;
        story.pass(15).await;
        assert_eq!(actions(&catcher), ["trigger"], "turned away: {config}");
        story.world.take(true).await;
        story.pass(700).await;
        story.end().await;
        assert_eq!(actions(&catcher), ["trigger", "trigger", "acknowledge", "resolve"], "{config}");
        story.assert_settled();
    }
}
