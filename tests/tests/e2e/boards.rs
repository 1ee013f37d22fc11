//! The Grafana boards of `deploy/grafana`: the shop of `watchfire demo` breaks, pages and is repaired in a real Watchfire that scrapes
//! itself and Debian's node exporter; then every query of every panel is asked as Grafana asks it, and each must answer with numbers.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use model::labels::Labels;
use model::time::{Clock, SystemClock};
use serde_json::{Value, json};
use server::demo::{catchers, emit};
use tests::process::{Watchfire, free_port};
use tests::python::skip;
use tests::wait::wait_for;
use tokio::sync::mpsc;

/// Panels that are rightly empty in the demo, as `board/title`.
const EMPTY: [&str; 0] = [];

/// Series that exist only once something went wrong that the demo does not break, and the code that names them. Their panels show a 0 until then.
const ONLY_WHEN_BROKEN: [(&str, &str); 3] = [
    ("watchfire_wal_refused_total", include_str!("../../../store/src/wal/metrics.rs")),
    ("watchfire_writer_quarantined_batches_total", include_str!("../../../store/src/wal/metrics.rs")),
    ("watchfire_rule_evaluation_failures_total", include_str!("../../../alerting/src/meters.rs")),
];

fn grafana() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deploy/grafana")
}

/// The boards by name.
fn boards() -> Vec<(String, Value)> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(grafana().join("dashboards")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let read = |file: &PathBuf| {
        let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
        let board = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap_or_else(|error| panic!("{name}: {error}"));
        (name, board)
    };
    files.iter().map(read).collect()
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn word<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}

/// What Grafana would take without complaint and then show wrongly.
#[test]
fn the_boards_are_whole() {
    let (mut uids, boards) = (BTreeSet::new(), boards());
    assert_eq!(boards.len(), 5);
    for (name, board) in &boards {
        assert_eq!(word(board, "/uid"), name, "the address of a board is its file's name");
        assert!(uids.insert(word(board, "/uid")) && !word(board, "/title").is_empty() && board["schemaVersion"].as_u64() >= Some(36));
        let variables: BTreeSet<&str> = list(board, "/templating/list").iter().map(|one| word(one, "/name")).collect();
        assert!(variables.contains("datasource"), "{name}");
        let (mut ids, mut places) = (BTreeSet::new(), Vec::new());
        for panel in list(board, "/panels") {
            let title = format!("{name}/{}", word(panel, "/title"));
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: its id is used twice");
            assert_eq!(word(panel, "/datasource/uid"), "${datasource}", "{title}");
            assert!(!word(panel, "/fieldConfig/defaults/unit").is_empty(), "{title} has no unit");
            let place = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap_or_else(|| panic!("{title}: gridPos.{key}")));
            let [x, y, w, h] = place;
            let over = |other: &[u64; 4]| x < other[0] + other[2] && other[0] < x + w && y < other[1] + other[3] && other[1] < y + h;
            assert!(x + w <= 24 && !places.iter().any(over), "{title} lies over another panel or over the edge");
            places.push(place);
            assert!(!list(panel, "/targets").is_empty(), "{title} asks nothing");
            // Several queries of one plot are told apart by their legends.
            let plot = word(panel, "/type") == "timeseries";
            assert!(!plot || list(panel, "/targets").iter().all(|target| !word(target, "/legendFormat").is_empty()), "{title}: no legend");
            // Variables in links are the board's, or Grafana's own.
            let text = panel.to_string();
            for part in text.split("${").skip(1) {
                let used = part.split(['}', ':', '.']).next().unwrap();
                assert!(used.starts_with("__") || variables.contains(used), "{title}: ${{{used}}} is no variable of the board");
            }
        }
    }
}

fn config(world: &Watchfire, node: u16, catchers: &str) -> String {
    format!(
        r##"
alerting:
  rules: rules
  escalations:
    - name: critical
      steps:
        - {{ after: 0s, notify: [pagerduty, slack] }}
receivers:
  - {{ name: pagerduty, type: pagerduty, routing_key: demo, url: "http://{catchers}" }}
  - {{ name: slack, type: slack, token: demo, channel: "#alerts", api_url: "http://{catchers}/slack" }}
remediation:
  remediations:
    - name: repair-checkout
      rungs:
        - name: roll payments back
          action: {{ type: http, method: POST, url: "http://{catchers}/shop/rollback" }}
          settle: 2s
          check_every: 1s
          verify_timeout: 90s
scrape:
  scrape_interval: 2s
  scrape_timeout: 2s
  scrape_configs:
    - {{ job_name: watchfire, static_configs: [{{ targets: ["{}"] }}] }}
    - {{ job_name: node, static_configs: [{{ targets: ["127.0.0.1:{node}"] }}] }}
dashboards: {{ folder: "{}" }}
"##,
        world.http,
        grafana().join("dashboards").display()
    )
}

const RED: &str = r#"traces_span_metrics_calls_total{service_name="checkout",span_kind="SPAN_KIND_SERVER""#;

/// The demo's rule over 15 s, and objectives. Their budgets are recorded every 5 min at a moment that follows from the name: here ones
/// whose moments come soon, several of them, because nobody knows how long the start takes.
fn rules() -> String {
    let minutes = 300_000;
    let now = SystemClock.now().millis();
    let due_in = |name: &str| {
        let group = format!("slo:{name}:budget");
        let labels: Labels = [("source", "file:shop.yaml"), ("group", group.as_str())].into_iter().collect();
        let offset = i64::try_from(labels.fingerprint() % (minutes as u64 * 1_000_000)).unwrap() / 1_000_000;
        (offset - now).rem_euclid(minutes) / 1_000
    };
    let soon = |seconds: i64| (0..).map(|n| format!("checkout-{n}")).find(|name| (seconds..seconds + 5).contains(&due_in(name))).unwrap();
    let slos: String = [40, 80, 120, 160]
        .map(|seconds| {
            format!(
                "  - {{ name: {}, objective: 99, interval: 5s, errors: 'sum(rate({RED},status_code=\"STATUS_CODE_ERROR\"}}[$window]))', \
                 total: 'sum(rate({RED}}}[$window]))' }}\n",
                soon(seconds)
            )
        })
        .concat();
    format!(
        r#"groups:
  - name: shop
    interval: 1s
    rules:
      - alert: CheckoutErrorRate
        expr: >-
          sum by (service_name) (rate({RED},status_code="STATUS_CODE_ERROR"}}[15s]))
          / sum by (service_name) (rate({RED}}}[15s]))
        thresholds: {{ critical: "> 0.05" }}
        escalation: {{ critical: critical }}
        remediation: repair-checkout
slos:
{slos}"#
    )
}

/// A program that ends with the test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A regular expression for any of these, as Grafana writes several values of a variable into a PromQL string.
fn any_of(values: &[String]) -> String {
    let escape = |value: &String| {
        value.chars().map(|one| if ".+*?()|[]{}^$\\".contains(one) { format!("\\\\{one}") } else { one.to_string() }).collect::<String>()
    };
    format!("({})", values.iter().map(escape).collect::<Vec<_>>().join("|"))
}

/// A board in the hands of Grafana.
struct Reader {
    base: String,
    client: reqwest::Client,
}

impl Reader {
    async fn ask(&self, path: &str, form: &[(&str, &str)]) -> Result<Value, String> {
        let request = self.client.get(format!("{}{path}", self.base)).query(form);
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        if answer["status"] == "success" { Ok(answer["data"].clone()) } else { Err(answer.to_string()) }
    }

    /// The values of all variables, the earlier ones filled into the later ones' queries. Fails with the name of one without values.
    async fn variables(&self, board: &Value) -> Result<Vec<(String, String)>, String> {
        let mut chosen = Vec::new();
        for variable in list(board, "/templating/list").iter().filter(|one| one["type"] == "query") {
            let query = filled(word(variable, "/query/query"), &chosen);
            let inner = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')).unwrap_or_else(|| panic!("{query}"));
            let (selector, label) = inner.rsplit_once(", ").unwrap_or_else(|| panic!("{query}"));
            let found = self.ask(&format!("/api/v1/label/{label}/values"), &[("match[]", selector)]).await?;
            let values: Vec<String> = found.as_array().unwrap().iter().map(|value| value.as_str().unwrap().to_owned()).collect();
            if values.is_empty() {
                return Err(format!("{query} gives no value"));
            }
            chosen.push((word(variable, "/name").to_owned(), any_of(&values)));
        }
        Ok(chosen)
    }

    /// Whether a query answers with a number over the last minutes.
    async fn has_numbers(&self, expr: &str) -> bool {
        let now = SystemClock.now().secs_f64();
        let (start, end) = ((now - 600.0).to_string(), now.to_string());
        let range = [("query", expr), ("start", start.as_str()), ("end", end.as_str()), ("step", "15")];
        let data = self.ask("/api/v1/query_range", &range).await.unwrap_or_else(|error| panic!("{expr}: {error}"));
        let numbers = list(&data, "/result").iter().flat_map(|series| list(series, "/values"));
        numbers.into_iter().any(|point| point[1].as_str().unwrap().parse::<f64>().unwrap().is_finite())
    }

    /// What is missing of a board: variables without values, queries without numbers, as sentences.
    async fn missing(&self, name: &str, board: &Value) -> Vec<String> {
        let chosen = match self.variables(board).await {
            Ok(chosen) => chosen,
            Err(problem) => return vec![format!("{name}: {problem}")],
        };
        let mut missing = Vec::new();
        for panel in list(board, "/panels") {
            let title = format!("{name}/{}", word(panel, "/title"));
            for target in list(panel, "/targets") {
                let expr = filled(word(target, "/expr"), &chosen);
                assert!(!expr.contains('$'), "{title}: a variable is left in {expr}");
                if self.has_numbers(&expr).await == EMPTY.contains(&title.as_str()) {
                    missing.push(format!("{title}: {expr}"));
                }
            }
        }
        missing
    }
}

/// An expression with its variables and Grafana's own windows.
fn filled(expr: &str, chosen: &[(String, String)]) -> String {
    let own = [("__rate_interval", "1m"), ("__interval", "15s"), ("__range", "10m")];
    let text = own.iter().fold(expr.to_owned(), |text, (name, value)| text.replace(&format!("${name}"), value));
    chosen.iter().fold(text, |text, (name, value)| text.replace(&format!("${name}"), value))
}

/// The metrics that an expression names.
fn metrics_of(expr: &str) -> BTreeSet<String> {
    let words = expr.split(|one: char| !(one.is_ascii_alphanumeric() || one == '_' || one == ':'));
    let is_metric = |word: &&str| {
        word.starts_with("ALERTS") || ["watchfire_", "traces_", "node_", "slo:", "process_"].iter().any(|start| word.starts_with(start))
    };
    words.filter(is_metric).map(str::to_owned).collect()
}

/// The shop works, breaks, pages, is acknowledged and repaired.
async fn story(world: &Watchfire, shop: &emit::SharedShop) {
    let red = "sum(rate(traces_span_metrics_calls_total{service_name=\"checkout\"}[15s])) > 1";
    wait_for("RED series of the shop", async || world.promql(red).await).await;
    shop.lock().unwrap().bad_release = true;
    // Whoever acknowledges sooner stops the ladder before its first step.
    wait_for("the first step of the ladder", async || world.promql("watchfire_ladder_steps_total > 0").await).await;
    wait_for("an incident that is acknowledged", async || {
        let acknowledged = world.post("/api/watchfire/v1/incidents/1/acknowledge", &json!({})).await;
        acknowledged.get("error").is_none().then_some(())
    })
    .await;
    wait_for("the end of the incident", async || {
        let incident = world.get("/api/watchfire/v1/incidents/1").await;
        (incident["incident"]["status"] == "resolved").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_of_every_board_answers_with_numbers() {
    if Command::new("prometheus-node-exporter").arg("--version").output().is_err() {
        return skip("prometheus-node-exporter (apt install prometheus-node-exporter)");
    }
    let node = free_port();
    let exporter = Command::new("prometheus-node-exporter")
        .arg(format!("--web.listen-address=127.0.0.1:{node}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _exporter = Program(exporter);
    let mut world = Watchfire::prepare(crate::WATCHFIRE, "", &[("shop.yaml", &rules())]);
    let shop = emit::SharedShop::default();
    let (send, mut caught) = mpsc::channel(256);
    tokio::spawn(async move { while caught.recv().await.is_some() {} });
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let file = world.folder().join("watchfire.yaml");
    let text = std::fs::read_to_string(&file).unwrap() + &config(&world, node, &socket.local_addr().unwrap().to_string());
    std::fs::write(&file, text).unwrap();
    let router = catchers::router(send, shop.clone());
    tokio::spawn(async move { axum::serve(socket, router).await.unwrap() });
    world.start().await;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    // It ends with the runtime of this test.
    tokio::spawn(emit::emit(format!("http://{}", world.grpc), shop.clone(), clock, 20, Default::default()));
    let reader = Reader { base: format!("http://{}", world.http), client: reqwest::Client::new() };

    // What is refused: a page of another origin, and a span of another age.
    let foreign = reader.client.get(format!("{}/api/v1/query?query=1", reader.base)).header("origin", "http://elsewhere.example");
    assert_eq!(foreign.send().await.unwrap().status(), 403);
    let mut old = tests::send::spans("checkout", 1, 0);
    for span in &mut old.resource_spans[0].scope_spans[0].spans {
        span.end_time_unix_nano -= Duration::from_secs(40 * 86_400).as_nanos() as u64;
        span.start_time_unix_nano = span.end_time_unix_nano;
    }
    assert_eq!(tests::send::post(&reader.client, &format!("http://{}/v1/traces", world.otlp_http), &old).await, Some(200));
    story(&world, &shop).await;

    for (name, board) in &boards() {
        let mut told = Vec::new();
        wait_for(&format!("numbers for every panel of {name}"), async || {
            let missing = reader.missing(name, board).await;
            if missing != told {
                println!("{name} waits for {missing:#?}");
            }
            told = missing;
            told.is_empty().then_some(())
        })
        .await;
        // The console takes the file as it is.
        assert_eq!(&world.get(&format!("/api/watchfire/v1/dashboards/{name}")).await["grafana"], board);
    }
    // A `0` where nothing went wrong hides no misspelt name. Names are listed once storage has them, a moment after they answer.
    let targets = boards();
    let targets = targets.iter().flat_map(|(_, board)| list(board, "/panels")).flat_map(|panel| list(panel, "/targets"));
    let mut asked: BTreeSet<String> = targets.flat_map(|target| metrics_of(word(target, "/expr"))).collect();
    for (metric, code) in ONLY_WHEN_BROKEN {
        assert!(asked.remove(metric) && code.contains(metric), "{metric}");
    }
    let mut unknown = BTreeSet::new();
    wait_for("every metric of the boards to have a series", async || {
        let names = reader.ask("/api/v1/label/__name__/values", &[]).await.unwrap();
        let names: BTreeSet<String> = names.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect();
        let missing: BTreeSet<String> = asked.difference(&names).cloned().collect();
        if missing != unknown {
            println!("nothing is called {missing:?} yet");
        }
        unknown = missing;
        unknown.is_empty().then_some(())
    })
    .await;
    browsers(&reader).await;
}

/// Rules, alerts and targets are read by browsers of other origins and packed, as the rest of Prometheus's API is. A page of elsewhere is
/// refused while there is no key, so only the question before the question is asked here.
async fn browsers(reader: &Reader) {
    for path in ["rules", "alerts", "targets"] {
        let url = format!("{}/api/v1/{path}", reader.base);
        let asked =
            reader.client.request(reqwest::Method::OPTIONS, &url).header("origin", "http://elsewhere.example").send().await.unwrap();
        assert_eq!((asked.status().as_u16(), asked.headers()["access-control-allow-origin"].to_str().unwrap()), (204, "*"), "{path}");
        let answer = reader.client.get(&url).header("accept-encoding", "gzip").send().await.unwrap();
        let packed = answer.headers().get("content-encoding").is_some_and(|encoding| encoding == "gzip");
        assert!(packed || answer.bytes().await.unwrap().len() < 1_024, "{path}");
    }
}
