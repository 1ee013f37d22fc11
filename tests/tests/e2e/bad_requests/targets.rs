//! Targets that answer badly when they are scraped. Each is down and says why, and the good one beside them loses nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Request as Asked, State};
use axum::response::{IntoResponse, Response};

use super::*;

/// What a target answers, and what becomes of it.
struct Target {
    name: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    body: Vec<u8>,
    /// Words of why it is down; empty where it is up.
    says: &'static str,
}

fn targets() -> Vec<Target> {
    const TEXT: (&str, &str) = ("content-type", "text/plain; version=0.0.4");
    const OPEN: (&str, &str) = ("content-type", "application/openmetrics-text");
    const GZIP: (&str, &str) = ("content-encoding", "gzip");
    let good = "a 1\nb{x=\"y\"} 2\n";
    let target = |name, headers: &[_], body: &[u8], says| Target { name, headers: headers.to_vec(), body: body.to_vec(), says };
    let (old, ahead) = ((now() / 1_000_000) - 365 * 86_400_000, (now() / 1_000_000) + 365 * 86_400_000);
    vec![
        target("good", &[TEXT], good.as_bytes(), ""),
        target("right_key", &[TEXT], good.as_bytes(), ""),
        target("wrong_key", &[TEXT], good.as_bytes(), "the answer has the status 401 Unauthorized"),
        target("no_key", &[TEXT], good.as_bytes(), "the answer has the status 401 Unauthorized"),
        target("truncated", &[TEXT], b"a 1\nb{x=\"y", "line 2"),
        target("truncated_openmetrics", &[OPEN], good.as_bytes(), "without `# EOF`"),
        target("truncated_gzip", &[TEXT, GZIP], &gzip(good.as_bytes())[..20], "not a complete gzip stream"),
        target("no_gzip", &[TEXT, GZIP], good.as_bytes(), "not a complete gzip stream"),
        target("large_on_the_wire", &[TEXT], &vec![b'\n'; 3 << 20], "the answer is larger than"),
        target("bomb", &[TEXT, GZIP], &gzip(&vec![b'\n'; 64 << 20]), "after decompression"),
        target("protobuf", &[("content-type", "application/vnd.google.protobuf")], b"\x0a", "not supported"),
        target("encoding", &[TEXT, ("content-encoding", "rot13")], good.as_bytes(), "`rot13`, which is not supported"),
        target("not_utf8", &[TEXT], b"a{x=\"\xff\xfe\"} 1\n", "not UTF-8"),
        target("no_number", &[TEXT], b"a one\n", "a value that is no number"),
        target("clock_behind", &[TEXT], format!("a 1 {old}\nb 1\n").as_bytes(), ""),
        target("clock_ahead", &[TEXT], format!("a 1 {ahead}\nb 1\n").as_bytes(), ""),
        target("twice", &[TEXT], b"a 1\na 1\nb 1\nb 2\n", ""),
        target("hostile", &[TEXT], "a{x=\"\u{202e}'; DROP TABLE points; --\u{0}<b>\"} 1\n".as_bytes(), ""),
    ]
}

async fn answer(State(targets): State<Arc<BTreeMap<&'static str, Target>>>, asked: Asked) -> Response {
    let target = &targets[asked.uri().path().trim_start_matches('/')];
    let key = asked.headers().get("authorization").and_then(|value| value.to_str().ok());
    if target.name.ends_with("_key") && key != Some("Bearer right_key") {
        return (http::StatusCode::UNAUTHORIZED, "who are you?").into_response();
    }
    let mut response = target.body.clone().into_response();
    for (name, value) in &target.headers {
        response.headers_mut().insert(*name, value.parse().unwrap());
    }
    response
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_answers_of_targets_are_told_and_the_others_are_scraped() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let all: BTreeMap<_, _> = targets().into_iter().map(|target| (target.name, target)).collect();
    let router = axum::Router::new().fallback(answer).with_state(Arc::new(all));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let config = "collector:\n  max_wire_bytes: 1MiB\n  max_decoded_bytes: 2MiB\nscrape: { scrape_config_files: [prometheus.yml] }\n";
    let mut server = Watchfire::prepare(crate::WATCHFIRE, config, &[]);
    let jobs: String = targets()
        .iter()
        .map(|target| {
            let key = if ["right_key", "wrong_key"].contains(&target.name) {
                format!("authorization: {{ credentials: {} }}, ", target.name)
            } else {
                String::new()
            };
            format!("- {{ job_name: {0}, metrics_path: /{0}, {key}static_configs: [{{ targets: ['{address}'] }}] }}\n", target.name)
        })
        .collect();
    let text = format!("global: {{ scrape_interval: 1s, scrape_timeout: 1s }}\nscrape_configs:\n{jobs}");
    std::fs::write(server.folder().join("prometheus.yml"), text).unwrap();
    server.start().await;
    for target in targets() {
        let name = target.name;
        let up = if target.says.is_empty() { 1.0 } else { 0.0 };
        let expr = format!("up{{job=\"{name}\"}}");
        let found = wait_for(&expr, async || server.promql(&expr).await).await;
        assert_eq!(found, up, "{name}");
        let told = server.get("/api/v1/targets").await;
        let told = told["data"]["activeTargets"].as_array().unwrap().iter().find(|one| one["scrapePool"] == name).unwrap().clone();
        let error = told["lastError"].as_str().unwrap();
        assert!(error.contains(target.says) && error.is_empty() == target.says.is_empty(), "{name}: {error}");
        let scrapes =
            async |outcome: &str| own(&server, &format!("watchfire_scrapes_total{{job=\"{name}\",outcome=\"{outcome}\"}} ")).await;
        let (counted, other) = if target.says.is_empty() { ("ok", "failed") } else { ("failed", "ok") };
        let before = scrapes(counted).await;
        assert!(before > 0.0, "{name}: {counted}");
        wait_for("the next scrape to be counted", async || (scrapes(counted).await > before).then_some(())).await;
        assert_eq!(scrapes(other).await, 0.0, "{name}: {other}");
    }
    // Nothing of a bad text is stored, and nothing else is lost.
    let of = |job: &str| format!("SELECT uniqExact(fingerprint) FROM series WHERE metric IN ('a', 'b') AND labels['job'] = '{job}'");
    for (job, series) in [
        ("good", 2),
        ("right_key", 2),
        ("wrong_key", 0),
        ("no_key", 0),
        ("truncated", 0),
        ("truncated_openmetrics", 0),
        ("no_number", 0),
        ("clock_behind", 1),
        ("clock_ahead", 1),
        ("twice", 2),
        ("hostile", 1),
    ] {
        // PromQL knows samples before ClickHouse has them.
        wait_for(&format!("{series} series of {job}"), async || (server.count(&of(job)).await == series).then_some(())).await;
    }
    let hostile = "SELECT count() FROM (SELECT DISTINCT labels['x'] AS x FROM series WHERE labels['job'] = 'hostile' AND metric = 'a') \
                   WHERE x = concat(char(0xe2, 0x80, 0xae), '\\'; DROP TABLE points; --', char(0), '<b>')";
    assert_eq!(server.count(hostile).await, 1);
    // Of each scrape of such a target one sample is rejected, and counted.
    for (job, reason) in [("clock_behind", "too_old"), ("clock_ahead", "too_far_ahead"), ("twice", "duplicate_sample")] {
        wait_for(&format!("as many {reason} as scrapes of {job}"), async || {
            let text = server.text("/metrics").await;
            let found = |series: String| text.lines().find_map(|line| line.strip_prefix(&series)?.trim().parse::<f64>().ok());
            let rejected = found(format!("{REJECTED}{{reason=\"{reason}\",signal=\"metrics\"}} "))?;
            (rejected == found(format!("watchfire_scrapes_total{{job=\"{job}\",outcome=\"ok\"}} "))?).then_some(())
        })
        .await;
    }
    let twice = "SELECT count() - uniqExact(fingerprint, ts) FROM points WHERE metric IN ('a', 'b') AND fingerprint IN \
                 (SELECT fingerprint FROM series WHERE labels['job'] = 'twice')";
    assert_eq!(server.count(twice).await, 0, "of a series and a time there is one sample");
    assert_eq!(server.promql("b{job=\"twice\"}").await, Some(1.0), "the first one");
}

/// A metric of Watchfire's own; 0 where it is not there.
async fn own(server: &Watchfire, series: &str) -> f64 {
    server.own(series).await.unwrap_or_default()
}
