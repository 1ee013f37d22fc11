//! Carries out actions. In: an action with its facts and a key. Out: what became of it, as one line without secrets. Never fails: every
//! failure is an outcome, and says whether anything can have been changed.

pub mod command;
pub mod http;

use std::collections::BTreeMap;

use async_trait::async_trait;
use model::secret::Secret;
use serde::{Deserialize, Serialize};

use crate::config::Action;
use crate::template::{self, Facts, TemplateError};

/// How an act ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It went well.
    Done,
    /// It did not; something may have been changed.
    Failed,
    /// It did not even begin: nothing was changed.
    NotSent,
    /// The process ended while it was at work; nobody knows.
    Unknown,
}

/// What became of an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Performed {
    /// How it ended.
    pub outcome: Outcome,
    /// What was done and what came back, without secrets.
    pub text: String,
}

impl Performed {
    /// It did not even begin.
    pub fn not_sent(text: impl Into<String>) -> Self {
        Performed { outcome: Outcome::NotSent, text: text.into() }
    }
}

/// An action to be carried out.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// The action, with its secrets.
    pub action: &'a Action,
    /// What its templates speak of.
    pub facts: &'a Facts,
    /// The same for every attempt at the same act: sent as `Idempotency-Key`.
    pub key: &'a str,
}

/// Who carries out actions.
#[async_trait]
pub trait Hands: Send + Sync {
    /// Returns within the action's timeout.
    async fn perform(&self, order: Order<'_>) -> Performed;
}

/// The real ones.
pub struct RealHands {
    http: http::Sender,
}

impl RealHands {
    /// Prepares the HTTP client. Fails if TLS cannot be set up.
    pub fn new(refuse_private_addresses: bool) -> Result<Self, reqwest::Error> {
        Ok(RealHands { http: http::Sender::new(refuse_private_addresses)? })
    }
}

#[async_trait]
impl Hands for RealHands {
    async fn perform(&self, order: Order<'_>) -> Performed {
        match order.action {
            Action::Http(action) => self.http.send(action, order).await,
            Action::Command(action) => command::run(action, order).await,
        }
    }
}

/// What an action would do, in one line without secrets: neither query nor user of an address, no header, no environment.
pub fn describe(action: &Action, facts: &Facts) -> Result<String, TemplateError> {
    match action {
        Action::Http(action) => {
            let url = template::address(&action.url, facts)?;
            http::body(action, facts)?;
            Ok(format!("{} {}", action.method, http::shown(&url)))
        }
        Action::Command(action) => {
            let args = action.args.iter().map(|arg| template::argument(arg, facts)).collect::<Result<Vec<_>, _>>()?;
            Ok(one_line(&format!("{} {}", action.program, args.join(" ")), 300))
        }
    }
}

/// The planned action with the secrets of the present configuration: a run keeps their names only.
pub fn with_secrets(planned: &Action, configured: Option<&Action>) -> Result<Action, String> {
    let mut action = planned.clone();
    let (wanted, known): (&mut BTreeMap<String, Secret>, _) = match (&mut action, configured) {
        (Action::Http(wanted), Some(Action::Http(known))) => (&mut wanted.headers, Some(&known.headers)),
        (Action::Command(wanted), Some(Action::Command(known))) => (&mut wanted.env, Some(&known.env)),
        (Action::Http(wanted), Some(Action::Command(_)) | None) => (&mut wanted.headers, None),
        (Action::Command(wanted), Some(Action::Http(_)) | None) => (&mut wanted.env, None),
    };
    for (name, value) in wanted.iter_mut() {
        match known.and_then(|known| known.get(name)) {
            Some(secret) => *value = secret.clone(),
            None => return Err(format!("the value of `{name}` is no longer in the configuration")),
        }
    }
    Ok(action)
}

/// Text from outside as one bounded line.
pub fn one_line(text: &str, longest: usize) -> String {
    let clean: String = text.trim().chars().take(longest).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.trim().chars().nth(longest).is_some() { format!("{clean}...") } else { clean }
}

/// Takes known secrets out of a text that came back.
pub fn without_secrets<'a>(text: &str, secrets: impl IntoIterator<Item = &'a Secret>) -> String {
    let mut out = text.to_owned();
    for secret in secrets {
        let whole = secret.reveal();
        // A header such as `Bearer abc` is echoed in parts, too.
        for part in std::iter::once(whole).chain(whole.split_whitespace()).filter(|part| part.len() >= 4) {
            out = out.replace(part, "<secret>");
        }
    }
    out
}

#[cfg(test)]
mod tests;
