//! What browsers and slow lines need of the Prometheus API: answers to readers of another origin (CORS) and gzip.
//!
//! Any origin may read, as with Prometheus's default: the answers depend on no cookie. Where Watchfire has no key, a page of another
//! origin is refused before it comes here.

use std::io::Write;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::header::{
    ACCEPT_ENCODING, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, CONTENT_ENCODING, CONTENT_LENGTH, ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;

/// Smaller answers are sent as they are.
const WORTH_IT: usize = 1_024;

/// Adds the CORS headers for a request with an `Origin`, answers `OPTIONS`, and packs what is worth it.
pub async fn serve(request: Request, next: Next) -> Response {
    let foreign = request.headers().contains_key(ORIGIN);
    let zipped = takes_gzip(request.headers());
    let mut response = if request.method() == Method::OPTIONS { StatusCode::NO_CONTENT.into_response() } else { next.run(request).await };
    if zipped {
        response = pack(response).await;
    }
    let headers = response.headers_mut();
    headers.append(VARY, HeaderValue::from_static("Origin, Accept-Encoding"));
    if foreign {
        for (name, value) in [
            (ACCESS_CONTROL_ALLOW_HEADERS, "Accept, Authorization, Content-Type, Origin"),
            (ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"),
            (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
            (ACCESS_CONTROL_EXPOSE_HEADERS, "Date"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
    response
}

/// [`serve`] for the routes of Prometheus's API that live in other packages (rules, alerts, targets); what else their routers have is
/// passed on as it is.
pub async fn serve_prometheus(request: Request, next: Next) -> Response {
    if request.uri().path().starts_with("/api/v1/") { serve(request, next).await } else { next.run(request).await }
}

/// Whether `Accept-Encoding` names gzip, or anything, with another weight than 0.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let all = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|text| text.split(',')).any(|one| {
        let (name, weight) = one.split_once(';').unwrap_or((one, ""));
        let refused = weight.trim().strip_prefix("q=").and_then(|q| q.trim().parse::<f32>().ok()) == Some(0.0);
        matches!(name.trim(), "gzip" | "x-gzip" | "*") && !refused
    })
}

async fn pack(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    if parts.headers.contains_key(CONTENT_ENCODING) {
        return Response::from_parts(parts, body);
    }
    // The bodies here are whole in memory already.
    let plain = match to_bytes(body, usize::MAX).await {
        Ok(plain) => plain,
        Err(error) => return (StatusCode::INTERNAL_SERVER_ERROR, format!("the answer could not be read: {error}\n")).into_response(),
    };
    if plain.len() < WORTH_IT {
        return Response::from_parts(parts, Body::from(plain));
    }
    let input = plain.clone();
    let packed = tokio::task::spawn_blocking(move || {
        let mut encoder = GzEncoder::new(Vec::with_capacity(input.len() / 8), Compression::fast());
        encoder.write_all(&input).and_then(|()| encoder.finish())
    })
    .await;
    match packed {
        Ok(Ok(packed)) => {
            parts.headers.remove(CONTENT_LENGTH);
            parts.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            Response::from_parts(parts, Body::from(packed))
        }
        Ok(Err(_)) | Err(_) => Response::from_parts(parts, Body::from(plain)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_of_zero_refuses_gzip() {
        let takes = |text: &'static str| takes_gzip(&HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(text))]));
        assert!(takes("deflate, gzip;q=1.0") && takes("*") && takes("gzip"));
        assert!(!takes("gzip;q=0") && !takes("deflate") && !takes_gzip(&HeaderMap::new()));
    }
}
