//! `/metrics`: Watchfire's own metrics in Prometheus's text format, with the age of the newest row per signal; with `match[]`, the newest
//! samples of the stored series that match, for whoever scrapes them from here.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use model::access::Principal;
use prometheus::{Encoder, GaugeVec, Opts, TextEncoder};

use crate::Sources;
use crate::answer::ApiError;
use crate::parameters::Parameters;
use crate::prometheus_api::federate;

struct Exposition {
    sources: Arc<Sources>,
    newest_age: GaugeVec,
}

/// The route. Registers `watchfire_newest_row_age_seconds{signal}`.
pub fn router(sources: Arc<Sources>) -> Router {
    let opts = Opts::new("watchfire_newest_row_age_seconds", "Age of the newest stored row of a signal, by its arrival time.");
    let newest_age = GaugeVec::new(opts, &["signal"]).and_then(|gauge| sources.registry.register(Box::new(gauge.clone())).map(|()| gauge));
    match newest_age {
        Ok(newest_age) => Router::new().route("/metrics", get(exposition)).with_state(Arc::new(Exposition { sources, newest_age })),
        Err(error) => {
            tracing::error!(%error, "the freshness gauge could not be registered: /metrics is not served");
            Router::new()
        }
    }
}

async fn exposition(
    State(state): State<Arc<Exposition>>,
    principal: Option<Extension<Principal>>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let selectors = parameters.all("match[]");
    match principal {
        Some(Extension(principal)) if !selectors.is_empty() => federate::selected(&state.sources, &principal, &selectors).await,
        None if !selectors.is_empty() => Err(ApiError::bad_data("match[] needs a key: stored series belong to a tenant")),
        Some(_) | None => Ok(own(&state).await),
    }
}

async fn own(state: &Exposition) -> Response {
    let now = state.sources.clock.now();
    // Where the store does not answer, the last known ages stay away rather than lie.
    state.newest_age.reset();
    if let Ok(newest) = state.sources.freshness.newest().await {
        for (signal, at) in newest {
            if let Some(at) = at {
                state.newest_age.with_label_values(&[&signal]).set(now.since(at).as_secs_f64());
            }
        }
    }
    let encoder = TextEncoder::new();
    let mut body = Vec::new();
    match encoder.encode(&state.sources.registry.gather(), &mut body) {
        Ok(()) => ([(CONTENT_TYPE, encoder.format_type().to_owned())], body).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("the metrics could not be written: {error}\n")).into_response(),
    }
}
