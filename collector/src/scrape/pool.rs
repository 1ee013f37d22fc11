//! The loop of a job: takes what discovery finds, makes targets of it, and keeps one runner for each of them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::board::{Place, Pool};
use super::config::TargetGroup;
use super::runner::{self, Wanted};
use super::target::{Target, resolve};
use super::{Shared, discovery};

/// How often runners that ended while their target came back are looked for.
const REVIVE: Duration = Duration::from_secs(5);
/// Reports of discovery that wait.
const WAITING: usize = 16;

/// A target's runner.
struct Running {
    place: Arc<Place>,
    wanted: watch::Sender<Wanted>,
    task: JoinHandle<()>,
}

/// A job at work.
struct Job {
    shared: Arc<Shared>,
    at: usize,
    end: CancellationToken,
    /// What each source found last; the first one is the configuration itself.
    found: Vec<Vec<TargetGroup>>,
    runners: HashMap<u64, Running>,
}

/// Runs a job until the end.
pub(super) async fn run(shared: Arc<Shared>, at: usize, end: CancellationToken) {
    let job = &shared.plans[at].job;
    let (to, mut reports) = mpsc::channel(WAITING);
    let mut sources = JoinSet::new();
    let context =
        |source| discovery::Context { job: job.job_name.clone(), source, to: to.clone(), meters: shared.meters.clone(), end: end.clone() };
    let mut count = 1;
    for file in &job.file_sd_configs {
        sources.spawn(discovery::files(file.clone(), Arc::clone(&shared.beside), context(count)));
        count += 1;
    }
    for (http, client) in job.http_sd_configs.iter().zip(&shared.plans[at].discoveries) {
        sources.spawn(discovery::http(http.clone(), client.clone(), context(count)));
        count += 1;
    }
    let mut found = vec![Vec::new(); count];
    found[0] = job.static_configs.clone();
    let mut work = Job { shared: Arc::clone(&shared), at, end: end.clone(), found, runners: HashMap::new() };
    work.sync();
    loop {
        tokio::select! {
            report = reports.recv() => if let Some((source, groups)) = report {
                work.found[source] = groups;
            },
            () = tokio::time::sleep(REVIVE) => {}
            () = end.cancelled() => break,
        }
        work.sync();
    }
    while sources.join_next().await.is_some() {}
    for (_, running) in work.runners {
        if let Err(error) = running.task.await {
            tracing::error!(%error, "a scrape ended because of a defect");
        }
    }
}

impl Job {
    /// Starts runners of new targets, tells those of vanished ones.
    fn sync(&mut self) {
        let (plan, config) = (&self.shared.plans[self.at], &self.shared.config);
        let resolved = resolve(&plan.job, config, &plan.rules, self.found.iter().flatten());
        let name = plan.job.job_name.clone();
        for error in &resolved.errors {
            tracing::debug!(job = name, %error, "a target cannot be scraped");
        }
        let limit = plan.job.target_limit;
        let over = limit > 0 && resolved.targets.len() as u64 > limit;
        let failing = over.then(|| format!("the job has {} targets, more than target_limit ({limit})", resolved.targets.len()));
        let wanted = failing.map_or(Wanted::Scraped, Wanted::Failing);
        let count = i64::try_from(resolved.targets.len()).unwrap_or(i64::MAX);
        self.shared.meters.targets.with_label_values(&[name.as_str()]).set(count);
        let mut active = Vec::with_capacity(resolved.targets.len());
        for target in resolved.targets {
            active.push(self.keep(target, &wanted));
        }
        for running in self.runners.values().filter(|running| !active.iter().any(|place| Arc::ptr_eq(place, &running.place))) {
            say(running, Wanted::Gone);
        }
        self.runners.retain(|_, running| !running.task.is_finished());
        self.shared.board.pools().insert(name, Pool { active, dropped: resolved.dropped });
    }

    /// The place of a target, with a runner that is at work or about to be.
    fn keep(&mut self, target: Target, wanted: &Wanted) -> Arc<Place> {
        match self.runners.entry(target.key) {
            Entry::Occupied(running) if !running.get().task.is_finished() => {
                say(running.get(), wanted.clone());
                Arc::clone(&running.get().place)
            }
            entry => {
                let (place, (say, told)) = (Arc::new(Place::new(target)), watch::channel(wanted.clone()));
                let task = tokio::spawn(runner::run(Arc::clone(&self.shared), self.at, Arc::clone(&place), told, self.end.clone()));
                entry.insert_entry(Running { place: Arc::clone(&place), wanted: say, task });
                place
            }
        }
    }
}

fn say(running: &Running, wanted: Wanted) {
    running.wanted.send_if_modified(|before| std::mem::replace(before, wanted.clone()) != wanted);
}
