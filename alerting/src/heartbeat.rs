//! Heartbeats: a job says that it ran. `POST /api/watchfire/v1/heartbeats/<name>` writes `watchfire_heartbeat_timestamp_seconds{heartbeat,
//! status}`, whose value is the time; a rule with `heartbeat` fires when none comes. `?status=failed` says that it ran and failed. Stored
//! like any sample: once it is answered, it is durable. Fails with 400 for a name, 503 where the log takes nothing.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Json, Router};
use http::{StatusCode, header};
use model::access::{Permission, Principal};
use model::labels::{Labels, METRIC_NAME};
use model::query::SeriesSample;
use model::sink::SeriesSink;
use model::time::Clock;
use serde::Deserialize;
use serde_json::json;

/// The metric.
pub const METRIC: &str = "watchfire_heartbeat_timestamp_seconds";
/// The longest name, in bytes.
const LONGEST: usize = 200;

struct Beats {
    series: Arc<dyn SeriesSink>,
    clock: Arc<dyn Clock>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    #[serde(default)]
    status: Status,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    #[default]
    Ok,
    Failed,
}

impl Status {
    fn as_str(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Failed => "failed",
        }
    }
}

/// The route. Wants a principal that may ingest.
pub fn router(series: Arc<dyn SeriesSink>, clock: Arc<dyn Clock>) -> Router {
    // Many schedulers can only GET.
    Router::new().route("/api/watchfire/v1/heartbeats/{name}", post(beat).get(beat)).with_state(Arc::new(Beats { series, clock }))
}

fn refused(status: StatusCode, sentence: String) -> Response {
    (status, Json(json!({"status": "error", "error": sentence}))).into_response()
}

async fn beat(
    State(beats): State<Arc<Beats>>,
    Extension(principal): Extension<Principal>,
    Path(name): Path<String>,
    said: Result<Query<Said>, axum::extract::rejection::QueryRejection>,
) -> Response {
    if let Err(forbidden) = principal.require(Permission::Ingest) {
        return refused(StatusCode::FORBIDDEN, forbidden.to_string());
    }
    let Ok(Query(said)) = said else {
        return refused(StatusCode::BAD_REQUEST, "the only parameter is `status`, which is `ok` or `failed`".to_owned());
    };
    if name.is_empty() || name.len() > LONGEST || name.chars().any(char::is_control) {
        return refused(StatusCode::BAD_REQUEST, format!("a heartbeat's name has 1 to {LONGEST} bytes and no control characters"));
    }
    let at = beats.clock.now();
    let labels: Labels = [(METRIC_NAME, METRIC), ("heartbeat", name.as_str()), ("status", said.status.as_str())].into_iter().collect();
    match beats.series.write(&principal.tenant, vec![(labels, SeriesSample { at, value: at.secs_f64() })]).await {
        Ok(()) => Json(json!({"status": "success", "heartbeat": name, "at": at})).into_response(),
        Err(error) => {
            let mut response = refused(StatusCode::SERVICE_UNAVAILABLE, error.to_string());
            response.headers_mut().insert(header::RETRY_AFTER, error.retry_after().as_secs().max(1).into());
            response
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use model::event::Actor;
    use model::tenant::TenantId;
    use model::time::{SimulatedClock, Timestamp};
    use tower::ServiceExt;

    use super::*;
    use crate::testing::Kept;

    async fn ask(series: &Arc<Kept>, path: &str, permission: Permission) -> StatusCode {
        let clock = Arc::new(SimulatedClock::new(Timestamp::from_secs(1_800_000_000)));
        let principal =
            Principal { tenant: TenantId::default(), permissions: vec![permission], actor: Actor::system("test"), keyless: false };
        let router = router(series.clone(), clock).layer(Extension(principal));
        let request = http::Request::post(format!("/api/watchfire/v1/heartbeats/{path}")).body(Body::empty()).unwrap();
        router.oneshot(request).await.unwrap().status()
    }

    #[tokio::test]
    async fn a_heartbeat_is_a_sample_with_its_time() {
        let series = Arc::<Kept>::default();
        assert_eq!(ask(&series, "backup", Permission::Ingest).await, StatusCode::OK);
        assert_eq!(ask(&series, "nightly%20run?status=failed", Permission::Ingest).await, StatusCode::OK);
        assert_eq!(ask(&series, "backup?status=late", Permission::Ingest).await, StatusCode::BAD_REQUEST);
        assert_eq!(ask(&series, "backup", Permission::Read).await, StatusCode::FORBIDDEN);
        let told: Vec<String> = series.take().iter().map(|(labels, sample)| format!("{labels} {}", sample.value)).collect();
        assert_eq!(
            told,
            [
                r#"watchfire_heartbeat_timestamp_seconds{heartbeat="backup", status="ok"} 1800000000"#,
                r#"watchfire_heartbeat_timestamp_seconds{heartbeat="nightly run", status="failed"} 1800000000"#
            ]
        );
    }
}
