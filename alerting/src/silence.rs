//! Muting: silences (made by people, for a time) and inhibition (configured: one alert mutes others). In: a firing alert's labels
//! and everything that fires. Out: what mutes it, if anything. Pure; a muted alert still fires, only nobody is told.

mod inhibition;

use std::fmt;
use std::sync::Arc;

use model::event::Actor;
use model::ids::SilenceId;
use model::labels::{Labels, MatchOp, Matcher};
use model::state::Entity;
use model::tenant::TenantId;
use model::time::Timestamp;
use serde::{Deserialize, Serialize};

pub use crate::matchers::{MatcherText, MatcherTextError, Matchers};
use crate::routing::Routing;
pub use inhibition::{InhibitRule, Inhibition};

/// A silence. State kind `silence`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Silence {
    /// Its id.
    pub id: SilenceId,
    /// Whose.
    pub tenant: TenantId,
    /// All of them must match.
    pub matchers: Vec<Matcher>,
    /// From, inclusive.
    pub starts_at: Timestamp,
    /// To, exclusive.
    pub ends_at: Timestamp,
    /// Who made it.
    pub created_by: Actor,
    /// Why.
    pub comment: String,
    /// Whether it is over for good: ended by hand, or put away after its end.
    #[serde(default)]
    pub over: bool,
    /// The name of the maintenance window that it is, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<String>,
    /// Whom Alertmanager's API was told as its author.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// When it was last changed, where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<Timestamp>,
}

impl Silence {
    /// Whether it mutes a label set now.
    pub fn mutes(&self, labels: &Labels, now: Timestamp) -> bool {
        self.state(now) == "active" && self.matchers.iter().all(|matcher| matcher.matches(labels))
    }
    /// pending, active or expired.
    pub fn state(&self, now: Timestamp) -> &'static str {
        if self.over || now >= self.ends_at {
            "expired"
        } else if now < self.starts_at {
            "pending"
        } else {
            "active"
        }
    }
}

/// Whether matchers ask for nothing, so that they would silence whatever there is: each lets an absent label through because that is what
/// it looks for. `env!="prod"` does ask for something (Alertmanager's rule).
pub fn asks_nothing(matchers: &[Matcher]) -> bool {
    matchers.iter().all(|matcher| match matcher.op {
        MatchOp::Equal | MatchOp::Regex => matcher.matches_value(""),
        MatchOp::NotEqual | MatchOp::NotRegex => false,
    })
}

impl Entity for Silence {
    const KIND: &'static str = "silence";
    fn tenant(&self) -> &TenantId {
        &self.tenant
    }
    fn id(&self) -> String {
        self.id.to_string()
    }
    fn status(&self) -> &'static str {
        if self.over { "over" } else { "live" }
    }
}

/// What mutes an alert.
#[derive(Clone, Debug, PartialEq)]
pub enum Mute {
    /// A silence.
    Silence {
        /// Which.
        id: SilenceId,
        /// Until when.
        until: Timestamp,
    },
    /// A planned maintenance window.
    Planned {
        /// Which.
        id: SilenceId,
        /// What it is called.
        name: String,
        /// Until when.
        until: Timestamp,
    },
    /// A recurring maintenance window.
    Window {
        /// What it is called.
        name: String,
        /// Until when.
        until: Timestamp,
    },
    /// Another alert.
    Inhibited {
        /// Its labels.
        source: Labels,
    },
}

impl fmt::Display for Mute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mute::Silence { id, until } => write!(f, "silence {id} until {until}"),
            Mute::Planned { name, until, .. } | Mute::Window { name, until } => write!(f, "maintenance {name} until {until}"),
            Mute::Inhibited { source } => write!(f, "alert {}", source.get("alertname").unwrap_or("without a name")),
        }
    }
}

impl From<&Silence> for Mute {
    fn from(silence: &Silence) -> Self {
        match &silence.maintenance {
            Some(name) => Mute::Planned { id: silence.id, name: name.clone(), until: silence.ends_at },
            None => Mute::Silence { id: silence.id, until: silence.ends_at },
        }
    }
}

/// Everything that may mute, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Muting {
    /// Live silences and planned maintenance windows.
    pub silences: Vec<Silence>,
    /// Recurring maintenance windows.
    pub routing: Arc<Routing>,
    /// What fires and may mute.
    pub inhibition: Inhibition,
}

impl Muting {
    /// What mutes this alert now: `silence sil_... until ...`, `maintenance <name> until ...` or `alert <name>`.
    pub fn by(&self, fingerprint: u64, labels: &Labels, now: Timestamp) -> Option<Mute> {
        if let Some(silence) = self.silences.iter().find(|silence| silence.mutes(labels, now)) {
            return Some(silence.into());
        }
        if let Some(window) = self.routing.maintained(labels, now) {
            return Some(window);
        }
        self.inhibition.by(fingerprint, labels).map(|source| Mute::Inhibited { source: source.clone() })
    }
}
