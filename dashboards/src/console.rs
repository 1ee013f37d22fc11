//! The console's files, built by `build.rs` into the binary, at `/`. In: requests that no route took. Out: a file, the page for an address inside
//! the console, or 404 in JSON for everything else, so that a wrong API path is never answered by a page. The files hold nothing secret and are
//! served without a key; what the page then asks for needs one as from anybody.

use axum::Json;
use axum::http::header::{
    ACCEPT, ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName,
    IF_NONE_MATCH, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// A file of the console.
struct File {
    path: &'static str,
    /// A weak ETag, the same for every packing.
    tag: &'static str,
    plain: &'static [u8],
    brotli: Option<&'static [u8]>,
    gzip: Option<&'static [u8]>,
}

include!(concat!(env!("OUT_DIR"), "/console_files.rs"));

const PAGE: &str = "/index.html";

/// Scripts only from here and none inline. Styles may stand in the page: the component library writes its variables there.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; \
                      connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Paths of programs. None of them is ever a page.
const PROGRAMS: [&str; 8] = ["/api", "/v1", "/-", "/metrics", "/assets", "/loki", "/federate", "/opentelemetry.proto"];

/// Answers what no route took: the fallback of the HTTP listener.
pub async fn answer(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let path = uri.path();
    if let Some(file) = FILES.iter().find(|file| file.path == path && file.path != PAGE) {
        return if reads(&method) { serve(file, &headers) } else { wrong_method(&method, path) };
    }
    match FILES.iter().find(|file| file.path == PAGE) {
        Some(page) if path == "/" || path == PAGE || (!is_for_programs(path) && wants_page(&headers)) => {
            if reads(&method) {
                serve(page, &headers)
            } else {
                wrong_method(&method, path)
            }
        }
        Some(_) | None => not_found(&method, path),
    }
}

fn reads(method: &Method) -> bool {
    *method == Method::GET || *method == Method::HEAD
}

fn is_for_programs(path: &str) -> bool {
    PROGRAMS.iter().any(|prefix| path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '.'])))
}

/// Browsers name HTML when a person opens an address; programs do not.
fn wants_page(headers: &HeaderMap) -> bool {
    headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).is_some_and(|accept| accept.contains("text/html"))
}

fn error(status: StatusCode, kind: &str, sentence: String) -> Response {
    (status, Json(json!({"status": "error", "errorType": kind, "error": sentence}))).into_response()
}

fn not_found(method: &Method, path: &str) -> Response {
    if FILES.is_empty() && path == "/" {
        let sentence = "this Watchfire was built without its console (feature `console`); the API and `watchfire --help` are there";
        return error(StatusCode::NOT_FOUND, "not_found", sentence.to_owned());
    }
    error(StatusCode::NOT_FOUND, "not_found", format!("there is no route {method} {path}"))
}

fn wrong_method(method: &Method, path: &str) -> Response {
    let mut response = error(StatusCode::METHOD_NOT_ALLOWED, "bad_data", format!("{path} is read with GET, not {method}"));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

/// Whether an encoding is named, and not with `q=0`.
fn takes(headers: &HeaderMap, encoding: &str) -> bool {
    let names = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    names.map(|one| one.split(';').map(str::trim).collect::<Vec<_>>()).any(|parts| {
        let refused = parts.iter().skip(1).any(|part| part.strip_prefix("q=").is_some_and(|q| q.parse::<f32>().is_ok_and(|q| q <= 0.0)));
        parts.first().is_some_and(|name| name.eq_ignore_ascii_case(encoding)) && !refused
    })
}

fn known(headers: &HeaderMap, tag: &str) -> bool {
    let opaque = |text: &str| text.trim().trim_start_matches("W/").to_owned();
    headers
        .get(IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.split(',').any(|one| one.trim() == "*" || opaque(one) == opaque(tag)))
}

fn serve(file: &File, headers: &HeaderMap) -> Response {
    // Vite puts a hash of the content into the names of assets.
    let cache = if file.path.starts_with("/assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
    let fixed: [(HeaderName, &'static str); 9] = [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (CACHE_CONTROL, cache),
        (VARY, "accept-encoding"),
        (ETAG, file.tag),
    ];
    if known(headers, file.tag) {
        return (StatusCode::NOT_MODIFIED, fixed).into_response();
    }
    let kind = [(CONTENT_TYPE, content_type(file.path))];
    match (file.brotli, file.gzip) {
        (Some(packed), _) if takes(headers, "br") => (fixed, kind, [(CONTENT_ENCODING, "br")], packed).into_response(),
        (_, Some(packed)) if takes(headers, "gzip") => (fixed, kind, [(CONTENT_ENCODING, "gzip")], packed).into_response(),
        (_, _) => (fixed, kind, file.plain).into_response(),
    }
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("json" | "map") => "application/json",
        Some("woff2") => "font/woff2",
        Some(_) | None => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests;
