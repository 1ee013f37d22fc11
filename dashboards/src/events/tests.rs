//! Streams over a journal in memory: order, tenants, resuming, bounds, the end.

use axum::body::{Body, BodyDataStream};
use axum::http::Request;
use futures_util::StreamExt;
use model::event::{Actor, Subject};
use model::ids::{EventId, KeyId, SequentialIds};
use model::state::{Commit, Records};
use model::testing::Memory;
use model::time::{SimulatedClock, Timestamp};
use prometheus::TextEncoder;
use tower::ServiceExt;

use super::*;

struct World {
    state: Arc<Memory>,
    nudge: Nudge,
    closing: CancellationToken,
    router: Router,
    ids: SequentialIds,
    registry: Registry,
}

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

impl World {
    fn new() -> Self {
        let state = Memory::new(Arc::new(SimulatedClock::new(Timestamp::from_secs(1_800_000_000))));
        let (nudge, closing, registry) = (Nudge::default(), CancellationToken::new(), Registry::new());
        let feed = Feed { state: state.clone(), nudge: nudge.clone(), longest: Duration::from_secs(10), closing: closing.clone() };
        let router = router(feed, &registry).unwrap();
        World { state, nudge, closing, router, ids: SequentialIds::default(), registry }
    }

    async fn happens(&self, whose: &str, kind: EventKind) {
        let at = Timestamp::from_secs(1_800_000_000);
        let mut commit = Commit::at(at);
        commit.event(model::event::Event {
            id: EventId::new(at, &self.ids),
            tenant: tenant(whose),
            at,
            actor: Actor::system("test"),
            subject: Subject::default(),
            kind,
        });
        self.state.commit(commit).await.unwrap();
        self.nudge.nudge();
    }

    async fn ask(&self, whose: &str, permission: Permission, last: Option<&str>) -> Response {
        let mut request = Request::get("/api/watchfire/v1/events");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let mut request = request.body(Body::empty()).unwrap();
        request.extensions_mut().insert(Principal {
            tenant: tenant(whose),
            permissions: vec![permission],
            actor: Actor::User { id: "ana".into() },
            keyless: false,
        });
        self.router.clone().oneshot(request).await.unwrap()
    }

    async fn stream(&self, whose: &str, permission: Permission, last: Option<&str>) -> BodyDataStream {
        let answer = self.ask(whose, permission, last).await;
        assert_eq!(answer.status(), StatusCode::OK);
        answer.into_body().into_data_stream()
    }
}

fn noted(text: &str) -> EventKind {
    EventKind::IncidentNoted { text: text.to_owned() }
}

/// The next piece of a stream: its id, and the note in it.
async fn next(stream: &mut BodyDataStream) -> Option<(u64, String)> {
    let piece = String::from_utf8(stream.next().await?.unwrap().to_vec()).unwrap();
    let line = |name: &str| piece.lines().find_map(|line| line.strip_prefix(name)).map(|rest| rest.trim().to_owned());
    let data = line("data:").unwrap_or_else(|| "{}".to_owned());
    let data: serde_json::Value = serde_json::from_str(&data).unwrap();
    let kind = &data["event"]["kind"];
    Some((line("id:").unwrap().parse().unwrap(), kind["text"].as_str().or(kind["kind"].as_str()).unwrap_or("").to_owned()))
}

#[tokio::test]
async fn every_event_of_the_tenant_comes_once_and_in_order_and_a_reader_resumes() {
    let world = World::new();
    world.happens("default", noted("before")).await;
    let mut stream = world.stream("default", Permission::Read, None).await;
    assert_eq!(next(&mut stream).await.unwrap(), (1, String::new()), "the place from which a reader resumes");
    world.happens("other", noted("theirs")).await;
    for text in ["a", "b"] {
        world.happens("default", noted(text)).await;
    }
    assert_eq!(next(&mut stream).await.unwrap(), (3, "a".to_owned()));
    assert_eq!(next(&mut stream).await.unwrap(), (4, "b".to_owned()));

    let mut again = world.stream("default", Permission::Read, Some("3")).await;
    assert_eq!(next(&mut again).await.unwrap().0, 3);
    assert_eq!(next(&mut again).await.unwrap(), (4, "b".to_owned()));
    let mut other_journal = world.stream("default", Permission::Read, Some("999")).await;
    assert_eq!(next(&mut other_journal).await.unwrap().0, 4);
    world.happens("default", noted("c")).await;
    for stream in [&mut stream, &mut again, &mut other_journal] {
        assert_eq!(next(stream).await.unwrap(), (5, "c".to_owned()));
    }
}

#[tokio::test]
async fn more_than_one_batch_comes_whole() {
    let world = World::new();
    for number in 0..BATCH * 2 + 7 {
        world.happens(if number % 3 == 0 { "other" } else { "default" }, noted(&number.to_string())).await;
    }
    let mut stream = world.stream("default", Permission::Read, Some("0")).await;
    next(&mut stream).await.unwrap();
    for number in (0..BATCH * 2 + 7).filter(|number| number % 3 != 0) {
        assert_eq!(next(&mut stream).await.unwrap(), (number as u64 + 1, number.to_string()));
    }
}

#[tokio::test]
async fn keys_are_told_to_admins_only() {
    let world = World::new();
    let at = Timestamp::from_secs(1_800_000_000);
    world.happens("default", EventKind::KeyRevoked { key: KeyId::new(at, &world.ids) }).await;
    world.happens("default", noted("after")).await;
    let mut reader = world.stream("default", Permission::Read, Some("0")).await;
    next(&mut reader).await.unwrap();
    assert_eq!(next(&mut reader).await.unwrap(), (2, "after".to_owned()));
    let mut admin = world.stream("default", Permission::Admin, Some("0")).await;
    next(&mut admin).await.unwrap();
    assert_eq!(next(&mut admin).await.unwrap(), (1, "key_revoked".to_owned()));
}

#[tokio::test]
async fn streams_are_bounded_and_end() {
    let world = World::new();
    assert_eq!(world.ask("default", Permission::Ingest, None).await.status(), StatusCode::FORBIDDEN);
    assert_eq!(world.ask("default", Permission::Read, Some("newest")).await.status(), StatusCode::BAD_REQUEST);
    let mut open = Vec::new();
    for _ in 0..STREAMS {
        open.push(world.stream("default", Permission::Read, None).await);
    }
    let refused = world.ask("default", Permission::Read, None).await;
    assert_eq!((refused.status(), refused.headers()[RETRY_AFTER].to_str().unwrap()), (StatusCode::SERVICE_UNAVAILABLE, "30"));
    assert_eq!(world.ask("other", Permission::Read, None).await.status(), StatusCode::OK, "another tenant has places of its own");
    drop(open.pop());
    let mut last = world.stream("default", Permission::Read, None).await;
    world.closing.cancel();
    next(&mut last).await.unwrap();
    assert_eq!(next(&mut last).await, None, "at shutdown a stream ends");
    drop((open, last));
    let text = TextEncoder::new().encode_to_string(&world.registry.gather()).unwrap();
    assert!(text.contains("\nwatchfire_event_streams 0\n"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_after_its_time_and_hears_of_other_nodes_commits() {
    let world = World::new();
    let mut stream = world.stream("default", Permission::Read, None).await;
    next(&mut stream).await.unwrap();
    let began = Instant::now();
    let at = Timestamp::from_secs(1_800_000_000);
    let mut commit = Commit::at(at);
    commit.event(model::event::Event {
        id: EventId::new(at, &world.ids),
        tenant: tenant("default"),
        at,
        actor: Actor::system("another node"),
        subject: Subject::default(),
        kind: noted("from afar"),
    });
    world.state.commit(commit).await.unwrap();
    assert_eq!(next(&mut stream).await.unwrap(), (1, "from afar".to_owned()));
    while let Some(piece) = stream.next().await {
        assert!(piece.unwrap().starts_with(b":"), "nothing but signs of life");
    }
    assert!(began.elapsed() >= LIFE && began.elapsed() < LIFE + KEEP_ALIVE);
}
