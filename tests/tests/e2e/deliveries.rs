//! The outbox on a whole Watchfire: a provider that is dead, a process that is killed or stopped in the middle of a send.

use std::net::SocketAddr;

use serde_json::Value;
use tests::catchers::Catchers;
use tests::process::{Watchfire, free_port};
use tests::wait::wait_for;

/// Fires from the first evaluation on.
const RULES: &str = r#"groups:
  - name: always
    interval: 1s
    rules:
      - alert: Always
        expr: vector(1)
        thresholds: { critical: "> 0" }
        escalation: { critical: critical }
        annotations: { summary: "it always fires" }
"#;

fn config(pagerduty: SocketAddr, slack: SocketAddr, notify: &str, delivery: &str) -> String {
    format!(
        r##"
alerting:
  rules: rules
  escalations:
    - name: critical
      steps:
        - {{ after: 0s, notify: [{notify}] }}
receivers:
  - {{ name: pagerduty, type: pagerduty, routing_key: test-routing-key, url: "http://{pagerduty}", timeout: 1m }}
  - {{ name: slack, type: slack, token: xoxb-test-token, channel: "#alerts", api_url: "http://{slack}/slack" }}
{delivery}
"##
    )
}

async fn deliveries(world: &Watchfire, state: &str) -> Vec<Value> {
    world.get(&format!("/api/watchfire/v1/deliveries?state={state}")).await["deliveries"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_slack_holds_up_no_page_and_hears_everything_when_it_is_back() {
    let catchers = Catchers::start().await;
    let dead = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let delivery = "incidents: { chat_receiver: slack }\ndelivery: { retry_cap: 2s }";
    let config = config(catchers.address, dead, "slack, pagerduty", delivery);
    let pulse = format!("alerting:\n  heartbeat_url: http://{}/any/heartbeat/TOPSECRET\n  heartbeat_interval: 1s\n", catchers.address);
    let config = config.replace("alerting:\n", &pulse);
    let mut world = Watchfire::prepare(crate::WATCHFIRE, &config, &[("always.yaml", RULES)]);
    world.start().await;

    wait_for("PagerDuty's page", async || catchers.pagerduty("trigger").first().cloned()).await;
    // PagerDuty's row is done once its answer is written down.
    let waiting = wait_for("Slack's rows, and no others, to have failed", async || {
        let pending = deliveries(&world, "pending").await;
        let failed = pending.iter().filter(|row| row["error"].as_str().is_some_and(|error| error.contains("cannot connect"))).count();
        (failed >= 2 && pending.iter().all(|row| row["receiver"] == "slack")).then_some(pending)
    })
    .await;
    assert!(!waiting.iter().any(|row| row.to_string().contains("xoxb-test-token")));
    let metrics = world.text("/metrics").await;
    let counted = |line: &&str| line.starts_with("watchfire_notifications_total") && line.contains("slack") && line.contains("retried");
    assert!(metrics.lines().any(|line| counted(&line)), "{metrics}");
    let listed = world.command(&["deliveries", "list", "--state", "pending"]).output().unwrap();
    assert!(String::from_utf8_lossy(&listed.stdout).contains("it always fires"), "{listed:?}");

    let slack = Catchers::start_at(dead).await;
    // A provider that is dead is no reason for the watch outside to ring.
    wait_for("two beats", async || (catchers.to("heartbeat").len() >= 2).then_some(())).await;
    assert!(world.own("watchfire_heartbeats_total{outcome=\"sent\"}").await.is_some_and(|sent| sent >= 1.0));
    wait_for("Slack to hear everything", async || deliveries(&world, "pending").await.is_empty().then_some(())).await;
    assert!(deliveries(&world, "dead").await.is_empty());
    let notices: Vec<Value> = slack.to("chat.postMessage").into_iter().map(|request| request.body).collect();
    let paged = notices.iter().filter(|body| body["channel"] == "#alerts").count();
    assert_eq!((paged, slack.to("conversations.create").len()), (1, 1), "each once: {notices:?}");
    assert_eq!(catchers.pagerduty("trigger").len(), 1);
    assert!(!world.log().contains("xoxb-test-token") && !world.log().contains("TOPSECRET"));
}

/// The lease is far longer than any wait of this test: only taking back what the killed process held explains the second sending.
#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_of_a_send_it_goes_on_as_soon_as_it_is_back() {
    let catchers = Catchers::start().await;
    let config = config(catchers.address, catchers.address, "pagerduty", "delivery: { lease: 1h }");
    let mut world = Watchfire::prepare(crate::WATCHFIRE, &config, &[("always.yaml", RULES)]);
    catchers.hold(true);
    world.start().await;
    let first = wait_for("PagerDuty's page", async || catchers.pagerduty("trigger").first().cloned()).await;
    world.kill();
    catchers.hold(false);
    world.start().await;
    wait_for("the delivery to be done", async || (!deliveries(&world, "done").await.is_empty()).then_some(())).await;
    let seen = catchers.pagerduty("trigger");
    assert_eq!(seen.len(), 2, "nobody knows whether the first one counted: {seen:?}");
    assert_eq!(seen[1].body["dedup_key"], first.body["dedup_key"]);
    let marks = [0, 1].map(|at: usize| seen[at].body["payload"]["custom_details"]["watchfire_resend"].clone());
    assert_eq!(marks, [Value::Null, Value::Bool(true)]);
    assert!(world.log().contains("taken up again"), "{}", world.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_in_the_middle_of_a_send_it_waits_for_the_answer() {
    let catchers = Catchers::start().await;
    let config = config(catchers.address, catchers.address, "pagerduty", "");
    let mut world = Watchfire::prepare(crate::WATCHFIRE, &config, &[("always.yaml", RULES)]);
    catchers.hold(true);
    world.start().await;
    wait_for("PagerDuty's page", async || catchers.pagerduty("trigger").first().cloned()).await;
    let log = world.folder().join("log");
    let answer_late = async {
        wait_for("watchfire to be stopping", async || std::fs::read_to_string(&log).unwrap().contains("stopping").then_some(())).await;
        catchers.hold(false);
    };
    let (code, ()) = tokio::join!(world.stop(), answer_late);
    assert_eq!(code, Some(0));
    world.start().await;
    let done = deliveries(&world, "done").await;
    assert_eq!((done.len(), &done[0]["attempts"]), (1, &Value::from(1)), "its outcome was written before the end: {done:?}");
    assert_eq!(catchers.pagerduty("trigger").len(), 1);
}
