//! Debian's Prometheus writes what it scrapes from itself to Watchfire, and both then answer the same.

use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tests::process::{Watchfire, free_port};
use tests::wait::wait_for;

/// Ends with the test.
struct Prometheus(Child);

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether the program is there. Without it and without `CI=true` the test says so and ends.
fn has_prometheus() -> bool {
    let found = Command::new("prometheus").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    assert!(found || std::env::var("CI").is_err(), "prometheus is missing: apt install prometheus");
    if !found {
        println!("SKIPPED: needs prometheus (apt install prometheus)");
    }
    found
}

async fn query(base: &str, expr: &str) -> Option<Value> {
    let answer = reqwest::Client::new().get(format!("{base}/api/v1/query")).query(&[("query", expr)]).send().await.ok()?;
    let json: Value = answer.json().await.ok()?;
    (json["status"] == "success").then(|| json["data"]["result"].clone())
}

/// Time and value of the samples of the one series that is found.
fn samples(result: &Value) -> Vec<(String, String)> {
    let values = result[0]["values"].as_array().cloned().unwrap_or_default();
    values.iter().map(|pair| (pair[0].to_string(), pair[1].as_str().unwrap_or_default().to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_prometheus_writes_is_what_watchfire_answers() {
    if !has_prometheus() {
        return;
    }
    let mut world = Watchfire::prepare(crate::WATCHFIRE, "", &[]);
    world.start().await;
    let own = format!("http://{}", world.http);
    let port = free_port();
    let config = format!(
        "global: {{ scrape_interval: 1s }}\nscrape_configs:\n  - job_name: self\n    static_configs: [{{ targets: [\"127.0.0.1:{port}\"] }}]\n\
         remote_write:\n  - url: {own}/api/v1/write\n    queue_config: {{ batch_send_deadline: 200ms }}\n    metadata_config: {{ send_interval: 2s }}\n    send_exemplars: true\n"
    );
    let file = world.folder().join("prometheus.yml");
    std::fs::write(&file, config).unwrap();
    let _prometheus = Prometheus(
        Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", world.folder().join("tsdb").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let theirs = format!("http://127.0.0.1:{port}");

    // Every series of the target, and as many of them.
    let count = "count({job=\"self\"})";
    wait_for("as many series on both sides", async || {
        let (one, other) = (query(&own, count).await?, query(&theirs, count).await?);
        let value = |result: &Value| result[0]["value"][1].as_str().and_then(|text| text.parse::<f64>().ok());
        (value(&one)? > 300.0 && value(&one) == value(&other)).then_some(())
    })
    .await;
    // The same samples at the same milliseconds: those that Watchfire has are those of Prometheus, none between them is missing.
    for series in ["prometheus_tsdb_head_samples_appended_total", "go_memstats_alloc_bytes", "up"] {
        let selector = format!("{series}{{job=\"self\"}}[30s]");
        let mine = wait_for("five samples", async || {
            let found = samples(&query(&own, &selector).await?);
            (found.len() >= 5).then_some(found)
        })
        .await;
        let all = samples(&query(&theirs, &selector).await.unwrap());
        let start = all.iter().position(|sample| *sample == mine[0]).unwrap_or_else(|| panic!("{selector}: {mine:?} in {all:?}"));
        let common = mine.len().min(all.len() - start);
        assert_eq!(mine[..common], all[start..start + common], "{selector}");
    }
    // What a metric is came with the metadata.
    wait_for("the metadata", async || {
        let json: Value = reqwest::get(format!("{own}/api/v1/metadata")).await.ok()?.json().await.ok()?;
        (json["data"]["prometheus_tsdb_head_samples_appended_total"][0]["type"] == "counter").then_some(())
    })
    .await;
}
