//! What browsers and programs get at addresses that no route took.

use super::*;

async fn ask(method: Method, path: &str, headers: &[(HeaderName, &str)]) -> (StatusCode, HeaderMap, Vec<u8>) {
    let headers: HeaderMap = headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect();
    let response = answer(method, path.parse().unwrap(), headers).await;
    let (parts, body) = response.into_parts();
    (parts.status, parts.headers, axum::body::to_bytes(body, usize::MAX).await.unwrap().to_vec())
}

const PERSON: (HeaderName, &str) = (ACCEPT, "text/html,application/xhtml+xml,*/*;q=0.8");

async fn is_json_404(method: Method, path: &str) {
    let (status, headers, body) = ask(method, path, &[PERSON]).await;
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, body["errorType"].as_str()), (StatusCode::NOT_FOUND, Some("not_found")), "{path}");
    assert_eq!(headers[CONTENT_TYPE], "application/json");
}

#[tokio::test]
async fn a_wrong_path_of_a_program_is_never_a_page() {
    for path in [
        "/api/v1/nothing",
        "/api",
        "/v1/tracez",
        "/-/nothing",
        "/metrics/x",
        "/assets/gone-12345678.js",
        "/opentelemetry.proto.collector.x",
    ] {
        is_json_404(Method::GET, path).await;
        is_json_404(Method::POST, path).await;
    }
}

#[test]
fn encodings_are_taken_unless_refused() {
    let takes = |value: &str, encoding| takes(&[(ACCEPT_ENCODING, HeaderValue::from_str(value).unwrap())].into_iter().collect(), encoding);
    assert!(takes("gzip, deflate, br", "br") && takes("GZIP;q=0.5", "gzip") && takes("br;q=1.0", "br"));
    assert!(!takes("br;q=0, gzip", "br") && !takes("deflate", "gzip") && !takes("brotli", "br"));
}

#[cfg(not(feature = "console"))]
#[tokio::test]
async fn without_the_console_the_start_says_so() {
    let (status, _, body) = ask(Method::GET, "/", &[PERSON]).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(String::from_utf8(body).unwrap().contains("without its console"));
    is_json_404(Method::GET, "/incidents").await;
}

#[cfg(feature = "console")]
mod built {
    use super::*;

    fn page() -> &'static File {
        FILES.iter().find(|file| file.path == PAGE).unwrap()
    }

    #[tokio::test]
    async fn the_page_stands_at_the_start_and_at_every_address_of_a_screen() {
        for path in
            ["/", "/index.html", "/incidents", "/incidents/42", "/services/a.b%2Fc", "/traces/0123?span=ab", "/metrics-explorer?q=up"]
        {
            let (status, headers, body) = ask(Method::GET, path, &[PERSON]).await;
            assert_eq!((status, headers[CONTENT_TYPE].as_bytes()), (StatusCode::OK, &b"text/html; charset=utf-8"[..]), "{path}");
            assert_eq!((body.as_slice(), headers[CACHE_CONTROL].as_bytes()), (page().plain, &b"no-cache"[..]), "{path}");
        }
        let (status, _, _) = ask(Method::GET, "/", &[]).await;
        assert_eq!(status, StatusCode::OK, "whoever asks for the start gets it");
        let (status, headers, _) = ask(Method::GET, "/incidents", &[(ACCEPT, "application/json")]).await;
        assert_eq!(
            (status, headers[CONTENT_TYPE].as_bytes()),
            (StatusCode::NOT_FOUND, &b"application/json"[..]),
            "a program wants no page"
        );
        assert_eq!(ask(Method::POST, "/", &[PERSON]).await.0, StatusCode::METHOD_NOT_ALLOWED);
    }

    #[tokio::test]
    async fn every_file_is_guarded_and_no_script_stands_in_the_page() {
        for file in FILES {
            let (status, headers, _) = ask(Method::GET, file.path, &[]).await;
            assert_eq!(status, StatusCode::OK);
            assert_ne!(headers[CONTENT_TYPE], "application/octet-stream", "{}: name its type in content_type()", file.path);
            for (name, value) in [(X_CONTENT_TYPE_OPTIONS, "nosniff"), (REFERRER_POLICY, "no-referrer"), (CONTENT_SECURITY_POLICY, POLICY)]
            {
                assert_eq!(headers[&name], value, "{}", file.path);
            }
        }
        let scripts = POLICY.split("; ").find(|one| one.starts_with("script-src")).unwrap();
        assert_eq!(scripts, "script-src 'self'");
        let html = std::str::from_utf8(page().plain).unwrap();
        let opened: Vec<&str> = html.split("<script").skip(1).filter_map(|rest| rest.split('>').next()).collect();
        assert!(!opened.is_empty() && opened.iter().all(|tag| tag.contains("src=\"/")), "{opened:?}");
        assert!(!html.contains("http://") && !html.contains("https://") && !html.contains("<style"), "nothing comes from elsewhere");
    }

    #[tokio::test]
    async fn assets_are_kept_for_good_and_come_packed() {
        let script =
            FILES.iter().find(|file| file.path.starts_with("/assets/") && file.path.ends_with(".js") && file.brotli.is_some()).unwrap();
        for (wish, encoding, bytes) in
            [("gzip, br", Some("br"), script.brotli.unwrap()), ("gzip", Some("gzip"), script.gzip.unwrap()), ("", None, script.plain)]
        {
            let (_, headers, body) = ask(Method::GET, script.path, &[(ACCEPT_ENCODING, wish)]).await;
            assert_eq!(headers.get(CONTENT_ENCODING).map(|value| value.to_str().unwrap()), encoding);
            assert_eq!((body.as_slice(), headers[VARY].as_bytes()), (bytes, &b"accept-encoding"[..]));
            assert_eq!(headers[CACHE_CONTROL], "public, max-age=31536000, immutable");
        }
        assert!(script.brotli.unwrap().len() < script.gzip.unwrap().len() && script.gzip.unwrap().len() < script.plain.len());
    }

    #[tokio::test]
    async fn who_has_the_page_is_not_sent_it_again() {
        let (_, headers, _) = ask(Method::GET, "/", &[]).await;
        let tag = headers[ETAG].to_str().unwrap();
        let (status, again, body) = ask(Method::GET, "/incidents", &[PERSON, (IF_NONE_MATCH, tag)]).await;
        assert_eq!((status, body.len(), again[ETAG].to_str().unwrap()), (StatusCode::NOT_MODIFIED, 0, tag));
        assert_eq!(ask(Method::GET, "/", &[(IF_NONE_MATCH, "\"other\"")]).await.0, StatusCode::OK);
    }
}
