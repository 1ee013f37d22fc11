//! The loop of a job: takes what discovery finds, makes targets of it, and keeps one runner for each of them. A job whose
//! settings change keeps its runners; only sources of targets that changed are asked anew.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::board::{Place, Pool};
use super::config::{self, TargetGroup};
use super::runner::{self, Doing, Wanted};
use super::target::{Resolved, Target, resolve};
use super::{Plan, Shared, discovery};

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

/// Where a job's targets come from, at work.
struct Sources {
    reports: mpsc::Receiver<discovery::Found>,
    tasks: JoinSet<()>,
    end: CancellationToken,
}

/// A job at work.
struct Job {
    shared: Arc<Shared>,
    plan: Arc<Plan>,
    end: CancellationToken,
    /// Whether it is still wanted.
    wanted: bool,
    /// What each source found last; the first one is the configuration itself.
    found: Vec<Vec<TargetGroup>>,
    runners: HashMap<u64, Running>,
}

/// Runs a job until the end, or until it is no longer wanted (`None`) and all its targets are buried. `plan` is the first
/// `wanted`.
pub(super) async fn run(shared: Arc<Shared>, plan: Arc<Plan>, mut wanted: watch::Receiver<Option<Arc<Plan>>>, end: CancellationToken) {
    let mut sources = Sources::start(&shared, &plan, &end);
    let mut work = Job { shared, plan, end: end.clone(), wanted: true, found: Vec::new(), runners: HashMap::new() };
    work.found = carried(&config::Job::default(), &[], &work.plan.job);
    work.take(&mut wanted, &mut sources).await;
    while work.sync() {
        if !work.changed(&mut wanted, &mut sources).await {
            break;
        }
    }
    sources.end().await;
    for (_, running) in work.runners.drain() {
        // Without somebody who tells it what to do a runner ends.
        drop(running.wanted);
        if let Err(error) = running.task.await {
            tracing::error!(%error, "a scrape ended because of a defect");
        }
    }
}

impl Sources {
    fn start(shared: &Arc<Shared>, plan: &Plan, end: &CancellationToken) -> Self {
        let (to, reports) = mpsc::channel(WAITING);
        let (mut tasks, end) = (JoinSet::new(), end.child_token());
        let context = |source| {
            let (job, meters) = (plan.job.job_name.clone(), shared.meters.clone());
            discovery::Context { job, source, to: to.clone(), meters, end: end.clone() }
        };
        let files = plan.job.file_sd_configs.len();
        for (at, file) in plan.job.file_sd_configs.iter().enumerate() {
            tasks.spawn(discovery::files(file.clone(), Arc::clone(&shared.beside), context(1 + at)));
        }
        for (at, (http, client)) in plan.job.http_sd_configs.iter().zip(&plan.discoveries).enumerate() {
            tasks.spawn(discovery::http(http.clone(), client.clone(), context(1 + files + at)));
        }
        Sources { reports, tasks, end }
    }

    async fn end(&mut self) {
        self.end.cancel();
        // Nobody waits for a place in the queue any more.
        self.reports.close();
        while self.tasks.join_next().await.is_some() {}
    }
}

impl Job {
    /// Waits until something changed; whether to go on.
    async fn changed(&mut self, wanted: &mut watch::Receiver<Option<Arc<Plan>>>, sources: &mut Sources) -> bool {
        loop {
            tokio::select! {
                report = sources.reports.recv() => if let Some((source, groups)) = report && let Some(found) = self.found.get_mut(source) {
                    *found = groups;
                    return true;
                },
                changed = wanted.changed() => {
                    if changed.is_ok() {
                        self.take(wanted, sources).await;
                    }
                    return changed.is_ok();
                }
                () = tokio::time::sleep(REVIVE) => if self.runners.values().any(|running| running.task.is_finished()) {
                    return true;
                },
                () = self.end.cancelled() => return false,
            }
        }
    }

    /// Goes on with what is wanted now.
    async fn take(&mut self, wanted: &mut watch::Receiver<Option<Arc<Plan>>>, sources: &mut Sources) {
        let plan = wanted.borrow_and_update().clone();
        self.wanted = plan.is_some();
        let Some(plan) = plan.filter(|plan| !Arc::ptr_eq(plan, &self.plan)) else { return };
        let (old, new) = (&self.plan.job, &plan.job);
        let same = old.file_sd_configs == new.file_sd_configs && old.http_sd_configs == new.http_sd_configs;
        self.found = carried(old, &self.found, new);
        if !same {
            sources.end().await;
            *sources = Sources::start(&self.shared, &plan, &self.end);
        }
        self.plan = plan;
    }

    /// Starts runners of new targets, tells those of vanished ones; whether there is anything left to do.
    fn sync(&mut self) -> bool {
        let plan = Arc::clone(&self.plan);
        let name = &plan.job.job_name;
        let resolved = match self.wanted {
            true => resolve(&plan.job, plan.pace, &plan.rules, self.found.iter().flatten()),
            false => Resolved::default(),
        };
        for error in &resolved.errors {
            tracing::warn!(job = name, %error, "a target cannot be scraped");
        }
        let limit = plan.job.target_limit;
        let over = limit > 0 && resolved.targets.len() as u64 > limit;
        let failing = over.then(|| format!("the job has {} targets, more than target_limit ({limit})", resolved.targets.len()));
        let wanted = Wanted { plan: Arc::clone(&plan), doing: failing.map_or(Doing::Scraping, Doing::Failing) };
        let active: Vec<Arc<Place>> = resolved.targets.into_iter().map(|target| self.keep(target, &wanted)).collect();
        let keys: HashSet<u64> = active.iter().map(|place| place.target.key).collect();
        for (_, running) in self.runners.iter().filter(|(key, _)| !keys.contains(*key)) {
            say(running, Wanted { plan: Arc::clone(&plan), doing: Doing::Burying });
        }
        self.runners.retain(|_, running| !running.task.is_finished());
        self.show(active, resolved.dropped);
        self.wanted || !self.runners.is_empty()
    }

    fn show(&self, active: Vec<Arc<Place>>, mut dropped: Vec<model::labels::Labels>) {
        let (name, plan) = (&self.plan.job.job_name, &self.plan);
        let mut pools = self.shared.board.pools();
        if self.wanted {
            let count = i64::try_from(active.len()).unwrap_or(i64::MAX);
            self.shared.meters.targets.with_label_values(&[name.as_str()]).set(count);
            let dropped_count = dropped.len();
            if plan.job.keep_dropped_targets > 0 {
                dropped.truncate(usize::try_from(plan.job.keep_dropped_targets).unwrap_or(usize::MAX));
            }
            pools.insert(name.clone(), Pool { tenant: plan.tenant.clone(), active, dropped, dropped_count });
        } else if pools.get(name).is_some_and(|pool| pool.tenant == plan.tenant) {
            pools.remove(name);
            // The label may not have been used yet, which is no failure.
            let _ = self.shared.meters.targets.remove_label_values(&[name.as_str()]);
        }
    }

    /// The place of a target, with a runner that is at work or about to be.
    fn keep(&mut self, target: Target, wanted: &Wanted) -> Arc<Place> {
        match self.runners.entry(target.key) {
            Entry::Occupied(running) if !running.get().task.is_finished() => {
                say(running.get(), wanted.clone());
                running.get().place.seen().discovered = target.discovered;
                Arc::clone(&running.get().place)
            }
            entry => {
                let (place, (say, told)) = (Arc::new(Place::new(target)), watch::channel(wanted.clone()));
                let task = tokio::spawn(runner::run(Arc::clone(&self.shared), Arc::clone(&place), told, self.end.clone()));
                entry.insert_entry(Running { place: Arc::clone(&place), wanted: say, task });
                place
            }
        }
    }
}

/// What is known of each source of a job, the configuration first, before any of them answered: what the same source had found.
fn carried(old: &config::Job, found: &[Vec<TargetGroup>], new: &config::Job) -> Vec<Vec<TargetGroup>> {
    let place = |at: Option<usize>| at.and_then(|at| found.get(at)).cloned().unwrap_or_default();
    let files = new.file_sd_configs.iter().map(|one| place(old.file_sd_configs.iter().position(|before| before == one).map(|at| 1 + at)));
    let first_url = 1 + old.file_sd_configs.len();
    let urls =
        new.http_sd_configs.iter().map(|one| place(old.http_sd_configs.iter().position(|before| before == one).map(|at| first_url + at)));
    std::iter::once(new.static_configs.clone()).chain(files).chain(urls).collect()
}

fn say(running: &Running, wanted: Wanted) {
    running.wanted.send_if_modified(|before| {
        let differs = !before.same(&wanted);
        if differs {
            *before = wanted;
        }
        differs
    });
}
