//! Faults under load: what was acknowledged is stored once, what was given up is stored at most once. Senders of every protocol send
//! the same bytes until they are acknowledged, as clients do, or give up now and then, as clients do too. Meanwhile server
//! and engine are killed, the engine hangs, the log reaches its cap, the disk is full, a write is torn, and the clock is set.

use std::fmt;
use std::io::Write;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use self::requests::{KINDS, Kind};
use crate::clock::SetClock;
use crate::process::{Watchfire, free_port};
use crate::wait::wait_for;

pub mod requests;

/// What became of a sender's records.
#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    acknowledged: u64,
    given_up: u64,
}

/// Faults that were made, and what was sent meanwhile.
#[derive(Debug, Default)]
pub struct Told {
    kills: usize,
    engine_kills: usize,
    hangs: usize,
    clock_steps: usize,
    torn: usize,
    full_disks: usize,
    refused: u64,
    acknowledged: u64,
    given_up: u64,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} records acknowledged and stored once, {} given up and stored at most once, {} requests refused; server killed {} times \
             ({} torn writes), engine killed {} times, hung {} times, disk full {} times, clock set {} times",
            self.acknowledged,
            self.given_up,
            self.refused,
            self.kills,
            self.torn,
            self.engine_kills,
            self.hangs,
            self.full_disks,
            self.clock_steps
        )
    }
}

/// Where requests go.
#[derive(Clone)]
struct Addresses {
    http: SocketAddr,
    fluent: SocketAddr,
}

/// How long a sender waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends a request once: its status, as HTTP has them; none where there was no answer.
async fn attempt(client: &reqwest::Client, kind: Kind, to: &Addresses, body: &[u8]) -> Option<u16> {
    match kind.path() {
        Some(path) => {
            let request = client.post(format!("http://{}{path}", to.http)).body(body.to_vec());
            let request = kind.headers().iter().fold(request, |request, (name, value)| request.header(*name, *value));
            request.send().await.ok().map(|answer| answer.status().as_u16())
        }
        None => tokio::time::timeout(PATIENCE, forward(to.fluent, body)).await.ok()?.ok(),
    }
}

/// One acknowledged chunk over a connection of its own.
async fn forward(to: SocketAddr, body: &[u8]) -> std::io::Result<u16> {
    let mut stream = tokio::net::TcpStream::connect(to).await?;
    stream.write_all(body).await?;
    let mut answer = Vec::new();
    while stream.read_buf(&mut answer).await? > 0 {
        if answer.starts_with(b"\x81\xa3ack") && answer.ends_with(requests::chunk_of(body)) {
            return Ok(200);
        }
        assert!(answer.len() < 64, "this acknowledges another chunk: {answer:?}");
    }
    Err(std::io::ErrorKind::UnexpectedEof.into())
}

/// Sends until told to stop.
async fn sender(kind: Kind, service: String, to: Addresses, seed: u64, stop: Arc<AtomicBool>, refused: Arc<AtomicU64>) -> Sent {
    let client = reqwest::Client::builder().timeout(PATIENCE).build().unwrap();
    let (mut rng, mut sent, mut next) = (StdRng::seed_from_u64(seed), Sent::default(), 0);
    while !stop.load(Ordering::SeqCst) {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
        let body = kind.request(&service, next, now);
        next += kind.records();
        // The same bytes again until there is an answer: a lost answer must not store them twice.
        let acknowledged = loop {
            match attempt(&client, kind, &to, &body).await {
                Some(200..300) => break true,
                Some(status) if status != 429 && status < 500 => panic!("{service}, {kind:?}: refused with {status}"),
                Some(_) => {
                    refused.fetch_add(1, Ordering::SeqCst);
                }
                None if !kind.resends() => break false,
                None => {}
            }
            if rng.random_bool(0.02) {
                break false;
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        };
        if acknowledged {
            sent.acknowledged += kind.records();
        } else {
            sent.given_up += kind.records();
        }
    }
    sent
}

fn engine_of(server: u32) -> Option<u32> {
    let output = Command::new("ps").args(["-o", "pid=", "--ppid", &server.to_string()]).output().ok()?;
    String::from_utf8(output.stdout).ok()?.split_whitespace().next()?.parse().ok()
}

/// `kill` with a signal: `-9`, `-STOP`, `-CONT`.
pub fn signal(pid: u32, name: &str) {
    Command::new("kill").args([name, &pid.to_string()]).status().unwrap();
}

/// Appends the beginning of a record that was never acknowledged to the newest segment.
fn tear(world: &Watchfire, rng: &mut StdRng) -> bool {
    let folder = world.data().join("wal").join("segments");
    let mut segments: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.retain(|path| path.extension().is_some_and(|extension| extension == "wal"));
    segments.sort();
    let Some(newest) = segments.pop() else { return false };
    let mut torn: Vec<u8> = b"WFR2".to_vec();
    torn.extend((0..rng.random_range(1..5_000)).map(|_| rng.random::<u8>()));
    std::fs::OpenOptions::new().append(true).open(newest).unwrap().write_all(&torn).unwrap();
    true
}

/// What is left free of the disk: next to nothing, or more than there is.
const RESERVES: [&str; 2] = ["disk_reserve: 1MiB", "disk_reserve: 4194304GiB"];

/// Goes on with a disk that counts as full until somebody was told so, then with the disk as it is. Ends with a server that was killed.
async fn fill_disk(world: &mut Watchfire) {
    world.reconfigure(RESERVES[0], RESERVES[1]);
    // It serves, and says that it is not well.
    world.launch();
    let metrics = format!("http://{}/metrics", world.http);
    wait_for("a batch to be refused because the disk is full", async || {
        let metrics = reqwest::get(&metrics).await.ok()?.text().await.ok()?;
        let mut lines = metrics.lines();
        lines.any(|line| line.starts_with("watchfire_wal_refused_total{reason=\"disk_full\"}") && !line.ends_with(" 0")).then_some(())
    })
    .await;
    world.kill();
    world.reconfigure(RESERVES[1], RESERVES[0]);
}

/// Runs `rounds` random faults and checks the sums. Panics where anything acknowledged is missing or anything is stored twice.
pub async fn rounds(executable: &str, rounds: usize, seed: u64) -> Told {
    // A small log with small segments: they are written over one another often, and a hung engine fills it within seconds.
    let fluent = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let config = format!(
        "storage:\n  wal: {{ max_bytes: 2MiB, segment_bytes: 256KiB, batch_linger: 200ms, {} }}\ncollector: {{ fluent: {{ listen: \"{fluent}\" }} }}\n",
        RESERVES[0]
    );
    let mut world = Watchfire::prepare(executable, &config, &[]);
    let clock = SetClock::new();
    world.environment = clock.as_ref().map(SetClock::environment).unwrap_or_default();
    world.start().await;
    let (stop, refused) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let to = Addresses { http: world.http, fluent };
    let named: Vec<(Kind, String)> = KINDS.into_iter().enumerate().map(|(at, kind)| (kind, format!("s{at}"))).collect();
    let start = |(at, (kind, service)): (usize, &(Kind, String))| {
        tokio::spawn(sender(*kind, service.clone(), to.clone(), seed + at as u64, stop.clone(), refused.clone()))
    };
    let senders: Vec<_> = named.iter().enumerate().map(start).collect();
    let (mut rng, mut told) = (StdRng::seed_from_u64(seed), Told::default());
    for round in 0..rounds {
        // The moment of the fault is what is random here; nothing is waited for.
        tokio::time::sleep(Duration::from_millis(rng.random_range(50..2_000))).await;
        if let Some(clock) = clock.as_ref().filter(|_| rng.random_bool(0.3)) {
            // Within what senders' times may differ; past the ten minutes for which requests are remembered.
            clock.set(rng.random_range(-3_600..3_600));
            told.clock_steps += 1;
        }
        match (round % 3, engine_of(world.pid())) {
            (1, Some(engine)) if rng.random_bool(0.5) => {
                signal(engine, "-9");
                told.engine_kills += 1;
                world.ready().await;
            }
            (1, Some(engine)) => {
                signal(engine, "-STOP");
                tokio::time::sleep(Duration::from_millis(rng.random_range(200..6_000))).await;
                signal(engine, "-CONT");
                told.hangs += 1;
            }
            _ => {
                world.kill();
                told.kills += 1;
                told.torn += usize::from(rng.random_bool(0.5) && tear(&world, &mut rng));
                if round % 9 == 2 {
                    fill_disk(&mut world).await;
                    told.full_disks += 1;
                }
                world.start().await;
            }
        }
    }
    stop.store(true, Ordering::SeqCst);
    for ((kind, service), sender) in named.iter().zip(senders) {
        let sent = sender.await.unwrap();
        check(&world, *kind, service, sent).await;
        told.acknowledged += sent.acknowledged;
        told.given_up += sent.given_up;
    }
    told.refused = refused.load(Ordering::SeqCst);
    told
}

async fn check(world: &Watchfire, kind: Kind, service: &str, sent: Sent) {
    let [rows, distinct] = kind.counts(service);
    let what = format!("{} records of {service} to be stored", sent.acknowledged);
    wait_for(&what, async || (world.count(&rows).await >= sent.acknowledged).then_some(())).await;
    wait_for("the log to be empty", async || world.own("watchfire_wal_blocks ").await.filter(|blocks| *blocks == 0.0)).await;
    let (rows, distinct) = (world.count(&rows).await, world.count(&distinct).await);
    assert_eq!(rows, distinct, "{service}: rows stored twice");
    assert!(rows >= sent.acknowledged && rows <= sent.acknowledged + sent.given_up, "{service}: {rows} rows of {sent:?}");
    if kind == Kind::Spans {
        // The RED series are as durable and as exact as the spans they count.
        let calls = world.count(&format!("SELECT toUInt64(sum(p.value)) FROM points AS p INNER JOIN (SELECT DISTINCT fingerprint FROM series WHERE metric = 'traces_span_metrics_calls_total' AND labels['service_name'] = '{service}') AS s ON p.fingerprint = s.fingerprint WHERE p.metric = 'traces_span_metrics_calls_total'")).await;
        assert_eq!(calls, rows, "calls of {service}");
    }
}
