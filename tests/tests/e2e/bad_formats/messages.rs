//! The rows of syslog, Fluent and StatsD, on sockets of their own. What a table of requests has and this one cannot: a status and words (syslog
//! and StatsD answer nothing, Fluent acknowledges or is silent), keys (syslog and StatsD have none: who may send is told by the address
//! that they listen on, Fluent's shared key has a test of its own), compression and content types (but for Fluent's own).

use super::*;

/// What a bad message goes through.
#[derive(Clone, Copy)]
enum Via {
    SyslogUdp,
    SyslogTcp,
    Fluent,
    StatsdUdp,
    StatsdTcp,
}

/// A bad message; the connection is ended behind it.
struct Sent {
    name: &'static str,
    via: Via,
    bytes: Vec<u8>,
    /// What the answer begins with; all of it where it is empty.
    answered: &'static [u8],
    /// Sent so many times, on connections of their own.
    times: usize,
    counter: Counter,
    by: f64,
    stored: u64,
}

/// Fluent's acknowledgement.
const ACK: &[u8] = b"\x81\xa3ack";

impl Sent {
    /// Sent once, and not answered.
    fn once(name: &'static str, via: Via, bytes: &[u8], counter: Counter, by: f64, stored: u64) -> Self {
        Sent { name, via, bytes: bytes.to_vec(), answered: b"", times: 1, counter, by, stored }
    }
}

fn syslog_messages() -> Vec<Sent> {
    let udp = |name, bytes: &[u8], counter, by| Sent::once(name, Via::SyslogUdp, bytes, counter, by, 1);
    let tcp = |name, bytes: &[u8], counter, by, stored| Sent::once(name, Via::SyslogTcp, bytes, counter, by, stored);
    const HEADER: Counter = (CUT, &["syslog_header"]);
    const TIME: Counter = (CUT, &["syslog_time"]);
    const READ: Counter = ("watchfire_collector_socket_messages_total", &["protocol=\"syslog\"", "transport=\"udp\""]);
    const READ_TCP: Counter = ("watchfire_collector_socket_messages_total", &["protocol=\"syslog\"", "transport=\"tcp\""]);
    const TOO_LONG: Counter = (FAULTS, &["protocol=\"syslog\"", "too_long"]);
    const TRUNCATED: Counter = (FAULTS, &["protocol=\"syslog\"", "truncated"]);
    const FRAMING: Counter = (FAULTS, &["protocol=\"syslog\"", "framing"]);
    let long = [b"<14>1 - h a - - - ".to_vec(), vec![b'x'; 5_000]].concat();
    let counted = [format!("{} ", long.len()).into_bytes(), long.clone()].concat();
    vec![
        udp("syslog: no header", b"\x00\x01\x02 anything", HEADER, 1.0),
        udp("syslog: a truncated header", b"<34>1 2026-02-28T23:59:59Z web", HEADER, 1.0),
        udp("syslog: not UTF-8", b"<14>1 - h a - - - \xff\xfe", READ, 1.0),
        udp("syslog: a clock behind", b"<34>1 2001-02-03T04:05:06Z h a - - - m", TIME, 1.0),
        udp("syslog: a clock ahead", b"<34>1 2091-02-03T04:05:06Z h a - - - m", TIME, 1.0),
        udp("syslog: a long datagram", &long, TOO_LONG, 1.0),
        tcp("syslog: a long message, counted", &counted, TOO_LONG, 1.0, 1),
        tcp("syslog: a long line", &[long, b"\n".to_vec()].concat(), TOO_LONG, 1.0, 1),
        tcp("syslog: half a message", b"90 <34>half", TRUNCATED, 1.0, 1),
        tcp("syslog: a senseless length", b"99999999999 <34>x", FRAMING, 1.0, 0),
        tcp("syslog: a line, and a senseless length", b"<14>a: kept\n99999999999 <34>x", FRAMING, 1.0, 1),
        tcp("syslog: not UTF-8, on a connection", b"<14>1 - h a - - - \xff\xfe\n", READ_TCP, 1.0, 1),
        tcp("syslog: a clock behind, on a connection", b"<34>1 2001-02-03T04:05:06Z h a - - - m\n", TIME, 1.0, 1),
        tcp("syslog: a clock ahead, on a connection", b"<34>1 2091-02-03T04:05:06Z h a - - - m\n", TIME, 1.0, 1),
        tcp("syslog: the same twice is two", b"<14>1 - h a - - - twice\n<14>1 - h a - - - twice\n", READ_TCP, 2.0, 2),
        Sent { times: 2, ..tcp("syslog: and so on two connections", b"<14>1 - h a - - - twice\n", READ_TCP, 2.0, 2) },
        udp("syslog: the same again", b"<14>1 - h a - - - twice", READ, 1.0),
        udp("syslog: and again is another", b"<14>1 - h a - - - twice", READ, 1.0),
    ]
}

fn fluent_messages() -> Vec<Sent> {
    let sent = |name, bytes: Vec<u8>, counter, stored| Sent::once(name, Via::Fluent, &bytes, counter, 1.0, stored);
    const SENT_AGAIN: Counter = (DUPLICATES, &["signal=\"logs\""]);
    const FRAMING: Counter = (FAULTS, &["protocol=\"fluent\"", "framing"]);
    const TOO_LONG: Counter = (FAULTS, &["protocol=\"fluent\"", "too_long"]);
    const TRUNCATED: Counter = (FAULTS, &["protocol=\"fluent\"", "truncated"]);
    const NOT_STORED: Counter = (FAULTS, &["protocol=\"fluent\"", "not_stored"]);
    const MALFORMED: Counter = (REJECTED, &["signal=\"logs\"", "malformed"]);
    const OLD: Counter = (REJECTED, &["signal=\"logs\"", "too_old"]);
    const AHEAD: Counter = (REJECTED, &["signal=\"logs\"", "too_far_ahead"]);
    let seconds = u32::try_from(now() / 1_000_000_000).unwrap();
    let good = fluent_message("bad", seconds, "x", Some("c"));
    let two = [fluent_message("bad", 1, "old", None), fluent_message("bad", seconds, "kept", None)].concat();
    vec![
        sent("Fluent: no MessagePack", b"\xc1\xc1".to_vec(), FRAMING, 0),
        sent("Fluent: half a message", good[..good.len() - 4].to_vec(), TRUNCATED, 0),
        sent("Fluent: a length past the limit", b"\xdb\xff\xff\xff\xff".to_vec(), TOO_LONG, 0),
        sent("Fluent: lists in lists", vec![0x91; 10_000], FRAMING, 0),
        sent("Fluent: a gzip bomb", fluent_packed(&gzip(&vec![0xc0; 64 << 20])), NOT_STORED, 0),
        sent("Fluent: no gzip", fluent_packed(b"plain"), NOT_STORED, 0),
        sent("Fluent: truncated gzip", fluent_packed(&gzip(&vec![0xc0; 500])[..15]), NOT_STORED, 0),
        sent("Fluent: another type", text("a text"), MALFORMED, 0),
        sent("Fluent: a clock behind, beside a good one", two, OLD, 1),
        sent("Fluent: a clock ahead", fluent_message("bad", seconds + 400 * 86_400, "x", None), AHEAD, 0),
        Sent {
            answered: ACK,
            times: 2,
            ..sent("Fluent: sent again", fluent_message("bad", seconds, "once", Some("again")), SENT_AGAIN, 1)
        },
    ]
}

fn statsd_messages() -> Vec<Sent> {
    let sent = |name, via, bytes: &[u8], counter, by| Sent::once(name, via, bytes, counter, by, 0);
    let (seconds, year) = (now() / 1_000_000_000, 365 * 86_400);
    const MALFORMED: Counter = (FAULTS, &["protocol=\"statsd\"", "malformed"]);
    const UNSUPPORTED: Counter = (FAULTS, &["protocol=\"statsd\"", "unsupported"]);
    const FRAMING: Counter = (FAULTS, &["protocol=\"statsd\"", "framing"]);
    const READ: Counter = ("watchfire_collector_socket_messages_total", &["protocol=\"statsd\"", "transport=\"udp\""]);
    const OLD: Counter = (REJECTED, &["signal=\"metrics\"", "too_old"]);
    const AHEAD: Counter = (REJECTED, &["signal=\"metrics\"", "too_far_ahead"]);
    const NAME: Counter = (REJECTED, &["signal=\"metrics\"", "bad_metric_name"]);
    let named = |length: usize| [vec![b'x'; length], b":1|c".to_vec()].concat();
    vec![
        sent("StatsD: truncated", Via::StatsdUdp, b"bad.name:1|", MALFORMED, 1.0),
        sent("StatsD: not UTF-8", Via::StatsdUdp, b"bad\xff:1|c", MALFORMED, 1.0),
        sent("StatsD: no number", Via::StatsdUdp, b"bad:NaN|c\nbad:inf|g\nbad:x|ms\nbad:1e999|c", MALFORMED, 4.0),
        sent("StatsD: a rate that is none", Via::StatsdTcp, b"bad:1|c|@0\nbad:1|c|@2\n", MALFORMED, 2.0),
        sent("StatsD: control characters", Via::StatsdTcp, b"bad\x01name:1|c\nbad:1|c|#a:\x1b[2J\n", MALFORMED, 2.0),
        sent("StatsD: another type", Via::StatsdTcp, b"bad:1|q\n", MALFORMED, 1.0),
        sent("StatsD: an event", Via::StatsdUdp, b"_e{5,4}:title|text", UNSUPPORTED, 1.0),
        sent("StatsD: a large datagram of no sample", Via::StatsdUdp, &vec![b'x'; 60_000], MALFORMED, 1.0),
        sent("StatsD: a large datagram of one", Via::StatsdUdp, &named(60_000), MALFORMED, 1.0),
        sent("StatsD: a long name", Via::StatsdUdp, &named(5_000), NAME, 1.0),
        sent("StatsD: a clock behind", Via::StatsdUdp, format!("bad:1|c|T{}", seconds - year).as_bytes(), OLD, 1.0),
        sent("StatsD: a clock ahead", Via::StatsdTcp, format!("bad:1|g|T{}\n", seconds + year).as_bytes(), AHEAD, 1.0),
        sent("StatsD: a time that is none", Via::StatsdTcp, b"bad:1|c|Tnoon\nbad:1|c|T0\n", MALFORMED, 2.0),
        sent("StatsD: a time of a timer", Via::StatsdUdp, b"bad:1|ms|T1700000000", UNSUPPORTED, 1.0),
        sent("StatsD: a time of some minutes ago", Via::StatsdUdp, format!("timed.statsd:5|c|T{}", seconds - 300).as_bytes(), READ, 1.0),
        Sent { times: 2, ..sent("StatsD: the same twice counts twice", Via::StatsdUdp, b"twice.statsd:1|c", READ, 2.0) },
        sent("StatsD: a line without end", Via::StatsdTcp, &vec![b'x'; 1 << 20], FRAMING, 1.0),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_messages_of_syslog_fluent_and_statsd() {
    let mut world = World::start(None).await;
    let mut logs = 0;
    for message in syslog_messages().into_iter().chain(fluent_messages()).chain(statsd_messages()) {
        let Sent { name, via, bytes, answered, times, counter, by, stored } = message;
        let before = world.counter(counter).await;
        let (to, address, datagram) = match via {
            Via::SyslogUdp => ("syslog", world.syslog, true),
            Via::SyslogTcp => ("syslog", world.syslog, false),
            Via::Fluent => ("fluent", world.fluent, false),
            Via::StatsdUdp => ("statsd", world.statsd, true),
            Via::StatsdTcp => ("statsd", world.statsd, false),
        };
        for _ in 0..times {
            if datagram {
                let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
                socket.send_to(&bytes, address).await.unwrap();
                continue;
            }
            let mut stream = TcpStream::connect(address).await.unwrap();
            // The server may hang up before all is sent.
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            assert!(answer.starts_with(answered) && answer.is_empty() == answered.is_empty(), "{name} is answered {answer:?}");
        }
        world.moved(name, counter, before, by).await;
        logs += stored;
        world.send_good(name, to).await;
    }
    world.check_all(logs, 0).await;
    let cut = world.rows("SELECT DISTINCT length(body) FROM logs WHERE body LIKE '%xxx%'").await;
    assert!(!cut.is_empty() && cut.iter().all(|row| row[0].to_string().trim_matches('"').parse::<u64>().unwrap() < 1_024), "{cut:?}");
    assert_eq!(
        world.server.count("SELECT count() FROM logs WHERE abs(dateDiff('second', ts, now())) > 600").await,
        0,
        "wrong clocks give way"
    );
    assert_eq!(world.server.count("SELECT count() FROM points WHERE startsWith(metric, 'bad')").await, 0);
    // Samples have no identity; one with a time of its own stands at it.
    world.until("SELECT toUInt64(sum(value)) FROM points WHERE metric = 'twice_statsd_total'", 2).await;
    let timed = "SELECT count() FROM points WHERE metric = 'timed_statsd_total' AND value = 5 AND dateDiff('second', ts, now()) BETWEEN 299 AND 900";
    world.until(timed, 1).await;
    let others = "SELECT uniqExact(metric) FROM points WHERE metric NOT LIKE 'good%' AND metric NOT LIKE 'traces_%'";
    assert_eq!(world.server.count(others).await, 2, "nothing else is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fluent_chunk_that_is_sent_again_is_stored_once() {
    let world = World::start(None).await;
    let seconds = u32::try_from(now() / 1_000_000_000).unwrap();
    let message = fluent_message("again", seconds, "once", Some("chunk-1"));
    for _ in 0..3 {
        let mut stream = TcpStream::connect(world.fluent).await.unwrap();
        stream.write_all(&message).await.unwrap();
        let mut answer = vec![0; 5];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, b"\x81\xa3ack");
    }
    world.moved("two of them", (DUPLICATES, &["signal=\"logs\""]), 0.0, 2.0).await;
    world.until("SELECT count() FROM logs WHERE service = 'again'", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_know_fluents_shared_key_stores_nothing() {
    let world = World::start(Some("opensesame")).await;
    let seconds = u32::try_from(now() / 1_000_000_000).unwrap();
    const STRANGER: Counter = (FAULTS, &["protocol=\"fluent\"", "stranger"]);
    let wrong = [vec![0x96], text("PING"), text("me"), text("salt"), text(&"0".repeat(128)), text(""), text("")].concat();
    for (number, first) in [wrong, Vec::new()].into_iter().enumerate() {
        let mut stream = TcpStream::connect(world.fluent).await.unwrap();
        let mut helo = vec![0; 8];
        stream.read_exact(&mut helo).await.unwrap();
        let _ = stream.write_all(&[first, fluent_message("stranger", seconds, "x", Some("c"))].concat()).await;
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        assert!(!rest.windows(5).any(|bytes| bytes == b"\x81\xa3ack"), "{rest:?}");
        world.moved("a stranger", STRANGER, number as f64, 1.0).await;
    }
    assert_eq!(world.server.count("SELECT count() FROM logs WHERE service = 'stranger'").await, 0);
    assert!(!world.server.log().contains("opensesame"));
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_without_keys_stay_on_this_machine_unless_told_otherwise() {
    for (config, key) in [
        ("syslog: { udp: \"0.0.0.0:0\" }", "collector.syslog.udp"),
        ("syslog: { tcp: \"[::]:0\" }", "collector.syslog.tcp"),
        ("fluent: { listen: \"0.0.0.0:0\" }", "collector.fluent.listen"),
        ("statsd: { udp: \"0.0.0.0:0\" }", "collector.statsd.udp"),
    ] {
        let prepared = |config: &str| Watchfire::prepare(crate::WATCHFIRE, &format!("collector:\n  {config}\n"), &[]);
        let refused = prepared(config).command(&["serve"]).output().unwrap();
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains(key) && said.contains("allow_unauthenticated: true"), "{config}: {said}");
        let mut allowed = prepared(&config.replace(" }", ", allow_unauthenticated: true }"));
        allowed.start().await;
        assert_eq!(allowed.stop().await, Some(0), "{config}");
    }
    let mut with_key = Watchfire::prepare(crate::WATCHFIRE, "collector:\n  fluent: { listen: \"0.0.0.0:0\", shared_key: k }\n", &[]);
    with_key.start().await;
    // An address that is taken is told before anything is served.
    let config = format!("collector:\n  statsd: {{ tcp: \"{}\" }}\n", with_key.http);
    let taken = Watchfire::prepare(crate::WATCHFIRE, &config, &[]).command(&["serve"]).output().unwrap();
    let said = String::from_utf8_lossy(&taken.stderr).into_owned();
    assert!(!taken.status.success() && said.contains("collector.statsd.tcp") && said.contains("cannot be bound"), "{said}");
}
