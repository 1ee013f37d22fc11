//! Every channel that speaks HTTP to one place, through the same script of faults and the same deaths. A new one is a line in the table. Slack's
//! Web API and mail go through the same script in `script` and through the same deaths in `crash`.

use model::testing::Death;
use serde_json::{Value, json};

use super::crash::{DEATHS, through_death, unmarked};
use super::*;
use crate::channels::catcher::http::{Catcher, Fault, Request};

/// A channel in the table.
struct Way {
    /// Its type, for messages of failures.
    word: &'static str,
    /// Its receiver, called `way`; `URL` is the catcher's.
    receiver: &'static str,
    /// Whether it can be asked whether a message arrived.
    asks: bool,
    /// How a resend shows.
    mark: &'static str,
}

const WAYS: [Way; 10] = [
    Way { word: "pagerduty", receiver: "routing_key: TOPSECRET, url: 'URL'", asks: false, mark: "watchfire_resend" },
    Way { word: "opsgenie", receiver: "api_key: TOPSECRET, url: 'URL'", asks: false, mark: "watchfire_resend" },
    Way { word: "webhook", receiver: "url: 'URL/hook?TOPSECRET'", asks: false, mark: "x-watchfire-resend" },
    Way { word: "slack_webhook", receiver: "url: 'URL/services/TOPSECRET'", asks: false, mark: "Sent again" },
    Way { word: "msteams", receiver: "url: 'URL/workflows/TOPSECRET'", asks: false, mark: "(sent again)" },
    Way { word: "discord", receiver: "url: 'URL/api/webhooks/1/TOPSECRET'", asks: false, mark: "(sent again)" },
    Way { word: "telegram", receiver: "token: TOPSECRET, chat_id: '-100', url: 'URL'", asks: false, mark: "(sent again)" },
    Way { word: "ntfy", receiver: "topic: TOPSECRET, url: 'URL'", asks: true, mark: "(sent again)" },
    Way {
        word: "twilio_sms",
        receiver: "account_sid: AC1, auth_token: TOPSECRET, from: '+15550001', to: ['+15550002'], url: 'URL'",
        asks: true,
        mark: "(sent again)",
    },
    Way {
        word: "twilio_voice",
        receiver: "account_sid: AC1, auth_token: TOPSECRET, from: '+15550001', to: ['+15550002'], url: 'URL'",
        asks: false,
        mark: "repetition",
    },
];

/// The place of every kind of receiver among all of them: a new one does not compile before it has one, and then must stand in a table.
fn place(receiver: &ReceiverConfig) -> usize {
    match receiver {
        ReceiverConfig::Pagerduty(_) => 0,
        ReceiverConfig::Slack(_) => 1,
        ReceiverConfig::SlackWebhook(_) => 2,
        ReceiverConfig::Webhook(_) => 3,
        ReceiverConfig::Mail(_) => 4,
        ReceiverConfig::TwilioSms(_) => 5,
        ReceiverConfig::TwilioVoice(_) => 6,
        ReceiverConfig::MsTeams(_) => 7,
        ReceiverConfig::Discord(_) => 8,
        ReceiverConfig::Telegram(_) => 9,
        ReceiverConfig::Ntfy(_) => 10,
        ReceiverConfig::Opsgenie(_) => 11,
    }
}

#[test]
fn every_kind_of_receiver_goes_through_the_faults_and_the_deaths() {
    let yaml: Vec<String> =
        WAYS.iter().map(|way| way.receivers("http://127.0.0.1:1")).chain([slack("http://127.0.0.1:1"), mail(1)]).collect();
    let mut places: Vec<usize> =
        yaml.iter().flat_map(|yaml| serde_saphyr::from_str::<Vec<ReceiverConfig>>(yaml).unwrap()).map(|one| place(&one)).collect();
    places.sort_unstable();
    assert_eq!(places, (0..12).collect::<Vec<_>>());
}

impl Way {
    fn receivers(&self, url: &str) -> String {
        let keys = self.receiver.replace("URL", url);
        format!("[{{name: way, type: {}, {keys}, timeout: 1s, rate_limit: {{per_second: 10, burst: 50}}}}]", self.word)
    }
}

/// A provider that takes everything, answers in all languages at once, and shows what it has where it is asked.
async fn fake() -> Catcher {
    let mut kept: Vec<(Value, String)> = Vec::new();
    Catcher::start(move |request| {
        if request.method == "GET" {
            let sms: Vec<Value> = kept.iter().map(|(_, text)| json!({"sid": "SM1", "body": text, "status": "sent"})).collect();
            let mut answer = kept.first().map_or(json!({}), |(body, _)| body.clone());
            (answer["messages"], answer["id"]) = (sms.into(), "kept".into());
            return (200, answer);
        }
        kept.push((request.json(), request.form().get("Body").cloned().unwrap_or_default()));
        let body = json!({"ok": true, "result": {"message_id": 7}, "id": "m1", "requestId": "r1", "sid": "SID1", "status": "success"});
        (if request.path.contains("enqueue") { 202 } else { 200 }, body)
    })
    .await
}

/// What was sent, without what was asked.
fn sent(catcher: &Catcher) -> Vec<Request> {
    catcher.requests().into_iter().filter(|request| request.method == "POST").collect()
}

fn is_marked(way: &Way, request: &Request) -> bool {
    let form: String = request.form().into_values().collect();
    request.headers.contains_key(way.mark) || request.body.contains(way.mark) || form.contains(way.mark)
}

fn shows_secret(world: &World) -> bool {
    let rows = world.state.rows().into_iter().map(|row| format!("{:?} {:?}", row.error, row.progress)).collect::<String>();
    format!("{:?} {rows}", world.state.kinds()).contains("TOPSECRET")
}

#[tokio::test]
async fn what_passes_is_tried_again_and_arrives_once() {
    let faults = [
        Fault::RetryAfter(429, "7"),
        Fault::RetryAfter(429, "whenever"),
        Fault::Answer(429, "{}"),
        Fault::RetryAfter(503, "7"),
        Fault::Answer(500, "oops TOPSECRET"),
        Fault::Answer(503, ""),
        Fault::Answer(504, ""),
        Fault::Hang,
        Fault::Reset,
        Fault::LostAnswer,
    ];
    for way in &WAYS {
        for fault in &faults {
            let (mut world, catcher) = (World::new(), fake().await);
            catcher.fault("", fault.clone());
            let worker = world.worker(&way.receivers(&catcher.url));
            world.page("way", PageAction::Trigger, "inc_1").await;
            world.settle(&worker).await;
            let told = format!("{} {fault:?}", way.word);
            assert_eq!(world.sent().len(), 1, "{told}");
            let found = way.asks && matches!(fault, Fault::LostAnswer);
            assert_eq!(sent(&catcher).len(), if found { 1 } else { 2 }, "{told}");
            let EventKind::NotificationRetried { next_at, .. } = &world.state.kinds()[0] else { panic!("{told}") };
            let asked = matches!(fault, Fault::RetryAfter(_, "7"));
            assert!(next_at.since(START) >= Duration::from_secs(if asked { 7 } else { 0 }), "{told}");
            let doubtful = matches!(fault, Fault::Hang | Fault::Reset | Fault::LostAnswer | Fault::Answer(504, _)) && !way.asks;
            assert_eq!(sent(&catcher).last().is_some_and(|request| is_marked(way, request)), doubtful, "{told}");
            assert!(!shows_secret(&world), "{told}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_still_counts_where_the_status_says_enough() {
    for way in &WAYS {
        let no = Fault::Answer(200, r#"{"ok":false,"error":"no"}"#);
        let mut faults = vec![Fault::SlowBody, Fault::Huge, Fault::Answer(200, "{\"broken"), Fault::Answer(200, "")];
        // Only Telegram says no with 200: the others say yes with it, whatever their answer looks like.
        faults.extend((way.word != "telegram").then_some(no));
        for fault in faults {
            let (mut world, catcher) = (World::new(), fake().await);
            catcher.fault("", fault.clone());
            let worker = world.worker(&way.receivers(&catcher.url));
            world.page("way", PageAction::Trigger, "inc_1").await;
            world.settle(&worker).await;
            assert_eq!((sent(&catcher).len(), world.sent().len()), (1, 1), "{} {fault:?}", way.word);
        }
    }
}

#[tokio::test]
async fn a_refusal_is_a_dead_letter_that_shows_no_secret() {
    for way in &WAYS {
        for status in [400, 401, 403, 404, 410] {
            let (mut world, catcher) = (World::new(), fake().await);
            catcher.fault("", Fault::Answer(status, "no such TOPSECRET"));
            let worker = world.worker(&way.receivers(&catcher.url));
            world.page("way", PageAction::Trigger, "inc_1").await;
            world.settle(&worker).await;
            let dead = world.rows(WorkState::Dead);
            assert_eq!((dead.len(), sent(&catcher).len()), (1, 1), "{} {status}", way.word);
            assert!(dead[0].error.as_deref().is_some_and(|error| error.contains(&status.to_string())), "{} {:?}", way.word, dead[0].error);
            assert!(!shows_secret(&world), "{} {status}", way.word);
        }
    }
}

#[tokio::test]
async fn a_broken_tls_is_a_failure_that_passes() {
    for way in &WAYS {
        let mut world = World::new();
        let worker = world.worker(&way.receivers(&format!("https://{}", catcher::no_tls().await)));
        world.page("way", PageAction::Trigger, "inc_1").await;
        world.round(&worker).await;
        let waiting = world.rows(WorkState::Pending);
        assert_eq!(waiting.len(), 1, "{}", way.word);
        let error = waiting[0].error.clone().unwrap_or_default();
        assert!(error.contains("cannot connect"), "{}: {error}", way.word);
        assert!(!shows_secret(&world), "{}", way.word);
    }
}

#[tokio::test]
async fn whoever_shows_a_certificate_that_nobody_vouches_for_gets_nothing() {
    let all: Vec<String> = WAYS.iter().map(|way| way.receivers("URL")).chain([slack("URL").replace("name: chat", "name: way")]).collect();
    for receivers in all {
        let (address, requests) = catcher::untrusted_tls().await;
        let mut world = World::new();
        let worker = world.worker(&receivers.replace("URL", &format!("https://{address}")));
        world.page("way", PageAction::Trigger, "inc_1").await;
        world.round(&worker).await;
        let waiting = world.rows(WorkState::Pending);
        let error = waiting[0].error.clone().unwrap_or_default();
        assert!(error.contains("cannot connect") && error.contains("certificate"), "{receivers}: {error}");
        assert_eq!(requests.load(std::sync::atomic::Ordering::SeqCst), 0, "{receivers}");
        assert!(!shows_secret(&world), "{receivers}");
    }
}

#[tokio::test]
async fn at_every_death_nothing_is_lost_and_what_may_come_twice_is_marked() {
    for way in &WAYS {
        for death in DEATHS {
            let (mut world, catcher) = (World::new(), fake().await);
            let message = Message::Notice(Box::new(notice(PageAction::Trigger, "inc_1")));
            through_death(&mut world, &way.receivers(&catcher.url), message, death).await;
            let requests = sent(&catcher);
            let marks: Vec<bool> = requests.iter().map(|request| is_marked(way, request)).collect();
            let expected: &[bool] = match (unmarked(death), death) {
                (true, _) if way.asks => &[false],
                (true, _) => &[false, true],
                (false, Death::After(1)) if !way.asks => &[true],
                (false, _) => &[false],
            };
            assert_eq!(marks, expected, "{} {death:?}", way.word);
        }
    }
}

#[tokio::test]
async fn every_action_has_its_way() {
    for way in &WAYS {
        let (mut world, catcher) = (World::new(), fake().await);
        let worker = world.worker(&way.receivers(&catcher.url));
        for action in [PageAction::Trigger, PageAction::Acknowledge, PageAction::Resolve] {
            world.page("way", action, "inc_1").await;
            world.advance(1);
        }
        world.settle(&worker).await;
        let silent = match way.word {
            "webhook" | "twilio_sms" => 1,
            "twilio_voice" => 2,
            _ => 0,
        };
        assert_eq!((sent(&catcher).len(), world.rows(WorkState::Done).len()), (3 - silent, 3), "{}", way.word);
    }
}

#[tokio::test]
async fn opsgenie_is_told_by_the_alias_who_has_it_and_that_it_is_over() {
    let way = WAYS.iter().find(|way| way.word == "opsgenie").unwrap();
    let (mut world, catcher) = (World::new(), fake().await);
    let worker = world.worker(&way.receivers(&catcher.url));
    for action in [PageAction::Trigger, PageAction::Acknowledge, PageAction::Resolve] {
        world.page("way", action, "host/a b").await;
        world.advance(1);
    }
    world.settle(&worker).await;
    let sent = sent(&catcher);
    assert_eq!(sent[0].json()["alias"], "host/a b");
    let paths: Vec<&str> = sent.iter().map(|request| request.path.as_str()).collect();
    assert_eq!(paths, ["/v2/alerts", "/v2/alerts/host%2Fa%20b/acknowledge", "/v2/alerts/host%2Fa%20b/close"]);
    for act in &sent[1..] {
        assert_eq!((act.query["identifierType"].as_str(), act.headers["authorization"].as_str()), ("alias", "GenieKey TOPSECRET"));
        assert!(act.json()["note"].is_string(), "{act:?}");
    }
}

#[tokio::test]
async fn telegram_says_no_with_200_and_asks_for_time_in_its_body() {
    let way = WAYS.iter().find(|way| way.word == "telegram").unwrap();
    let (mut world, catcher) = (World::new(), fake().await);
    catcher.fault("", Fault::Answer(200, r#"{"ok":false,"error_code":400,"description":"Bad Request: chat not found"}"#));
    let worker = world.worker(&way.receivers(&catcher.url));
    world.page("way", PageAction::Trigger, "inc_1").await;
    world.settle(&worker).await;
    let dead = world.rows(WorkState::Dead);
    assert_eq!(dead[0].error.as_deref(), Some("Telegram refused it: Bad Request: chat not found"));
    catcher.fault("", Fault::Answer(429, r#"{"ok":false,"error_code":429,"parameters":{"retry_after":31}}"#));
    world.page("way", PageAction::Trigger, "inc_2").await;
    world.round(&worker).await;
    let waiting = world.rows(WorkState::Pending);
    assert!(waiting[0].due_at.since(START) >= Duration::from_secs(31), "{waiting:?}");
}

#[tokio::test]
async fn bodies_are_the_providers() {
    let catcher_bodies = async |word: &str| {
        let way = WAYS.iter().find(|way| way.word == word).unwrap();
        let (mut world, catcher) = (World::new(), fake().await);
        let worker = world.worker(&way.receivers(&catcher.url));
        world.page("way", PageAction::Trigger, "inc_1").await;
        world.settle(&worker).await;
        sent(&catcher)[0].clone()
    };
    let opsgenie = catcher_bodies("opsgenie").await;
    assert_eq!((opsgenie.path.as_str(), opsgenie.headers["authorization"].as_str()), ("/v2/alerts", "GenieKey TOPSECRET"));
    assert_eq!((&opsgenie.json()["alias"], &opsgenie.json()["priority"]), (&json!("inc_1"), &json!("P1")));
    let discord = catcher_bodies("discord").await;
    assert_eq!((discord.query["wait"].as_str(), &discord.json()["allowed_mentions"]), ("true", &json!({"parse": []})));
    assert_eq!(discord.json()["embeds"][0]["title"], "[CRITICAL] #42 checkout fails 7.5% of requests");
    let telegram = catcher_bodies("telegram").await;
    assert_eq!((telegram.path.as_str(), &telegram.json()["chat_id"]), ("/botTOPSECRET/sendMessage", &json!("-100")));
    let ntfy = catcher_bodies("ntfy").await.json();
    assert_eq!(
        (&ntfy["topic"], &ntfy["priority"], &ntfy["click"]),
        (&json!("TOPSECRET"), &json!(5), &json!("https://watchfire.example.org/incidents/42"))
    );
    let teams = catcher_bodies("msteams").await.json();
    assert_eq!(teams["attachments"][0]["contentType"], "application/vnd.microsoft.card.adaptive");
    assert_eq!(teams["attachments"][0]["content"]["type"], "AdaptiveCard");
    let voice = catcher_bodies("twilio_voice").await;
    assert_eq!(voice.path, "/2010-04-01/Accounts/AC1/Calls.json");
    let form = voice.form();
    assert!(form["Twiml"].contains("Critical. Incident 42. checkout fails 7.5% of requests") && form["To"] == "+15550002", "{form:?}");
    assert!(!form["Twiml"].contains("Gather"), "without a way back there is no keypad");
}

/// What a provider refuses is a dead letter: whatever an alert says must fit.
#[tokio::test]
async fn what_an_alert_says_fits_into_the_providers_limits() {
    let mut nasty = notice(PageAction::Trigger, "inc_1");
    nasty.title = format!("\u{FFFF}{}", "\"&".repeat(3_000));
    for n in 0..60 {
        nasty.alerts[0].labels = nasty.alerts[0].labels.clone().with(&format!("label_{n}"), &"v".repeat(900));
    }
    nasty.alerts[0].annotations.insert("summary".into(), "[click](https://evil.example.org) *now*".into());
    let body = async |word: &str| {
        let way = WAYS.iter().find(|way| way.word == word).unwrap();
        let (mut world, catcher) = (World::new(), fake().await);
        let worker = world.worker(&way.receivers(&catcher.url));
        world.send("way", Message::Notice(Box::new(nasty.clone())), Lane::Page).await;
        world.settle(&worker).await;
        sent(&catcher)[0].clone()
    };
    let details = body("opsgenie").await.json()["details"].clone();
    let size: usize = details.as_object().unwrap().iter().map(|(name, value)| name.len() + value.as_str().unwrap().len()).sum();
    assert!(size <= 8_000 && size > 7_000, "Opsgenie takes 8,000 characters of details: {size}");
    assert!(details["watchfire_notification"].is_string() && details["alertname"] == "CheckoutErrorRate", "{details}");
    let twiml = body("twilio_voice").await.form()["Twiml"].clone();
    assert!(
        twiml.chars().count() <= 4_000 && twiml.contains("Critical. Incident 42."),
        "Twilio takes 4,000 characters of TwiML: {}",
        twiml.len()
    );
    assert!(!twiml.contains('\u{FFFF}'), "no XML may hold it");
    let discord = body("discord").await.json();
    let said = discord["embeds"][0]["description"].as_str().unwrap().to_owned();
    assert!(said.starts_with(r"\[click\](https://evil.example.org) \*now\*"), "a label makes no link: {said}");
}
