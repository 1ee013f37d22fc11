//! Deployments as events: checks what somebody says, records it once, finds what went out in a window, and marks it in the timelines of
//! open incidents. In: a request or a journal event. Out: records and events. Bad words are told in one sentence; only the state
//! store fails.

use std::time::Duration;

use model::alert::Alert;
use model::deployment::Deployment;
use model::event::{Actor, Event, EventKind, Subject};
use model::ids::{DeploymentId, EventId, IdSource};
use model::incident::Incident;
use model::labels::Labels;
use model::state::{Commit, Expect, RecordQuery, Records, StateError, StateStore, by_key, decode, load};
use model::tenant::TenantId;
use model::time::Timestamp;
use serde::Deserialize;

/// The longest service, version, environment and key, in bytes.
const LONGEST_NAME: usize = 256;
/// The longest description and the longest link, in bytes.
const LONGEST_DESCRIPTION: usize = 8 * 1024;
const LONGEST_LINK: usize = 2 * 1024;
/// How far in the future a deployment may lie: clocks differ.
const AHEAD: Duration = Duration::from_secs(600);
/// 2000-01-01: what is older is a unit mistaken.
const EARLIEST: Timestamp = Timestamp::from_secs(946_684_800);
/// Where a deployment goes that does not say.
pub const USUAL_ENVIRONMENT: &str = "production";
/// How many records are read at a time, and how many times.
const PAGE: usize = 1_000;
const PAGES: usize = 50;

/// What somebody says about a deployment.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Said {
    /// Which service, as its telemetry calls itself.
    pub service: String,
    /// Which version.
    pub version: String,
    /// Where; none: `production`.
    #[serde(default)]
    pub environment: Option<String>,
    /// What is in it.
    #[serde(default)]
    pub description: Option<String>,
    /// Where to read more.
    #[serde(default)]
    pub link: Option<String>,
    /// When it went out; none: now.
    #[serde(default)]
    pub at: Option<Timestamp>,
    /// The same key means the same deployment; none: service, version, environment and time together.
    #[serde(default)]
    pub key: Option<String>,
}

/// Whether an address may become a link in a document: http or https, and no sign that Markdown or a table would read.
pub fn is_link(text: &str) -> bool {
    let plain = text.chars().all(|c| c.is_ascii_graphic() && !"<>\"`{}|\\^".contains(c));
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    plain && rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
}

/// Checks what was said. The error is one sentence with the field and the fix.
pub fn check(said: Said, tenant: &TenantId, now: Timestamp, by: Actor) -> Result<Deployment, String> {
    let name = |field: &str, text: &str| {
        let text = text.trim();
        if text.is_empty() {
            return Err(format!("`{field}` is empty: say for example {{\"service\": \"checkout\", \"version\": \"1.4.2\"}}"));
        }
        if text.len() > LONGEST_NAME || text.chars().any(char::is_control) {
            return Err(format!("`{field}` must be at most {LONGEST_NAME} bytes long and hold no control characters"));
        }
        Ok(text.to_owned())
    };
    let service = name("service", &said.service)?;
    let version = name("version", &said.version)?;
    let environment = name("environment", said.environment.as_deref().unwrap_or(USUAL_ENVIRONMENT))?;
    let at = said.at.unwrap_or(now);
    if at > now.plus(AHEAD) || at < EARLIEST {
        return Err(format!("`at` is {at}, and it is {now} now: give the moment at which the version went out"));
    }
    let description = said.description.filter(|text| !text.trim().is_empty());
    if description.as_ref().is_some_and(|text| text.len() > LONGEST_DESCRIPTION) {
        return Err(format!("`description` is longer than {LONGEST_DESCRIPTION} bytes: shorten it and give a `link`"));
    }
    let link = said.link.filter(|link| !link.is_empty());
    if let Some(link) = link.as_ref().filter(|link| link.len() > LONGEST_LINK || !is_link(link)) {
        let shown: String = link.chars().take(100).collect();
        return Err(format!("`link` {shown:?} is not an http or https address of at most {LONGEST_LINK} plain characters"));
    }
    let key = match &said.key {
        Some(key) => name("key", key)?,
        None => Deployment::natural_key(&service, &version, &environment, at),
    };
    let id = Deployment::id_of(tenant, &key, at);
    Ok(Deployment { id, tenant: tenant.clone(), key, service, version, environment, description, link, at, recorded_at: now, by })
}

/// What became of a recording.
#[derive(Clone, Debug, PartialEq)]
pub enum Recording {
    /// It is new.
    Made(Deployment),
    /// It had been recorded already; nothing was changed.
    Known(Deployment),
    /// Its key names another one.
    Taken(Deployment),
}

/// Records it, once: the same key again changes nothing.
pub async fn record(state: &dyn StateStore, ids: &dyn IdSource, deployment: Deployment) -> Result<Recording, StateError> {
    let known = async || by_key::<Deployment>(state, &deployment.tenant, &deployment.key).await;
    if let Some(found) = known().await? {
        return Ok(compare(&deployment, found.entity));
    }
    let mut commit = Commit::at(deployment.recorded_at);
    commit.put(&deployment, Expect::New)?;
    commit.event(Event {
        id: EventId::new(deployment.recorded_at, ids),
        tenant: deployment.tenant.clone(),
        at: deployment.recorded_at,
        actor: deployment.by.clone(),
        subject: Subject::default(),
        kind: EventKind::DeploymentRecorded {
            deployment: deployment.id,
            service: deployment.service.clone(),
            version: deployment.version.clone(),
            environment: deployment.environment.clone(),
            at: deployment.at,
        },
    });
    match state.commit(commit).await {
        Ok(_) => Ok(Recording::Made(deployment)),
        // Somebody recorded the same one in this very moment.
        Err(error) if error.is_conflict() => match known().await? {
            Some(found) => Ok(compare(&deployment, found.entity)),
            None => Err(error),
        },
        Err(error) => Err(error),
    }
}

fn compare(said: &Deployment, known: Deployment) -> Recording {
    let what = |one: &Deployment| (one.service.clone(), one.version.clone(), one.environment.clone());
    if what(said) == what(&known) { Recording::Known(known) } else { Recording::Taken(known) }
}

/// Which deployments a reader wants.
#[derive(Clone, Debug)]
pub struct Window {
    /// Whose.
    pub tenant: TenantId,
    /// Of these services; none means all.
    pub services: Vec<String>,
    /// In this environment; none means all.
    pub environment: Option<String>,
    /// From here on,
    pub from: Timestamp,
    /// up to here, included.
    pub to: Timestamp,
    /// At most so many.
    pub limit: usize,
}

/// The smallest id of a moment.
#[derive(Debug)]
struct Smallest;

impl IdSource for Smallest {
    fn random(&self) -> u128 {
        0
    }
}

/// What went out within a window, newest first.
pub async fn within(state: &(impl Records + ?Sized), window: &Window) -> Result<Vec<Deployment>, StateError> {
    let mut found = Vec::new();
    let mut before = DeploymentId::new(window.to.plus(Duration::from_millis(1)), &Smallest).to_string();
    for _ in 0..PAGES {
        let query = RecordQuery {
            tenant: Some(window.tenant.clone()),
            kind: <Deployment as model::state::Entity>::KIND,
            before: Some(before),
            limit: PAGE,
            ..RecordQuery::default()
        };
        let page = state.find(&query).await?;
        let (full, last) = (page.len() >= PAGE, page.last().map(|record| record.id.clone()));
        for record in page {
            let deployment = decode::<Deployment>(record)?.entity;
            if deployment.at < window.from {
                return Ok(found);
            }
            let wanted = (window.services.is_empty() || window.services.contains(&deployment.service))
                && window.environment.as_ref().is_none_or(|environment| *environment == deployment.environment)
                && deployment.at <= window.to;
            if wanted {
                found.push(deployment);
            }
            if found.len() >= window.limit {
                return Ok(found);
            }
        }
        match last.filter(|_| full) {
            Some(last) => before = last,
            None => return Ok(found),
        }
    }
    Ok(found)
}

/// The services that some labels name, each once.
pub fn services<'a>(named: impl IntoIterator<Item = &'a Labels>) -> Vec<String> {
    let of = |labels: &Labels| labels.get("service_name").or_else(|| labels.get("service")).map(str::to_owned);
    let mut services: Vec<String> = named.into_iter().filter_map(of).collect();
    services.sort();
    services.dedup();
    services
}

/// The services that an incident is about: those of its alerts and of its group.
pub async fn services_of(state: &dyn StateStore, incident: &Incident) -> Result<Vec<String>, StateError> {
    let mut labels = vec![incident.group.clone()];
    for id in &incident.alerts {
        labels.extend(load::<Alert>(state, &incident.tenant, &id.to_string()).await?.map(|found| found.entity.labels));
    }
    Ok(services(&labels))
}

/// The line of a deployment in an incident's timeline.
pub fn mark(deployment: &Deployment) -> EventKind {
    EventKind::DeploymentMarked {
        deployment: deployment.id,
        service: deployment.service.clone(),
        version: deployment.version.clone(),
        environment: deployment.environment.clone(),
        at: deployment.at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_772_000_000);

    fn said(change: impl FnOnce(&mut Said)) -> Result<Deployment, String> {
        let mut said = Said { service: "checkout".into(), version: "1.4.2".into(), ..Said::default() };
        change(&mut said);
        check(said, &TenantId::default(), NOW, Actor::system("test"))
    }

    #[test]
    fn what_is_missing_has_its_default_and_what_is_wrong_is_named() {
        let plain = said(|_| {}).unwrap();
        assert_eq!((plain.environment.as_str(), plain.at, plain.recorded_at), ("production", NOW, NOW));
        assert_eq!(said(|one| one.service = " checkout ".into()).unwrap().id, plain.id, "the same natural key");
        assert_eq!(said(|one| one.key = Some("build 7".into())).unwrap().key, "build 7");
        for (field, wrong) in [
            ("service", said(|one| one.service = " ".into())),
            ("version", said(|one| one.version = "a\nb".into())),
            ("environment", said(|one| one.environment = Some("e".repeat(257)))),
            ("description", said(|one| one.description = Some("d".repeat(8_193)))),
            ("link", said(|one| one.link = Some("javascript:alert(1)".into()))),
            ("at", said(|one| one.at = Some(NOW.plus(Duration::from_secs(601))))),
            ("at", said(|one| one.at = Some(Timestamp::from_secs(1_772_000)))),
            ("key", said(|one| one.key = Some(String::new()))),
        ] {
            let problem = wrong.unwrap_err();
            assert!(problem.starts_with(&format!("`{field}`")), "{problem}");
        }
    }

    #[test]
    fn links_are_addresses_that_no_document_misreads() {
        for good in ["https://ci.example.org/build/7?x=(1)#a", "http://ci/"] {
            assert!(is_link(good), "{good}");
        }
        for bad in ["https://", "https:///x", "ftp://ci", "https://ci/a b", "https://ci/<b>", "https://ci/|", "javascript:alert(1)", ""] {
            assert!(!is_link(bad), "{bad}");
        }
    }
}
