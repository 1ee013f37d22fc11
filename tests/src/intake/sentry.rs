//! Sentry envelopes of 50 KB, as the SDKs send them: an error with a chain of exceptions, local variables, breadcrumbs and modules, packed with gzip.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::number;
use crate::process::Watchfire;
use crate::usage::{child_of, process};
use crate::wait::wait_for;

/// Bytes of an envelope before it is packed.
const LENGTH: usize = 50_000;
/// Different errors that are sent in turn.
const VARIETY: usize = 20;

fn frame(number: usize) -> Value {
    json!({
        "filename": format!("shop/module_{number}.py"), "abs_path": format!("/srv/shop/module_{number}.py"), "module": format!("shop.module_{number}"),
        "function": format!("handle_{number}"), "lineno": 10 + number, "in_app": !number.is_multiple_of(3),
        "pre_context": ["    order = load(request)", "    if order is None:", "        raise OrderError(request.id)"],
        "context_line": "    return charge(order, retries=3)", "post_context": ["", "def charge(order, retries):", "    for attempt in range(retries):"],
        "vars": { "order": format!("<Order {number}: 3 items, 42.50 EUR, customer 77{number}>"), "retries": "3", "self": format!("<Handler at 0x7f{number:010x}>") },
    })
}

/// An envelope with one error event.
fn envelope(id: u128, at: usize, now: f64) -> Vec<u8> {
    let exception = |level: usize| {
        let frames: Vec<Value> = (0..25).map(|number| frame(number + 10 * at + level)).collect();
        json!({ "type": format!("OrderError{}", at % VARIETY), "value": format!("order {id} could not be charged"), "stacktrace": { "frames": frames } })
    };
    let mut crumbs: Vec<Value> = Vec::new();
    let mut event = json!({
        "event_id": format!("{id:032x}"), "timestamp": now, "platform": "python", "level": "error", "environment": "production", "release": "shop@2.4.1",
        "server_name": "web-7", "transaction": "/orders/{id}", "user": { "id": (at % 900).to_string(), "ip_address": "10.1.2.3" },
        "tags": { "region": "eu-1", "shard": "7" }, "request": { "url": "https://shop.example/orders", "method": "POST", "headers": { "Host": "shop.example", "User-Agent": "curl/8" } },
        "contexts": { "runtime": { "name": "CPython", "version": "3.11.2" }, "trace": { "trace_id": format!("{id:032x}"), "span_id": "b0e6f15b45c36b12" } },
        "sdk": { "name": "sentry.python", "version": "2.40.0" }, "exception": { "values": [exception(0), exception(1)] },
    });
    let mut length = event.to_string().len();
    while length < LENGTH {
        let number = crumbs.len();
        let crumb = json!({ "timestamp": now - number as f64, "type": "http", "category": "httplib", "level": "info",
            "data": { "url": format!("https://stock.example/items/{number}"), "method": "GET", "status_code": 200, "reason": "OK" } });
        length += crumb.to_string().len() + 1;
        crumbs.push(crumb);
    }
    event["breadcrumbs"] = json!({ "values": crumbs });
    format!("{{\"event_id\":\"{id:032x}\"}}\n{{\"type\":\"event\"}}\n{event}\n").into_bytes()
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

/// Sends envelopes for so long, eight at a time, and waits until each is stored: how many a CPU second of server and engine.
pub async fn envelopes(executable: &str, length: Duration) {
    let mut world = Watchfire::prepare(executable, "", &[]);
    world.start().await;
    let (server, engine) = (world.pid(), child_of(world.pid()));
    let (url, client) = (format!("http://{}/api/1/envelope/", world.http), reqwest::Client::new());
    let (sent, start) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let before = (process(server).1, process(engine).1);
    let sender = |first: u64| {
        let (url, client, sent) = (url.clone(), client.clone(), sent.clone());
        tokio::spawn(async move {
            let mut next = first;
            while start.elapsed() < length {
                let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
                let body = packed(&envelope(u128::from(next) + (7 << 64), next as usize, now));
                let request = client.post(&url).header("content-type", "application/x-sentry-envelope").header("content-encoding", "gzip");
                assert_eq!(request.body(body).send().await.unwrap().status().as_u16(), 200);
                sent.fetch_add(1, Ordering::SeqCst);
                next += 8;
            }
        })
    };
    for sender in (0..8).map(sender).collect::<Vec<_>>() {
        sender.await.unwrap();
    }
    let sent = sent.load(Ordering::SeqCst);
    wait_for("the events", async || (number(&world, "SELECT count() FROM error_events").await == sent).then_some(())).await;
    let after = (process(server).1, process(engine).1);
    let bytes = envelope(7 << 64, 0, 1.0).len();
    let (server, engine) = (after.0 - before.0, after.1 - before.1);
    println!(
        "Sentry envelopes of {bytes} bytes (gzip): {sent} stored; a CPU second of the server {:.0}, of server and engine {:.0}",
        sent as f64 / server,
        sent as f64 / (server + engine)
    );
    world.stop().await;
}
