//! The guards: whether a run may act at all. A pure function. In: the run, its alert and incident as they are now, all other runs, the
//! bounds. Out: a ruling. Fail-closed: what is not known counts as no.

use model::alert::{Alert, AlertState};
use model::event::Actor;
use model::incident::{Incident, IncidentStatus};
use model::time::{Span, Timestamp};

use crate::config::{Action, Config};
use crate::perform::describe;
use crate::run::RepairRun;

/// What the guards say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// It may act.
    Pass,
    /// It may act once a person has said yes: what each rung would do.
    Ask {
        /// One sentence a rung.
        would: Vec<String>,
    },
    /// It is only written down: what each rung would do.
    DryRun {
        /// One sentence a rung.
        would: Vec<String>,
    },
    /// It may not.
    Refuse {
        /// Which guard and why.
        reason: String,
    },
    /// The alert is over.
    NotNeeded,
    /// Ask again soon.
    Wait {
        /// For what.
        reason: String,
    },
}

/// What the guards look at.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// The bounds.
    pub config: &'a Config,
    /// The alert now, if its record exists.
    pub alert: Option<&'a Alert>,
    /// Its incident now, if it has one.
    pub incident: Option<&'a Incident>,
    /// The tenant's runs, this one included or not.
    pub runs: &'a [RepairRun],
    /// Whether `command` actions are off because no key protects this server.
    pub keyless: bool,
    /// When.
    pub now: Timestamp,
}

/// Rules on a planned run.
pub fn rule(run: &RepairRun, scene: &Scene<'_>) -> Ruling {
    let refuse = |reason: String| Ruling::Refuse { reason };
    let age = scene.now.since(run.guarded_since());
    let Some(alert) = scene.alert else { return unknown(run, scene, "the alert's record cannot be found") };
    match alert.state {
        AlertState::Resolved { .. } => return Ruling::NotNeeded,
        AlertState::Pending { .. } => return unknown(run, scene, "the alert is pending again"),
        AlertState::Firing { .. } => {}
    }
    if alert.unknown {
        return unknown(run, scene, "the rule's query fails, so nobody knows whether the alert holds");
    }
    if alert.muted {
        return refuse("silence: the alert is muted by a silence or an inhibition, and so is its repair".to_owned());
    }
    match scene.incident {
        None if alert.severity.opens_incident() && age < scene.config.wait_for_incident.0 => {
            return Ruling::Wait { reason: "the alert's incident is not open yet".to_owned() };
        }
        Some(incident) if !incident.status.is_open() => {
            return refuse(format!("incident {} is {}", incident.number, incident.status.as_str()));
        }
        Some(_) | None => {}
    }
    match forbidden(run, scene).or_else(|| too_much(run, scene)) {
        Some(reason) => refuse(reason),
        None => planned(run),
    }
}

fn unknown(run: &RepairRun, scene: &Scene<'_>, why: &str) -> Ruling {
    if scene.now.since(run.guarded_since()) < scene.config.patience.0 {
        Ruling::Wait { reason: why.to_owned() }
    } else {
        Ruling::Refuse { reason: format!("{why} (waited {})", scene.config.patience) }
    }
}

/// What no run may do.
fn forbidden(run: &RepairRun, scene: &Scene<'_>) -> Option<String> {
    let actions = run.plan.rungs.iter().flat_map(|rung| std::iter::once(&rung.action).chain(&rung.undo));
    for action in actions {
        if let Some(reason) = forbidden_action(action, scene.config, scene.keyless) {
            return Some(reason);
        }
    }
    None
}

/// Why an action may not be carried out now; asked again right before each act.
pub fn forbidden_action(action: &Action, config: &Config, keyless: bool) -> Option<String> {
    match action {
        Action::Http(_) => None,
        Action::Command(_) if keyless => {
            Some("commands are off while no API key exists: create one with `watchfire keys create`".to_owned())
        }
        Action::Command(command) if !config.allow_commands.contains(&command.program) => {
            Some(format!("program {} is not in remediation.allow_commands", command.program))
        }
        Action::Command(_) => None,
    }
}

/// Cooldown, runs per window, blast radius.
fn too_much(run: &RepairRun, scene: &Scene<'_>) -> Option<String> {
    let others = || scene.runs.iter().filter(|other| other.id != run.id);
    let same_plan = |other: &&RepairRun| other.plan.name == run.plan.name;
    if let Some(other) = others().find(|other| other.is_at_work() && other.target == run.target) {
        return Some(format!("blast radius: run {} ({}) is at work on {}", other.id, other.plan.name, run.target));
    }
    let at_work = others().filter(|other| other.is_at_work()).count();
    if at_work >= scene.config.max_concurrent as usize {
        return Some(format!("blast radius: {at_work} runs are at work, remediation.max_concurrent is {}", scene.config.max_concurrent));
    }
    let since = |at: Timestamp| scene.now.since(at);
    let cooling = others().filter(same_plan).filter(|other| other.target == run.target).filter_map(|other| other.acted_at).max();
    if let Some(at) = cooling.filter(|at| since(*at) < run.plan.cooldown.0) {
        let left = Span::secs((run.plan.cooldown.0 - since(at)).as_secs().max(1));
        return Some(format!("cooldown: {} acted on {} at {at}, {left} of {} are left", run.plan.name, run.target, run.plan.cooldown));
    }
    let bound = run.plan.max_runs;
    let counts = |other: &&RepairRun| other.is_at_work() || other.acted_at.is_some_and(|at| since(at) < bound.per.0);
    let recent = others().filter(same_plan).filter(counts).count();
    if recent >= bound.count as usize {
        return Some(format!("max_runs: {} ran {recent} times within {}, {} are allowed", run.plan.name, bound.per, bound.count));
    }
    None
}

/// The last look: every template must fill in before the first act, so that a plan never breaks off in its middle for that.
fn planned(run: &RepairRun) -> Ruling {
    let mut would = Vec::new();
    for rung in &run.plan.rungs {
        for action in std::iter::once(&rung.action).chain(&rung.undo) {
            if let Err(error) = describe(action, &run.facts) {
                return Ruling::Refuse { reason: format!("rung {}: {error}", rung.name) };
            }
        }
        match describe(&rung.action, &run.facts) {
            Ok(what) => would.push(format!("rung {} would do {what}", rung.name)),
            Err(error) => return Ruling::Refuse { reason: format!("rung {}: {error}", rung.name) },
        }
    }
    if run.plan.dry_run {
        Ruling::DryRun { would: would.into_iter().map(|text| format!("dry run: {text}")).collect() }
    } else if run.plan.approval && run.approved.is_none() {
        Ruling::Ask { would }
    } else {
        Ruling::Pass
    }
}

/// What is asked again right before each act, once the guards said yes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Before {
    /// Go on.
    Act,
    /// The alert is over.
    AlertOver,
    /// Something forbids it now.
    Blocked {
        /// What.
        reason: String,
    },
}

/// Whether a rung may still act.
pub fn before(run: &RepairRun, action: Option<&Action>, scene: &Scene<'_>) -> Before {
    let blocked = |reason: String| Before::Blocked { reason };
    if let Some(stop) = &run.stop {
        return blocked(stop.clone());
    }
    match scene.alert {
        Some(alert) if alert.muted => return blocked("a silence or an inhibition mutes the alert now".to_owned()),
        Some(alert) => match alert.state {
            AlertState::Resolved { .. } => return Before::AlertOver,
            AlertState::Pending { .. } | AlertState::Firing { .. } => {}
        },
        None => return blocked("the alert's record cannot be found".to_owned()),
    }
    if let Some(incident) = scene.incident
        && !incident.status.is_open()
    {
        return blocked(ended_by(incident));
    }
    let Some(action) = action else { return blocked("the plan has no such rung".to_owned()) };
    forbidden_action(action, scene.config, scene.keyless).map_or(Before::Act, blocked)
}

fn ended_by(incident: &Incident) -> String {
    let by = match (&incident.status, &incident.resolved_by) {
        (IncidentStatus::Resolved | IncidentStatus::Closed, Some(by)) => format!(" by {by}"),
        (IncidentStatus::Open | IncidentStatus::Acknowledged | IncidentStatus::Cancelled, _)
        | (IncidentStatus::Resolved | IncidentStatus::Closed, None) => String::new(),
    };
    format!("incident {} is {}{by}", incident.number, incident.status.as_str())
}

/// Whether an actor is a person or stands for one: only they stop repairs.
pub fn is_person(actor: &Actor) -> bool {
    match actor {
        Actor::System { .. } => false,
        Actor::User { .. } | Actor::Key { .. } | Actor::Chat { .. } | Actor::Provider { .. } => true,
    }
}
