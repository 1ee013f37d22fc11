-- The rest of OTLP's dropped counts: attributes that are left out of each event, each link, the resource and the scope.
-- Columns are added at the end, in the order of model::tables, so that blocks of an older write-ahead log still fit.

ALTER TABLE spans
    ADD COLUMN IF NOT EXISTS event_dropped_attributes Array(UInt32) CODEC(ZSTD(1)) AFTER dropped_links,
    ADD COLUMN IF NOT EXISTS link_dropped_attributes Array(UInt32) CODEC(ZSTD(1)) AFTER event_dropped_attributes,
    ADD COLUMN IF NOT EXISTS resource_dropped_attributes UInt32 CODEC(T64, ZSTD(1)) AFTER link_dropped_attributes,
    ADD COLUMN IF NOT EXISTS scope_dropped_attributes UInt32 CODEC(T64, ZSTD(1)) AFTER resource_dropped_attributes;

ALTER TABLE logs
    ADD COLUMN IF NOT EXISTS resource_dropped_attributes UInt32 CODEC(T64, ZSTD(1)) AFTER sample_rate,
    ADD COLUMN IF NOT EXISTS scope_dropped_attributes UInt32 CODEC(T64, ZSTD(1)) AFTER resource_dropped_attributes;

ALTER TABLE series
    ADD COLUMN IF NOT EXISTS resource_dropped_attributes SimpleAggregateFunction(max, UInt32) CODEC(ZSTD(1)) AFTER last_seen,
    ADD COLUMN IF NOT EXISTS scope_dropped_attributes SimpleAggregateFunction(max, UInt32) CODEC(ZSTD(1)) AFTER resource_dropped_attributes;
