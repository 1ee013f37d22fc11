//! The error issues of a simulation: what each was after each of its changes, made known as the clock goes on. Rules over issues that came
//! back, and those that leave ignored ones out, read the list at their moment. In: issues with their moments. Out: records of the state.

use std::collections::BTreeMap;

use anyhow::Context;
use incidents::issues::machine;
use model::issue::Issue;
use model::state::{Commit, Expect, Records, load};
use model::time::Timestamp;
use store::state::MemoryState;

/// Issues as they were from a moment on, in the order of these.
#[derive(Debug, Default)]
pub struct PastIssues(BTreeMap<Timestamp, Vec<Issue>>);

impl PastIssues {
    /// From each issue and moment given, in their order.
    pub fn new(changes: impl IntoIterator<Item = (Timestamp, Issue)>) -> Self {
        let mut past = BTreeMap::<Timestamp, Vec<Issue>>::new();
        for (at, issue) in changes {
            past.entry(at).or_default().push(issue);
        }
        PastIssues(past)
    }

    /// What these issues remember of themselves.
    pub fn of(issues: &[Issue]) -> Self {
        Self::new(issues.iter().flat_map(machine::past))
    }

    /// Writes what became known up to a moment, inclusive.
    pub(super) async fn bring(&mut self, state: &MemoryState, until: Timestamp) -> anyhow::Result<()> {
        let mut newest = BTreeMap::new();
        while let Some(entry) = self.0.first_entry().filter(|entry| *entry.key() <= until) {
            newest.extend(entry.remove().into_iter().map(|issue| (issue.id, issue)));
        }
        for issue in newest.into_values() {
            let known = load::<Issue>(state, &issue.tenant, &issue.id.to_string()).await?;
            let mut commit = Commit::at(until);
            commit.put(&issue, known.map_or(Expect::New, |known| Expect::Version(known.version)))?;
            state.commit(commit).await.context("writing error issues")?;
        }
        Ok(())
    }
}
