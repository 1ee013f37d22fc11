//! Mail over SMTP. The Message-ID comes from the notification's id, so that a resend folds in most readers; the first mail of a
//! thread is referred to by the later ones.

use std::time::Duration;

use async_trait::async_trait;
use lettre::message::header::ContentType;
use lettre::message::{Attachment, MultiPart, SinglePart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message as Letter, Tokio1Executor};
use model::message::{Delivery, Message, Notice, PageAction};

use super::receiver::MailConfig;
use super::{Attempt, Channel, SendError, Sent, cut, unsupported};

/// Mail.
pub struct Mail {
    config: MailConfig,
    timeout: Duration,
}

impl Mail {
    /// Through one server.
    pub fn new(config: MailConfig, timeout: Duration) -> Self {
        Mail { config, timeout }
    }

    fn transport(&self) -> Result<AsyncSmtpTransport<Tokio1Executor>, SendError> {
        let builder = if self.config.starttls {
            AsyncSmtpTransport::<Tokio1Executor>::starttls_relay(&self.config.host)
                .map_err(|error| SendError::fatal(format!("mail server {}: {error}", self.config.host)))?
        } else {
            AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&self.config.host)
        };
        let builder = builder.port(self.config.port).timeout(Some(self.timeout));
        let credentials = self.config.username.clone().map(|user| Credentials::new(user, self.config.password.reveal().to_owned()));
        Ok(match credentials {
            Some(credentials) => builder.credentials(credentials).build(),
            None => builder.build(),
        })
    }

    fn letter(&self, delivery: &Delivery, resend: bool) -> Result<Letter, SendError> {
        let (subject, text, thread, attachments) = match &delivery.message {
            Message::Notice(notice) => (subject(notice), text(notice), Some(notice.dedup_key.as_str()), [].as_slice()),
            Message::Document { title, text, attachments } => (title.clone(), text.clone(), None, attachments.as_slice()),
            other @ (Message::ChatOpen { .. } | Message::ChatPost { .. } | Message::ChatArchive { .. }) => {
                return Err(unsupported("mail", other));
            }
        };
        let address = |text: &str| text.parse().map_err(|_| SendError::fatal(format!("`{text}` is not a mail address")));
        let subject = if resend { format!("{subject} (sent again)") } else { subject };
        let mut builder = Letter::builder()
            .from(address(&self.config.from)?)
            .subject(cut(&subject, 200))
            .message_id(Some(format!("<{}@watchfire>", delivery.id)));
        for to in &self.config.to {
            builder = builder.to(address(to)?);
        }
        if let Some(thread) = thread {
            let thread = format!("<thread-{thread}@watchfire>");
            builder = builder.in_reply_to(thread.clone()).references(thread);
        }
        let mut parts = MultiPart::mixed().singlepart(SinglePart::plain(text));
        for attachment in attachments {
            let kind = ContentType::parse(&attachment.media_type).unwrap_or(ContentType::TEXT_PLAIN);
            parts = parts.singlepart(Attachment::new(attachment.name.clone()).body(attachment.content.clone(), kind));
        }
        builder.multipart(parts).map_err(|error| SendError::fatal(format!("the mail cannot be written: {error}")))
    }
}

fn subject(notice: &Notice) -> String {
    let number = notice.incident_number.map(|number| format!(" #{number}")).unwrap_or_default();
    let word = match notice.action {
        PageAction::Trigger => notice.severity.as_str().to_uppercase(),
        PageAction::Acknowledge => "ACKNOWLEDGED".to_owned(),
        PageAction::Resolve => "RESOLVED".to_owned(),
    };
    format!("[{word}]{number} {}", notice.title)
}

fn text(notice: &Notice) -> String {
    let mut text = format!("{}\n\n", notice.title);
    for alert in &notice.alerts {
        text.push_str(&format!("{}\n  value {} since {}\n", alert.labels, alert.value, alert.starts_at));
        for (name, value) in alert.annotations.iter().filter(|(name, _)| name.as_str() != "summary") {
            text.push_str(&format!("  {name}: {value}\n"));
        }
        text.push_str(&format!("  {}\n\n", alert.expr));
    }
    text.push_str(&notice.reason);
    if let Some(url) = &notice.url {
        text.push_str(&format!("\n{url}"));
    }
    text.push('\n');
    text
}

#[async_trait]
impl Channel for Mail {
    async fn send(&self, delivery: &Delivery, attempt: Attempt<'_>) -> Result<Sent, SendError> {
        // An acknowledgement needs no mail.
        if matches!(&delivery.message, Message::Notice(notice) if notice.action == PageAction::Acknowledge) {
            return Ok(Sent::default());
        }
        let letter = self.letter(delivery, attempt.resend)?;
        let sending = self.transport()?;
        match tokio::time::timeout(self.timeout * 2, sending.send(letter)).await {
            Ok(Ok(_)) => Ok(Sent { provider_id: Some(format!("<{}@watchfire>", delivery.id)), channel: None }),
            Ok(Err(error)) if error.is_permanent() => Err(SendError::fatal(format!("the mail server refused: {error}"))),
            Ok(Err(error)) => Err(SendError::retry(format!("the mail server: {error}"))),
            Err(_) => Err(SendError::uncertain(format!("the mail server did not answer within {:?}", self.timeout * 2))),
        }
    }
}
