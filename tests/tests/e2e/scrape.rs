//! Debian's Prometheus and Watchfire scrape the same targets with the same `prometheus.yml` and then answer the same: Debian's
//! node exporter and push gateway, and texts that fail in every way in which a scrape can fail.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tests::process::{Watchfire, free_port};
use tests::wait::wait_for;

/// A program that ends with the test.
struct Program(Child);

impl Program {
    fn start(command: &mut Command) -> Self {
        Program(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether the programs are there. Without them and without `CI=true` the test says so and ends.
fn has(programs: &[&str]) -> bool {
    let missing = |program: &&&str| Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err();
    let Some(program) = programs.iter().find(missing) else { return true };
    assert!(std::env::var("CI").is_err(), "{program} is missing: apt install {program}");
    println!("SKIPPED: needs {program} (apt install {program})");
    false
}

const TEXT: &str = concat!(
    "# HELP http_requests_total Requests \\\\ and\\nlines.\n# TYPE http_requests_total counter\n",
    "http_requests_total{method=\"post\",code=\"200\"} 1027\n",
    "http_requests_total{method=\"POST\",code=\"400\",path=\"/a\\\"b\\\\c\\nd\"} 3\n",
    "# TYPE temperature gauge\ntemperature{room=\"küche\",} -3.5e1\ntemperature{room=\"\"} 1\n",
    "infinite +Inf\ntiny{ } 1e-300\nnan NaN\n# just a comment\n\n",
    "# TYPE latency histogram\nlatency_bucket{le=\"0.1\"} 1\nlatency_bucket{le=\"+Inf\"} 3\nlatency_sum 2.5\nlatency_count 3\n",
    "# HELP rpc Calls.\n# TYPE rpc summary\nrpc{quantile=\"0.5\"} 4773\nrpc_sum 1.7560473e+07\nrpc_count 2693\n",
    "# TYPE anything untyped\nanything 5\n",
    "own{job=\"theirs\",instance=\"x\",exported_job=\"y\"} 1\ntwice 1\ntwice 1\ntimed 7 NOW\n",
);

const OPEN: &str = concat!(
    "# TYPE jobs counter\n# HELP jobs Say \\\"hi\\\".\njobs_total{kind=\"a\"} 5.0 # {trace_id=\"0102030405060708090a0b0c0d0e0f10\"} 0.5\n",
    "jobs_created{kind=\"a\"} 1600000000.0\n# TYPE build info\nbuild_info{v=\"1\"} 1\n",
    "# TYPE sizes gaugehistogram\nsizes_bucket{le=\"1.0\"} 1\nsizes_bucket{le=\"+Inf\"} 2\nsizes_gcount 2\nsizes_gsum 3\n",
    "# TYPE feature stateset\nfeature{feature=\"on\"} 1\n# TYPE wait_seconds gauge\n# UNIT wait_seconds seconds\nwait_seconds 2\n# EOF\n",
);

/// Status, content type, body.
type Answer = (u16, &'static str, String);

/// A server of texts: each path answers with a content type and a body that may be exchanged.
#[derive(Clone)]
struct Texts {
    address: String,
    answers: Arc<Mutex<BTreeMap<String, Answer>>>,
}

impl Texts {
    async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let texts = Texts { address: listener.local_addr().unwrap().to_string(), answers: Arc::default() };
        let router = axum::Router::new().fallback(answer).with_state(texts.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        texts
    }
    fn says(&self, path: &str, body: &str) {
        let kind = if body.ends_with("# EOF\n") { "application/openmetrics-text; version=1.0.0" } else { "text/plain; version=0.0.4" };
        self.answers.lock().unwrap().insert(path.to_owned(), (200, kind, body.to_owned()));
    }
}

async fn answer(State(texts): State<Texts>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    if path == "/slow" {
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    let found = texts.answers.lock().unwrap().get(&path).cloned();
    let (status, kind, body) = found.unwrap_or((500, "text/plain", String::new()));
    (axum::http::StatusCode::from_u16(status).unwrap(), [("content-type", kind)], body).into_response()
}

/// Prometheus and Watchfire beside each other.
struct Both {
    watchfire: Watchfire,
    prometheus: Program,
    bases: [String; 2],
}

impl Both {
    async fn start(config: &str) -> Self {
        let mut watchfire = Watchfire::prepare(crate::WATCHFIRE, "scrape: { scrape_config_files: [prometheus.yml] }\n", &[]);
        let file = watchfire.folder().join("prometheus.yml");
        std::fs::write(&file, config).unwrap();
        let port = free_port();
        let prometheus = Program::start(
            Command::new("prometheus")
                .arg(format!("--config.file={}", file.display()))
                .arg(format!("--storage.tsdb.path={}", watchfire.folder().join("tsdb").display()))
                .arg(format!("--web.listen-address=127.0.0.1:{port}")),
        );
        watchfire.start().await;
        let bases = [format!("http://{}", watchfire.http), format!("http://127.0.0.1:{port}")];
        Both { watchfire, prometheus, bases }
    }

    async fn get(&self, side: usize, path: &str, query: &[(&str, &str)]) -> Option<Value> {
        let answer = reqwest::Client::new().get(format!("{}{path}", self.bases[side])).query(query).send().await.ok()?;
        let json: Value = answer.json().await.ok()?;
        (json["status"] == "success").then(|| json["data"].clone())
    }

    /// Waits until both answer the same and `enough` says that it is what is waited for; tells the difference if they never do.
    async fn agree(
        &self,
        what: &str,
        path: &str,
        query: &[(&str, &str)],
        tidy: fn(Value) -> BTreeSet<String>,
        enough: impl Fn(&BTreeSet<String>) -> bool,
    ) -> BTreeSet<String> {
        let start = SystemTime::now();
        loop {
            let (mine, theirs) = (self.get(0, path, query).await.map(tidy), self.get(1, path, query).await.map(tidy));
            if let Some(same) = mine.clone().filter(|_| mine == theirs).filter(&enough) {
                return same;
            }
            if start.elapsed().unwrap() > Duration::from_secs(90) {
                let (mine, theirs) = (mine.unwrap_or_default(), theirs.unwrap_or_default());
                let only =
                    |one: &BTreeSet<String>, other: &BTreeSet<String>| one.difference(other).cloned().collect::<Vec<_>>().join("\n  ");
                panic!(
                    "{what}: only Watchfire:\n  {}\nonly Prometheus:\n  {}\nboth: {}",
                    only(&mine, &theirs),
                    only(&theirs, &mine),
                    mine.intersection(&theirs).count()
                );
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// The same instant vector on both sides.
    async fn same(&self, expr: &str, enough: impl Fn(&BTreeSet<String>) -> bool) -> BTreeSet<String> {
        self.agree(expr, "/api/v1/query", &[("query", expr)], vector, enough).await
    }
}

/// Labels and value of each sample.
fn vector(data: Value) -> BTreeSet<String> {
    data["result"].as_array().unwrap().iter().map(|one| format!("{} {}", one["metric"], one["value"][1])).collect()
}

fn lines(data: Value) -> BTreeSet<String> {
    data.as_array().unwrap().iter().map(Value::to_string).collect()
}

fn pools(data: Value) -> BTreeSet<String> {
    lines(data["scrapePools"].clone())
}

/// What both must know of their targets. Moments, durations and the words of errors are their own.
fn targets(data: Value) -> BTreeSet<String> {
    let active = data["activeTargets"].as_array().unwrap().iter().map(|one| {
        let same = ["discoveredLabels", "labels", "scrapePool", "scrapeUrl", "health", "scrapeInterval", "scrapeTimeout"];
        // Debian's Prometheus tells labels that relabelling added as if they had been discovered.
        let told = |key: &&&str| **key != "discoveredLabels" || one["scrapePool"] != "yaml";
        let told: Vec<String> = same.iter().filter(told).map(|key| one[key].to_string()).collect();
        format!("{} failed: {}", told.join(" "), one["lastError"] != "")
    });
    let dropped = data["droppedTargets"].as_array().unwrap().iter().map(|one| format!("dropped {}", one["discoveredLabels"]));
    active.chain(dropped).collect()
}

fn job(name: &str, address: &str, path: &str, more: &str) -> String {
    format!("- job_name: {name}\n  metrics_path: {path}\n  static_configs: [{{ targets: ['{address}'] }}]\n{more}")
}

const GLOBAL: &str = "global: { scrape_interval: 1s, scrape_timeout: 1s }\nscrape_configs:\n";

#[tokio::test(flavor = "multi_thread")]
async fn texts_of_every_kind_are_the_same_series_as_in_prometheus() {
    if !has(&["prometheus"]) {
        return;
    }
    let texts = Texts::start().await;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
    texts.says("/text", &TEXT.replace("NOW", &now.to_string()));
    texts.says("/open", OPEN);
    texts.says("/five", "a 1\nb 1\nc{x=\"1\"} 1\nc{x=\"2\"} 1\nd_long_name_of_a_metric{label_name=\"a long value\"} 1\n");
    texts.says("/broken", "a 1\nb 2\nc{ 3\nd 4\n");
    texts.says("/half", "a 1\nb 2\n");
    texts.says("/twice", "a 1\nb{x=\"1\",x=\"2\"} 1\nc 1\n");
    texts.says("/html", "<html><body>no metrics</body></html>");
    texts.says("/slow", "a 1\n");
    texts.says("/empty", "");
    texts.answers.lock().unwrap().insert("/half".to_owned(), (200, "application/openmetrics-text", "a 1\nb 2\n".to_owned()));
    let relabel = r#"  metric_relabel_configs:
  - { source_labels: [__name__], regex: 'rpc.*', action: drop }
  - { source_labels: [__name__, method], separator: '@', regex: 'http_(.*)@(.*)', target_label: '${1}_method', replacement: 'is-$2' }
  - { source_labels: [code], target_label: shard, modulus: 7, action: hashmod }
  - { regex: 'le(.*)', replacement: 'bound$1', action: labelmap }
  - { source_labels: [method], target_label: lower, action: lowercase }
  - { source_labels: [method], target_label: upper, action: uppercase }
  - { regex: 'exported_.*|path', action: labeldrop }
  - { source_labels: [__name__], regex: tiny, target_label: __name__, replacement: small }
  - { source_labels: [shard], target_label: empty, replacement: '' }
"#;
    let keep = "  metric_relabel_configs:\n  - { source_labels: [__name__], regex: 'temperature|http.*', action: keep }\n  - { regex: '__name__|method|job|instance|room|code', action: labelkeep }\n  - { source_labels: [room], target_label: job, action: dropequal }\n";
    let at = texts.address.as_str();
    let jobs = [
        job("text", at, "/text", ""),
        job("honoring", at, "/text", "  honor_labels: true\n  honor_timestamps: false\n"),
        job("open", at, "/open", "  params: { module: [a, 'b c'] }\n"),
        job("relabelled", at, "/text", relabel),
        job("kept", at, "/text", keep),
        job("nameless", at, "/five", "  metric_relabel_configs: [{ regex: __name__, action: labeldrop }]\n"),
        job("sample_limit", at, "/five", "  sample_limit: 3\n"),
        job("sample_limit_fits", at, "/five", "  sample_limit: 5\n"),
        job("label_limit", at, "/five", "  label_limit: 3\n"),
        job("name_length", at, "/five", "  label_name_length_limit: 9\n"),
        job("value_length", at, "/five", "  label_value_length_limit: 20\n"),
        job("body_size", at, "/five", "  body_size_limit: 20B\n"),
        job("body_size_fits", at, "/five", "  body_size_limit: 1MB\n"),
        job("target_limit", at, "/five", "  target_limit: 1\n")
            .replace(&format!("'{at}'"), &format!("'{at}', 'localhost:{}'", at.split(':').nth(1).unwrap())),
        job("broken", at, "/broken", ""),
        job("half", at, "/half", ""),
        job("twice", at, "/twice", ""),
        job("html", at, "/html", ""),
        job("slow", at, "/slow", "  scrape_timeout: 500ms\n"),
        job("empty", at, "/empty", ""),
        job("status", at, "/nothing", ""),
        job("nobody", &format!("127.0.0.1:{}", free_port()), "/metrics", ""),
    ];
    let both = Both::start(&format!("{GLOBAL}{}", jobs.concat())).await;

    // Every series with its labels and value, and what is told of the scrapes.
    let all = "{job!=\"\",__name__!~\"scrape_duration_seconds|scrape_series_added\"}";
    let up = |found: &BTreeSet<String>, value: &str| {
        found.iter().filter(|one| one.contains("\"up\"") && one.ends_with(&format!("\"{value}\""))).count()
    };
    let found = both.same(all, |found| up(found, "1") + up(found, "0") == jobs.len() + 1).await;
    assert_eq!((found.len(), up(&found, "1"), up(&found, "0")), (143, 8, 15), "{found:#?}");
    both.agree("series", "/api/v1/series", &[("match[]", "{job!=\"\"}")], lines, |found| found.len() > 143).await;
    // Series are new once, also in scrapes that fail.
    both.same("sum by (job) (sum_over_time(scrape_series_added[10m]))", |found| found.len() == jobs.len()).await;
    both.agree("targets", "/api/v1/targets", &[], targets, |found| found.len() == jobs.len() + 1).await;
    both.agree("pools", "/api/v1/scrape_pools", &[], pools, |found| found.len() == jobs.len()).await;
    for (selector, least) in [("{job=\"text\"}", 5), ("{job=\"open\"}", 5)] {
        both.agree("metadata", "/api/v1/targets/metadata", &[("match_target", selector)], lines, |found| found.len() >= least).await;
    }
    // What Prometheus keeps only on demand, or not at all.
    wait_for("the exemplar", async || {
        (both
            .watchfire
            .count(
                "SELECT count() FROM exemplars WHERE metric = 'jobs_total' AND lower(hex(trace_id)) = '0102030405060708090a0b0c0d0e0f10'",
            )
            .await
            > 0)
        .then_some(())
    })
    .await;
    let started =
        both.watchfire.count("SELECT count() FROM points WHERE metric = 'jobs_total' AND toUnixTimestamp(start_ts) = 1600000000").await;
    assert!(started > 0, "when it began to count");
    assert!(both.watchfire.text("/metrics").await.contains("watchfire_scrapes_total{job=\"text\",outcome=\"ok\"}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn exporters_of_debian_are_the_same_in_life_and_death() {
    if !has(&["prometheus", "prometheus-node-exporter", "prometheus-pushgateway"]) {
        return;
    }
    let texts = Texts::start().await;
    let at = texts.address.clone();
    texts.says("/vary", "stays 1\ngoes 1\n");
    let (node, push) = (format!("127.0.0.1:{}", free_port()), format!("127.0.0.1:{}", free_port()));
    let few = ["--collector.disable-defaults", "--collector.cpu", "--collector.loadavg", "--collector.os", "--collector.uname"];
    let exporter = Program::start(Command::new("prometheus-node-exporter").arg(format!("--web.listen-address={node}")).args(few));
    let _gateway = Program::start(Command::new("prometheus-pushgateway").arg(format!("--web.listen-address={push}")));
    wait_for("the push", async || {
        let body = "# TYPE backup_seconds gauge\nbackup_seconds{part=\"a\"} 3.5\nbackup_done_total 2\n";
        let url = format!("http://{push}/metrics/job/backup/instance/db");
        reqwest::Client::new().put(url).body(body).send().await.is_ok_and(|answer| answer.status().is_success()).then_some(())
    })
    .await;
    let list = |text: &str| texts.answers.lock().unwrap().insert("/sd".to_owned(), (200, "application/json", text.to_owned()));
    list(&format!("[{{\"targets\": [\"{at}\"], \"labels\": {{\"from\": \"url\"}}}}]"));
    let discovered = format!(
        "- job_name: files\n  metrics_path: /vary\n  file_sd_configs: [{{ files: ['targets/*.json'] }}]\n\
         - job_name: urls\n  metrics_path: /vary\n  http_sd_configs: [{{ url: 'http://{at}/sd', refresh_interval: 1s }}]\n\
         \x20 relabel_configs:\n  - {{ source_labels: [from], regex: nowhere, action: drop }}\n  - {{ source_labels: [__address__], regex: '(.*):(.*)', target_label: host, replacement: '${{1}}' }}\n\
         - job_name: yaml\n  metrics_path: /vary\n  file_sd_configs: [{{ files: ['targets/*.yml'] }}]\n\
         \x20 relabel_configs:\n  - {{ source_labels: [tier], regex: 'front|back', action: keep }}\n  \
         - {{ source_labels: [wanted], target_label: tier, action: keepequal }}\n  \
         - {{ source_labels: [__address__], target_label: shard, modulus: 5, action: hashmod }}\n  \
         - {{ regex: 'meta_(.*)', replacement: 'm_$1', action: labelmap }}\n"
    );
    let vary = job("vary", &at, "/vary", "");
    let jobs = [job("node", &node, "/metrics", ""), job("push", &push, "/metrics", "  honor_labels: true\n"), vary.clone(), discovered];
    let folder = tempfile_targets(&at);
    // Of three one is left: another is of no tier that is kept, of the third two labels differ.
    let yaml = format!(
        "- targets: ['{at}']\n  labels: {{ tier: front, wanted: front, meta_zone: a }}\n- targets: ['x:1']\n  \
         labels: {{ tier: other, wanted: other }}\n- targets: ['x:2']\n  labels: {{ tier: back, wanted: front }}\n"
    );
    std::fs::write(folder.path().join("b.yml"), yaml).unwrap();
    let config = format!("{GLOBAL}{}", jobs.concat()).replace("targets/", &format!("{}/", folder.path().display()));
    let both = Both::start(&config).await;

    // Alive: the same series; values that stand still are the same too.
    both.agree("node", "/api/v1/series", &[("match[]", "{job=\"node\"}")], lines, |found| found.len() > 50).await;
    both.same("{__name__=~\"node_uname_info|node_os_info|up\",job=\"node\"}", |found| found.len() == 3).await;
    both.same("{__name__=~\"scrape_samples.*\",job=\"node\"}", |found| found.len() == 2).await;
    let pushed = both.same("{job=\"backup\"}", |found| found.len() >= 2).await;
    assert!(pushed.iter().any(|one| one.contains("\"instance\":\"db\"") && one.ends_with("\"3.5\"")), "{pushed:?}");
    both.same("{job=~\"vary|files|urls|yaml\",__name__=~\"stays|goes|up\"}", |found| found.len() == 12).await;
    let by_yaml = both.same("stays{job=\"yaml\"}", |found| found.len() == 1).await;
    assert!(by_yaml.iter().all(|one| one.contains("\"m_zone\":\"a\"") && one.contains("\"shard\":\"")), "{by_yaml:?}");
    list(&format!(
        "[{{\"targets\": [\"{at}\"], \"labels\": {{\"from\": \"url\"}}}}, {{\"targets\": [\"x:1\"], \"labels\": {{\"from\": \"nowhere\"}}}}]"
    ));
    both.agree("targets", "/api/v1/targets", &[], targets, |found| found.len() == 9).await;

    // A series that is gone is gone at once.
    texts.says("/vary", "stays 1\n");
    both.same("{job=~\"vary|files|urls|yaml\",__name__=~\"stays|goes|up\"}", |found| found.len() == 8).await;
    // A target that died: down, and nothing else of it.
    drop(exporter);
    both.same("{job=\"node\",__name__!~\"scrape_.*\"}", |found| found.len() == 1 && found.iter().all(|one| one.ends_with("\"0\""))).await;
    both.same("count({job=\"node\"})", |found| found.iter().all(|one| one.ends_with("\"5\""))).await;
    // Targets that are gone: nothing at all of them.
    std::fs::write(folder.path().join("a.json"), "[]").unwrap();
    std::fs::write(folder.path().join("b.yml"), "[]").unwrap();
    list("[]");
    both.same("count({job=~\"files|urls|yaml\"})", BTreeSet::is_empty).await;

    // The same file changes for both; Watchfire sees it by itself.
    let file = both.watchfire.folder().join("prometheus.yml");
    let write = |text: &str| {
        std::fs::write(file.with_extension("fresh"), text).unwrap();
        std::fs::rename(file.with_extension("fresh"), &file).unwrap();
    };
    let more = "  metric_relabel_configs: [{ source_labels: [__name__], regex: stays, target_label: __name__, replacement: remains }]\n";
    write(&format!("{}{}", config.replace(&vary, &format!("{vary}{more}")), job("late", &at, "/vary", "")));
    assert!(Command::new("kill").args(["-HUP", &both.prometheus.0.id().to_string()]).status().unwrap().success());
    both.same("{job=\"late\",__name__=~\"stays|up\"}", |found| found.len() == 2).await;
    wait_for("the new name, and the old one to be gone", async || {
        let found = vector(both.get(0, "/api/v1/query", &[("query", "{job=\"vary\",__name__=~\"stays|remains\"}")]).await?);
        (found.len() == 1 && found.iter().all(|one| one.contains("\"remains\""))).then_some(())
    })
    .await;
    // A mistake changes nothing.
    write(&format!("{config}- job_name: wrong\n  kubernetes_sd_configs: []\n"));
    wait_for("the refusal", async || {
        both.watchfire.text("/metrics").await.contains("watchfire_config_last_reload_successful 0").then_some(())
    })
    .await;
    let log = both.watchfire.log();
    let said = log.lines().find(|line| line.contains("NOT taken up")).unwrap();
    assert!(said.contains("prometheus.yml") && said.contains("kubernetes_sd_configs"), "{said}");
    assert_eq!(both.watchfire.promql("up{job=\"late\"}").await, Some(1.0));
    let check = both.watchfire.command(&["check"]).output().unwrap();
    assert!(!check.status.success() && String::from_utf8_lossy(&check.stderr).contains("kubernetes_sd_configs"), "{check:?}");
}

/// A folder with a file of targets.
fn tempfile_targets(address: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.json"), format!("[{{\"targets\": [\"{address}\"], \"labels\": {{\"from\": \"file\"}}}}]"))
        .unwrap();
    folder
}

fn openssl(folder: &Path, arguments: &[&str]) {
    let made = Command::new("openssl").args(arguments).current_dir(folder).output().unwrap();
    assert!(made.status.success(), "{made:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exporter_behind_tls_and_a_password_is_the_same_too() {
    if !has(&["prometheus", "prometheus-node-exporter", "openssl"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=exporter -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE";
    let make = |key: &str, certificate: &str| {
        let arguments: Vec<&str> = request.split(' ').chain(["-keyout", key, "-out", certificate]).collect();
        openssl(folder.path(), &arguments);
    };
    make("key.pem", "cert.pem");
    make("other_key.pem", "other.pem");
    // The bcrypt hash of `hunter22`.
    let web = "tls_server_config: { cert_file: cert.pem, key_file: key.pem }\nbasic_auth_users: { me: \"$2b$04$EJhG2pxVhjMyqy3UuMGQLec03tygT4poi30.VRIag69auF24fedDC\" }\n";
    std::fs::write(path("web.yml"), web).unwrap();
    std::fs::write(path("password"), "hunter22\n").unwrap();
    let node = format!("127.0.0.1:{}", free_port());
    let _exporter = Program::start(
        Command::new("prometheus-node-exporter")
            .arg(format!("--web.listen-address={node}"))
            .arg(format!("--web.config.file={}", path("web.yml")))
            .args(["--collector.disable-defaults", "--collector.os"]),
    );
    let user = format!("  basic_auth: {{ username: me, password_file: {} }}\n", path("password"));
    let trusting = format!("  scheme: https\n  tls_config: {{ ca_file: {} }}\n", path("cert.pem"));
    let jobs = [
        job("good", &node, "/metrics", &format!("{trusting}{user}")),
        job(
            "blind",
            &node,
            "/metrics",
            &format!("  scheme: https\n  tls_config: {{ insecure_skip_verify: true, min_version: TLS12 }}\n{user}"),
        ),
        job("stranger", &node, "/metrics", &format!("{trusting}  basic_auth: {{ username: me, password: wrong }}\n")),
        job("nobody", &node, "/metrics", &trusting),
        job("distrusting", &node, "/metrics", &format!("{}{user}", trusting.replace("cert.pem", "other.pem"))),
        job("systems", &node, "/metrics", &format!("  scheme: https\n{user}")),
        job("plain", &node, "/metrics", &user),
    ];
    let both = Both::start(&format!("{GLOBAL}{}", jobs.concat())).await;
    let up = both.same("up", |found| found.len() == jobs.len() && found.iter().filter(|one| one.ends_with("\"1\"")).count() == 2).await;
    for job in ["good", "blind"] {
        assert!(up.iter().any(|one| one.contains(&format!("\"{job}\"")) && one.ends_with("\"1\"")), "{up:?}");
    }
    both.agree("targets", "/api/v1/targets", &[], targets, |found| found.len() == jobs.len()).await;
    both.agree("series", "/api/v1/series", &[("match[]", "{job=\"good\"}")], lines, |found| found.len() > 30).await;
    let (log, told) = (both.watchfire.log(), both.watchfire.text("/api/v1/targets").await);
    assert!(!log.contains("hunter22") && !told.contains("hunter22") && !log.contains("wrong"), "no secret is told");
}
