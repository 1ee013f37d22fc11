//! Alert instances: one label set of one rule. `alerting` decides their state; everybody else reads them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::event::Actor;
use crate::ids::{AlertId, IncidentId};
use crate::labels::Labels;
use crate::severity::Severity;
use crate::state::Entity;
use crate::tenant::TenantId;
use crate::time::Timestamp;
use crate::units::Value;

/// Which rule: unique within a tenant. `source` is `file:<path below rules/>` or `state`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RuleKey {
    /// Where the rule comes from.
    pub source: String,
    /// The group's name.
    pub group: String,
    /// The alert's or the record's name.
    pub name: String,
}

/// Prometheus's alert states, with their clocks. `Inactive` is the absence of an alert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum AlertState {
    /// The expression is true, but not yet for as long as `for` asks.
    Pending {
        /// First evaluation with a sample (Prometheus's ActiveAt).
        active_at: Timestamp,
    },
    /// It fires.
    Firing {
        /// First evaluation with a sample.
        active_at: Timestamp,
        /// When it began to fire.
        fired_at: Timestamp,
        /// Since when only `keep_firing_for` keeps it firing.
        keep_firing_since: Option<Timestamp>,
    },
    /// It fired and is over.
    Resolved {
        /// First evaluation with a sample.
        active_at: Timestamp,
        /// When it began to fire.
        fired_at: Timestamp,
        /// When it ended.
        resolved_at: Timestamp,
    },
}

impl AlertState {
    /// pending, firing or resolved.
    pub fn name(&self) -> &'static str {
        match self {
            AlertState::Pending { .. } => "pending",
            AlertState::Firing { .. } => "firing",
            AlertState::Resolved { .. } => "resolved",
        }
    }
    /// First evaluation with a sample.
    pub fn active_at(&self) -> Timestamp {
        match self {
            AlertState::Pending { active_at } | AlertState::Firing { active_at, .. } | AlertState::Resolved { active_at, .. } => *active_at,
        }
    }
    /// When it began to fire, if it did.
    pub fn fired_at(&self) -> Option<Timestamp> {
        match self {
            AlertState::Pending { .. } => None,
            AlertState::Firing { fired_at, .. } | AlertState::Resolved { fired_at, .. } => Some(*fired_at),
        }
    }
    /// When it ended, if it did.
    pub fn resolved_at(&self) -> Option<Timestamp> {
        match self {
            AlertState::Pending { .. } | AlertState::Firing { .. } => None,
            AlertState::Resolved { resolved_at, .. } => Some(*resolved_at),
        }
    }
}

/// Somebody said "I have it".
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: Actor,
}

/// An alert instance. State kind `alert`, key = fingerprint in hex while it is pending or firing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Its id; a later return of the same label set is another alert with another id.
    pub id: AlertId,
    /// Whose.
    pub tenant: TenantId,
    /// Which rule.
    pub rule: RuleKey,
    /// xxh3-64 over rule key and identity labels (label set after templating + `alertname`, without `__name__` and without the
    /// severity of a `thresholds` ladder).
    pub fingerprint: u64,
    /// Labels as readers see them: identity labels, `alertname` and `severity`.
    pub labels: Labels,
    /// Expanded annotations (`summary`, `description`, `runbook_url`, ...).
    pub annotations: BTreeMap<String, String>,
    /// How bad now.
    pub severity: Severity,
    /// Where it stands.
    pub state: AlertState,
    /// The value of the expression at the last evaluation that was written.
    pub value: Value,
    /// The expression of the rule when the alert was last written.
    pub expr: String,
    /// The ladder for its present severity.
    pub escalation: Option<String>,
    /// The remediation that the rule names.
    pub remediation: Option<String>,
    /// Set by an acknowledgement.
    pub acknowledged: Option<Acknowledgement>,
    /// The incident it belongs to.
    pub incident: Option<IncidentId>,
    /// Whether the rule's query fails at present: the alert is held as it is.
    pub unknown: bool,
    /// Whether a silence or an inhibition mutes it at present.
    pub muted: bool,
    /// Where whoever sent it shows its rule; empty for rules of our own.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub generator_url: String,
}

impl Alert {
    /// The one-line summary for people: annotation `summary`, else the alert's name and labels.
    pub fn summary(&self) -> String {
        self.annotations.get("summary").cloned().unwrap_or_else(|| {
            let name = self.labels.get("alertname").unwrap_or(&self.rule.name);
            let rest = self.labels.filtered(|label| label != "alertname" && label != "severity");
            if rest.is_empty() { name.to_owned() } else { format!("{name} {rest}") }
        })
    }
    /// The fingerprint as 16 hex digits.
    pub fn fingerprint_hex(&self) -> String {
        format!("{:016x}", self.fingerprint)
    }
    /// Whether it fires.
    pub fn is_firing(&self) -> bool {
        matches!(self.state, AlertState::Firing { .. })
    }
}

impl Entity for Alert {
    const KIND: &'static str = "alert";
    fn tenant(&self) -> &TenantId {
        &self.tenant
    }
    fn id(&self) -> String {
        self.id.to_string()
    }
    fn key(&self) -> Option<String> {
        match self.state {
            AlertState::Pending { .. } | AlertState::Firing { .. } => Some(self.fingerprint_hex()),
            AlertState::Resolved { .. } => None,
        }
    }
    fn status(&self) -> &'static str {
        self.state.name()
    }
}

/// What the alert's own expression says now: remediation asks after its settle window.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Still true for this label set.
    Active {
        /// The value.
        value: Value,
        /// The severity it would have.
        severity: Severity,
    },
    /// No longer true.
    Cleared,
    /// The query failed: nobody knows. Never taken as cleared.
    Unknown {
        /// Why.
        reason: String,
    },
}

/// Evaluates an alert's own expression at a moment. Implemented by `alerting`, asked by `remediation`.
#[async_trait::async_trait]
pub trait AlertProbe: Send + Sync {
    /// Fails never: a failing query is [`Verdict::Unknown`].
    async fn probe(&self, alert: &Alert, at: Timestamp) -> Verdict;
}
