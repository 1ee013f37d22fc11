//! The writes of this process, one after the other. Commits that come while another one is written wait, and are then written together: one
//! transaction and one sync for all of them, in the order in which they came. Where one of them cannot be (a conflict), nothing of the
//! transaction stays, and each is written by itself; so every caller hears of its own commit.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use model::state::{Commit, Fence, StateError};
use tokio::sync::oneshot;

use super::super::dialect::{Dialect, Synced, failed};
use super::{commit, work};

/// So many commits are written together at most.
const TOGETHER: usize = 128;
/// A group takes no further commit once it has so many rows.
const ROWS: usize = 2_000;

type Numbers = Result<Vec<u64>, StateError>;

/// A commit whose caller waits. One whose caller went away is not written.
struct Waiting {
    commit: Commit,
    answer: oneshot::Sender<Numbers>,
}

/// As many as there are callers: each waits for its own.
#[derive(Default)]
struct Line {
    waiting: VecDeque<Waiting>,
    /// Whether somebody sees to it.
    served: bool,
}

/// Why nobody heard of a commit: the process ends, or the write panicked.
#[derive(Debug, thiserror::Error)]
#[error("the write ended before its answer: the process is ending, or the log says why")]
struct Ending;

/// The only way to write.
pub struct Writer<D: Dialect> {
    pool: D::Pool,
    line: Mutex<Line>,
    /// Whose claims these are; none where nothing is claimed (the command line).
    node: OnceLock<String>,
}

impl<D: Dialect> Writer<D> {
    /// Over a pool of one connection.
    pub fn new(pool: D::Pool) -> Self {
        Writer { pool, line: Mutex::default(), node: OnceLock::new() }
    }

    /// Waits for the turn and begins a transaction. There is one connection, so that writes of this process take turns for it.
    pub async fn begin(&self, doing: &'static str, synced: Synced) -> Result<D::Transaction, StateError> {
        D::begin(&self.pool, synced).await.map_err(failed::<D>(doing))
    }

    /// Claims rows in the name of this node from now on, once and for all.
    pub fn name(&self, node: &str) {
        self.node.get_or_init(|| node.to_owned());
    }

    /// In whose name it claims rows.
    pub fn node(&self) -> Option<&str> {
        self.node.get().map(String::as_str)
    }

    /// Closes the connection once it is idle.
    pub async fn close(&self) {
        D::close(&self.pool).await;
    }

    /// Writes a commit, perhaps together with others. Gives the numbers of its events.
    pub async fn commit(self: &Arc<Self>, commit: Commit) -> Numbers {
        let (answer, told) = oneshot::channel();
        let serve = locked(&self.line).join(Waiting { commit, answer });
        if serve {
            let writer = Arc::clone(self);
            // A task of its own: the others must not wait for a caller that goes away.
            D::apart(&self.pool, Box::pin(async move { writer.serve().await }));
        }
        told.await.unwrap_or_else(|_| Err(StateError::Backend { doing: "committing", source: Box::new(Ending) }))
    }

    async fn serve(&self) {
        let mut serving = Serving { line: &self.line, over: false };
        while let Some(group) = serving.next_group() {
            self.write(group).await;
        }
    }

    async fn write(&self, group: Vec<Waiting>) {
        let (commits, answers): (Vec<Commit>, Vec<_>) = group.into_iter().map(|waiting| (waiting.commit, waiting.answer)).unzip();
        // A caller that went away needs no answer.
        let tell = |answer: oneshot::Sender<Numbers>, numbers| drop(answer.send(numbers));
        match self.together(&commits).await {
            Ok(numbers) => answers.into_iter().zip(numbers).for_each(|(answer, numbers)| tell(answer, Ok(numbers))),
            Err(error) if answers.len() == 1 => {
                if let Some(answer) = answers.into_iter().next() {
                    tell(answer, Err(error));
                }
            }
            Err(_) => {
                for (answer, commit) in answers.into_iter().zip(&commits) {
                    let alone = self.together(std::slice::from_ref(commit)).await;
                    tell(answer, alone.map(|mut numbers| numbers.pop().unwrap_or_default()));
                }
            }
        }
    }

    /// All of them, or none.
    async fn together(&self, commits: &[Commit]) -> Result<Vec<Vec<u64>>, StateError> {
        let synced = if commits.iter().all(|commit| commit.derived) { Synced::WithTheNext } else { Synced::Yes };
        let mut write = self.begin("beginning a commit", synced).await?;
        let mut held: Option<&Fence> = None;
        for fence in commits.iter().filter_map(|commit| commit.fence.as_ref()) {
            if held != Some(fence) {
                commit::fence::<D>(&mut write, fence).await?;
                held = Some(fence);
            }
        }
        // Table by table, each in the order of the commits: what is written alike is then one statement, whoever wrote it.
        let puts: Vec<_> = commits.iter().flat_map(|commit| commit.puts.iter().map(|put| (put, commit.at))).collect();
        commit::puts::<D>(&mut write, &puts).await?;
        let changes: Vec<_> = commits.iter().flat_map(|commit| commit.work.iter().map(|change| (change, commit.at))).collect();
        work::changes::<D>(&mut write, &changes, self.node()).await?;
        let events: Vec<_> = commits.iter().flat_map(|commit| &commit.events).collect();
        let mut numbers = commit::append::<D>(&mut write, &events).await?.into_iter();
        let numbers = commits.iter().map(|commit| numbers.by_ref().take(commit.events.len()).collect()).collect();
        D::commit(write).await.map_err(failed::<D>("committing"))?;
        Ok(numbers)
    }
}

fn locked(line: &Mutex<Line>) -> MutexGuard<'_, Line> {
    line.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whoever sees to the line. Where it goes before its time (the process ends, a write panicked) nobody goes on waiting for it: callers that
/// wait then hear that nothing was written.
struct Serving<'a> {
    line: &'a Mutex<Line>,
    /// From then on the line is somebody else's.
    over: bool,
}

impl Serving<'_> {
    /// The commits that are written next; once there are none, whoever comes serves the line.
    fn next_group(&mut self) -> Option<Vec<Waiting>> {
        let mut line = locked(self.line);
        let group = line.next_group();
        if group.is_empty() {
            line.served = false;
            self.over = true;
            return None;
        }
        Some(group)
    }
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        if !self.over {
            let mut line = locked(self.line);
            line.served = false;
            line.waiting.clear();
        }
    }
}

impl Line {
    /// Whether whoever joins must see to it.
    fn join(&mut self, waiting: Waiting) -> bool {
        self.waiting.push_back(waiting);
        !std::mem::replace(&mut self.served, true)
    }

    /// The commits that are written next, in order.
    fn next_group(&mut self) -> Vec<Waiting> {
        let (mut group, mut rows) = (Vec::new(), 0);
        while group.len() < TOGETHER && rows < ROWS {
            let Some(waiting) = self.waiting.pop_front() else { break };
            if !waiting.answer.is_closed() {
                rows += waiting.commit.puts.len() + waiting.commit.work.len() + waiting.commit.events.len();
                group.push(waiting);
            }
        }
        group
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting() -> (Waiting, oneshot::Receiver<Numbers>) {
        let (answer, told) = oneshot::channel();
        (Waiting { commit: Commit::at(model::time::Timestamp::from_micros(1)), answer }, told)
    }

    #[test]
    fn a_server_that_is_done_leaves_alone_who_came_after_it() {
        let line = Mutex::new(Line::default());
        let (one, _told) = waiting();
        assert!(locked(&line).join(one));
        let mut first = Serving { line: &line, over: false };
        assert_eq!(first.next_group().map(|group| group.len()), Some(1));
        assert!(first.next_group().is_none());
        // Between its last look and its end somebody comes, and is served by another.
        let (two, mut told) = waiting();
        assert!(locked(&line).join(two));
        let mut second = Serving { line: &line, over: false };
        drop(first);
        assert!(told.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty), "it still waits");
        assert_eq!(second.next_group().map(|group| group.len()), Some(1));
    }

    #[test]
    fn who_waits_for_a_server_that_is_gone_hears_of_it() {
        let line = Mutex::new(Line::default());
        let ((one, _), (two, mut told)) = (waiting(), waiting());
        assert!(locked(&line).join(one) && !locked(&line).join(two));
        drop(Serving { line: &line, over: false });
        assert!(told.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Closed));
        assert!(locked(&line).join(waiting().0), "the next one is served");
    }
}
