//! A configuration that changes while targets are scraped.

use super::*;

fn parse(text: &str) -> Config {
    serde_saphyr::from_str(text).unwrap()
}

/// A job whose scrapes have time enough also where the machine is busy.
fn steady(name: &str, address: &str, more: &str) -> String {
    job(name, address, more).replace("50ms", "1s")
}

impl World {
    fn reload(&self, config: &str) -> Result<(), ScrapeError> {
        self.scraper.take_up(self.scraper.prepare(&parse(config))?);
        Ok(())
    }
}

#[tokio::test]
async fn what_stays_keeps_its_state_and_what_is_gone_is_stale() {
    let (one, two) = (Exporter::start(Answer::Text("a 1\nb 1\n")).await, Exporter::start(Answer::Text("c 1\n")).await);
    let jobs = |more: &str| format!("scrape_configs:\n{}", steady("stays", &one.address, more));
    let goes = steady("goes", &two.address, "");
    let world = World::start(&format!("{}{goes}", jobs(""))).await;
    until("both", || (!world.points("a").is_empty() && !world.points("c").is_empty()).then_some(())).await;
    world.reload(&jobs("")).unwrap();
    until("the job that is gone to be stale", || (world.values("c").last()? == "stale").then_some(())).await;
    let asked = two.asked();
    assert!(world.values("a").iter().chain(&world.values("b")).all(|value| value == "1"), "what stays has no gap");
    // Other rules: the series that they drop is stale at the next scrape, the other one goes on.
    world.reload(&jobs("  metric_relabel_configs: [{ source_labels: [__name__], regex: a, action: drop }]\n")).unwrap();
    until("a to be stale", || (world.values("a").last()? == "stale").then_some(())).await;
    assert!(world.values("b").iter().all(|value| value == "1"));
    let added: f64 = world.values("scrape_series_added").iter().filter_map(|value| value.parse::<f64>().ok()).sum();
    assert!((added - 4.0).abs() < 0.1, "a, b, c are new once, and b once more under the new rules: {added}");
    assert_eq!(two.asked(), asked, "nobody asks a target of a job that is gone");
    let (_, json) = world.get("/api/v1/scrape_pools", Permission::Read).await;
    assert_eq!(json["data"]["scrapePools"], serde_json::json!(["stays"]));
    // And back.
    world.reload(&format!("{}{goes}", jobs(""))).unwrap();
    until("both again", || (world.values("a").last()? == "1" && world.values("c").last()? == "1").then_some(())).await;
    world.stop().await;
}

#[tokio::test]
async fn another_pace_of_the_same_target_leaves_no_marker_behind() {
    let exporter = Exporter::start(Answer::Text("a 1\n")).await;
    let config = |pace: &str| format!("scrape_configs:\n{}", job("j", &exporter.address, "").replace("50ms", pace));
    let world = World::start(&config("1s")).await;
    until("a scrape", || (!world.points("a").is_empty()).then_some(())).await;
    world.reload(&config("900ms")).unwrap();
    let (_, json) = until_pace(&world, "900ms").await;
    assert_eq!(json["data"]["activeTargets"].as_array().unwrap().len(), 1);
    // The old one ends after two intervals; then there is nothing of it to mark, for the new one goes on with its series.
    let before = world.points("a").len();
    until("more scrapes", || (world.points("a").len() > before + 5).then_some(())).await;
    assert!(world.values("a").iter().all(|value| value == "1") && world.values("up").iter().all(|value| value == "1"));
    world.stop().await;
}

async fn until_pace(world: &World, pace: &str) -> (StatusCode, serde_json::Value) {
    for _ in 0..6_000 {
        let answer = world.get("/api/v1/targets?state=active", Permission::Read).await;
        if answer.1["data"]["activeTargets"][0]["scrapeInterval"] == pace {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited in vain for {pace}");
}

#[tokio::test]
async fn a_configuration_that_cannot_be_taken_up_changes_nothing() {
    let exporter = Exporter::start(Answer::Text("a 1\n")).await;
    let config = format!("scrape_configs:\n{}", job("j", &exporter.address, ""));
    let world = World::start(&config).await;
    std::fs::write(world.folder.path().join("broken.yml"), "scrape_configs: [{ job_name: x, secret: hunter22 }]").unwrap();
    std::fs::write(world.folder.path().join("twice.yml"), "scrape_configs: [{ job_name: j }]").unwrap();
    for (more, said) in [
        ("scrape_config_files: [missing.yml]", "missing.yml: the file cannot be read"),
        ("scrape_config_files: [broken.yml]", "unknown field `secret`"),
        ("scrape_config_files: ['tw*.yml']", "twice.yml: scrape_configs[0]: the job_name `j` exists twice"),
        ("scrape_config_files: ['*/a.yml']", "only in its last part"),
        ("concurrency: 0", "concurrency is 0"),
    ] {
        let error = world.reload(&format!("{more}\n{config}")).unwrap_err().to_string();
        assert!(error.contains(said) && !error.contains("hunter22"), "{more}: {error}");
    }
    let asked = exporter.asked();
    until("it to go on", || (exporter.asked() > asked + 2).then_some(())).await;
    world.stop().await;
}

#[tokio::test]
async fn jobs_of_a_prometheus_file_are_scraped_at_its_pace() {
    let exporter = Exporter::start(Answer::Text("a 1\n")).await;
    let folder = tempfile::tempdir().unwrap();
    let file = format!(
        "global: {{ scrape_interval: 70ms, evaluation_interval: 15s, external_labels: {{ x: y }} }}\nalerting: {{ alertmanagers: [] }}\nrule_files: [a.yml]\n\
         scrape_configs:\n- job_name: theirs\n  static_configs: [{{ targets: ['{}'] }}]\n  relabel_configs: [{{ source_labels: [__address__], regex: '(.*):.*', target_label: host, replacement: '${{1}}' }}]\n",
        exporter.address
    );
    std::fs::write(folder.path().join("prometheus.yml"), file).unwrap();
    let world = World::with(crate::Config::default(), folder, "scrape_config_files: [prometheus.yml]").await;
    world.state("theirs", |state| state.health == Health::Up).await;
    let (_, json) = world.get("/api/v1/targets", Permission::Read).await;
    let target = &json["data"]["activeTargets"][0];
    assert_eq!((&target["scrapeInterval"], &target["scrapeTimeout"]), (&"70ms".into(), &"70ms".into()));
    assert_eq!(target["labels"]["host"], "127.0.0.1");
    world.stop().await;
}

#[tokio::test]
async fn what_targets_say_of_their_families_is_told_as_prometheus_does() {
    let exporter = Exporter::start(Answer::Text("# HELP a_total Helps.\n# TYPE a_total counter\na_total 1\n# TYPE b gauge\nb 1\n")).await;
    let world = World::start(&format!("scrape_configs:\n{}", job("j", &exporter.address, ""))).await;
    world.state("j", |state| state.health == Health::Up).await;
    let target = serde_json::json!({"instance": exporter.address, "job": "j"});
    let (_, all) = world.get("/api/v1/targets/metadata", Permission::Read).await;
    let told = serde_json::json!([
        {"target": target, "metric": "a_total", "type": "counter", "help": "Helps.", "unit": ""},
        {"target": target, "metric": "b", "type": "gauge", "help": "", "unit": ""},
    ]);
    assert_eq!(all, serde_json::json!({"status": "success", "data": told}));
    let (_, one) = world.get("/api/v1/targets/metadata?metric=b&match_target=%7Bjob%3D%22j%22%7D", Permission::Read).await;
    assert_eq!(one["data"], serde_json::json!([{"target": target, "type": "gauge", "help": "", "unit": ""}]));
    for (path, count) in [("limit=1", 1), ("limit=0", 2), ("match_target=%7Bjob%21%3D%22j%22%7D", 0), ("metric=c", 0)] {
        let (_, json) = world.get(&format!("/api/v1/targets/metadata?{path}"), Permission::Read).await;
        assert_eq!(json["data"].as_array().unwrap().len(), count, "{path}");
    }
    for path in ["limit=x", "match_target=%7B"] {
        let (status, json) = world.get(&format!("/api/v1/targets/metadata?{path}"), Permission::Read).await;
        assert_eq!((status, &json["errorType"]), (StatusCode::BAD_REQUEST, &"bad_data".into()), "{path}");
    }
    assert_eq!(world.get("/api/v1/targets/metadata", Permission::Ingest).await.0, StatusCode::FORBIDDEN);
    world.stop().await;
}

#[tokio::test]
async fn targets_of_another_tenant_are_not_shown() {
    let exporter = Exporter::start(Answer::Text("a 1\n")).await;
    let world = World::start(&format!("tenant: other\nscrape_configs:\n{}", job("j", &exporter.address, ""))).await;
    world.state("j", |state| state.health == Health::Up).await;
    assert_eq!(world.rig.sink.batches.lock().unwrap()[0].tenant.as_str(), "other");
    for (path, key) in [("targets", "/data/activeTargets"), ("targets/metadata", "/data"), ("scrape_pools", "/data/scrapePools")] {
        let (_, json) = world.get(&format!("/api/v1/{path}"), Permission::Read).await;
        assert_eq!(json.pointer(key), Some(&serde_json::json!([])), "{path}");
    }
    world.stop().await;
}
