//! What extractors refuse (an unknown query parameter, a wrong method) as the API's own errors. In: answers of all routes. Out: the same, but plain texts
//! and empty bodies of client errors below `/api/watchfire/` become one sentence in JSON.

use axum::Json;
use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// The longest text that is kept.
const LONGEST: usize = 16 * 1024;

/// The middleware.
pub async fn speak_json(request: Request, next: Next) -> Response {
    let ours = request.uri().path().starts_with("/api/watchfire/");
    let what = format!("{} {}", request.method(), request.uri().path());
    let response = next.run(request).await;
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    if !ours || !response.status().is_client_error() || kind.is_some_and(|kind| !kind.starts_with("text/plain")) {
        return response;
    }
    let (parts, body) = response.into_parts();
    let text = to_bytes(body, LONGEST).await.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned()).unwrap_or_default();
    let sentence = match (text.strip_prefix("Failed to deserialize query string: "), parts.status) {
        (Some(why), _) => format!("the parameters are wrong: {why}"),
        (None, StatusCode::METHOD_NOT_ALLOWED) => format!("{what}: this path knows other methods, see `Allow`"),
        (None, _) if text.is_empty() => format!("{what} cannot be done: {}", parts.status),
        (None, _) => text,
    };
    let mut answer = (parts.status, Json(json!({"status": "error", "errorType": "bad_data", "error": sentence}))).into_response();
    // What else was said, such as `Allow`, stays.
    for (name, value) in &parts.headers {
        if *name != CONTENT_TYPE && *name != axum::http::header::CONTENT_LENGTH {
            answer.headers_mut().insert(name.clone(), value.clone());
        }
    }
    answer
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::extract::Query;
    use axum::routing::get;
    use serde::Deserialize;
    use tower::ServiceExt;

    use super::*;

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Wanted {
        limit: Option<u32>,
    }

    async fn ask(method: &str, path: &str) -> (u16, String, Option<String>) {
        let list = |Query(wanted): Query<Wanted>| async move { format!("{:?}", wanted.limit) };
        let router = Router::new().route("/api/watchfire/v1/a", get(list)).route("/other", get(list));
        let router = router.layer(axum::middleware::from_fn(speak_json));
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let answer = router.oneshot(request).await.unwrap();
        let allow = answer.headers().get("allow").map(|allow| allow.to_str().unwrap().to_owned());
        let status = answer.status().as_u16();
        (status, String::from_utf8(to_bytes(answer.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap(), allow)
    }

    #[tokio::test]
    async fn what_extractors_refuse_is_one_sentence_in_json() {
        let (status, said, _) = ask("GET", "/api/watchfire/v1/a?limti=3").await;
        assert!(status == 400 && said.contains("\"error\":\"the parameters are wrong: limti: unknown field"), "{said}");
        let (status, said, allow) = ask("DELETE", "/api/watchfire/v1/a").await;
        assert!(status == 405 && said.contains("DELETE /api/watchfire/v1/a") && allow.is_some_and(|allow| allow.contains("GET")), "{said}");
        assert_eq!(ask("GET", "/api/watchfire/v1/a?limit=3").await.1, "Some(3)");
        assert!(ask("GET", "/other?limti=3").await.1.starts_with("Failed to"), "others speak as they do");
    }
}
