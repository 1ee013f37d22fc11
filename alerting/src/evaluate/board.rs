//! What the evaluator holds of each rule between evaluations, and how it is read back from the state store: in full at start, and
//! again for one rule when somebody else changed its records meanwhile.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use model::alert::RuleKey;
use model::ids::AlertId;
use model::labels::Labels;
use model::state::{Entity, RecordQuery, StateError, StateStore, Versioned, by_key, load, paged};
use model::tenant::TenantId;
use model::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::machine::{Failing, Instance, RESOLVED_RETENTION, RuleState};

/// A rule that fails, as it is kept. State kind `rule_failing`; deleted when the rule answers again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FailingRule {
    /// Whose.
    pub tenant: TenantId,
    /// Which rule.
    pub rule: RuleKey,
    /// Since when, how often, why.
    pub failing: Failing,
}

impl Entity for FailingRule {
    const KIND: &'static str = "rule_failing";
    fn tenant(&self) -> &TenantId {
        &self.tenant
    }
    fn id(&self) -> String {
        rule_id(&self.rule)
    }
    fn status(&self) -> &'static str {
        "failing"
    }
}

/// A rule that finds nothing to look at, as it is kept. State kind `rule_silent`; deleted when there is something.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SilentRule {
    /// Whose.
    pub tenant: TenantId,
    /// Which rule.
    pub rule: RuleKey,
    /// Since when.
    pub since: Timestamp,
}

impl Entity for SilentRule {
    const KIND: &'static str = "rule_silent";
    fn tenant(&self) -> &TenantId {
        &self.tenant
    }
    fn id(&self) -> String {
        rule_id(&self.rule)
    }
    fn status(&self) -> &'static str {
        "silent"
    }
}

fn rule_id(rule: &RuleKey) -> String {
    format!("{}|{}|{}", rule.source, rule.group, rule.name)
}

/// An alert as it stands in the store.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub instance: Instance,
    pub version: u64,
    pub at: Timestamp,
}

/// One rule's state.
#[derive(Clone, Debug, Default)]
pub(super) struct RuleBoard {
    pub state: RuleState,
    pub stored: BTreeMap<AlertId, Stored>,
    pub failing_version: Option<u64>,
    /// The series that the last evaluation wrote.
    pub written: BTreeSet<Labels>,
    /// Whether the last evaluation failed, and why (recording rules have no other state).
    pub error: Option<String>,
    pub evaluated_at: Option<Timestamp>,
    pub seconds: f64,
    pub matched: bool,
    /// Since when an alerting rule that tells of it has found nothing to look at.
    pub silent_since: Option<Timestamp>,
    /// Why, where it is not that nothing has come.
    pub silent_because: Option<String>,
    pub silent_version: Option<u64>,
}

impl RuleBoard {
    fn take(&mut self, found: Versioned<Instance>, at: Timestamp) {
        let Versioned { entity, version } = found;
        let fingerprint = entity.alert.fingerprint;
        let newer = self.state.instances.get(&fingerprint).is_none_or(|known| known.alert.id <= entity.alert.id);
        if newer {
            self.state.instances.insert(fingerprint, entity.clone());
        }
        self.stored.insert(entity.alert.id, Stored { instance: entity, version, at });
    }

    /// Reads this rule's records again after a conflict. What only this process knows (value, history) is kept.
    pub(super) async fn reload(
        &mut self,
        state: &dyn StateStore,
        tenant: &TenantId,
        rule: &RuleKey,
        fingerprints: impl Iterator<Item = u64>,
        now: Timestamp,
    ) -> Result<(), StateError> {
        for id in self.stored.keys().copied().collect::<Vec<_>>() {
            self.stored.remove(&id);
            match load::<Instance>(state, tenant, &id.to_string()).await? {
                Some(found) => self.take(found, now),
                None => self.state.instances.retain(|_, instance| instance.alert.id != id),
            }
        }
        for fingerprint in fingerprints {
            if let Some(found) = by_key::<Instance>(state, tenant, &format!("{fingerprint:016x}")).await? {
                self.take(found, now);
            }
        }
        let stored: BTreeSet<AlertId> = self.stored.keys().copied().collect();
        self.state.instances.retain(|_, instance| stored.contains(&instance.alert.id));
        let failing = load::<FailingRule>(state, tenant, &rule_id(rule)).await?;
        self.failing_version = failing.as_ref().map(|found| found.version);
        self.state.failing = failing.map(|found| found.entity.failing);
        let silent = load::<SilentRule>(state, tenant, &rule_id(rule)).await?;
        self.silent_version = silent.map(|found| found.version);
        Ok(())
    }
}

async fn pages<T: Entity>(
    state: &dyn StateStore,
    tenant: &TenantId,
    statuses: &[&str],
    most: usize,
    few: bool,
) -> Result<Vec<Versioned<T>>, StateError> {
    let statuses = statuses.iter().map(|word| (*word).to_owned()).collect();
    paged(state, RecordQuery { tenant: Some(tenant.clone()), statuses, few, ..RecordQuery::default() }, most).await
}

/// Every record of a kind with one of the statuses.
pub(crate) async fn everything<T: Entity>(
    state: &dyn StateStore,
    tenant: &TenantId,
    statuses: &[&str],
) -> Result<Vec<Versioned<T>>, StateError> {
    pages(state, tenant, statuses, 0, false).await
}

/// The same, of a kind that has nearly always few such records and is asked for often.
pub(crate) async fn a_few<T: Entity>(
    state: &dyn StateStore,
    tenant: &TenantId,
    statuses: &[&str],
) -> Result<Vec<Versioned<T>>, StateError> {
    pages(state, tenant, statuses, 0, true).await
}

/// All rules' states as the store has them: open alerts, alerts that resolved within the last 15 minutes, rules
/// that fail or find nothing.
pub(super) async fn load_all(state: &dyn StateStore, tenant: &TenantId, now: Timestamp) -> Result<HashMap<RuleKey, RuleBoard>, StateError> {
    let mut boards: HashMap<RuleKey, RuleBoard> = HashMap::new();
    let resolved = pages::<Instance>(state, tenant, &["resolved"], 5_000, false).await?;
    let recent = resolved
        .into_iter()
        .filter(|found| found.entity.alert.state.resolved_at().is_some_and(|resolved| now.since(resolved) <= RESOLVED_RETENTION));
    let open = everything::<Instance>(state, tenant, &["pending", "firing"]).await?;
    for found in recent.chain(open) {
        boards.entry(found.entity.alert.rule.clone()).or_default().take(found, now);
    }
    for board in boards.values_mut() {
        board.written = super::series::of_alerts(&board.state.instances).into_keys().collect();
    }
    for found in everything::<FailingRule>(state, tenant, &["failing"]).await? {
        let board = boards.entry(found.entity.rule).or_default();
        board.error = Some(found.entity.failing.error.clone());
        board.state.failing = Some(found.entity.failing);
        board.failing_version = Some(found.version);
    }
    for found in everything::<SilentRule>(state, tenant, &["silent"]).await? {
        let board = boards.entry(found.entity.rule).or_default();
        board.silent_since = Some(found.entity.since);
        board.silent_version = Some(found.version);
    }
    Ok(boards)
}
