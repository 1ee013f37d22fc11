//! Lines that go past: who sees them, what is left out, what nobody looks at.

use std::sync::Mutex;

use axum::body::{Body, BodyDataStream};
use axum::http::Request;
use futures_util::StreamExt;
use model::columns::{Column, TableBlock};
use model::event::Actor;
use model::tables::LOGS;
use model::time::Timestamp;
use tower::ServiceExt;

use super::*;

/// A log that takes everything once, or finds it a duplicate.
struct Log(Mutex<(usize, Appended)>);

#[async_trait]
impl TelemetrySink for Log {
    async fn append(&self, _batch: Batch) -> Result<Appended, Refusal> {
        let mut log = self.0.lock().unwrap();
        log.0 += 1;
        Ok(log.1)
    }
}

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

/// A block of lines; each is (service, severity, body).
fn block(rows: &[(&str, u8, &str)]) -> TableBlock {
    let mut block = TableBlock::new(&LOGS);
    for (at, (service, severity, body)) in rows.iter().enumerate() {
        for (spec, column) in LOGS.columns.iter().zip(&mut block.columns) {
            match column {
                Column::UInt8(rows) => rows.push(*severity),
                Column::UInt16(rows) => rows.push(0),
                Column::UInt32(rows) => rows.push(0),
                Column::Int64(rows) => rows.push(1_800_000_000_000_000_000 + at as i64),
                Column::String(rows) => rows.push(body.as_bytes()),
                Column::LowCardinality(rows) => rows.push(if spec.name == "service" { service.as_bytes() } else { b"" }),
                Column::Fixed { width, bytes } => bytes.extend(std::iter::repeat_n(u8::try_from(at).unwrap_or(0), *width)),
                Column::StringMap(rows) => rows.push(if at % 2 == 0 { vec![("k", *service), ("row", *body)] } else { Vec::new() }),
                other => panic!("{} has the unexpected type {other:?}", spec.name),
            }
        }
    }
    block.check().unwrap();
    block
}

struct World {
    tail: Tail,
    closing: CancellationToken,
    sink: Arc<dyn TelemetrySink>,
}

impl World {
    fn new(log: Appended) -> Self {
        let closing = CancellationToken::new();
        let tail = Tail::new(closing.clone(), &Registry::new()).unwrap();
        let sink = tail.before(Arc::new(Log(Mutex::new((0, log)))));
        World { tail, closing, sink }
    }

    async fn ask(&self, whose: &str, permission: Permission, search: &str) -> Response {
        let query: String = url::form_urlencoded::byte_serialize(search.as_bytes()).collect();
        let mut request = Request::get(format!("/api/watchfire/v1/logs/tail?search={query}")).body(Body::empty()).unwrap();
        let actor = Actor::system("test");
        request.extensions_mut().insert(Principal { tenant: tenant(whose), permissions: vec![permission], actor, keyless: false });
        self.tail.router().oneshot(request).await.unwrap()
    }

    async fn listen(&self, whose: &str, search: &str) -> BodyDataStream {
        let answer = self.ask(whose, Permission::Read, search).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        let mut stream = answer.into_body().into_data_stream();
        assert!(String::from_utf8(stream.next().await.unwrap().unwrap().to_vec()).unwrap().contains("lines follow"));
        stream
    }

    async fn arrive(&self, whose: &str, rows: &[(&str, u8, &str)]) {
        let batch = Batch { tenant: tenant(whose), request: None, arrived: Timestamp::from_secs(1), blocks: vec![block(rows)] };
        self.sink.append(batch).await.unwrap();
    }
}

async fn heard(stream: &mut BodyDataStream) -> serde_json::Value {
    let text = String::from_utf8(stream.next().await.unwrap().unwrap().to_vec()).unwrap();
    assert!(text.starts_with("event: lines\n"), "{text}");
    serde_json::from_str(text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn lines_come_to_who_wants_them_and_to_no_other_tenant() {
    let world = World::new(Appended::Durable);
    let mut all = world.listen("a", "[]").await;
    let mut bad = world.listen("a", r#"[{"kind":"field","key":"level","op":">=","value":"error"}]"#).await;
    let mut other = world.listen("b", "[]").await;
    world.arrive("a", &[("shop", 9, "fine"), ("cart", 17, "broken"), ("shop", 9, "fine again")]).await;
    world.arrive("b", &[("theirs", 9, "secret")]).await;

    let found = heard(&mut all).await;
    let bodies: Vec<&str> = found["lines"].as_array().unwrap().iter().map(|line| line["body"].as_str().unwrap()).collect();
    assert_eq!(bodies, ["fine", "broken", "fine again"]);
    let first = &found["lines"][0];
    assert_eq!(first["nanos"], "1800000000000000000");
    assert_eq!(first["trace"], "", "an id of zeroes is none");
    assert_eq!(found["lines"][1]["trace"], "01".repeat(16));
    assert_eq!(found["lines"][2]["attributes"], json!({"k": "shop", "row": "fine again"}), "pairs stay with their rows");
    assert_eq!(found["lines"][1]["attributes"], json!({}));

    let found = heard(&mut bad).await;
    assert_eq!((found["lines"].as_array().unwrap().len(), &found["lines"][0]["service"]), (1, &json!("cart")));
    assert_eq!(heard(&mut other).await["lines"][0]["body"], "secret");
}

#[tokio::test(start_paused = true)]
async fn what_was_stored_before_is_not_shown_again() {
    let world = World::new(Appended::Duplicate);
    let mut all = world.listen("a", "[]").await;
    world.arrive("a", &[("shop", 9, "twice")]).await;
    world.closing.cancel();
    assert!(all.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn too_much_is_told_and_holds_nothing_up() {
    let world = World::new(Appended::Durable);
    let mut all = world.listen("a", "[]").await;
    let rows: Vec<(&str, u8, &str)> = (0..700).map(|_| ("shop", 9, "line")).collect();
    world.arrive("a", &rows).await;
    let found = heard(&mut all).await;
    assert_eq!((found["lines"].as_array().unwrap().len(), &found["left_out"]), (500, &json!(200)));
    for _ in 0..BEHIND + 10 {
        world.arrive("a", &[("shop", 9, "line")]).await;
    }
    let found = heard(&mut all).await;
    assert_eq!(found["lost_batches"].as_u64().unwrap() + found["lines"].as_array().unwrap().len() as u64, BEHIND as u64 + 10);
}

#[tokio::test(start_paused = true)]
async fn long_lines_are_cut_and_a_large_block_is_not_read_to_its_end() {
    let world = World::new(Appended::Durable);
    let mut all = world.listen("a", "[]").await;
    let long = "x".repeat(10_000);
    let rows: Vec<(&str, u8, &str)> = (0..300).map(|_| ("shop", 9, long.as_str())).collect();
    world.arrive("a", &rows).await;
    let found = heard(&mut all).await;
    let lines = found["lines"].as_array().unwrap();
    assert_eq!(lines[0]["body"].as_str().unwrap().len(), 4_000);
    assert!(lines.len() < 300 && lines.len() as u64 + found["left_out"].as_u64().unwrap() == 300, "{}", lines.len());
}

#[tokio::test]
async fn streams_are_bounded_and_need_a_reader() {
    let world = World::new(Appended::Durable);
    assert_eq!(world.ask("a", Permission::Ingest, "[]").await.status(), StatusCode::FORBIDDEN);
    assert_eq!(world.ask("a", Permission::Read, "nonsense").await.status(), StatusCode::BAD_REQUEST);
    let mut open = Vec::new();
    for _ in 0..STREAMS {
        open.push(world.listen("a", "[]").await);
    }
    let refused = world.ask("a", Permission::Read, "[]").await;
    assert_eq!((refused.status(), &refused.headers()["retry-after"]), (StatusCode::SERVICE_UNAVAILABLE, &HeaderValue::from_static("30")));
    open.pop();
    drop(world.listen("a", "[]").await);
}
