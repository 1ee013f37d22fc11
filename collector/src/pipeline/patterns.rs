//! Log templates: what is the same in many bodies of a service, found as Drain does (He et al., "Drain: an online log parsing approach
//! with fixed depth tree", 2017): words that vary by their look are masked, bodies of as many words with the same first word are
//! compared, and where enough words agree the rest becomes `<*>`. The id of a template is the hash of its text, so that all collectors
//! and restarts agree on it. Bounded: services, templates of a service, words of a template.

#[cfg(test)]
mod tests;
mod words;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use model::tenant::TenantId;
use model::time::Timestamp;
use xxhash_rust::xxh3::xxh3_64;

use super::Problem;
use super::config::PatternsConfig;
pub(crate) use words::VARIABLE;
use words::words;

/// Texts by which a service's templates of one length are told apart before they are compared; beyond it they share one list.
const MAX_BRANCHES: usize = 100;
/// Bodies of fewer words must agree in more of them.
const SHORT: usize = 4;
/// The share for short ones.
const SHORT_SIMILARITY: f64 = 0.7;

/// Checks the settings.
pub(crate) fn check(config: &PatternsConfig, problems: &mut Vec<Problem>) {
    if config.max_per_service == 0 || config.max_services == 0 {
        problems.push(Problem::new("patterns", "a limit is 0: set at least 1, or `enabled: false`"));
    }
    if config.max_per_service > 10_000 || config.max_services > 100_000 {
        problems
            .push(Problem::new("patterns", "a limit is too large to be held in memory: set at most 10000 templates and 100000 services"));
    }
    if !(0.1..=1.0).contains(&config.similarity) {
        problems.push(Problem::new("patterns", "`similarity` must be from 0.1 to 1"));
    }
}

/// A template, and the id that its text has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template {
    /// xxh3-64 of the text.
    pub(crate) id: u64,
    /// Words with one blank between them; `<*>` is what varies.
    pub(crate) text: Arc<str>,
}

impl Template {
    fn of(words: &[impl AsRef<str>]) -> Self {
        let mut text = String::new();
        for word in words {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(word.as_ref());
        }
        Template { id: xxh3_64(text.as_bytes()), text: text.into() }
    }
}

struct Cluster {
    words: Vec<Box<str>>,
    template: Template,
    branch: Branch,
    /// When it was last seen, in bodies of the service.
    seen: u64,
}

/// Number of words, and the hash of the first one that does not vary; 0 where it is not told apart.
type Branch = (usize, u64);

/// The templates of one service.
#[derive(Default)]
pub(crate) struct Tree {
    clusters: Vec<Cluster>,
    /// Indexes into `clusters`.
    branches: HashMap<Branch, Vec<usize>>,
    /// Branches by number of words.
    widths: HashMap<usize, usize>,
    bodies: u64,
}

impl Tree {
    /// The template of a body; learns from it.
    pub(crate) fn learn(&mut self, config: &PatternsConfig, body: &str) -> Template {
        let line = words(body);
        self.bodies += 1;
        let branch = self.branch(&line);
        let threshold = if line.len() < SHORT { config.similarity.max(SHORT_SIMILARITY) } else { config.similarity };
        let same = self.branches.get(&branch).into_iter().flatten();
        let best = same.map(|at| (*at, similarity(&self.clusters[*at].words, &line)));
        let best = best.filter(|(_, share)| *share >= threshold).max_by(|a, b| a.1.total_cmp(&b.1));
        match best {
            Some((at, share)) => {
                let cluster = &mut self.clusters[at];
                cluster.seen = self.bodies;
                if share < 1.0 {
                    generalize(cluster, &line);
                }
                cluster.template.clone()
            }
            None => self.insert(config, branch, &line),
        }
    }

    fn branch(&self, line: &[Cow<'_, str>]) -> Branch {
        let first = line.iter().find(|word| !word.contains(VARIABLE));
        let branch = (line.len(), first.map_or(0, |word| xxh3_64(word.as_bytes()).max(1)));
        let full = self.widths.get(&line.len()).is_some_and(|count| *count >= MAX_BRANCHES);
        if full && !self.branches.contains_key(&branch) { (line.len(), 0) } else { branch }
    }

    fn insert(&mut self, config: &PatternsConfig, branch: Branch, line: &[Cow<'_, str>]) -> Template {
        if self.clusters.len() >= config.max_per_service.max(1) {
            self.forget();
        }
        let template = Template::of(line);
        let words = line.iter().map(|word| Box::from(word.as_ref())).collect();
        if !self.branches.contains_key(&branch) {
            *self.widths.entry(branch.0).or_insert(0) += 1;
        }
        self.branches.entry(branch).or_default().push(self.clusters.len());
        self.clusters.push(Cluster { words, template: template.clone(), branch, seen: self.bodies });
        template
    }

    /// Forgets the template that was not seen for the longest.
    fn forget(&mut self) {
        let oldest = self.clusters.iter().enumerate().min_by_key(|(_, cluster)| cluster.seen).map(|(at, _)| at);
        let Some(at) = oldest else { return };
        let last = self.clusters.len() - 1;
        let gone = self.clusters.swap_remove(at);
        self.unlink(gone.branch, at);
        if at < last
            && let Some(list) = self.branches.get_mut(&self.clusters[at].branch)
        {
            list.iter_mut().filter(|index| **index == last).for_each(|index| *index = at);
        }
    }

    fn unlink(&mut self, branch: Branch, at: usize) {
        let Some(list) = self.branches.get_mut(&branch) else { return };
        list.retain(|index| *index != at);
        if list.is_empty() {
            self.branches.remove(&branch);
            if let Some(count) = self.widths.get_mut(&branch.0) {
                *count -= 1;
            }
        }
    }
}

/// The share of words that agree, of those that do not vary in both.
fn similarity(template: &[Box<str>], line: &[Cow<'_, str>]) -> f64 {
    let (mut equal, mut fixed) = (0u32, 0u32);
    for (known, word) in template.iter().zip(line) {
        let both = known.as_ref() == word.as_ref();
        if both && word == VARIABLE {
            continue;
        }
        fixed += 1;
        equal += u32::from(both);
    }
    if fixed == 0 { 1.0 } else { f64::from(equal) / f64::from(fixed) }
}

/// Words that differ vary from now on.
fn generalize(cluster: &mut Cluster, line: &[Cow<'_, str>]) {
    let mut changed = false;
    for (known, word) in cluster.words.iter_mut().zip(line) {
        if known.as_ref() != word.as_ref() && known.as_ref() != VARIABLE {
            *known = Box::from(VARIABLE);
            changed = true;
        }
    }
    if changed {
        cluster.template = Template::of(&cluster.words);
    }
}

struct Service {
    tree: Arc<Mutex<Tree>>,
    seen: Timestamp,
}

/// The templates of all services.
#[derive(Default)]
pub(crate) struct Miner(Mutex<HashMap<(TenantId, String), Service>>);

impl Miner {
    /// The templates of a service. Where there are too many services, the one that was not seen for the longest is forgotten.
    pub(crate) fn service(&self, config: &PatternsConfig, tenant: &TenantId, service: &str, now: Timestamp) -> Arc<Mutex<Tree>> {
        let mut services = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (tenant.clone(), service.to_owned());
        if let Some(known) = services.get_mut(&key) {
            known.seen = now;
            return Arc::clone(&known.tree);
        }
        if services.len() >= config.max_services.max(1) {
            let oldest = services.iter().min_by_key(|(_, service)| service.seen).map(|(key, _)| key.clone());
            oldest.and_then(|key| services.remove(&key));
        }
        let tree = Arc::default();
        services.insert(key, Service { tree: Arc::clone(&tree), seen: now });
        tree
    }
}
