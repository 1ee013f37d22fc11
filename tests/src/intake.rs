//! What intake takes of the machine besides CPU: memory and latency at a given rate, disk beside a plain schema, and how it behaves under
//! ten times what can be stored, and for a long time.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::alone::engine;
use crate::crash::signal;
use crate::process::Watchfire;
use crate::usage::{child_of, process};

mod plain;
mod sentry;

pub use plain::storage;
pub use sentry::envelopes;

async fn number(world: &Watchfire, sql: &str) -> u64 {
    engine(world).client().query(sql).fetch_one().await.unwrap()
}

fn mebibytes(kibibytes: u64) -> f64 {
    kibibytes as f64 / 1024.0
}

/// `watchfire load` on its way.
pub struct Load(Child);

impl Load {
    /// Sends a signal to the server for so long; `more` are more of its options.
    pub fn start(world: &Watchfire, signal: &str, length: Duration, more: &[&str]) -> Self {
        Load::to(&format!("http://{}", world.grpc), world, signal, length, more)
    }
    /// Sends to somebody else.
    pub fn to(target: &str, world: &Watchfire, signal: &str, length: Duration, more: &[&str]) -> Self {
        let seconds = format!("{}s", length.as_secs());
        let mut arguments = vec!["load", signal, "--json", "--duration", &seconds, "--target", target];
        arguments.extend_from_slice(more);
        Load(world.command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    fn is_over(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }

    /// Its report, once it is over, whatever it found.
    fn report(self) -> Value {
        let output = self.0.wait_with_output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stdout)))
    }

    /// The same, where it must have found that all is well.
    pub fn succeeded(self) -> Value {
        let output = self.0.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

fn of(report: &Value, pointer: &str) -> f64 {
    report.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("{pointer} of {report}"))
}

/// Runs a load and looks at the server's memory ten times a second. Report, and the most resident KiB.
async fn watched(world: &Watchfire, signal: &str, length: Duration, more: &[&str]) -> (Value, u64) {
    let (mut load, mut most) = (Load::start(world, signal, length, more), 0);
    while !load.is_over() {
        most = most.max(process(world.pid()).0);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    (load.report(), most)
}

/// Waits until the server's log holds nothing that is not stored.
pub async fn drained(world: &Watchfire) {
    while world.own("watchfire_wal_blocks ").await != Some(0.0) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// MiB of the server's memory that are PromQL's newest samples: they have a cap of their own.
async fn head(world: &Watchfire) -> f64 {
    world.own("watchfire_promql_head_bytes ").await.unwrap_or(0.0) / 1_048_576.0
}

/// For each signal: how long an acknowledgement takes at half of saturation, and the server's memory at 100,000 records a second.
pub async fn half(executable: &str) {
    println!("signal    saturation/s  at half of it: ack p50 / p99 ms   at 100,000/s: p99 ms, server MiB (of them PromQL's head)");
    for signal in ["spans", "logs", "metrics"] {
        let mut world = Watchfire::prepare(executable, "", &[]);
        world.start().await;
        let (report, _) = watched(&world, signal, Duration::from_secs(8), &[]).await;
        let saturation = of(&report, "/records_per_second/stored");
        world.stop().await;
        world.start().await;
        let rate = ((saturation / 2.0) as u64).to_string();
        let (report, _) = watched(&world, signal, Duration::from_secs(20), &["--rate", &rate]).await;
        let (p50, p99) = (of(&report, "/acknowledge_milliseconds/p50"), of(&report, "/acknowledge_milliseconds/p99"));
        world.stop().await;
        world.start().await;
        let (report, memory) = watched(&world, signal, Duration::from_secs(20), &["--rate", "100000"]).await;
        let head = head(&world).await;
        println!(
            "{signal:<9} {saturation:>12.0} {p50:>24.1} / {p99:<6.1} {:>20.1}, {:.0} ({:.0})",
            of(&report, "/acknowledge_milliseconds/p99"),
            mebibytes(memory),
            head
        );
        world.stop().await;
    }
}

/// Stops and continues a process in turn, so that it has a tenth of its time.
async fn slow_down(pid: u32) {
    loop {
        signal(pid, "-STOP");
        tokio::time::sleep(Duration::from_millis(900)).await;
        signal(pid, "-CONT");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Many senders as fast as they can, while the engine has a tenth of its time and the log may hold 256 MiB: the server's memory, and
/// whether what was acknowledged, and nothing else, is stored.
pub async fn pressure(executable: &str, length: Duration) {
    let mut world = Watchfire::prepare(executable, "storage: { wal: { max_bytes: 256MiB } }\n", &[]);
    world.start().await;
    let slow = tokio::spawn(slow_down(child_of(world.pid())));
    let (mut load, start, mut most) = (Load::start(&world, "logs", length, &["--concurrency", "64", "--no-verify"]), Instant::now(), 0);
    let mut next = Duration::ZERO;
    while !load.is_over() {
        let memory = process(world.pid()).0;
        most = most.max(memory);
        if start.elapsed() >= next {
            println!("  {:>4.0} s: server {:.0} MiB", start.elapsed().as_secs_f64(), mebibytes(memory));
            next += Duration::from_secs(30);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    slow.abort();
    let _ = slow.await;
    signal(child_of(world.pid()), "-CONT");
    let report = load.report();
    let (acknowledged, batch) = (of(&report, "/acknowledged") as u64, 1_000);
    let failed = of(&report, "/failed_requests") as u64;
    let mut stored = 0;
    for _ in 0..600 {
        stored = number(&world, "SELECT count() FROM logs").await;
        if stored >= acknowledged {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let later = number(&world, "SELECT count() FROM logs").await;
    let distinct = number(&world, "SELECT uniqExact(trace_id, span_id, ts) FROM logs").await;
    println!(
        "pressure, {length:?}: {acknowledged} records acknowledged, {} requests refused, {failed} failed; stored {later} ({distinct} distinct); \
         the server's memory at most {:.0} MiB",
        of(&report, "/refused_requests"),
        mebibytes(most)
    );
    assert!(stored >= acknowledged && later <= acknowledged + failed * batch && later == distinct, "acknowledged is not what is stored");
    world.stop().await;
}

/// One look at a server that runs for long.
struct Look {
    /// MiB, without PromQL's newest samples.
    server: f64,
    /// MiB of those.
    head: f64,
    engine: f64,
    parts: u64,
}

/// Spans at a rate for long: memory and parts. The last third beside the first third after a warm-up of a sixth.
pub async fn long(executable: &str, length: Duration, rate: u64) {
    let mut world = Watchfire::prepare(executable, "", &[]);
    world.start().await;
    let mut load = Load::start(&world, "spans", length, &["--rate", &rate.to_string()]);
    let (start, mut looks) = (Instant::now(), Vec::new());
    let every = length / 60;
    while !load.is_over() {
        if start.elapsed() >= every * looks.len() as u32 {
            let (server, engine) = (process(world.pid()).0, process(child_of(world.pid())).0);
            let parts = number(&world, "SELECT count() FROM system.parts WHERE active AND database = 'watchfire'").await;
            let head = head(&world).await;
            let look = Look { server: mebibytes(server) - head, head, engine: mebibytes(engine), parts };
            if looks.len() % 5 == 0 {
                println!(
                    "  {:>5.0} s: server {:.0} MiB and {head:.0} MiB of PromQL's samples, engine {:.0} MiB, {parts} parts",
                    start.elapsed().as_secs_f64(),
                    look.server,
                    look.engine
                );
            }
            looks.push(look);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let report = load.report();
    let mean = |part: &[Look], of: fn(&Look) -> f64| part.iter().map(of).sum::<f64>() / part.len().max(1) as f64;
    let (warm, third) = (looks.len() / 6, looks.len() / 3);
    let (early, late) = (&looks[warm..(warm + third).min(looks.len())], &looks[looks.len() - third..]);
    println!(
        "long, {length:?} at {rate} spans/s: acknowledged {}, stored {}, ack p50 {:.1} p99 {:.1} ms; means early -> late: server {:.0} -> {:.0} \
         MiB, PromQL's samples {:.0} -> {:.0} MiB, engine {:.0} -> {:.0} MiB, parts {:.0} -> {:.0}",
        of(&report, "/acknowledged"),
        of(&report, "/stored"),
        of(&report, "/acknowledge_milliseconds/p50"),
        of(&report, "/acknowledge_milliseconds/p99"),
        mean(early, |look| look.server),
        mean(late, |look| look.server),
        mean(early, |look| look.head),
        mean(late, |look| look.head),
        mean(early, |look| look.engine),
        mean(late, |look| look.engine),
        mean(early, |look| look.parts as f64),
        mean(late, |look| look.parts as f64)
    );
    assert_eq!(report["acknowledged"], report["stored"], "what was acknowledged is stored once");
    world.stop().await;
}
