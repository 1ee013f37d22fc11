//! One call of Slack's Web API. HTTP 200 with `ok: false` is a failure; which errors pass and which stay is decided here.

use model::secret::Secret;
use model::time::Timestamp;
use serde_json::Value;

use super::super::SendError;
use super::super::config::SlackConfig;
use super::super::http::{ANSWER, Http, LISTING};

/// A workspace, spoken to with a bot token.
#[derive(Debug)]
pub struct Api {
    http: Http,
    base: String,
    token: Secret,
}

/// Slack said no, in its own word (`name_taken`).
#[derive(Debug)]
pub enum Refused {
    /// With this word.
    Word(String),
    /// In another way.
    Other(SendError),
}

impl From<Refused> for SendError {
    fn from(refused: Refused) -> SendError {
        match refused {
            Refused::Word(word) => meaning(&word),
            Refused::Other(error) => error,
        }
    }
}

/// What an error of Slack's means for the next try.
fn meaning(word: &str) -> SendError {
    let reason = format!("Slack answered {word}{}", hint(word));
    match word {
        "ratelimited" | "rate_limited" | "message_limit_exceeded" | "service_unavailable" | "accesslimited" | "team_added_to_org" => {
            SendError::retry(reason)
        }
        // Slack says of these that a part may have happened.
        "internal_error" | "fatal_error" | "request_timeout" => SendError::doubtful(reason),
        _ => SendError::last(reason),
    }
}

fn hint(word: &str) -> &'static str {
    match word {
        "invalid_auth" | "not_authed" | "token_revoked" | "token_expired" | "account_inactive" => ": check the receiver's token",
        "channel_not_found" | "not_in_channel" => ": check the receiver's channel and invite the bot to it",
        "missing_scope" => ": give the bot the scopes chat:write, channels:manage, channels:read and channels:history",
        _ => "",
    }
}

impl Api {
    /// From the receiver's settings.
    pub fn new(config: &SlackConfig, client: &reqwest::Client) -> Self {
        Api {
            http: Http::new(client, config.timeout.0, [config.token.clone()]),
            base: config.api_url.trim_end_matches('/').to_owned(),
            token: config.token.clone(),
        }
    }

    /// A method with a JSON body.
    pub async fn call(&self, method: &str, body: &Value, now: Timestamp) -> Result<Value, SendError> {
        Ok(self.try_call(method, body, now).await?)
    }

    /// A method with a JSON body, for callers that know some of the errors.
    pub async fn try_call(&self, method: &str, body: &Value, now: Timestamp) -> Result<Value, Refused> {
        let request = self.http.client.post(format!("{}/{method}", self.base)).json(body);
        self.answer(method, request, now, ANSWER).await
    }

    /// A method that lists: its arguments go as a query.
    pub async fn list(&self, method: &str, query: &[(&str, &str)], now: Timestamp) -> Result<Value, SendError> {
        let query: Vec<_> = query.iter().filter(|(_, value)| !value.is_empty()).collect();
        let request = self.http.client.get(format!("{}/{method}", self.base)).query(&query);
        Ok(self.answer(method, request, now, LISTING).await?)
    }

    async fn answer(&self, method: &str, request: reqwest::RequestBuilder, now: Timestamp, limit: usize) -> Result<Value, Refused> {
        let place = |error: SendError| Refused::Other(error.at(method));
        let answer = self.http.exchange(request.bearer_auth(self.token.reveal()), now, limit).await.map_err(place)?;
        self.http.judge(&answer).map_err(place)?;
        let Some(body) = answer.json() else {
            return Err(place(SendError::doubtful(format!("no readable answer: {:?}", self.http.excerpt(&answer.body)))));
        };
        match (body["ok"].as_bool(), body["error"].as_str()) {
            (Some(true), _) => Ok(body),
            (Some(false), Some("ratelimited" | "rate_limited")) => Err(Refused::Other(SendError::Retry {
                after: answer.retry_after,
                reason: format!("{method}: Slack answered ratelimited"),
                doubt: false,
            })),
            (Some(false), Some(word)) => Err(Refused::Word(word.to_owned())),
            (Some(false), None) => Err(place(SendError::last("Slack answered ok: false without an error"))),
            (None, _) => Err(place(SendError::doubtful("the answer has no ok: is this Slack's API?"))),
        }
    }
}

/// The cursor of the next page, if there is one.
pub fn next_cursor(page: &Value) -> Option<String> {
    page["response_metadata"]["next_cursor"].as_str().filter(|cursor| !cursor.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_pass_or_stay() {
        for (word, retried, doubt) in [
            ("ratelimited", true, false),
            ("service_unavailable", true, false),
            ("fatal_error", true, true),
            ("invalid_auth", false, false),
            ("channel_not_found", false, false),
            ("a_word_of_tomorrow", false, false),
        ] {
            match meaning(word) {
                SendError::Retry { doubt: found, .. } => assert_eq!((true, found), (retried, doubt), "{word}"),
                SendError::Final { doubt: found, .. } => assert_eq!((false, found), (retried, doubt), "{word}"),
            }
        }
    }
}
