//! A ClickHouse server by its URL instead of the embedded engine: the same code over TCP. The server here is the engine of another
//! Watchfire behind a bridge from TCP to its socket; a released server's own packages are not needed.

use std::path::PathBuf;

use tests::process::Watchfire;
use tests::send;
use tests::wait::wait_for;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, UnixStream};

/// A TCP port behind which an engine's socket is.
pub async fn bridge(socket: PathBuf) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let socket = socket.clone();
            tokio::spawn(async move {
                if let Ok(mut unix) = UnixStream::connect(socket).await {
                    // Either side may hang up when it likes.
                    let _ = copy_bidirectional(&mut tcp, &mut unix).await;
                }
            });
        }
    });
    port
}

fn children(world: &Watchfire) -> String {
    let output = std::process::Command::new("ps").args(["-o", "args=", "--ppid", &world.pid().to_string()]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_by_its_url_does_all_that_the_engine_does() {
    let mut owner = Watchfire::prepare(crate::WATCHFIRE, "", &[]);
    owner.start().await;
    assert!(children(&owner).contains(" engine "), "{}", children(&owner));
    let port = bridge(owner.data().join("engine.sock")).await;
    let config =
        format!("storage:\n  clickhouse:\n    url: http://127.0.0.1:{port}\n    user: w\n    password: secret\n    database: remote\n");
    let mut world = Watchfire::prepare(crate::WATCHFIRE, &config, &[]);
    // Twice: the second start finds the schema and what was stored.
    for round in 1..=2 {
        world.start().await;
        assert_eq!(children(&world).trim(), "", "no engine of its own");
        let url = format!("http://{}/v1/traces", world.otlp_http);
        assert_eq!(send::post(&reqwest::Client::new(), &url, &send::spans("afar", 50, 5)).await, Some(200));
        wait_for("the spans on the server", async || {
            (world.count("SELECT count() FROM otel_traces WHERE ServiceName = 'afar'").await == 50 * round).then_some(())
        })
        .await;
        wait_for("PromQL over them", async || {
            let calls = world.promql("sum(increase(traces_span_metrics_calls_total{service_name=\"afar\"}[5m]))").await?;
            (calls >= 50.0).then_some(())
        })
        .await;
        assert_eq!(world.stop().await, Some(0));
    }
    assert_eq!(owner.count("SELECT count() FROM spans").await, 0, "another database");
    assert!(!world.log().contains("secret"), "no secret in the log");
}
