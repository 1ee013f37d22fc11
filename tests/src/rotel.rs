//! Rotel (PyPI `rotel`), a collector in Rust that writes to ClickHouse, beside Watchfire: what the same requests cost it on the same
//! machine in the same minute. Its exporter's requests are taken and thrown away; unlike Watchfire it keeps what it acknowledged in
//! memory only. Figures of one machine mean little on another; their ratio does.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http_body_util::BodyExt;

use crate::intake::Load;
use crate::process::{Watchfire, free_port};
use crate::programs::Program;
use crate::python;
use crate::usage::process;
use crate::wait::wait_for;

/// Rotel's program; `None` where PyPI cannot be reached.
pub fn program() -> Option<PathBuf> {
    let python = python::environment("requirements-peers.txt", "test-peers")?;
    let ask = "import importlib.util as u; print(u.find_spec('rotel').submodule_search_locations[0])";
    let folder = Command::new(python).args(["-c", ask]).output().ok()?.stdout;
    Some(Path::new(String::from_utf8(folder).ok()?.trim()).join("rotel-agent"))
}

async fn throw_away(body: Body) {
    let mut body = body;
    while let Some(Ok(_)) = body.frame().await {}
}

/// Where its exporter's requests go.
async fn sink() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(throw_away)).await });
    address
}

/// Microseconds of its CPU a record, saturated by `watchfire load` for so long.
pub async fn cost(executable: &str, rotel: &Path, signal: &str, length: Duration) -> f64 {
    let mut world = Watchfire::prepare(executable, "", &[]);
    world.start().await;
    let (grpc, http) = (free_port(), free_port());
    let arguments = [
        "start".to_owned(),
        format!("--otlp-grpc-endpoint=127.0.0.1:{grpc}"),
        format!("--otlp-http-endpoint=127.0.0.1:{http}"),
        "--exporter=clickhouse".to_owned(),
        format!("--clickhouse-exporter-endpoint={}", sink().await),
    ];
    let peer = Program::start(rotel.to_str().unwrap(), &arguments);
    wait_for("Rotel", async || tokio::net::TcpStream::connect(("127.0.0.1", grpc)).await.ok()).await;
    let before = process(peer.pid()).1;
    let report = Load::to(&format!("http://127.0.0.1:{grpc}"), &world, signal, length, &["--no-verify"]).succeeded();
    // What it still holds costs it too.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let used = process(peer.pid()).1 - before;
    world.stop().await;
    used * 1e6 / report["acknowledged"].as_f64().unwrap()
}
