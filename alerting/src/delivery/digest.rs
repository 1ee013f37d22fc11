//! A storm becomes a digest: where more notices wait for one receiver that people read than its rate limit lets through, they are told
//! together. In: the lines of one claim. Out: those that go out by themselves, and digests written in the same commit that ends the rows
//! they stand for, each with a note of the digest it went in. Pages are never folded, nor is what a program reads (PagerDuty, Opsgenie,
//! webhooks): there each notice opens or closes something.
//!
//! The first alert of a service that a receiver has not heard of for a while jumps the queue, a page too: it goes out by itself, before
//! the digest and before those that wait.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use model::event::{Actor, Event, EventKind, Subject};
use model::ids::{EventId, IdSource, NotificationId};
use model::labels::Labels;
use model::message::{Delivery, Message, Notice, NoticeAlert, PageAction};
use model::severity::Severity;
use model::state::{Commit, Fence, StateError, StateStore};
use model::tenant::TenantId;
use model::time::Timestamp;
use model::work::{Lane, Work, WorkChange};

use super::destination::Destination;
use super::progress::Progress;
use super::{DeliveryWorker, Job};
use crate::channels::ReceiverConfig;

/// What can be folded comes again so often while it waits behind a storm.
const PACE: Duration = Duration::from_secs(10);
/// A service is new to a receiver that has not heard of it for so long.
const QUIET: Duration = Duration::from_secs(3_600);
/// How soon those are looked for again that may be forgotten.
const SWEPT_EVERY: Duration = Duration::from_secs(60);
/// So many services are remembered.
const REMEMBERED: usize = 10_000;
/// So many alerts stand in a digest, the worst first; the rest is counted.
const NAMED: usize = 200;
/// So many services are counted by name.
const SERVICES: usize = 20;

/// Whether people read what the receiver gets, message by message.
pub(super) fn is_read(config: &ReceiverConfig) -> bool {
    match config {
        ReceiverConfig::Slack(_)
        | ReceiverConfig::SlackWebhook(_)
        | ReceiverConfig::Mail(_)
        | ReceiverConfig::TwilioSms(_)
        | ReceiverConfig::MsTeams(_)
        | ReceiverConfig::Discord(_)
        | ReceiverConfig::Telegram(_)
        | ReceiverConfig::Ntfy(_) => true,
        ReceiverConfig::Pagerduty(_) | ReceiverConfig::Webhook(_) | ReceiverConfig::TwilioVoice(_) | ReceiverConfig::Opsgenie(_) => false,
    }
}

/// Whether a message may be told together with others.
pub(super) fn may_fold(delivery: &Delivery, lane: Lane) -> bool {
    match &delivery.message {
        Message::Notice(notice) => lane != Lane::Page && !notice.dedup_key.starts_with(PREFIX),
        Message::ChatOpen { .. } | Message::ChatPost { .. } | Message::ChatArchive { .. } | Message::Document { .. } => false,
    }
}

const PREFIX: &str = "digest/";

/// The service that a notice is about; empty where none is named.
fn service(notice: &Notice) -> &str {
    let labels = std::iter::once(&notice.group_labels).chain(notice.alerts.iter().map(|alert| &alert.labels));
    labels.into_iter().find_map(|labels| ["service_name", "service", "job"].into_iter().find_map(|name| labels.get(name))).unwrap_or("")
}

fn service_of(delivery: &Delivery) -> &str {
    match &delivery.message {
        Message::Notice(notice) => service(notice),
        Message::ChatOpen { .. } | Message::ChatPost { .. } | Message::ChatArchive { .. } | Message::Document { .. } => "",
    }
}

/// When those come again that wait behind a storm: all at the same moments, so that they are told together.
pub(super) fn together(now: Timestamp) -> Timestamp {
    let pace = PACE.as_nanos() as i64;
    Timestamp::from_nanos(now.nanos() - now.nanos().rem_euclid(pace) + pace)
}

/// One line that could be folded.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Candidate {
    /// How many rows it has.
    rows: usize,
    severity: Severity,
    /// Of a service that the receiver has not heard of lately.
    service: Option<String>,
}

/// Which of the lines are folded: none while so few wait, `ahead` of them included, or while there are tokens for all; else all but the first of each new service,
/// the worst first, as far as there are tokens beside the digest's own.
fn choose(lines: &[Candidate], tokens: usize, ahead: usize, after: usize) -> Vec<bool> {
    let waiting: usize = lines.iter().map(|line| line.rows).sum();
    if after == 0 || waiting < 2 || waiting.saturating_add(ahead) <= after || waiting <= tokens {
        return vec![false; lines.len()];
    }
    let mut order: Vec<usize> = (0..lines.len()).collect();
    order.sort_by_key(|at| std::cmp::Reverse(lines[*at].severity));
    let (mut fold, mut met) = (vec![true; lines.len()], BTreeSet::new());
    let mut left = tokens.saturating_sub(1).max(1);
    for at in order {
        let Some(service) = lines[at].service.as_ref() else { continue };
        if lines[at].rows <= left && met.insert(service) {
            left -= lines[at].rows;
            fold[at] = false;
        }
    }
    fold
}

/// Which services each receiver has heard of, and when last.
#[derive(Debug, Default)]
pub(super) struct Heard {
    last: HashMap<(TenantId, String, String), Timestamp>,
    /// When those who were quiet were last forgotten.
    swept: Option<Timestamp>,
}

impl Heard {
    fn is_new(&self, delivery: &Delivery, service: &str, now: Timestamp) -> bool {
        let key = (delivery.tenant.clone(), delivery.receiver.clone(), service.to_owned());
        self.last.get(&key).is_none_or(|last| now.since(*last) >= QUIET)
    }

    fn note(&mut self, delivery: &Delivery, now: Timestamp) {
        let Message::Notice(notice) = &delivery.message else { return };
        if self.last.len() >= REMEMBERED && self.swept.is_none_or(|swept| now.since(swept) >= SWEPT_EVERY) {
            self.last.retain(|_, last| now.since(*last) < QUIET);
            self.swept = Some(now);
        }
        if self.last.len() < REMEMBERED {
            self.last.insert((delivery.tenant.clone(), delivery.receiver.clone(), service(notice).to_owned()), now);
        }
    }
}

/// The alerts of some notices, each as it was told last, the firing and the worst first.
fn alerts(notices: &[&Notice]) -> Vec<(Severity, NoticeAlert)> {
    let mut latest: BTreeMap<&str, (Severity, &NoticeAlert)> = BTreeMap::new();
    for notice in notices {
        for alert in &notice.alerts {
            let severity = alert.labels.get("severity").and_then(|word| word.parse().ok()).unwrap_or(notice.severity);
            latest.insert(&alert.fingerprint, (severity, alert));
        }
    }
    let mut all: Vec<(Severity, NoticeAlert)> = latest.into_values().map(|(severity, alert)| (severity, alert.clone())).collect();
    all.sort_by_key(|(severity, alert)| (alert.resolved, std::cmp::Reverse(*severity), alert.starts_at));
    all
}

fn counted<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
    let mut counts: Vec<(&str, usize)> = counts.into_iter().collect();
    counts.sort_by_key(|(name, count)| (std::cmp::Reverse(*count), *name));
    let shown: Vec<String> = counts.iter().take(SERVICES).map(|(name, count)| format!("{name} ({count})")).collect();
    let more = if counts.len() > SERVICES { format!(" and {} more", counts.len() - SERVICES) } else { String::new() };
    shown.join(", ") + &more
}

/// Where all alerts are listed, from where one of them is.
fn overview(notices: &[&Notice]) -> Option<String> {
    let url = notices.iter().find_map(|notice| notice.url.as_deref())?;
    let end = url.find("/api/watchfire/v1/")?;
    Some(format!("{}/api/watchfire/v1/alerts", &url[..end]))
}

/// What is told instead of the notices.
fn digest(id: NotificationId, receiver: &str, notices: &[&Notice]) -> Notice {
    let all = alerts(notices);
    let firing: Vec<&(Severity, NoticeAlert)> = all.iter().filter(|(_, alert)| !alert.resolved).collect();
    let worst = firing.iter().map(|(severity, _)| *severity).max();
    let severity = worst.or_else(|| notices.iter().map(|notice| notice.severity).max()).unwrap_or(Severity::Info);
    let by_severity = [Severity::Critical, Severity::High, Severity::Warning, Severity::Info].map(|severity| {
        let count = firing.iter().filter(|(of, _)| *of == severity).count();
        (severity.as_str().to_owned(), count)
    });
    let levels: Vec<String> = by_severity.iter().filter(|(_, count)| *count > 0).map(|(word, count)| format!("{count} {word}")).collect();
    let resolved = all.len() - firing.len();
    let levels = if levels.is_empty() { String::new() } else { format!(" ({})", levels.join(", ")) };
    let services = counted(notices.iter().map(|notice| service(notice)).filter(|name| !name.is_empty()));
    let title = format!("Digest of {} notices: {} alerts firing{levels}, {resolved} resolved", notices.len(), firing.len());
    let mut details: BTreeMap<String, String> = by_severity.into_iter().map(|(word, count)| (word, count.to_string())).collect();
    details.insert("notices".to_owned(), notices.len().to_string());
    details.insert("firing".to_owned(), firing.len().to_string());
    details.insert("resolved".to_owned(), resolved.to_string());
    details.insert("services".to_owned(), services.clone());
    let about = if services.is_empty() { String::new() } else { format!("; services: {services}") };
    Notice {
        action: if firing.is_empty() { PageAction::Resolve } else { PageAction::Trigger },
        dedup_key: format!("{PREFIX}{id}"),
        severity,
        title,
        incident_number: None,
        group_labels: Labels::empty(),
        url: overview(notices),
        reason: format!("more notices waited for {receiver} than its rate limit lets through{about}"),
        details,
        alerts: all.into_iter().take(NAMED).map(|(_, alert)| alert).collect(),
    }
}

/// A job by its place, with what its rows say.
type Foldable = (usize, Vec<Arc<Delivery>>);

/// A row with what it says.
type Told<'a> = (&'a Work, &'a Delivery);

/// The commit that ends the rows and writes the digest. `None` where it cannot be written down.
fn folding(rows: &[Told<'_>], id: NotificationId, fence: Option<&Fence>, now: Timestamp, ids: &dyn IdSource) -> Option<Commit> {
    let (first, delivery) = rows.first()?;
    let notices: Vec<&Notice> = rows
        .iter()
        .filter_map(|(_, delivery)| match &delivery.message {
            Message::Notice(notice) => Some(&**notice),
            Message::ChatOpen { .. } | Message::ChatPost { .. } | Message::ChatArchive { .. } | Message::Document { .. } => None,
        })
        .collect();
    let notice = digest(id, &delivery.receiver, &notices);
    let (tenant, receiver) = (delivery.tenant.clone(), delivery.receiver.clone());
    let digest = Delivery { id, tenant, receiver, subject: Subject::default(), queued_at: now, message: Message::Notice(Box::new(notice)) };
    let mut commit = Commit::at(now);
    commit.fence = fence.cloned();
    commit.schedule(&delivery.tenant, digest.as_work(format!("{PREFIX}{id}"), first.lane).ok()?);
    for (work, told) in rows {
        let progress = Progress { digest: Some(id), ..Progress::of(work.progress.as_ref(), now) };
        commit.change(&work.tenant, WorkChange::Progress { id: work.id, lease: work.lease, progress: progress.note() });
        commit.change(&work.tenant, WorkChange::Done { id: work.id, lease: work.lease });
        let text = format!("{} hears of it in a digest of {} notices: its rate limit lets no more through.", told.receiver, rows.len());
        let details = [("receiver", told.receiver.clone()), ("notification", told.id.to_string()), ("digest", id.to_string())];
        let details = details.map(|(name, value)| (name.to_owned(), value)).into();
        let (event, actor) = (EventId::new(now, ids), Actor::system("delivery"));
        let kind = EventKind::Noted { text, details };
        commit.event(Event { id: event, tenant: told.tenant.clone(), at: now, actor, subject: told.subject.clone(), kind });
    }
    Some(commit)
}

impl DeliveryWorker {
    /// Folds what may be folded, and gives back the rest. Where the commit fails, nothing is folded.
    pub(super) async fn fold(
        &self,
        jobs: Vec<Job>,
        state: &dyn StateStore,
        fence: Option<&Fence>,
        now: Timestamp,
    ) -> Result<Vec<Job>, StateError> {
        let mut receivers: BTreeMap<(TenantId, String, i64), Vec<Foldable>> = BTreeMap::new();
        for (at, job) in jobs.iter().enumerate() {
            let Some(deliveries) = self.foldable(job) else { continue };
            let (first, told) = (&job.rows[0].work, &deliveries[0]);
            let key = (first.tenant.clone(), told.receiver.clone(), first.lane.number());
            receivers.entry(key).or_default().push((at, deliveries));
        }
        let mut folded = BTreeSet::new();
        for lines in receivers.into_values() {
            let chosen = self.chosen(&jobs, &lines, now);
            let rows: Vec<Told<'_>> = lines
                .iter()
                .zip(&chosen)
                .filter(|(_, fold)| **fold)
                .flat_map(|((at, deliveries), _)| jobs[*at].rows.iter().map(|row| &row.work).zip(deliveries.iter().map(|told| &**told)))
                .collect();
            let id = NotificationId::new(now, &*self.ids);
            let Some(commit) = folding(&rows, id, fence, now, &*self.ids) else { continue };
            match state.commit(commit).await {
                Ok(_) => {}
                // A row changed hands meanwhile: all of them come again.
                Err(error) if error.is_conflict() => continue,
                Err(error) => return Err(error),
            }
            if let Some((work, told)) = rows.first() {
                tracing::info!(receiver = told.receiver, digest = %id, notices = rows.len(), lane = ?work.lane, "notices are told in a digest");
                self.meters.folded(&told.receiver, rows.len());
            }
            rows.iter().for_each(|(work, _)| self.lines().remove(work.id));
            folded.extend(lines.iter().zip(&chosen).filter(|(_, fold)| **fold).map(|((at, _), _)| *at));
        }
        let mut rest: Vec<Job> = jobs.into_iter().enumerate().filter(|(at, _)| !folded.contains(at)).map(|(_, job)| job).collect();
        // Who comes first takes the first tokens.
        rest.sort_by_cached_key(|job| self.turn(job, now));
        Ok(rest)
    }

    /// Before which lines a line is begun: by lane, then the first of their services, then the worst.
    fn turn(&self, job: &Job, now: Timestamp) -> (i64, bool, std::cmp::Reverse<Severity>) {
        let first = job.rows.first();
        let delivery = first.and_then(|row| row.delivery.as_deref().ok());
        let severity = delivery.and_then(|delivery| match &delivery.message {
            Message::Notice(notice) => Some(notice.severity),
            Message::ChatOpen { .. } | Message::ChatPost { .. } | Message::ChatArchive { .. } | Message::Document { .. } => None,
        });
        let is_first = delivery.is_some_and(|delivery| self.is_first(delivery, now));
        (first.map_or(0, |row| row.work.lane.number()), !is_first, std::cmp::Reverse(severity.unwrap_or(Severity::Info)))
    }

    fn heard(&self) -> std::sync::MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Takes a token, past the queue for the first of a service; only one of a service does so.
    pub(super) fn take_token(&self, delivery: &Delivery, lane: Lane, destination: &Destination, now: Timestamp) -> Result<(), Timestamp> {
        let first = self.is_first(delivery, now);
        let mut heard = self.heard();
        let taken = destination.take(delivery, lane, first && heard.is_new(delivery, service_of(delivery), now), now);
        if taken.is_ok() {
            heard.note(delivery, now);
        }
        taken
    }

    /// Whether it is the first that its receiver hears of a service for a while.
    fn is_first(&self, delivery: &Delivery, now: Timestamp) -> bool {
        let Message::Notice(notice) = &delivery.message else { return false };
        let service = service(notice);
        !service.is_empty() && notice.action == PageAction::Trigger && self.heard().is_new(delivery, service, now)
    }

    /// The deliveries of a line, where all of it may be folded: nothing of it waits for another row, or may have been sent already.
    fn foldable(&self, job: &Job) -> Option<Vec<Arc<Delivery>>> {
        let destination = job.destination.as_ref()?;
        if !destination.read {
            return None;
        }
        let row = |row: &super::Claimed| {
            let delivery = row.delivery.as_ref().ok()?.clone();
            let untried = row.work.progress.as_ref().is_none_or(|note| Progress::of(Some(note), row.work.due_at).attempts == 0);
            let fits = untried && row.waits_for.is_none() && may_fold(&delivery, row.work.lane);
            (fits && destination.channel.has_use_for(&delivery.message)).then_some(delivery)
        };
        job.rows.iter().map(row).collect()
    }

    fn chosen(&self, jobs: &[Job], lines: &[Foldable], now: Timestamp) -> Vec<bool> {
        let tokens = lines.first().and_then(|(at, deliveries)| Some(jobs[*at].destination.as_ref()?.tokens(deliveries.first()?, now)));
        let mut heard = self.heard();
        let candidate = |(_, deliveries): &Foldable| {
            let notice = deliveries.iter().find_map(|delivery| match &delivery.message {
                Message::Notice(notice) => Some((delivery, notice)),
                Message::ChatOpen { .. } | Message::ChatPost { .. } | Message::ChatArchive { .. } | Message::Document { .. } => None,
            });
            let new = notice.filter(|(delivery, notice)| heard.is_new(delivery, service(notice), now));
            Candidate {
                rows: deliveries.len(),
                severity: notice.map_or(Severity::Info, |(_, notice)| notice.severity),
                service: new.map(|(_, notice)| service(notice).to_owned()).filter(|name| !name.is_empty()),
            }
        };
        let candidates: Vec<Candidate> = lines.iter().map(candidate).collect();
        let ahead = lines.first().and_then(|(at, told)| Some(jobs[*at].destination.as_ref()?.ahead(told.first()?, now))).unwrap_or(0);
        let chosen = choose(&candidates, tokens.unwrap_or(usize::MAX), ahead, self.config.digest_after);
        let folded = lines.iter().zip(&chosen).filter(|(_, fold)| **fold).flat_map(|((_, deliveries), _)| deliveries);
        folded.for_each(|delivery| heard.note(delivery, now));
        chosen
    }
}

#[cfg(test)]
mod tests;
