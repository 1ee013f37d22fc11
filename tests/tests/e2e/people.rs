//! People on a whole Watchfire: a schedule says who is paged, somebody takes a turn, calls for help, tells those who wait, says yes to a
//! repair that waits for it and starts another one. All of it by the command line, with a key of their own.

use serde_json::{Value, json};
use tests::catchers::Catchers;
use tests::process::Watchfire;
use tests::wait::wait_for;

const RULES: &str = r#"groups:
  - name: always
    interval: 1s
    rules:
      - alert: ShopDown
        expr: vector(1) > 0
        labels: { severity: critical, service: shop }
        escalation: critical
        remediation: restart
        annotations: { summary: "the shop answers nobody" }
"#;

fn config(catchers: &Catchers) -> String {
    let at = catchers.address;
    let hook = |name: &str| format!("- {{ name: {name}, type: webhook, url: \"http://{at}/any/{name}/x\" }}\n");
    let act = |name: &str| format!("{{ type: http, method: POST, url: \"http://{at}/any/{name}/x\" }}");
    format!(
        r#"
alerting:
  rules: rules
  users:
  - {{ name: ada, receivers: [ada-sms] }}
  - {{ name: bob, receivers: [bob-sms] }}
  - {{ name: eve, receivers: [eve-sms] }}
  schedules:
  - {{ name: primary, time_zone: Europe/Berlin, layers: [{{ users: [ada], from: "2026-01-05 09:00", turn: 7d }}] }}
  - {{ name: backup, layers: [{{ users: [bob], from: "2026-01-05 09:00", turn: 7d }}] }}
  escalations:
  - {{ name: critical, steps: [{{ after: 0s, notify: [primary] }}, {{ after: 1h, notify: [backup] }}] }}
incidents: {{ update_receivers: [customers] }}
remediation:
  remediations:
  - name: restart
    approval: true
    rungs: [{{ name: restart, action: {restart}, settle: 1h }}]
  - name: clear
    rungs: [{{ name: clear, action: {clear}, settle: 1h }}]
receivers:
{receivers}"#,
        restart = act("restart"),
        clear = act("clear"),
        receivers = ["ada-sms", "bob-sms", "eve-sms"].map(hook).concat()
            + &format!("- {{ name: customers, type: slack_webhook, url: \"http://{at}/any/customers/x\" }}\n")
    )
}

/// A command of somebody, with their key; panics where it fails.
fn said(world: &Watchfire, key: &str, arguments: &[&str]) -> String {
    let output = world.command(arguments).env("WATCHFIRE_KEY", key).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_pages_and_people_escalate_approve_and_tell() {
    let catchers = Catchers::start().await;
    let mut world = Watchfire::prepare(crate::WATCHFIRE, &config(&catchers), &[]);
    world.start().await;
    world.make_key().await;
    let wrong = world.command(&["keys", "create", "x", "--user", "nobody"]).output().unwrap();
    assert!(!wrong.status.success() && String::from_utf8_lossy(&wrong.stderr).contains("there is no user `nobody`"), "{wrong:?}");
    let made = world.command(&["keys", "create", "hers", "--user", "ada", "--json"]).output().unwrap();
    let key = serde_json::from_slice::<Value>(&made.stdout).unwrap()["key"].as_str().unwrap().to_owned();
    let ada = |arguments: &[&str]| said(&world, &key, arguments);

    // Eve takes ada's turn before anything happens.
    wait_for("the server to know ada's key", async || {
        world.command(&["on-call"]).env("WATCHFIRE_KEY", &key).output().unwrap().status.success().then_some(())
    })
    .await;
    let now = ada(&["on-call"]);
    assert!(now.lines().any(|line| line.trim().starts_with("primary") && line.contains("ada")), "{now}");
    let taken = ada(&["on-call", "override", "primary", "eve", "--for", "2h", "-m", "dentist"]);
    assert!(taken.starts_with("eve is on call on primary from "), "{taken}");
    let who: Value = serde_json::from_str(&ada(&["on-call", "--json"])).unwrap();
    assert_eq!((&who["you"], &who["schedules"][0]["user"]), (&json!("ada"), &json!("eve")), "{who}");
    assert!(ada(&["on-call", "shifts", "primary", "--days", "3"]).contains("ovr_"));

    std::fs::write(world.folder().join("rules/always.yaml"), RULES).unwrap();
    let page = wait_for("eve's page", async || catchers.to("eve-sms").first().cloned()).await;
    assert!(page.body.to_string().contains("ShopDown"), "{page:?}");
    let number = wait_for("the incident", async || {
        let open = world.get("/api/watchfire/v1/incidents?status=open").await;
        open["incidents"][0]["number"].as_u64().map(|number| number.to_string())
    })
    .await;
    assert!(catchers.to("ada-sms").is_empty() && catchers.to("bob-sms").is_empty());

    ada(&["incident", "ack", &number]);
    ada(&["incident", "escalate", &number, "--reason", "the database too"]);
    wait_for("bob's page, an hour before its time", async || catchers.to("bob-sms").first().cloned()).await;
    ada(&["incident", "update", &number, "A disk is full.", "--phase", "identified"]);
    let letter = wait_for("the update", async || catchers.to("customers").first().cloned()).await;
    assert!(letter.body.to_string().contains("A disk is full."), "{letter:?}");

    let run = wait_for("the repair that waits", async || {
        let list: Value = serde_json::from_str(&ada(&["remediation", "list", "--status", "awaiting_approval", "--json"])).unwrap();
        list["runs"][0]["id"].as_str().map(str::to_owned)
    })
    .await;
    assert!(catchers.to("restart").is_empty(), "nothing is done without a yes");
    ada(&["remediation", "approve", &run]);
    wait_for("the act", async || catchers.to("restart").first().cloned()).await;
    ada(&["remediation", "stop", &run, "--reason", "it does not help"]);
    assert!(ada(&["remediation", "plans"]).contains("clear"));
    ada(&["remediation", "start", "clear", "--incident", &number]);
    wait_for("the act that was asked for", async || catchers.to("clear").first().cloned()).await;

    let shown = ada(&["incident", "show", &number]);
    for line in [
        "the incident was escalated: the database too",
        "notifies eve (on call on primary): eve-sms",
        "notifies bob (on call on backup): bob-sms",
        "status update, identified: A disk is full.",
        "remediation restart waits for a yes until",
        "remediation restart was approved",
        "remediation clear was asked for",
    ] {
        assert!(shown.contains(line), "{line} in {shown}");
    }
    let timeline = world.get(&format!("/api/watchfire/v1/incidents/{number}/timeline")).await;
    let by =
        |kind: &str| timeline["timeline"].as_array().unwrap().iter().find(|line| line["kind"] == kind).map(|line| line["actor"].clone());
    for kind in ["incident_acknowledged", "incident_escalated", "repair_approved", "repair_requested", "incident_updated"] {
        assert_eq!(by(kind), Some(json!("ada")), "{kind} in {timeline}");
    }
}
