//! The HTTP under most channels: bounded answers, `Retry-After`, and errors without URLs (some of which are secrets).

use std::time::Duration;

use futures_util::StreamExt;
use model::time::{Clock, SystemClock, Timestamp};
use reqwest::{RequestBuilder, StatusCode};

use super::SendError;

/// The most of an answer that is read.
const MAX_ANSWER: usize = 64 << 10;

/// A client with a timeout for each attempt.
#[derive(Clone)]
pub struct Http {
    client: reqwest::Client,
    timeout: Duration,
}

/// An answer of a provider.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// `Retry-After`, as a duration from now.
    pub retry_after: Option<Duration>,
    /// Its body, cut.
    pub body: String,
}

impl Http {
    /// With a shared client.
    pub fn new(client: reqwest::Client, timeout: Duration) -> Self {
        Http { client, timeout }
    }
    /// A request to be filled in.
    pub fn post(&self, url: &str) -> RequestBuilder {
        self.client.post(url)
    }
    /// A request to be filled in.
    pub fn get(&self, url: &str) -> RequestBuilder {
        self.client.get(url)
    }
    /// Sends and reads the answer. Network trouble and timeouts are worth another try.
    pub async fn send(&self, request: RequestBuilder) -> Result<Answer, SendError> {
        let exchange = async {
            let response = request.send().await.map_err(network)?;
            let status = response.status();
            let now = SystemClock.now();
            let retry_after =
                response.headers().get("retry-after").and_then(|value| value.to_str().ok()).and_then(|text| retry_after(text, now));
            let mut body = Vec::new();
            let mut stream = response.bytes_stream();
            while let Some(chunk) = stream.next().await {
                body.extend_from_slice(&chunk.map_err(network)?);
                if body.len() > MAX_ANSWER {
                    body.truncate(MAX_ANSWER);
                    break;
                }
            }
            Ok(Answer { status, retry_after, body: String::from_utf8_lossy(&body).into_owned() })
        };
        match tokio::time::timeout(self.timeout, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(SendError::uncertain(format!("no answer within {:?}", self.timeout))),
        }
    }
    /// Sends; 2xx passes, 429 and 5xx are worth another try, anything else is final.
    pub async fn deliver(&self, request: RequestBuilder) -> Result<Answer, SendError> {
        let answer = self.send(request).await?;
        if answer.status.is_success() { Ok(answer) } else { Err(refused(&answer)) }
    }
}

/// What an unsuccessful answer means.
pub fn refused(answer: &Answer) -> SendError {
    let words = super::cut(answer.body.split_whitespace().collect::<Vec<_>>().join(" ").as_str(), 200);
    let reason =
        if words.is_empty() { format!("HTTP {}", answer.status.as_u16()) } else { format!("HTTP {}: {words}", answer.status.as_u16()) };
    let again =
        answer.status == StatusCode::TOO_MANY_REQUESTS || answer.status == StatusCode::REQUEST_TIMEOUT || answer.status.is_server_error();
    if again { SendError::Retry { after: answer.retry_after, reason, uncertain: false } } else { SendError::Final { reason } }
}

fn network(error: reqwest::Error) -> SendError {
    let error = error.without_url();
    let mut last: &dyn std::error::Error = &error;
    while let Some(source) = last.source() {
        last = source;
    }
    let reason = format!("the connection failed: {last}");
    // A connection that never came about carried nothing.
    if error.is_connect() { SendError::retry(reason) } else { SendError::uncertain(reason) }
}

/// Seconds, or an HTTP date.
fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds.min(86_400)));
    }
    let at = chrono::DateTime::parse_from_rfc2822(text.trim()).ok()?;
    Some(Timestamp::from_secs(at.timestamp()).since(now).min(Duration::from_secs(86_400)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = Timestamp::from_secs(1_445_412_480);
        assert_eq!(retry_after("120", now), Some(Duration::from_secs(120)));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:30 GMT", now), Some(Duration::from_secs(30)));
        assert_eq!(retry_after("soon", now), None);
    }
}
