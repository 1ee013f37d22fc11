//! Mail over SMTP. In: notices and documents (with their files). Out: one message to all recipients.
//!
//! A mail cannot be taken back or asked for: its Message-ID comes from the notification's id, so that a resend is the same mail to any
//! client; messages about the same thing thread by their References.

use std::error::Error as _;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Attachment as Part, Mailbox, MultiPart, SinglePart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message as Mime, Tokio1Executor};
use model::message::{Attachment, Delivery, Message, Notice};
use model::time::Timestamp;
use sha2::{Digest, Sha256};

use super::config::{MailConfig, is_local};
use super::http::{Scrubber, chain};
use super::text::{alert_line, cut, headline, one_line};
use super::{Attempt, Channel, Reconciled, SendError, Sent, cannot_carry, is_acknowledgement};

const SUBJECT: usize = 200;
/// The port on which a connection is encrypted from its first byte: nothing there speaks STARTTLS.
const SMTPS: u16 = 465;

/// One mail server and its recipients.
pub struct Mail {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    to: Vec<Mailbox>,
    scrubber: Scrubber,
    timeout: Duration,
}

/// What is wrong with the settings, one sentence each.
pub fn problems(config: &MailConfig) -> Vec<String> {
    let mut found = Vec::new();
    if config.host.is_empty() {
        found.push("host is empty".to_owned());
    }
    if !config.starttls && !is_local(&config.host) {
        found.push("starttls: false is for a server on this machine only; remove it".to_owned());
    }
    if config.username.is_some() != config.password.is_some() {
        found.push("username and password belong together".to_owned());
    }
    if config.from.parse::<Mailbox>().is_err() {
        found.push("from is not an address: write it as Watchfire <watchfire@example.org>".to_owned());
    }
    if config.to.is_empty() {
        found.push("to is empty: name at least one address".to_owned());
    }
    let bad = config.to.iter().filter(|address| address.parse::<Mailbox>().is_err());
    found.extend(bad.map(|address| format!("to: `{address}` is not an address")));
    found
}

/// STARTTLS, or TLS from the first byte.
fn encryption(config: &MailConfig) -> Result<Tls, String> {
    let parameters = TlsParameters::new(config.host.clone()).map_err(|error| format!("TLS cannot be set up: {error}"))?;
    Ok(if config.port == SMTPS { Tls::Wrapper(parameters) } else { Tls::Required(parameters) })
}

impl Mail {
    /// From its settings; says what is wrong with them.
    pub fn new(config: &MailConfig) -> Result<Self, String> {
        let parse = |address: &String| address.parse::<Mailbox>().map_err(|_| format!("`{address}` is not an address"));
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&config.host).port(config.port);
        if config.starttls {
            builder = builder.tls(encryption(config)?);
        }
        if let (Some(username), Some(password)) = (&config.username, &config.password) {
            builder = builder.credentials(Credentials::new(username.clone(), password.reveal().to_owned()));
        }
        Ok(Mail {
            transport: builder.timeout(Some(config.timeout.0)).build(),
            from: parse(&config.from)?,
            to: config.to.iter().map(parse).collect::<Result<_, _>>()?,
            scrubber: Scrubber::new(config.password.clone()),
            timeout: config.timeout.0,
        })
    }

    fn failure(&self, error: &lettre::transport::smtp::Error) -> SendError {
        if let Some(code) = error.status().map(|code| code.to_string()).filter(|_| error.is_permanent() || error.is_transient()) {
            // The server's own sentence may quote an address: the code is enough.
            let reason = format!("the mail server answered {code}");
            return if error.is_permanent() { SendError::last(reason) } else { SendError::retry(reason) };
        }
        let said = cut(&self.scrubber.clean(&one_line(&chain(error))), 200);
        match (error.is_timeout(), error.is_client() || error.is_tls() || never_connected(error)) {
            (true, _) => SendError::doubtful(format!("no answer within {:?}", self.timeout)),
            (false, true) => SendError::retry(said),
            (false, false) => SendError::doubtful(said),
        }
    }
}

fn never_connected(error: &lettre::transport::smtp::Error) -> bool {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            use std::io::ErrorKind::{AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkUnreachable};
            return matches!(io.kind(), AddrNotAvailable | ConnectionRefused | HostUnreachable | NetworkUnreachable);
        }
        cause = inner.source();
    }
    false
}

#[async_trait]
impl Channel for Mail {
    async fn send(&self, delivery: &Delivery, attempt: &Attempt) -> Result<Sent, SendError> {
        let mail = render(delivery, attempt, &self.from, &self.to)?;
        let id = message_id(&delivery.id.to_string(), &self.from);
        match self.transport.send(mail).await {
            Ok(_) => Ok(Sent::with(id)),
            Err(error) => Err(self.failure(&error)),
        }
    }

    fn has_use_for(&self, message: &Message) -> bool {
        !is_acknowledgement(message)
    }

    /// Mail cannot be asked for; its Message-ID lets clients fold a second copy.
    async fn reconcile(&self, _: &Delivery, _: &Attempt) -> Reconciled {
        Reconciled::Unknown
    }
}

fn message_id(id: &str, from: &Mailbox) -> String {
    format!("<{id}@{}>", from.email.domain())
}

/// The first message of a thread that need not exist: all of them refer to it.
fn thread_id(key: &str, from: &Mailbox) -> String {
    let hash: String = Sha256::digest(key.as_bytes()).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    message_id(&format!("thread-{hash}"), from)
}

/// The whole mail.
pub fn render(delivery: &Delivery, attempt: &Attempt, from: &Mailbox, to: &[Mailbox]) -> Result<Mime, SendError> {
    let (subject, text, files, thread) = match &delivery.message {
        Message::Notice(notice) => (headline(notice), notice_text(notice), [].as_slice(), Some(notice.dedup_key.clone())),
        Message::Document { title, text, attachments } => {
            (one_line(title), text.clone(), attachments.as_slice(), delivery.subject.incident.map(|incident| incident.to_string()))
        }
        Message::ChatOpen { .. } | Message::ChatPost { .. } | Message::ChatArchive { .. } => {
            return Err(cannot_carry("mail", "use a receiver with chat channels", &delivery.message));
        }
    };
    let mut mail = Mime::builder()
        .from(from.clone())
        .subject(cut(&subject, SUBJECT))
        .message_id(Some(message_id(&delivery.id.to_string(), from)))
        .date(date(delivery.queued_at))
        .raw_header(HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned()));
    for recipient in to {
        mail = mail.to(recipient.clone());
    }
    if let Some(key) = thread {
        let root = thread_id(&key, from);
        mail = mail.in_reply_to(root.clone()).references(root);
    }
    if attempt.resend {
        mail = mail.raw_header(HeaderValue::new(HeaderName::new_from_ascii_str("X-Watchfire-Resend"), "true".to_owned()));
    }
    let built = if files.is_empty() {
        mail.singlepart(SinglePart::plain(text))
    } else {
        let mut parts = MultiPart::mixed().singlepart(SinglePart::plain(text));
        for file in files {
            parts = parts.singlepart(part(file));
        }
        mail.multipart(parts)
    };
    built.map_err(|error| SendError::last(format!("the mail cannot be built: {error}")))
}

fn part(file: &Attachment) -> SinglePart {
    let kind = ContentType::parse(&file.media_type).unwrap_or(ContentType::TEXT_PLAIN);
    Part::new(one_line(&file.name)).body(file.content.clone(), kind)
}

fn date(at: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + at.since(Timestamp::EPOCH)
}

/// The body of a notice, in plain text.
pub fn notice_text(notice: &Notice) -> String {
    let mut lines = vec![headline(notice), String::new()];
    for alert in &notice.alerts {
        lines.push(format!("- {}", alert_line(alert)));
        lines.push(format!("  since {}  {}", alert.starts_at, alert.labels));
        let more = alert.annotations.iter().filter(|(name, _)| *name != "summary");
        lines.extend(more.map(|(name, value)| format!("  {name}: {value}")));
    }
    lines.extend(notice.details.iter().map(|(name, value)| format!("{name}: {value}")));
    if let Some(url) = &notice.url {
        lines.extend([String::new(), url.clone()]);
    }
    if !notice.reason.is_empty() {
        lines.extend([String::new(), format!("You receive this because: {}", notice.reason)]);
    }
    lines.push(String::new());
    lines.join("\n")
}

#[cfg(test)]
mod tests;
