-- Records, journal, work rows, leases. Times are microseconds since the epoch, JSON is text. One text for SQLite and PostgreSQL; on
-- PostgreSQL every TEXT column gets COLLATE "C", so that ids have one order (that of their bytes) everywhere.
CREATE TABLE record (
  kind TEXT NOT NULL,
  tenant TEXT NOT NULL,
  id TEXT NOT NULL,
  key TEXT,
  status TEXT NOT NULL,
  version BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  body TEXT NOT NULL,
  PRIMARY KEY (kind, tenant, id)
);
CREATE UNIQUE INDEX record_key ON record (kind, tenant, key) WHERE key IS NOT NULL;
CREATE INDEX record_status ON record (kind, status, id);
CREATE INDEX record_newest ON record (kind, id);

CREATE TABLE journal (
  seq BIGINT NOT NULL PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  tenant TEXT NOT NULL,
  at BIGINT NOT NULL,
  actor TEXT NOT NULL,
  alert TEXT,
  incident TEXT,
  kind TEXT NOT NULL,
  body TEXT NOT NULL
);
CREATE INDEX journal_alert ON journal (alert, seq) WHERE alert IS NOT NULL;
CREATE INDEX journal_incident ON journal (incident, seq) WHERE incident IS NOT NULL;

-- `lease` counts the claims; the row is held while `lease_until` is not null.
CREATE TABLE work (
  id TEXT NOT NULL PRIMARY KEY,
  tenant TEXT NOT NULL,
  queue TEXT NOT NULL,
  key TEXT NOT NULL,
  lane BIGINT NOT NULL,
  subject_alert TEXT,
  subject_incident TEXT,
  state TEXT NOT NULL,
  due_at BIGINT NOT NULL,
  attempts BIGINT NOT NULL,
  body TEXT NOT NULL,
  progress TEXT,
  error TEXT,
  created_at BIGINT NOT NULL,
  lease BIGINT NOT NULL,
  lease_until BIGINT,
  finished_at BIGINT
);
CREATE UNIQUE INDEX work_key ON work (tenant, queue, key);
CREATE INDEX work_due ON work (queue, state, due_at);
CREATE INDEX work_finished ON work (finished_at) WHERE finished_at IS NOT NULL;

-- The row stays when a lease is given back, so that its token only rises; nobody holds it while `holder` is null.
CREATE TABLE lease (
  name TEXT NOT NULL PRIMARY KEY,
  holder TEXT,
  token BIGINT NOT NULL,
  until BIGINT NOT NULL
);
