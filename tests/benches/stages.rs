//! What each stage of intake costs, in CPU time of 1,000 records with ten attributes: `cargo bench -p tests`. Decode: from the body to
//! checked rows in columns. Encode: Native bytes, packed. Log: the write-ahead log, fsync and the hand-over to an insert that takes
//! everything. Insert: the real engine's own CPU for 100,000 records, index and views included, without the merges that follow.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)] // a tool for developers: fails by panicking

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use collector::Collector;
use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{BatchSize, Criterion, Throughput};
use model::columns::TableSpec;
use model::ids::RandomIds;
use model::sink::{Appended, Batch, Refusal, TelemetrySink};
use model::tenant::TenantId;
use model::time::{Clock, SystemClock};
use server::load::Signal;
use server::load::bodies::Bodies;
use store::native;
use store::wal::{BlockInsert, InsertError, Wal, WalConfig};
use tests::alone;
use tests::process::Watchfire;
use tests::usage::{child_of, process};
use tokio::runtime::Runtime;

const SIGNALS: [(Signal, &str); 3] = [(Signal::Spans, "spans"), (Signal::Logs, "logs"), (Signal::Metrics, "metrics")];

/// CPU time of a process: this one (to the nanosecond), or another (to the kernel's tick).
#[derive(Clone, Copy)]
enum Cpu {
    Own,
    Of(u32),
}

impl Cpu {
    fn now(&self) -> Duration {
        match self {
            Cpu::Own => {
                let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
                Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
            }
            Cpu::Of(pid) => Duration::from_secs_f64(process(*pid).1),
        }
    }
}

impl Measurement for Cpu {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        self.now()
    }

    fn end(&self, start: Duration) -> Duration {
        self.now().saturating_sub(start).max(Duration::from_nanos(1))
    }

    fn add(&self, left: &Duration, right: &Duration) -> Duration {
        *left + *right
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        value.as_nanos() as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

/// Takes rows and keeps none.
struct Nowhere;

#[async_trait]
impl TelemetrySink for Nowhere {
    async fn append(&self, _: Batch) -> Result<Appended, Refusal> {
        Ok(Appended::Durable)
    }
}

#[async_trait]
impl BlockInsert for Nowhere {
    async fn insert(&self, _: &'static TableSpec, _: &str, _: Bytes) -> Result<(), InsertError> {
        Ok(())
    }
}

fn decode(criterion: &mut Criterion<Cpu>, runtime: &Runtime) {
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(1_000));
    for (signal, name) in SIGNALS {
        let bodies = Bodies::encode(signal, 1_000, 10, "bench");
        let registry = prometheus::Registry::new();
        let collector = Collector::new(collector::Config::default(), Arc::new(Nowhere), Arc::new(SystemClock), &registry).unwrap();
        let mut number = 0;
        group.bench_function(name, |bench| {
            let body = || {
                number += 1;
                bodies.request(number, SystemClock.now().nanos() as u64)
            };
            bench.iter_batched(body, |body| runtime.block_on(alone::send(&collector, signal, body)), BatchSize::SmallInput);
        });
    }
    group.finish();
}

fn encode(criterion: &mut Criterion<Cpu>, runtime: &Runtime) {
    let mut group = criterion.benchmark_group("encode");
    group.throughput(Throughput::Elements(1_000));
    for (signal, name) in SIGNALS {
        let blocks = runtime.block_on(alone::blocks(signal, &Bodies::encode(signal, 1_000, 10, "bench"), 0..1));
        let (mut plain, mut packed) = (Vec::new(), Vec::new());
        group.bench_function(name, |bench| {
            bench.iter(|| {
                packed.clear();
                for block in &blocks {
                    plain.clear();
                    native::encode(block, &mut plain).unwrap();
                    native::packed::pack(&plain, &mut packed).unwrap();
                }
                packed.len()
            });
        });
    }
    group.finish();
}

fn log(criterion: &mut Criterion<Cpu>, runtime: &Runtime) {
    let mut group = criterion.benchmark_group("log");
    group.throughput(Throughput::Elements(1_000)).sample_size(30);
    for (signal, name) in SIGNALS {
        let folder = tempfile::tempdir().unwrap();
        let registry = prometheus::Registry::new();
        let config = WalConfig::new(folder.path().to_owned(), "bench");
        let (wal, _) = Wal::open(config, Arc::new(SystemClock), &RandomIds, &registry).unwrap();
        {
            let _inside = runtime.enter();
            wal.start_writer(Arc::new(Nowhere));
        }
        let blocks = runtime.block_on(alone::blocks(signal, &Bodies::encode(signal, 1_000, 10, "bench"), 0..1));
        let batch = || Batch { tenant: TenantId::default(), request: None, arrived: SystemClock.now(), blocks: blocks.clone() };
        group.bench_function(name, |bench| {
            bench.iter_batched(batch, |batch| runtime.block_on(wal.append(batch)).unwrap(), BatchSize::SmallInput);
        });
        runtime.block_on(wal.stop(Duration::from_secs(5)));
    }
    group.finish();
}

fn insert(runtime: &Runtime) {
    let mut world = Watchfire::prepare(env!("CARGO_BIN_EXE_watchfire-under-test"), "", &[]);
    runtime.block_on(world.start());
    let mut criterion = Criterion::default().with_measurement(Cpu::Of(child_of(world.pid()))).configure_from_args();
    let mut group = criterion.benchmark_group("insert");
    group.throughput(Throughput::Elements(100_000)).sample_size(10).measurement_time(Duration::from_secs(8));
    let mut run = 0;
    for (signal, name) in SIGNALS {
        let inserts = runtime.block_on(alone::prepare(signal, 1, 100));
        group.bench_function(name, |bench| {
            bench.iter(|| {
                run += 1;
                runtime.block_on(alone::insert(&world, &inserts, run));
            });
        });
    }
    group.finish();
    runtime.block_on(world.stop());
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut criterion = Criterion::default().with_measurement(Cpu::Own).configure_from_args();
    decode(&mut criterion, &runtime);
    encode(&mut criterion, &runtime);
    log(&mut criterion, &runtime);
    insert(&runtime);
    criterion.final_summary();
}
