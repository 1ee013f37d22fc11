-- The rest of OTLP: attributes of scopes, what senders dropped, schemas; exponential histograms, summaries and exemplars.
-- Columns are added at the end, in the order of model::tables, so that blocks of an older write-ahead log still fit.

ALTER TABLE spans
    ADD COLUMN IF NOT EXISTS scope_attributes Map(LowCardinality(String), String) CODEC(ZSTD(1)) AFTER retention_days,
    ADD COLUMN IF NOT EXISTS dropped_attributes UInt32 CODEC(T64, ZSTD(1)) AFTER scope_attributes,
    ADD COLUMN IF NOT EXISTS dropped_events UInt32 CODEC(T64, ZSTD(1)) AFTER dropped_attributes,
    ADD COLUMN IF NOT EXISTS dropped_links UInt32 CODEC(T64, ZSTD(1)) AFTER dropped_events;

ALTER TABLE logs
    ADD COLUMN IF NOT EXISTS scope_attributes Map(LowCardinality(String), String) CODEC(ZSTD(1)) AFTER retention_days,
    ADD COLUMN IF NOT EXISTS dropped_attributes UInt32 CODEC(T64, ZSTD(1)) AFTER scope_attributes,
    ADD COLUMN IF NOT EXISTS resource_schema_url LowCardinality(String) CODEC(ZSTD(1)) AFTER dropped_attributes,
    ADD COLUMN IF NOT EXISTS scope_schema_url LowCardinality(String) CODEC(ZSTD(1)) AFTER resource_schema_url;

-- Raw buckets, not sketches. Counts are floats because those of Prometheus's native histograms may be; integers are exact up to 2^53.
CREATE TABLE IF NOT EXISTS exp_histograms
(
    tenant LowCardinality(String),
    metric LowCardinality(String) CODEC(ZSTD(1)),
    fingerprint UInt64 CODEC(Delta(8), ZSTD(1)),
    ts DateTime64(3) CODEC(DoubleDelta, ZSTD(1)),
    start_ts DateTime64(3) CODEC(DoubleDelta, ZSTD(1)),
    count Float64 CODEC(Gorilla, ZSTD(1)),
    sum Float64 CODEC(Gorilla, ZSTD(1)),
    min Float64 CODEC(Gorilla, ZSTD(1)),
    max Float64 CODEC(Gorilla, ZSTD(1)),
    scale Int32 CODEC(ZSTD(1)),
    zero_count Float64 CODEC(Gorilla, ZSTD(1)),
    zero_threshold Float64 CODEC(Gorilla, ZSTD(1)),
    positive_offset Int32 CODEC(Delta(4), ZSTD(1)),
    positive_counts Array(Float64) CODEC(ZSTD(1)),
    negative_offset Int32 CODEC(Delta(4), ZSTD(1)),
    negative_counts Array(Float64) CODEC(ZSTD(1)),
    flags UInt32 CODEC(T64, ZSTD(1)),
    retention_days UInt16 CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY (toDate(ts, 'UTC'), retention_days)
ORDER BY (tenant, metric, toStartOfHour(ts), fingerprint, ts)
TTL toDateTime(ts) + toIntervalDay(retention_days)
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS summaries
(
    tenant LowCardinality(String),
    metric LowCardinality(String) CODEC(ZSTD(1)),
    fingerprint UInt64 CODEC(Delta(8), ZSTD(1)),
    ts DateTime64(3) CODEC(DoubleDelta, ZSTD(1)),
    start_ts DateTime64(3) CODEC(DoubleDelta, ZSTD(1)),
    count UInt64 CODEC(Delta(8), ZSTD(1)),
    sum Float64 CODEC(Gorilla, ZSTD(1)),
    quantiles Array(Float64) CODEC(ZSTD(1)),
    values Array(Float64) CODEC(ZSTD(1)),
    flags UInt32 CODEC(T64, ZSTD(1)),
    retention_days UInt16 CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY (toDate(ts, 'UTC'), retention_days)
ORDER BY (tenant, metric, toStartOfHour(ts), fingerprint, ts)
TTL toDateTime(ts) + toIntervalDay(retention_days)
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS exemplars
(
    tenant LowCardinality(String),
    metric LowCardinality(String) CODEC(ZSTD(1)),
    fingerprint UInt64 CODEC(Delta(8), ZSTD(1)),
    ts DateTime64(3) CODEC(DoubleDelta, ZSTD(1)),
    value Float64 CODEC(Gorilla, ZSTD(1)),
    trace_id FixedString(16) CODEC(ZSTD(1)),
    span_id FixedString(8) CODEC(ZSTD(1)),
    attributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    retention_days UInt16 CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY (toDate(ts, 'UTC'), retention_days)
ORDER BY (tenant, metric, toStartOfHour(ts), fingerprint, ts)
TTL toDateTime(ts) + toIntervalDay(retention_days)
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE OR REPLACE VIEW otel_logs AS
SELECT
    ts AS Timestamp,
    toDateTime(ts) AS TimestampTime,
    if(empty(trace_id), '', lower(hex(trace_id))) AS TraceId,
    if(empty(span_id), '', lower(hex(span_id))) AS SpanId,
    toUInt8(bitAnd(flags, 255)) AS TraceFlags,
    severity_text AS SeverityText,
    severity_number AS SeverityNumber,
    service AS ServiceName,
    body AS Body,
    resource_schema_url AS ResourceSchemaUrl,
    resource AS ResourceAttributes,
    scope_schema_url AS ScopeSchemaUrl,
    CAST(scope_name, 'String') AS ScopeName,
    CAST(scope_version, 'String') AS ScopeVersion,
    scope_attributes AS ScopeAttributes,
    attributes AS LogAttributes,
    CAST(event_name, 'String') AS EventName,
    tenant
FROM logs;

CREATE OR REPLACE VIEW otel_metrics_exponential_histogram AS
SELECT
    CAST(s.resource, 'Map(LowCardinality(String), String)') AS ResourceAttributes,
    '' AS ResourceSchemaUrl,
    CAST(s.scope_name, 'String') AS ScopeName,
    CAST(s.scope_version, 'String') AS ScopeVersion,
    CAST(map(), 'Map(LowCardinality(String), String)') AS ScopeAttributes,
    toUInt32(0) AS ScopeDroppedAttrCount,
    '' AS ScopeSchemaUrl,
    CAST(s.resource['service.name'], 'LowCardinality(String)') AS ServiceName,
    CAST(if(s.otel_name = '', toString(h.metric), toString(s.otel_name)), 'String') AS MetricName,
    CAST(s.description, 'String') AS MetricDescription,
    CAST(s.unit, 'String') AS MetricUnit,
    CAST(s.labels, 'Map(LowCardinality(String), String)') AS Attributes,
    CAST(h.start_ts, 'DateTime64(9)') AS StartTimeUnix,
    CAST(h.ts, 'DateTime64(9)') AS TimeUnix,
    toUInt64(h.count) AS Count,
    h.sum AS Sum,
    h.scale AS Scale,
    toUInt64(h.zero_count) AS ZeroCount,
    h.positive_offset AS PositiveOffset,
    arrayMap(x -> toUInt64(x), h.positive_counts) AS PositiveBucketCounts,
    h.negative_offset AS NegativeOffset,
    arrayMap(x -> toUInt64(x), h.negative_counts) AS NegativeBucketCounts,
    CAST([], 'Array(Map(LowCardinality(String), String))') AS `Exemplars.FilteredAttributes`,
    CAST([], 'Array(DateTime64(9))') AS `Exemplars.TimeUnix`,
    CAST([], 'Array(Float64)') AS `Exemplars.Value`,
    CAST([], 'Array(String)') AS `Exemplars.SpanId`,
    CAST([], 'Array(String)') AS `Exemplars.TraceId`,
    h.flags AS Flags,
    if(isNaN(h.min), 0, h.min) AS Min,
    if(isNaN(h.max), 0, h.max) AS Max,
    h.zero_threshold AS ZeroThreshold,
    toInt32(s.temporality) AS AggregationTemporality,
    h.tenant AS tenant
FROM exp_histograms AS h
INNER JOIN
(
    SELECT tenant, metric, fingerprint, anyLast(temporality) AS temporality, anyLast(otel_name) AS otel_name, anyLast(unit) AS unit,
        anyLast(description) AS description, any(labels) AS labels, anyLast(resource) AS resource,
        anyLast(scope_name) AS scope_name, anyLast(scope_version) AS scope_version
    FROM series
    GROUP BY tenant, metric, fingerprint
) AS s ON h.tenant = s.tenant AND h.metric = s.metric AND h.fingerprint = s.fingerprint;

CREATE OR REPLACE VIEW otel_metrics_summary AS
SELECT
    CAST(s.resource, 'Map(LowCardinality(String), String)') AS ResourceAttributes,
    '' AS ResourceSchemaUrl,
    CAST(s.scope_name, 'String') AS ScopeName,
    CAST(s.scope_version, 'String') AS ScopeVersion,
    CAST(map(), 'Map(LowCardinality(String), String)') AS ScopeAttributes,
    toUInt32(0) AS ScopeDroppedAttrCount,
    '' AS ScopeSchemaUrl,
    CAST(s.resource['service.name'], 'LowCardinality(String)') AS ServiceName,
    CAST(if(s.otel_name = '', toString(h.metric), toString(s.otel_name)), 'String') AS MetricName,
    CAST(s.description, 'String') AS MetricDescription,
    CAST(s.unit, 'String') AS MetricUnit,
    CAST(s.labels, 'Map(LowCardinality(String), String)') AS Attributes,
    CAST(h.start_ts, 'DateTime64(9)') AS StartTimeUnix,
    CAST(h.ts, 'DateTime64(9)') AS TimeUnix,
    h.count AS Count,
    h.sum AS Sum,
    h.quantiles AS `ValueAtQuantiles.Quantile`,
    h.values AS `ValueAtQuantiles.Value`,
    h.flags AS Flags,
    h.tenant AS tenant
FROM summaries AS h
INNER JOIN
(
    SELECT tenant, metric, fingerprint, anyLast(otel_name) AS otel_name, anyLast(unit) AS unit,
        anyLast(description) AS description, any(labels) AS labels, anyLast(resource) AS resource,
        anyLast(scope_name) AS scope_name, anyLast(scope_version) AS scope_version
    FROM series
    GROUP BY tenant, metric, fingerprint
) AS s ON h.tenant = s.tenant AND h.metric = s.metric AND h.fingerprint = s.fingerprint;
