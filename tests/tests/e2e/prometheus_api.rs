//! The Prometheus API over real parts: exponential histograms, summaries and exemplars that came in as OTLP, read back as Prometheus
//! prints them.

use model::time::{Clock, SystemClock};
use serde_json::{Value, json};
use tests::process::Watchfire;
use tests::wait::wait_for;

const TRACE: &str = "0123456789abcdef0123456789abcdef";

/// Two minutes of a growing exponential histogram and a summary, a point every 15 s.
fn metrics(now: i64) -> Value {
    let at = |n: i64| (now - (8 - n) * 15_000_000_000).to_string();
    let histogram = |n: i64| {
        json!({
            "startTimeUnixNano": at(-1), "timeUnixNano": at(n), "count": (9 * n).to_string(), "sum": 20 * n, "scale": 0,
            "zeroCount": n.to_string(), "zeroThreshold": 0.001,
            "positive": {"offset": 0, "bucketCounts": [(4 * n).to_string(), (4 * n).to_string()]},
            "exemplars": [{"timeUnixNano": at(n), "asDouble": 1.5, "traceId": TRACE, "spanId": "00000000000000ab"}],
        })
    };
    let summary = |n: i64| {
        json!({
            "startTimeUnixNano": at(-1), "timeUnixNano": at(n), "count": (10 * n).to_string(), "sum": 30 * n,
            "quantileValues": [{"quantile": 0.5, "value": 2}, {"quantile": 0.99, "value": 7}],
        })
    };
    let points = |of: &dyn Fn(i64) -> Value| (1..=8).map(of).collect::<Vec<_>>();
    json!({"resourceMetrics": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]},
        "scopeMetrics": [{"metrics": [
            {"name": "checkout.duration", "unit": "s", "exponentialHistogram": {"aggregationTemporality": 2, "dataPoints": points(&histogram)}},
            {"name": "rpc.duration", "unit": "s", "summary": {"dataPoints": points(&summary)}},
        ]}],
    }]})
}

struct Api {
    base: String,
    client: reqwest::Client,
}

impl Api {
    async fn get(&self, path: &str, parameters: &[(&str, &str)]) -> Value {
        self.client.get(format!("{}{path}", self.base)).query(parameters).send().await.unwrap().json().await.unwrap()
    }
    async fn result(&self, expr: &str) -> Value {
        let answer = self.get("/api/v1/query", &[("query", expr)]).await;
        assert_eq!(answer["status"], "success", "{expr}: {answer}");
        answer["data"]["result"].clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn distributions_sent_as_otlp_are_read_as_prometheus_prints_them() {
    let mut world = Watchfire::prepare(crate::WATCHFIRE, "", &[]);
    world.start().await;
    let api = Api { base: format!("http://{}", world.http), client: reqwest::Client::new() };
    let sent = api.client.post(format!("http://{}/v1/metrics", world.otlp_http)).json(&metrics(SystemClock.now().nanos())).send().await;
    assert_eq!(sent.unwrap().status(), 200);
    let stored = wait_for("the histogram", async || {
        let found = api.result("checkout_duration_seconds").await;
        (!found[0].is_null()).then_some(found)
    })
    .await;
    let buckets = json!([[3, "-0.001", "0.001", "8"], [0, "1", "2", "32"], [0, "2", "4", "32"]]);
    assert_eq!(stored[0]["histogram"][1], json!({"count": "72", "sum": "160", "buckets": buckets}));
    assert_eq!(stored[0]["metric"]["job"], "shop");

    // What panels ask: a quantile of the rate, the mean, the share under a bound, and the histograms themselves over time.
    let quantile = api.result("histogram_quantile(0.9, sum(rate(checkout_duration_seconds[5m])))").await;
    let value: f64 = quantile[0]["value"][1].as_str().unwrap().parse().unwrap();
    assert!((value - 2f64.powf(1.775)).abs() < 1e-9, "{value}: the 65th of 72 in a bucket of 41 to 72");
    assert_eq!(api.result("histogram_avg(checkout_duration_seconds) * 9").await[0]["value"][1], "20");
    let fraction = api.result("histogram_fraction(0, 2, checkout_duration_seconds) * 9").await;
    assert_eq!(fraction[0]["value"][1], "5");
    let end = SystemClock.now().millis() / 1_000;
    let start = end - 60;
    let range = [("query", "checkout_duration_seconds"), ("start", &start.to_string()), ("end", &end.to_string()), ("step", "30")];
    let matrix = api.get("/api/v1/query_range", &range).await;
    assert_eq!(matrix["data"]["result"][0]["histograms"].as_array().unwrap().len(), 3, "{matrix}");

    // A summary is its quantiles, sum and count.
    assert_eq!(api.result("rpc_duration_seconds{quantile=\"0.99\"}").await[0]["value"][1], "7");
    assert_eq!(api.result("rpc_duration_seconds_sum / rpc_duration_seconds_count").await[0]["value"][1], "3");
    let values = api.get("/api/v1/label/quantile/values", &[("match[]", "rpc_duration_seconds")]).await;
    assert_eq!(values["data"], json!(["0.5", "0.99"]));

    // From the panel's own expression to the trace.
    let exemplars = api.get("/api/v1/query_exemplars", &[("query", "histogram_quantile(0.9, rate(checkout_duration_seconds[5m]))")]).await;
    let found = &exemplars["data"][0];
    assert_eq!(found["seriesLabels"]["__name__"], "checkout_duration_seconds", "{exemplars}");
    assert_eq!(found["exemplars"][0]["labels"], json!({"trace_id": TRACE, "span_id": "00000000000000ab"}));
    assert_eq!(found["exemplars"][0]["value"], "1.5");

    let federated = api.client.get(format!("{}/federate?match[]=rpc_duration_seconds_count", api.base)).send().await.unwrap();
    let text = federated.text().await.unwrap();
    assert!(text.starts_with("# TYPE rpc_duration_seconds_count untyped\nrpc_duration_seconds_count{") && text.contains("} 80 "), "{text}");
    tools(&api).await;
    // A page of another origin may read where there are keys.
    let key = world.make_key().await;
    let headers = [(reqwest::header::AUTHORIZATION, format!("Bearer {key}").parse().unwrap())].into_iter().collect();
    ways(&Api { client: reqwest::Client::builder().default_headers(headers).build().unwrap(), ..api }).await;
}

/// Path, parameters, whether a form POST may ask too.
type Endpoint = (&'static str, &'static [(&'static str, &'static str)], bool);

const ENDPOINTS: &[Endpoint] = &[
    ("query", &[("query", "checkout_duration_seconds")], true),
    ("query_range", &[("query", "vector(1)"), ("start", "0"), ("end", "6000"), ("step", "1")], true),
    ("query_exemplars", &[("query", "checkout_duration_seconds")], true),
    ("format_query", &[("query", "sum(rate(x[5m]))by(job)")], true),
    ("parse_query", &[("query", "sum(rate(x[5m]))by(job)")], true),
    ("series", &[("match[]", "checkout_duration_seconds"), ("match[]", "rpc_duration_seconds")], true),
    ("labels", &[], true),
    ("label/__name__/values", &[], false),
    ("metadata", &[], false),
    ("targets", &[], false),
    ("targets/metadata", &[], false),
    ("scrape_pools", &[], false),
    ("rules", &[], false),
    ("alerts", &[], false),
    ("status/buildinfo", &[], false),
    ("status/config", &[], false),
    ("status/flags", &[], false),
    ("status/runtimeinfo", &[], false),
    ("status/tsdb", &[], false),
];

/// Every endpoint in every way that Grafana, scripts and browsers ask.
async fn ways(api: &Api) {
    for (path, parameters, form) in ENDPOINTS {
        let url = format!("{}/api/v1/{path}", api.base);
        let plain = api.client.get(&url).query(parameters).send().await.unwrap();
        assert_eq!(plain.status(), 200, "{path}");
        assert!(plain.headers().get("content-type").unwrap().to_str().unwrap().starts_with("application/json"), "{path}");
        assert_eq!(plain.headers().get("access-control-allow-origin"), None, "{path}");
        let plain = plain.bytes().await.unwrap();
        let json: Value = serde_json::from_slice(&plain).unwrap();
        assert_eq!(json["status"], "success", "{path}: {json}");

        let packed = api.client.get(&url).query(parameters).header("accept-encoding", "gzip").header("origin", "http://grafana:3000");
        let packed = packed.send().await.unwrap();
        let header = |name: &str| packed.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(header("access-control-allow-origin").as_deref(), Some("*"), "{path}");
        assert!(header("vary").is_some_and(|vary| vary.contains("Origin") && vary.contains("Accept-Encoding")), "{path}");
        let is_packed = header("content-encoding").as_deref() == Some("gzip");
        let mut body = packed.bytes().await.unwrap().to_vec();
        if is_packed {
            let mut whole = Vec::new();
            std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&body[..]), &mut whole).unwrap();
            body = whole;
        }
        assert_eq!(is_packed, body.len() >= 1_024, "{path}: what is large is packed");
        let again: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(again["status"], "success", "{path}");

        let asked = api.client.post(&url).form(parameters).send().await.unwrap();
        assert_eq!(asked.status(), if *form { 200 } else { 405 }, "POST {path}");
        if *form {
            let asked: Value = asked.json().await.unwrap();
            assert_eq!((&asked["status"], &asked["data"]["resultType"]), (&json["status"], &json["data"]["resultType"]), "POST {path}");
        }
        // A browser asks without the key whether it may send it.
        let preflight = reqwest::Client::new().request(reqwest::Method::OPTIONS, &url).header("origin", "http://grafana:3000");
        let preflight = preflight.header("access-control-request-method", "POST").send().await.unwrap();
        let allowed = preflight.headers().get("access-control-allow-methods").unwrap().to_str().unwrap();
        assert!(preflight.status() == 204 && allowed.contains("GET, POST"), "{path}: {allowed}");
    }
    // What the README says is not served says so.
    for path in ["read", "admin/tsdb/snapshot", "alertmanagers", "notifications", "status/walreplay"] {
        let answer = api.client.get(format!("{}/api/v1/{path}", api.base)).send().await.unwrap();
        assert_eq!(answer.status(), 404, "{path}");
        let said: Value = answer.json().await.unwrap();
        assert_eq!(said["error"], format!("there is no route GET /api/v1/{path}"));
    }
    let many = api.get("/api/v1/query_range", ENDPOINTS[1].1).await;
    assert_eq!(many["data"]["result"][0]["values"].as_array().unwrap().len(), 6_001);
    let stats = [("query", "sum_over_time(rpc_duration_seconds_count[5m])"), ("stats", "all")];
    let samples = &api.get("/api/v1/query", &stats).await["data"]["stats"]["samples"];
    assert_eq!((&samples["totalQueryableSamples"], &samples["totalQueryableSamplesPerStep"][0][1]), (&json!(8), &json!(8)), "{samples}");
}

/// Format, parse, status: read by Grafana's editor and by people.
async fn tools(api: &Api) {
    let formatted = api.get("/api/v1/format_query", &[("query", "sum(rate(x[5m]))by(job)")]).await;
    assert_eq!(formatted["data"], "sum by (job) (rate(x[5m]))");
    let tree = api.get("/api/v1/parse_query", &[("query", "sum by (job) (rate(x{a=\"1\"}[5m] offset 1m))")]).await;
    let tree = &tree["data"];
    assert_eq!((&tree["type"], &tree["op"], &tree["grouping"]), (&json!("aggregation"), &json!("sum"), &json!(["job"])), "{tree}");
    let selector = &tree["expr"]["args"][0];
    assert_eq!(
        (&selector["type"], &selector["name"], &selector["range"]),
        (&json!("matrixSelector"), &json!("x"), &json!(300_000)),
        "{tree}"
    );
    assert_eq!((&selector["offset"], &selector["matchers"][0]["value"]), (&json!(60_000), &json!("1")), "{tree}");
    let tsdb = api.get("/api/v1/status/tsdb", &[]).await;
    assert!(tsdb["data"]["headStats"]["numSeries"].as_u64().unwrap() >= 2, "{tsdb}");
    let wrong = api.get("/api/v1/query", &[("query", "sum(foo(x))")]).await;
    assert_eq!((&wrong["status"], &wrong["errorType"]), (&json!("error"), &json!("bad_data")));
    assert_eq!(wrong["error"], "invalid parameter \"query\": 1:5: parse error: unknown function with name \"foo\"");
}
