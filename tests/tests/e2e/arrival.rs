//! When rows stop arriving in ClickHouse the server is not ready and says since when; when they arrive again, so is it.

use std::process::Command;

use tests::process::Watchfire;
use tests::usage::child_of;
use tests::wait::wait_for;

fn signal(pid: u32, name: &str) {
    assert!(Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn health_tells_that_rows_do_not_arrive_whatever_the_process_thinks_of_itself() {
    let mut world = Watchfire::prepare(crate::WATCHFIRE, "", &[]);
    world.start().await;
    let found = |text: &str| text.contains("ok  arrival: the newest row found in ClickHouse was sent");
    wait_for("the first row that is found", async || found(&world.text("/-/ready").await).then_some(())).await;
    // The engine hangs: its process and socket are there, connections are accepted, nothing is answered. Nobody sends anything.
    let engine = child_of(world.pid());
    signal(engine, "-STOP");
    wait_for("health to turn red", async || world.text("/-/ready").await.contains("BAD arrival: ").then_some(())).await;
    signal(engine, "-CONT");
    wait_for("health to be well again", async || found(&world.text("/-/ready").await).then_some(())).await;
    assert!(world.text("/metrics").await.contains("watchfire_arrival_age_seconds"));
    world.stop().await;
}
