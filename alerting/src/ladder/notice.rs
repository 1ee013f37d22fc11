//! The notices of a ladder: what receivers are told, as outbox rows. In: a run, what it is about. Out: work rows of queue `delivery`.

use std::collections::BTreeMap;

use model::alert::Alert;
use model::ids::{AlertId, NotificationId};
use model::labels::Labels;
use model::message::{Delivery, Message, Notice, NoticeAlert, PageAction};
use model::severity::Severity;
use model::state::{Commit, StateError};
use model::time::{Span, Timestamp};
use model::work::Lane;

use super::{LadderRun, LadderSubject, TakenStep};
use crate::external::Door;
use crate::shared::Shared;

/// What a run is about, as it stands now.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    /// Whether it still goes on.
    pub open: bool,
    /// Whether somebody has it.
    pub acknowledged: bool,
    /// Whether all of it is muted.
    pub muted: bool,
    pub severity: Severity,
    pub title: String,
    pub number: Option<u64>,
    /// What its alerts share.
    pub group: Labels,
    /// Some of its alerts, firing ones first.
    pub alerts: Vec<Alert>,
    /// Those that fire and are not among them.
    pub beyond: Vec<AlertId>,
    /// How many there are in all.
    pub total: usize,
}

/// One thing to tell.
pub(super) struct Telling<'a> {
    pub action: PageAction,
    pub receivers: &'a [String],
    pub reason: String,
    /// Makes the rows unique: `<run>/<what>`.
    pub key: String,
}

/// What readers know an alert by. One that came through Alertmanager's API is its labels there, so its readers are told what
/// `/api/v2/alerts` and the sender's own tools say.
fn print(alert: &Alert) -> String {
    if alert.rule.source == Door::Alertmanager.source() { alert.labels.alertmanager_fingerprint() } else { alert.fingerprint_hex() }
}

pub(crate) fn notice_alert(alert: &Alert) -> NoticeAlert {
    NoticeAlert {
        resolved: alert.state.resolved_at().is_some(),
        labels: alert.labels.clone(),
        annotations: alert.annotations.clone(),
        starts_at: alert.state.active_at(),
        ends_at: alert.state.resolved_at(),
        fingerprint: print(alert),
        value: alert.value.to_string(),
        expr: alert.expr.clone(),
        generator_url: alert.generator_url.clone(),
    }
}

pub(crate) fn lane(severity: Severity) -> Lane {
    match severity {
        Severity::Critical | Severity::High => Lane::Page,
        Severity::Warning => Lane::Chat,
        Severity::Info => Lane::Mail,
    }
}

/// Why a receiver hears of a step.
pub(super) fn step_reason(run: &LadderRun, taken: &TakenStep) -> String {
    if run.route {
        return "default receivers".to_owned();
    }
    let place = format!("{}, step {} of {}", run.ladder.name, taken.step + 1, run.ladder.steps.len());
    let place = if taken.round > 0 { format!("{place}, repetition {} of {}", taken.round, run.ladder.repeat) } else { place };
    if taken.after.is_zero() && taken.round == 0 {
        place
    } else if taken.round == 0 {
        format!("{place}: nobody acknowledged within {}", Span(taken.after))
    } else {
        format!("{place}: nobody has acknowledged")
    }
}

/// Adds one delivery per receiver to the commit.
pub(super) fn tell(
    shared: &Shared,
    commit: &mut Commit,
    run: &LadderRun,
    scene: &Scene,
    telling: Telling<'_>,
    now: Timestamp,
) -> Result<(), StateError> {
    let mut details: BTreeMap<String, String> = [("ladder".to_owned(), run.ladder.name.clone())].into();
    if scene.total > scene.alerts.len() {
        details.insert("alerts_total".to_owned(), scene.total.to_string());
    }
    let path = match &run.subject {
        LadderSubject::Incident { id } => format!("incidents/{}", scene.number.map_or_else(|| id.to_string(), |number| number.to_string())),
        LadderSubject::Alert { id } => format!("alerts/{id}"),
    };
    let url = shared.config.external_url.as_ref().map(|base| format!("{}/api/watchfire/v1/{path}", base.trim_end_matches('/')));
    let notice = Notice {
        action: telling.action,
        dedup_key: run.dedup_key.clone(),
        severity: scene.severity,
        title: scene.title.clone(),
        incident_number: scene.number,
        group_labels: scene.group.clone(),
        alerts: scene.alerts.iter().map(notice_alert).collect(),
        url,
        reason: telling.reason,
        details,
    };
    let mut subject = run.subject.subject();
    if subject.alert.is_none() {
        subject.alert = scene.alerts.first().map(|alert| alert.id);
    }
    for receiver in telling.receivers {
        let key = format!("ladder/{}/{receiver}", telling.key);
        let delivery = Delivery {
            id: NotificationId::derived(now, &key),
            tenant: run.tenant.clone(),
            receiver: receiver.clone(),
            subject: subject.clone(),
            queued_at: now,
            message: Message::Notice(Box::new(notice.clone())),
        };
        let body = |source| StateError::Body { kind: "delivery".to_owned(), id: key.clone(), source };
        let work = delivery.as_work(key.clone(), lane(scene.severity)).map_err(body)?;
        commit.schedule(&run.tenant, work);
    }
    Ok(())
}
