//! Remote write as whole requests: rows, both versions alike, answers, bad input.

use axum::body::Body;
use http::{Request, StatusCode};
use model::access::Permission;
use model::sink::Refusal;
use model::units::ByteCount;
use proptest::prelude::*;
use prost::Message;
use tower::ServiceExt;

use super::bad_input::gzip;
use super::fixtures::*;
use super::services::{bytes, post, with_principal};
use crate::decode::Protocol;
use crate::decode::remote_write::Version;
use crate::rows::points::STALE_NAN;
use crate::rows::{Arrival, Builder, Built};
use crate::{Collector, Config};

/// The published messages, written down again for the encoder.
pub(crate) mod wire {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct WriteRequest {
        #[prost(message, repeated, tag = "1")]
        pub(crate) timeseries: Vec<TimeSeries>,
        #[prost(message, repeated, tag = "3")]
        pub(crate) metadata: Vec<MetricMetadata>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct MetricMetadata {
        #[prost(int32, tag = "1")]
        pub(crate) r#type: i32,
        #[prost(string, tag = "2")]
        pub(crate) metric_family_name: String,
        #[prost(string, tag = "4")]
        pub(crate) help: String,
        #[prost(string, tag = "5")]
        pub(crate) unit: String,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct TimeSeries {
        #[prost(message, repeated, tag = "1")]
        pub(crate) labels: Vec<Label>,
        #[prost(message, repeated, tag = "2")]
        pub(crate) samples: Vec<Sample>,
        #[prost(message, repeated, tag = "3")]
        pub(crate) exemplars: Vec<Exemplar>,
        #[prost(message, repeated, tag = "4")]
        pub(crate) histograms: Vec<Histogram>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Label {
        #[prost(string, tag = "1")]
        pub(crate) name: String,
        #[prost(string, tag = "2")]
        pub(crate) value: String,
    }
    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(crate) struct Sample {
        #[prost(double, tag = "1")]
        pub(crate) value: f64,
        #[prost(int64, tag = "2")]
        pub(crate) timestamp: i64,
        #[prost(int64, tag = "3")]
        pub(crate) start_timestamp: i64,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Exemplar {
        #[prost(message, repeated, tag = "1")]
        pub(crate) labels: Vec<Label>,
        #[prost(double, tag = "2")]
        pub(crate) value: f64,
        #[prost(int64, tag = "3")]
        pub(crate) timestamp: i64,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Histogram {
        #[prost(oneof = "Count", tags = "1, 2")]
        pub(crate) count: Option<Count>,
        #[prost(double, tag = "3")]
        pub(crate) sum: f64,
        #[prost(sint32, tag = "4")]
        pub(crate) schema: i32,
        #[prost(double, tag = "5")]
        pub(crate) zero_threshold: f64,
        #[prost(oneof = "ZeroCount", tags = "6, 7")]
        pub(crate) zero_count: Option<ZeroCount>,
        #[prost(message, repeated, tag = "8")]
        pub(crate) negative_spans: Vec<BucketSpan>,
        #[prost(sint64, repeated, tag = "9")]
        pub(crate) negative_deltas: Vec<i64>,
        #[prost(double, repeated, tag = "10")]
        pub(crate) negative_counts: Vec<f64>,
        #[prost(message, repeated, tag = "11")]
        pub(crate) positive_spans: Vec<BucketSpan>,
        #[prost(sint64, repeated, tag = "12")]
        pub(crate) positive_deltas: Vec<i64>,
        #[prost(double, repeated, tag = "13")]
        pub(crate) positive_counts: Vec<f64>,
        #[prost(int32, tag = "14")]
        pub(crate) reset_hint: i32,
        #[prost(int64, tag = "15")]
        pub(crate) timestamp: i64,
        #[prost(double, repeated, tag = "16")]
        pub(crate) custom_values: Vec<f64>,
        #[prost(int64, tag = "17")]
        pub(crate) start_timestamp: i64,
    }
    #[derive(Clone, Copy, PartialEq, prost::Oneof)]
    pub(crate) enum Count {
        #[prost(uint64, tag = "1")]
        Int(u64),
        #[prost(double, tag = "2")]
        Float(f64),
    }
    #[derive(Clone, Copy, PartialEq, prost::Oneof)]
    pub(crate) enum ZeroCount {
        #[prost(uint64, tag = "6")]
        Int(u64),
        #[prost(double, tag = "7")]
        Float(f64),
    }
    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(crate) struct BucketSpan {
        #[prost(sint32, tag = "1")]
        pub(crate) offset: i32,
        #[prost(uint32, tag = "2")]
        pub(crate) length: u32,
    }

    /// `io.prometheus.write.v2`
    pub(crate) mod v2 {
        pub(crate) use super::{Histogram, Sample};
        #[derive(Clone, PartialEq, prost::Message)]
        pub(crate) struct Request {
            #[prost(string, repeated, tag = "4")]
            pub(crate) symbols: Vec<String>,
            #[prost(message, repeated, tag = "5")]
            pub(crate) timeseries: Vec<TimeSeries>,
        }
        #[derive(Clone, PartialEq, prost::Message)]
        pub(crate) struct TimeSeries {
            #[prost(uint32, repeated, tag = "1")]
            pub(crate) labels_refs: Vec<u32>,
            #[prost(message, repeated, tag = "2")]
            pub(crate) samples: Vec<Sample>,
            #[prost(message, repeated, tag = "3")]
            pub(crate) histograms: Vec<Histogram>,
            #[prost(message, repeated, tag = "4")]
            pub(crate) exemplars: Vec<Exemplar>,
            #[prost(message, optional, tag = "5")]
            pub(crate) metadata: Option<Metadata>,
            #[prost(int64, tag = "6")]
            pub(crate) created_timestamp: i64,
        }
        #[derive(Clone, PartialEq, prost::Message)]
        pub(crate) struct Exemplar {
            #[prost(uint32, repeated, tag = "1")]
            pub(crate) labels_refs: Vec<u32>,
            #[prost(double, tag = "2")]
            pub(crate) value: f64,
            #[prost(int64, tag = "3")]
            pub(crate) timestamp: i64,
        }
        #[derive(Clone, Copy, PartialEq, prost::Message)]
        pub(crate) struct Metadata {
            #[prost(int32, tag = "1")]
            pub(crate) r#type: i32,
            #[prost(uint32, tag = "3")]
            pub(crate) help_ref: u32,
            #[prost(uint32, tag = "4")]
            pub(crate) unit_ref: u32,
        }
    }
}

use wire::{BucketSpan, Count, Exemplar, Histogram, Label, MetricMetadata, Sample, TimeSeries, WriteRequest, ZeroCount, v2};

/// [`NOW`] in milliseconds.
const NOW_MS: i64 = (NOW / 1_000_000) as i64;
const V1: [(&str, &str); 2] = [("content-type", "application/x-protobuf"), ("content-encoding", "snappy")];
const V2: [(&str, &str); 2] =
    [("content-type", "application/x-protobuf;proto=io.prometheus.write.v2.Request"), ("content-encoding", "snappy")];

fn labels(pairs: &[(&str, &str)]) -> Vec<Label> {
    pairs.iter().map(|(name, value)| Label { name: (*name).to_owned(), value: (*value).to_owned() }).collect()
}

fn at(value: f64, offset: i64) -> Sample {
    Sample { value, timestamp: NOW_MS + offset, start_timestamp: 0 }
}

fn series(pairs: &[(&str, &str)], samples: Vec<Sample>) -> TimeSeries {
    TimeSeries { labels: labels(pairs), samples, ..TimeSeries::default() }
}

fn described(name: &str, kind: i32, help: &str, unit: &str) -> MetricMetadata {
    MetricMetadata { r#type: kind, metric_family_name: name.into(), help: help.into(), unit: unit.into() }
}

fn native() -> Histogram {
    Histogram {
        count: Some(Count::Int(14)),
        sum: 20.5,
        schema: 3,
        zero_threshold: 0.001,
        zero_count: Some(ZeroCount::Int(2)),
        positive_spans: vec![BucketSpan { offset: 1, length: 2 }, BucketSpan { offset: 2, length: 1 }],
        positive_deltas: vec![3, 1, 1],
        timestamp: NOW_MS,
        ..Histogram::default()
    }
}

fn custom() -> Histogram {
    Histogram {
        count: Some(Count::Int(6)),
        sum: 9.0,
        schema: -53,
        positive_spans: vec![BucketSpan { offset: 1, length: 1 }, BucketSpan { offset: 1, length: 1 }],
        positive_deltas: vec![2, 2],
        custom_values: vec![0.1, 1.0, 5.0],
        timestamp: NOW_MS,
        ..Histogram::default()
    }
}

/// One of everything.
pub(super) fn request() -> WriteRequest {
    let ids = [("trace_id", "0102030405060708090a0b0c0d0e0f10"), ("span_id", "0102030405060708"), ("user", "u7")];
    let mut total =
        series(&[("__name__", "http_requests_total"), ("code", "200"), ("empty", ""), ("job", "api")], vec![at(5.0, -15_000), at(7.0, 0)]);
    total.exemplars = vec![Exemplar { labels: labels(&ids), value: 0.7, timestamp: NOW_MS - 1 }];
    let histogram = |name: &str, histogram| TimeSeries {
        labels: labels(&[("__name__", name), ("job", "api")]),
        histograms: vec![histogram],
        ..TimeSeries::default()
    };
    let mut gauge_histogram = native();
    gauge_histogram.reset_hint = 3;
    gauge_histogram.count = Some(Count::Float(14.5));
    gauge_histogram.zero_count = Some(ZeroCount::Float(2.5));
    gauge_histogram.positive_deltas = Vec::new();
    gauge_histogram.positive_counts = vec![3.0, 4.0, 5.0];
    WriteRequest {
        timeseries: vec![
            total,
            series(&[("__name__", "temperature.größe"), ("ort.name", "büro")], vec![at(21.5, 0)]),
            series(&[("__name__", "latency_bucket"), ("le", "0.5")], vec![at(3.0, 0)]),
            series(&[("__name__", "mystery")], vec![at(f64::from_bits(STALE_NAN), 0), at(f64::NAN, -5)]),
            histogram("native", native()),
            histogram("native_gauge", gauge_histogram),
            histogram("custom", custom()),
        ],
        metadata: vec![
            described("http_requests_total", 1, "Requests.", ""),
            described("temperature.größe", 2, "How warm.", "celsius"),
            described("latency", 3, "How long.", "seconds"),
            described("native", 3, "Native.", "bytes"),
            described("native_gauge", 4, "Gauge.", ""),
        ],
    }
}

/// The same request in the words of version 2.
pub(super) fn as_v2(request: &WriteRequest) -> v2::Request {
    let mut symbols = vec![String::new()];
    let mut symbol = |text: &str| -> u32 {
        let at = symbols.iter().position(|symbol| symbol == text).unwrap_or_else(|| {
            symbols.push(text.to_owned());
            symbols.len() - 1
        });
        at as u32
    };
    let mut timeseries = Vec::new();
    for series in &request.timeseries {
        let mut refs = |labels: &[Label]| labels.iter().flat_map(|label| [symbol(&label.name), symbol(&label.value)]).collect::<Vec<u32>>();
        let labels_refs = refs(&series.labels);
        let exemplars = series.exemplars.iter().map(|exemplar| v2::Exemplar {
            labels_refs: refs(&exemplar.labels),
            value: exemplar.value,
            timestamp: exemplar.timestamp,
        });
        let exemplars = exemplars.collect();
        let name = series.labels.iter().find(|label| label.name == "__name__").map_or("", |label| &label.value);
        let about = request.metadata.iter().find(|about| about.metric_family_name == name.trim_end_matches("_bucket"));
        let metadata =
            about.map(|about| v2::Metadata { r#type: about.r#type, help_ref: symbol(&about.help), unit_ref: symbol(&about.unit) });
        let (samples, histograms) = (series.samples.clone(), series.histograms.clone());
        timeseries.push(v2::TimeSeries { labels_refs, samples, histograms, exemplars, metadata, created_timestamp: 0 });
    }
    v2::Request { symbols, timeseries }
}

fn read(version: Version, body: &[u8], arrival: Arrival<'_>) -> Built {
    let bounds = arrival.limits.bounds();
    let mut builder = Builder::new(arrival, None);
    Protocol::RemoteWrite(version).read(body, bounds, &mut builder).unwrap();
    builder.finish().unwrap()
}

fn built(request: &WriteRequest) -> Built {
    read(Version::V1, &request.encode_to_vec(), World::default().arrival())
}

fn column(built: &Built, table: &str, name: &str) -> Vec<String> {
    rows(&built.blocks, table).into_iter().map(|mut row| row.remove(name).unwrap()).collect()
}

#[test]
fn number_samples_are_stored_under_the_names_that_prometheus_gave() {
    let built = built(&request());
    assert_eq!(
        column(&built, "points", "metric"),
        ["http_requests_total", "http_requests_total", "temperature.größe", "latency_bucket", "mystery", "mystery"]
    );
    assert_eq!(column(&built, "points", "ts")[..2], [(NOW_MS - 15_000).to_string(), NOW_MS.to_string()]);
    assert_eq!(column(&built, "points", "flags"), ["0", "0", "0", "0", "1", "0"]);
    let values = built.blocks.iter().find(|block| block.table.name == "points").unwrap().columns.iter().find_map(|column| match column {
        model::columns::Column::Float64(values) => Some(values.clone()),
        _ => None,
    });
    assert_eq!(values.unwrap()[4].to_bits(), STALE_NAN, "the staleness marker stays what it is, bit for bit");
    let series = rows(&built.blocks, "series");
    let about = |metric: &str| {
        let row = series.iter().find(|row| row["metric"] == metric).unwrap_or_else(|| panic!("{metric}"));
        ["kind", "temporality", "monotonic", "unit", "description", "labels"].map(|name| row[name].clone())
    };
    assert_eq!(about("http_requests_total"), ["sum", "cumulative", "1", "", "Requests.", "{code=200,job=api}"]);
    assert_eq!(about("temperature.größe"), ["gauge", "unspecified", "0", "celsius", "How warm.", "{ort.name=büro}"]);
    assert_eq!(about("latency_bucket"), ["sum", "cumulative", "1", "seconds", "How long.", "{le=0.5}"]);
    assert_eq!(about("mystery"), ["untyped", "unspecified", "0", "", "", "{}"]);
    assert_eq!(about("native"), ["exp_histogram", "cumulative", "0", "bytes", "Native.", "{job=api}"]);
    assert_eq!(about("native_gauge"), ["exp_histogram", "unspecified", "0", "", "Gauge.", "{job=api}"]);
    assert_eq!(about("custom"), ["exp_histogram", "cumulative", "0", "", "", "{job=api}"]);
    let written = built.tally.written;
    assert_eq!((written.samples, written.histograms, written.exemplars, built.tally.rejected_total()), (6, 3, 1, 0));
}

#[test]
fn native_histograms_are_dense_rows_with_shifted_indices() {
    let built = built(&request());
    let native = rows(&built.blocks, "exp_histograms");
    let cells = |row: &Row| ["count", "sum", "scale", "zero_count", "positive_offset", "positive_counts"].map(|name| row[name].clone());
    assert_eq!(cells(&native[0]), ["14", "20.5", "3", "2", "0", "[3,4,0,0,5]"]);
    assert_eq!(cells(&native[1]), ["14.5", "20.5", "3", "2.5", "0", "[3,4,0,0,5]"]);
    assert_eq!(cells(&native[2]), ["6", "9", "-53", "0", "0", "[0,2,0,4]"]);
    assert_eq!(column(&built, "exp_histograms", "custom_bounds"), ["[]", "[]", "[0.1,1,5]"]);
    assert!(rows(&built.blocks, "histograms").is_empty());
    let exemplar = &rows(&built.blocks, "exemplars")[0];
    assert_eq!(exemplar["trace_id"], "0102030405060708090a0b0c0d0e0f10");
    assert_eq!((exemplar["span_id"].as_str(), exemplar["attributes"].as_str()), ("0102030405060708", "{user=u7}"));
    assert_eq!(exemplar["fingerprint"], rows(&built.blocks, "points")[0]["fingerprint"]);
}

#[test]
fn the_stale_marker_of_a_histogram_is_of_the_series_that_is_known() {
    let (world, stale) = (World::default(), |name: &str| WriteRequest {
        timeseries: vec![TimeSeries {
            labels: labels(&[("__name__", name), ("job", "api")]),
            histograms: vec![Histogram { sum: f64::from_bits(STALE_NAN), timestamp: NOW_MS + 5, ..Histogram::default() }],
            ..TimeSeries::default()
        }],
        metadata: Vec::new(),
    });
    let mut first = request();
    first.metadata.clear();
    world.series.remember(&read(Version::V1, &first.encode_to_vec(), world.arrival()).series);
    for (name, described) in [("custom", 0), ("native", 0), ("native_gauge", 0), ("unheard_of", 1)] {
        let built = read(Version::V1, &stale(name).encode_to_vec(), world.arrival());
        assert_eq!(column(&built, "exp_histograms", "flags"), ["1"], "{name}");
        assert_eq!(rows(&built.blocks, "series").len(), described, "{name}");
        assert_eq!(built.tally.written.histograms, 1, "{name}");
    }
}

#[test]
fn both_versions_make_the_same_rows() {
    let request = request();
    let of = |version, body: Vec<u8>| dump(&read(version, &body, World::default().arrival()).blocks);
    assert_eq!(of(Version::V1, request.encode_to_vec()), of(Version::V2, as_v2(&request).encode_to_vec()));
}

#[test]
fn created_timestamps_are_kept_from_both_candidates_of_version_2() {
    let mut request = as_v2(&WriteRequest { timeseries: vec![series(&[("__name__", "a_total")], vec![at(1.0, 0)])], metadata: vec![] });
    request.timeseries[0].created_timestamp = NOW_MS - 60_000;
    let start =
        |request: &v2::Request| column(&read(Version::V2, &request.encode_to_vec(), World::default().arrival()), "points", "start_ts");
    assert_eq!(start(&request), [(NOW_MS - 60_000).to_string()]);
    request.timeseries[0].samples[0].start_timestamp = NOW_MS - 30_000;
    assert_eq!(start(&request), [(NOW_MS - 30_000).to_string()]);
}

#[test]
fn a_series_is_described_again_once_its_metadata_is_known_and_not_otherwise() {
    let world = World::default();
    let sample = WriteRequest { timeseries: vec![series(&[("__name__", "jobs_total")], vec![at(1.0, 0)])], metadata: vec![] };
    let about = WriteRequest { timeseries: vec![], metadata: vec![described("jobs", 1, "Jobs.", "")] };
    let mut kinds = Vec::new();
    for request in [&sample, &sample, &about, &sample, &about, &sample] {
        let built = read(Version::V1, &request.encode_to_vec(), world.arrival());
        world.series.remember(&built.series);
        kinds.push(column(&built, "series", "kind").join(","));
    }
    assert_eq!(kinds, ["untyped", "", "", "sum", "", ""]);
}

#[test]
fn what_is_wrong_is_refused_one_by_one() {
    let day = 86_400_000;
    for (name, bad, reason) in [
        ("too old", series(&[("__name__", "a")], vec![at(1.0, -91 * day)]), "too_old"),
        ("before 1970", series(&[("__name__", "a")], vec![Sample { timestamp: -5, ..at(1.0, 0) }]), "too_old"),
        ("far ahead", series(&[("__name__", "a")], vec![at(1.0, 2 * day)]), "too_far_ahead"),
        ("the end of time", series(&[("__name__", "a")], vec![Sample { timestamp: i64::MAX, ..at(1.0, 0) }]), "too_far_ahead"),
        ("no time", series(&[("__name__", "a")], vec![Sample { timestamp: 0, ..at(1.0, 0) }]), "no_time"),
        ("another value", series(&[("__name__", "good"), ("a", "b")], vec![at(2.0, 0)]), "duplicate_sample"),
        ("no name", series(&[("job", "a")], vec![at(1.0, 0)]), "no_metric_name"),
        ("empty name", series(&[("__name__", "")], vec![at(1.0, 0)]), "no_metric_name"),
        ("long name", series(&[("__name__", &"n".repeat(2000))], vec![at(1.0, 0)]), "bad_metric_name"),
        ("twice", series(&[("__name__", "a"), ("x", "1"), ("x", "2")], vec![at(1.0, 0)]), "duplicate_label"),
        ("twice, apart", series(&[("x", "1"), ("__name__", "a"), ("x", "1")], vec![at(1.0, 0)]), "duplicate_label"),
        ("name twice", series(&[("__name__", "a"), ("__name__", "b")], vec![at(1.0, 0)]), "duplicate_label"),
        ("no label name", series(&[("", "x"), ("__name__", "a")], vec![at(1.0, 0)]), "empty_label_name"),
        ("long value", series(&[("__name__", "a"), ("x", &"v".repeat(3000))], vec![at(1.0, 0)]), "label_too_long"),
        (
            "many labels",
            series(&(0..200).map(|_| ("l", "v")).chain([("__name__", "a")]).collect::<Vec<_>>(), vec![at(1.0, 0)]),
            "too_many_labels",
        ),
        (
            "histogram",
            TimeSeries {
                labels: labels(&[("__name__", "h")]),
                histograms: vec![Histogram { count: Some(Count::Int(15)), ..native() }],
                ..Default::default()
            },
            "bad_native_histogram",
        ),
        (
            "schema",
            TimeSeries {
                labels: labels(&[("__name__", "h")]),
                histograms: vec![Histogram { schema: 77, ..native() }],
                ..Default::default()
            },
            "unknown_schema",
        ),
    ] {
        let good = series(&[("__name__", "good"), ("a", "b")], vec![at(1.0, 0)]);
        // Prometheus sorts what is not sorted, so it is the same series.
        let same = series(&[("a", "b"), ("__name__", "good")], vec![at(1.0, 0)]);
        let request = WriteRequest { timeseries: vec![good, bad, same], metadata: vec![] };
        for (version, body) in [(Version::V1, request.encode_to_vec()), (Version::V2, as_v2(&request).encode_to_vec())] {
            let built = read(version, &body, World::default().arrival());
            let found: Vec<_> = built.tally.rejected().map(|(reason, count)| (reason.label(), count)).collect();
            assert_eq!(found, [(reason, 1)], "{name} {version:?}");
            assert_eq!(column(&built, "points", "metric"), ["good"], "{name} {version:?}: the same sample twice is stored once");
            assert_eq!(built.tally.written.samples, 2, "{name} {version:?}");
        }
    }
}

#[test]
fn references_past_the_symbols_refuse_their_series_only() {
    let mut request = as_v2(&request());
    let all = request.timeseries.len();
    request.timeseries[1].labels_refs[1] = 9_999;
    request.timeseries[2].labels_refs.pop();
    request.timeseries[4].metadata = Some(v2::Metadata { r#type: 1, help_ref: 9_999, unit_ref: 0 });
    let built = read(Version::V2, &request.encode_to_vec(), World::default().arrival());
    assert_eq!(built.tally.rejected().map(|(reason, count)| (reason.label(), count)).collect::<Vec<_>>(), [("bad_reference", 3)]);
    assert_eq!(rows(&built.blocks, "series").len(), all - 3);
}

fn snappy(body: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(body).unwrap()
}

async fn send(collector: &Collector, request: Request<Body>) -> (StatusCode, String, [String; 3], Option<String>) {
    let answer = with_principal(collector.remote_write_router(), Permission::Ingest).oneshot(request).await.unwrap();
    let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let written = ["samples", "histograms", "exemplars"].map(|what| header(&format!("X-Prometheus-Remote-Write-{what}-Written")).unwrap());
    let (status, retry) = (answer.status(), header("retry-after"));
    (status, String::from_utf8(bytes(answer).await).unwrap(), written, retry)
}

#[tokio::test]
async fn an_accepted_request_says_how_much_was_written_and_a_resend_is_stored_once() {
    let (rig, body) = (Rig::new(Config::default()), snappy(&request().encode_to_vec()));
    for _ in 0..2 {
        let (status, text, written, _) = send(&rig.collector, post("/api/v1/write", &V1, body.clone())).await;
        assert_eq!((status, text.as_str(), written), (StatusCode::NO_CONTENT, "", ["6", "3", "1"].map(str::to_owned)));
    }
    assert_eq!(rig.sink.rows("points").len(), 6);
    let v2 = snappy(&as_v2(&request()).encode_to_vec());
    assert_eq!(send(&rig.collector, post("/api/v1/write", &V2, v2)).await.0, StatusCode::NO_CONTENT);
    let old = post("/api/v1/write", &[], snappy(&WriteRequest::default().encode_to_vec()));
    assert_eq!(send(&rig.collector, old).await.0, StatusCode::NO_CONTENT, "senders of old name neither type nor encoding");
    assert_eq!(rig.meter("watchfire_collector_requests_total", &[("protocol", "remote_write_v1"), ("code", "204")]), 3.0);
    assert_eq!(rig.meter("watchfire_collector_requests_total", &[("protocol", "remote_write_v2"), ("code", "204")]), 1.0);
}

#[tokio::test]
async fn a_partial_write_is_400_and_says_what_was_written() {
    let rig = Rig::new(Config::default());
    let mut request = request();
    request.timeseries[0].samples[0].timestamp = 1;
    let (status, text, written, retry) = send(&rig.collector, post("/api/v1/write", &V2, snappy(&as_v2(&request).encode_to_vec()))).await;
    assert_eq!((status, written, retry), (StatusCode::BAD_REQUEST, ["5", "3", "1"].map(str::to_owned), None));
    assert!(text.starts_with("1 of 9 samples rejected: 1 older than the retention"), "{text}");
    assert_eq!(rig.sink.rows("points").len(), 5);
    assert_eq!(rig.meter("watchfire_collector_rejected_rows_total", &[("reason", "too_old")]), 1.0);
}

#[tokio::test]
async fn refusals_that_pass_say_when_to_come_again() {
    let rig = Rig::new(Config { hold: model::time::Span::millis(1), ..Config::default() });
    let full = || Refusal::LogFull { used: 9, cap: 8, retry_after: std::time::Duration::from_millis(2_500) };
    rig.sink.refuse(vec![full(), full()]);
    let body = snappy(&request().encode_to_vec());
    let (status, _, written, retry) = send(&rig.collector, post("/api/v1/write", &V1, body.clone())).await;
    assert_eq!((status, written[0].as_str(), retry.as_deref()), (StatusCode::SERVICE_UNAVAILABLE, "0", Some("3")));
    // After 429 Prometheus would drop it.
    let busy = || Refusal::Busy { retry_after: std::time::Duration::from_secs(1) };
    rig.sink.refuse(vec![busy(), busy()]);
    let (status, _, _, retry) = send(&rig.collector, post("/api/v1/write", &V1, body.clone())).await;
    assert_eq!((status, retry.as_deref()), (StatusCode::SERVICE_UNAVAILABLE, Some("1")));
    assert_eq!(send(&rig.collector, post("/api/v1/write", &V1, body)).await.0, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn bad_requests_are_refused_with_a_sentence_and_nothing_is_stored() {
    let small = Config {
        max_wire_bytes: ByteCount(64 << 10),
        max_decoded_bytes: ByteCount(256 << 10),
        max_request_memory: ByteCount(4 << 20),
        ..Config::default()
    };
    let good = request().encode_to_vec();
    let mut not_utf8 = good.clone();
    let place = not_utf8.windows(3).position(|window| window == b"api").unwrap();
    not_utf8[place] = 0xFF;
    let mut liar = snappy(b"x");
    liar.splice(0..1, [0x80, 0x80, 0x08]);
    let snappy_only = V1[1];
    let kind = |value: &'static str| vec![("content-type", value), snappy_only];
    for (name, headers, body, status, says) in [
        ("truncated", V1.to_vec(), snappy(&good[..good.len() - 4]), 400, "longer than the rest"),
        ("not snappy", V1.to_vec(), good.clone(), 400, "not a complete snappy stream"),
        ("truncated snappy", V1.to_vec(), snappy(&good)[..40].to_vec(), 400, "not a complete snappy stream"),
        ("empty", V1.to_vec(), Vec::new(), 400, "not a complete snappy stream"),
        ("not UTF-8", V1.to_vec(), snappy(&not_utf8), 400, "UTF-8"),
        ("v1 as v2", V2.to_vec(), snappy(&[0x28, 0x01]), 400, "Request field 5"),
        ("a request of v1 as v2", V2.to_vec(), snappy(&good), 400, "version 1; its content type is proto=prometheus.WriteRequest"),
        ("a request of v2 as v1", V1.to_vec(), snappy(b"\x22\x01x"), 400, "version 2; its content type is proto=io.prometheus.write.v2"),
        ("too large on the wire", V1.to_vec(), vec![0; 65 << 10], 413, "on the wire"),
        ("bomb", V1.to_vec(), snappy(&vec![0; 1 << 20]), 413, "after decompression"),
        ("announces more than it holds", V1.to_vec(), liar, 400, "announces more"),
        ("gzip", vec![V1[0], ("content-encoding", "gzip")], gzip(&good), 415, "send snappy"),
        (
            "unknown proto",
            kind("application/x-protobuf;proto=io.prometheus.write.v3.Request"),
            snappy(&good),
            415,
            "v3.Request` is not supported",
        ),
        ("JSON", kind("application/json"), snappy(&good), 415, "send application/x-protobuf"),
    ] {
        let rig = Rig::new(small.clone());
        let (found, text, written, retry) = send(&rig.collector, post("/api/v1/write", &headers, body)).await;
        assert_eq!(found.as_u16(), status, "{name}: {text}");
        assert!(text.contains(says) && text.ends_with('\n'), "{name}: {text}");
        assert_eq!((written[0].as_str(), retry), ("0", None), "{name}");
        assert!(rig.sink.batches.lock().unwrap().is_empty(), "{name}");
        assert_eq!(rig.meter("watchfire_collector_requests_total", &[("code", &status.to_string())]), 1.0, "{name}");
    }
    let rig = Rig::new(small);
    for (permission, status) in [(None, StatusCode::UNAUTHORIZED), (Some(Permission::Read), StatusCode::FORBIDDEN)] {
        let router = rig.collector.remote_write_router();
        let router = permission.map_or(router.clone(), |permission| with_principal(router, permission));
        let answer = router.oneshot(post("/api/v1/write", &V1, snappy(&good))).await.unwrap();
        assert_eq!(answer.status(), status);
    }
}

pub(super) fn any_series() -> impl Strategy<Value = TimeSeries> {
    let pair = ("[a-zé._]{1,3}", "[a-z\"\\\\]{0,3}").prop_map(|(name, value)| Label { name, value });
    let sample = (any::<f64>(), -5_000i64..5_000).prop_map(|(value, offset)| at(value, offset));
    let histogram =
        (proptest::collection::vec(0i64..50, 0..6), -20i32..20, -4i32..9, any::<bool>()).prop_map(|(counts, offset, schema, gauge)| {
            let deltas = counts.iter().scan(0, |before, count| Some(count - std::mem::replace(before, *count))).collect();
            Histogram {
                count: Some(Count::Int(counts.iter().sum::<i64>() as u64)),
                sum: 1.5,
                schema,
                positive_spans: vec![BucketSpan { offset, length: counts.len() as u32 }],
                positive_deltas: deltas,
                reset_hint: if gauge { 3 } else { 0 },
                timestamp: NOW_MS,
                ..Histogram::default()
            }
        });
    let exemplar = (proptest::collection::vec(pair.clone(), 0..3), any::<i32>()).prop_map(|(labels, value)| Exemplar {
        labels,
        value: f64::from(value),
        timestamp: NOW_MS,
    });
    let name = "[a-c]{1,2}(_total|_bucket)?".prop_map(|name| Label { name: "__name__".into(), value: name });
    (
        name,
        proptest::collection::vec(pair, 0..4),
        proptest::collection::vec(sample, 0..4),
        proptest::collection::vec(exemplar, 0..2),
        proptest::collection::vec(histogram, 0..2),
    )
        .prop_map(|(name, mut labels, samples, exemplars, histograms)| {
            labels.insert(0, name);
            TimeSeries { labels, samples, exemplars, histograms }
        })
}

proptest! {
    #[test]
    fn any_request_makes_the_same_rows_in_both_versions(timeseries in proptest::collection::vec(any_series(), 0..6)) {
        let request = WriteRequest { timeseries, metadata: vec![] };
        let of = |version, body: Vec<u8>| {
            let built = read(version, &body, World::default().arrival());
            (dump(&built.blocks), built.tally)
        };
        prop_assert_eq!(of(Version::V1, request.encode_to_vec()), of(Version::V2, as_v2(&request).encode_to_vec()));
    }

    #[test]
    fn no_bytes_make_either_version_panic(
        junk in proptest::collection::vec(any::<u8>(), 0..80),
        places in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        for (version, whole) in [(Version::V1, request().encode_to_vec()), (Version::V2, as_v2(&request()).encode_to_vec())] {
            let mut broken = whole;
            for (place, byte) in &places {
                let at = place.index(broken.len());
                broken[at] = *byte;
            }
            for body in [&broken, &junk] {
                let world = World::default();
                let mut builder = Builder::new(world.arrival(), None);
                let _ = Protocol::RemoteWrite(version).read(body, world.limits.bounds(), &mut builder);
                let _ = builder.finish();
            }
        }
    }
}

/// Rules, redaction and limits hold for both versions as they do for OTLP.
#[test]
fn samples_are_processed_as_data_points_are() {
    let config = serde_json::json!({
        "redaction": {"enabled": true},
        "rules": [
            {"drop": true, "match": {"signal": "metric", "name": "go_*"}},
            {"drop": true, "match": {"signal": "metric", "attributes": {"code": "404"}}},
            {"set_name": "temperature", "match": {"signal": "metric", "name": "temp"}},
            {"rename": {"pod": "instance"}, "delete": ["trash"], "set": {"region": "eu"}, "match": {"signal": "metric"}},
        ],
        "cardinality": {"max_series_per_metric": 2},
    });
    let config: crate::pipeline::Config = serde_json::from_value(config).unwrap();
    let token = format!("ghp_{}", "aB3dE5".repeat(6));
    let id = |metric: &str, id: &str| series(&[("__name__", metric), ("id", id)], vec![at(1.0, 0)]);
    let mut hot = id("hot_total", "1");
    hot.exemplars = vec![Exemplar { labels: labels(&[("note", token.as_str())]), value: 0.7, timestamp: NOW_MS }];
    let of_histogram = |id: &str| TimeSeries {
        labels: labels(&[("__name__", "native"), ("id", id)]),
        histograms: vec![native()],
        ..TimeSeries::default()
    };
    let mut timeseries = vec![
        series(&[("__name__", "go_threads")], vec![at(1.0, 0), at(2.0, 1)]),
        series(&[("__name__", "requests_total"), ("code", "404")], vec![at(1.0, 0)]),
        series(&[("__name__", "requests_total"), ("code", "200"), ("pod", "a"), ("trash", "x")], vec![at(1.0, 0)]),
        series(&[("__name__", "temp"), ("password", "hunter22"), ("note", token.as_str())], vec![at(1.0, 0)]),
        hot,
        id("hot_total", "2"),
        id("hot_total", "3"),
        id("hot_total", "4"),
        id("level", "1"),
        id("level", "2"),
        id("level", "3"),
        id("level", "4"),
    ];
    timeseries.extend(["1", "2", "3"].map(of_histogram));
    let metadata = vec![described("hot_total", 1, &format!("See {token}"), ""), described("level", 2, "", "")];
    let request = WriteRequest { timeseries, metadata };
    for (version, body) in [(Version::V1, request.encode_to_vec()), (Version::V2, as_v2(&request).encode_to_vec())] {
        let world = World { pipeline: crate::pipeline::Pipeline::new(&config).unwrap(), ..World::default() };
        let built = read(version, &body, world.arrival());
        let described: Vec<String> =
            rows(&built.blocks, "series").iter().map(|row| format!("{}{}", row["metric"], row["labels"])).collect();
        let overflow = "{otel_metric_overflow=true}";
        assert_eq!(
            described,
            [
                "requests_total{code=200,instance=a,region=eu}",
                "temperature{note=[redacted:github],password=[redacted:password],region=eu}",
                "hot_total{id=1,region=eu}",
                "hot_total{id=2,region=eu}",
                &format!("hot_total{overflow}"),
                "level{id=1,region=eu}",
                "level{id=2,region=eu}",
                &format!("level{overflow}"),
                "native{id=1,region=eu}",
                "native{id=2,region=eu}",
                &format!("native{overflow}"),
            ],
            "{version:?}"
        );
        assert_eq!(column(&built, "points", "value"), ["1", "1", "1", "1", "0", "1", "1", "1"], "a zero, one gauge of two");
        assert_eq!(column(&built, "exp_histograms", "count"), ["14", "14", "0"]);
        assert_eq!(built.tally.rejected_total(), 3, "two samples of a counter and a histogram are in no series");
        assert_eq!((built.changes.dropped.as_slice(), built.changes.overflowed), (&[2, 1][..], 5));
        assert!(dump(&built.blocks).iter().flat_map(|(_, rows)| rows).flatten().all(|(_, value)| !value.contains(&token)));
        assert_eq!(built.load.0.iter().sum::<u64>(), 16, "what a sender sent counts for its rate, whatever became of it");
        world.series.remember(&built.series);
        let again = read(version, &body, world.arrival());
        assert_eq!(column(&again, "points", "fingerprint"), column(&built, "points", "fingerprint"));
    }
}
