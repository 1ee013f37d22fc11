//! One HTTP exchange with a provider: bounded in time and in what is read, judged by its status. In: a request. Out: an [`Answer`], or
//! a [`SendError`] whose words hold neither the URL nor any secret of the receiver.

use std::time::Duration;

use chrono::DateTime;
use model::secret::Secret;
use model::time::Timestamp;
use reqwest::header::RETRY_AFTER;
use serde_json::Value;

use super::SendError;
use super::text::cut;

/// How much of an ordinary answer is read.
pub const ANSWER: usize = 64 << 10;
/// How much of a listing (a channel's history, a page of messages) is read.
pub const LISTING: usize = 1 << 20;
/// From this length on, a part of a secret URL is taken for a secret itself.
const URL_PART: usize = 8;
/// The longest `Retry-After` that is obeyed; beyond it the provider is asked again after this time.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// Hides a receiver's secrets wherever a text might hold one.
#[derive(Clone, Debug, Default)]
pub struct Scrubber(Vec<Secret>);

impl Scrubber {
    /// For these secrets. Those under four characters are ignored: hiding them would hide ordinary words. Of a URL, its long parts are
    /// hidden by themselves too: a provider may quote one.
    pub fn new(secrets: impl IntoIterator<Item = Secret>) -> Self {
        let long = |part: &str| part.len() >= URL_PART;
        let parts = |secret: &Secret| -> Vec<Secret> {
            let Ok(url) = url::Url::parse(secret.reveal()) else { return Vec::new() };
            let path = url.path_segments().into_iter().flatten().map(str::to_owned);
            let query = url.query_pairs().flat_map(|(name, value)| [name.into_owned(), value.into_owned()]);
            path.chain(query).filter(|part| long(part)).map(Secret::new).collect()
        };
        // The whole before its parts.
        let all = secrets.into_iter().flat_map(|secret| {
            let parts = parts(&secret);
            std::iter::once(secret).chain(parts)
        });
        Scrubber(all.filter(|secret| secret.reveal().len() >= 4).collect())
    }
    /// The text without the secrets.
    pub fn clean(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| text.replace(secret.reveal(), "<secret>"))
    }
}

/// What a provider answered.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// `Retry-After`, where there was one.
    pub retry_after: Option<Duration>,
    /// The body, or its first part.
    pub body: Vec<u8>,
    /// Whether that is all of it: false where it was too long, too slow or broke off.
    pub whole: bool,
}

impl Answer {
    /// The body as JSON, if it is whole and is JSON.
    pub fn json(&self) -> Option<Value> {
        if self.whole { serde_json::from_slice(&self.body).ok() } else { None }
    }
}

/// A receiver's HTTP.
#[derive(Clone, Debug)]
pub struct Http {
    /// Shared by all receivers.
    pub client: reqwest::Client,
    timeout: Duration,
    scrubber: Scrubber,
}

impl Http {
    /// For one receiver.
    pub fn new(client: &reqwest::Client, timeout: Duration, secrets: impl IntoIterator<Item = Secret>) -> Self {
        Http { client: client.clone(), timeout, scrubber: Scrubber::new(secrets) }
    }

    /// Sends and reads at most `limit` bytes. Any status is an answer.
    pub async fn exchange(&self, request: reqwest::RequestBuilder, now: Timestamp, limit: usize) -> Result<Answer, SendError> {
        let response = request.timeout(self.timeout).send().await.map_err(|error| self.failure(error))?;
        let status = response.status().as_u16();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).and_then(|text| retry_after(text, now));
        let (body, whole) = read(response, limit).await;
        Ok(Answer { status, retry_after, body, whole })
    }

    /// Sends and accepts only a status of success.
    pub async fn send(&self, request: reqwest::RequestBuilder, now: Timestamp) -> Result<Answer, SendError> {
        let answer = self.exchange(request, now, ANSWER).await?;
        self.judge(&answer)?;
        Ok(answer)
    }

    /// What the status means. 429, 408 and 5xx pass; other refusals stay.
    pub fn judge(&self, answer: &Answer) -> Result<(), SendError> {
        let Answer { status, retry_after, .. } = *answer;
        match status {
            200..=299 => Ok(()),
            300..=399 => Err(SendError::last(format!("the receiver answered {status}, a redirect: configure the URL that it leads to"))),
            429 => Err(SendError::Retry { after: retry_after, reason: "429: too many requests".to_owned(), doubt: false }),
            // A gateway does not know what became of the request behind it.
            408 | 502 | 504 => Err(SendError::Retry { after: retry_after, reason: self.refusal(answer), doubt: true }),
            500..=599 => Err(SendError::Retry { after: retry_after, reason: self.refusal(answer), doubt: false }),
            _ => Err(SendError::last(self.refusal(answer))),
        }
    }

    fn refusal(&self, answer: &Answer) -> String {
        let said = self.excerpt(&answer.body);
        if said.is_empty() {
            format!("the receiver answered {}", answer.status)
        } else {
            format!("the receiver answered {}: {said}", answer.status)
        }
    }

    /// The first words of a body, on one line, without secrets.
    pub fn excerpt(&self, body: &[u8]) -> String {
        let text = self.scrubber.clean(&String::from_utf8_lossy(body));
        cut(&text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" "), 200)
    }

    fn failure(&self, error: reqwest::Error) -> SendError {
        let error = error.without_url();
        if error.is_builder() {
            return SendError::last(format!("the request cannot be built: {}", self.scrubber.clean(&chain(&error))));
        }
        let reason = match (error.is_timeout(), error.is_connect()) {
            (true, _) => format!("no answer within {:?}", self.timeout),
            (false, true) => format!("cannot connect: {}", self.scrubber.clean(&chain(&error))),
            (false, false) => format!("the connection broke: {}", self.scrubber.clean(&chain(&error))),
        };
        if error.is_connect() { SendError::retry(reason) } else { SendError::doubtful(reason) }
    }
}

/// An error and all its causes, on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let said = inner.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = inner.source();
    }
    text
}

async fn read(mut response: reqwest::Response, limit: usize) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                let room = limit - body.len();
                body.extend_from_slice(&chunk[..chunk.len().min(room)]);
                if chunk.len() > room {
                    return (body, false);
                }
            }
            Ok(None) => return (body, true),
            Err(_) => return (body, false),
        }
    }
}

/// `Retry-After`: seconds, or an HTTP date; at most an hour, at least a second.
pub fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    // Discord writes fractions.
    let seconds = text.parse::<f64>().ok().filter(|seconds| seconds.is_finite() && *seconds >= 0.0);
    let wait = match seconds {
        Some(seconds) => Duration::try_from_secs_f64(seconds.ceil()).unwrap_or(LONGEST_WAIT),
        None => {
            let at = DateTime::parse_from_rfc2822(text).ok()?;
            Timestamp::from_millis(at.timestamp_millis()).since(now)
        }
    };
    Some(wait.clamp(Duration::from_secs(1), LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = "2026-03-01T09:30:00Z".parse().unwrap();
        for (text, seconds) in [
            ("7", Some(7)),
            (" 0 ", Some(1)),
            ("999999999", Some(3600)),
            ("Sun, 01 Mar 2026 09:30:30 GMT", Some(30)),
            ("Sun, 01 Mar 2026 09:00:00 GMT", Some(1)),
            ("1.2", Some(2)),
            ("soon", None),
            ("-3", None),
            ("", None),
        ] {
            assert_eq!(retry_after(text, now), seconds.map(Duration::from_secs), "{text}");
        }
    }

    #[test]
    fn secrets_are_scrubbed_and_short_words_are_not() {
        let scrubber = Scrubber::new([Secret::new("tok-12345"), Secret::new("a")]);
        assert_eq!(scrubber.clean("a bad tok-12345"), "a bad <secret>");
        let scrubber = Scrubber::new([Secret::new("https://h.example.org/services/T0/SECRETPART?key=OTHERSECRET")]);
        assert_eq!(scrubber.clean("no SECRETPART, no OTHERSECRET at T0"), "no <secret>, no <secret> at T0");
    }
}
