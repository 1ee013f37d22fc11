//! `kill -9` of server and engine under load: what was acknowledged is stored, once.

use std::collections::HashMap;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::process::Watchfire;
use crate::send;
use crate::wait::wait_for;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Sends spans of service `s<sender>` until told to stop; each request is sent until it is acknowledged. Returns the number of
/// acknowledged spans.
async fn sender(number: usize, url: String, stop: Arc<AtomicBool>) -> u64 {
    let client = reqwest::Client::builder().timeout(std::time::Duration::from_secs(10)).build().unwrap();
    let mut acknowledged = 0;
    while !stop.load(Ordering::SeqCst) {
        let request = send::spans(&format!("s{number}"), 50, 5);
        // The same bytes again until there is an answer, as every OTLP client does: a lost answer must not store them twice.
        loop {
            match send::post(&client, &url, &request).await {
                Some(200) => break,
                Some(status) if status != 429 && status < 500 => panic!("refused with {status}"),
                Some(_) | None => tokio::time::sleep(std::time::Duration::from_millis(30)).await,
            }
        }
        acknowledged += 50;
    }
    acknowledged
}

fn engine_of(server: u32) -> Option<u32> {
    let output = Command::new("ps").args(["-o", "pid=", "--ppid", &server.to_string()]).output().ok()?;
    String::from_utf8(output.stdout).ok()?.split_whitespace().next()?.parse().ok()
}

/// Runs `rounds` random kills and checks the sums. Returns the number of acknowledged spans.
pub async fn rounds(executable: &str, rounds: usize, seed: u64) -> u64 {
    let mut world = Watchfire::prepare(executable, "", &[]);
    world.start().await;
    let stop = Arc::new(AtomicBool::new(false));
    let url = format!("http://{}/v1/traces", world.otlp_http);
    let senders: Vec<_> = (0..3).map(|number| tokio::spawn(sender(number, url.clone(), stop.clone()))).collect();
    let mut rng = StdRng::seed_from_u64(seed);
    for _ in 0..rounds {
        // The moment of the kill is what is random here; nothing is waited for.
        tokio::time::sleep(std::time::Duration::from_millis(rng.random_range(50..2_500))).await;
        if rng.random_bool(0.4)
            && let Some(engine) = engine_of(world.pid())
        {
            Command::new("kill").args(["-9", &engine.to_string()]).status().unwrap();
            world.ready().await;
        } else {
            world.kill();
            world.start().await;
        }
    }
    stop.store(true, Ordering::SeqCst);
    let mut acknowledged = HashMap::new();
    for (number, sender) in senders.into_iter().enumerate() {
        acknowledged.insert(format!("s{number}"), sender.await.unwrap());
    }
    for (service, sent) in &acknowledged {
        let sql = format!("SELECT count() FROM spans WHERE service = '{service}'");
        let what = format!("{sent} spans of {service} to be stored");
        wait_for(&what, async || (world.count(&sql).await >= *sent).then_some(())).await;
        assert_eq!(world.count(&sql).await, *sent, "rows of {service}");
        let distinct = world.count(&format!("SELECT uniqExact(span_id) FROM spans WHERE service = '{service}'")).await;
        assert_eq!(distinct, *sent, "distinct spans of {service}");
        // The RED series are as durable and as exact as the spans they count.
        let calls = world.count(&format!("SELECT toUInt64(sum(p.value)) FROM points AS p INNER JOIN (SELECT DISTINCT fingerprint FROM series WHERE metric = 'traces_span_metrics_calls_total' AND labels['service_name'] = '{service}') AS s ON p.fingerprint = s.fingerprint WHERE p.metric = 'traces_span_metrics_calls_total'")).await;
        assert_eq!(calls, *sent, "calls of {service}");
    }
    acknowledged.values().sum()
}
