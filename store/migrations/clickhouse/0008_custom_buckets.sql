-- Native histograms with custom buckets (Prometheus's schema -53): their upper bounds. The column is added at the end, in the order of
-- model::tables, so that blocks of an older write-ahead log still fit.

ALTER TABLE exp_histograms
    ADD COLUMN IF NOT EXISTS custom_bounds Array(Float64) CODEC(ZSTD(1)) AFTER retention_days;

-- To OpenTelemetry they are explicit histograms, with whole counts.
CREATE OR REPLACE VIEW otel_metrics_histogram AS
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
    h.counts AS BucketCounts,
    h.bounds AS ExplicitBounds,
    CAST([], 'Array(Map(LowCardinality(String), String))') AS `Exemplars.FilteredAttributes`,
    CAST([], 'Array(DateTime64(9))') AS `Exemplars.TimeUnix`,
    CAST([], 'Array(Float64)') AS `Exemplars.Value`,
    CAST([], 'Array(String)') AS `Exemplars.SpanId`,
    CAST([], 'Array(String)') AS `Exemplars.TraceId`,
    h.flags AS Flags,
    if(isNaN(h.min), 0, h.min) AS Min,
    if(isNaN(h.max), 0, h.max) AS Max,
    toInt32(s.temporality) AS AggregationTemporality,
    h.tenant AS tenant
FROM
(
    SELECT tenant, metric, fingerprint, ts, start_ts, count, sum, min, max, bounds, counts, flags
    FROM histograms
    UNION ALL
    SELECT tenant, metric, fingerprint, ts, start_ts, toUInt64(count), sum, min, max, custom_bounds, arrayMap(x -> toUInt64(x), positive_counts), flags
    FROM exp_histograms
    WHERE scale = -53
) AS h
INNER JOIN
(
    SELECT tenant, metric, fingerprint, anyLast(temporality) AS temporality, anyLast(otel_name) AS otel_name, anyLast(unit) AS unit,
        anyLast(description) AS description, any(labels) AS labels, anyLast(resource) AS resource,
        anyLast(scope_name) AS scope_name, anyLast(scope_version) AS scope_version
    FROM series
    GROUP BY tenant, metric, fingerprint
) AS s ON h.tenant = s.tenant AND h.metric = s.metric AND h.fingerprint = s.fingerprint;

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
) AS s ON h.tenant = s.tenant AND h.metric = s.metric AND h.fingerprint = s.fingerprint
WHERE h.scale != -53;
