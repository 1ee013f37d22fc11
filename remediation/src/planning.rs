//! How a run begins: from an alert and a plan of the configuration. In: what fired, when, for which incident. Out: a run that the guards
//! have not seen yet. Pure.

use std::collections::BTreeMap;

use model::alert::Alert;
use model::ids::{AlertId, IncidentId, RemediationId};
use model::labels::Labels;
use model::severity::Severity;
use model::tenant::TenantId;
use model::time::Timestamp;
use model::units::Value;

use crate::config::{Config, Plan};
use crate::run::{RepairRun, RunState};
use crate::template::Facts;

/// What is known of the alert.
pub struct Fired<'a> {
    /// Which.
    pub alert: AlertId,
    /// Its labels.
    pub labels: &'a Labels,
    /// How bad.
    pub severity: Severity,
    /// Its value.
    pub value: Value,
}

/// What else a run begins with.
pub struct Origin<'a> {
    /// The run's id.
    pub id: RemediationId,
    /// Whose.
    pub tenant: &'a TenantId,
    /// The alert's record, if there is one.
    pub snapshot: Option<Alert>,
    /// Its incident, if it is known.
    pub incident: Option<IncidentId>,
    /// When.
    pub now: Timestamp,
}

/// A run that is to be guarded.
pub fn planned(config: &Config, plan: &Plan, fired: &Fired<'_>, origin: Origin<'_>) -> RepairRun {
    let Origin { id, tenant, snapshot, incident, now } = origin;
    RepairRun {
        id,
        tenant: tenant.clone(),
        alert: fired.alert,
        incident,
        target: target(config, fired.labels),
        plan: without_values(plan),
        facts: facts(fired, snapshot.as_ref(), id),
        snapshot,
        state: RunState::Planned,
        approved: None,
        stop: None,
        created_at: now,
        acted_at: None,
        history: Vec::new(),
    }
}

fn target(config: &Config, labels: &Labels) -> Labels {
    let target = labels.filtered(|name| config.target_labels.iter().any(|wanted| wanted == name));
    if target.is_empty() { labels.filtered(|name| name == "alertname") } else { target }
}

/// The plan as it is kept: serialising takes the secret values away; what is kept in memory shall be the same.
fn without_values(plan: &Plan) -> Plan {
    serde_json::to_value(plan).and_then(serde_json::from_value).unwrap_or_else(|_| Plan { rungs: Vec::new(), ..plan.clone() })
}

fn facts(fired: &Fired<'_>, snapshot: Option<&Alert>, run: RemediationId) -> Facts {
    let alert = [
        ("id", fired.alert.to_string()),
        ("name", fired.labels.get("alertname").unwrap_or("").to_owned()),
        ("severity", fired.severity.to_string()),
        ("value", fired.value.to_string()),
    ];
    Facts {
        labels: fired.labels.clone(),
        annotations: snapshot.map(|alert| alert.annotations.clone()).unwrap_or_default(),
        alert: alert.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        incident: BTreeMap::new(),
        run: run.to_string(),
    }
}
