//! The story, on real parts: a Python shop with the real OpenTelemetry SDK breaks; the rule as shipped fires; PagerDuty and Slack
//! hear of it; Watchfire is killed in the middle of the ladder and goes on; SMS follows; the first repair does not help and is
//! undone, the second does; the incident resolves, its channel is archived and the postmortem lies ready.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::Value;
use tests::catchers::Catchers;
use tests::process::Watchfire;
use tests::python::{Shop, interpreter, skip};
use tests::wait::wait_for;

/// The shipped rule, with the remediation that this shop has.
fn rules() -> String {
    let shipped = include_str!("../../../deploy/rules/services.yaml");
    let rule = "      - alert: ServiceErrorRate\n";
    assert!(shipped.contains(rule));
    shipped.replace(rule, &format!("{rule}        remediation: repair-shop\n"))
}

fn config(catchers: &Catchers, shop: &str) -> String {
    let at = catchers.address;
    format!(
        r##"
alerting:
  rules: rules
  escalations:
    - name: critical
      steps:
        - {{ after: 0s, notify: [pagerduty, slack] }}
        - {{ after: 6s, notify: [sms] }}
    - name: medium
      steps:
        - {{ after: 0s, notify: [slack] }}
receivers:
  - {{ name: pagerduty, type: pagerduty, routing_key: test-routing-key, url: "http://{at}" }}
  - {{ name: slack, type: slack, token: xoxb-test-token, channel: "#alerts", api_url: "http://{at}/slack" }}
  - {{ name: sms, type: twilio_sms, account_sid: AC1, auth_token: test-auth-token, from: "+15550100", to: ["+15550101"], url: "http://{at}" }}
incidents:
  chat_receiver: slack
remediation:
  remediations:
    - name: repair-shop
      rungs:
        - name: scale
          action: {{ type: http, method: POST, url: "{shop}/admin/scale" }}
          undo: {{ type: http, method: POST, url: "{shop}/admin/unscale" }}
          settle: 4s
          check_every: 1s
          verify_timeout: 6s
        - name: rollback
          action: {{ type: http, method: POST, url: "{shop}/admin/rollback" }}
          settle: 2s
          check_every: 1s
          verify_timeout: 90s
"##
    )
}

/// Customers: orders without end, with a pause between two that can be changed.
struct Customers {
    stop: Arc<AtomicBool>,
    orders: Arc<AtomicU64>,
    pause_millis: Arc<AtomicU64>,
}

impl Customers {
    fn start(shop: &str) -> Self {
        let customers = Customers { stop: Arc::default(), orders: Arc::default(), pause_millis: Arc::new(AtomicU64::new(10)) };
        for _ in 0..3 {
            let (stop, orders, pause) = (customers.stop.clone(), customers.orders.clone(), customers.pause_millis.clone());
            let url = format!("{shop}/order");
            tokio::spawn(async move {
                let client = reqwest::Client::new();
                while !stop.load(Ordering::SeqCst) {
                    let number = orders.fetch_add(1, Ordering::SeqCst);
                    let _ = client.post(&url).body(number.to_string()).send().await;
                    tokio::time::sleep(std::time::Duration::from_millis(pause.load(Ordering::SeqCst))).await;
                }
            });
        }
        customers
    }
    async fn until(&self, count: u64) {
        let goal = self.orders.load(Ordering::SeqCst) + count;
        wait_for("customers to order", async || (self.orders.load(Ordering::SeqCst) >= goal).then_some(())).await;
    }
    fn pause(&self, millis: u64) {
        self.pause_millis.store(millis, Ordering::SeqCst);
    }
}

impl Drop for Customers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

async fn act(shop: &Shop, act: &str) -> Value {
    reqwest::Client::new().post(format!("{}/admin/{act}", shop.url)).send().await.unwrap().json().await.unwrap()
}

fn kinds(incident: &Value) -> Vec<String> {
    let timeline = incident["timeline"].as_array().unwrap_or_else(|| panic!("no timeline in {incident}"));
    timeline.iter().map(|entry| entry["kind"].as_str().unwrap_or_else(|| panic!("no kind in {entry}")).to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn telemetry_becomes_a_page_an_incident_a_verified_repair_and_a_postmortem() {
    let Some(python) = interpreter() else {
        return skip("Python 3 with venv and the packages of tests/python/requirements.txt");
    };
    let catchers = Catchers::start().await;
    let mut world = Watchfire::prepare(crate::WATCHFIRE, "", &[("services.yaml", &rules())]);
    let shop = Shop::start(&python, &format!("http://{}", world.grpc));
    let file = world.folder().join("watchfire.yaml");
    let server = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{server}{}", config(&catchers, &shop.url))).unwrap();
    world.start().await;

    previous_version(&world, &python).await;

    // A healthy shop: nobody is paged.
    let customers = Customers::start(&shop.url);
    customers.until(150).await;
    wait_for("RED series of the shop", async || {
        world.promql("sum(increase(traces_span_metrics_calls_total{service_name=\"checkout\"}[5m]))").await.filter(|calls| *calls > 50.0)
    })
    .await;
    assert!(catchers.to("pagerduty").is_empty(), "a healthy shop pages nobody");

    // Its pipeline says that it went out, twice, because it tries again.
    for outcome in ["is recorded", "was recorded already"] {
        let arguments =
            ["deployments", "record", "checkout", "2.4.1", "--environment", "test", "-m", "faster checkout", "--key", "build-7"];
        let said = world.command(&arguments).output().unwrap();
        assert!(said.status.success() && String::from_utf8_lossy(&said.stdout).contains(outcome), "{said:?}");
    }

    // It breaks: PagerDuty and Slack hear of it, one incident is open.
    // Few orders while it is broken and many afterwards, so that the share over five minutes falls again within this test.
    customers.pause(250);
    act(&shop, "break").await;
    let page = wait_for("PagerDuty's trigger", async || catchers.pagerduty("trigger").first().cloned()).await;
    wait_for("Slack's page", async || catchers.to("chat.postMessage").first().cloned()).await;
    wait_for("Slack's channel", async || catchers.to("conversations.create").first().cloned()).await;
    assert_eq!(page.body["payload"]["severity"], "critical", "{:?}", page.body);
    assert_eq!(page.body["routing_key"], "test-routing-key");
    let dedup_key = page.body["dedup_key"].clone();
    let incident = world.get("/api/watchfire/v1/incidents/1").await;
    assert_eq!(incident["incident"]["status"], "open", "{incident}");
    assert_eq!(incident["incident"]["id"], dedup_key, "PagerDuty's key is the incident's id");

    // Killed in the middle of the ladder, started again: the second step still comes.
    assert!(catchers.to("twilio").is_empty(), "the second step is not due yet");
    world.kill();
    world.start().await;
    let sms = wait_for("the SMS of the second step", async || catchers.to("twilio").first().cloned()).await;
    assert!(sms.body["Body"].as_str().unwrap().contains("checkout"), "{:?}", sms.body);

    wait_for("the second repair", async || {
        let acts = act(&shop, "look").await["acts"].clone();
        acts.as_array().unwrap().iter().any(|act| act == "rollback").then_some(())
    })
    .await;
    customers.pause(0);

    // The first repair does not help and is undone; the second one helps; the alert's own expression says so.
    wait_for("the incident to resolve", async || {
        let incident = world.get("/api/watchfire/v1/incidents/1").await;
        (incident["incident"]["status"] == "resolved").then_some(())
    })
    .await;
    let acts = act(&shop, "look").await["acts"].clone();
    let acts: Vec<&str> = acts.as_array().unwrap().iter().filter_map(Value::as_str).filter(|act| *act != "look").collect();
    assert_eq!(acts, ["break", "scale", "unscale", "rollback"]);

    wait_for("Slack's channel to be archived", async || catchers.to("conversations.archive").first().cloned()).await;
    wait_for("PagerDuty's resolve", async || catchers.pagerduty("resolve").first().cloned()).await;
    for action in ["trigger", "resolve"] {
        let sent = catchers.pagerduty(action);
        assert!(sent.iter().all(|request| request.body["dedup_key"] == dedup_key), "{sent:?}");
        let unmarked = sent.iter().filter(|request| request.body["payload"]["custom_details"]["watchfire_resend"] != true).count();
        assert_eq!(unmarked, 1, "{action} is seen once, or again only as a marked resend: {sent:?}");
    }
    let texts = catchers.to("twilio");
    let calls = texts.iter().filter(|sms| sms.body["Body"].as_str().unwrap().contains("[CRITICAL]")).count();
    assert_eq!(calls, 1, "no step twice: {texts:?}");

    postmortem_and_metrics(&world).await;
}

/// The version before the shop's takes some orders and is gone: what comes after it is a change, whoever recorded it.
async fn previous_version(world: &Watchfire, python: &std::path::Path) {
    let previous = Shop::start_version(python, &format!("http://{}", world.grpc), "2.4.0");
    let client = reqwest::Client::new();
    for number in 0..5 {
        client.post(format!("{}/order", previous.url)).body(number.to_string()).send().await.unwrap();
    }
    wait_for("spans of the previous version", async || {
        (world.count("SELECT count() FROM spans WHERE resource['service.version'] = '2.4.0'").await >= 5).then_some(())
    })
    .await;
}

async fn postmortem_and_metrics(world: &Watchfire) {
    let markdown = wait_for("the postmortem draft", async || {
        let text = world.text("/api/watchfire/v1/incidents/1/postmortem").await;
        text.contains("checkout").then_some(text)
    })
    .await;
    for part in ["PaymentDeclined", "charge", "scale", "rollback", "POST /order", "Time to resolve", "sms"] {
        assert!(markdown.contains(part), "the postmortem must mention {part}:\n{markdown}");
    }
    let (_, changes) = markdown.split_once("## Changes before the start").unwrap();
    let change = changes.lines().find(|line| line.contains("2.4.1")).unwrap_or_else(|| panic!("no change in:\n{markdown}"));
    for part in ["checkout", "before the start", "2.4.0", "recorded by local, first span at", "faster checkout"] {
        assert!(change.contains(part), "the change must mention {part}: {change}");
    }
    // The repair says that it is over after the alert said so: the incident may be resolved a moment before.
    let kinds = wait_for("the repair to be over", async || {
        let kinds = kinds(&world.get("/api/watchfire/v1/incidents/1").await);
        kinds.iter().any(|kind| *kind == "repair_finished").then_some(kinds)
    })
    .await;
    for kind in [
        "alert_fired",
        "incident_opened",
        "deployment_marked",
        "ladder_step_taken",
        "notification_sent",
        "repair_acted",
        "repair_undone",
        "repair_checked",
        "repair_finished",
        "alert_resolved",
        "incident_resolved",
        "postmortem_drafted",
        "review_scheduled",
    ] {
        assert!(kinds.iter().any(|seen| seen == kind), "the timeline must hold {kind}: {kinds:?}");
    }
    let metrics = world.text("/metrics").await;
    assert!(metrics.contains("watchfire_incident_time_to_resolve_seconds_count"), "{metrics}");
    wait_for("MTTR as a series", async || {
        world.promql("watchfire_incident_time_to_resolve_seconds").await.filter(|seconds| *seconds > 0.0)
    })
    .await;

    let said = |arguments: &[&str]| {
        let output = world.command(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(said(&["incidents"]).contains("resolved"));
    assert!(said(&["incident", "show", "1"]).contains("rollback"));
    assert!(said(&["postmortem", "1"]).contains("PaymentDeclined"));
    assert!(said(&["deployments", "list", "--service", "checkout"]).contains("2.4.1"));
    assert!(said(&["query", "vector(7)"]).contains('7'));
    assert!(said(&["sql", "SELECT count() AS spans FROM spans"]).contains("spans"));
    assert!(said(&["alerts", "--state", "resolved"]).contains("ServiceErrorRate"));
    let log = world.log();
    for secret in ["test-routing-key", "xoxb-test-token", "test-auth-token"] {
        assert!(!log.contains(secret), "the log must not hold {secret}");
    }
}
