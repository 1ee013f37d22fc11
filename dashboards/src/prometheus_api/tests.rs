//! The routes over a source that remembers what it was asked: parameters, envelopes, limits, gzip, CORS.

use std::io::Read;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, header};
use axum::response::Response;
use model::access::{Permission, Principal};
use model::labels::Labels;
use model::query::{
    Answer, Cardinality, Exemplar, Freshness, MetricCatalog, MetricMetadata, MetricQuery, QueryError, QueryOptions, QueryValue, Series,
    SeriesExemplars, SeriesRange, SeriesSample, SqlAnswer, SqlQuery,
};
use model::tenant::TenantId;
use model::time::{SimulatedClock, Timestamp};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;

/// Answers every question with what it was asked for.
#[derive(Default)]
struct Echo {
    asked: Mutex<Vec<String>>,
    failure: Mutex<Option<QueryError>>,
}

impl Echo {
    fn note(&self, text: String) -> Result<(), QueryError> {
        self.asked.lock().unwrap().push(text);
        self.failure.lock().unwrap().clone().map_or(Ok(()), Err)
    }
}

fn job(name: &str) -> Labels {
    [("__name__", "up"), ("job", name)].into_iter().collect()
}

fn answer(value: QueryValue) -> Answer {
    Answer {
        value,
        histograms: Vec::new(),
        samples_read: 7,
        warnings: vec!["w".to_owned()],
        infos: vec!["i".to_owned()],
        matched_any_series: true,
    }
}

#[async_trait]
impl MetricQuery for Echo {
    async fn instant(&self, _: &TenantId, expr: &str, at: Timestamp, options: &QueryOptions) -> Result<Answer, QueryError> {
        self.note(format!("{expr} at {} for {:?} back {:?}", at.millis(), options.timeout, options.lookback))?;
        options.step_samples.iter().for_each(|steps| steps.add(at, 9));
        let sample = SeriesSample { at, value: 1.0 };
        Ok(answer(QueryValue::Vector((0..300).map(|n| (job(&n.to_string()), sample)).collect())))
    }
    async fn range(
        &self,
        _: &TenantId,
        expr: &str,
        start: Timestamp,
        end: Timestamp,
        step: Duration,
        options: &QueryOptions,
    ) -> Result<Answer, QueryError> {
        if let Some(steps) = &options.step_samples {
            steps.add(end, 2);
            steps.add(start, 1);
        }
        self.note(format!("{expr} from {} to {} every {step:?}", start.millis(), end.millis()))?;
        Ok(answer(QueryValue::Matrix(vec![Series { labels: job("a"), samples: vec![SeriesSample { at: start, value: 2.0 }] }])))
    }
    fn check(&self, _: &str) -> Result<(), QueryError> {
        Ok(())
    }
}

#[async_trait]
impl MetricCatalog for Echo {
    async fn series(&self, _: &TenantId, range: &SeriesRange) -> Result<Vec<Labels>, QueryError> {
        self.note(format!("series {:?} {} {}", range.selectors, range.start.millis(), range.end.millis()))?;
        Ok((0..range.limit.min(5)).map(|n| job(&n.to_string())).collect())
    }
    async fn label_names(&self, _: &TenantId, range: &SeriesRange) -> Result<Vec<String>, QueryError> {
        self.note(format!("names {:?}", range.selectors))?;
        Ok(vec!["job".to_owned()])
    }
    async fn label_values(&self, _: &TenantId, name: &str, range: &SeriesRange) -> Result<Vec<String>, QueryError> {
        self.note(format!("values {name} {:?}", range.selectors))?;
        Ok(vec!["a".to_owned()])
    }
    async fn metadata(&self, _: &TenantId, _: usize) -> Result<Vec<MetricMetadata>, QueryError> {
        let one = |metric: &str| MetricMetadata {
            metric: metric.to_owned(),
            kind: "gauge".to_owned(),
            help: "h".to_owned(),
            unit: String::new(),
        };
        Ok(vec![one("up"), one("down")])
    }
    async fn newest(
        &self,
        _: &TenantId,
        selectors: &[String],
        at: Timestamp,
        lookback: Duration,
    ) -> Result<Vec<(Labels, SeriesSample)>, QueryError> {
        self.note(format!("newest {selectors:?} {} {lookback:?}", at.millis()))?;
        Ok(vec![(job("a"), SeriesSample { at: Timestamp::from_millis(1_500), value: 3.0 })])
    }
    async fn exemplars(&self, _: &TenantId, expr: &str, _: Timestamp, _: Timestamp) -> Result<Vec<SeriesExemplars>, QueryError> {
        self.note(format!("exemplars {expr}"))?;
        let labels = [("trace_id", "ab")].into_iter().collect();
        let exemplar = Exemplar { labels, sample: SeriesSample { at: Timestamp::from_millis(1_500), value: 0.5 } };
        Ok(vec![SeriesExemplars { labels: job("a"), exemplars: vec![exemplar] }])
    }
    async fn cardinality(&self, _: &TenantId, limit: usize) -> Result<Cardinality, QueryError> {
        self.note(format!("cardinality {limit}"))?;
        Ok(Cardinality { series: 3, by_metric: vec![("up".to_owned(), 3)], ..Cardinality::default() })
    }
    fn format(&self, expr: &str) -> Result<String, QueryError> {
        self.note(expr.to_owned()).map(|()| expr.to_uppercase())
    }
    fn syntax_tree(&self, expr: &str) -> Result<String, QueryError> {
        self.note(expr.to_owned()).map(|()| r#"{"type":"numberLiteral","val":"1"}"#.to_owned())
    }
}

#[async_trait]
impl SqlQuery for Echo {
    async fn sql(&self, _: &TenantId, _: &str, _: &str, _: Duration) -> Result<SqlAnswer, QueryError> {
        Err(QueryError::Unavailable("not here".to_owned()))
    }
}

#[async_trait]
impl Freshness for Echo {
    async fn newest(&self) -> Result<Vec<(String, Option<Timestamp>)>, QueryError> {
        Ok(Vec::new())
    }
}

fn reader() -> Principal {
    Principal {
        tenant: TenantId::default(),
        permissions: vec![Permission::Read],
        actor: model::event::Actor::System { part: "test".to_owned() },
        keyless: false,
    }
}

/// What the API says, and what its source was asked.
struct Api {
    echo: Arc<Echo>,
    routes: Router,
}

impl Api {
    fn new() -> Self {
        let echo = Arc::new(Echo::default());
        let clock = Arc::new(SimulatedClock::new(Timestamp::from_secs(1_000_000)));
        let sources = Sources {
            metrics: echo.clone(),
            catalog: echo.clone(),
            sql: echo.clone(),
            freshness: echo.clone(),
            state: model::testing::Memory::new(clock.clone()),
            clock,
            configuration: Arc::new(|| "global:\n  scrape_interval: 1m\n".to_owned()),
            registry: prometheus::Registry::new(),
            probes: Vec::new(),
        };
        let routes = crate::router(sources).layer(axum::Extension(reader()));
        Api { echo, routes }
    }
    async fn send(&self, request: Request<Body>) -> Response {
        self.routes.clone().oneshot(request).await.unwrap()
    }
    async fn get(&self, path: &str) -> (StatusCode, Value) {
        let response = self.send(Request::get(path).body(Body::empty()).unwrap()).await;
        let status = response.status();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or_else(|_| json!(String::from_utf8_lossy(&body))))
    }
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.echo.asked.lock().unwrap())
    }
}

#[tokio::test]
async fn queries_take_their_parameters_from_url_and_form() {
    let api = Api::new();
    let (status, body) = api.get("/api/v1/query?query=up&time=12.5&timeout=1m&lookback_delta=30s&limit=2&stats=all").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(api.asked(), ["up at 12500 for 60s back 30s"]);
    assert_eq!(body["data"]["result"].as_array().unwrap().len(), 2);
    assert_eq!(body["warnings"], json!(["w", "results truncated due to limit"]));
    assert_eq!(body["infos"], json!(["i"]));
    let samples = json!({"totalQueryableSamples": 9, "totalQueryableSamplesPerStep": [[12.5, 9]], "peakSamples": 7});
    assert_eq!(body["data"]["stats"]["samples"], samples);
    assert!(body["data"]["stats"]["timings"]["evalTotalTime"].as_f64().is_some());
    let (_, body) = api.get("/api/v1/query_range?query=up&start=10&end=70&step=60&stats=all").await;
    let samples = json!({"totalQueryableSamples": 3, "totalQueryableSamplesPerStep": [[10, 1], [70, 2]], "peakSamples": 7});
    assert_eq!(body["data"]["stats"]["samples"], samples);
    let (_, body) = api.get("/api/v1/query_range?query=up&start=10&end=70&step=60&stats=true").await;
    assert_eq!(body["data"]["stats"]["samples"], json!({"totalQueryableSamples": 3, "peakSamples": 7}));
    api.asked();
    let form = Request::post("/api/v1/query_range?query=down")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from("query=up&start=1970-01-01T00:00:10Z&end=70&step=1m"))
        .unwrap();
    assert_eq!(api.send(form).await.status(), StatusCode::OK);
    assert_eq!(api.asked(), ["up from 10000 to 70000 every 60s"], "the form stands before the URL");
    let (_, body) = api.get("/api/v1/query?query=up&timeout=3h").await;
    assert_eq!(api.asked(), ["up at 1000000000 for 120s back 300s"], "no query is given longer than two minutes");
    assert_eq!(body["data"].get("stats"), None);
}

#[tokio::test]
async fn wrong_parameters_are_named_in_prometheus_words() {
    let api = Api::new();
    for (path, message) in [
        ("query", r#"invalid parameter "query": unknown position: parse error: no expression found in input"#),
        ("query?query=up&time=soon", r#"invalid parameter "time": cannot parse "soon" to a valid timestamp"#),
        ("query?query=up&timeout=x", r#"invalid parameter "timeout": cannot parse "x" to a valid duration"#),
        ("query?query=up&limit=-1", r#"invalid parameter "limit": limit must be non-negative"#),
        ("query?query=up&limit=many", r#"invalid parameter "limit": cannot parse "many" to a whole number"#),
        ("query_range?query=up&end=1&step=1", r#"invalid parameter "start": cannot parse "" to a valid timestamp"#),
        ("query_range?query=up&start=1&step=1", r#"invalid parameter "end": cannot parse "" to a valid timestamp"#),
        ("query_range?query=up&start=2&end=1&step=1", r#"invalid parameter "end": end timestamp must not be before start time"#),
        ("query_range?query=up&start=1&end=2", r#"invalid parameter "step": cannot parse "" to a valid duration"#),
        (
            "query_range?query=up&start=1&end=2&step=0",
            "zero or negative query resolution step widths are not accepted. Try a positive integer",
        ),
        (
            "query_range?query=up&start=1&end=2&step=-5s",
            "zero or negative query resolution step widths are not accepted. Try a positive integer",
        ),
        ("query_range?query=up&start=0&end=11001&step=1", "exceeded maximum resolution of 11,000 points per timeseries"),
        ("query_range?query=up&start=0&end=315360000&step=1s", "exceeded maximum resolution of 11,000 points per timeseries"),
        ("series", "no match[] parameter provided"),
        ("series?match[]=up&start=2&end=1", r#"invalid parameter "end": end timestamp must not be before start time"#),
    ] {
        let (status, body) = api.get(&format!("/api/v1/{path}")).await;
        assert_eq!((status, &body["status"], &body["errorType"]), (StatusCode::BAD_REQUEST, &json!("error"), &json!("bad_data")), "{path}");
        assert!(body["error"].as_str().unwrap().contains(message), "{path}: {body}");
    }
    assert!(api.asked().is_empty(), "nothing of that reached the store");
    let (status, _) = api.get("/api/v1/query_range?query=up&start=0&end=11000&step=1").await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn failures_have_prometheus_statuses_and_types() {
    let api = Api::new();
    for (failure, status, kind) in [
        (QueryError::BadData("1:1: parse error: x".to_owned()), 400, "bad_data"),
        (QueryError::Execution("too much".to_owned()), 422, "execution"),
        (QueryError::Timeout(Duration::from_secs(1)), 503, "timeout"),
        (QueryError::Unavailable("gone".to_owned()), 503, "unavailable"),
    ] {
        *api.echo.failure.lock().unwrap() = Some(failure);
        for path in ["query?query=up", "query_range?query=up&start=1&end=2&step=1", "query_exemplars?query=up", "format_query?query=up"] {
            let (found, body) = api.get(&format!("/api/v1/{path}")).await;
            assert_eq!((found.as_u16(), &body["errorType"]), (status, &json!(kind)), "{path}");
            let parameter = body["error"].as_str().unwrap().starts_with(r#"invalid parameter "query": 1:1:"#);
            assert_eq!(parameter, status == 400, "{path}: {body}");
        }
        let (found, body) = api.get("/api/v1/series?match[]=up").await;
        assert_eq!((found.as_u16(), body["error"].as_str().unwrap().contains("match[]")), (status, status == 400));
    }
}

#[tokio::test]
async fn the_catalog_takes_several_selectors_and_cuts_with_a_warning() {
    let api = Api::new();
    let (_, body) = api.get("/api/v1/series?match[]=up&match[]=down&start=1&end=2&limit=3").await;
    assert_eq!(api.asked(), [r#"series ["up", "down"] 1000 2000"#]);
    assert_eq!((body["data"].as_array().unwrap().len(), &body["warnings"][0]), (3, &json!("results truncated due to limit")));
    let (_, body) = api.get("/api/v1/series?match[]=up&limit=5").await;
    assert_eq!((body["data"].as_array().unwrap().len(), body.get("warnings")), (5, None), "as many as there are");
    api.get("/api/v1/label/U__service_2e_name/values?match[]=up").await;
    api.get("/api/v1/labels").await;
    assert_eq!(api.asked()[1..], [r#"values service.name ["up"]"#.to_owned(), "names []".to_owned()]);
    let (_, body) = api.get("/api/v1/metadata?metric=up").await;
    assert_eq!(body["data"], json!({"up": [{"type": "gauge", "help": "h", "unit": ""}]}));
}

#[tokio::test]
async fn exemplars_text_tools_and_status_are_served() {
    let api = Api::new();
    let (_, body) = api.get("/api/v1/query_exemplars?query=up&start=1&end=2").await;
    let exemplar = json!({"labels": {"trace_id": "ab"}, "value": "0.5", "timestamp": 1.5});
    assert_eq!(body["data"], json!([{"seriesLabels": {"__name__": "up", "job": "a"}, "exemplars": [exemplar]}]));
    assert_eq!(api.get("/api/v1/format_query?query=up").await.1["data"], "UP");
    assert_eq!(api.get("/api/v1/parse_query?query=1").await.1["data"]["type"], "numberLiteral");
    let (_, body) = api.get("/api/v1/status/tsdb?limit=4").await;
    assert_eq!(
        (&body["data"]["headStats"]["numSeries"], &body["data"]["seriesCountByMetricName"][0]),
        (&json!(3), &json!({"name": "up", "value": 3}))
    );
    assert_eq!(api.get("/api/v1/status/flags").await.1["data"]["query.lookback-delta"], "5m");
    assert_eq!(api.get("/metrics?match[]=up").await, api.get("/federate?match[]=up").await);
    assert!(api.get("/api/v1/status/config").await.1["data"]["yaml"].as_str().unwrap().contains("global:"));
    let (_, body) = api.get("/api/v1/status/runtimeinfo").await;
    assert_eq!(body["data"]["startTime"], "1970-01-12T13:46:40Z");
    let (status, body) = api.get("/federate?match[]=up").await;
    assert_eq!((status, body), (StatusCode::OK, json!("# TYPE up untyped\nup{job=\"a\",instance=\"\"} 3 1500\n")));
    assert_eq!(api.get("/federate").await.0, StatusCode::OK);
}

#[tokio::test]
async fn large_answers_are_packed_and_any_origin_may_read() {
    let api = Api::new();
    let request = |path: &str| Request::get(path).header(header::ACCEPT_ENCODING, "gzip, br").header(header::ORIGIN, "http://grafana");
    let response = api.send(request("/api/v1/query?query=up").body(Body::empty()).unwrap()).await;
    assert_eq!(response.headers()[header::CONTENT_ENCODING], "gzip");
    assert_eq!(response.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
    let packed = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut text).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["data"]["result"].as_array().unwrap().len(), 300);
    let small = api.send(request("/api/v1/labels").body(Body::empty()).unwrap()).await;
    assert_eq!(small.headers().get(header::CONTENT_ENCODING), None);
    let preflight = Request::options("/api/v1/query").header(header::ORIGIN, "http://grafana").body(Body::empty()).unwrap();
    let response = api.send(preflight).await;
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    assert_eq!(response.headers()[header::ACCESS_CONTROL_ALLOW_METHODS], "GET, POST, OPTIONS");
}
