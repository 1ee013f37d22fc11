//! Many targets over an hour of a clock that only the runtime moves: targets that fail, hang, come, go and change what they
//! expose, a log that refuses, a configuration that is taken up again, leadership that is lost. Whatever happened, the rows
//! must tell the story of what the targets answered.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use model::sink::Refusal;
use model::time::{Clock, Timestamp};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use url::Url;
use xxhash_rust::xxh3::xxh3_64;

use super::super::exposition::Format;
use super::super::fetch::{Client, Exposed, FetchError};
use super::super::{Config, Scraper};
use super::fence;
use crate::inflate::Encoding;
use crate::tests::fixtures::{NOW, Rig, rows};

/// Answers instead of the network.
#[async_trait]
pub(crate) trait Script: Send + Sync + fmt::Debug {
    /// What a target exposes.
    async fn answer(&self, url: &Url) -> Result<Exposed, FetchError>;
    /// What a discovery answers.
    async fn targets(&self, url: &Url) -> Result<Bytes, FetchError>;
}

/// The runtime's clock, which stands while there is work and jumps where there is none.
#[derive(Debug)]
struct RuntimeClock(tokio::time::Instant);

impl Clock for RuntimeClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(NOW as i64).plus(self.0.elapsed())
    }
    fn steady(&self) -> Duration {
        self.0.elapsed()
    }
}

const TARGETS: u64 = 60;
const TURNS: usize = 40;
const MINUTES: u64 = 60;

/// What a target answered, by its name and the moment when it was asked (milliseconds).
type Answers = BTreeMap<(String, i64), Option<BTreeSet<String>>>;

/// Targets that answer by chance of a seed.
#[derive(Debug)]
struct Chance {
    seed: u64,
    clock: Arc<RuntimeClock>,
    answers: Mutex<Answers>,
    busy: AtomicUsize,
    most: AtomicUsize,
}

impl Chance {
    fn dice(&self, of: &[u64]) -> u64 {
        let bytes: Vec<u8> = of.iter().chain([&self.seed]).flat_map(|number| number.to_le_bytes()).collect();
        xxh3_64(&bytes)
    }
    fn now(&self) -> i64 {
        self.clock.now().millis()
    }
    /// Whether discovery lists a target in a stretch of three minutes.
    fn listed(&self, target: u64, stretch: u64) -> bool {
        !self.dice(&[1, target, stretch]).is_multiple_of(5)
    }
}

#[async_trait]
impl Script for Chance {
    async fn answer(&self, url: &Url) -> Result<Exposed, FetchError> {
        let (name, at) = (url.host_str().unwrap().to_owned(), self.now());
        let target: u64 = name[1..].parse().unwrap();
        self.most.fetch_max(self.busy.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let dice = self.dice(&[2, target, at as u64 / 15_000]);
        tokio::time::sleep(Duration::from_millis(dice % 6_000)).await;
        let series: BTreeSet<String> = (0..5).filter(|bit| dice >> (20 + bit) & 1 == 1).map(|bit| format!("s{bit}")).collect();
        let answer = match dice >> 32 & 15 {
            0 => Err(FetchError::Status(http::StatusCode::SERVICE_UNAVAILABLE)),
            1 => {
                self.busy.fetch_sub(1, Ordering::SeqCst);
                std::future::pending().await
            }
            2 => Ok("s0 1\nbroken".to_owned()),
            _ => {
                self.answers.lock().unwrap().insert((name, at), Some(series.clone()));
                Ok(series.iter().map(|name| format!("{name} {at}\n")).collect())
            }
        };
        self.busy.fetch_sub(1, Ordering::SeqCst);
        answer.map(|text| Exposed { body: text.into(), encoding: Encoding::Identity, format: Format::Text })
    }

    async fn targets(&self, _: &Url) -> Result<Bytes, FetchError> {
        let stretch = (self.now() - NOW as i64 / 1_000_000) as u64 / 180_000;
        let listed: Vec<String> = (0..TARGETS).filter(|one| self.listed(*one, stretch)).map(|one| format!("\"t{one}:1\"")).collect();
        Ok(format!("[{{\"targets\": [{}]}}]", listed.join(",")).into())
    }
}

/// One batch of the log: when, and each series with its value and whether it is a marker.
struct Batch {
    at: i64,
    series: BTreeMap<String, (f64, bool)>,
}

/// The batches of each target, in their order.
fn told(rig: &Rig) -> BTreeMap<String, Vec<Batch>> {
    let mut described = BTreeMap::new();
    let mut told: BTreeMap<String, Vec<Batch>> = BTreeMap::new();
    for batch in rig.sink.batches.lock().unwrap().iter() {
        for row in rows(&batch.blocks, "series") {
            let labels = row["labels"].clone();
            let instance = labels.split("instance=").nth(1).unwrap().split([':', ',']).next().unwrap().to_owned();
            described.insert(row["fingerprint"].clone(), instance);
        }
        let points = rows(&batch.blocks, "points");
        let of: BTreeSet<&String> = points.iter().map(|row| &described[&row["fingerprint"]]).collect();
        assert_eq!(of.len(), 1, "a batch is of one target");
        let times: BTreeSet<&String> = points.iter().map(|row| &row["ts"]).collect();
        assert_eq!(times.len(), 1, "and of one moment");
        let series = points.iter().map(|row| (row["metric"].clone(), (row["value"].parse().unwrap(), row["flags"] == "1"))).collect();
        let at = points[0]["ts"].parse().unwrap();
        told.entry(of.into_iter().next().unwrap().clone()).or_default().push(Batch { at, series });
    }
    told
}

/// Checks the story of a target; how many markers and burials there were.
fn check(name: &str, batches: &[Batch], answers: &Answers, lost: std::ops::Range<i64>) -> (usize, usize) {
    let (mut live, mut last, mut markers, mut burials) = (BTreeSet::<String>::new(), None, 0, 0);
    for batch in batches {
        let place = format!("{name} at {}", batch.at);
        if last.is_some_and(|last| last < lost.start && batch.at >= lost.end) {
            live.clear(); // another leader begins anew
        }
        let own = || batch.series.iter().filter(|(metric, _)| metric.starts_with('s') && metric.len() == 2);
        let fresh: BTreeSet<String> = own().filter(|(_, (_, stale))| !stale).map(|(metric, _)| metric.clone()).collect();
        let stale: BTreeSet<String> = own().filter(|(_, (_, stale))| *stale).map(|(metric, _)| metric.clone()).collect();
        markers += stale.len();
        let (up, buried) = batch.series["up"];
        if buried {
            assert_eq!((fresh.len(), &stale), (0, &live), "{place}: everything is marked, and only that");
            assert!(batch.series.values().all(|(_, stale)| *stale), "{place}");
            (live, burials) = (BTreeSet::new(), burials + 1);
            continue;
        }
        assert!(last.is_none_or(|last| batch.at >= last + 14_000), "{place}: never twice in an interval, after {last:?}");
        if up == 1.0 {
            let answered = (-2..=2).find_map(|drift| answers.get(&(name.to_owned(), batch.at + drift))).unwrap();
            assert_eq!(Some(&fresh), answered.as_ref(), "{place}: what it answered");
        } else {
            assert!(fresh.is_empty(), "{place}: nothing of a failed scrape counts");
        }
        assert_eq!(stale, live.difference(&fresh).cloned().collect(), "{place}: what is gone is marked once");
        (live, last) = (fresh, Some(batch.at));
    }
    (markers, burials)
}

async fn simulate(seed: u64) {
    let clock = Arc::new(RuntimeClock(tokio::time::Instant::now()));
    let rig = Rig::with_clock(crate::Config::default(), clock.clone());
    let chance = Arc::new(Chance {
        seed,
        clock: clock.clone(),
        answers: Mutex::default(),
        busy: AtomicUsize::default(),
        most: AtomicUsize::default(),
    });
    let config = |more: &str| -> Config {
        let text = format!(
            "concurrency: {TURNS}\nscrape_configs:\n- job_name: j\n  scrape_interval: 15s\n  scrape_timeout: 10s\n{more}  http_sd_configs: [{{ url: 'http://sd/', refresh_interval: 10s }}]\n"
        );
        serde_saphyr::from_str(&text).unwrap()
    };
    let script = chance.clone();
    let clients = Arc::new(move |_: super::super::config::Client<'_>, _: &std::path::Path| Ok(Client::scripted(script.clone())));
    let folder = tempfile::tempdir().unwrap();
    let scraper =
        Scraper::with_clients(&config(""), folder.path(), &format!("n{seed}"), rig.collector.clone(), &rig.registry, clients).unwrap();
    let (lead, fence_of) = watch::channel(Some(fence()));
    let stop = CancellationToken::new();
    let task = tokio::spawn(scraper.clone().run(fence_of, stop.clone()));
    let mut lost = 0..0;
    for minute in 0..MINUTES {
        tokio::time::sleep(Duration::from_secs(60)).await;
        if minute % 7 == 3 {
            rig.sink.refuse((0..5).map(|_| Refusal::Stopping).collect());
        }
        if minute % 10 == 5 {
            scraper.take_up(scraper.prepare(&config(&format!("  sample_limit: {}\n", 1_000 + minute))).unwrap());
        }
        if minute == 40 {
            lead.send_replace(None);
            lost.start = clock.now().millis();
            tokio::time::sleep(Duration::from_secs(120)).await;
            lost.end = clock.now().millis();
            lead.send_replace(Some(fence()));
        }
    }
    stop.cancel();
    task.await.unwrap();

    let (stories, answers) = (told(&rig), chance.answers.lock().unwrap());
    assert_eq!(stories.len() as u64, TARGETS);
    assert!(chance.most.load(Ordering::SeqCst) <= TURNS, "no more at a time than allowed");
    let seen = |count: fn((usize, usize)) -> usize| -> usize {
        stories.iter().map(|(name, batches)| count(check(name, batches, &answers, lost.clone()))).sum()
    };
    let (markers, burials) = (seen(|both| both.0), seen(|both| both.1));
    assert!(markers > 1_000 && burials > 20, "it happened: {markers} markers, {burials} burials");
    assert!(stories.values().flatten().all(|batch| !lost.contains(&batch.at)), "whoever does not lead does not scrape");
    // Nobody is forgotten: a listed target is asked four times a minute, but for refusals and the time until it is found.
    let stretches = MINUTES / 3 + 1;
    let listed = (0..TARGETS).map(|one| (0..stretches).filter(|stretch| chance.listed(one, *stretch)).count()).sum::<usize>();
    let batches: usize = stories.values().map(Vec::len).sum();
    assert!(batches > listed * 9, "{batches} batches of {listed} stretches");
    // Each has its own place in the interval.
    let phases: BTreeSet<i64> = stories.values().map(|batches| batches[0].at.rem_euclid(15_000)).collect();
    assert!(phases.len() as u64 > TARGETS * 9 / 10, "{phases:?}");
    assert!(rig.meter("watchfire_scrapes_total", &[("outcome", "refused")]) >= 1.0);
}

#[tokio::test(start_paused = true)]
async fn an_hour_of_everything_is_told_as_it_was() {
    for seed in [1, 2] {
        simulate(seed).await;
    }
}
