//! `kill -9` of server and engine under load: what was acknowledged is stored, once. `cargo run --release -p tests --bin measure
//! -- kills 50` runs more of them.

#[tokio::test(flavor = "multi_thread")]
async fn six_random_kills_lose_and_double_nothing() {
    let acknowledged = tests::crash::rounds(crate::WATCHFIRE, 6, 0xF12E).await;
    assert!(acknowledged > 0);
}
