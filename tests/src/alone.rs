//! The engine alone: the very blocks that intake makes of a load, inserted straight into the engine. What is left of its speed behind
//! the server is what the server costs.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::body::Body;
use axum::http::Request;
use bytes::Bytes;
use collector::Collector;
use model::access::{Permission, Principal};
use model::columns::{TableBlock, TableSpec};
use model::event::Actor;
use model::sink::{Appended, Batch, Refusal, TelemetrySink};
use model::tables;
use model::tenant::TenantId;
use model::time::{Clock, SystemClock};
use server::load::Signal;
use server::load::bodies::Bodies;
use store::clickhouse::ClickHouse;
use store::native;
use store::wal::BlockInsert;
use tower::ServiceExt;

use crate::process::Watchfire;

/// Keeps the blocks that it is given.
#[derive(Default)]
struct Kept(Mutex<Vec<TableBlock>>);

#[async_trait]
impl TelemetrySink for Kept {
    async fn append(&self, batch: Batch) -> Result<Appended, Refusal> {
        self.0.lock().unwrap().extend(batch.blocks);
        Ok(Appended::Durable)
    }
}

/// Sends a body to a collector's OTLP/HTTP routes as one who may.
pub async fn send(collector: &Collector, signal: Signal, body: Bytes) {
    let path = match signal {
        Signal::Spans => "/v1/traces",
        Signal::Logs => "/v1/logs",
        Signal::Metrics => "/v1/metrics",
    };
    let mut request = Request::post(path).header("content-type", "application/x-protobuf").body(Body::from(body)).unwrap();
    request.extensions_mut().insert(Principal {
        tenant: TenantId::default(),
        permissions: vec![Permission::Ingest],
        actor: Actor::System { part: "measure".into() },
        keyless: false,
    });
    let answer = collector.http_router().oneshot(request).await.unwrap();
    assert!(answer.status().is_success());
}

/// The blocks that intake makes of requests with these numbers.
pub async fn blocks(signal: Signal, bodies: &Bodies, numbers: std::ops::Range<u64>) -> Vec<TableBlock> {
    let kept = Arc::new(Kept::default());
    let collector =
        Collector::new(collector::Config::default(), kept.clone(), Arc::new(SystemClock), &prometheus::Registry::new()).unwrap();
    for number in numbers {
        send(&collector, signal, bodies.request(number, SystemClock.now().nanos() as u64)).await;
    }
    let mut kept = kept.0.lock().unwrap();
    std::mem::take(&mut *kept)
}

/// The inserts of some batches of requests of 1,000 records, packed: joined as the write-ahead log joins them, or each request by itself.
pub struct Inserts(Vec<(&'static TableSpec, String, Bytes)>);

/// Encodes and packs `batches` of `requests` each; what this costs does not count.
pub async fn prepare(signal: Signal, batches: u64, requests: u64) -> Inserts {
    let bodies = Bodies::encode(signal, 1_000, 10, "alone");
    let mut ready = Vec::new();
    for batch in 0..batches {
        let blocks = blocks(signal, &bodies, batch * requests..(batch + 1) * requests).await;
        for table in tables::ALL {
            let (mut plain, mut bytes) = (Vec::new(), Vec::new());
            for block in blocks.iter().filter(|block| std::ptr::eq(block.table, table)) {
                plain.clear();
                native::encode(block, &mut plain).unwrap();
                native::packed::pack(&plain, &mut bytes).unwrap();
            }
            if !bytes.is_empty() {
                ready.push((table, format!("alone/{signal:?}/{}/{batch}", table.name), Bytes::from(bytes)));
            }
        }
    }
    Inserts(ready)
}

/// Straight to the engine, past the server.
pub fn engine(world: &Watchfire) -> ClickHouse {
    ClickHouse::unix(&world.data().join("engine.sock")).database("watchfire")
}

/// How many records of a load are stored, however often it was run: those of the server's own are not among them.
pub async fn count(world: &Watchfire, signal: Signal) -> u64 {
    let sql = match signal {
        Signal::Spans => "SELECT count() FROM spans WHERE resource['load.run'] != ''",
        Signal::Logs => "SELECT count() FROM logs WHERE resource['load.run'] != ''",
        Signal::Metrics => "SELECT count() FROM points WHERE metric LIKE 'load_%'",
    };
    engine(world).client().query(sql).fetch_one().await.unwrap()
}

/// Inserts them one after the other, each under its token and `run`.
pub async fn insert(world: &Watchfire, inserts: &Inserts, run: u64) {
    let clickhouse = engine(world);
    for (table, token, bytes) in &inserts.0 {
        clickhouse.insert(table, &format!("{token}/{run}"), bytes.clone()).await.unwrap();
    }
}

/// Waits until the engine has merged what it wants to merge now: nothing runs for three seconds. Merges are part of what rows cost.
pub async fn settle(world: &Watchfire) {
    let clickhouse = engine(world);
    let mut quiet = 0;
    while quiet < 15 {
        let running: u64 = clickhouse.client().query("SELECT count() FROM system.merges").fetch_one().await.unwrap();
        quiet = if running == 0 { quiet + 1 } else { 0 };
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
}
