//! The alert's own expression, asked again: remediation wants to know whether a repair helped. In: an alert and a moment. Out: a
//! verdict for exactly its label set. Never fails: what cannot be evaluated is `Unknown`.

use std::sync::Arc;

use async_trait::async_trait;
use model::alert::{Alert, AlertProbe, Verdict};
use model::query::Overlay;
use model::state::load;
use model::time::Timestamp;

use crate::evaluate::OWN_SOURCE;
use crate::evaluate::ask::{self, Moment};
use crate::machine::Instance;
use crate::rules::{AlertRule, Escalation, Place};
use crate::shared::Shared;
use crate::template::Template;

/// Evaluates alerts' own expressions.
pub struct Probe {
    shared: Arc<Shared>,
}

impl Probe {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Probe { shared }
    }

    /// The rule as it stands; where it is gone, what the alert's record keeps of it.
    async fn rule(&self, alert: &Alert) -> Result<AlertRule, String> {
        if alert.rule.source == OWN_SOURCE {
            return Err("Watchfire's own alerts have no expression".to_owned());
        }
        if let Some(rule) = self.shared.rules().alert_rule(&alert.rule) {
            return Ok(rule.clone());
        }
        let found = load::<Instance>(&*self.shared.state, &alert.tenant, &alert.id.to_string()).await.map_err(|error| error.to_string())?;
        let memory = found.map(|found| found.entity.memory).ok_or("neither the rule nor the alert's record exists any more")?;
        let templates = memory.rule_labels.iter().map(|(name, text)| Ok((name.clone(), Template::parse(text)?)));
        Ok(AlertRule {
            key: alert.rule.clone(),
            name: alert.labels.get("alertname").unwrap_or(&alert.rule.name).to_owned(),
            question: memory.question.unwrap_or_default(),
            expr: alert.expr.clone(),
            no_data: Default::default(),
            hold: Default::default(),
            keep_firing_for: Default::default(),
            labels: templates.collect::<Result<_, crate::template::TemplateError>>().map_err(|error| error.to_string())?,
            annotations: Default::default(),
            thresholds: memory.thresholds,
            recovery: memory.recovery,
            escalation: Escalation::None,
            remediation: None,
            place: Place::default(),
        })
    }
}

#[async_trait]
impl AlertProbe for Probe {
    async fn probe(&self, alert: &Alert, at: Timestamp) -> Verdict {
        let rule = match self.rule(alert).await {
            Ok(rule) => rule,
            Err(reason) => return Verdict::Unknown { reason },
        };
        let asked = ask::alert(&self.shared, &rule, Moment { at, now: at, overlay: &Overlay::default(), together: None, limit: 0 }).await;
        match asked.outcome {
            Err(reason) => Verdict::Unknown { reason },
            Ok(active) => match active.get(&alert.fingerprint) {
                Some(one) => Verdict::Active { value: one.value, severity: one.severity },
                None => Verdict::Cleared,
            },
        }
    }
}
