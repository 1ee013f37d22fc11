//! Debian's Prometheus and amtool against Watchfire in Alertmanager's place, and against the real Alertmanager for comparison: the same
//! requests, the same answers.

use std::process::Command;

use serde_json::{Value, json};
use tests::catchers::Catchers;
use tests::process::{Watchfire, free_port};
use tests::programs::{Program, have};
use tests::wait::wait_for;

const TREE: &str = "
  receiver: ops
  group_by: [alertname]
  group_wait: 1s
  group_interval: 2s
  repeat_interval: 1h
  routes:
  - matchers: [ 'severity=~\"critical|page\"' ]
    receiver: pager
    continue: true
  - matchers: [ team=db ]
    receiver: databases
    mute_time_intervals: [ never ]
    routes:
    - matchers: [ 'env!=\"prod\"' ]
      receiver: blackhole
";
const REST: &str = "
inhibit_rules:
- source_matchers: [ severity=critical ]
  target_matchers: [ severity=warning ]
  equal: [ host ]
time_intervals:
- name: never
  time_intervals: [{ years: ['1999'], location: Europe/Berlin }]
";

/// An Alertmanager configuration; every receiver tells the catcher.
fn manager_config(catcher: &str) -> String {
    let receiver = |name: &str| format!("- name: {name}\n  webhook_configs: [{{ url: 'http://{catcher}/any/{name}/x' }}]\n");
    let receivers: String = ["ops", "pager", "databases"].map(receiver).concat();
    format!("route:{TREE}receivers:\n{receivers}- name: blackhole\n{REST}")
}

/// Watchfire with what `watchfire rules import` makes of that configuration.
async fn watchfire(catcher: &str) -> Watchfire {
    let folder = Watchfire::prepare(crate::WATCHFIRE, "", &[]);
    let file = folder.folder().join("alertmanager.yml");
    std::fs::write(&file, manager_config(catcher)).unwrap();
    let out = folder.folder().join("imported");
    let done = folder.command(&["rules", "import", file.to_str().unwrap(), "--out", out.to_str().unwrap()]).output().unwrap();
    assert!(done.status.success(), "{done:?}");
    let config = std::fs::read_to_string(out.join("watchfire.yaml")).unwrap().replace("  rules: rules\n", "");
    let mut world = Watchfire::prepare(crate::WATCHFIRE, &config, &[]);
    world.start().await;
    world
}

fn amtool(url: &str, arguments: &[&str]) -> (bool, String) {
    let done = Command::new("amtool").arg(format!("--alertmanager.url={url}")).args(arguments).output().unwrap();
    (done.status.success(), format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr)))
}

async fn get(url: &str, path: &str) -> Value {
    reqwest::get(format!("{url}{path}")).await.unwrap().json().await.unwrap()
}

async fn post(url: &str, path: &str, body: &Value) -> (u16, Value) {
    let answer = reqwest::Client::new().post(format!("{url}{path}")).json(body).send().await.unwrap();
    let status = answer.status().as_u16();
    (status, answer.json().await.unwrap_or(Value::Null))
}

/// The answer without moments and ids, which differ between two servers.
fn bare(mut value: Value) -> Value {
    fn clean(value: &mut Value) {
        match value {
            Value::Array(all) => all.iter_mut().for_each(clean),
            Value::Object(map) => {
                for key in ["updatedAt", "startsAt", "endsAt", "id", "silencedBy"] {
                    if let Some(found) = map.get_mut(key) {
                        *found = match found {
                            Value::Array(all) => json!(all.len()),
                            _ => json!("here"),
                        };
                    }
                }
                map.values_mut().for_each(clean);
            }
            _ => {}
        }
    }
    clean(&mut value);
    value
}

/// Requests that both must answer alike: path, and whether there is a body to post.
fn alerts() -> Value {
    json!([
        {"labels": {"alertname": "Down", "host": "a", "severity": "critical"}, "annotations": {"summary": "a is down"}, "generatorURL": "http://p/graph"},
        {"labels": {"alertname": "Slow", "host": "a", "severity": "warning"}},
        {"labels": {"alertname": "Full", "team": "db", "env": "prod", "empty": ""}},
        {"labels": {"alertname": "Full", "team": "db", "env": "dev"}},
        {"labels": {"alertname": "Odd", "zone": "ü \"x\""}},
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_requests_have_the_same_answers_as_alertmanagers() {
    if !have(&["prometheus-alertmanager", "amtool"]) {
        return;
    }
    let (mine, theirs) = (Catchers::start().await, Catchers::start().await);
    let world = watchfire(&mine.address.to_string()).await;
    let port = free_port();
    let file = world.folder().join("am.yml");
    std::fs::write(&file, manager_config(&theirs.address.to_string())).unwrap();
    let arguments = [
        format!("--config.file={}", file.display()),
        format!("--storage.path={}", world.folder().join("am").display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
        "--cluster.listen-address=".to_owned(),
    ];
    let _manager = Program::start("prometheus-alertmanager", &arguments);
    let (own, other) = (format!("http://{}", world.http), format!("http://127.0.0.1:{port}"));
    wait_for("Alertmanager", async || reqwest::get(format!("{other}/-/ready")).await.ok()?.error_for_status().ok().map(drop)).await;

    let now = chrono_now();
    let silence = json!({"matchers": [{"name": "alertname", "value": "O.d", "isRegex": true, "isEqual": true}], "startsAt": now.0, "endsAt": now.1, "createdBy": "ann", "comment": "known"});
    for url in [&own, &other] {
        let (status, made) = post(url, "/api/v2/silences", &silence).await;
        assert!(status == 200 && made["silenceID"].is_string(), "{url}: {status} {made}");
        assert_eq!(post(url, "/api/v2/alerts", &alerts()).await.0, 200, "{url}");
        let wrong = json!([{"labels": {}}, {"labels": {"alertname": "Late"}, "startsAt": now.1, "endsAt": now.0}]);
        assert_eq!(post(url, "/api/v2/alerts", &wrong).await.0, 400, "{url}");
        assert_eq!(post(url, "/api/v2/alerts", &json!({"no": "list"})).await.0, 400, "{url}");
        let mut blank = silence.clone();
        blank["matchers"][0]["value"] = ".*".into();
        assert_eq!(post(url, "/api/v2/silences", &blank).await.0, 400, "{url}");
    }
    // Alertmanager decides what mutes an alert when it tells of it, Watchfire when it comes.
    for url in [&own, &other] {
        wait_for("both to be muted", async || {
            let list = get(url, "/api/v2/alerts?active=false").await;
            (list.as_array()?.len() == 2).then_some(())
        })
        .await;
    }
    for path in [
        "/api/v2/alerts",
        "/api/v2/alerts?filter=severity%3D%22critical%22",
        "/api/v2/alerts?filter=host%3D~%22a%7Cb%22&filter=alertname%21%3DDown",
        "/api/v2/alerts?silenced=false",
        "/api/v2/alerts?inhibited=false",
        "/api/v2/alerts?active=false",
        "/api/v2/alerts?receiver=data.*",
        "/api/v2/alerts/groups",
        "/api/v2/alerts/groups?receiver=ops",
        "/api/v2/silences",
        "/api/v2/silences?filter=alertname%3DOdd",
        "/api/v2/silences?filter=alertname%3DOther",
        "/api/v2/receivers",
    ] {
        let (one, two) = (get(&own, path).await, get(&other, path).await);
        let sorted = |value: Value| {
            let mut all: Vec<String> = bare(value).as_array().unwrap_or_else(|| panic!("{path}")).iter().map(Value::to_string).collect();
            all.sort();
            all
        };
        assert_eq!(sorted(one), sorted(two), "{path}");
    }
    // Both tell the same receivers of the same alerts, in the same groups.
    let groups = |catchers: &Catchers| {
        let mut all: Vec<String> = catchers
            .all()
            .iter()
            .map(|request| {
                let body = &request.body;
                let mut alerts: Vec<String> =
                    body["alerts"].as_array().into_iter().flatten().map(|alert| alert["labels"].to_string()).collect();
                alerts.sort();
                // One integration of a receiver has the receiver's name on both sides.
                format!("{} {} {} {}", body["receiver"], body["status"], body["groupLabels"], alerts.join(" "))
            })
            .collect();
        all.sort();
        all
    };
    // The pager hears of Down, databases of Full; the rest is silenced, inhibited or sent into the black hole.
    wait_for("the notices of both", async || (groups(&mine).len() >= 2 && groups(&theirs).len() >= 2).then_some(())).await;
    assert_eq!(groups(&mine), groups(&theirs));
}

/// Now and an hour later, as RFC 3339.
fn chrono_now() -> (String, String) {
    let now = model::time::Timestamp::from_millis(
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis().try_into().unwrap(),
    );
    (now.rfc3339(), now.plus(std::time::Duration::from_secs(3600)).rfc3339())
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_sends_its_alerts_and_amtool_works_on_them() {
    if !have(&["prometheus", "amtool"]) {
        return;
    }
    let catchers = Catchers::start().await;
    let world = watchfire(&catchers.address.to_string()).await;
    let own = format!("http://{}", world.http);
    let rules = "groups:\n- { name: g, interval: 1s, rules: [{ alert: FromPrometheus, expr: 'vector(1)', labels: { severity: page, host: x }, annotations: { summary: it fires } }] }\n";
    let rules_file = world.folder().join("p.rules.yml");
    std::fs::write(&rules_file, rules).unwrap();
    let file = world.folder().join("prometheus.yml");
    let config = |rules: &str| {
        format!(
            "global: {{ evaluation_interval: 1s }}\nrule_files: [{rules}]\nalerting: {{ alertmanagers: [{{ static_configs: [{{ targets: ['{}'] }}] }}] }}\n",
            world.http
        )
    };
    std::fs::write(&file, config(&rules_file.display().to_string())).unwrap();
    let port = free_port();
    let arguments = [
        format!("--config.file={}", file.display()),
        format!("--storage.tsdb.path={}", world.folder().join("tsdb").display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
        "--web.enable-lifecycle".to_owned(),
        "--rules.alert.resend-delay=1s".to_owned(),
    ];
    let _prometheus = Program::start("prometheus", &arguments);
    let told = wait_for("the page", async || catchers.to("pager").first().cloned()).await;
    assert_eq!(
        (told.body["status"].as_str(), told.body["alerts"][0]["labels"]["alertname"].as_str()),
        (Some("firing"), Some("FromPrometheus"))
    );
    // It is an alert of Watchfire with a source of its own, and opened an incident.
    let alerts = world.get("/api/watchfire/v1/alerts").await;
    assert_eq!((alerts["alerts"].as_array().unwrap().len(), &alerts["alerts"][0]["rule"]["source"]), (1, &json!("alertmanager")));
    wait_for("the incident", async || (!world.get("/api/watchfire/v1/incidents").await["incidents"].as_array()?.is_empty()).then_some(()))
        .await;

    let (ok, said) = amtool(&own, &["alert", "query", "-o", "extended"]);
    assert!(ok && said.contains("FromPrometheus") && said.contains("active"), "{said}");
    let (ok, said) = amtool(&own, &["silence", "add", "--author=ann", "--comment=known", "--duration=1h", "host=x", "alertname=~From.*"]);
    assert!(ok, "{said}");
    let id = said.trim().to_owned();
    let (ok, said) = amtool(&own, &["silence", "query", "-o", "extended"]);
    assert!(ok && said.contains(&id) && said.contains("known") && said.contains("ann"), "{said}");
    wait_for("the alert to be muted", async || {
        let (_, said) = amtool(&own, &["alert", "query", "--silenced"]);
        said.contains("FromPrometheus").then_some(())
    })
    .await;
    let (ok, said) = amtool(&own, &["alert", "query"]);
    assert!(ok && !said.contains("FromPrometheus"), "silenced ones are not shown: {said}");
    let (ok, said) = amtool(&own, &["silence", "update", "--comment=still known", "--duration=2h", &id]);
    assert!(ok && said.contains("still known"), "{said}");
    let (ok, said) = amtool(&own, &["silence", "expire", &id]);
    assert!(ok, "{said}");
    let (_, said) = amtool(&own, &["silence", "query"]);
    assert!(!said.contains(&id), "{said}");

    let (ok, said) = amtool(&own, &["alert", "add", "ByHand", "team=db", "env=dev"]);
    assert!(ok, "{said}");
    let (ok, said) = amtool(&own, &["config", "show"]);
    assert!(ok && said.contains("receiver: ops") && !said.contains(&catchers.address.to_string()), "{said}");
    let (ok, said) = amtool(&own, &["config", "routes", "show"]);
    assert!(ok && said.contains("receiver: blackhole") && said.contains("continue: true"), "{said}");
    for (labels, receivers) in
        [(&["severity=page", "team=db", "env=prod"][..], "pager,databases"), (&["team=db"][..], "blackhole"), (&["x=y"][..], "ops")]
    {
        let arguments: Vec<&str> = ["config", "routes", "test"].iter().chain(labels).copied().collect();
        let (ok, said) = amtool(&own, &arguments);
        assert!(ok && said.trim() == receivers, "{labels:?}: {said}");
    }
    let (ok, said) = amtool(&own, &["cluster", "show"]);
    assert!(ok && said.contains("disabled"), "{said}");

    // The rule goes: Prometheus says that its alert is over.
    std::fs::write(&rules_file, "groups: []\n").unwrap();
    assert!(reqwest::Client::new().post(format!("http://127.0.0.1:{port}/-/reload")).send().await.unwrap().status().is_success());
    wait_for("the end of it", async || catchers.to("pager").iter().any(|request| request.body["status"] == "resolved").then_some(())).await;
    let firing = world.get("/api/watchfire/v1/alerts?state=firing").await;
    assert!(firing["alerts"].as_array().unwrap().iter().all(|alert| alert["labels"]["alertname"] != "FromPrometheus"));
}
