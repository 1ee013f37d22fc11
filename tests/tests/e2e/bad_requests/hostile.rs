//! Strings that mean something to somebody else are stored as they were sent; those that are too long are cut or rejected, and counted.

use super::*;

const HOSTILE: [&str; 12] = [
    "'; DROP TABLE spans; --",
    "\") OR 1=1 UNION SELECT * FROM logs --",
    "a\u{0}b",
    "\u{1b}[2J\u{1b}]0;title\u{7}",
    "\u{202e}txt.exe",
    "\u{feff}\u{200b}\u{d7ff}\u{e000}\u{10ffff}",
    "<script>alert(1)</script>",
    "${jndi:ldap://x/y} {{7*7}} %s%n %00 ../../etc/passwd",
    "tab\tand \\backslash \"quote\" 'single' `back`",
    "\u{1f469}\u{200d}\u{1f4bb} e\u{301}",
    "{\"json\":[1,null]}",
    "two\nlines\r\n",
];

#[tokio::test(flavor = "multi_thread")]
async fn hostile_strings_are_stored_as_they_are_on_every_way() {
    let world = World::start().await;
    for way in WAYS {
        for (at, string) in HOSTILE.iter().enumerate() {
            let body = (way.body)(&format!("hostile.{}.{at}", way.name), &[(now(), string)]);
            let (status, said) = world.send(way, Some(&world.key), Request::of(way, body)).await.unwrap();
            assert_eq!(status, Verdict::Fine.code(way).0, "{string:?} at {}: {said}", way.name);
        }
    }
    for way in WAYS {
        for (at, string) in HOSTILE.iter().enumerate() {
            let service = format!("hostile.{}.{at}", way.name);
            world.stored(way, &service, 1).await;
            let sql = format!("{} FORMAT JSONEachRow", (way.texts)(&service));
            let url = format!("http://{}/api/watchfire/v1/sql?format=JSONEachRow", world.server.http);
            let asked = world.http.post(url).bearer_auth(&world.key).body((way.texts)(&service));
            let text = asked.send().await.unwrap().text().await.unwrap();
            let row: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{sql}: {text}"));
            assert_eq!(row["text"], *string, "{}", way.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn halves_of_surrogate_pairs_are_read_on_every_way_of_json() {
    let world = World::start().await;
    let is_json = |body: &[u8]| matches!(body.first(), Some(b'{' | b'[')) && std::str::from_utf8(body).is_ok();
    let mut sent = Vec::new();
    for way in WAYS {
        let service = format!("halves.{}", way.name);
        let body = (way.body)(&service, &[(now(), "cut HALVES off")]);
        if !is_json(&body) {
            continue;
        }
        let body = String::from_utf8(body).unwrap().replace("HALVES", r"\ud83d");
        let (status, said) = world.send(way, Some(&world.key), Request::of(way, body.into_bytes())).await.unwrap();
        assert_eq!(status, Verdict::Fine.code(way).0, "{}: {said}", way.name);
        sent.push((way, service));
    }
    assert_eq!(sent.len(), 5, "OTLP's three and Sentry's two");
    for (way, service) in sent {
        world.stored(way, &service, 1).await;
        let url = format!("http://{}/api/watchfire/v1/sql?format=JSONEachRow", world.server.http);
        let asked = world.http.post(url).bearer_auth(&world.key).body((way.texts)(&service));
        let text = asked.send().await.unwrap().text().await.unwrap();
        let row: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{}: {text}", way.name));
        assert_eq!(row["text"], "cut \u{fffd} off", "{}", way.name);
    }
}

/// What becomes of a text of 800,000 bytes.
enum Long {
    /// Cut to at most so many bytes, and counted as this part.
    Cut(usize, &'static str),
    /// Rejected, for this reason.
    Rejected(&'static str),
}

#[tokio::test(flavor = "multi_thread")]
async fn long_strings_are_cut_or_rejected_on_every_way() {
    let world = World::start().await;
    let long = "é".repeat(400_000);
    for way in WAYS {
        let becomes = match way.signal {
            "traces" => Long::Cut(1 << 10, "name"),
            "metrics" => Long::Rejected("label_too_long"),
            _ => Long::Cut(64 << 10, "text"),
        };
        let service = format!("long.{}", way.name);
        let counter = match becomes {
            Long::Cut(_, part) => (CUT, vec![format!("part=\"{part}\"")]),
            Long::Rejected(reason) => (REJECTED, vec![format!("reason=\"{reason}\"")]),
        };
        let before = world.counter(&counter).await;
        let body = (way.body)(&service, &[(now(), &long), (now(), "short")]);
        // Two events do not fit into one body of the older endpoint.
        let body = if way.name == "sentry.store" { (way.body)(&service, &[(now(), &long)]) } else { body };
        let (status, said) = world.send(way, Some(&world.key), Request::of(way, body)).await.unwrap();
        let verdict = if way.clock == Clockwork::Refused { Verdict::Malformed } else { Verdict::Fine };
        assert_eq!(status, verdict.code(way).0, "{}: {said}", way.name);
        assert_eq!(world.counter(&counter).await - before, 1.0, "{}", way.name);
        let short = u64::from(way.name != "sentry.store");
        match becomes {
            Long::Rejected(_) => world.stored(way, &service, short).await,
            Long::Cut(most, _) => {
                world.stored(way, &service, 1 + short).await;
                let sql = format!(
                    "SELECT count() FROM ({}) WHERE length(text) <= {most} AND endsWith(text, '...[cut from 800000 bytes]')",
                    (way.texts)(&service)
                );
                assert_eq!(world.server.count(&sql).await, 1, "{sql}");
            }
        }
    }
}
