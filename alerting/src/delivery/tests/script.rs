//! The script of faults for the two channels that the table of [`super::channels`] has no place for: Slack's Web API, whose 200 says little but
//! which can be asked, and mail, which speaks SMTP.

use super::*;
use crate::channels::catcher::fakes;
use crate::channels::catcher::http::Fault;
use crate::channels::catcher::smtp::{self, SmtpCatcher};

fn shows(world: &World, secret: &str) -> bool {
    let rows: String = world.state.rows().into_iter().map(|row| format!("{:?} {:?}", row.error, row.progress)).collect();
    format!("{:?} {rows}", world.state.kinds()).contains(secret)
}

#[tokio::test]
async fn slack_has_each_message_once_whatever_passes() {
    let faults = [
        Fault::RetryAfter(429, "7"),
        Fault::RetryAfter(429, "whenever"),
        Fault::Answer(429, "{}"),
        Fault::RetryAfter(503, "7"),
        Fault::Answer(500, "oops xoxb-test-token"),
        Fault::Answer(503, ""),
        Fault::Answer(504, ""),
        Fault::Hang,
        Fault::Reset,
        Fault::LostAnswer,
        Fault::SlowBody,
        Fault::Huge,
        Fault::Answer(200, "{\"broken"),
        Fault::Answer(200, ""),
        Fault::Answer(200, r#"{"ok":false,"error":"ratelimited"}"#),
        Fault::Answer(200, r#"{"ok":false,"error":"internal_error"}"#),
    ];
    for fault in faults {
        let mut world = World::new();
        let (catcher, workspace) = fakes::slack(secs(START)).await;
        catcher.fault("chat.postMessage", fault.clone());
        let worker = world.worker(&slack(&catcher.url));
        world.page("chat", PageAction::Trigger, "inc_1").await;
        world.settle(&worker).await;
        assert_eq!(workspace.lock().unwrap().messages.len(), 1, "{fault:?}");
        assert!(matches!(world.sent()[..], [EventKind::NotificationSent { resend: false, .. }]), "{fault:?}: it was asked");
        if let Fault::RetryAfter(_, "7") = fault {
            let EventKind::NotificationRetried { next_at, .. } = &world.state.kinds()[0] else { panic!("{fault:?}") };
            assert!(next_at.since(START) >= Duration::from_secs(7), "{fault:?}");
        }
        assert!(!shows(&world, "xoxb-test-token"), "{fault:?}");
    }
}

#[tokio::test]
async fn what_slack_refuses_for_good_is_a_dead_letter_that_shows_no_secret() {
    let refused = [400, 401, 403, 404, 410].map(|status| Fault::Answer(status, "no such xoxb-test-token"));
    for fault in refused.into_iter().chain([Fault::Answer(200, r#"{"ok":false,"error":"invalid_auth"}"#)]) {
        let mut world = World::new();
        let (catcher, workspace) = fakes::slack(secs(START)).await;
        catcher.fault("chat.postMessage", fault.clone());
        let worker = world.worker(&slack(&catcher.url));
        world.page("chat", PageAction::Trigger, "inc_1").await;
        world.settle(&worker).await;
        assert_eq!((world.rows(WorkState::Dead).len(), workspace.lock().unwrap().messages.len()), (1, 0), "{fault:?}");
        assert!(!shows(&world, "xoxb-test-token"), "{fault:?}");
    }
    let mut world = World::new();
    let worker = world.worker(&slack(&format!("https://{}", catcher::no_tls().await)));
    world.page("chat", PageAction::Trigger, "inc_1").await;
    world.round(&worker).await;
    let waiting = world.rows(WorkState::Pending);
    assert!(waiting[0].error.as_deref().is_some_and(|error| error.contains("cannot connect")), "{waiting:?}");
}

#[tokio::test]
async fn mail_comes_once_or_as_a_marked_copy_whatever_passes() {
    use smtp::Fault::{Garbage, Hang, HangUp, Huge, LostAnswer, Refuse, SlowAnswer};
    // The fault, how many mails come, whether the last one is marked. SMTP's 4xx are what 429 and 5xx are elsewhere; it has no `Retry-After`.
    let script = [
        (Refuse("421 4.7.0 too many messages"), 1, false),
        (Refuse("451 4.3.0 try again later"), 1, false),
        // Nobody says how far it came: it is marked.
        (HangUp, 1, true),
        (Garbage, 1, true),
        (Hang, 1, true),
        (LostAnswer, 2, true),
        (SlowAnswer, 2, true),
        // More than an answer of SMTP can be: nobody knows what it said.
        (Huge, 2, true),
    ];
    for (fault, mails, marked) in script {
        let mut world = World::new();
        let catcher = SmtpCatcher::start().await;
        catcher.fault(fault);
        let worker = world.worker(&mail(catcher.port));
        world.page("post", PageAction::Trigger, "inc_1").await;
        world.settle(&worker).await;
        let seen = catcher.mails();
        assert_eq!((seen.len(), world.sent().len()), (mails, 1), "{fault:?}");
        assert_eq!(seen.last().unwrap().contains("X-Watchfire-Resend: true"), marked, "{fault:?}");
    }
}

#[tokio::test]
async fn what_the_mail_server_refuses_for_good_is_a_dead_letter_and_tls_is_insisted_on() {
    let mut world = World::new();
    let catcher = SmtpCatcher::start().await;
    catcher.fault(smtp::Fault::Refuse("550 5.1.1 no such user a@example.org"));
    let worker = world.worker(&mail(catcher.port));
    world.page("post", PageAction::Trigger, "inc_1").await;
    world.settle(&worker).await;
    let dead = world.rows(WorkState::Dead);
    assert!(dead[0].error.as_deref().is_some_and(|error| error.contains("550") && !error.contains("a@example.org")), "{dead:?}");

    let mut world = World::new();
    let worker = world.worker(&mail(catcher.port).replace("starttls: false", "starttls: true"));
    world.page("post", PageAction::Trigger, "inc_1").await;
    world.round(&worker).await;
    assert_eq!((world.rows(WorkState::Pending).len(), catcher.mails().len()), (1, 0), "nothing goes out in the clear");
}

/// STARTTLS leads to somebody whose certificate nobody vouches for.
#[tokio::test]
async fn a_mail_server_that_nobody_vouches_for_gets_no_mail() {
    let mut world = World::new();
    let (tls, requests) = catcher::untrusted_tls().await;
    let catcher = SmtpCatcher::start().await;
    catcher.fault(smtp::Fault::StartTls(tls));
    let worker = world.worker(&mail(catcher.port).replace("starttls: false", "starttls: true"));
    world.page("post", PageAction::Trigger, "inc_1").await;
    world.round(&worker).await;
    let waiting = world.rows(WorkState::Pending);
    let error = waiting[0].error.clone().unwrap_or_default();
    assert!(error.contains("certificate"), "{error}");
    assert_eq!((requests.load(std::sync::atomic::Ordering::SeqCst), catcher.mails().len()), (0, 0));
}
