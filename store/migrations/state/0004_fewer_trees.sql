-- What an alert writes touches fewer pages: each is a part of the log's sync, and of the work of carrying it over.

-- Claims are taken back once per start: they are among what is pending, which has an index.
DROP INDEX work_holder;

-- What has no status is not found by one: groups of alerts, whose ids have no order.
DROP INDEX record_status;
CREATE INDEX record_status ON record (kind, status, id) WHERE status <> '';
