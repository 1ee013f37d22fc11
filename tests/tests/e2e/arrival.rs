//! When rows stop arriving in ClickHouse the server is not ready and says since when; when they arrive again, so is it. (An embedded
//! engine that hangs is started again sooner than that, so ClickHouse is a server here, behind a line that goes dead.)

use std::path::PathBuf;

use tests::process::Watchfire;
use tests::wait::wait_for;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, UnixStream};
use tokio::sync::watch;

/// A line from TCP to a socket. While it is dead, connections are accepted and stay open, and nothing passes.
async fn line(socket: PathBuf, dead: watch::Receiver<bool>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let (socket, mut dead) = (socket.clone(), dead.clone());
            tokio::spawn(async move {
                let mut unix = UnixStream::connect(socket).await.unwrap();
                let cut = async { dead.wait_for(|dead| *dead).await.map(drop) };
                let is_cut = tokio::select! {
                    biased;
                    _ = cut => true,
                    _ = copy_bidirectional(&mut tcp, &mut unix) => false,
                };
                if is_cut {
                    // Held until the line is repaired; then the other side sees it close.
                    let _ = dead.wait_for(|dead| !*dead).await;
                }
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn health_tells_that_rows_do_not_arrive_whatever_the_process_thinks_of_itself() {
    let mut owner = Watchfire::prepare(crate::WATCHFIRE, "", &[]);
    owner.start().await;
    let (cut, dead) = watch::channel(false);
    let port = line(owner.data().join("engine.sock"), dead).await;
    let config = format!("storage: {{ clickhouse: {{ url: \"http://127.0.0.1:{port}\", database: remote }} }}\n");
    let mut world = Watchfire::prepare(crate::WATCHFIRE, &config, &[]);
    world.start().await;
    let found = |text: &str| text.contains("ok  arrival: the newest row found in ClickHouse was sent");
    wait_for("the first row that is found", async || found(&world.text("/-/ready").await).then_some(())).await;
    // Nobody sends anything, every task is alive, every connection is open.
    cut.send_replace(true);
    wait_for("health to turn red", async || world.text("/-/ready").await.contains("BAD arrival: ").then_some(())).await;
    cut.send_replace(false);
    wait_for("health to be well again", async || found(&world.text("/-/ready").await).then_some(())).await;
    assert!(world.text("/metrics").await.contains("watchfire_arrival_age_seconds"));
    world.stop().await;
    owner.stop().await;
}
