//! The receivers with sockets, over real ones: what arrives as rows, what is counted, what a stop and a full log do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use model::ids::RandomIds;
use model::secret::Secret;
use model::sink::Refusal;
use model::time::Span as Pause;
use model::units::ByteCount;
use sha2::{Digest, Sha512};
use std::io::Write;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::fixtures::*;
use crate::{Config, FluentConfig, Sockets, StatsdConfig, SyslogConfig};

/// A collector whose sockets are being served.
struct Served {
    rig: Rig,
    addresses: Vec<(&'static str, SocketAddr)>,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Served {
    async fn new(config: Config) -> Self {
        let sockets = Sockets::bind(&config).await.unwrap();
        let rig = Rig::new(config);
        let (addresses, stop) = (sockets.addresses().unwrap(), CancellationToken::new());
        let tasks = rig.collector.serve_sockets(sockets, Arc::new(RandomIds), &stop);
        Served { rig, addresses, stop, tasks }
    }
    fn address(&self, name: &str) -> SocketAddr {
        self.addresses.iter().find(|(known, _)| *known == name).unwrap().1
    }
    async fn tcp(&self, name: &str) -> TcpStream {
        TcpStream::connect(self.address(name)).await.unwrap()
    }
    async fn udp(&self, name: &str) -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(self.address(name)).await.unwrap();
        socket
    }
    async fn stopped(self) -> Rig {
        self.stop.cancel();
        for task in self.tasks {
            task.await.unwrap();
        }
        self.rig
    }
    fn fault(&self, fault: &str) -> f64 {
        self.rig.meter("watchfire_collector_socket_faults_total", &[("fault", fault)])
    }
}

/// Waits for a condition.
async fn until(what: &str, mut fits: impl FnMut() -> bool) {
    for _ in 0..12_000 {
        if fits() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("waited in vain for {what}");
}

fn here() -> Option<SocketAddr> {
    Some("127.0.0.1:0".parse().unwrap())
}

fn syslog() -> Config {
    let syslog = SyslogConfig { udp: here(), tcp: here(), batch_linger: Pause::millis(20), ..SyslogConfig::default() };
    Config { syslog, hold: Pause::millis(1), ..Config::default() }
}

fn full() -> Refusal {
    Refusal::LogFull { used: 9, cap: 8, retry_after: Duration::from_millis(1) }
}

const NAMES: [&str; 7] = ["ts", "service", "severity_number", "severity_text", "body", "attributes", "resource"];

fn seen(rig: &Rig) -> Vec<[String; 7]> {
    rig.sink.rows("logs").iter().map(|row| NAMES.map(|name| row[name].clone())).collect()
}

#[tokio::test]
async fn syslog_of_both_kinds_over_both_transports() {
    let served = Served::new(syslog()).await;
    let new = r#"<165>1 2026-02-28T23:59:59.003Z web-1 shop 8710 ID47 [ex@32473 iut="3"] An event"#;
    let old = "<34>Feb 28 23:59:58 web-2 su[77]: 'su root' failed";
    served.udp("syslog over UDP").await.send(new.as_bytes()).await.unwrap();
    until("the datagram", || served.rig.sink.rows("logs").len() == 1).await;
    let mut stream = served.tcp("syslog over TCP").await;
    stream.write_all(format!("{} {new}{old}\n", new.len()).as_bytes()).await.unwrap();
    until("the connection's messages", || served.rig.sink.rows("logs").len() == 3).await;
    let rows = seen(&served.rig);
    let by_new = [
        "1772323199003000000",
        "shop",
        "10",
        "notice",
        "An event",
        "{network.peer.address=127.0.0.1,syslog.ex@32473.iut=3,syslog.facility=20,syslog.msgid=ID47,syslog.procid=8710,syslog.version=1}",
        "{host.name=web-1,service.name=shop}",
    ];
    assert_eq!(rows[0], by_new.map(String::from));
    assert_eq!(rows[1], by_new.map(String::from));
    assert_eq!(
        rows[2],
        [
            "1772323198000000000",
            "su",
            "18",
            "crit",
            "'su root' failed",
            "{network.peer.address=127.0.0.1,syslog.facility=4,syslog.procid=77}",
            "{host.name=web-2,service.name=su}"
        ]
        .map(String::from)
    );
    let messages =
        |transport| served.rig.meter("watchfire_collector_socket_messages_total", &[("protocol", "syslog"), ("transport", transport)]);
    assert_eq!((messages("udp"), messages("tcp")), (1.0, 2.0));
    served.stopped().await;
}

/// name, message, counted part, body, whether the time of arrival counts
type SyslogCase = (&'static str, &'static [u8], Option<&'static str>, &'static str, bool);

#[tokio::test]
async fn bad_syslog_messages_are_kept_as_text_and_counted() {
    let served = Served::new(syslog()).await;
    let socket = served.udp("syslog over UDP").await;
    let cases: [SyslogCase; 10] = [
        ("no header", b"hello", Some("syslog_header"), "hello", true),
        ("a truncated header", b"<34>1 2026-02-28T23:59:59Z web", Some("syslog_header"), "1 2026-02-28T23:59:59Z web", true),
        ("broken data", b"<34>1 - h a - - [x y=\"z] m", Some("syslog_header"), "1 - h a - - [x y=\"z] m", true),
        ("a priority that is none", b"<999>x", Some("syslog_header"), "<999>x", true),
        ("a clock of another age", b"<34>1 2001-02-03T04:05:06Z h a - - - m", Some("syslog_time"), "m", true),
        ("a clock ahead", b"<34>1 2031-02-03T04:05:06Z h a - - - m", Some("syslog_time"), "m", true),
        ("another year's month", b"<34>Jun 11 22:14:15 h a: m", Some("syslog_time"), "m", true),
        ("not UTF-8", b"<34>1 - h a - - - \xff\xfe", None, "\u{fffd}\u{fffd}", true),
        ("control characters", b"<34>1 - h a - - - \x1b[2J\x00; DROP TABLE logs", None, "\u{1b}[2J\u{0}; DROP TABLE logs", true),
        ("the same again", b"<34>1 - h a - - - \x1b[2J\x00; DROP TABLE logs", None, "\u{1b}[2J\u{0}; DROP TABLE logs", true),
    ];
    for (at, (name, message, part, body, arrival)) in cases.iter().enumerate() {
        let counted = || part.map_or(0.0, |part| served.rig.meter("watchfire_collector_cut_values_total", &[("part", part)]));
        let before = counted();
        socket.send(message).await.unwrap();
        until(name, || served.rig.sink.rows("logs").len() == at + 1).await;
        let row = &seen(&served.rig)[at];
        assert_eq!((row[4].as_str(), row[0] == NOW.to_string()), (*body, *arrival), "{name}");
        assert_eq!(counted() - before, if part.is_some() { 1.0 } else { 0.0 }, "{name} is counted");
    }
    assert!(seen(&served.rig)[4][5].contains("syslog.timestamp=2001-02-03T04:05:06Z"));
    socket.send(b"").await.unwrap();
    socket.send(b"\n").await.unwrap();
    assert_eq!(served.stopped().await.sink.rows("logs").len(), cases.len(), "empty datagrams are none");
}

#[tokio::test]
async fn long_truncated_and_senseless_connections() {
    let mut config = syslog();
    config.syslog.max_message = ByteCount(500);
    config.syslog.connections = 2;
    let served = Served::new(config).await;
    let long = format!("<34>{}", "x".repeat(600));
    let mut stream = served.tcp("syslog over TCP").await;
    stream.write_all(format!("{} {long}5 <34>a{long}\n<34>b\n", long.len()).as_bytes()).await.unwrap();
    until("messages", || served.rig.sink.rows("logs").len() == 4).await;
    let bodies: Vec<usize> = seen(&served.rig).iter().map(|row| row[4].len()).collect();
    assert_eq!((bodies, served.fault("too_long")), (vec![496, 1, 496, 1], 2.0));
    // A third connection is one too many, as long as two are open.
    let mut second = served.tcp("syslog over TCP").await;
    second.write_all(b"<34>c\n").await.unwrap();
    until("the second connection", || served.rig.sink.rows("logs").len() == 5).await;
    let mut third = served.tcp("syslog over TCP").await;
    assert_eq!(third.read(&mut [0]).await.unwrap_or(0), 0);
    assert_eq!(served.fault("too_many_connections"), 1.0);
    // Nobody can tell where a message with such a length ends.
    second.write_all(b"99999999999 x").await.unwrap();
    assert_eq!(second.read(&mut [0]).await.unwrap_or(0), 0, "the connection is closed");
    assert_eq!(served.fault("framing"), 1.0);
    stream.write_all(b"90 <34>half").await.unwrap();
    stream.shutdown().await.unwrap();
    until("the half message", || served.rig.sink.rows("logs").len() == 6).await;
    assert_eq!((seen(&served.rig)[5][4].as_str(), served.fault("truncated")), ("half", 1.0));
    served.stopped().await;
}

#[tokio::test]
async fn a_stop_stores_what_was_read() {
    let mut config = syslog();
    config.syslog.batch_linger = Pause::secs(3_600);
    let served = Served::new(config).await;
    let mut stream = served.tcp("syslog over TCP").await;
    stream.write_all(b"<34>a: one\n<34>a: two\n<34>a: without an end").await.unwrap();
    let socket = served.udp("syslog over UDP").await;
    for _ in 0..50 {
        socket.send(b"<34>a: datagram").await.unwrap();
    }
    until("messages to be read", || served.rig.meter("watchfire_collector_socket_messages_total", &[]) >= 52.0).await;
    assert!(served.rig.sink.rows("logs").is_empty(), "they wait for others");
    assert_eq!(served.stopped().await.sink.rows("logs").len(), 53);
}

#[tokio::test]
async fn a_full_log_holds_connections_back_and_loses_datagrams_counted() {
    let mut config = syslog();
    config.syslog.queue = ByteCount(1 << 20);
    config.syslog.max_message = ByteCount(8 << 10);
    let served = Served::new(config).await;
    served.rig.sink.refuse((0..4_000_000).map(|_| full()).collect());
    let line = format!("<34>a: {}\n", "x".repeat(4_000));
    let mut stream = served.tcp("syslog over TCP").await;
    let (mut sent, mut stuck) = (0, false);
    while !stuck && sent < 100_000 {
        let writing = stream.write_all(line.as_bytes());
        // Nothing more fits into the sender's buffer because nobody reads.
        stuck = tokio::time::timeout(Duration::from_millis(500), writing).await.is_err();
        sent += 1;
    }
    assert!(stuck, "a connection is not read while nothing can be stored");
    let socket = served.udp("syslog over UDP").await;
    let mut datagrams = 0;
    while served.fault("queue_full") + served.fault("kernel_dropped") < 1.0 {
        socket.send(line.as_bytes()).await.unwrap();
        datagrams += 1;
        assert!(datagrams < 1_000_000);
        tokio::task::yield_now().await;
    }
    assert!(served.rig.sink.rows("logs").is_empty());
    served.rig.sink.refuse(Vec::new());
    until("all that was held back", || served.rig.sink.rows("logs").len() >= sent - 1).await;
    served.stopped().await;
}

#[tokio::test]
async fn a_log_that_stays_full_does_not_hold_up_the_stop() {
    let served = Served::new(syslog()).await;
    served.rig.sink.refuse((0..100_000).map(|_| full()).collect());
    served.udp("syslog over UDP").await.send(b"<34>a: lost").await.unwrap();
    until("the first try", || served.rig.meter("watchfire_collector_requests_total", &[("protocol", "syslog"), ("code", "503")]) >= 1.0)
        .await;
    let rig = served.stopped().await;
    assert_eq!(rig.meter("watchfire_collector_socket_faults_total", &[("fault", "not_stored")]), 1.0);
}

fn fluent(config: FluentConfig) -> Config {
    let fluent = FluentConfig { listen: here(), ..config };
    Config { fluent, hold: Pause::millis(1), body_timeout: Pause::secs(20), ..Config::default() }
}

/// MessagePack of a JSON value; objects' keys in their order.
fn pack(value: &serde_json::Value) -> Vec<u8> {
    let mut out = Vec::new();
    match value {
        serde_json::Value::Null => out.push(0xc0),
        serde_json::Value::Bool(flag) => out.push(if *flag { 0xc3 } else { 0xc2 }),
        serde_json::Value::Number(number) => match number.as_u64() {
            Some(number) => {
                out.push(0xcf);
                out.extend(number.to_be_bytes());
            }
            None => {
                out.push(0xcb);
                out.extend(number.as_f64().unwrap().to_be_bytes());
            }
        },
        serde_json::Value::String(text) => {
            out.push(0xdb);
            out.extend((text.len() as u32).to_be_bytes());
            out.extend(text.as_bytes());
        }
        serde_json::Value::Array(items) => {
            out.push(0xdc);
            out.extend((items.len() as u16).to_be_bytes());
            out.extend(items.iter().flat_map(pack));
        }
        serde_json::Value::Object(pairs) => {
            out.push(0xde);
            out.extend((pairs.len() as u16).to_be_bytes());
            for (key, value) in pairs {
                out.extend(pack(&key.as_str().into()));
                out.extend(pack(value));
            }
        }
    }
    out
}

fn bin(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0xc6];
    out.extend((bytes.len() as u32).to_be_bytes());
    out.extend(bytes);
    out
}

const SECONDS: u64 = NOW / 1_000_000_000;

fn event(text: &str) -> serde_json::Value {
    serde_json::json!([SECONDS, { "message": text, "level": "error", "n": { "a": [1, null] } }])
}

fn packed(tag: &str, events: &[u8], option: serde_json::Value) -> Vec<u8> {
    [vec![0x93], pack(&tag.into()), bin(events), pack(&option)].concat()
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Reads until the connection holds so many bytes of answers, or ends.
async fn answer(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let mut read = 0;
    while read < length {
        match stream.read(&mut bytes[read..]).await {
            Ok(0) | Err(_) => break,
            Ok(more) => read += more,
        }
    }
    bytes.truncate(read);
    bytes
}

fn ack(chunk: &str) -> Vec<u8> {
    [b"\x81\xa3ack\xd9".to_vec(), vec![chunk.len() as u8], chunk.as_bytes().to_vec()].concat()
}

#[tokio::test]
async fn fluent_in_every_mode() {
    let served = Served::new(fluent(FluentConfig::default())).await;
    let mut stream = served.tcp("Fluent forward").await;
    let two = [pack(&event("p1")), pack(&event("p2"))].concat();
    let members = [gz(&pack(&event("c1"))), gz(&pack(&event("c2")))].concat();
    let messages = [
        b"\xc0".to_vec(),
        pack(&serde_json::json!(["app.one", SECONDS, { "message": "m", "service": "named" }])),
        pack(&serde_json::json!(["app.one", [event("f1"), event("f2")]])),
        packed("app.two", &two, serde_json::json!({ "size": 2 })),
        packed("app.two", &members, serde_json::json!({ "compressed": "gzip" })),
        pack(&serde_json::json!(["app.three", [event("acked")], { "chunk": "abc" }])),
    ];
    stream.write_all(&messages.concat()).await.unwrap();
    assert_eq!(answer(&mut stream, ack("abc").len()).await, ack("abc"));
    let rows = seen(&served.rig);
    let said: Vec<_> = rows.iter().map(|row| format!("{} {}", row[1], row[4])).collect();
    assert_eq!(said, ["named m", "app.one f1", "app.one f2", "app.two p1", "app.two p2", "app.two c1", "app.two c2", "app.three acked"]);
    assert_eq!(rows[7][0], NOW.to_string());
    assert_eq!((rows[7][2].as_str(), rows[7][5].as_str()), ("17", "{fluent.tag=app.three,n={\"a\":[1,null]}}"));
    served.stopped().await;
}

#[tokio::test]
async fn a_chunk_is_acknowledged_once_it_is_durable_and_stored_once() {
    let served = Served::new(fluent(FluentConfig::default())).await;
    served.rig.sink.refuse((0..3).map(|_| full()).collect());
    let message = pack(&serde_json::json!(["t", [event("x")], { "chunk": "id-1" }]));
    for _ in 0..2 {
        let mut stream = served.tcp("Fluent forward").await;
        stream.write_all(&message).await.unwrap();
        assert_eq!(answer(&mut stream, ack("id-1").len()).await, ack("id-1"));
        assert_eq!(served.rig.sink.rows("logs").len(), 1, "sent again, because the acknowledgement may have been lost");
    }
    assert!(served.rig.meter("watchfire_collector_requests_total", &[("protocol", "fluent"), ("code", "503")]) >= 1.0);
    assert_eq!(served.rig.meter("watchfire_collector_duplicate_requests_total", &[]), 1.0);
    served.stopped().await;
}

/// name, bytes, the fault that is counted
type FluentCase = (&'static str, Vec<u8>, Option<&'static str>);

#[tokio::test]
async fn bad_fluent_connections_are_closed_and_others_go_on() {
    let mut config = fluent(FluentConfig { max_message: ByteCount(64 << 10), ..FluentConfig::default() });
    config.max_decoded_bytes = ByteCount(128 << 10);
    let served = Served::new(config).await;
    let gzip_option = || serde_json::json!({ "compressed": "gzip", "chunk": "c" });
    let cases: [FluentCase; 9] = [
        ("no MessagePack", b"\xc1\xc1".to_vec(), Some("framing")),
        ("HTTP", b"GET / HTTP/1.1\r\n\r\n".to_vec(), None),
        ("countless lists", vec![0x91; 1_000], Some("framing")),
        ("a length past the limit", b"\xdb\xff\xff\xff\xff".to_vec(), Some("too_long")),
        ("a list past the limit", b"\xdd\xff\xff\xff\xff".to_vec(), Some("too_long")),
        ("a message cut short", pack(&serde_json::json!(["t", [event("x")]]))[..30].to_vec(), Some("truncated")),
        ("a gzip bomb", packed("t", &gz(&vec![0; 8 << 20]), gzip_option()), Some("not_stored")),
        ("no gzip at all", packed("t", b"plain", gzip_option()), Some("not_stored")),
        ("truncated gzip", packed("t", &gz(&pack(&event("x")))[..20], gzip_option()), Some("not_stored")),
    ];
    for (name, bytes, fault) in cases {
        let before = fault.map(|fault| served.fault(fault));
        let mut stream = served.tcp("Fluent forward").await;
        stream.write_all(&bytes).await.unwrap();
        let _ = stream.shutdown().await;
        assert_eq!(answer(&mut stream, 1).await, b"", "{name} is not acknowledged");
        if let (Some(fault), Some(before)) = (fault, before) {
            until(name, || served.fault(fault) > before).await;
        }
        assert!(served.rig.sink.rows("logs").iter().all(|row| row["body"] == "good"), "{name} stores nothing");
        let mut good = served.tcp("Fluent forward").await;
        let chunk = format!("after {name}");
        good.write_all(&pack(&serde_json::json!(["t", [event("good")], { "chunk": chunk }]))).await.unwrap();
        assert_eq!(answer(&mut good, ack(&chunk).len()).await, ack(&chunk), "after {name}");
    }
    served.stopped().await;
}

#[tokio::test]
async fn bad_fluent_events_are_rejected_and_the_others_kept() {
    let served = Served::new(fluent(FluentConfig::default())).await;
    let mut stream = served.tcp("Fluent forward").await;
    let broken = [pack(&event("before")), b"\x92\xce\x00".to_vec()].concat();
    let messages = [
        pack(&serde_json::json!(["t", [[SECONDS, "no map"], ["noon", {}], 7, event("kept"), [1, { "message": "old" }]]])),
        packed("t", &broken, serde_json::json!({})),
        pack(&serde_json::json!(["t", [event("metrics")], { "fluent_signal": 1 }])),
        pack(&serde_json::json!([1, 2, 3])),
        pack(&serde_json::json!("text")),
        pack(&serde_json::json!(["t", [event("last")], { "chunk": "z" }])),
    ];
    stream.write_all(&messages.concat()).await.unwrap();
    assert_eq!(answer(&mut stream, ack("z").len()).await, ack("z"));
    let bodies: Vec<_> = seen(&served.rig).into_iter().map(|row| row[4].clone()).collect();
    assert_eq!(bodies, ["kept", "before", "last"]);
    let rejected = |reason| served.rig.meter("watchfire_collector_rejected_rows_total", &[("signal", "logs"), ("reason", reason)]);
    assert_eq!((rejected("malformed"), rejected("too_old")), (7.0, 1.0));
    served.stopped().await;
}

#[tokio::test]
async fn who_knows_the_shared_key_may_send() {
    let served = Served::new(fluent(FluentConfig { shared_key: Some(Secret::new("hunter2")), ..FluentConfig::default() })).await;
    for (key, may) in [("hunter2", true), ("hunter3", false)] {
        let mut stream = served.tcp("Fluent forward").await;
        let helo = answer(&mut stream, 1 + 6 + 1 + 7 + 34 + 6 + 2 + 11 + 1).await;
        assert!(helo.starts_with(b"\x92\xd9\x04HELO\x83\xd9\x05nonce\xd9\x20"), "{helo:?}");
        let nonce = &helo[17..49];
        let digest = hex::encode(Sha512::digest([b"salt".as_slice(), b"me", nonce, key.as_bytes()].concat()));
        stream.write_all(&pack(&serde_json::json!(["PING", "me", "salt", digest, "", ""]))).await.unwrap();
        let pong = answer(&mut stream, 8).await;
        assert_eq!(pong, [b"\x95\xd9\x04PONG".as_slice(), &[if may { 0xc3 } else { 0xc2 }]].concat());
        let _ = stream.write_all(&pack(&serde_json::json!(["t", [event(key)]]))).await;
        if may {
            until("the event", || served.rig.sink.rows("logs").len() == 1).await;
        } else {
            until("the stranger to be counted", || served.fault("stranger") == 1.0).await;
        }
    }
    // Who does not greet at all is no better.
    let mut rude = served.tcp("Fluent forward").await;
    rude.write_all(&pack(&serde_json::json!(["t", [event("rude")]]))).await.unwrap();
    until("the rude one to be counted", || served.fault("stranger") == 2.0).await;
    assert_eq!(served.stopped().await.sink.rows("logs").len(), 1);
}

#[tokio::test]
async fn a_message_that_never_ends_is_given_up() {
    let mut config = fluent(FluentConfig::default());
    config.body_timeout = Pause::millis(50);
    let served = Served::new(config).await;
    let mut stream = served.tcp("Fluent forward").await;
    stream.write_all(b"\x92").await.unwrap();
    assert_eq!(answer(&mut stream, 1).await, b"");
    assert_eq!(served.fault("slow"), 1.0);
    served.stopped().await;
}

#[tokio::test]
async fn large_messages_share_the_memory_of_all_requests() {
    let most = ByteCount(8 << 20);
    let mut config = fluent(FluentConfig { max_message: most, ..FluentConfig::default() });
    (config.max_request_memory, config.max_decoded_bytes, config.max_wire_bytes) = (most, most, most);
    (config.body_timeout, config.hold) = (Pause::secs(3), Pause::millis(5));
    let served = Served::new(config).await;
    let large = pack(&serde_json::json!(["t", [event(&"x".repeat(3 << 20))], { "chunk": "large" }]));
    // Three that never finish take the memory, until they are given up.
    let mut stuck = Vec::new();
    for _ in 0..3 {
        let mut stream = served.tcp("Fluent forward").await;
        let half = large[..large.len() - 9].to_vec();
        stuck.push(tokio::spawn(async move {
            let _ = stream.write_all(&half).await;
            answer(&mut stream, 1).await
        }));
    }
    for stuck in stuck {
        assert_eq!(stuck.await.unwrap(), b"");
    }
    until("them to be counted", || served.fault("slow") == 3.0).await;
    let mut good = served.tcp("Fluent forward").await;
    good.write_all(&large).await.unwrap();
    assert_eq!(answer(&mut good, ack("large").len()).await, ack("large"));
    until("the memory to be given back", || served.rig.meter("watchfire_collector_inflight_bytes", &[]) == 0.0).await;
    served.stopped().await;
}

fn statsd() -> Config {
    let statsd = StatsdConfig {
        udp: here(),
        tcp: here(),
        flush: Pause::secs(3_600),
        bounds: vec![10.0, 100.0],
        max_series: 5,
        ..StatsdConfig::default()
    };
    Config { statsd, hold: Pause::millis(1), ..Config::default() }
}

fn samples(served: &Served) -> f64 {
    served.rig.meter("watchfire_collector_socket_messages_total", &[("protocol", "statsd")])
}

#[tokio::test]
async fn statsd_samples_become_delta_points() {
    let served = Served::new(statsd()).await;
    let socket = served.udp("StatsD over UDP").await;
    socket.send(b"page.views:1|c|@0.5|#env:prod\npage.views:1|c|#env:prod\nbad\n_e{1,1}:a|b\n").await.unwrap();
    // Which series find no place is told by their order.
    until("the datagram", || served.fault("unsupported") == 1.0).await;
    let mut stream = served.tcp("StatsD over TCP").await;
    stream
        .write_all(b"request,route=/pay:5:50:500|ms\nqueue:7|g\nqueue:-2|g\nusers:a|s\nusers:b|s\nmany1:1|c\nmany2:1|c\nmany3:1|c")
        .await
        .unwrap();
    stream.shutdown().await.unwrap();
    until("all samples", || samples(&served) >= 10.0 && served.fault("overflow") == 2.0).await;
    assert_eq!((served.fault("malformed"), served.fault("unsupported")), (1.0, 1.0));
    assert_eq!(served.rig.meter("watchfire_collector_statsd_series", &[]), 5.0);
    assert!(served.rig.sink.rows("points").is_empty());
    let rig = served.stopped().await;
    let mut points: Vec<_> = rig.sink.rows("points").iter().map(|row| format!("{} {}", row["metric"], row["value"])).collect();
    points.sort();
    assert_eq!(points, ["many1_total 1", "page_views_total 3", "queue 5", "users 2"]);
    let histograms = rig.sink.rows("histograms");
    assert_eq!(
        (histograms[0]["metric"].as_str(), histograms[0]["counts"].as_str(), histograms[0]["sum"].as_str()),
        ("request_milliseconds", "[1,1,1]", "555")
    );
    let series = rig.sink.rows("series");
    let views = series.iter().find(|row| row["metric"] == "page_views_total").unwrap();
    assert!(views["labels"].contains("env=prod") && views["temporality"] == "delta", "{views:?}");
}

#[tokio::test]
async fn a_flush_that_finds_the_log_full_is_stored_later() {
    let mut config = statsd();
    config.statsd.flush = Pause::millis(100);
    let served = Served::new(config).await;
    served.rig.sink.refuse((0..6).map(|_| full()).collect());
    let socket = served.udp("StatsD over UDP").await;
    for _ in 0..5 {
        socket.send(b"hits:1|c").await.unwrap();
    }
    until("the refusals to be over", || {
        served.rig.meter("watchfire_collector_requests_total", &[("protocol", "statsd"), ("code", "200")]) >= 1.0
    })
    .await;
    let rig = served.stopped().await;
    let total: f64 = rig.sink.rows("points").iter().map(|row| row["value"].parse::<f64>().unwrap()).sum();
    assert_eq!(total, 5.0);
}

#[tokio::test]
async fn samples_of_one_time_count_with_each_flush() {
    let mut config = statsd();
    config.statsd.flush = Pause::millis(100);
    let served = Served::new(config).await;
    let socket = served.udp("StatsD over UDP").await;
    let line = format!("hits:1|c|T{}", NOW / 1_000_000_000 - 60);
    for number in 1..4 {
        socket.send(line.as_bytes()).await.unwrap();
        until("a flush", || {
            served.rig.meter("watchfire_collector_requests_total", &[("protocol", "statsd"), ("code", "200")]) >= f64::from(number)
        })
        .await;
    }
    let rig = served.stopped().await;
    let values: Vec<String> = rig.sink.rows("points").iter().map(|row| row["value"].clone()).collect();
    assert_eq!(values, ["1", "1", "1"]);
}

#[tokio::test]
async fn statsd_lines_without_an_end_are_bounded() {
    let served = Served::new(statsd()).await;
    let mut stream = served.tcp("StatsD over TCP").await;
    let _ = stream.write_all(&vec![b'x'; 1 << 20]).await;
    assert_eq!(answer(&mut stream, 1).await, b"");
    assert_eq!(served.fault("framing"), 1.0);
    served.stopped().await;
}
