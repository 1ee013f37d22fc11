//! The error issues of a test: what `input_errors` and what people make of them come to, by the very rules by which issues live in service.
//! In: the test's YAML. Out: each issue after each of its changes, or the line and the sentence for what nobody can do. Pure.

use std::collections::{BTreeMap, BTreeSet};

use incidents::issues::machine::{Input, apply, decide};
use incidents::issues::sighting::{Sighting, observe};
use model::event::Actor;
use model::fingerprint::Fingerprint;
use model::ids::IssueId;
use model::issue::{Group, IgnoreUntil, Issue, IssueChange, IssueState};
use model::tenant::TenantId;
use model::time::Timestamp;
use serde_saphyr::Spanned;

use super::file::{ActYaml, TestYaml, line};
use super::signals::ErrorYaml;

/// What happens to issues at one moment.
enum Happening<'a> {
    Seen(&'a ErrorYaml),
    Act(&'a Spanned<ActYaml>),
}

fn seen(error: &ErrorYaml, at: Timestamp) -> Sighting {
    Sighting {
        tenant: TenantId::default(),
        fingerprint: error.fingerprint(),
        newest: 0,
        services: BTreeMap::from([(error.service.clone(), 1)]),
        releases: BTreeMap::from([(error.release.clone(), (at, at))]),
        first_seen: at,
        last_seen: at,
    }
}

fn newborn(error: &ErrorYaml, number: u64, at: Timestamp) -> Issue {
    Issue {
        id: IssueId::derived(at, &number.to_string()),
        tenant: TenantId::default(),
        number,
        title: error.title(),
        kind: error.kind.clone(),
        message: error.message.clone(),
        culprit: String::new(),
        grouped_by: String::new(),
        state: IssueState::Open,
        assignee: None,
        services: Vec::new(),
        first_release: Some(error.release.clone()).filter(|release| !release.is_empty()),
        releases: Vec::new(),
        groups: vec![Group { fingerprint: error.fingerprint(), first_seen: at, last_seen: at }],
        absorbed: Vec::new(),
        regressions: 0,
        history: Vec::new(),
    }
}

/// The issues while time passes.
#[derive(Default)]
struct Issues {
    known: BTreeMap<Fingerprint, Issue>,
    /// Each as it was from a moment on.
    changes: Vec<(Timestamp, Issue)>,
}

impl Issues {
    fn see(&mut self, error: &ErrorYaml, at: Timestamp) {
        let number = self.known.len() as u64 + 1;
        let (sighting, by) = (seen(error, at), Actor::system("issues"));
        let issue = self.known.entry(error.fingerprint()).or_insert_with(|| newborn(error, number, at));
        let followed = if issue.history.is_empty() {
            vec![IssueChange::Opened { title: issue.title.clone(), fingerprint: sighting.fingerprint }]
        } else {
            decide(issue, &Input::Seen(&sighting), at).unwrap_or_default()
        };
        observe(issue, &sighting);
        followed.iter().for_each(|change| apply(issue, change, at, &by));
        if !followed.is_empty() {
            self.changes.push((at, issue.clone()));
        }
    }

    fn act(&mut self, act: &ActYaml, at: Timestamp) -> Result<(), String> {
        let by = Actor::User { id: "test".to_owned() };
        let (input, named) = match (&act.resolve_error, &act.ignore_error) {
            (Some(named), None) => (Input::Resolve { in_release: act.in_release.clone() }, named),
            (None, Some(named)) => (Input::Ignore { until: IgnoreUntil::Forever }, named),
            (Some(_), Some(_)) | (None, None) => return Ok(()), // told where people act
        };
        let mut found: Vec<&mut Issue> = self.known.values_mut().filter(|issue| issue.kind == *named || issue.title == *named).collect();
        if found.is_empty() {
            return Err(format!("no error `{named}` has come by then: name a type, or `type: message`"));
        }
        for issue in &mut found {
            let followed = decide(issue, &input, at).map_err(|error| error.to_string())?;
            followed.iter().for_each(|change| apply(issue, change, at, &by));
            self.changes.push((at, (**issue).clone()));
        }
        Ok(())
    }
}

/// Every issue after each of its changes; else the line and the sentence for what cannot be done.
pub(super) fn past(yaml: &TestYaml, start: Timestamp) -> Result<Vec<(Timestamp, Issue)>, (u64, String)> {
    let acts: Vec<&Spanned<ActYaml>> = yaml.people.iter().flatten().filter(|act| act.value.is_about_errors()).collect();
    // Between two acts only the first and the last event of each kind can change anything: the rest is as they are.
    let edges: BTreeSet<Timestamp> = acts.iter().map(|act| start.plus(act.value.at.0)).collect();
    let mut happenings: Vec<(Timestamp, Happening<'_>)> = Vec::new();
    for error in yaml.input_errors.iter().flatten().map(|one| &one.value) {
        happenings.extend(error.edges(start, &edges).into_iter().map(|at| (at, Happening::Seen(error))));
    }
    happenings.extend(acts.into_iter().map(|act| (start.plus(act.value.at.0), Happening::Act(act))));
    // What is seen at the moment of an act was seen before it.
    happenings.sort_by_key(|(at, _)| *at);
    let mut issues = Issues::default();
    for (at, happening) in happenings {
        match happening {
            Happening::Seen(error) => issues.see(error, at),
            Happening::Act(act) => issues.act(&act.value, at).map_err(|error| (line(act), error))?,
        }
    }
    Ok(issues.changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Minute, number and state of each change.
    type Changes = Vec<(u64, u64, &'static str)>;

    fn lived(yaml: &str) -> Result<Changes, (u64, String)> {
        let yaml: TestYaml = serde_saphyr::from_str(yaml).unwrap();
        let start = Timestamp::from_secs(1_800_000_000);
        let changes = past(&yaml, start)?;
        Ok(changes.iter().map(|(at, issue)| (at.since(start).as_secs() / 60, issue.number, issue.state.as_str())).collect())
    }

    const ERRORS: &str = "
input_errors:
- { at: 0s, count: 100, every: 30s, service: shop, type: KeyError, message: price, release: '1.3' }
- { at: 20m, service: shop, type: KeyError, message: price, release: '1.4' }
- { at: 4m, service: shop, type: IOError }
people:
";

    #[test]
    fn what_is_resolved_comes_back_in_the_release_that_should_have_the_fix() {
        let open = [(0, 1, "open"), (4, 2, "open")];
        let after = |acts: &str| lived(&format!("{ERRORS}{acts}")).map(|found| found[2..].to_vec());
        assert_eq!(lived(&format!("{ERRORS}- {{ at: 1h, resolve_error: KeyError }}")).unwrap()[..2], open);
        assert_eq!(after("- { at: 10m, resolve_error: KeyError, in_release: '1.4' }"), Ok(vec![(10, 1, "resolved"), (20, 1, "regressed")]));
        assert_eq!(after("- { at: 10m, resolve_error: 'KeyError: price' }"), Ok(vec![(10, 1, "resolved"), (10, 1, "regressed")]));
        assert_eq!(after("- { at: 30m, resolve_error: IOError }"), Ok(vec![(30, 2, "resolved")]), "it does not come again");
        assert_eq!(after("- { at: 10m, ignore_error: KeyError }"), Ok(vec![(10, 1, "ignored")]));
    }

    #[test]
    fn what_nobody_can_do_is_told_with_its_line() {
        for (acts, line, said) in [
            ("- { at: 10m, resolve_error: OSError }", 7, "no error `OSError` has come by then"),
            ("- { at: 1m, resolve_error: IOError }", 7, "no error `IOError` has come by then"),
            ("- { at: 50m, resolve_error: IOError }\n- { at: 51m, resolve_error: IOError }", 8, "cannot be resolved"),
        ] {
            let (at, problem) = lived(&format!("{ERRORS}{acts}")).unwrap_err();
            assert!(at == line && problem.contains(said), "{acts}: line {at}: {problem}");
        }
    }
}
