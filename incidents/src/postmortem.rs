//! Postmortems: drafted from stored facts, rendered as Markdown, kept as records and as files. In: an incident with its journal, alerts
//! and evidence. Out: a document that people finish.

pub mod draft;
pub mod files;
pub mod follow_ups;
pub mod invitation;
pub mod markdown;
pub mod render;

use model::ids::{IncidentId, PostmortemId};
use model::state::Entity;
use model::tenant::TenantId;
use model::time::{Span, Timestamp};
use serde::{Deserialize, Serialize};

/// How far the document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PostmortemStatus {
    /// Drafted by Watchfire, not yet reviewed by people.
    Draft,
}

/// A postmortem. State kind `postmortem`, key = its incident's id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Postmortem {
    /// Its id.
    pub id: PostmortemId,
    /// Whose.
    pub tenant: TenantId,
    /// Of which incident.
    pub incident: IncidentId,
    /// The incident's number.
    pub number: u64,
    /// The incident's title.
    pub title: String,
    /// The document.
    pub markdown: String,
    /// When it was drafted.
    pub created_at: Timestamp,
    /// How far it is.
    pub status: PostmortemStatus,
    /// The file, where one was written.
    pub path: Option<String>,
    /// When the review meeting begins.
    pub review_at: Timestamp,
    /// How long it lasts.
    pub review_length: Span,
}

impl Entity for Postmortem {
    const KIND: &'static str = "postmortem";
    fn tenant(&self) -> &TenantId {
        &self.tenant
    }
    fn id(&self) -> String {
        self.id.to_string()
    }
    fn key(&self) -> Option<String> {
        Some(self.incident.to_string())
    }
    fn status(&self) -> &'static str {
        match self.status {
            PostmortemStatus::Draft => "draft",
        }
    }
}
