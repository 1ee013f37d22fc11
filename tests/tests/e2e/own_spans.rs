//! Own spans in all three modes: off, into the own intake (before and after keys exist, without feeding themselves), to an endpoint.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use tests::process::Watchfire;
use tests::wait::wait_for;

fn mode(spans: &str) -> String {
    format!("observe:\n  spans: {spans}\n")
}

const OWN: &str = "SELECT count() FROM spans WHERE service = 'watchfire'";

/// An OTLP/gRPC endpoint that remembers `service span`.
#[derive(Clone, Default)]
struct Catcher(Arc<Mutex<Vec<String>>>);

#[tonic::async_trait]
impl TraceService for Catcher {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        for one in request.into_inner().resource_spans {
            let attributes = one.resource.unwrap().attributes;
            let service = attributes.iter().find(|attribute| attribute.key == "service.name").unwrap().value.clone().unwrap().value;
            let Some(Any::StringValue(service)) = service else { panic!("{attributes:?}") };
            let spans = one.scope_spans.into_iter().flat_map(|scope| scope.spans);
            self.0.lock().unwrap().extend(spans.map(|span| format!("{service} {}", span.name)));
        }
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Catcher {
    async fn start() -> (Self, SocketAddr) {
        let catcher = Catcher::default();
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let routes = tonic::service::Routes::new(TraceServiceServer::new(catcher.clone())).prepare().into_axum_router();
        tokio::spawn(async move { axum::serve(socket, routes).await.unwrap() });
        (catcher, address)
    }
    fn caught(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// A question that makes spans when spans are made, then a restart: stopping sends what is left.
async fn asked_and_restarted(world: &mut Watchfire) {
    world.promql("vector(7)").await.unwrap();
    assert_eq!(world.stop().await, Some(0), "{}", world.log());
    world.start().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn off_makes_no_span() {
    let mut world = Watchfire::prepare(crate::WATCHFIRE, "", &[]);
    world.start().await;
    asked_and_restarted(&mut world).await;
    // The same steps leave spans behind in the other modes.
    assert_eq!(world.count(OWN).await, 0);
    assert!(!world.text("/metrics").await.contains("watchfire_own_spans_total"));
}

#[tokio::test(flavor = "multi_thread")]
async fn own_spans_are_stored_before_and_after_keys_exist_and_feed_nothing() {
    let mut world = Watchfire::prepare(crate::WATCHFIRE, &mode("self"), &[]);
    world.start().await;
    asked_and_restarted(&mut world).await;
    let query = "SELECT count() FROM spans WHERE service = 'watchfire' AND name = 'GET /api/v1/query' AND kind = 'SERVER'";
    wait_for("the span of the question", async || (world.count(query).await >= 1).then_some(())).await;
    let inner = "SELECT count() FROM spans WHERE name = 'promql instant' AND parent_span_id IN \
                 (SELECT span_id FROM spans WHERE name = 'GET /api/v1/query')";
    assert!(world.count(inner).await >= 1, "the evaluation is a child of its request");

    let key = world.make_key().await;
    let before = world.count(query).await;
    asked_and_restarted(&mut world).await;
    wait_for("a span after keys exist", async || (world.count(query).await > before).then_some(())).await;
    let listed = world.command(&["keys", "list", "--json"]).output().unwrap();
    assert_eq!(serde_json::from_slice::<Vec<serde_json::Value>>(&listed.stdout).unwrap().len(), 1, "no key but the one that was made");
    assert!(!world.log().contains(&key) && !world.log().contains("own intake answered"), "{}", world.log());

    // Nothing but what was asked makes spans: neither the intake of spans nor the storing of them.
    // Which followers and queues had something to do depends on the hour: the daily maintenance, say.
    let queues = model::work::QUEUES.map(|queue| format!("'{}'", queue.as_str())).join(", ");
    let others = format!(
        "SELECT DISTINCT name FROM spans WHERE service = 'watchfire' AND name NOT LIKE '% /api/%' \
         AND name NOT IN ('promql instant', 'incidents', 'alert-links', 'ladders', 'remediation', 'routes') AND name NOT IN ({queues})"
    );
    let others = world.sql(&others).await;
    assert!(others.contains("\"rows\": 0"), "{others}");
    let stored = "SELECT count() FROM spans WHERE service = 'watchfire' AND (name LIKE '%/v1/traces%' OR name LIKE '%Export%')";
    assert_eq!(world.count(stored).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_gets_the_spans_and_the_own_store_none() {
    let (catcher, address) = Catcher::start().await;
    let mut world = Watchfire::prepare(crate::WATCHFIRE, &mode(&format!("http://{address}")), &[]);
    world.start().await;
    asked_and_restarted(&mut world).await;
    wait_for("the span of the question", async || catcher.caught().contains(&"watchfire GET /api/v1/query".to_owned()).then_some(())).await;
    let heard = catcher.caught().len();
    world.make_key().await;
    asked_and_restarted(&mut world).await;
    wait_for("a span after keys exist", async || (catcher.caught().len() > heard).then_some(())).await;
    assert_eq!(world.count(OWN).await, 0);
}
