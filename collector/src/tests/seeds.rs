//! Good bodies for the fuzz targets to begin with. Each is read without a refusal; where the folder `fuzz/corpus` exists they are put
//! there, one folder a target.

use std::path::Path;

use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use prost::Message;

use super::bad_input::{deflate, gzip, zstd};
use super::fixtures::*;
use super::formats::{loki_protobuf, push};
use super::remote_write::{any_series, as_v2, request, wire::WriteRequest};
use super::sentry::{envelope, error_event};
use crate::decode::remote_write::Version;
use crate::decode::{Format, Protocol, Signal};
use crate::pipeline::redact::tests as redact;
use crate::rows::Builder;
use crate::sentry::Endpoint;
use proptest::prelude::*;

/// How many bodies a strategy gives.
const OF_A_STRATEGY: usize = 24;

fn some<T: std::fmt::Debug>(strategy: impl Strategy<Value = T>) -> Vec<T> {
    let mut runner = TestRunner::deterministic();
    (0..OF_A_STRATEGY).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
}

/// A target's name, how its bodies are read where that is one step, and the bodies.
type Seeds = (&'static str, Option<Protocol>, Vec<Vec<u8>>);

fn otlp() -> Vec<Seeds> {
    fn both<T: Message + serde::Serialize>(requests: Vec<T>) -> [Vec<Vec<u8>>; 2] {
        [
            requests.iter().map(Message::encode_to_vec).collect(),
            requests.iter().map(|request| serde_json::to_vec(request).unwrap()).collect(),
        ]
    }
    let traces_first = std::iter::once(traces(NOW)).chain(some(any_traces())).collect();
    let logs_first = std::iter::once(logs_of(vec![record(NOW)])).chain(some(any_logs())).collect();
    let [traces, json_traces] = both(traces_first);
    let [logs, json_logs] = both(logs_first);
    let [metrics, json_metrics] = both(some(any_metrics()));
    let of = |signal, format| Some(Protocol::Otlp(signal, format));
    vec![
        ("otlp_traces_protobuf", of(Signal::Traces, Format::Protobuf), traces),
        ("otlp_logs_protobuf", of(Signal::Logs, Format::Protobuf), logs),
        ("otlp_metrics_protobuf", of(Signal::Metrics, Format::Protobuf), metrics),
        ("otlp_traces_json", of(Signal::Traces, Format::Json), json_traces),
        ("otlp_logs_json", of(Signal::Logs, Format::Json), json_logs),
        ("otlp_metrics_json", of(Signal::Metrics, Format::Json), json_metrics),
    ]
}

fn prometheus() -> Vec<Seeds> {
    let any = proptest::collection::vec(any_series(), 0..6).prop_map(|timeseries| WriteRequest { timeseries, metadata: vec![] });
    let requests: Vec<WriteRequest> = std::iter::once(request()).chain(some(any)).collect();
    let text = "# HELP a_total Helps \\\\ and\\n.\n# TYPE a_total counter\na_total{code=\"200\",path=\"/a\\\"b\"} 5 1772323100000\n# TYPE h histogram\n\
                h_bucket{le=\"0.1\"} 1\nh_bucket{le=\"+Inf\"} 3\nh_sum 2.5\nh_count 3\n# TYPE s summary\ns{quantile=\"0.5\"} NaN\ns_sum 1.7e+07\n\
                # TYPE u untyped\nu -Inf\n\n# a comment\n{\"quoted.name\",\"l.m\"=\"v\"} 1\n";
    let open = "# TYPE jobs counter\n# HELP jobs Say \\\"hi\\\".\njobs_total{kind=\"a\"} 5.0 1772323100.5 # {trace_id=\"0102030405060708090a0b0c0d0e0f10\"} 0.5 1772323100\n\
                jobs_created{kind=\"a\"} 1600000000.0\n# TYPE build info\nbuild_info{v=\"1\"} 1\n# TYPE sizes gaugehistogram\nsizes_bucket{le=\"1.0\"} 1\n\
                sizes_gcount 2\nsizes_gsum 3\n# TYPE feature stateset\nfeature{feature=\"on\"} 1\n# TYPE wait_seconds gauge\n# UNIT wait_seconds seconds\n\
                wait_seconds 2\n# EOF\n";
    vec![
        ("remote_write_v1", Some(Protocol::RemoteWrite(Version::V1)), requests.iter().map(Message::encode_to_vec).collect()),
        ("remote_write_v2", Some(Protocol::RemoteWrite(Version::V2)), requests.iter().map(|one| as_v2(one).encode_to_vec()).collect()),
        ("scrape_text", None, vec![text.into()]),
        ("scrape_openmetrics", None, vec![open.into()]),
    ]
}

fn sentry() -> Vec<Seeds> {
    let items = [
        ("event", error_event()),
        (
            "transaction",
            r#"{"transaction":"POST /order","start_timestamp":1772323199,"timestamp":1772323199.5,"contexts":{"trace":{
            "trace_id":"0102030405060708090a0b0c0d0e0f10","span_id":"0102030405060708","op":"http.server","status":"ok","data":{"a":1}}},
            "spans":[{"span_id":"1102030405060708","op":"db","description":"SELECT 1","start_timestamp":1772323199.1,"timestamp":1772323199.2}],
            "measurements":{"fcp":{"value":1.5}},"sdk":{"name":"n"}}"#
                .to_owned(),
        ),
        ("session", r#"{"init":true,"status":"exited","attrs":{"release":"2.4.1","environment":"prod"}}"#.to_owned()),
        ("sessions", r#"{"aggregates":[{"exited":2,"errored":1}],"attrs":{"release":"2.4.1"}}"#.to_owned()),
        ("client_report", r#"{"discarded_events":[{"reason":"sample_rate","category":"transaction","quantity":3}]}"#.to_owned()),
        ("check_in", r#"{"check_in_id":"a","monitor_slug":"nightly","status":"ok","duration":12.5}"#.to_owned()),
        ("log", r#"{"items":[{"timestamp":1772323199.5,"level":"warn","body":"x","attributes":{"cart":{"value":7,"type":"integer"}}}]}"#.to_owned()),
        ("attachment", "\u{0}\nbinary\n".to_owned()),
    ];
    let all: Vec<(&str, &str)> = items.iter().map(|(kind, payload)| (*kind, payload.as_str())).collect();
    let envelopes = all.iter().map(|item| envelope(&[*item])).chain([envelope(&all)]).map(String::into_bytes).collect();
    let events = vec![error_event().into_bytes(), items[1].1.clone().into_bytes(), br#"{"message":"no id"}"#.to_vec()];
    vec![
        ("sentry_envelope", Some(Protocol::Sentry(Endpoint::Envelope, 1)), envelopes),
        ("sentry_store", Some(Protocol::Sentry(Endpoint::Store, 1)), events),
    ]
}

/// Formats of logs, Zipkin and StatsD.
fn formats() -> Vec<Seeds> {
    let loki = snap::raw::Decoder::new().decompress_vec(&loki_protobuf(&push())).unwrap();
    let json = format!(
        r#"{{"streams":[{{"stream":{{"app":"shop","level":"warn"}},"values":[["{NOW}","a line",{{"trace_id":"0102030405060708090a0b0c0d0e0f10"}}],["{NOW}","{{\"a\":1}}"]]}}]}}"#
    );
    let lines = "{\"time\":\"2026-02-28T23:59:59Z\",\"level\":\"warn\",\"msg\":\"slow\",\"service\":\"shop\",\"deep\":{\"a\":[1,null]}}\n\"a text\"\n17\n";
    let zipkin = r#"[{"traceId":"0102030405060708090a0b0c0d0e0f10","id":"0102030405060708","parentId":"1","name":"get","kind":"SERVER","timestamp":1772323199000000,
        "duration":500,"localEndpoint":{"serviceName":"shop","ipv4":"10.0.0.1","port":80},"remoteEndpoint":{"ipv6":"::1"},
        "annotations":[{"timestamp":1772323199000001,"value":"ws"}],"tags":{"http.path":"/","error":"true"},"shared":true}]"#;
    let syslog = [
        "\x05<34>1 2026-02-28T23:59:59.003Z web su - ID47 [a@1 k=\"v\\\"\" l=\"2\"][b] \u{feff}'su root' failed\n",
        "\x20<13>Feb 28 23:59:59 web cron[17]: done\n<14>2026-02-28T23:59:59+02:00 web app: x\n",
        "\x0925 <14>1 - h a - - - counted 9 <0>x: yz",
    ];
    let text = |text: &str| [&[0xa0 | text.len() as u8], text.as_bytes()].concat();
    let record = [vec![0x82], text("message"), text("hello"), text("level"), text("warn")].concat();
    let event = [vec![0x92, 0xce], 1_772_323_199u32.to_be_bytes().to_vec(), record.clone()].concat();
    let option = |pairs: &[(&str, &str)]| {
        let count = 0x80 | pairs.len() as u8;
        [vec![vec![count]], pairs.iter().flat_map(|(key, value)| [text(key), text(value)]).collect()].concat().concat()
    };
    let packed = |bytes: &[u8]| [&[0xc5][..], &(bytes.len() as u16).to_be_bytes(), bytes].concat();
    let fluent = vec![
        [vec![0x93], text("app.log"), event[1..].to_vec()].concat(),
        [vec![0x93], text("app.log"), vec![0x91], event.clone(), option(&[("chunk", "c1")])].concat(),
        [vec![0x92], text("app.log"), packed(&[event.clone(), event.clone()].concat())].concat(),
        [vec![0x93], text("app.log"), packed(&gzip(&event)), option(&[("compressed", "gzip"), ("chunk", "c2")])].concat(),
    ];
    let statsd = "a.b:1|c|@0.1|#tag:v,other\ng:+5|g\ng:-3.5|g\nt,x=y:17:18:19|ms\nh:2|h|@0.5\nd:1|d\ns:me|s\n_e{5,4}:title|text\n";
    let bytes = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect::<Vec<_>>();
    vec![
        ("loki_protobuf", Some(Protocol::Loki(Format::Protobuf)), vec![loki]),
        ("loki_json", Some(Protocol::Loki(Format::Json)), bytes(&[&json])),
        ("ndjson", Some(Protocol::Ndjson), bytes(&[lines])),
        ("zipkin", Some(Protocol::Zipkin), bytes(&[zipkin])),
        ("syslog", None, bytes(&syslog)),
        ("fluent", Some(Protocol::Fluent { resends: false }), fluent),
        ("statsd", None, bytes(&[statsd])),
    ]
}

/// The first byte says which compression, the second how large the body may be.
fn compressed() -> Seeds {
    let body = traces(NOW).encode_to_vec();
    let brotli = vec![0x0b, 0x02, 0x80, b'h', b'e', b'l', b'l', b'o', 0x03];
    let snappy = snap::raw::Encoder::new().compress_vec(&body).unwrap();
    let packed = [body.clone(), gzip(&body), deflate(&body), zstd(&body), brotli, snappy];
    ("inflate", None, packed.into_iter().enumerate().map(|(at, wire)| [vec![at as u8, 3], wire].concat()).collect())
}

/// The first byte says of which kind a body is: the numbers are those of `fuzzing/processing.rs`.
fn processed() -> Seeds {
    let kinds = [
        "otlp_traces_protobuf",
        "otlp_metrics_protobuf",
        "otlp_logs_protobuf",
        "otlp_traces_json",
        "otlp_metrics_json",
        "otlp_logs_json",
        "remote_write_v1",
        "remote_write_v2",
        "sentry_envelope",
        "sentry_store",
        "loki_protobuf",
        "loki_json",
        "ndjson",
        "zipkin",
    ];
    let mut bodies = Vec::new();
    for (target, _, some) in [otlp(), prometheus(), sentry(), formats()].concat() {
        let Some(kind) = kinds.iter().position(|kind| *kind == target) else { continue };
        bodies.extend(some.into_iter().take(8).map(|body| [vec![kind as u8], body].concat()));
    }
    ("pipeline", None, bodies)
}

fn texts() -> Seeds {
    let all = redact::secrets().into_iter().map(|(_, text)| text).chain(redact::in_context().into_iter().map(|(_, text, _)| text));
    ("redact", None, all.map(|text| [vec![9], text.into_bytes()].concat()).collect())
}

#[test]
fn good_bodies_are_read_and_are_the_seeds_of_the_fuzz_targets() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (target, protocol, bodies) in [otlp(), prometheus(), sentry(), formats(), vec![compressed(), processed(), texts()]].concat() {
        for (at, body) in bodies.iter().enumerate() {
            if let Some(protocol) = protocol {
                let world = World::default();
                let mut builder = Builder::new(world.arrival(), None);
                protocol.read(body, world.limits.bounds(), &mut builder).unwrap_or_else(|error| panic!("{target} {at}: {error}"));
                builder.finish().unwrap().blocks.iter().for_each(|block| block.check().unwrap());
            }
            if corpus.is_dir() {
                std::fs::create_dir_all(corpus.join(target)).unwrap();
                std::fs::write(corpus.join(target).join(format!("seed-{at}")), body).unwrap();
            }
        }
    }
}
