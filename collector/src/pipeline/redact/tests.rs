//! What is redacted and what is not, kind by kind, and that nothing known survives whatever stands around it.

use proptest::prelude::*;

use super::*;
use model::secret::Secret;

pub(crate) fn redactor(config: &RedactionConfig) -> Redactor {
    let mut problems = Vec::new();
    let config = &RedactionConfig { enabled: true, ..config.clone() };
    let redactor = Redactor::new(config, Hasher::new(&Secret::new("a key of tests, long")), &mut problems);
    assert_eq!(problems, []);
    redactor.unwrap()
}

fn everything() -> RedactionConfig {
    RedactionConfig { mail: Mode::Mask, ..RedactionConfig::default() }
}

/// Secrets of every known format, made at run time so that no scanner takes this file for a leak.
pub(crate) fn secrets() -> Vec<(Kind, String)> {
    let letters = |length: usize| -> String { "aB3dE5gH7jK9mN1pQ2sT4vW6yZ8".chars().cycle().take(length).collect() };
    let capitals = |length: usize| letters(length * 2).chars().filter(|c| !c.is_ascii_lowercase()).take(length).collect::<String>();
    let jwt = format!("eyJ{}.eyJ{}.{}", letters(20), letters(40), letters(43));
    let pem = |kind: &str| format!("-----BEGIN {kind}-----\nMIIE{}\n{}\n-----END {kind}-----", letters(60), letters(64));
    vec![
        (Kind::Mail, "ann.lee+shop@mail.example.co.uk".into()),
        (Kind::Card, "4111 1111 1111 1111".into()),
        (Kind::Card, "5555555555554444".into()),
        (Kind::Aws, format!("AKIA{}", capitals(16))),
        (Kind::Aws, format!("ASIA{}", capitals(16))),
        (Kind::Github, format!("ghp_{}", letters(36))),
        (Kind::Github, format!("github_pat_{}_{}", letters(22), letters(59))),
        (Kind::Slack, format!("xoxb-{}-{}", "123456789012", letters(24))),
        (Kind::Slack, format!("xapp-1-A{}-{}", letters(10), letters(20))),
        (Kind::Stripe, format!("sk_live_{}", letters(24))),
        (Kind::Stripe, format!("rk_test_{}", letters(24))),
        (Kind::Google, format!("AIza{}", letters(35))),
        (Kind::Google, format!("ya29.{}", letters(60))),
        (Kind::ApiKey, format!("glpat-{}", letters(20))),
        (Kind::ApiKey, format!("npm_{}", letters(36))),
        (Kind::ApiKey, format!("SG.{}.{}", letters(22), letters(43))),
        (Kind::ApiKey, format!("sk-ant-api03-{}", letters(40))),
        (Kind::ApiKey, format!("sk-{}", letters(48))),
        (Kind::Jwt, jwt),
        (Kind::PrivateKey, pem("RSA PRIVATE KEY")),
        (Kind::PrivateKey, pem("PRIVATE KEY").replace('\n', "\\n")),
    ]
}

/// Texts with a secret in their context, and what must be gone of them.
pub(crate) fn in_context() -> Vec<(Kind, String, String)> {
    let pass = "c0rrect-h0rse".to_owned();
    let context = |kind, text: &str| (kind, text.replace("{}", &pass), pass.clone());
    vec![
        context(Kind::UrlPassword, "postgres://shop:{}@db.internal:5432/orders?sslmode=require"),
        context(Kind::UrlPassword, "redis://:{}@cache:6379"),
        context(Kind::UrlPassword, "amqp://user:p@ss{}@mq/vhost"),
        context(Kind::Authorization, "Authorization: Bearer {}0123"),
        context(Kind::Authorization, "authorization=bearer {}"),
        context(Kind::Authorization, r#"{"authorization":"Token {}"}"#),
        context(Kind::Authorization, r#"headers: {'Authorization': 'Bearer {}'}"#),
        context(Kind::Authorization, "curl -H 'Authorization: ApiKey {}' https://x"),
        (Kind::Authorization, "got Basic dXNlcjpjMHJyZWN0 from proxy".into(), "dXNlcjpjMHJyZWN0".into()),
        context(Kind::Password, "login failed, password={} user=ann"),
        context(Kind::Password, r#"{"user":"ann","password":"{}","n":1}"#),
        context(Kind::Password, r#"body={\"client_secret\":\"{}\"}"#),
        context(Kind::Password, r#"["{\\\"body\\\":\\\"{\\\\\\\"api_key\\\\\\\": \\\\\\\"{}\\\\\\\"}"]"#),
        context(Kind::Password, "GET /cb?access_token={}&state=1"),
        context(Kind::Password, "DB_PASSWORD='{}' ./run"),
        context(Kind::Password, "aws_secret_access_key = {}/ab+cd"),
        context(Kind::Password, "X-Api-Key: {}"),
        context(Kind::Password, "{:password=>\"{}\"}"),
        context(Kind::Password, "GET /cb?token={}&state=1"),
        context(Kind::Password, "GET /cb%3Faccess_token%3D{}%26state%3D1"),
        context(Kind::Password, r#"{"headers":{"cookie":"sid={}; theme=dark"}}"#),
        context(Kind::Password, r#"{"headers":{"Set-Cookie":["a=b","sid={}"]}}"#),
        context(Kind::Authorization, "q=authorization%3A%20Bearer%20{}0123%0D%0AHost%3A+x"),
        context(Kind::Authorization, "HTTP_AUTHORIZATION=Bearer {}"),
    ]
}

fn redacted(redactor: &Redactor, text: &str) -> String {
    let redacted = redactor.redact(text, &mut Counts::default()).unwrap_or_else(|| text.to_owned());
    assert_eq!(redactor.redact(&redacted, &mut Counts::default()), None, "a second time changes nothing: {text} -> {redacted}");
    redacted
}

#[test]
fn what_is_escaped_again_and_again_is_read_once() {
    let redactor = redactor(&everything());
    let text = format!("authorization%{}3Aabc1 basic AAAAAA%{}2B", "25".repeat(100_000), "25".repeat(100_000));
    assert!(redacted(&redactor, &text).len() <= text.len() + 100);
    for text in ["u=https%3A%2F%2Fmedium.com%2F%40first.last", "%7B%40timestamp.gte%7D", "rum.sessionId=17"] {
        assert_eq!(redacted(&redactor, text), text);
    }
    let list = r#"{"Set-Cookie":["[redacted]","sid=s3cret1"]}"#;
    assert!(!redacted(&redactor, list).contains("s3cret1"));
}

#[test]
fn what_urls_escape_is_redacted_too() {
    let redactor = redactor(&everything());
    for (kind, secret) in secrets() {
        if kind == Kind::PrivateKey {
            continue; // escaped as a whole, it is not as it was
        }
        let secret = if kind == Kind::Mail { secret.replace('+', "%2B").replace('@', "%40") } else { secret };
        for (before, after) in [
            ("%3D", "%26x"),
            ("https://x.org/?u=a%26t%3D", "%26b%3D1"),
            ("%22", "%22"),
            ("%253D", "%2526"),
            ("%2520", "%2520"),
            ("%0A", "%0A"),
        ] {
            let text = format!("{before}{secret}{after}");
            assert_eq!(redacted(&redactor, &text), format!("{before}[redacted:{}]{after}", kind.label()), "{text}");
        }
    }
    for (text, expected) in [
        ("x=%22Bearer%20c0rrect-h0rse%22", "x=%22Bearer%20[redacted:authorization]%22"),
        ("x=Bearer+c0rrect-h0rse&y=1", "x=Bearer+[redacted:authorization]&y=1"),
        ("x=Basic+dXNlcjpjMHJyZQ%3D%3D&y=1", "x=Basic+[redacted:authorization]&y=1"),
        ("authorization%3A+ApiKey+abc&y=1", "authorization%3A+ApiKey+[redacted:authorization]&y=1"),
        ("%22Authorization%22%3A%5B%22Basic%20abc%22%5D", "%22Authorization%22%3A%5B%22Basic%20[redacted:authorization]%22%5D"),
        ("access_token%3Dabcdef123456", "access_token%3D[redacted:password]"),
        ("%3Fa%3D1%26token%3Dab%252Fcd%26x%3D1", "%3Fa%3D1%26token%3D[redacted:password]%26x%3D1"),
        ("access_token%253Dab%252526x%25zz%2526y%253D1", "access_token%253D[redacted:password]%252526x%25zz%2526y%253D1"),
        ("%22password%22%3A%22one%20two%22%2C", "%22password%22%3A%22[redacted:password]%22%2C"),
        ("%7B%5C%22pwd%5C%22%3A%20%5C%22one%5C%22%7D", "%7B%5C%22pwd%5C%22%3A%20%5C%22[redacted:password]%5C%22%7D"),
        ("to=ann%40example.com&cc=bob%2540example.com", "to=[redacted:mail]&cc=[redacted:mail]"),
        ("pan=4111+1111+1111+1111&x", "pan=[redacted:card]&x"),
        ("pan%3D4111%201111%201111%201111%26x", "pan%3D[redacted:card]%26x"),
        ("hooks.slack.com%2Fservices%2FT0AAAAAAA%2FB0AAAAAAA%2Fabcdefgh", "hooks.slack.com%2F[redacted:slack]"),
    ] {
        assert_eq!(redacted(&redactor, text), expected, "{text}");
    }
    // Where mail addresses stay, and the host of an URL with them.
    let redactor = self::redactor(&RedactionConfig::default());
    for (text, expected) in [
        (
            "dsn=pg%3A%2F%2Fshop%3Ac0rrect%21%40db.internal%3A5432%2Fx",
            "dsn=pg%3A%2F%2Fshop%3A[redacted:url_password]%40db.internal%3A5432%2Fx",
        ),
        (
            "dsn=pg%253A%252F%252Fshop%253Ac0rrect%2540db.internal%252Fx",
            "dsn=pg%253A%252F%252Fshop%253A[redacted:url_password]%2540db.internal%252Fx",
        ),
        ("to=ann%40example.com", "to=ann%40example.com"),
    ] {
        assert_eq!(redacted(&redactor, text), expected, "{text}");
    }
}

#[test]
fn a_token_behind_an_underscore_or_a_letter_is_found() {
    let redactor = redactor(&everything());
    for (kind, secret) in secrets() {
        if matches!(kind, Kind::Mail | Kind::PrivateKey) {
            continue;
        }
        for before in ["_", "key_", "%3D_"] {
            let text = format!("{before}{secret} end");
            assert_eq!(redacted(&redactor, &text), format!("{before}[redacted:{}] end", kind.label()), "{text}");
        }
        if kind == Kind::Github {
            assert_eq!(redacted(&redactor, &format!("x{secret}")), "x[redacted:github]");
        }
    }
    assert_eq!(redacted(&redactor, "card_4111111111111111_x"), "card_[redacted:card]_x");
}

#[test]
fn every_known_secret_goes_and_the_text_around_it_stays() {
    let redactor = redactor(&everything());
    for (kind, secret) in secrets() {
        for (before, after) in
            [("", ""), ("key ", " end"), ("\"", "\""), ("(", ")"), ("k=", "; x=1"), ("é ", " é"), ("[", "]"), ("a, ", ", b")]
        {
            let mut counts = Counts::default();
            let text = format!("{before}{secret}{after}");
            let redacted = redactor.redact(&text, &mut counts).unwrap_or_else(|| panic!("{kind:?} stays in {text}"));
            assert_eq!(redacted, format!("{before}[redacted:{}]{after}", kind.label()));
            assert_eq!(redactor.labels(&counts).collect::<Vec<_>>(), [(kind.label(), 1)]);
            assert_eq!(redactor.redact(&redacted, &mut counts), None, "idempotent");
        }
    }
    for (kind, text, secret) in in_context() {
        let redacted = redactor.redact(&text, &mut Counts::default()).unwrap_or_else(|| panic!("{kind:?} stays in {text}"));
        assert!(redacted.contains(&format!("[redacted:{}]", kind.label())) && !redacted.contains(&secret), "{text} -> {redacted}");
        assert_eq!(redactor.redact(&redacted, &mut Counts::default()), None, "{redacted}");
    }
}

/// Text is redacted as it stands, and as often as JSON wrote it into a string of other JSON: quotes, line ends and slashes are told
/// through any number of backslashes.
#[test]
fn what_json_escaped_several_times_is_redacted_too() {
    let redactor = redactor(&everything());
    let all = secrets().into_iter().map(|(kind, secret)| (kind, secret.clone(), secret)).chain(in_context());
    for (kind, text, secret) in all {
        // Line ends within a key of many lines become escapes too: a line of it must not stay.
        let part = secret.split(['\n', '\\']).max_by_key(|part| part.len()).unwrap().to_owned();
        for before in ["", "\n", "said:\r\n\t", "\u{8}", "\u{1b}[31;1m", "é", "\"", "'"] {
            let mut nested = format!("{before}{text}{}", if matches!(before, "\"" | "'") { before } else { " end" });
            for depth in 0..5 {
                let redacted = redactor.redact(&nested, &mut Counts::default());
                let redacted = redacted.unwrap_or_else(|| panic!("{kind:?} stays at depth {depth} in {nested}"));
                assert!(!redacted.contains(&part), "{kind:?} at depth {depth}: {nested} -> {redacted}");
                assert_eq!(redactor.redact(&redacted, &mut Counts::default()), None, "{redacted}");
                let php = serde_json::to_string(&nested).unwrap().replace('/', "\\/");
                let redacted = redactor.redact(&php, &mut Counts::default()).unwrap_or_else(|| panic!("{kind:?} stays in {php}"));
                assert!(!redacted.contains(&part), "{kind:?} with slashes at depth {depth}: {php} -> {redacted}");
                // As a value and as a key.
                nested = serde_json::json!({ "k": nested, nested.clone(): [1] }).to_string();
            }
        }
    }
}

#[test]
fn what_only_looks_like_a_secret_stays() {
    let redactor = redactor(&everything());
    for text in [
        "",
        "GET /api/v1/users/42/orders?page=3&sort=asc 200 12ms",
        "password reset for user 7",
        "password: required",
        "password=****",
        "\"password\": null",
        "token bucket is empty, tokens: 5",
        "input_tokens=512 output_tokens=77",
        "basic authentication is enabled",
        "Bearer authentication required",
        "the bearer of this note",
        "Authorization: Basic",
        "task-1234567890123456789012 and disk-usage-of-the-whole-cluster",
        "lodash@4.17.21 installed",
        "git@host",
        "https://example.com:8080/path?x=a@b",
        "http://[::1]:80/",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "4bf92f3577b34da6a3ce929d0e0e4736",
        "00f067aa0ba902b7",
        "2026-03-01T00:00:00.123456789Z",
        "-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----",
        "eyJ is how tokens begin",
        "AKIA",
        "test_test_test",
        "secret santa",
        "the api is up",
        "SG. is Singapore",
        "user=pwd",
        "1772323200000000000",
        "[redacted:jwt] and [redacted:mail:0123456789ab]",
        "Authorization: Bearer [redacted:authorization]",
        "password=[redacted:password]",
        "https://x.org/a%20b?q=%7B%22a%22%3A1%7D&r=%2Fpath%2Fto",
        "https://x.org/?token_count=5&max_tokens=7",
        "https%3A%2F%2Fexample.com%3A8080%2Fpath%3Fx%3D1",
        "npm/%40scope%2Fpkg%401.2.3",
        "authorization%3A%20Basic",
        "authorization%3A%20required",
        "authorization%3A%20Bearer%20[redacted:authorization]",
        "access_token%3D[redacted:password]%26x",
        "password%3Dnull&x",
        "password%20reset%3A",
        "Bearer%20authentication%20required",
        "basic%20auth%20is%20on, basically",
        "{\"tokens\":5,\"token_count\":\"7\",\"max_tokens\":\"9\",\"cookie\":null,\"token\":5}",
        "{\"next_page_token\":\"abc123\",\"stopToken\":\"</s>\",\"cookie\":\"[redacted:password]\"}",
        "{\"type\":\"token\",\"value\":\"x\"}",
        "token_count: 5",
        "2026-03-01T00%3A00%3A00.123456789Z",
        "550e8400-e29b-41d4-a716-446655440000",
        "4111111111111112 4111+1111+1111+1112 4111%201111%201111%201112",
        "disk_test_throughput_of_all and task_live_migration",
        "%, %2, %25, %40",
    ] {
        assert_eq!(redactor.redact(text, &mut Counts::default()), None, "{text}");
    }
}

#[test]
fn secrets_that_overlap_leave_nothing_behind() {
    let redactor = redactor(&everything());
    let all: Vec<String> = secrets().into_iter().map(|(_, secret)| secret).collect();
    for one in &all {
        for other in &all {
            for text in [
                format!("https://u:{one}@h/{other}"),
                format!("password={one}{other}"),
                format!("Bearer {one}.{other}"),
                format!("{one} {other}"),
            ] {
                // `4111.5555` is a number with a point.
                let Some(redacted) = redactor.redact(&text, &mut Counts::default()) else {
                    assert!(text.contains("1111.5555") || text.contains("1111.4111") || text.contains("4444.5555"), "{text}");
                    continue;
                };
                assert_eq!(redactor.redact(&redacted, &mut Counts::default()), None, "{text} -> {redacted}");
            }
        }
    }
}

#[test]
fn kinds_are_kept_masked_or_hashed() {
    let config = RedactionConfig { mail: Mode::Hash, card: Mode::Keep, ..RedactionConfig::default() };
    let redactor = redactor(&config);
    let redact = |text: &str| redactor.redact(text, &mut Counts::default());
    let (one, again, other) = (redact("from ann@x.org").unwrap(), redact("to ann@x.org").unwrap(), redact("to bob@x.org").unwrap());
    let hash = |text: &str| text.rsplit_once(' ').unwrap().1.to_owned();
    assert!(one.starts_with("from [redacted:mail:") && one.len() == "from [redacted:mail:0123456789ab]".len(), "{one}");
    assert!(hash(&one) == hash(&again) && hash(&one) != hash(&other));
    assert_eq!(redact("4111111111111111"), None);
    assert_eq!(redact(&one), None);
}

/// `[redacted:password:0123456789ab]` reads like `password:0123456789ab`.
#[test]
fn the_hash_in_a_mark_is_no_secret() {
    let hash = Mode::Hash;
    let redactor = redactor(&RedactionConfig { mail: hash, password: hash, authorization: hash, url_password: hash, ..everything() });
    for (kind, text, secret) in in_context() {
        let redacted = redacted(&redactor, &text);
        assert!(
            !redacted.contains(&secret) && !redacted.contains("password:[") && !redacted.contains("authorization:["),
            "{kind:?}: {text} -> {redacted}"
        );
    }
}

#[test]
fn attributes_are_redacted_by_key_too() {
    let config = RedactionConfig { keep_attributes: vec!["billing.*".into()], ..everything() };
    let redactor = redactor(&config);
    let list = |pairs: &[(&'static str, Value<'static>)]| -> Vec<Attribute<'static>> {
        pairs.iter().map(|(key, value)| Attribute { key: Cow::Borrowed(*key), value: value.clone() }).collect()
    };
    let text = |text: &'static str| Value::Text(text.into());
    let mut attributes = list(&[
        ("http.request.header.authorization", text("anything")),
        ("http.request.header.Set-Cookie", text("sid=1")),
        ("db.password", Value::Int(12345678)),
        ("password", text("")),
        ("tokens", Value::Int(5)),
        ("pan", Value::Int(4_111_111_111_111_111)),
        ("pan2", Value::Double(4_111_111_111_111_111.0)),
        ("big", Value::Int(1_772_323_200_000_000_000)),
        ("billing.mail", text("ann@x.org")),
        ("ann@x.org", text("x")),
    ]);
    let mut counts = Counts::default();
    redactor.attributes(&mut attributes, &mut counts);
    let found: Vec<String> = attributes.iter().map(|one| format!("{}={}", one.key, one.value.text())).collect();
    assert_eq!(
        found,
        [
            "http.request.header.authorization=[redacted:password]",
            "http.request.header.Set-Cookie=[redacted:password]",
            "db.password=[redacted:password]",
            "password=",
            "tokens=5",
            "pan=[redacted:card]",
            "pan2=[redacted:card]",
            "big=1772323200000000000",
            "billing.mail=ann@x.org",
            "[redacted:mail]=x",
        ]
    );
    assert_eq!(redactor.labels(&counts).collect::<Vec<_>>(), [("mail", 1), ("card", 2), ("password", 3)]);
    let before = attributes.clone();
    redactor.attributes(&mut attributes, &mut counts);
    assert_eq!(attributes, before);
}

#[test]
fn attributes_are_redacted_by_the_last_words_of_their_keys() {
    let keys = |config: &RedactionConfig, keys: &[&'static str]| -> Vec<String> {
        let list = keys.iter().map(|key| Attribute::text(*key, "x"));
        let mut attributes: Vec<Attribute<'static>> = list.collect();
        redactor(config).attributes(&mut attributes, &mut Counts::default());
        attributes.iter().filter(|one| one.value.text() == "[redacted:password]").map(|one| one.key.to_string()).collect()
    };
    let secret = ["token", "userPassword", "db_password", "apiToken", "cookie", "X-Api-Key", "aws.credentials", "DBPassword"];
    assert_eq!(keys(&everything(), &secret), secret);
    let harmless = [
        "tokens",
        "max_tokens",
        "token_count",
        "gen_ai.usage.input_tokens",
        "gen_ai.token.type",
        "password_changed_at",
        "session.id",
        "chat_session_id",
        "next_page_token",
        "cookie_consent",
        "k8s.secret.name",
    ];
    assert!(keys(&everything(), &harmless).is_empty());
    // Who names others has named all.
    let own = RedactionConfig { attribute_keys: vec!["Customer-Code".into(), "_".into()], ..everything() };
    assert_eq!(keys(&own, &["customer.code", "shopCustomerCode", "token", "password", "barcode"]), ["customer.code", "shopCustomerCode"]);
    let none = RedactionConfig { attribute_keys: Vec::new(), ..everything() };
    assert!(keys(&none, &secret).is_empty());
    let kept = RedactionConfig { password: Mode::Keep, ..everything() };
    assert!(keys(&kept, &secret).is_empty());
    // A number of tokens is none, and is looked through as others are.
    let mut numbers = [5, 4_111_111_111_111_111].map(|number| Attribute { key: "llm.token".into(), value: Value::Int(number) });
    redactor(&everything()).attributes(&mut numbers, &mut Counts::default());
    assert_eq!(numbers.map(|one| one.value.text().into_owned()), ["5", "[redacted:card]"]);
    // Whether there is one is no secret.
    let mut flags = [Attribute { key: "has_password".into(), value: Value::Bool(true) }, Attribute::text("has_token", "false")];
    let before = flags.clone();
    redactor(&everything()).attributes(&mut flags, &mut Counts::default());
    assert_eq!(flags, before);
}

#[test]
fn bytes_are_redacted_as_the_text_they_are() {
    let redactor = redactor(&everything());
    let after = |base64: String| {
        let mut value = Value::Text(Cow::Owned(base64));
        redactor.value(&mut value, &mut Counts::default());
        let once = value.clone();
        redactor.value(&mut value, &mut Counts::default());
        assert_eq!(value, once);
        value.into_text().into_owned()
    };
    for (kind, text, secret) in in_context() {
        let clean = blob::decoded(&after(blob::encoded(&text))).unwrap();
        assert!(clean.contains(&format!("[redacted:{}]", kind.label())) && !clean.contains(&secret), "{text} -> {clean}");
    }
    for text in [blob::encoded("nothing to hide"), "/+8=".to_owned(), "checkout".to_owned(), String::new()] {
        assert_eq!(after(text.clone()), text);
    }
}

#[test]
fn numbers_are_read_where_there_are_rules_of_ones_own() {
    let custom = super::super::config::CustomRedaction { name: "customer".into(), regex: r"\b[0-9]{9}\b".into(), replacement: None };
    let with = redactor(&RedactionConfig { custom: vec![custom], ..everything() });
    let without = redactor(&everything());
    for (value, redacted) in [
        (Value::Int(123_456_789), true),
        (Value::Int(-123_456_789), true),
        (Value::Double(123_456_789.0), true),
        (Value::Text("123456789".into()), true),
        (Value::Int(12_345_678), false),
        (Value::Double(0.5), false),
        (Value::Bool(true), false),
    ] {
        let (mut one, mut counts) = (value.clone(), Counts::default());
        with.value(&mut one, &mut counts);
        assert_eq!(counts.total(), u64::from(redacted), "{value:?}");
        assert_eq!(one.text().contains("[redacted:customer]"), redacted, "{value:?}");
        assert_eq!(one == value, !redacted, "what is not changed stays a number: {value:?}");
        let mut other = value.clone();
        without.value(&mut other, &mut Counts::default());
        assert_eq!(other, value);
    }
}

#[test]
fn custom_patterns_replace_and_are_counted() {
    let custom = |name: &str, regex: &str, replacement: Option<&str>| super::super::config::CustomRedaction {
        name: name.into(),
        regex: regex.into(),
        replacement: replacement.map(str::to_owned),
    };
    let config = RedactionConfig {
        custom: vec![custom("customer", r"C-(\d{2})\d{4}", Some("C-$1****")), custom("iban", r"\bDE\d{20}\b", None)],
        ..RedactionConfig::default()
    };
    let redactor = redactor(&config);
    let mut counts = Counts::default();
    let text = "C-123456 and C-654321 paid from DE89370400440532013000";
    assert_eq!(redactor.redact(text, &mut counts).unwrap(), "C-12**** and C-65**** paid from [redacted:iban]");
    assert_eq!(redactor.labels(&counts).collect::<Vec<_>>(), [("customer", 2), ("iban", 1)]);
    assert_eq!(redactor.redact("nothing here", &mut counts), None);
    let mut problems = Vec::new();
    let wrong = RedactionConfig { custom: vec![custom("a b", "x", None), custom("b", "x*", None), custom("c", "(", None)], ..config };
    Redactor::new(&wrong, Hasher::new(&Secret::default()), &mut problems);
    let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert!(said[0].starts_with("pipeline.redaction.custom[0]: `name` is needed"), "{said:?}");
    assert!(said[1].contains("custom[1]: `regex` matches an empty text") && said[2].contains("no regular expression"), "{said:?}");
}

/// The text that the anchors are: if one of them were missing, a secret would pass unseen.
#[test]
fn every_match_of_every_kind_holds_an_anchor() {
    let redactor = redactor(&everything());
    assert!(redactor.anchors.patterns_len() <= 64, "the fast search takes no more");
    for text in secrets().into_iter().map(|(_, secret)| secret).chain(in_context().into_iter().map(|(_, text, _)| text)) {
        assert!(redactor.suspect(&text), "{text}");
        if let Some(packed) = &redactor.packed {
            assert_eq!(packed.find(&text).is_some(), redactor.anchors.is_match(&text), "both ways to look agree: {text}");
        }
    }
}

fn around() -> impl Strategy<Value = String> {
    prop_oneof!["[ -~]{0,20}", "\\PC{0,10}", Just(" ".to_owned()), Just(String::new()), "[a-z =:\"'@/.-]{0,12}"]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever stands around it at a distance of one sign, no known secret stays, nothing else is broken, and a second time changes nothing.
    #[test]
    fn no_secret_survives(
        which in proptest::collection::vec(0..21usize, 1..4), parts in proptest::collection::vec(around(), 5), sign in "[ ,;\"'()\\[\\]{}<>\n]",
    ) {
        let redactor = redactor_once();
        let all = secrets();
        let mut text = String::new();
        for (at, index) in which.iter().enumerate() {
            text.push_str(&parts[at]);
            text.push_str(&format!("{sign}{}{sign}", all[*index].1));
        }
        text.push_str(&parts[4]);
        let redacted = redactor.redact(&text, &mut Counts::default()).unwrap();
        for index in which {
            prop_assert!(!redacted.contains(&all[index].1), "{} in {} of {}", all[index].1, redacted, text);
        }
        prop_assert_eq!(redactor.redact(&redacted, &mut Counts::default()), None, "{} of {}", redacted, text);
    }

    #[test]
    fn any_text_is_redacted_once(text in "([a-zA-Z0-9@:/.=_ \"'\\\\-]|password|Bearer |://|eyJ|\\PC){0,60}") {
        let redactor = redactor_once();
        if let Some(redacted) = redactor.redact(&text, &mut Counts::default()) {
            prop_assert_ne!(&redacted, &text);
            prop_assert_eq!(redactor.redact(&redacted, &mut Counts::default()), None, "{} of {}", redacted, text);
        }
    }
}

/// Compiled once for all cases: a test build compiles expressions slowly.
fn redactor_once() -> &'static Redactor {
    static ONCE: std::sync::OnceLock<Redactor> = std::sync::OnceLock::new();
    ONCE.get_or_init(|| redactor(&everything()))
}
