-- Records, journal, work rows, leases. Times are microseconds since the epoch, JSON is text. One text for SQLite and PostgreSQL.
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
CREATE UNIQUE INDEX record_key ON record (kind, tenant, key);
CREATE INDEX record_status ON record (kind, status, id);

CREATE TABLE journal (
  seq BIGINT NOT NULL PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  tenant TEXT NOT NULL,
  at BIGINT NOT NULL,
  kind TEXT NOT NULL,
  alert TEXT,
  incident TEXT,
  body TEXT NOT NULL
);
CREATE INDEX journal_alert ON journal (alert, seq);
CREATE INDEX journal_incident ON journal (incident, seq);

CREATE TABLE work (
  id TEXT NOT NULL PRIMARY KEY,
  tenant TEXT NOT NULL,
  queue TEXT NOT NULL,
  key TEXT NOT NULL,
  lane BIGINT NOT NULL,
  subject TEXT NOT NULL,
  state TEXT NOT NULL,
  due_at BIGINT NOT NULL,
  attempts BIGINT NOT NULL,
  body TEXT NOT NULL,
  progress TEXT,
  error TEXT,
  created_at BIGINT NOT NULL,
  lease BIGINT NOT NULL,
  lease_until BIGINT NOT NULL,
  finished_at BIGINT
);
CREATE UNIQUE INDEX work_key ON work (tenant, queue, key);
CREATE INDEX work_due ON work (queue, state, lane, due_at);

CREATE TABLE lease (
  name TEXT NOT NULL PRIMARY KEY,
  holder TEXT NOT NULL,
  token BIGINT NOT NULL,
  until BIGINT NOT NULL
);
