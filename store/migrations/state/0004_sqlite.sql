-- An event's number is SQLite's number of the row: one tree instead of two for each event.
CREATE TABLE journal_by_row (
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  tenant TEXT NOT NULL,
  at BIGINT NOT NULL,
  actor TEXT NOT NULL,
  alert TEXT,
  incident TEXT,
  kind TEXT NOT NULL,
  body TEXT NOT NULL
);
INSERT INTO journal_by_row SELECT seq, id, tenant, at, actor, alert, incident, kind, body FROM journal ORDER BY seq;
DROP TABLE journal;
ALTER TABLE journal_by_row RENAME TO journal;
CREATE INDEX journal_alert ON journal (alert, seq) WHERE alert IS NOT NULL;
CREATE INDEX journal_incident ON journal (incident, seq) WHERE incident IS NOT NULL;
