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
