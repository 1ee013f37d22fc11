-- What was stored of which kind of error, in the order in which it was stored: whoever keeps issues follows this small table, however
-- large the table of events is and however late an event came. One row for each insert, kind, service and release. `id` is drawn once;
-- a replayed insert is dropped with its rows here. Counts are never taken from here: an event that is sent again is here twice. Frames
-- are taken by index, because a function over arrays of unlike length would refuse the insert.
CREATE TABLE IF NOT EXISTS error_arrivals
(
    id UInt64 CODEC(NONE),
    stored DateTime64(3) CODEC(Delta(8), ZSTD(1)),
    tenant LowCardinality(String),
    fingerprint UInt64 CODEC(ZSTD(1)),
    service LowCardinality(String),
    release_name LowCardinality(String),
    first_ts DateTime64(9) CODEC(ZSTD(1)),
    last_ts DateTime64(9) CODEC(ZSTD(1)),
    events UInt64 CODEC(T64, ZSTD(1)),
    kind LowCardinality(String),
    message String CODEC(ZSTD(1)),
    title String CODEC(ZSTD(1)),
    grouped_by String CODEC(ZSTD(1)),
    calls Array(String) CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toDate(stored, 'UTC')
ORDER BY (stored, id)
TTL toDateTime(stored) + toIntervalDay(30)
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS error_arrivals_mv TO error_arrivals AS
SELECT
    rand64() AS id,
    now64(3) AS stored,
    tenant,
    fingerprint,
    project AS service,
    release AS release_name,
    min(ts) AS first_ts,
    max(ts) AS last_ts,
    count() AS events,
    argMax(type, ts) AS kind,
    argMax(normalized, ts) AS message,
    argMax(tags['watchfire.title'], ts) AS title,
    argMax(tags['watchfire.grouped_by'], ts) AS grouped_by,
    argMax(arraySlice(arrayCompact(arrayMap(
        at -> if(empty(frames_file[at]), frames_function[at], concat(frames_function[at], ' (', frames_file[at], ')')),
        arrayFilter(at -> frames_in_app[at] != 0 OR NOT has(frames_in_app, 1), arrayEnumerate(frames_function)))), 1, 5), ts) AS calls
FROM error_events
GROUP BY tenant, fingerprint, project, release;

-- What was stored before there was this table. Run again it only adds hints.
INSERT INTO error_arrivals (id, stored, tenant, fingerprint, service, release_name, first_ts, last_ts, events, kind, message, title, grouped_by, calls)
SELECT
    rand64(),
    now64(3),
    tenant,
    fingerprint,
    project,
    release,
    min(ts),
    max(ts),
    count(),
    argMax(type, ts),
    argMax(normalized, ts),
    argMax(tags['watchfire.title'], ts),
    argMax(tags['watchfire.grouped_by'], ts),
    argMax(arraySlice(arrayCompact(arrayMap(
        at -> if(empty(frames_file[at]), frames_function[at], concat(frames_function[at], ' (', frames_file[at], ')')),
        arrayFilter(at -> frames_in_app[at] != 0 OR NOT has(frames_in_app, 1), arrayEnumerate(frames_function)))), 1, 5), ts)
FROM error_events
GROUP BY tenant, fingerprint, project, release;
