//! Two processes over one PostgreSQL and one ClickHouse: one leads, the other takes in. The leader is killed in the middle of a ladder; the other
//! one climbs on, pages what is new, and nothing is told twice; the one that comes back follows, and leads again when the other stops.

use serde_json::{Value, json};
use tests::catchers::Catchers;
use tests::process::Watchfire;
use tests::wait::wait_for;

use crate::clickhouse_url::bridge;
use crate::postgres::Postgres;

const RULES: &str = "groups:
- name: shops
  interval: 1s
  rules:
  - { alert: ShopDown, expr: 'max by (service) (shop_down)', thresholds: { critical: '> 0' }, escalation: page }
";

fn config(catchers: &Catchers, postgres: &str, clickhouse: u16) -> String {
    let at = catchers.address;
    format!(
        "storage:
  postgres_url: '{postgres}'
  clickhouse: {{ url: 'http://127.0.0.1:{clickhouse}', user: w, password: secret, database: shared }}
alerting:
  rules: rules
  route: {{ receivers: [], routes: [{{ matchers: ['from=\"outside\"'], receivers: [hook], group_by: [alertname], group_wait: 0s, group_interval: 1s }}] }}
  escalations: [{{ name: page, steps: [{{ after: 0s, notify: [pagerduty] }}, {{ after: 15s, notify: [sms] }}] }}]
receivers:
- {{ name: pagerduty, type: pagerduty, routing_key: test-routing-key, url: 'http://{at}' }}
- {{ name: sms, type: twilio_sms, account_sid: AC1, auth_token: test-auth-token, from: '+15550100', to: ['+15550101'], url: 'http://{at}' }}
- {{ name: hook, type: webhook, url: 'http://{at}/any/hook/x' }}
"
    )
}

async fn shop(node: &Watchfire, name: &str, down: bool) {
    let now = node.count("SELECT toUnixTimestamp64Nano(now64(9))").await;
    let point = json!({"timeUnixNano": now.to_string(), "asDouble": f64::from(down), "attributes": [{"key": "service", "value": {"stringValue": name}}]});
    let body = json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": "shop.down", "gauge": {"dataPoints": [point]}}]}]}]});
    let sent = reqwest::Client::new().post(format!("http://{}/v1/metrics", node.otlp_http)).json(&body).send().await.unwrap();
    assert_eq!(sent.status(), 200);
}

async fn outside(node: &Watchfire, name: &str, over: bool) {
    let ends = if over { json!({"endsAt": "2020-01-01T00:00:01Z"}) } else { json!({}) };
    let mut alert = json!({"labels": {"alertname": name, "from": "outside"}, "startsAt": "2020-01-01T00:00:00Z"});
    alert.as_object_mut().unwrap().extend(ends.as_object().unwrap().clone());
    node.post("/api/v2/alerts", &json!([alert])).await;
}

async fn leads(node: &Watchfire) -> bool {
    let told = node.get("/api/watchfire/v1/system").await["leads"].as_bool().unwrap();
    let metric = node.own("watchfire_leader ").await.unwrap();
    // Between the two questions it may change.
    told && metric > 0.0
}

/// What was sent is written down: a process that is killed before that sends it once more, marked (that is another test).
async fn all_sent(node: &Watchfire) {
    let waiting = "/api/watchfire/v1/deliveries?state=pending";
    wait_for("all to be sent", async || node.get(waiting).await["deliveries"].as_array()?.is_empty().then_some(())).await;
}

async fn to_lead(node: &Watchfire) {
    wait_for("the node to lead", async || leads(node).await.then_some(())).await;
}

/// Waits for so many of some messages.
async fn reaches(what: &str, count: usize, messages: impl Fn() -> usize) {
    wait_for(&format!("{count} {what}"), async || (messages() >= count).then_some(())).await;
    assert_eq!(messages(), count, "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_leader_is_killed_the_other_node_pages_on() {
    let Some(database) = Postgres::start() else { return };
    let catchers = Catchers::start().await;
    let mut owner = Watchfire::prepare(crate::WATCHFIRE, "", &[]);
    owner.start().await;
    let port = bridge(owner.data().join("engine.sock")).await;
    let config = config(&catchers, database.database(1).await.reveal(), port);
    let node = || Watchfire::prepare(crate::WATCHFIRE, &config, &[("shops.yaml", RULES)]);
    let (mut first, mut second) = (node(), node());
    let pages = |action: &'static str| {
        let catchers = catchers.clone();
        move || catchers.pagerduty(action).len()
    };
    let (texts, hooks) = (|| catchers.to("twilio").len(), || catchers.to("hook").len());

    first.start().await;
    to_lead(&first).await;
    second.start().await;
    assert!(!leads(&second).await);
    // What the one that does not lead takes in is paged by the one that does.
    shop(&second, "one", true).await;
    outside(&second, "OutsideOne", false).await;
    reaches("pages", 1, pages("trigger")).await;
    reaches("notices", 1, hooks).await;
    assert_eq!(texts(), 0, "the second step is due later");

    all_sent(&second).await;
    first.kill();
    // Taken in while nobody leads.
    shop(&second, "two", true).await;
    outside(&second, "OutsideTwo", false).await;
    to_lead(&second).await;
    reaches("text messages about the first shop", 1, texts).await;
    reaches("pages", 2, pages("trigger")).await;
    reaches("notices", 2, hooks).await;

    first.start().await;
    assert!(!leads(&first).await);
    // Somebody answers at the node that does not lead; then both come to their ends there.
    let list = first.get("/api/watchfire/v1/alerts?state=firing").await;
    let of_two = |alert: &&Value| alert["labels"]["service"] == "two";
    let id = list["alerts"].as_array().unwrap().iter().find(of_two).unwrap()["id"].as_str().unwrap().to_owned();
    first.post(&format!("/api/watchfire/v1/alerts/{id}/acknowledge"), &json!({})).await;
    reaches("acknowledgements", 1, pages("acknowledge")).await;
    shop(&first, "one", false).await;
    outside(&first, "OutsideOne", true).await;
    reaches("ends", 1, pages("resolve")).await;
    reaches("notices", 3, hooks).await;

    assert_eq!(second.stop().await, Some(0));
    to_lead(&first).await;
    shop(&first, "two", false).await;
    outside(&first, "OutsideTwo", true).await;
    reaches("ends", 2, pages("resolve")).await;
    reaches("notices", 4, hooks).await;
    all_sent(&first).await;
    assert_eq!((pages("trigger")(), pages("acknowledge")(), pages("resolve")(), hooks()), (2, 1, 2, 4), "{:#?}", catchers.to("pagerduty"));
    let said: Vec<String> = catchers.to("twilio").iter().map(|message| message.body["Body"].as_str().unwrap().to_owned()).collect();
    assert!(!said.iter().any(|text| text.contains("two")), "the second shop was acknowledged: {said:?}");
}
