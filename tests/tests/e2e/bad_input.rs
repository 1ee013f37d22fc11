//! Bad records beside good ones, and a log that is full: the rest of a batch is kept, a refusal says when to come again, and senders that
//! do come again lose nothing. Tables of bad requests are in `bad_requests` and `bad_formats`.

use prost::Message as _;
use serde_json::json;
use tests::process::Watchfire;
use tests::wait::wait_for;
use tests::{node, python, send};

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
async fn a_full_log_refuses_honestly_and_senders_come_again_and_lose_nothing() {
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

    // Once more for each sender that somebody else wrote: it comes again by itself, and loses nothing.
    for (name, mut sender) in senders(&world) {
        // The supervisor starts another engine in place of one that hangs: that one hangs too.
        let hang = || {
            if let Some(engine) = engine() {
                std::process::Command::new("kill").args(["-STOP", &engine]).status().unwrap();
            }
        };
        let fill = async || {
            let mut spans = 500;
            while spans > 0 {
                hang();
                match send::post(&client, &url, &send::spans("filling", spans, 0)).await {
                    Some(200) => {}
                    _ => spans /= 2,
                }
            }
        };
        fill().await;
        let said = world.folder().join(name);
        let file = std::fs::File::create(&said).unwrap();
        let mut sender = sender.stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
        wait_for(&format!("{name} to say that it comes again"), async || {
            hang();
            let text = std::fs::read_to_string(&said).unwrap();
            assert!(!text.contains("sent\n"), "{name} was not refused: {text}");
            ["retrying in", "Scheduling export retry"].iter().any(|words| text.contains(words)).then_some(())
        })
        .await;
        if let Some(engine) = engine() {
            std::process::Command::new("kill").args(["-CONT", &engine]).status().unwrap();
        }
        let ended = wait_for(name, async || sender.try_wait().unwrap()).await;
        let text = std::fs::read_to_string(&said).unwrap();
        assert!(ended.success() && text.contains("sent\n"), "{name}: {ended} {text}");
        let stored = format!("SELECT count() FROM spans WHERE service = '{name}'");
        wait_for(&stored, async || (world.count(&stored).await >= 50).then_some(())).await;
        assert_eq!(world.count(&stored).await, 50, "{name}");
        assert_eq!(world.count(&format!("SELECT uniqExact(name) FROM spans WHERE service = '{name}'")).await, 50, "{name}");
    }
}

/// SDKs with fifty spans to send each, as far as their packages can be had.
fn senders(world: &Watchfire) -> Vec<(&'static str, std::process::Command)> {
    let (grpc, http) = (format!("http://{}", world.grpc), format!("http://{}", world.otlp_http));
    let mut senders = Vec::new();
    match python::interpreter() {
        None => python::skip("Python 3 with venv and the packages of tests/python/requirements.txt"),
        Some(interpreter) => {
            for (name, protocol, endpoint) in [("python.grpc", "grpc", &grpc), ("python.http", "http", &http)] {
                let mut command = std::process::Command::new(&interpreter);
                command.arg(python::programs().join("retry.py")).args([protocol, endpoint, name]);
                senders.push((name, command));
            }
        }
    }
    match node::packages() {
        None => python::skip("Node 20 with npm and the packages of tests/node/package.json"),
        Some(folder) => {
            let mut command = std::process::Command::new("node");
            command.arg(node::programs().join("retry.js")).arg(&folder).args([&http, "node.http"]);
            senders.push(("node.http", command));
        }
    }
    senders
}
