-- Compatibility views: the tables of the OpenTelemetry Collector's ClickHouse exporter by name, column and type, so that Grafana's
-- ClickHouse plugin and HyperDX read Watchfire unchanged. Each has the column `tenant` on top; ids are lower-case hex and empty where
-- absent. Filters on Timestamp, TimestampTime, TimeUnix, ServiceName and TraceId reach the keys and indexes of the tables below (a test asks
-- EXPLAIN): the index idx_trace_text stands on the very expression that makes TraceId here.

CREATE OR REPLACE VIEW otel_traces AS
SELECT
    ts AS Timestamp,
    if(empty(trace_id), '', lower(hex(trace_id))) AS TraceId,
    if(empty(span_id), '', lower(hex(span_id))) AS SpanId,
    if(empty(parent_span_id), '', lower(hex(parent_span_id))) AS ParentSpanId,
    trace_state AS TraceState,
    name AS SpanName,
    CAST(transform(toString(kind), ['UNSPECIFIED', 'INTERNAL', 'SERVER', 'CLIENT', 'PRODUCER', 'CONSUMER'], ['Unspecified', 'Internal', 'Server', 'Client', 'Producer', 'Consumer'], ''), 'LowCardinality(String)') AS SpanKind,
    service AS ServiceName,
    resource AS ResourceAttributes,
    CAST(scope_name, 'String') AS ScopeName,
    CAST(scope_version, 'String') AS ScopeVersion,
    attributes AS SpanAttributes,
    duration AS Duration,
    CAST(transform(toString(status), ['UNSET', 'OK', 'ERROR'], ['Unset', 'Ok', 'Error'], ''), 'LowCardinality(String)') AS StatusCode,
    status_message AS StatusMessage,
    event_ts AS `Events.Timestamp`,
    event_name AS `Events.Name`,
    event_attributes AS `Events.Attributes`,
    arrayMap(x -> lower(hex(x)), link_trace_id) AS `Links.TraceId`,
    arrayMap(x -> lower(hex(x)), link_span_id) AS `Links.SpanId`,
    link_trace_state AS `Links.TraceState`,
    link_attributes AS `Links.Attributes`,
    tenant
FROM spans;

CREATE OR REPLACE VIEW otel_traces_trace_id_ts AS
SELECT
    lower(hex(trace_id)) AS TraceId,
    toDateTime(min(start)) AS Start,
    toDateTime(max(end)) AS End,
    tenant
FROM trace_index
GROUP BY tenant, trace_id;

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
    CAST('', 'LowCardinality(String)') AS ResourceSchemaUrl,
    resource AS ResourceAttributes,
    CAST('', 'LowCardinality(String)') AS ScopeSchemaUrl,
    CAST(scope_name, 'String') AS ScopeName,
    CAST(scope_version, 'String') AS ScopeVersion,
    CAST(map(), 'Map(LowCardinality(String), String)') AS ScopeAttributes,
    attributes AS LogAttributes,
    CAST(event_name, 'String') AS EventName,
    tenant
FROM logs;

CREATE OR REPLACE VIEW otel_metrics_gauge AS
SELECT
    CAST(s.resource, 'Map(LowCardinality(String), String)') AS ResourceAttributes,
    '' AS ResourceSchemaUrl,
    CAST(s.scope_name, 'String') AS ScopeName,
    CAST(s.scope_version, 'String') AS ScopeVersion,
    CAST(map(), 'Map(LowCardinality(String), String)') AS ScopeAttributes,
    toUInt32(0) AS ScopeDroppedAttrCount,
    '' AS ScopeSchemaUrl,
    CAST(s.resource['service.name'], 'LowCardinality(String)') AS ServiceName,
    CAST(if(s.otel_name = '', toString(p.metric), toString(s.otel_name)), 'String') AS MetricName,
    CAST(s.description, 'String') AS MetricDescription,
    CAST(s.unit, 'String') AS MetricUnit,
    CAST(s.labels, 'Map(LowCardinality(String), String)') AS Attributes,
    CAST(p.start_ts, 'DateTime64(9)') AS StartTimeUnix,
    CAST(p.ts, 'DateTime64(9)') AS TimeUnix,
    p.value AS Value,
    p.flags AS Flags,
    CAST([], 'Array(Map(LowCardinality(String), String))') AS `Exemplars.FilteredAttributes`,
    CAST([], 'Array(DateTime64(9))') AS `Exemplars.TimeUnix`,
    CAST([], 'Array(Float64)') AS `Exemplars.Value`,
    CAST([], 'Array(String)') AS `Exemplars.SpanId`,
    CAST([], 'Array(String)') AS `Exemplars.TraceId`,
    p.tenant AS tenant
FROM points AS p
INNER JOIN
(
    SELECT tenant, metric, fingerprint, anyLast(kind) AS kind, anyLast(otel_name) AS otel_name, anyLast(unit) AS unit,
        anyLast(description) AS description, any(labels) AS labels, anyLast(resource) AS resource,
        anyLast(scope_name) AS scope_name, anyLast(scope_version) AS scope_version
    FROM series
    GROUP BY tenant, metric, fingerprint
    HAVING kind IN ('gauge', 'untyped')
) AS s ON p.tenant = s.tenant AND p.metric = s.metric AND p.fingerprint = s.fingerprint;

CREATE OR REPLACE VIEW otel_metrics_sum AS
SELECT
    CAST(s.resource, 'Map(LowCardinality(String), String)') AS ResourceAttributes,
    '' AS ResourceSchemaUrl,
    CAST(s.scope_name, 'String') AS ScopeName,
    CAST(s.scope_version, 'String') AS ScopeVersion,
    CAST(map(), 'Map(LowCardinality(String), String)') AS ScopeAttributes,
    toUInt32(0) AS ScopeDroppedAttrCount,
    '' AS ScopeSchemaUrl,
    CAST(s.resource['service.name'], 'LowCardinality(String)') AS ServiceName,
    CAST(if(s.otel_name = '', toString(p.metric), toString(s.otel_name)), 'String') AS MetricName,
    CAST(s.description, 'String') AS MetricDescription,
    CAST(s.unit, 'String') AS MetricUnit,
    CAST(s.labels, 'Map(LowCardinality(String), String)') AS Attributes,
    CAST(p.start_ts, 'DateTime64(9)') AS StartTimeUnix,
    CAST(p.ts, 'DateTime64(9)') AS TimeUnix,
    p.value AS Value,
    p.flags AS Flags,
    CAST([], 'Array(Map(LowCardinality(String), String))') AS `Exemplars.FilteredAttributes`,
    CAST([], 'Array(DateTime64(9))') AS `Exemplars.TimeUnix`,
    CAST([], 'Array(Float64)') AS `Exemplars.Value`,
    CAST([], 'Array(String)') AS `Exemplars.SpanId`,
    CAST([], 'Array(String)') AS `Exemplars.TraceId`,
    toInt32(s.temporality) AS AggregationTemporality,
    CAST(s.monotonic, 'Bool') AS IsMonotonic,
    p.tenant AS tenant
FROM points AS p
INNER JOIN
(
    SELECT tenant, metric, fingerprint, anyLast(kind) AS kind, anyLast(temporality) AS temporality, anyLast(monotonic) AS monotonic,
        anyLast(otel_name) AS otel_name, anyLast(unit) AS unit, anyLast(description) AS description, any(labels) AS labels,
        anyLast(resource) AS resource, anyLast(scope_name) AS scope_name, anyLast(scope_version) AS scope_version
    FROM series
    GROUP BY tenant, metric, fingerprint
    HAVING kind = 'sum'
) AS s ON p.tenant = s.tenant AND p.metric = s.metric AND p.fingerprint = s.fingerprint;

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
FROM histograms AS h
INNER JOIN
(
    SELECT tenant, metric, fingerprint, anyLast(temporality) AS temporality, anyLast(otel_name) AS otel_name, anyLast(unit) AS unit,
        anyLast(description) AS description, any(labels) AS labels, anyLast(resource) AS resource,
        anyLast(scope_name) AS scope_name, anyLast(scope_version) AS scope_version
    FROM series
    GROUP BY tenant, metric, fingerprint
) AS s ON h.tenant = s.tenant AND h.metric = s.metric AND h.fingerprint = s.fingerprint;
