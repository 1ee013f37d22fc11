//! Checks against real sockets in this process, and the loop with its list and series.

use std::sync::Mutex;

use async_trait::async_trait;
use model::sink::Refusal;
use model::time::SystemClock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::ask::Said;
use super::*;

#[derive(Default)]
struct Kept(Mutex<Vec<(Labels, SeriesSample)>>);

#[async_trait]
impl SeriesSink for Kept {
    async fn write(&self, _: &TenantId, samples: Vec<(Labels, SeriesSample)>) -> Result<(), Refusal> {
        self.0.lock().unwrap().extend(samples);
        Ok(())
    }
}

impl Kept {
    fn last(&self, name: &str, check: &str) -> Option<f64> {
        let all = self.0.lock().unwrap();
        let of = |labels: &Labels| labels.get(METRIC_NAME) == Some(name) && labels.get("check") == Some(check);
        all.iter().rev().find(|(labels, _)| of(labels)).map(|(_, sample)| sample.value)
    }
}

/// Answers every connection: reads a little, writes this, closes.
async fn answering(answer: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut asked = [0; 1_024];
                let _ = stream.read(&mut asked).await;
                let _ = stream.write_all(answer).await;
            });
        }
    });
    port
}

fn config(text: &str) -> Config {
    let config: Config = serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.problems(), Vec::<String>::new());
    config
}

async fn asked(check: &str) -> Result<Said, String> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = config(&format!("checks: [{{ name: a, {check} }}]"));
    let kinds = config.checks[0].kinds();
    let client = Client::of(kinds[0], Duration::from_secs(5)).unwrap();
    ask(kinds[0], client.as_ref(), SystemClock.now()).await
}

const PAGE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\nconnection: close\r\n\r\nall ok\n";

#[tokio::test]
async fn pages_are_judged_by_status_and_body() {
    let good = answering(PAGE).await;
    let bad = answering(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
    let said = asked(&format!("http: {{ url: 'http://127.0.0.1:{good}/health', contains: ok, matches: '^all .k' }}")).await.unwrap();
    assert_eq!((said.status, said.wrong), (Some(200), None));
    let said = asked(&format!("http: {{ url: 'http://127.0.0.1:{good}/', contains: fine }}")).await.unwrap();
    assert_eq!(said.wrong.as_deref(), Some("the answer does not contain \"fine\""));
    let said = asked(&format!("http: {{ url: 'http://127.0.0.1:{bad}/' }}")).await.unwrap();
    assert_eq!((said.status, said.wrong.as_deref()), (Some(503), Some("the status is 503")));
    assert_eq!(asked(&format!("http: {{ url: 'http://127.0.0.1:{bad}/', status: [503] }}")).await.unwrap().wrong, None);
    let cut = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 70\r\nconnection: close\r\n\r\nall").await;
    let broken = asked(&format!("http: {{ url: 'http://127.0.0.1:{cut}/' }}")).await.unwrap_err();
    assert!(broken.starts_with("the answer broke off"), "{broken}");
    let said = asked(&format!("clickhouse: {{ url: 'http://127.0.0.1:{bad}/' }}")).await.unwrap();
    assert!(said.wrong.unwrap().starts_with("ClickHouse answers 503"));
    let one = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n1\n").await;
    let of_it = |port: u16, more: &str| format!("clickhouse: {{ url: 'http://127.0.0.1:{port}/', user: u, password: p{more} }}");
    let said = asked(&of_it(one, "")).await.unwrap();
    assert_eq!((said.status, said.wrong), (Some(200), None));
    let said = asked(&of_it(good, "")).await.unwrap();
    assert_eq!(said.wrong.as_deref(), Some("no ClickHouse: `SELECT 1` is not answered with 1"), "some page that is there");
    assert_eq!(asked(&of_it(good, ", query: SELECT 2")).await.unwrap().wrong, None, "what else is asked has any answer");
}

#[tokio::test]
async fn sockets_names_and_redis() {
    let pong = answering(b"+PONG\r\n").await;
    assert_eq!(asked(&format!("tcp: {{ address: '127.0.0.1:{pong}' }}")).await, Ok(Said::default()));
    assert_eq!(asked(&format!("redis: {{ url: 'redis://127.0.0.1:{pong}' }}")).await, Ok(Said::default()));
    let refusing = answering(b"-NOAUTH Authentication required.\r\n").await;
    let said = asked(&format!("redis: {{ url: 'redis://127.0.0.1:{refusing}' }}")).await.unwrap();
    assert_eq!(said.wrong.as_deref(), Some("Redis says: NOAUTH Authentication required."));
    let babbling = answering(&[b'x'; 4_096]).await;
    let told = asked(&format!("redis: {{ url: 'redis://:secret@127.0.0.1:{babbling}' }}")).await.unwrap_err();
    assert!(told.contains("not Redis's protocol"), "{told}");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = listener.local_addr().unwrap().port();
    drop(listener);
    assert!(asked(&format!("tcp: {{ address: '127.0.0.1:{closed}' }}")).await.unwrap_err().contains("no connection"));
    let told = asked(&format!("postgres: {{ url: 'postgres://u:secret@127.0.0.1:{closed}/d' }}")).await.unwrap_err();
    assert!(told.starts_with("PostgreSQL: no connection") && !told.contains("secret"), "{told}");
    let told = asked(&format!("tls: {{ address: '127.0.0.1:{pong}' }}")).await.unwrap_err();
    assert!(told.starts_with("no TLS connection"), "{told}");
    assert_eq!(asked("dns: { name: localhost, expect: [127.0.0.1] }").await, Ok(Said::default()));
    let said = asked("dns: { name: localhost, expect: [10.1.2.3] }").await.unwrap();
    assert!(said.wrong.unwrap().ends_with("not to 10.1.2.3"));
    assert!(asked("dns: { name: nobody.invalid }").await.unwrap_err().contains("does not resolve"));
}

#[tokio::test]
async fn the_leader_checks_and_a_check_that_is_gone_ends() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let good = answering(PAGE).await;
    let kept = Arc::<Kept>::default();
    let text = format!(
        "interval: 1s\ntimeout: 900ms\nchecks: [{{ name: web, http: {{ url: 'http://127.0.0.1:{good}/' }}, labels: {{ team: shop }} }}, {{ name: port, tcp: {{ address: '127.0.0.1:1' }} }}]"
    );
    let checker = Checker::new(&config(&text), "node", kept.clone(), Arc::new(SystemClock), &Registry::new()).unwrap();
    let (lead, fence) = watch::channel(None);
    let stop = CancellationToken::new();
    let running = tokio::spawn(checker.clone().run(fence, stop.clone()));
    tokio::task::yield_now().await;
    assert!(kept.0.lock().unwrap().is_empty(), "who does not lead asks nobody");
    lead.send_replace(Some(Fence { lease: "leader".to_owned(), token: 1 }));
    let until = async |what: &str, holds: &dyn Fn() -> bool| {
        for _ in 0..600 {
            if holds() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{what} did not come");
    };
    until("the first answers", &|| {
        kept.last("watchfire_check_up", "web") == Some(1.0) && kept.last("watchfire_check_up", "port") == Some(0.0)
    })
    .await;
    assert_eq!(kept.last("watchfire_check_http_status_code", "web"), Some(200.0));
    checker.take_up(checker.prepare(&config("checks: [{ name: port, tcp: { address: '127.0.0.1:1' } }]")).unwrap());
    until("the marker", &|| kept.last("watchfire_check_up", "web").is_some_and(|value| value.to_bits() == STALE.to_bits())).await;
    assert!(checker.prepare(&serde_saphyr::from_str("checks: [{ name: x }]").unwrap()).is_err());
    stop.cancel();
    running.await.unwrap();
}
