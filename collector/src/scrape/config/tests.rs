//! The keys of Prometheus, and what is wrong with values.

use super::*;

fn parse(text: &str) -> Result<Config, String> {
    serde_saphyr::from_str(text).map_err(|error| error.to_string())
}

#[test]
fn a_section_of_prometheus_is_understood() {
    let config = parse(
        r#"
scrape_interval: 15s
scrape_configs:
- job_name: node
  scrape_timeout: 5s
  honor_labels: true
  params: { module: [http_2xx] }
  basic_auth: { username: me, password: hunter22 }
  static_configs:
  - targets: ['localhost:9100', 'other:9100']
    labels: { env: prod }
  file_sd_configs:
  - files: ['targets/*.yml']
  http_sd_configs:
  - url: http://sd.example/targets
    refresh_interval: 30s
  relabel_configs:
  - source_labels: [__address__]
    regex: '(.*):\d+'
    target_label: host
    replacement: '${1}'
  metric_relabel_configs:
  - { action: drop, source_labels: [__name__], regex: 'go_.*' }
  sample_limit: 1000
  body_size_limit: 10MiB
  tls_config: { insecure_skip_verify: true }
"#,
    )
    .unwrap();
    assert_eq!(config.problems(), Vec::<String>::new());
    let job = &config.scrape_configs[0];
    assert_eq!(job.pace(&config), (Span::secs(15), Span::secs(5)));
    assert!(job.honor_timestamps && job.follow_redirects);
    assert_eq!(job.file_sd_configs[0].refresh_interval, Span::secs(300));
    assert!(!serde_json::to_string(&config).unwrap().contains("hunter22"));
    let mut quick = Job { job_name: "q".into(), scrape_interval: Some(Span::secs(1)), ..Job::default() };
    assert_eq!(quick.pace(&config), (Span::secs(1), Span::secs(1)), "a timeout nobody set is not longer than the interval");
    quick.scrape_timeout = Some(Span::secs(2));
    assert!(quick.problems(&config)[0].contains("longer than scrape_interval"));
}

#[test]
fn what_cannot_work_is_named() {
    for (text, said) in [
        ("scrape_configs: [{}]", "scrape.scrape_configs[0]: job_name is missing"),
        ("scrape_configs: [{ job_name: a }, { job_name: a }]", "the job_name `a` exists twice"),
        ("concurrency: 0", "scrape.concurrency is 0"),
        ("scrape_configs: [{ job_name: a, scheme: ftp }]", "set http or https"),
        ("scrape_configs: [{ job_name: a, metrics_path: m }]", "must begin with /"),
        ("scrape_configs: [{ job_name: a, static_configs: [{ targets: ['http://x/'] }] }]", "must be host:port"),
        ("scrape_configs: [{ job_name: a, file_sd_configs: [{ files: [a.txt] }] }]", "must end in .json"),
        ("scrape_configs: [{ job_name: a, file_sd_configs: [{ files: ['*/a.yml'] }] }]", "only in its last part"),
        ("scrape_configs: [{ job_name: a, http_sd_configs: [{ url: nowhere }] }]", "is not an http or https URL"),
        ("scrape_configs: [{ job_name: a, bearer_token: x, basic_auth: {} }]", "only one of"),
        ("scrape_configs: [{ job_name: a, authorization: { type: Basic } }]", "use basic_auth"),
        ("scrape_configs: [{ job_name: a, authorization: { credentials: x, credentials_file: y } }]", "not both"),
        ("scrape_configs: [{ job_name: a, tls_config: { cert_file: x } }]", "belong together"),
        ("scrape_configs: [{ job_name: a, scrape_interval: 0s }]", "longer than 0"),
        ("scrape_configs: [{ job_name: a, scrape_protocols: [PrometheusProto] }]", "must name a text format"),
        ("scrape_configs: [{ job_name: a, scrape_protocols: [] }]", "must name a text format"),
        ("scrape_configs: [{ job_name: a, fallback_scrape_protocol: PrometheusProto }]", "must be a text format"),
        ("scrape_configs: [{ job_name: a, tls_config: { max_version: TLS11 } }]", "no version is left"),
        ("scrape_configs: [{ job_name: a, tls_config: { min_version: TLS13, max_version: TLS12 } }]", "no version is left"),
        ("scrape_config_files: ['*/a.yml']", "only in its last part"),
        ("scrape_configs: [{ job_name: a, relabel_configs: [{ regex: '(' }] }]", "relabel_configs[0]: "),
    ] {
        let problems = parse(text).unwrap().problems();
        assert!(problems.iter().any(|problem| problem.contains(said)), "{text}: {problems:?}");
    }
    for (text, said) in [
        ("scrape_configs: [{ job_name: a, kubernetes_sd_configs: [] }]", "kubernetes_sd_configs"),
        ("scrape_configs: [{ job_name: a, relabel_configs: [{ action: hashmob }] }]", "hashmob"),
        ("tenant: Not A Tenant", "tenant name"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.contains(said), "{text}: {error}");
    }
}

#[test]
fn values_are_written_as_in_prometheus() {
    let config = parse(
        "scrape_configs:\n- job_name: 5\n  body_size_limit: 10MB\n  scrape_interval: 1m30s\n  params: { a: [1, true] }\n  static_configs: [{ targets: [], labels: { zone: 1, on: true } }]\n  \
         relabel_configs: [{ target_label: x, replacement: 1 }]\n  scrape_protocols: [PrometheusProto, OpenMetricsText1.0.0, PrometheusText0.0.4]\n",
    )
    .unwrap();
    let job = &config.scrape_configs[0];
    assert_eq!((job.job_name.as_str(), job.body_size_limit, job.scrape_interval), ("5", ByteCount(10 << 20), Some(Span::secs(90))));
    assert_eq!((job.static_configs[0].labels["zone"].as_str(), job.relabel_configs[0].replacement.as_str()), ("1", "1"));
    assert_eq!(job.scrape_protocols.len(), 3);
    assert_eq!(config.problems(), [""; 0]);
    for (written, bytes) in [("0", 0), ("7", 7), ("7B", 7), ("1KB", 1 << 10), ("2GB", 2 << 30), ("3MiB", 3 << 20)] {
        let config = parse(&format!("scrape_configs: [{{ job_name: a, body_size_limit: {written} }}]")).unwrap();
        assert_eq!(config.scrape_configs[0].body_size_limit, ByteCount(bytes), "{written}");
    }
    assert!(parse("scrape_configs: [{ job_name: a, body_size_limit: much }]").unwrap_err().contains("is not a size"));
}

#[test]
fn files_of_jobs_are_read_with_their_pace() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write(
        "prometheus.yml",
        "global: { scrape_interval: 5s }\nrule_files: [x]\nscrape_configs:\n- job_name: theirs\n- { job_name: slow, scrape_interval: 3m, scrape_timeout: 1m }\n",
    );
    write("more_1.yml", "scrape_configs: [{ job_name: more }]");
    write("more_2.yml", "# nothing yet\n");
    let config =
        parse("scrape_interval: 1h\nscrape_configs: [{ job_name: own }]\nscrape_config_files: [prometheus.yml, 'more_*.yml']").unwrap();
    let whole = config.with_files(folder.path()).unwrap();
    let told: Vec<(&str, (Span, Span))> = whole.scrape_configs.iter().map(|job| (job.job_name.as_str(), job.pace(&whole))).collect();
    let pace = |interval, timeout| (Span::secs(interval), Span::secs(timeout));
    assert_eq!(told, [("own", pace(3_600, 10)), ("theirs", pace(5, 5)), ("slow", pace(180, 60)), ("more", pace(60, 10))]);
    write("more_2.yml", "scrape_configs: [{ job_name: theirs }, { job_name: x, scheme: ftp }]\n");
    let problems = config.with_files(folder.path()).unwrap_err();
    for said in ["more_2.yml: scrape_configs[0]: the job_name `theirs` exists twice", "more_2.yml: scrape_configs[1] `x`: scheme is `ftp`"]
    {
        assert!(problems.iter().any(|problem| problem.contains(said)), "{said}: {problems:?}");
    }
    for (text, said) in [
        ("scrape_configs: [{ job_name: a, bearer_token: hunter22, oauth2: {} }]", "unknown field `oauth2`"),
        ("scrapes: []", "unknown field `scrapes`"),
        ("global: { sample_limit: 5 }", "unknown field `sample_limit`"),
    ] {
        write("more_2.yml", text);
        let problems = config.with_files(folder.path()).unwrap_err();
        assert!(problems.len() == 1 && problems[0].contains(said) && !problems[0].contains("hunter22"), "{problems:?}");
    }
}

#[test]
fn paths_in_a_file_of_jobs_are_beside_that_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("prom")).unwrap();
    let job = "scrape_configs:\n- job_name: j\n  basic_auth: { username: u, password_file: secret }\n  tls_config: { ca_file: /etc/ca.pem, cert_file: c, key_file: k }\n  \
               file_sd_configs: [{ files: ['targets/*.yml'] }]\n  http_sd_configs: [{ url: 'http://x/', authorization: { credentials_file: token } }]\n";
    std::fs::write(folder.path().join("prom/prometheus.yml"), job).unwrap();
    let config = parse("scrape_config_files: ['prom/*.yml']").unwrap();
    assert_eq!(config.files(folder.path()), [folder.path().join("prom/prometheus.yml")]);
    let whole = config.with_files(folder.path()).unwrap();
    let job = &whole.scrape_configs[0];
    let text = |path: &Option<String>| path.clone().unwrap();
    assert_eq!(text(&job.basic_auth.as_ref().unwrap().password_file), "prom/secret");
    assert_eq!((text(&job.tls_config.ca_file), text(&job.tls_config.key_file)), ("/etc/ca.pem".into(), "prom/k".into()));
    assert_eq!(job.file_sd_configs[0].files, ["prom/targets/*.yml"]);
    assert_eq!(text(&job.http_sd_configs[0].authorization.as_ref().unwrap().credentials_file), "prom/token");
}
