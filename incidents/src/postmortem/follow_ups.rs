//! The follow-up checklist of a postmortem: what the facts themselves ask for. In: the incident and its draft. Out: tasks as plain
//! sentences, the most telling first. Never fails.

use model::incident::Incident;

use super::draft::Draft;

/// Detection later than this asks for a better alert.
const SLOW_DETECTION: u64 = 300;

/// The tasks.
pub fn follow_ups(incident: &Incident, draft: &Draft) -> Vec<String> {
    let mut tasks = vec!["Name the cause and what allowed it, without blame.".to_owned()];
    if let Some(change) = draft.deployments.iter().rfind(|change| change.suspect) {
        let (service, version) = (&change.service, &change.version);
        tasks.push(format!("Find out whether {service} {version}, out {}, is the cause, and what let it through.", change.when));
    }
    for error in draft.errors.iter().take(3) {
        let news = if error.count_before == 0 { " (new in this incident)" } else { "" };
        tasks.push(format!("Fix {} in {}: {} events{news}.", error.kind, error.service, error.count));
    }
    if incident.clocks.detected.since(incident.clocks.started).as_secs() > SLOW_DETECTION {
        let slow = "Detection took more than 5 minutes: shorten `for` or the window of the rule, or alert on an earlier symptom.";
        tasks.push(slow.to_owned());
    }
    if incident.clocks.acknowledged.is_none() {
        tasks.push(if draft.ladders.is_empty() {
            "Nobody was called: give the alert an escalation ladder.".to_owned()
        } else {
            "Nobody acknowledged: check who was on call and whether the ladder reaches them.".to_owned()
        });
    }
    for failed in draft.notifications.iter().filter(|one| !one.delivered) {
        tasks.push(format!("Repair the receiver {}: {}.", failed.receiver, failed.outcome));
    }
    for repair in &draft.repairs {
        if repair.undo_failed {
            tasks.push(format!("Check by hand what remediation {} left behind: an undo failed.", repair.remediation));
        }
        for rung in repair.rungs.iter().filter(|rung| !rung.helped) {
            tasks.push(format!("Rung {} of remediation {} did not help: repair it or take it out.", rung.name, repair.remediation));
        }
        if repair.helped {
            tasks.push(format!("Remediation {} treated the symptom: remove the cause.", repair.remediation));
        }
    }
    if draft.repairs.is_empty() {
        tasks.push("Nothing was repaired automatically: could a guarded remediation have done it?".to_owned());
    }
    if draft.missing.is_some() {
        tasks.push("Fill in the figures that the telemetry store could not give.".to_owned());
    }
    tasks
}
