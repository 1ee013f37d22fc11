//! How each check went last, for people: `GET /api/watchfire/v1/checks`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use http::StatusCode;
use model::access::{Permission, Principal};
use model::labels::Labels;
use model::time::Timestamp;
use serde_json::json;

use super::verdict::{Health, Verdict};

struct Entry {
    labels: Labels,
    health: Health,
    reason: String,
    at: Option<Timestamp>,
    took: Duration,
    since: Option<Timestamp>,
    written: Vec<String>,
}

/// The checks by name.
#[derive(Clone, Default)]
pub(super) struct Board(Arc<Mutex<BTreeMap<String, Entry>>>);

impl Board {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Only these, with what is known of them.
    pub(super) fn keep<'a>(&self, wanted: impl Iterator<Item = (&'a str, &'a Labels)>) {
        let mut all = self.lock();
        let mut before = std::mem::take(&mut *all);
        for (name, labels) in wanted {
            let unknown = || Entry {
                labels: labels.clone(),
                health: Health::Unknown,
                reason: String::new(),
                at: None,
                took: Duration::ZERO,
                since: None,
                written: Vec::new(),
            };
            let known = before.remove(name).filter(|entry| entry.labels == *labels);
            all.insert(name.to_owned(), known.unwrap_or_else(unknown));
        }
    }

    /// Notes how one went; gives how it was before.
    pub(super) fn note(
        &self,
        name: &str,
        labels: &Labels,
        verdict: &Verdict,
        at: Timestamp,
        took: Duration,
        written: Vec<String>,
    ) -> Health {
        let mut all = self.lock();
        let before = all.get(name).map_or(Health::Unknown, |entry| entry.health);
        let since = if before == verdict.health { all.get(name).and_then(|entry| entry.since) } else { Some(at) };
        let (labels, health, reason) = (labels.clone(), verdict.health, verdict.reason.clone());
        all.insert(name.to_owned(), Entry { labels, health, reason, at: Some(at), took, since, written });
        before
    }

    /// The metrics that a check with these labels wrote last.
    pub(super) fn written(&self, labels: &Labels) -> Vec<String> {
        self.lock().values().find(|entry| entry.labels == *labels).map(|entry| entry.written.clone()).unwrap_or_default()
    }

    /// The route.
    pub(super) fn router(&self) -> Router {
        Router::new().route("/api/watchfire/v1/checks", get(list)).with_state(self.clone())
    }
}

async fn list(State(board): State<Board>, Extension(principal): Extension<Principal>) -> Response {
    if let Err(forbidden) = principal.require(Permission::Read) {
        return (StatusCode::FORBIDDEN, Json(json!({"status": "error", "error": forbidden.to_string()}))).into_response();
    }
    let all = board.lock();
    let shown: Vec<_> = all
        .iter()
        .map(|(name, entry)| {
            json!({"check": name, "health": entry.health, "reason": entry.reason, "since": entry.since, "checked_at": entry.at,
                "seconds": entry.took.as_secs_f64(), "labels": entry.labels})
        })
        .collect();
    Json(json!({"checks": shown})).into_response()
}
