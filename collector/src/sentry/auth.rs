//! The key of a request: the DSN's public key is an API key with the permission to ingest. In: a path, headers, a query. Out: the
//! key's text, and whether the path is one that Sentry's SDKs send to. Pure.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, header};

/// The header of Sentry's own.
const X_SENTRY_AUTH: HeaderName = HeaderName::from_static("x-sentry-auth");

/// Whether SDKs send to this path: `/api/<number>/envelope/` or `/api/<number>/store/`, with or without the last slash.
pub fn is_intake(path: &str) -> bool {
    let Some((project, end)) = path.strip_prefix("/api/").and_then(|rest| rest.split_once('/')) else { return false };
    let numeric = !project.is_empty() && project.bytes().all(|byte| byte.is_ascii_digit());
    numeric && matches!(end.strip_suffix('/').unwrap_or(end), "envelope" | "store")
}

/// The key that a request names in `X-Sentry-Auth: Sentry sentry_key=...`, in `Authorization` of the same form, or as
/// `?sentry_key=...`.
pub fn key<'r>(headers: &'r HeaderMap, query: Option<&'r str>) -> Option<Cow<'r, str>> {
    let named =
        [&X_SENTRY_AUTH, &header::AUTHORIZATION].into_iter().filter_map(|name| headers.get(name)?.to_str().ok()).find_map(in_header);
    named.map(Cow::Borrowed).or_else(|| query.and_then(in_query))
}

fn in_header(value: &str) -> Option<&str> {
    let (scheme, pairs) = value.trim_start().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("sentry") {
        return None;
    }
    pairs.split(',').find_map(|pair| pair.trim().strip_prefix("sentry_key=")).map(str::trim).filter(|key| !key.is_empty())
}

fn in_query(query: &str) -> Option<Cow<'_, str>> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix("sentry_key="))?;
    (!value.is_empty()).then(|| decoded(value))
}

/// The key of a DSN, `http://<key>@host/<project>`; some still have `<key>:<secret>`.
pub(super) fn in_dsn(dsn: &str) -> Option<Cow<'_, str>> {
    let (_, rest) = dsn.split_once("://")?;
    let (user, _) = rest.split_once('@')?;
    let key = user.split(':').next().unwrap_or(user);
    (!key.is_empty()).then(|| decoded(key))
}

/// Percent-encoding undone; what is not UTF-8 then stays as it was.
fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let [first, after @ ..] = rest {
        let byte = after.get(..2).filter(|_| *first == b'%').and_then(|digits| hex::decode(digits).ok());
        bytes.push(byte.as_ref().map_or(*first, |byte| byte[0]));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8(bytes).map_or(Cow::Borrowed(text), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_sdks_have_a_number() {
        for path in ["/api/1/envelope/", "/api/42/envelope", "/api/0/store/", "/api/99999999999999999999/store"] {
            assert!(is_intake(path), "{path}");
        }
        for path in
            ["/api/v1/envelope/", "/api/v1/query", "/api//store/", "/api/1/envelope//", "/api/1/minidump/", "/x/api/1/store/", "/api/1"]
        {
            assert!(!is_intake(path), "{path}");
        }
    }

    #[test]
    fn keys_are_read_from_header_and_query() {
        let headers = |name: &'static str, value: &str| HeaderMap::from_iter([(HeaderName::from_static(name), value.parse().unwrap())]);
        let none = HeaderMap::new();
        let auth = headers("x-sentry-auth", "Sentry sentry_version=7, sentry_key=wf_a, sentry_client=x/1");
        assert_eq!(key(&auth, Some("sentry_key=wf_b")).as_deref(), Some("wf_a"));
        assert_eq!(key(&headers("authorization", "sentry sentry_key=wf_c,sentry_version=7"), None).as_deref(), Some("wf_c"));
        assert_eq!(key(&none, Some("sentry_version=7&sentry_key=wf_d")).as_deref(), Some("wf_d"));
        assert_eq!(key(&none, Some("sentry_key=a%2Bb%zz%")).as_deref(), Some("a+b%zz%"));
        for (headers, query) in [
            (none.clone(), None),
            (none, Some("sentry_key=&x=1")),
            (headers("x-sentry-auth", "Bearer x"), None),
            (headers("x-sentry-auth", "Sentry sentry_key="), Some("")),
        ] {
            assert_eq!(key(&headers, query), None);
        }
    }

    #[test]
    fn a_dsn_holds_the_key() {
        assert_eq!(in_dsn("http://wf_a@127.0.0.1:7700/1").as_deref(), Some("wf_a"));
        assert_eq!(in_dsn("https://wf_a:secret@sentry.example/prefix/1").as_deref(), Some("wf_a"));
        for dsn in ["", "http://host/1", "http://@host/1", "wf_a@host/1"] {
            assert_eq!(in_dsn(dsn), None, "{dsn}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,40}") {
            let _ = (in_dsn(&text), in_query(&text), in_header(&text), decoded(&text), is_intake(&text));
        }
    }
}
