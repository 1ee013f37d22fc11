//! Mails as they are sent, and what the answers of a server mean.

use model::ids::{IncidentId, NotificationId};
use model::message::PageAction;
use model::tenant::TenantId;

use super::*;
use crate::channels::catcher::smtp::{Fault, SmtpCatcher};
use crate::delivery::testing::{START, notice};

fn delivery(id: &str, message: Message) -> Delivery {
    Delivery {
        id: NotificationId::derived(START, id),
        tenant: TenantId::default(),
        receiver: "post".into(),
        subject: model::event::Subject::incident(IncidentId::derived(START, "i")),
        queued_at: START,
        message,
    }
}

fn page(action: PageAction, key: &str) -> Message {
    Message::Notice(Box::new(notice(action, key)))
}

fn text(delivery: &Delivery, resend: bool) -> String {
    let from: Mailbox = "Watchfire <w@example.org>".parse().unwrap();
    let to = ["a@example.org".parse().unwrap(), "B <b@example.org>".parse().unwrap()];
    let mail = render(delivery, &Attempt { resend, ..Attempt::default() }, &from, &to).unwrap();
    String::from_utf8(mail.formatted()).unwrap()
}

fn header<'a>(mail: &'a str, name: &str) -> Option<&'a str> {
    mail.split("\r\n\r\n").next()?.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

#[test]
fn a_notice_as_mail() {
    let delivery = delivery("n", page(PageAction::Trigger, "inc_1"));
    let mail = text(&delivery, false);
    assert_eq!(header(&mail, "Subject"), Some("[CRITICAL] #42 checkout fails 7.5% of requests"));
    assert_eq!(header(&mail, "To"), Some("a@example.org, B <b@example.org>"));
    assert_eq!(header(&mail, "Date"), Some("Wed, 25 Feb 2026 06:13:20 +0000"));
    assert_eq!(header(&mail, "Auto-Submitted"), Some("auto-generated"));
    assert_eq!(header(&mail, "X-Watchfire-Resend"), None);
    for line in
        ["since 2026-02-25T06:11:20Z", "https://watchfire.example.org/incidents/42", "You receive this because: critical-page, step 1 of 2"]
    {
        assert!(mail.contains(line), "{line} in {mail}");
    }
}

#[test]
fn mails_about_one_thing_thread_and_a_resend_is_the_same_mail() {
    let (trigger, resolve) = (delivery("1", page(PageAction::Trigger, "inc_1")), delivery("2", page(PageAction::Resolve, "inc_1")));
    let other = delivery("3", page(PageAction::Trigger, "inc_2"));
    let (first, second, third) = (text(&trigger, false), text(&resolve, false), text(&other, false));
    assert_eq!(header(&first, "References"), header(&second, "References"));
    assert_eq!(header(&first, "In-Reply-To"), header(&first, "References"));
    assert_ne!(header(&first, "References"), header(&third, "References"));
    assert_ne!(header(&first, "Message-ID"), header(&second, "Message-ID"));
    let again = text(&trigger, true);
    assert_eq!(header(&again, "Message-ID"), header(&first, "Message-ID"));
    assert_eq!(header(&again, "X-Watchfire-Resend"), Some("true"));
}

#[test]
fn a_document_carries_its_files() {
    let attachments = vec![Attachment {
        name: "review.ics".into(),
        media_type: "text/calendar; method=REQUEST".into(),
        content: "BEGIN:VCALENDAR".into(),
    }];
    let mail = text(&delivery("n", Message::Document { title: "Postmortem".into(), text: "What happened".into(), attachments }), false);
    assert!(mail.contains("Content-Type: text/calendar; method=REQUEST"), "{mail}");
    assert!(mail.contains("filename=\"review.ics\"") && mail.contains("BEGIN:VCALENDAR") && mail.contains("What happened"), "{mail}");
}

#[test]
fn a_title_forges_no_header() {
    let mut forged = notice(PageAction::Trigger, "inc_1");
    forged.title = "x\r\nBcc: evil@example.org".into();
    let mail = text(&delivery("n", Message::Notice(Box::new(forged))), false);
    assert_eq!(header(&mail, "Bcc"), None);
}

#[test]
fn chat_is_no_mail() {
    let from: Mailbox = "w@example.org".parse().unwrap();
    let archive = delivery("n", Message::ChatArchive { incident: IncidentId::derived(START, "i") });
    let error = render(&archive, &Attempt::default(), &from, std::slice::from_ref(&from)).unwrap_err();
    assert_eq!(error, SendError::last("mail cannot carry archiving a chat channel: use a receiver with chat channels"));
}

fn config(port: u16) -> MailConfig {
    let text = format!(
        "{{name: post, type: mail, host: 127.0.0.1, port: {port}, starttls: false, from: w@example.org, to: [a@example.org], timeout: 2s}}"
    );
    match serde_saphyr::from_str(&text).unwrap() {
        super::super::ReceiverConfig::Mail(config) => config,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn answers_of_the_server_pass_or_stay() {
    for (answer, wanted) in [
        ("550 5.1.1 a@example.org unknown", SendError::last("the mail server answered 550")),
        ("451 4.7.1 a@example.org greylisted", SendError::retry("the mail server answered 451")),
    ] {
        let catcher = SmtpCatcher::start().await;
        catcher.fault(Fault::Refuse(answer));
        let mail = Mail::new(&config(catcher.port)).unwrap();
        let error = mail.send(&delivery("n", page(PageAction::Trigger, "inc_1")), &Attempt::default()).await.unwrap_err();
        assert_eq!(error, wanted, "{answer}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_tried_again_without_doubt() {
    let mail = Mail::new(&config(1)).unwrap();
    let error = mail.send(&delivery("n", page(PageAction::Trigger, "inc_1")), &Attempt::default()).await.unwrap_err();
    assert!(matches!(error, SendError::Retry { doubt: false, .. }), "{error:?}");
}

/// Nothing on 465 speaks STARTTLS: whoever waits for it there waits until the timeout, mail after mail.
#[test]
fn on_port_465_the_first_byte_is_encrypted() {
    crate::channels::catcher::crypto();
    assert!(matches!(encryption(&config(465)).unwrap(), Tls::Wrapper(_)));
    assert!(matches!(encryption(&config(587)).unwrap(), Tls::Required(_)));
}

#[tokio::test]
async fn starttls_is_insisted_on() {
    let catcher = SmtpCatcher::start().await;
    let mail = Mail::new(&MailConfig { starttls: true, ..config(catcher.port) }).unwrap();
    let error = mail.send(&delivery("n", page(PageAction::Trigger, "inc_1")), &Attempt::default()).await.unwrap_err();
    assert!(matches!(error, SendError::Retry { doubt: false, .. } | SendError::Final { .. }), "{error:?}");
    assert_eq!(catcher.mails().len(), 0, "nothing goes out in the clear");
}
