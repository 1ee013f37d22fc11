//! Strings that mean something to somebody else are stored as they were sent.

use super::*;

/// Strings that mean something to somebody else.
const HOSTILE: [&str; 12] = [
    "'; DROP TABLE logs; --",
    "\") OR 1=1 UNION SELECT * FROM spans --",
    "a\u{0}b",
    "\u{1b}[2J\u{1b}]0;title\u{7}",
    "\u{202e}txt.exe",
    "\u{feff}\u{200b}\u{d7ff}\u{e000}\u{10ffff}",
    "<script>alert(1)</script>",
    "${jndi:ldap://x/y} {{7*7}} %s%n %00 ../../etc/passwd",
    "tab\tand \\backslash \"quote\" 'single' `back`",
    "\u{1f469}\u{200d}\u{1f4bb} e\u{301}",
    "{\"json\":[1,null]}",
    "  ends with blanks  ",
];

#[tokio::test(flavor = "multi_thread")]
async fn hostile_strings_are_stored_as_they_are() {
    let world = World::start(None).await;
    let mut fluent = TcpStream::connect(world.fluent).await.unwrap();
    let mut syslog = TcpStream::connect(world.syslog).await.unwrap();
    for (number, string) in HOSTILE.iter().enumerate() {
        let key = Some(world.key.as_str());
        let service = |receiver: &str| format!("{receiver}.{number}");
        for (path, headers, body, status) in [
            (LOKI, [JSON], loki_json(&service("json"), now(), string), 204),
            (LOKI, [PROTOBUF], loki_protobuf(&service("protobuf"), now(), string), 204),
            (LINES, [JSON], json_line(&service("lines"), now(), string), 200),
            (ZIPKIN, [JSON], zipkin_span(&service("zipkin"), now(), string), 202),
        ] {
            let (answered, said) = world.post(path, key, &headers, body).await.unwrap();
            assert_eq!(answered, status, "{string:?} at {path}: {said}");
        }
        let message = format!("<14>1 - h {} - - - {string}", service("syslog"));
        syslog.write_all(format!("{} {message}", message.len()).as_bytes()).await.unwrap();
        let seconds = u32::try_from(now() / 1_000_000_000).unwrap();
        fluent.write_all(&fluent_message(&service("fluent"), seconds, string, None)).await.unwrap();
    }
    // StatsD's lines end at a line's end and are divided by bars, its tags by commas: what has none of these stands in a tag.
    let tagged: Vec<&str> = HOSTILE.into_iter().filter(|text| !text.contains(['|', ',']) && !text.chars().any(char::is_control)).collect();
    assert!(tagged.len() >= 6);
    let mut statsd = TcpStream::connect(world.statsd).await.unwrap();
    for string in &tagged {
        statsd.write_all(format!("hostile.statsd:1|c|#text:{string},end:1\n").as_bytes()).await.unwrap();
    }
    world.until("SELECT toUInt64(sum(value)) FROM points WHERE metric = 'hostile_statsd_total'", tagged.len() as u64).await;
    // Points and series are two tables, and either may be written first.
    world.until("SELECT uniqExact(labels['text']) FROM series WHERE metric = 'hostile_statsd_total'", tagged.len() as u64).await;
    let mut found: Vec<String> = Vec::new();
    for row in world.rows("SELECT DISTINCT labels['text'] FROM series WHERE metric = 'hostile_statsd_total'").await {
        found.push(row[0].as_str().unwrap().to_owned());
    }
    found.sort();
    let mut sent = tagged.clone();
    sent.sort_unstable();
    assert_eq!(found, sent);

    let logs = HOSTILE.len() as u64 * 5;
    world.until("SELECT count() FROM logs", logs).await;
    world.until("SELECT count() FROM spans WHERE startsWith(service, 'zipkin.')", HOSTILE.len() as u64).await;
    let found =
        world.rows("SELECT service, body FROM logs UNION ALL SELECT service, name FROM spans WHERE startsWith(service, 'zipkin.')").await;
    for row in &found {
        let (receiver, number) = row[0].as_str().unwrap().split_once('.').unwrap();
        let sent = HOSTILE[number.parse::<usize>().unwrap()];
        // Syslog leaves out the mark of UTF-8 that RFC 5424 puts in front of a message.
        let want = if receiver == "syslog" { sent.strip_prefix('\u{feff}').unwrap_or(sent) } else { sent };
        assert_eq!(row[1].as_str().unwrap(), want, "{receiver}: {sent:?}");
    }
    assert_eq!(found.len(), HOSTILE.len() * 6);
    // Values that are too long are cut where the configuration says so, and told.
    let long = "é".repeat(200_000);
    let (status, said) = world.post(LINES, Some(&world.key), &[], json_line("long", now(), &long)).await.unwrap();
    assert_eq!(status, 200, "{said}");
    world
        .until(
            "SELECT count() FROM logs WHERE service = 'long' AND length(body) <= 65536 AND endsWith(body, '...[cut from 400000 bytes]')",
            1,
        )
        .await;
    assert!(world.counter((CUT, &["signal=\"logs\"", "part=\"text\""])).await >= 1.0);
}
