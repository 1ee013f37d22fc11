//! The tables take what the encoder writes and give it back; the views look like the OpenTelemetry exporter's tables.

use bytes::Bytes;
use model::columns::{ColumnType, TableBlock, TableSpec};
use model::tables;
use store::native;
use store::wal::BlockInsert;

use super::engine::Engine;
use super::samples::{START_SECS, block_of, rows_of};

fn encoded(block: &TableBlock) -> Vec<u8> {
    let (mut plain, mut bytes) = (Vec::new(), Vec::new());
    native::encode(block, &mut plain).unwrap();
    native::packed::pack(&plain, &mut bytes).unwrap();
    bytes
}

/// The table as the engine itself writes it in Native, decoded.
async fn read_back(engine: &Engine, table: &'static TableSpec) -> Vec<TableBlock> {
    let columns: Vec<String> = table.columns.iter().map(|c| format!("CAST(`{0}` AS {1}) AS `{0}`", c.name, c.kind)).collect();
    let bytes = engine.bytes(&format!("SELECT {} FROM {}", columns.join(", "), table.name), "Native").await;
    native::decode(&bytes, table).unwrap()
}

/// The type a column may have in the table besides its own.
fn aggregated(kind: ColumnType, found: &str) -> bool {
    let inner = found.strip_prefix("SimpleAggregateFunction(").and_then(|rest| rest.strip_suffix(')'));
    let inner = inner.and_then(|rest| rest.split_once(", ")).map(|(_, inner)| inner.to_owned());
    // The engine takes no LowCardinality inside the Map of an aggregate, and casts on insert.
    let own = kind.to_string();
    inner.is_some_and(|inner| inner == own || (kind == ColumnType::StringMap && inner == "Map(String, String)"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_table_has_the_columns_of_its_spec() {
    let engine = Engine::start().await;
    for table in tables::ALL {
        let described = engine.text(&format!("DESCRIBE TABLE {}", table.name)).await;
        let found: Vec<(&str, &str)> =
            described.lines().map(|line| line.split('\t').collect::<Vec<_>>()).map(|fields| (fields[0], fields[1])).collect();
        assert_eq!(found.len(), table.columns.len(), "{}", table.name);
        for (column, (name, kind)) in table.columns.iter().zip(found) {
            assert_eq!(column.name, name, "{}", table.name);
            assert!(column.kind.to_string() == kind || aggregated(column.kind, kind), "{}.{name}: {kind}", table.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_table_gives_back_what_was_encoded() {
    let engine = Engine::start().await;
    for table in tables::ALL {
        let mut wanted = Vec::new();
        for seed in 0..12u64 {
            let block = block_of(table, [1, 2, 7, 40][seed as usize % 4], seed);
            wanted.extend(rows_of(&block));
            engine.insert(table, &format!("{}-{seed}", table.name), Bytes::from(encoded(&block))).await.unwrap();
        }
        let mut found: Vec<_> = read_back(&engine, table).await.iter().flat_map(rows_of).collect();
        found.sort();
        wanted.sort();
        assert!(found == wanted, "{}: {} rows, {} wanted", table.name, found.len(), wanted.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wide_dictionaries_are_read_too() {
    let engine = Engine::start().await;
    for keys in [256usize, 257, 65_600] {
        let mut block = block_of(&tables::POINTS, keys, 3);
        let at = tables::POINTS.position("metric").unwrap();
        if let model::columns::Column::LowCardinality(rows) = &mut block.columns[at] {
            *rows = Default::default();
            (0..keys).for_each(|n| rows.push(format!("m{n}").as_bytes()));
        }
        engine.insert(&tables::POINTS, &format!("wide-{keys}"), Bytes::from(encoded(&block))).await.unwrap();
        assert_eq!(engine.text("SELECT count(), uniqExact(metric) FROM points").await, format!("{keys}\t{keys}"));
        engine.execute("TRUNCATE TABLE points").await;
    }
}

/// Blocks in the log of an older version lack the columns that came since; one batch may hold both.
#[tokio::test(flavor = "multi_thread")]
async fn blocks_without_the_newest_columns_still_fit() {
    let engine = Engine::start().await;
    let before = tables::EXP_HISTOGRAMS.position("custom_bounds").unwrap();
    let older: &'static TableSpec =
        Box::leak(Box::new(TableSpec { columns: &tables::EXP_HISTOGRAMS.columns[..before], ..tables::EXP_HISTOGRAMS }));
    let mut bytes = encoded(&block_of(older, 5, 1));
    bytes.extend(encoded(&block_of(&tables::EXP_HISTOGRAMS, 7, 2)));
    bytes.extend(encoded(&block_of(older, 3, 3)));
    engine.insert(&tables::EXP_HISTOGRAMS, "older", Bytes::from(bytes)).await.unwrap();
    assert_eq!(engine.text("SELECT count(), countIf(empty(custom_bounds)) >= 8 FROM exp_histograms").await, "15\t1");
}

#[tokio::test(flavor = "multi_thread")]
async fn joined_blocks_make_one_part_per_partition_and_a_token_counts_once() {
    let engine = Engine::start().await;
    let mut bytes = Vec::new();
    for seed in 0..50 {
        bytes.extend(encoded(&block_of(&tables::SPANS, 20, seed)));
    }
    for _ in 0..3 {
        engine.insert(&tables::SPANS, "node/epoch/spans/0", Bytes::from(bytes.clone())).await.unwrap();
    }
    // Two retention classes on three days, at most; a merge may have joined nothing across them.
    let parts: u32 = engine
        .text("SELECT count() FROM system.parts WHERE active AND database = currentDatabase() AND table = 'spans'")
        .await
        .parse()
        .unwrap();
    assert!(parts <= 6, "{parts} parts");
    assert_eq!(engine.text("SELECT count() FROM spans").await, "1000");
    let traced = engine.text("SELECT count() FROM spans WHERE trace_id != toFixedString('', 16)").await;
    assert_eq!(engine.text("SELECT sum(spans) FROM trace_index").await, traced, "the view counts once too");
    engine.insert(&tables::SPANS, "node/epoch/spans/1", Bytes::from(bytes)).await.unwrap();
    assert_eq!(engine.text("SELECT count() FROM spans").await, "2000");
}

/// Names and types of the tables of the OpenTelemetry Collector's ClickHouse exporter.
const EXPORTER: [(&str, &str); 8] = [
    (
        "otel_traces",
        "Timestamp DateTime64(9), TraceId String, SpanId String, ParentSpanId String, TraceState String, SpanName LowCardinality(String), \
         SpanKind LowCardinality(String), ServiceName LowCardinality(String), ResourceAttributes Map(LowCardinality(String), String), \
         ScopeName String, ScopeVersion String, SpanAttributes Map(LowCardinality(String), String), Duration UInt64, \
         StatusCode LowCardinality(String), StatusMessage String, Events.Timestamp Array(DateTime64(9)), \
         Events.Name Array(LowCardinality(String)), Events.Attributes Array(Map(LowCardinality(String), String)), \
         Links.TraceId Array(String), Links.SpanId Array(String), Links.TraceState Array(String), \
         Links.Attributes Array(Map(LowCardinality(String), String))",
    ),
    (
        "otel_logs",
        "Timestamp DateTime64(9), TimestampTime DateTime, TraceId String, SpanId String, TraceFlags UInt8, \
         SeverityText LowCardinality(String), SeverityNumber UInt8, ServiceName LowCardinality(String), Body String, \
         ResourceSchemaUrl LowCardinality(String), ResourceAttributes Map(LowCardinality(String), String), \
         ScopeSchemaUrl LowCardinality(String), ScopeName String, ScopeVersion String, \
         ScopeAttributes Map(LowCardinality(String), String), LogAttributes Map(LowCardinality(String), String), EventName String",
    ),
    ("otel_traces_trace_id_ts", "TraceId String, Start DateTime, End DateTime"),
    (
        "otel_metrics_gauge",
        "ResourceAttributes Map(LowCardinality(String), String), ResourceSchemaUrl String, ScopeName String, ScopeVersion String, \
         ScopeAttributes Map(LowCardinality(String), String), ScopeDroppedAttrCount UInt32, ScopeSchemaUrl String, \
         ServiceName LowCardinality(String), MetricName String, MetricDescription String, MetricUnit String, \
         Attributes Map(LowCardinality(String), String), StartTimeUnix DateTime64(9), TimeUnix DateTime64(9), Value Float64, \
         Flags UInt32, Exemplars.FilteredAttributes Array(Map(LowCardinality(String), String)), \
         Exemplars.TimeUnix Array(DateTime64(9)), Exemplars.Value Array(Float64), Exemplars.SpanId Array(String), \
         Exemplars.TraceId Array(String)",
    ),
    (
        "otel_metrics_sum",
        "ResourceAttributes Map(LowCardinality(String), String), ResourceSchemaUrl String, ScopeName String, ScopeVersion String, \
         ScopeAttributes Map(LowCardinality(String), String), ScopeDroppedAttrCount UInt32, ScopeSchemaUrl String, \
         ServiceName LowCardinality(String), MetricName String, MetricDescription String, MetricUnit String, \
         Attributes Map(LowCardinality(String), String), StartTimeUnix DateTime64(9), TimeUnix DateTime64(9), Value Float64, \
         Flags UInt32, Exemplars.FilteredAttributes Array(Map(LowCardinality(String), String)), \
         Exemplars.TimeUnix Array(DateTime64(9)), Exemplars.Value Array(Float64), Exemplars.SpanId Array(String), \
         Exemplars.TraceId Array(String), AggregationTemporality Int32, IsMonotonic Bool",
    ),
    (
        "otel_metrics_histogram",
        "ResourceAttributes Map(LowCardinality(String), String), ResourceSchemaUrl String, ScopeName String, ScopeVersion String, \
         ScopeAttributes Map(LowCardinality(String), String), ScopeDroppedAttrCount UInt32, ScopeSchemaUrl String, \
         ServiceName LowCardinality(String), MetricName String, MetricDescription String, MetricUnit String, \
         Attributes Map(LowCardinality(String), String), StartTimeUnix DateTime64(9), TimeUnix DateTime64(9), Count UInt64, \
         Sum Float64, BucketCounts Array(UInt64), ExplicitBounds Array(Float64), \
         Exemplars.FilteredAttributes Array(Map(LowCardinality(String), String)), Exemplars.TimeUnix Array(DateTime64(9)), \
         Exemplars.Value Array(Float64), Exemplars.SpanId Array(String), Exemplars.TraceId Array(String), Flags UInt32, Min Float64, \
         Max Float64, AggregationTemporality Int32",
    ),
    (
        // `ZeroThreshold` is ours: the exporter drops it.
        "otel_metrics_exponential_histogram",
        "ResourceAttributes Map(LowCardinality(String), String), ResourceSchemaUrl String, ScopeName String, ScopeVersion String, \
         ScopeAttributes Map(LowCardinality(String), String), ScopeDroppedAttrCount UInt32, ScopeSchemaUrl String, \
         ServiceName LowCardinality(String), MetricName String, MetricDescription String, MetricUnit String, \
         Attributes Map(LowCardinality(String), String), StartTimeUnix DateTime64(9), TimeUnix DateTime64(9), Count UInt64, \
         Sum Float64, Scale Int32, ZeroCount UInt64, PositiveOffset Int32, PositiveBucketCounts Array(UInt64), \
         NegativeOffset Int32, NegativeBucketCounts Array(UInt64), \
         Exemplars.FilteredAttributes Array(Map(LowCardinality(String), String)), Exemplars.TimeUnix Array(DateTime64(9)), \
         Exemplars.Value Array(Float64), Exemplars.SpanId Array(String), Exemplars.TraceId Array(String), Flags UInt32, Min Float64, \
         Max Float64, ZeroThreshold Float64, AggregationTemporality Int32",
    ),
    (
        "otel_metrics_summary",
        "ResourceAttributes Map(LowCardinality(String), String), ResourceSchemaUrl String, ScopeName String, ScopeVersion String, \
         ScopeAttributes Map(LowCardinality(String), String), ScopeDroppedAttrCount UInt32, ScopeSchemaUrl String, \
         ServiceName LowCardinality(String), MetricName String, MetricDescription String, MetricUnit String, \
         Attributes Map(LowCardinality(String), String), StartTimeUnix DateTime64(9), TimeUnix DateTime64(9), Count UInt64, \
         Sum Float64, ValueAtQuantiles.Quantile Array(Float64), ValueAtQuantiles.Value Array(Float64), Flags UInt32",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_views_have_the_exporters_columns_and_a_tenant() {
    let engine = Engine::start().await;
    for (view, columns) in EXPORTER {
        let described = engine.text(&format!("DESCRIBE TABLE {view}")).await;
        let found: Vec<String> = described.lines().map(|line| line.split('\t').take(2).collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(found.join(", "), format!("{columns}, tenant LowCardinality(String)"), "{view}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_views_show_what_was_stored() {
    let engine = Engine::start().await;
    let map = "map('service.name', 'checkout')";
    engine
        .execute(&format!(
            "INSERT INTO spans (tenant, ts, trace_id, span_id, service, name, kind, duration, status, resource, link_trace_id, link_span_id, \
             link_trace_state, link_attributes, retention_days) VALUES ('default', fromUnixTimestamp64Nano(toInt64({START_SECS}000000001)), \
             unhex('000102030405060708090a0b0c0d0e0f'), unhex('0102030405060708'), 'checkout', 'GET /', 'SERVER', 2500000000, 'ERROR', {map}, \
             [unhex('ff0102030405060708090a0b0c0d0e0f')], [unhex('ff02030405060708')], [''], [map()], 20000)"
        ))
        .await;
    assert_eq!(
        engine
            .text(
                "SELECT TraceId, SpanId, ParentSpanId, SpanKind, StatusCode, Duration, ResourceAttributes['service.name'], \
                 `Links.TraceId`[1], tenant, toUnixTimestamp64Nano(Timestamp) FROM otel_traces WHERE ServiceName = 'checkout'"
            )
            .await,
        format!(
            "000102030405060708090a0b0c0d0e0f\t0102030405060708\t\tServer\tError\t2500000000\tcheckout\t\
             ff0102030405060708090a0b0c0d0e0f\tdefault\t{START_SECS}000000001"
        )
    );
    assert_eq!(
        engine.text("SELECT TraceId, toUnixTimestamp(Start), toUnixTimestamp(End) FROM otel_traces_trace_id_ts").await,
        format!("000102030405060708090a0b0c0d0e0f\t{START_SECS}\t{}", START_SECS + 2)
    );
    let series = "INSERT INTO series (tenant, metric, fingerprint, kind, temporality, monotonic, otel_name, unit, labels, resource, \
                  first_seen, last_seen) VALUES";
    let kinds = [
        (1, "gauge", "queue.length"),
        (2, "sum", "requests"),
        (3, "histogram", "duration"),
        (4, "exp_histogram", "latency"),
        (5, "summary", "size"),
        (6, "exp_histogram", "own"),
    ];
    for (print, kind, name) in kinds {
        // Twice, as after a restart: a series must not show its points twice.
        for _ in 0..2 {
            engine
                .execute(&format!(
                    "{series} ('default', 'm{print}', {print}, '{kind}', 'cumulative', 1, '{name}', 's', map('zone', 'a'), {map}, {START_SECS}, {START_SECS})"
                ))
                .await;
        }
    }
    for print in 1..3 {
        engine
            .execute(&format!(
                "INSERT INTO points (tenant, metric, fingerprint, ts, value, retention_days) VALUES ('default', 'm{print}', {print}, fromUnixTimestamp64Milli(toInt64({START_SECS}000)), 1.5, 20000)"
            ))
            .await;
    }
    engine
        .execute(&format!(
            "INSERT INTO histograms (tenant, metric, fingerprint, ts, count, sum, min, max, bounds, counts, retention_days) VALUES \
             ('default', 'm3', 3, fromUnixTimestamp64Milli(toInt64({START_SECS}000)), 3, 4.5, nan, 2, [1], [1, 2], 20000)"
        ))
        .await;
    let when = format!("fromUnixTimestamp64Milli(toInt64({START_SECS}000))");
    engine
        .execute(&format!(
            "INSERT INTO exp_histograms (tenant, metric, fingerprint, ts, count, sum, min, max, scale, zero_count, positive_offset, \
             positive_counts, negative_offset, negative_counts, retention_days) VALUES \
             ('default', 'm4', 4, {when}, 6, 4.5, -1, nan, 3, 1, -2, [1, 2], 5, [2], 20000)"
        ))
        .await;
    engine
        .execute(&format!(
            "INSERT INTO exp_histograms (tenant, metric, fingerprint, ts, count, sum, min, max, scale, positive_counts, custom_bounds, \
             retention_days) VALUES ('default', 'm6', 6, {when}, 3.5, 4.5, nan, nan, -53, [1, 2.5, 0], [0.5, 5], 20000)"
        ))
        .await;
    engine
        .execute(&format!(
            "INSERT INTO summaries (tenant, metric, fingerprint, ts, count, sum, quantiles, values, retention_days) VALUES \
             ('default', 'm5', 5, {when}, 9, 4.5, [0.5, 0.99], [1, 7], 20000)"
        ))
        .await;
    let shown = |columns: &str, view: &str| format!("SELECT MetricName, ServiceName, Attributes['zone'], {columns} FROM {view}");
    assert_eq!(engine.text(&shown("Value, MetricUnit", "otel_metrics_gauge")).await, "queue.length\tcheckout\ta\t1.5\ts");
    assert_eq!(
        engine.text(&shown("Value, AggregationTemporality, IsMonotonic", "otel_metrics_sum")).await,
        "requests\tcheckout\ta\t1.5\t2\ttrue"
    );
    assert_eq!(
        engine.text(&shown("Count, Sum, BucketCounts, ExplicitBounds, Min, Max", "otel_metrics_histogram ORDER BY MetricName")).await,
        "duration\tcheckout\ta\t3\t4.5\t[1,2]\t[1]\t0\t2\nown\tcheckout\ta\t3\t4.5\t[1,2,0]\t[0.5,5]\t0\t0",
        "custom buckets are explicit ones, with whole counts"
    );
    let buckets = "Count, Sum, Scale, ZeroCount, PositiveOffset, PositiveBucketCounts, NegativeOffset, NegativeBucketCounts, Min, Max, \
                   AggregationTemporality";
    assert_eq!(
        engine.text(&shown(buckets, "otel_metrics_exponential_histogram")).await,
        "latency\tcheckout\ta\t6\t4.5\t3\t1\t-2\t[1,2]\t5\t[2]\t-1\t0\t2"
    );
    assert_eq!(
        engine.text(&shown("Count, Sum, `ValueAtQuantiles.Quantile`, `ValueAtQuantiles.Value`", "otel_metrics_summary")).await,
        "size\tcheckout\ta\t9\t4.5\t[0.5,0.99]\t[1,7]"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_on_the_views_reach_the_indexes() {
    let engine = Engine::start().await;
    for table in [&tables::SPANS, &tables::LOGS, &tables::POINTS, &tables::HISTOGRAMS, &tables::EXP_HISTOGRAMS] {
        engine.insert(table, table.name, Bytes::from(encoded(&block_of(table, 200, 1)))).await.unwrap();
    }
    let id = "TraceId = '000102030405060708090a0b0c0d0e0f'";
    for (view, filter, wanted) in [
        ("otel_traces", id, "idx_trace_text"),
        ("otel_logs", id, "idx_trace_text"),
        ("otel_traces_trace_id_ts", id, "idx_trace_text"),
        ("otel_traces", "Timestamp > now() - INTERVAL 1 HOUR", "Condition: (ts in ["),
        ("otel_logs", "TimestampTime > now() - INTERVAL 1 HOUR", "Condition: (toDateTime(ts) in ["),
        ("otel_traces", "ServiceName = 'checkout'", "(service in ['checkout', 'checkout'])"),
        ("otel_metrics_gauge", "TimeUnix > now() - INTERVAL 1 HOUR", "Condition: (CAST(ts, 'DateTime64(9)') in ["),
        ("otel_metrics_histogram", "TimeUnix > now() - INTERVAL 1 HOUR", "Condition: (CAST(ts, 'DateTime64(9)') in ["),
    ] {
        let plan = engine.text(&format!("EXPLAIN indexes = 1 SELECT * FROM {view} WHERE {filter}")).await;
        assert!(plan.contains(wanted), "{view} WHERE {filter}: no {wanted} in\n{plan}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_span_of_absurd_length_does_not_stop_the_index() {
    let engine = Engine::start().await;
    let mut block = block_of(&tables::SPANS, 4, 9);
    let at = tables::SPANS.position("duration").unwrap();
    block.columns[at] = model::columns::Column::UInt64(vec![u64::MAX, i64::MAX as u64, 0, 1]);
    engine.insert(&tables::SPANS, "absurd", Bytes::from(encoded(&block))).await.unwrap();
    assert_eq!(engine.text("SELECT count() FROM spans").await, "4");
}
