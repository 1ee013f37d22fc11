//! The commands of the API: resolve, unresolve, ignore, assign, merge, unmerge. In: a word and a JSON body. Out: the issue afterwards.
//! A command that somebody else overtook is decided again on a fresh read.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use model::access::{Permission, Principal};
use model::event::Actor;
use model::issue::{IgnoreUntil, Issue, IssueChange};
use model::state::{Commit, Expect, TRIES, Versioned};
use model::tenant::TenantId;
use model::time::{Span, Timestamp};
use serde::Deserialize;
use serde_json::json;

use super::super::forget::{event, owner};
use super::super::list::view;
use super::super::machine::{Input, apply, decide, sentence};
use super::super::merge::{Moved, merge, unmerge};
use super::{Desk, find};
use crate::router::ApiError;

/// The longest body, in bytes.
const LONGEST: usize = 8 * 1024;
/// Issues that one request merges.
const MOST_MERGED: usize = 50;

/// A number or an id.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Reference {
    Number(u64),
    Text(String),
}

impl Reference {
    fn text(&self) -> String {
        match self {
            Reference::Number(number) => number.to_string(),
            Reference::Text(text) => text.clone(),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Said {
    in_release: Option<String>,
    #[serde(rename = "for")]
    length: Option<Span>,
    until: Option<Timestamp>,
    events: Option<u64>,
    users: Option<u64>,
    to: Option<String>,
    issue: Option<Reference>,
    issues: Vec<Reference>,
}

/// What is wanted.
enum Wish {
    One(Input<'static>),
    Merge(Vec<Reference>),
    Unmerge(Reference),
}

fn until(said: &Said, now: Timestamp) -> Result<IgnoreUntil, ApiError> {
    let wishes = [
        said.length.map(|length| IgnoreUntil::Time { at: now.plus(length.0) }),
        said.until.map(|at| IgnoreUntil::Time { at }),
        said.events.map(|count| IgnoreUntil::Events { count }),
        said.users.map(|count| IgnoreUntil::Users { count }),
    ];
    let mut wishes = wishes.into_iter().flatten();
    let first = wishes.next().unwrap_or(IgnoreUntil::Forever);
    match wishes.next() {
        Some(_) => Err(ApiError::bad_request("an issue is ignored for one of `for`, `until`, `events` or `users`: name one")),
        None => Ok(first),
    }
}

fn parse(word: &str, body: &[u8], now: Timestamp) -> Result<Wish, ApiError> {
    if body.len() > LONGEST {
        return Err(ApiError::bad_request(format!("the body is longer than {LONGEST} bytes")));
    }
    let blank = body.iter().all(u8::is_ascii_whitespace);
    let said: Said = if blank { Ok(Said::default()) } else { serde_json::from_slice(body) }
        .map_err(|error| ApiError::bad_request(format!("the body is not JSON such as {{\"in_release\": \"1.4.0\"}}: {error}")))?;
    Ok(match word {
        "resolve" => Wish::One(Input::Resolve { in_release: said.in_release }),
        "unresolve" => Wish::One(Input::Unresolve),
        "ignore" => Wish::One(Input::Ignore { until: until(&said, now)? }),
        "assign" => Wish::One(Input::Assign { to: said.to }),
        "merge" if said.issues.is_empty() || said.issues.len() > MOST_MERGED => {
            let example = "{\"issues\": [7, 9]}";
            return Err(ApiError::bad_request(format!("name 1 to {MOST_MERGED} issues to be merged into this one: {example}")));
        }
        "merge" => Wish::Merge(said.issues),
        "unmerge" => match said.issue {
            Some(part) => Wish::Unmerge(part),
            None => return Err(ApiError::bad_request("name the issue that is to be one of its own again: {\"issue\": 7}")),
        },
        other => {
            let known = "resolve, unresolve, ignore, assign, merge or unmerge";
            return Err(ApiError::not_found(format!("`{other}` is no command for an error issue: use {known}")));
        }
    })
}

/// Carries a command out.
pub(super) async fn command(
    State(desk): State<Arc<Desk>>,
    Extension(principal): Extension<Principal>,
    Path((reference, word)): Path<(String, String)>,
    body: Bytes,
) -> Result<Response, ApiError> {
    principal.require(Permission::Respond)?;
    for attempt in 1.. {
        let now = desk.state.now().await?;
        let wish = parse(&word, &body, now)?;
        let hand = Hand { desk: &desk, tenant: &principal.tenant, actor: &principal.actor, now };
        let found = find(&desk, &principal.tenant, &reference).await?;
        let (commit, issue, message) = match wish {
            Wish::One(input) => hand.one(found, &input)?,
            Wish::Merge(parts) => hand.merge(found, &parts).await?,
            Wish::Unmerge(part) => hand.unmerge(found, &part).await?,
        };
        match desk.state.commit(commit).await {
            Ok(_) => return Ok(Json(json!({"issue": view(&issue), "message": message})).into_response()),
            Err(error) if error.is_conflict() && attempt < TRIES => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(ApiError::busy())
}

/// Who does it, when.
struct Hand<'a> {
    desk: &'a Desk,
    tenant: &'a TenantId,
    actor: &'a Actor,
    now: Timestamp,
}

type Done = (Commit, Issue, String);

impl Hand<'_> {
    fn event(&self, commit: &mut Commit, issue: &Issue, change: IssueChange) {
        commit.event(event(issue, change, self.actor, self.now, &*self.desk.ids));
    }

    fn one(&self, found: Versioned<Issue>, input: &Input<'_>) -> Result<Done, ApiError> {
        let Versioned { entity: mut issue, version } = found;
        let changes = decide(&issue, input, self.now)?;
        let mut commit = Commit::at(self.now);
        let words: Vec<String> = changes.iter().map(sentence).collect();
        for change in changes {
            apply(&mut issue, &change, self.now, self.actor);
            self.event(&mut commit, &issue, change);
        }
        let message = if words.is_empty() { "nothing to change".to_owned() } else { words.join(", ") };
        if !commit.is_empty() {
            commit.put(&issue, Expect::Version(version))?;
        }
        let message = format!("issue {}: {message}", issue.number);
        Ok((commit, issue, message))
    }

    async fn merge(&self, found: Versioned<Issue>, parts: &[Reference]) -> Result<Done, ApiError> {
        let Versioned { entity: mut whole, version } = found;
        let (mut commit, mut numbers) = (Commit::at(self.now), Vec::new());
        for reference in parts {
            let Versioned { entity: mut part, version } = find(self.desk, self.tenant, &reference.text()).await?;
            if numbers.contains(&part.number) {
                continue;
            }
            let brought: Vec<_> = part.fingerprints().collect();
            let moved = merge(&mut whole, &mut part, self.now, self.actor)?;
            for fingerprint in brought {
                commit.put(&owner(&whole, fingerprint), Expect::Any)?;
            }
            self.both(&mut commit, &whole, &part, moved);
            commit.put(&part, Expect::Version(version))?;
            numbers.push(part.number);
        }
        commit.put(&whole, Expect::Version(version))?;
        let numbers: Vec<String> = numbers.iter().map(u64::to_string).collect();
        let message = format!("issue {}: {} merged into it", whole.number, numbers.join(", "));
        Ok((commit, whole, message))
    }

    async fn unmerge(&self, found: Versioned<Issue>, reference: &Reference) -> Result<Done, ApiError> {
        let Versioned { entity: mut whole, version } = found;
        let part = find(self.desk, self.tenant, &reference.text()).await?;
        let mut commit = Commit::at(self.now);
        let Versioned { entity: mut part, version: part_version } = part;
        let moved = unmerge(&mut whole, &mut part, self.now, self.actor)?;
        for fingerprint in part.fingerprints() {
            commit.put(&owner(&part, fingerprint), Expect::Any)?;
        }
        self.both(&mut commit, &whole, &part, moved);
        commit.put(&part, Expect::Version(part_version))?;
        commit.put(&whole, Expect::Version(version))?;
        let message = format!("issue {}: issue {} is one of its own again", whole.number, part.number);
        Ok((commit, whole, message))
    }

    fn both(&self, commit: &mut Commit, whole: &Issue, part: &Issue, moved: Moved) {
        self.event(commit, whole, moved.whole);
        self.event(commit, part, moved.part);
    }
}
