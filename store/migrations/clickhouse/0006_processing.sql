-- Processing: how many records a stored log record stands for, and templates of log records.

ALTER TABLE logs
    ADD COLUMN IF NOT EXISTS sample_rate UInt32 DEFAULT 1 CODEC(T64, ZSTD(1)) AFTER scope_schema_url;

-- Rows are counts of one request each; a template's counts add up over rows.
CREATE TABLE IF NOT EXISTS patterns
(
    tenant LowCardinality(String),
    service LowCardinality(String) CODEC(ZSTD(1)),
    pattern_id UInt64 CODEC(ZSTD(1)),
    severity_number UInt8 CODEC(ZSTD(1)),
    first_ts DateTime64(9) CODEC(Delta(8), ZSTD(1)),
    last_ts DateTime64(9) CODEC(Delta(8), ZSTD(1)),
    received DateTime64(3) CODEC(Delta(8), ZSTD(1)),
    count UInt64 CODEC(T64, ZSTD(1)),
    template String CODEC(ZSTD(1)),
    sample String CODEC(ZSTD(1)),
    retention_days UInt16 CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY (toDate(last_ts, 'UTC'), retention_days)
ORDER BY (tenant, service, pattern_id, toStartOfHour(last_ts), severity_number)
TTL toDateTime(last_ts) + toIntervalDay(retention_days)
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1,
    min_bytes_for_wide_part = 134217728, merge_selector_base = 8;
