//! Bad input of OTLP (HTTP and gRPC, protobuf and JSON, all signals), remote write (both versions) and Sentry (envelope and store):
//! every way in times every kind of bad input. A row tells how it is answered (status and words), which counter moves and how far, and how
//! many rows are stored all the same. After each row a good one goes the same way; in the end every good one is stored once, and
//! nothing else.

#[path = "bad_requests/bodies.rs"]
mod bodies;
#[path = "bad_requests/hostile.rs"]
mod hostile;
#[path = "bad_requests/targets.rs"]
mod targets;
#[path = "bad_requests/ways.rs"]
mod ways;

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::BodyExt as _;
use model::time::{Clock, SystemClock};
use serde_json::Value;
use tests::process::Watchfire;
use tests::wait::wait_for;
use ways::{Clockwork, Over, WAYS, Way};

const REQUESTS: &str = "watchfire_collector_requests_total";
const REJECTED: &str = "watchfire_collector_rejected_rows_total";
const DUPLICATES: &str = "watchfire_collector_duplicate_requests_total";
const REFUSED: &str = "watchfire_access_refused_total";
const CUT: &str = "watchfire_collector_cut_values_total";

/// What is bad about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The message ends too early.
    Truncated,
    /// What is packed ends too early.
    TruncatedPack,
    /// It is not packed as it says.
    NotPacked,
    /// Longer on the wire than allowed.
    LargeOnTheWire,
    /// Small on the wire, longer than allowed when it is unpacked.
    Bomb,
    /// Bytes that are no message at all.
    NoMessage,
    /// A text that is not UTF-8.
    NotUtf8,
    /// Another content type.
    WrongType,
    /// A compression that nobody knows.
    WrongEncoding,
    /// Nothing at all.
    Empty,
    /// No key, one that nobody knows, one that may only read.
    NoKey,
    UnknownKey,
    ReaderKey,
    /// A year behind, a year ahead.
    ClockBehind,
    ClockAhead,
    /// Three times the same.
    SentAgain,
    /// A record that can be kept and one that cannot.
    HalfGood,
}

const KINDS: [Kind; 17] = [
    Kind::Truncated,
    Kind::TruncatedPack,
    Kind::NotPacked,
    Kind::LargeOnTheWire,
    Kind::Bomb,
    Kind::NoMessage,
    Kind::NotUtf8,
    Kind::WrongType,
    Kind::WrongEncoding,
    Kind::Empty,
    Kind::NoKey,
    Kind::UnknownKey,
    Kind::ReaderKey,
    Kind::ClockBehind,
    Kind::ClockAhead,
    Kind::SentAgain,
    Kind::HalfGood,
];

/// How a request is answered, whatever the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Fine,
    Malformed,
    TooLarge,
    WrongType,
    WrongEncoding,
    NoKey,
    Forbidden,
}

impl Verdict {
    /// The HTTP status, or the number and name of gRPC's.
    fn code(self, way: &Way) -> (u16, &'static str) {
        match (way.over, self) {
            (Over::Grpc, Verdict::Fine) => (0, "OK"),
            (Over::Grpc, Verdict::Malformed) => (3, "INVALID_ARGUMENT"),
            (Over::Grpc, Verdict::TooLarge) => (8, "RESOURCE_EXHAUSTED"),
            (Over::Grpc, Verdict::WrongEncoding) => (12, "UNIMPLEMENTED"),
            (Over::Grpc, Verdict::NoKey) => (16, "UNAUTHENTICATED"),
            (Over::Grpc, Verdict::Forbidden) => (7, "PERMISSION_DENIED"),
            (_, Verdict::Fine) => (way.fine, if way.fine == 204 { "204" } else { "200" }),
            (_, Verdict::Malformed) => (400, "400"),
            (_, Verdict::TooLarge) => (413, "413"),
            // gRPC is told by its content type: another one is answered in HTTP.
            (_, Verdict::WrongType | Verdict::WrongEncoding) => (415, "415"),
            (_, Verdict::NoKey) => (401, "401"),
            (_, Verdict::Forbidden) => (403, "403"),
        }
    }
}

/// A row of the table.
struct Row {
    verdict: Verdict,
    says: &'static str,
    /// A counter with some of its labels, and how far it moves.
    counter: (&'static str, Vec<String>),
    by: f64,
    /// Sent so many times.
    times: usize,
    /// Rows that are stored all the same.
    stored: u64,
}

/// The row of a kind on a way; `None` where it cannot be.
fn row(way: &Way, kind: Kind) -> Option<Row> {
    let answered = |verdict: Verdict| {
        let label = |name: &str, value: &str| format!("{name}=\"{value}\"");
        (REQUESTS, vec![label("protocol", way.protocol), label("signal", way.signal), label("code", verdict.code(way).1)])
    };
    let refused = |verdict, says| Row { verdict, says, counter: answered(verdict), by: 1.0, times: 1, stored: 0 };
    let by_access = |says, reason: &str| Row { counter: (REFUSED, vec![format!("\"{reason}\"")]), ..refused(Verdict::NoKey, says) };
    let rejected = |says, reason: &str, stored| {
        let counter = (REJECTED, vec![format!("signal=\"{}\"", way.signal), format!("reason=\"{reason}\"")]);
        Row { counter, stored, ..refused(if way.clock == Clockwork::Refused { Verdict::Malformed } else { Verdict::Fine }, says) }
    };
    let kept = Row { stored: 1, ..refused(Verdict::Fine, "") };
    Some(match kind {
        Kind::Truncated => refused(Verdict::Malformed, way.says_truncated),
        Kind::TruncatedPack | Kind::NotPacked => refused(Verdict::Malformed, "not a complete"),
        Kind::LargeOnTheWire => refused(Verdict::TooLarge, "larger than 1MiB on the wire (collector.max_wire_bytes)"),
        Kind::Bomb => refused(Verdict::TooLarge, "larger than 2MiB after decompression (collector.max_decoded_bytes)"),
        Kind::NoMessage => refused(Verdict::Malformed, way.says_no_message),
        Kind::NotUtf8 => refused(Verdict::Malformed, way.says_not_utf8),
        Kind::WrongType => {
            let counter = (REQUESTS, vec![format!("protocol=\"{}\"", way.protocol_of_wrong_type), "code=\"415\"".into()]);
            Row { counter, ..refused(Verdict::WrongType, way.says_wrong_type?) }
        }
        Kind::WrongEncoding => refused(Verdict::WrongEncoding, "`rot13` is not supported"),
        Kind::Empty => match way.says_empty {
            Some(says) => refused(Verdict::Malformed, says),
            None => refused(Verdict::Fine, ""),
        },
        Kind::NoKey if way.late_key => refused(Verdict::NoKey, "no valid key: the user part of the DSN"),
        Kind::NoKey => by_access("an API key is needed", "key_missing"),
        Kind::UnknownKey => by_access("unknown or revoked", "key_unknown"),
        Kind::ReaderKey => refused(Verdict::Forbidden, "lacks the permission `ingest`"),
        Kind::ClockBehind | Kind::ClockAhead if way.clock == Clockwork::Corrected => {
            Row { counter: (CUT, vec!["part=\"sentry_time\"".to_owned()]), ..kept }
        }
        Kind::ClockBehind => rejected("older than the retention", "too_old", 0),
        Kind::ClockAhead => rejected("in the future", "too_far_ahead", 0),
        Kind::SentAgain => Row { counter: (DUPLICATES, vec![format!("signal=\"{}\"", way.signal)]), by: 2.0, times: 3, ..kept },
        Kind::HalfGood if way.clock == Clockwork::Corrected => refused(Verdict::Malformed, way.says_half),
        Kind::HalfGood => rejected("older than the retention", "too_old", 1),
    })
}

fn now() -> u64 {
    u64::try_from(SystemClock.now().nanos()).unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn snappy(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(bytes).unwrap()
}

/// What is sent.
struct Request {
    content_type: &'static str,
    /// The name of the compression.
    encoding: Option<&'static str>,
    /// In gRPC, without the frame.
    body: Vec<u8>,
}

impl Request {
    /// As the way has it.
    fn of(way: &Way, body: Vec<u8>) -> Self {
        match way.over {
            Over::Snappy => Request { content_type: way.content_type, encoding: Some("snappy"), body: snappy(&body) },
            Over::Http | Over::Grpc => Request { content_type: way.content_type, encoding: None, body },
        }
    }
    /// With a compression, where the way does not have one of its own.
    fn packed(way: &Way, body: &[u8]) -> Self {
        match way.over {
            Over::Snappy => Request::of(way, body.to_vec()),
            Over::Http | Over::Grpc => Request { encoding: Some("gzip"), ..Request::of(way, gzip(body)) },
        }
    }
    /// The request of a kind.
    fn bad(way: &Way, kind: Kind, service: &str) -> Self {
        let year = 365 * 86_400 * 1_000_000_000;
        let good = (way.body)(service, &[(now(), "x")]);
        let packed = Request::packed(way, &good);
        match kind {
            Kind::Truncated => Request::of(way, good[..good.len() - 3].to_vec()),
            Kind::TruncatedPack => Request { body: packed.body[..packed.body.len() - 6].to_vec(), ..packed },
            // Snappy begins with a length: one that is never reached.
            Kind::NotPacked => Request { body: vec![0x7f; 9], ..packed },
            Kind::LargeOnTheWire => Request { body: vec![b' '; 2 << 20], ..Request::of(way, Vec::new()) },
            Kind::Bomb => Request::packed(way, &vec![b' '; 8 << 20]),
            Kind::NoMessage => Request::of(way, way.no_message.to_vec()),
            Kind::NotUtf8 => {
                let mut body = (way.body)(service, &[(now(), "marker")]);
                let at = body.windows(6).position(|bytes| bytes == b"marker").unwrap();
                body[at..at + 2].copy_from_slice(b"\xff\xfe");
                Request::of(way, body)
            }
            Kind::WrongType => Request { content_type: "text/html", ..Request::of(way, good) },
            Kind::WrongEncoding => Request { encoding: Some("rot13"), ..packed },
            Kind::Empty => Request::of(way, Vec::new()),
            Kind::NoKey | Kind::UnknownKey | Kind::ReaderKey | Kind::SentAgain => Request::of(way, good),
            Kind::ClockBehind => Request::of(way, (way.body)(service, &[(now() - year, "x")])),
            Kind::ClockAhead => Request::of(way, (way.body)(service, &[(now() + year, "x")])),
            Kind::HalfGood if way.clock == Clockwork::Corrected => Request::of(way, [&good, way.no_message].concat()),
            Kind::HalfGood => Request::of(way, (way.body)(service, &[(now(), "kept"), (now() - year, "old")])),
        }
    }
}

/// What is answered.
struct Answer {
    status: u16,
    said: String,
    /// `Retry-After`, or the details of gRPC's status.
    again: Option<String>,
}

struct World {
    server: Watchfire,
    key: String,
    reader: String,
    http: reqwest::Client,
    grpc: reqwest::Client,
}

impl World {
    /// With small limits.
    async fn start() -> Self {
        World::start_with("").await
    }

    async fn start_with(more: &str) -> Self {
        let config =
            "collector:\n  max_wire_bytes: 1MiB\n  max_decoded_bytes: 2MiB\n  max_text: 64KiB\n  sentry: { projects: { 1: shop } }\n";
        let mut server = Watchfire::prepare(crate::WATCHFIRE, &format!("{config}{more}"), &[]);
        server.start().await;
        let made = server.command(&["keys", "create", "reader", "--permission", "read", "--json"]).output().unwrap();
        let made: Value = serde_json::from_slice(&made.stdout).unwrap();
        let reader = made["key"].as_str().unwrap().to_owned();
        let key = server.make_key().await;
        // A connection each: the server hangs up on a body that it does not want to read.
        let http = reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap();
        let grpc = reqwest::Client::builder().pool_max_idle_per_host(0).http2_prior_knowledge().build().unwrap();
        World { server, key, reader, http, grpc }
    }

    async fn own(&self, series: &str) -> f64 {
        self.server.own(series).await.unwrap_or_else(|| panic!("no {series} in its metrics"))
    }

    async fn counter(&self, (name, labels): &(&str, Vec<String>)) -> f64 {
        let text = self.server.text("/metrics").await;
        let all = text.lines().filter(|line| line.starts_with(&format!("{name}{{")));
        let ours = all.filter(|line| labels.iter().all(|label| line.contains(label)));
        ours.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// The status (gRPC's own, where there is one) and what is said. `None` where the server hung up while the body was being sent.
    async fn send(&self, way: &Way, key: Option<&str>, request: Request) -> Option<(u16, String)> {
        self.ask(way, key, request).await.map(|answer| (answer.status, answer.said))
    }

    async fn ask(&self, way: &Way, key: Option<&str>, request: Request) -> Option<Answer> {
        let (address, client) = match way.over {
            Over::Grpc => (self.server.grpc, &self.grpc),
            Over::Http if way.path.starts_with("/v1/") => (self.server.otlp_http, &self.http),
            Over::Http | Over::Snappy => (self.server.http, &self.http),
        };
        let Request { content_type, encoding, body } = request;
        let framed = || {
            let length = u32::try_from(body.len()).unwrap().to_be_bytes();
            [&[u8::from(encoding.is_some())][..], &length, &body].concat()
        };
        let mut sent = client.post(format!("http://{address}{}", way.path)).header("content-type", content_type);
        if let Some(encoding) = encoding {
            sent = sent.header(if way.over == Over::Grpc { "grpc-encoding" } else { "content-encoding" }, encoding);
        }
        if let Some(key) = key {
            sent = sent.bearer_auth(key);
        }
        let answer = sent.body(if way.over == Over::Grpc { framed() } else { body.clone() }).send().await.ok()?;
        let http = answer.status().as_u16();
        if way.over != Over::Grpc || http != 200 {
            let again = answer.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
            let bytes = answer.bytes().await.ok()?;
            return Some(Answer { status: http, said: String::from_utf8_lossy(&bytes).into_owned(), again });
        }
        // A refusal may stand in the headers; after a message the status stands in the trailers.
        let (head, body) = http::Response::<reqwest::Body>::from(answer).into_parts();
        let body = body.collect().await.ok()?;
        let told =
            |name: &str| head.headers.get(name).or_else(|| body.trailers()?.get(name)).map(|value| value.to_str().unwrap().to_owned());
        let status = told("grpc-status").unwrap_or_else(|| panic!("{}: gRPC without a status: {head:?}", way.name)).parse().unwrap();
        let said = told("grpc-message").unwrap_or_default();
        let said = url::form_urlencoded::parse(said.replace('+', "%2B").as_bytes()).map(|(name, _)| name.into_owned()).collect::<String>();
        let again = told("grpc-status-details-bin").map(|details| {
            let bytes = STANDARD_NO_PAD.decode(details.trim_end_matches('=')).unwrap();
            String::from_utf8_lossy(&bytes).into_owned()
        });
        let bytes = body.to_bytes();
        Some(Answer { status, said: said + &String::from_utf8_lossy(&bytes), again })
    }

    /// Sends a good one.
    async fn send_good(&self, way: &Way, after: &str, text: &str) {
        let body = (way.body)(&format!("good.{}", way.name), &[(now(), text)]);
        let answer = self.send(way, Some(&self.key), Request::of(way, body)).await.unwrap_or_else(|| panic!("after {after}: no answer"));
        assert_eq!(answer.0, Verdict::Fine.code(way).0, "after {after}: {}", answer.1);
    }

    /// Waits until so many records of a service are stored, and no more.
    async fn stored(&self, way: &Way, service: &str, records: u64) {
        let sql = (way.stored)(service);
        wait_for(&format!("{records} from {sql}"), async || {
            let found = self.server.count(&sql).await;
            assert!(found <= records, "{found} are more than {records}: {sql}");
            (found == records).then_some(())
        })
        .await;
    }
}

async fn check(world: &World, way: &Way, kind: Kind, row: &Row) {
    let what = format!("{}: {kind:?}", way.name);
    let key = match kind {
        Kind::NoKey => None,
        Kind::UnknownKey => Some("wf_unknown"),
        Kind::ReaderKey => Some(world.reader.as_str()),
        _ => Some(world.key.as_str()),
    };
    let before = world.counter(&row.counter).await;
    let service = format!("bad.{}.{kind:?}", way.name);
    let Request { content_type, encoding, body } = Request::bad(way, kind, &service);
    for _ in 0..row.times {
        let request = Request { content_type, encoding, body: body.clone() };
        let Some((status, said)) = world.send(way, key, request).await else {
            assert_eq!(row.verdict, Verdict::TooLarge, "{what}: no answer");
            continue;
        };
        let expected = if kind == Kind::WrongType { 415 } else { row.verdict.code(way).0 };
        assert_eq!(status, expected, "{what}: {said}");
        assert!(said.contains(row.says), "{what}: {said}");
        assert!(said.len() < 400 && (row.verdict == Verdict::Fine || !said.trim_end().contains('\n')), "{what}: one sentence: {said}");
    }
    let moved = world.counter(&row.counter).await - before;
    assert_eq!(moved, row.by, "{what}: {:?}", row.counter);
    world.send_good(way, &what, &format!("after {kind:?}")).await;
    if row.stored > 0 {
        world.stored(way, &service, row.stored).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_bad_input_on_every_way_in() {
    let world = World::start().await;
    let mut sent = Vec::new();
    for way in WAYS {
        let mut good = 0;
        for (kind, row) in KINDS.into_iter().filter_map(|kind| Some((kind, row(way, kind)?))) {
            check(&world, way, kind, &row).await;
            good += 1;
            sent.push((way, format!("bad.{}.{kind:?}", way.name), row.stored));
        }
        sent.push((way, format!("good.{}", way.name), good));
    }
    for (way, service, records) in &sent {
        world.stored(way, service, *records).await;
    }
    // Nothing else is there: what was refused has not come late, under another name or in another table.
    let totals: [(&str, &str); 4] = [
        ("traces", "SELECT count() FROM spans WHERE service != 'watchfire'"),
        ("logs", "SELECT count() FROM logs"),
        ("metrics", "SELECT count() FROM points WHERE metric = 'gauge'"),
        ("errors", "SELECT count() FROM error_events"),
    ];
    for (signal, sql) in totals {
        let signal_of = |way: &Way| if way.clock == Clockwork::Corrected { "errors" } else { way.signal };
        let all: u64 = sent.iter().filter(|(way, ..)| signal_of(way) == signal).map(|(_, _, records)| records).sum();
        assert!(all > 0, "{signal}");
        wait_for("the log to be sent", async || (world.own("watchfire_wal_blocks ").await == 0.0).then_some(())).await;
        assert_eq!(world.server.count(sql).await, all, "{signal}: {sql}");
    }
}

/// One record a second, of every tenant but one.
const RATES: &str = "pipeline:\n  rate_limits:\n    default: { spans: { records: 1, burst: 1s }, logs: { records: 1, burst: 1s }, \
                     metrics: { records: 1, burst: 1s }, errors: { records: 1, burst: 1s } }\n    \
                     tenants: { acme: { spans: { records: 100000 } } }\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_over_its_rate_is_told_so_on_every_way_and_another_is_not() {
    let world = World::start_with(RATES).await;
    let made = world.server.command(&["keys", "create", "acme", "--tenant", "acme", "--permission", "ingest", "--json"]).output().unwrap();
    let made: Value = serde_json::from_slice(&made.stdout).unwrap_or_else(|_| panic!("{made:?}"));
    let acme = made["key"].as_str().unwrap();
    let status = format!("http://{}/api/watchfire/v1/status", world.server.http);
    wait_for("the server to know the key", async || {
        (world.http.get(&status).bearer_auth(acme).send().await.ok()?.status().as_u16() == 403).then_some(())
    })
    .await;
    let signal = |way: &Way| if way.clock == Clockwork::Corrected { "errors" } else { way.signal };
    let request = |way: &Way, service: &str, records: usize| {
        // Two events do not fit into one body of the older endpoint.
        let records = if way.name == "sentry.store" { 1 } else { records };
        let texts: Vec<String> = (0..records).map(|number| format!("record {number}")).collect();
        let records: Vec<(u64, &str)> = texts.iter().map(|text| (now(), text.as_str())).collect();
        Request::of(way, (way.body)(service, &records))
    };
    // The first request of a signal is taken whole; what it is beyond the rate is owed for minutes.
    let (mut owing, mut stored) = (Vec::new(), 0);
    for way in WAYS {
        if !owing.contains(&signal(way)) {
            owing.push(signal(way));
            let (status, said) = world.send(way, Some(&world.key), request(way, "first", 400)).await.unwrap();
            assert_eq!(status, Verdict::Fine.code(way).0, "{}: {said}", way.name);
            world.stored(way, "first", 400).await;
        }
        let code = if way.over == Over::Grpc { (8, "RESOURCE_EXHAUSTED") } else { (429, "429") };
        let label = |name: &str, value: &str| format!("{name}=\"{value}\"");
        let counter = (REQUESTS, vec![label("protocol", way.protocol), label("signal", way.signal), label("code", code.1)]);
        let before = world.counter(&counter).await;
        let refused = world.ask(way, Some(&world.key), request(way, "second", 1)).await.unwrap();
        assert_eq!(refused.status, code.0, "{}: {}", way.name, refused.said);
        assert!(refused.said.contains("pipeline.rate_limits"), "{}: {}", way.name, refused.said);
        let again = refused.again.unwrap_or_else(|| panic!("{}: nobody says when to come again", way.name));
        if way.over == Over::Grpc {
            assert!(again.contains("google.rpc.RetryInfo"), "{}: {again}", way.name);
        } else {
            let seconds: u64 = again.parse().unwrap();
            assert!((60..=400).contains(&seconds), "{}: {again}", way.name);
        }
        assert_eq!(world.counter(&counter).await - before, 1.0, "{}", way.name);
        let (status, said) = world.send(way, Some(acme), request(way, "acme", 30)).await.unwrap();
        assert_eq!(status, Verdict::Fine.code(way).0, "{} of another tenant: {said}", way.name);
        stored += 1;
    }
    assert_eq!((owing.len(), stored), (4, WAYS.len()));
    for way in WAYS {
        assert_eq!(world.server.count(&(way.stored)("second")).await, 0, "{}", way.name);
    }
}
