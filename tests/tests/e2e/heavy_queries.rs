//! PromQL that asks for too much: Prometheus's own limits and messages where it has them, one clear sentence elsewhere; and while heavy
//! questions run, senders are answered and rules evaluated. A client that hangs up ends its question, down to the store's statement.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use model::time::{Clock, SystemClock};
use serde_json::Value;
use store::clickhouse::ClickHouse;
use tests::process::Watchfire;
use tests::remote_write::{Label, Sample, TimeSeries, WriteRequest};
use tests::wait::wait_for;

const WIDE: usize = 100_000;

/// A remote write of so many series from a number on, with samples every 15 s up to now.
fn write(name: &str, numbers: std::ops::Range<usize>, samples: i64) -> Vec<u8> {
    let now = SystemClock.now().millis();
    let series = |n: usize| TimeSeries {
        labels: vec![Label::new("__name__", name), Label::new("job", format!("job-{}", n % 10)), Label::new("n", n.to_string())],
        samples: (0..samples).map(|at| Sample { value: (n as i64 + at) as f64, timestamp: now - (samples - 1 - at) * 15_000 }).collect(),
    };
    WriteRequest { timeseries: numbers.map(series).collect() }.body()
}

struct World {
    server: Watchfire,
    client: reqwest::Client,
}

impl World {
    async fn start(config: &str, rules: &[(&str, &str)]) -> Self {
        let mut server = Watchfire::prepare(crate::WATCHFIRE, config, rules);
        server.start().await;
        World { server, client: reqwest::Client::new() }
    }

    async fn push(&self, body: Vec<u8>) -> u16 {
        let url = format!("http://{}/api/v1/write", self.server.http);
        let request = self.client.post(url).header("content-type", "application/x-protobuf").header("content-encoding", "snappy");
        request.body(body).send().await.unwrap().status().as_u16()
    }

    /// A form POST of a question.
    async fn ask(&self, path: &str, parameters: &[(&str, String)]) -> (u16, Value) {
        let answer = self.client.post(format!("http://{}/api/v1/{path}", self.server.http)).form(parameters).send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{status} {error}: {text}")))
    }

    async fn instant(&self, expr: &str) -> (u16, Value) {
        self.ask("query", &[("query", expr.to_owned())]).await
    }

    /// A number out of Watchfire's own metrics: all series of a name together.
    async fn own(&self, name: &str) -> f64 {
        let text = self.server.text("/metrics").await;
        let values = text.lines().filter(|line| line.starts_with(name)).filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
        values.sum()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_for_too_much_are_answered_as_prometheus_answers_them() {
    let world = World::start("pipeline:\n  cardinality: { max_series_per_metric: 0 }\n", &[]).await;
    assert_eq!(world.push(write("x", 0..10, 20)).await, 204);
    for from in (0..WIDE).step_by(20_000) {
        assert_eq!(world.push(write("wide", from..from + 20_000, 1)).await, 204);
    }
    wait_for("all series", async || (world.server.promql("count(wide)").await? == WIDE as f64).then_some(())).await;
    ranges(&world).await;
    patterns(&world).await;
    shapes(&world).await;

    // A hundred thousand series are given, or as many as are asked for.
    let (status, all) = world.instant("wide").await;
    assert_eq!((status, all["data"]["result"].as_array().unwrap().len(), all.get("warnings")), (200, WIDE, None));
    let (_, some) = world.ask("query", &[("query", "wide".to_owned()), ("limit", "10".to_owned())]).await;
    assert_eq!(some["data"]["result"].as_array().unwrap().len(), 10);
    assert_eq!(some["warnings"][0], "results truncated due to limit");

    // Too many samples, and too little time.
    for expr in ["count_over_time(wide[1h:1s])", "max_over_time(vector(1)[10000h:1ms])"] {
        let (status, said) = world.instant(expr).await;
        let error = said["error"].as_str().unwrap();
        assert_eq!((status, &said["errorType"]), (422, &"execution".into()), "{expr}: {said}");
        assert!(error.starts_with("query processing would load too many samples into memory in query execution"), "{expr}: {error}");
    }
    let hurried = [("query", "sum(stddev_over_time(wide[5m:1s]))".to_owned()), ("timeout", "1ms".to_owned())];
    let (status, said) = world.ask("query", &hurried).await;
    assert_eq!((status, &said["errorType"]), (503, &"timeout".into()), "{said}");
    assert!(said["error"].as_str().unwrap().starts_with("query timed out in expression evaluation"), "{said}");
    assert_eq!(world.server.promql("count(wide)").await, Some(WIDE as f64), "all is well after it");
}

/// Ends, steps and how many there are.
async fn ranges(world: &World) {
    let now = SystemClock.now().millis() / 1_000;
    let ten_years = now - 10 * 365 * 86_400;
    let points = "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)";
    let step = "invalid parameter \"step\": zero or negative query resolution step widths are not accepted. Try a positive integer";
    let end = "invalid parameter \"end\": end timestamp must not be before start time";
    for (start, last, width, error) in [
        (now - 11_001, now, "1", Some(points)),
        (now - 11_000, now, "1", None),
        (now - 60, now, "0", Some(step)),
        (now - 60, now, "-5s", Some(step)),
        (now, now - 1, "15", Some(end)),
        (ten_years, now, "60", Some(points)),
        (ten_years, now, "8h", None),
        (now - 60, now, "1y", None),
    ] {
        let parameters = [("query", "x".to_owned()), ("start", start.to_string()), ("end", last.to_string()), ("step", width.to_owned())];
        let (status, said) = world.ask("query_range", &parameters).await;
        match error {
            Some(error) => assert_eq!((status, &said["errorType"], &said["error"]), (400, &"bad_data".into(), &error.into()), "{width}"),
            None => assert_eq!((status, &said["data"]["resultType"]), (200, &"matrix".into()), "{start} {width}: {said}"),
        }
    }
}

/// Patterns that other engines take for ever for, and such as are too long.
async fn patterns(world: &World) {
    let many: String = (0..20_000).map(|n| format!("v{n}|")).collect();
    let optional = format!("{}{}", "a?".repeat(2_000), "a".repeat(2_000));
    for (expr, expected) in [
        ("count(x{n=~\"(a*)*b\"})".to_owned(), None),
        ("count(x{n=~\"(x+x+)+y|[0-9]\"})".to_owned(), Some(10.0)),
        ("count(x{n!~\"(([a-z])+.)+[A-Z]([a-z])+$\"})".to_owned(), Some(10.0)),
        (format!("count(x{{n=~\"{many}3\"}})"), Some(1.0)),
        (format!("count(x{{n=~\"{optional}|4\"}})"), Some(1.0)),
        ("count({__name__=~\"(y*)*z|x\"})".to_owned(), Some(10.0)),
        (format!("count({{__name__=~\"{many}x\"}})"), Some(10.0)),
        (format!("count(label_replace(x, \"m\", \"$1\", \"n\", \"({many}(.*)*)\"))"), Some(10.0)),
    ] {
        let (status, said) = world.instant(&expr).await;
        let found = said["data"]["result"][0]["value"][1].as_str().and_then(|text| text.parse::<f64>().ok());
        assert_eq!((status, found), (200, expected), "{}: {said}", &expr[..expr.len().min(60)]);
    }
    for pattern in ["(((a{1000}){1000}){1000})", "(", "a{2,1}", "\\\\C{99999}"] {
        let (status, said) = world.instant(&format!("x{{n=~\"{pattern}\"}}")).await;
        assert_eq!((status, &said["errorType"]), (400, &"bad_data".into()), "{pattern}: {said}");
        assert!(said["error"].as_str().unwrap().contains("regex"), "{pattern}: {said}");
    }
}

/// Expressions that are deep, or long.
async fn shapes(world: &World) {
    let nested = |depth: usize| format!("{}x{}", "(-".repeat(depth), ")".repeat(depth));
    let chain = |operators: usize| format!("x{}", " + x".repeat(operators));
    for (expr, clear) in [
        (nested(20_000), "inside of more than 2000 brackets"),
        (chain(5_001), "more than 5000 operators and brackets"),
        (format!("{}x{}", "abs(".repeat(900), ")".repeat(899)), "unclosed left parenthesis"),
        ("x".repeat(200_000), "more than the limit of 131072"),
        ("(".repeat(1_500), "unclosed left parenthesis"),
        ("-".repeat(1_500), "invalid parameter \"query\""),
    ] {
        for path in ["query", "parse_query", "format_query"] {
            let (status, said) = world.ask(path, &[("query", expr.clone())]).await;
            assert_eq!((status, &said["errorType"]), (400, &"bad_data".into()), "{}: {said}", &expr[..20]);
            assert!(said["error"].as_str().unwrap().contains(clear), "{path} {}: {said}", &expr[..20]);
        }
    }
    let calls = format!("count({}x{})", "abs(".repeat(900), ")".repeat(900));
    let sum = (45.0 + 19.0 * 10.0) * 901.0;
    for (expr, expected) in [(format!("sum({})", chain(900)), sum), (format!("count({})", nested(600)), 10.0), (calls, 10.0)] {
        for path in ["parse_query", "format_query", "query_exemplars"] {
            let request = world.client.post(format!("http://{}/api/v1/{path}", world.server.http)).form(&[("query", &expr)]);
            let answer = request.send().await.unwrap();
            let (status, said) = (answer.status(), answer.text().await.unwrap());
            assert!(status == 200 && said.contains("\"status\":\"success\""), "{path} {}: {status}", &expr[..20]);
        }
        let (_, said) = world.instant(&expr).await;
        let found = said["data"]["result"][0]["value"][1].as_str().and_then(|text| text.parse::<f64>().ok());
        assert_eq!(found, Some(expected), "{}: {said}", &expr[..20]);
    }
}

const RULES: &str = "groups:\n- name: steady\n  interval: 1s\n  rules:\n  - record: steady:count\n    expr: count(h)\n";

#[tokio::test(flavor = "multi_thread")]
async fn heavy_questions_keep_neither_senders_nor_rules_waiting() {
    let world = Arc::new(World::start("alerting:\n  rules: rules\n", &[("steady.yaml", RULES)]).await);
    assert_eq!(world.push(write("h", 0..2_000, 40)).await, 204);
    wait_for("the series", async || (world.server.promql("count(h)").await? == 2_000.0).then_some(())).await;
    let (over, begun, ended) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let now = SystemClock.now().millis() / 1_000;
    // From memory and from ClickHouse, short of turns, threads and memory.
    let heavy = [
        "sum(quantile_over_time(0.5, rate(h[1m])[2m:5s]))",
        "topk(3, stddev_over_time(h[10m]))",
        "sum by (job) (rate({__name__=~\"h\"}[5m]))",
        "count({__name__=~\"h.*\"} > 5)",
        "sort_desc(sum by (n) (increase(h[10m])))",
        "h",
    ];
    let mut asking = Vec::new();
    for expr in heavy {
        let (world, over, begun, ended) = (world.clone(), over.clone(), begun.clone(), ended.clone());
        asking.push(tokio::spawn(async move {
            while !over.load(Ordering::Relaxed) {
                begun.fetch_add(1, Ordering::Relaxed);
                let (start, step) = (now - 3_000, "3");
                let range =
                    [("start", start.to_string()), ("end", now.to_string()), ("step", step.to_owned()), ("timeout", "10s".to_owned())];
                let parameters: Vec<_> = [("query", expr.to_owned())].into_iter().chain(range).collect();
                let (status, said) = world.ask("query_range", &parameters).await;
                assert!(matches!(status, 200 | 422 | 503), "{expr}: {said}");
                ended.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    wait_for("all of them to run", async || (begun.load(Ordering::Relaxed) >= heavy.len()).then_some(())).await;
    let before = world.own("watchfire_rule_evaluations_total").await;
    let mut pushes = 0;
    let mut push = async || {
        assert_eq!(world.push(write("pushed", pushes..pushes + 50, 1)).await, 204, "push {pushes}");
        pushes += 50;
        (world.own("watchfire_rule_evaluations_total").await - before, ended.load(Ordering::Relaxed))
    };
    wait_for("ten evaluations of the rule, pushes all the while", async || (push().await.0 >= 10.0).then_some(())).await;
    wait_for("each question to be answered or refused", async || (push().await.1 >= heavy.len()).then_some(())).await;
    over.store(true, Ordering::Relaxed);
    for one in asking {
        one.await.unwrap();
    }
    assert_eq!(world.own("watchfire_rule_evaluation_failures_total").await, 0.0);
    wait_for("what was pushed meanwhile", async || (world.server.promql("count(pushed)").await? == pushes as f64).then_some(())).await;
    wait_for("what the rule wrote", async || (world.server.promql("steady:count").await? == 2_000.0).then_some(())).await;
}

/// Two million samples of 500 series, by SQL: a question about them keeps the store busy for a while.
async fn many(engine: &ClickHouse) {
    let origin = SystemClock.now().millis() - 4_000_000;
    let series = "INSERT INTO series (tenant, metric, fingerprint, kind, temporality, monotonic, labels, first_seen, last_seen) \
                  SELECT 'default', 'many', number, 'gauge', 'cumulative', 0, map('n', toString(number)), now(), now() FROM numbers(500)";
    let points = format!(
        "INSERT INTO points (tenant, metric, fingerprint, ts, start_ts, value, flags, retention_days) SELECT 'default', 'many', number % 500, \
         fromUnixTimestamp64Milli(toInt64({origin} + intDiv(number, 500) * 1000)) AS at, at, rand(), 0, 90 FROM numbers(2000000)"
    );
    for statement in [series, &points] {
        engine.client().query(statement).execute().await.unwrap();
    }
}

/// A question is seen at work in the store, its client hangs up, and it is gone.
async fn hang_up(world: &Watchfire, engine: &ClickHouse) {
    let running = async || -> u64 {
        let statement = "SELECT count() FROM system.processes WHERE query LIKE '%FROM points%' AND query NOT LIKE '%system.processes%'";
        engine.client().query(statement).fetch_one().await.unwrap()
    };
    let now = SystemClock.now().millis() / 1_000;
    let url = format!(
        "http://{}/api/v1/query_range?query=sum(stddev_over_time(%7B__name__%3D~%22many%22%7D%5B1h%5D))&start={}&end={now}&step=1",
        world.http,
        now - 4_000
    );
    let mut seen = false;
    for _ in 0..20 {
        // A connection of its own, which ends with the question.
        let client = reqwest::Client::new();
        let asking = tokio::spawn(client.get(&url).send());
        while !seen && !asking.is_finished() {
            seen = running().await > 0;
        }
        asking.abort();
        if seen {
            break;
        }
    }
    assert!(seen, "the statement was never seen at work");
    wait_for("the statement to end", async || (running().await == 0).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_ends_its_question_in_the_store() {
    let mut owner = Watchfire::prepare(crate::WATCHFIRE, "", &[]);
    owner.start().await;
    let engine = ClickHouse::unix(&owner.data().join("engine.sock"));
    let own = ClickHouse::unix(&owner.data().join("engine.sock")).database("watchfire");
    many(&own).await;
    hang_up(&owner, &own).await;
    // The same with a server by its URL.
    let port = crate::clickhouse_url::bridge(owner.data().join("engine.sock")).await;
    let config = format!("storage:\n  clickhouse:\n    url: http://127.0.0.1:{port}\n    database: remote\n");
    let mut world = Watchfire::prepare(crate::WATCHFIRE, &config, &[]);
    world.start().await;
    let remote = engine.database("remote");
    many(&remote).await;
    hang_up(&world, &remote).await;
}
