//! `POST /api/v2/alerts`: a batch is one commit. What is wrong with an alert is told, and the others are taken all the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, body::Bytes};
use model::access::{Permission, Principal};
use model::labels::Labels;
use model::time::Timestamp;
use serde::Deserialize;

use super::Problem;
use crate::external::{self, Door, News, Sent};
use crate::router::Api;

/// The most alerts of one request.
const MOST: usize = 10_000;
/// How a moment begins that is not set, as Go writes it.
const UNSET: &str = "0001-01-01T00:00:00";

/// `postableAlert`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PostableAlert {
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
        Some(text) => text.parse().map(Some).map_err(|error: model::time::TimestampError| error.to_string()),
    }
}

impl PostableAlert {
    fn into_sent(self, principal: &Principal, now: Timestamp, timeout: model::time::Span) -> Result<Sent, String> {
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
        if let Some((name, _)) = labels.iter().find(|(name, _)| name.chars().any(char::is_control)) {
            return Err(format!("invalid label set: invalid name {name:?}"));
        }
        let news = match ends_at {
            Some(ends_at) if ends_at <= now => News::Over { ends_at },
            Some(ends_at) => News::Firing { starts_at, ends_at },
            None => News::Firing { starts_at, ends_at: external::until(now, timeout) },
        };
        Ok(Sent {
            door: Door::Alertmanager,
            identity: labels.clone(),
            severity: external::severity(&labels),
            labels,
            annotations: self.annotations.unwrap_or_default(),
            generator_url: self.generator_url.unwrap_or_default(),
            dedup_key: None,
            news,
            actor: principal.actor.clone(),
        })
    }
}

pub(super) async fn receive(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    body: Bytes,
) -> Result<StatusCode, Problem> {
    principal.require(Permission::Ingest)?;
    if principal.tenant != api.shared.tenant {
        return Err(Problem(StatusCode::FORBIDDEN, "alerts are taken for the tenant whose rules this server evaluates".to_owned()));
    }
    let alerts: Vec<PostableAlert> =
        serde_json::from_slice(&body).map_err(|error| Problem::bad(format!("parsing alerts body failed: {error}")))?;
    if alerts.len() > MOST {
        return Err(Problem::bad(format!("at most {MOST} alerts are taken in one request: send them in several")));
    }
    let now = api.shared.clock.now();
    let (mut batch, mut problems) = (Vec::with_capacity(alerts.len()), Vec::new());
    for alert in alerts {
        match alert.into_sent(&principal, now, api.shared.routing().resolve_timeout) {
            Ok(sent) => batch.push(sent),
            Err(problem) => problems.push(problem),
        }
    }
    external::take(&api.shared, &batch, now).await?;
    if problems.is_empty() { Ok(StatusCode::OK) } else { Err(Problem::bad(problems.join("; "))) }
}
