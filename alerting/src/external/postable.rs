//! An alert as Alertmanager's API takes it (`postableAlert`), and what is wrong with it.

use std::collections::BTreeMap;

use model::event::Actor;
use model::labels::Labels;
use model::time::{Span, Timestamp};
use serde::Deserialize;

use super::{Door, News, Sent, severity, until};

/// How a moment begins that is not set, as Go writes it.
const UNSET: &str = "0001-01-01T00:00:00";

/// `postableAlert`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PostableAlert {
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
    #[serde(default)]
    starts_at: Option<String>,
    #[serde(default)]
    ends_at: Option<String>,
    #[serde(default, rename = "generatorURL")]
    generator_url: Option<String>,
}

fn time(text: Option<&str>) -> Result<Option<Timestamp>, String> {
    match text.filter(|text| !text.is_empty() && !text.starts_with(UNSET)) {
        None => Ok(None),
        Some(text) => Timestamp::parse_clamped(text).map(Some).map_err(|error| error.to_string()),
    }
}

impl PostableAlert {
    /// What it says, received at `now` from `actor`; `timeout`: how long it is believed in where it has no end. `Err`: what is wrong with it.
    pub(crate) fn into_sent(self, actor: &Actor, now: Timestamp, timeout: Span) -> Result<Sent, String> {
        let (starts_at, ends_at) = (time(self.starts_at.as_deref())?, time(self.ends_at.as_deref())?);
        // Without a beginning it begins now, or where it ends if that is over.
        let starts_at = starts_at.unwrap_or_else(|| ends_at.map_or(now, |ends_at| ends_at.min(now)));
        if ends_at.is_some_and(|ends_at| ends_at < starts_at) {
            return Err("start time must be before end time".to_owned());
        }
        let labels = Labels::from(self.labels);
        if labels.is_empty() {
            return Err("at least one label pair required".to_owned());
        }
        if let Some((name, _)) = labels.iter().find(|(name, _)| name.is_empty() || name.chars().any(char::is_control)) {
            return Err(format!("invalid label set: invalid name {name:?}"));
        }
        let news = match ends_at {
            Some(ends_at) if ends_at <= now => News::Over { ends_at },
            Some(ends_at) => News::Firing { starts_at, ends_at },
            None => News::Firing { starts_at, ends_at: until(now, timeout) },
        };
        Ok(Sent {
            door: Door::Alertmanager,
            identity: labels.clone(),
            severity: severity(&labels),
            labels,
            annotations: self.annotations.unwrap_or_default(),
            generator_url: self.generator_url.unwrap_or_default(),
            dedup_key: None,
            news,
            actor: actor.clone(),
        })
    }
}
