//! Receivers as people write them: defaults, what is refused, and that no secret shows.

use super::*;

const ALL: &str = r#"
- {name: pd, type: pagerduty, routing_key: R0UT1NG}
- {name: chat, type: slack, token: xoxb-1, channel: C012345, invite: [U1, U2]}
- {name: hook, type: slack_webhook, url: "https://hooks.slack.com/services/T0/B0/SECRETPART"}
- {name: am, type: webhook, url: "https://example.org/hook?token=SECRETPART", headers: {X-Key: SECRETPART}, bearer_token: SECRETPART}
- {name: post, type: mail, host: smtp.example.org, username: u, password: SECRETPART, from: "Watchfire <w@example.org>", to: [a@example.org]}
- {name: sms, type: twilio_sms, account_sid: AC1, auth_token: SECRETPART, from: "+15550001111", to: ["+15550002222"]}
"#;

fn read(text: &str) -> Vec<ReceiverConfig> {
    serde_saphyr::from_str(text).unwrap()
}

#[test]
fn every_type_reads_with_its_defaults() {
    let receivers = read(ALL);
    assert_eq!(check_receivers(&receivers), Vec::<String>::new());
    let ReceiverConfig::Pagerduty(pagerduty) = &receivers[0] else { panic!("{:?}", receivers[0]) };
    assert_eq!(pagerduty.url, "https://events.pagerduty.com");
    assert_eq!((pagerduty.timeout, pagerduty.rate_limit), (Span::secs(10), RateLimit::new(2.0, 60)));
    let ReceiverConfig::Mail(mail) = &receivers[4] else { panic!("{:?}", receivers[4]) };
    assert_eq!((mail.port, mail.starttls), (587, true));
}

#[test]
fn no_secret_shows_in_debug_or_json() {
    let receivers = read(ALL);
    for shown in [format!("{receivers:?}"), serde_json::to_string(&receivers).unwrap()] {
        for secret in ["SECRETPART", "R0UT1NG", "xoxb-1"] {
            assert!(!shown.contains(secret), "{secret} in {shown}");
        }
    }
}

#[test]
fn unknown_keys_and_types_are_refused() {
    for (text, word) in [
        ("[{name: a, type: pagerduty, routing_key: x, token: x}]", "has the key `token`, which its type does not know"),
        ("[{name: a, type: pagerduty, routing_key: x, colour: red}]", "colour"),
        ("[{name: a, type: pigeon}]", "pigeon"),
        ("[{name: a, type: slack, token: x}]", "needs the key `channel`"),
        ("[{name: a, type: pagerduty, routing_key: x, rate_limit: {per_second: 1, burst: 1, bust: 2}}]", "bust"),
    ] {
        let error = serde_saphyr::from_str::<Vec<ReceiverConfig>>(text).unwrap_err().to_string();
        assert!(error.contains(word), "{text}: {error}");
    }
}

#[test]
fn what_cannot_work_is_named_without_its_secret() {
    let cases = [
        ("{name: a, type: pagerduty, routing_key: '', url: 'ftp://x'}", vec!["routing_key is empty", "url must begin with https"]),
        ("{name: a, type: slack_webhook, url: 'http://hooks.example.org/SECRETPART'}", vec!["would send a secret unencrypted"]),
        ("{name: a, type: webhook, url: 'SECRETPART'}", vec!["url is not a URL"]),
        ("{name: a, type: webhook, url: 'http://plain.example.org/'}", vec![]),
        ("{name: a, type: webhook, url: 'https://x.org/', headers: {'a b': x}}", vec!["headers.a b is not a valid HTTP header"]),
        ("{name: a, type: twilio_sms, account_sid: AC1, auth_token: x, to: ['0123']}", vec!["needs either from", "E.164"]),
        ("{name: a, type: mail, host: smtp.example.org, starttls: false, from: a@b.org, to: [c@d.org]}", vec!["starttls"]),
        ("{name: a, type: mail, host: localhost, starttls: false, from: a@b.org, to: [c@d.org]}", vec![]),
        ("{name: a, type: mail, host: localhost, from: 'not an address', to: []}", vec!["from", "to is empty"]),
        (
            "{name: '', type: slack_webhook, url: 'https://x.org', timeout: 0s, rate_limit: {per_second: 0, burst: 1}}",
            vec!["name is empty", "timeout", "rate_limit"],
        ),
    ];
    for (text, wanted) in cases {
        let receiver: ReceiverConfig = serde_saphyr::from_str(text).unwrap();
        let found = receiver.problems();
        assert_eq!(found.len(), wanted.len(), "{text}: {found:?}");
        for (problem, part) in found.iter().zip(wanted) {
            assert!(problem.contains(part), "{problem} should say {part}");
            assert!(!problem.contains("SECRETPART"), "{problem}");
        }
    }
}

#[test]
fn names_are_unique() {
    let twice = read("[{name: a, type: pagerduty, routing_key: x}, {name: a, type: pagerduty, routing_key: y}]");
    assert_eq!(check_receivers(&twice), ["receivers[1]: the name `a` exists twice: rename one of them"]);
}

#[test]
fn a_token_of_digits_is_a_token() {
    for token in ["12345678", "1e5", "true", "y", "null0", "0x10"] {
        let receivers = read(&format!("[{{name: a, type: pagerduty, routing_key: {token}}}]"));
        let ReceiverConfig::Pagerduty(pagerduty) = &receivers[0] else { panic!("{receivers:?}") };
        assert_eq!(pagerduty.routing_key.reveal(), token);
    }
    let error =
        serde_saphyr::from_str::<Vec<ReceiverConfig>>("[{name: a, type: pagerduty, routing_key: x, port: 70000SECRET}]").unwrap_err();
    assert!(error.to_string().contains("line 1"), "{error}");
}
