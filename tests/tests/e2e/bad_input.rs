//! Bad input: the right status, one clear sentence, a counter, and nothing else lost.

use std::io::Write as _;

use prost::Message as _;
use serde_json::json;
use tests::process::Watchfire;
use tests::send;
use tests::wait::wait_for;

struct Case {
    name: &'static str,
    content_type: &'static str,
    encoding: Option<&'static str>,
    body: Vec<u8>,
    status: u16,
    says: &'static str,
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let python = "import sys,gzip; sys.stdout.buffer.write(gzip.compress(sys.stdin.buffer.read()))";
    let mut child = std::process::Command::new("python3")
        .args(["-c", python])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let bytes = bytes.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&bytes).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output.stdout
}

fn cases() -> Vec<Case> {
    let good = send::spans("bad-input", 3, 0).encode_to_vec();
    let protobuf = "application/x-protobuf";
    let case = |name, content_type, encoding, body, status, says| Case { name, content_type, encoding, body, status, says };
    vec![
        case("truncated protobuf", protobuf, None, good[..good.len() - 3].to_vec(), 400, ""),
        case("wrong content type", "text/plain", None, good.clone(), 415, ""),
        case("broken JSON", "application/json", None, b"{\"resourceSpans\": [".to_vec(), 400, ""),
        case("not UTF-8", "application/json", None, b"{\"resourceSpans\": \"\xff\xfe\"}".to_vec(), 400, ""),
        case("not gzip", protobuf, Some("gzip"), good.clone(), 400, ""),
        case("truncated gzip", protobuf, Some("gzip"), gzip(&good)[..20].to_vec(), 400, ""),
        case("gzip bomb", protobuf, Some("gzip"), gzip(&vec![0u8; 80 << 20]), 413, ""),
        case("65 MiB", protobuf, None, vec![0u8; 65 << 20], 413, ""),
        case("unknown encoding", protobuf, Some("rot13"), good, 415, ""),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_are_refused_one_by_one_and_counted() {
    let mut world = Watchfire::prepare(crate::WATCHFIRE, "", &[]);
    world.start().await;
    let client = reqwest::Client::new();
    let url = format!("http://{}/v1/traces", world.otlp_http);
    for Case { name, content_type, encoding, body, status, says } in cases() {
        let mut request = client.post(&url).header("content-type", content_type).body(body);
        if let Some(encoding) = encoding {
            request = request.header("content-encoding", encoding);
        }
        // A server may answer 413 and hang up while a large body is still being sent.
        let Ok(answer) = request.send().await else {
            assert_eq!(status, 413, "{name}: no answer");
            continue;
        };
        assert_eq!(answer.status().as_u16(), status, "{name}");
        let text = String::from_utf8_lossy(&answer.bytes().await.unwrap()).into_owned();
        assert!(!text.trim().is_empty() && text.contains(says), "{name}: {text}");
        assert_eq!(send::post(&client, &url, &send::spans("good", 1, 0)).await, Some(200), "after {name} a good request must pass");
    }
    let metrics = world.text("/metrics").await;
    let refused = metrics.lines().filter(|line| line.starts_with("watchfire_collector_requests_total") && !line.contains("200")).count();
    assert!(refused > 0, "refused requests must be counted:\n{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_records_are_reported_and_the_rest_of_the_batch_is_kept() {
    let mut world = Watchfire::prepare(crate::WATCHFIRE, "", &[]);
    world.start().await;
    let mut request = send::spans("mixed", 4, 0);
    let spans = &mut request.resource_spans[0].scope_spans[0].spans;
    let decade = 10 * 365 * 86_400 * 1_000_000_000u64;
    spans[0].start_time_unix_nano += decade;
    spans[0].end_time_unix_nano += decade;
    spans[1].trace_id = vec![1, 2, 3];
    spans[2].attributes.push(send::attribute("huge", &"x".repeat(1_000_000)));
    let answer = reqwest::Client::new()
        .post(format!("http://{}/v1/traces", world.otlp_http))
        .header("content-type", "application/json")
        .body(serde_json::to_vec(&request).unwrap())
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    let body: serde_json::Value = answer.json().await.unwrap();
    let rejected = &body["partialSuccess"]["rejectedSpans"];
    assert!(*rejected == json!("2") || *rejected == json!(2), "{body}");
    wait_for("the good ones to be stored", async || {
        (world.count("SELECT count() FROM spans WHERE service = 'mixed'").await == 2).then_some(())
    })
    .await;
    let longest = world.count("SELECT max(length(attributes['huge'])) FROM spans WHERE service = 'mixed'").await;
    assert!(longest > 0 && longest < 1_000_000, "a value of a million characters is cut: {longest}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_log_refuses_honestly_and_a_dead_engine_loses_nothing() {
    // The engine hangs, and the log has a small cap.
    let config = "storage:\n  wal:\n    max_bytes: 1MiB\n";
    let mut world = Watchfire::prepare(crate::WATCHFIRE, config, &[]);
    world.start().await;
    let engine = || {
        let output = std::process::Command::new("ps").args(["-o", "pid=", "--ppid", &world.pid().to_string()]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().split_whitespace().next().map(str::to_owned)
    };
    // A stopped engine neither answers nor dies: rows stay in the log until it is full.
    std::process::Command::new("kill").args(["-STOP", &engine().unwrap()]).status().unwrap();
    let client = reqwest::Client::new();
    let url = format!("http://{}/v1/traces", world.otlp_http);
    let (mut acknowledged, mut refused) = (0u64, None);
    for _ in 0..200 {
        let request = send::spans("capped", 500, 0).encode_to_vec();
        let answer = client.post(&url).header("content-type", "application/x-protobuf").body(request).send().await.unwrap();
        if answer.status().is_success() {
            acknowledged += 500;
        } else {
            refused = Some((answer.status().as_u16(), answer.headers().get("retry-after").cloned()));
            break;
        }
    }
    let (status, retry_after) = refused.expect("a log of 1 MiB must be full after 100,000 spans");
    assert!(status == 503 || status == 429, "{status}");
    assert!(retry_after.is_some(), "a refusal says when to come again");
    // The supervisor finds the hung engine, kills it and starts another; the log drains; intake opens again.
    wait_for("acknowledged rows to be stored", async || {
        let answer = reqwest::Client::new()
            .post(format!("http://{}/api/watchfire/v1/sql?format=TSVWithNames", world.http))
            .body("SELECT count() AS n FROM spans WHERE service = 'capped'")
            .send()
            .await
            .ok()?;
        let text = answer.text().await.ok()?;
        (text.lines().nth(1)?.parse::<u64>().ok()? == acknowledged).then_some(())
    })
    .await;
    assert_eq!(send::post(&client, &url, &send::spans("after", 1, 0)).await, Some(200));
}
