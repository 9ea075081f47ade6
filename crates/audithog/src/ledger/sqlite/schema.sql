-- One row per process run: what is constant for all its rows, and whether it still lives.
CREATE TABLE audit_runs(
  run INTEGER PRIMARY KEY,
  service TEXT NOT NULL,
  environment TEXT,
  version TEXT,
  instance TEXT,
  host_boot TEXT,              -- boot id, process namespace, process id and its start time:
  pid_space TEXT,              -- together they name one process of one host
  pid INTEGER NOT NULL,
  pid_started INTEGER,
  queue_capacity INTEGER NOT NULL,
  settings_json TEXT NOT NULL,
  started_ts INTEGER NOT NULL, -- all times: microseconds since 1970, UTC
  alive_ts INTEGER NOT NULL,
  signs INTEGER NOT NULL DEFAULT 0, -- signs of life so far: each writes something, as an fsync needs
  ended_ts INTEGER,
  unclean INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX audit_runs_open ON audit_runs(run) WHERE ended_ts IS NULL;

-- The end of the sequence, the pruning mark, and the requests seen. Exactly one row.
CREATE TABLE audit_head(
  one INTEGER PRIMARY KEY CHECK (one = 1),
  head INTEGER NOT NULL,
  pruned INTEGER NOT NULL,
  requests INTEGER NOT NULL
) STRICT;
INSERT INTO audit_head VALUES (1, 0, 0, 0);

-- Texts that repeat. A column of audit_rows that holds an integer where text is expected means this.
CREATE TABLE audit_names(
  name INTEGER PRIMARY KEY,
  text TEXT NOT NULL UNIQUE
) STRICT;

-- The audit log, compact. Read it through the view audit_logs.
CREATE TABLE audit_rows(
  seq INTEGER PRIMARY KEY,
  run INTEGER NOT NULL,
  flags INTEGER NOT NULL,      -- 1 http, 2 failure, 4 request_id = id, 8 trusted trace, 16 caller's id, 32 path = route
  id BLOB NOT NULL,
  ts INTEGER NOT NULL,
  event ANY NOT NULL,
  request_id ANY,              -- BLOB: a UUID, TEXT: adopted as it came
  user_id ANY,                 -- here and below BLOB: a UUID
  user_role ANY,
  org_id ANY,
  actor_type INTEGER,
  method ANY,
  path TEXT,
  route ANY,
  status_code INTEGER,
  error_code ANY,
  duration_us INTEGER,
  user_agent ANY,
  ip ANY,                      -- INTEGER: IPv4 as 32 bits, TEXT: IPv6
  trace_id BLOB,
  upstream_request_id ANY,
  on_behalf_of ANY,
  distinct_id ANY,
  properties TEXT
) STRICT;

-- The times of about a thousand rows each, for look-ups by time: commit order is not time order.
CREATE TABLE audit_blocks(
  first_seq INTEGER PRIMARY KEY,
  last_seq INTEGER NOT NULL,
  min_ts INTEGER NOT NULL,
  max_ts INTEGER NOT NULL,
  high_ts INTEGER NOT NULL     -- largest of this and all blocks before; a time in the future counts as the commit's
) STRICT;

-- Ids that callers supplied, each accepted once while its row is kept.
CREATE TABLE audit_ids(
  id BLOB PRIMARY KEY,
  seq INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Rows that could not be kept, by reason.
CREATE TABLE audit_losses(
  reason TEXT PRIMARY KEY,
  rows INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- head - began = delivered + sampled_out + held_back + dead + (head - cursor + stragglers)
CREATE TABLE audit_sinks(
  sink TEXT PRIMARY KEY,
  began INTEGER NOT NULL,
  cursor INTEGER NOT NULL,
  delivered INTEGER NOT NULL DEFAULT 0,
  sampled_out INTEGER NOT NULL DEFAULT 0,
  held_back INTEGER NOT NULL DEFAULT 0,
  dead INTEGER NOT NULL DEFAULT 0,
  stragglers INTEGER NOT NULL DEFAULT 0,
  verified_ts INTEGER,
  lease_holder TEXT,
  lease_until INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE audit_stragglers(
  sink TEXT NOT NULL,
  seq INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  since_ts INTEGER NOT NULL,
  next_ts INTEGER NOT NULL,
  reason TEXT NOT NULL,
  PRIMARY KEY (sink, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX audit_stragglers_next ON audit_stragglers(sink, next_ts);

CREATE TABLE audit_dead_letters(
  sink TEXT NOT NULL,
  seq INTEGER NOT NULL,
  ts INTEGER NOT NULL,
  reason TEXT NOT NULL,
  PRIMARY KEY (sink, seq)
) STRICT, WITHOUT ROWID;

-- The triggers stop accidents. Whoever may write the file can also drop them. The writer appends without them.
CREATE TRIGGER audit_rows_insert BEFORE INSERT ON audit_rows
BEGIN SELECT RAISE(ABORT, 'audit_rows is append-only: only the service itself appends'); END;
CREATE TRIGGER audit_rows_update BEFORE UPDATE ON audit_rows
BEGIN SELECT RAISE(ABORT, 'audit_rows is append-only: rows are never changed'); END;
CREATE TRIGGER audit_rows_delete BEFORE DELETE ON audit_rows
WHEN OLD.seq > (SELECT pruned FROM audit_head)
BEGIN SELECT RAISE(ABORT, 'audit_rows is append-only: only retention removes rows'); END;
CREATE TRIGGER audit_head_update BEFORE UPDATE ON audit_head
WHEN NEW.one <> 1 OR NEW.head < OLD.head OR NEW.pruned < OLD.pruned OR NEW.pruned > NEW.head
BEGIN SELECT RAISE(ABORT, 'audit_head only moves forward'); END;
CREATE TRIGGER audit_head_insert BEFORE INSERT ON audit_head
BEGIN SELECT RAISE(ABORT, 'audit_head has one row'); END;
CREATE TRIGGER audit_head_delete BEFORE DELETE ON audit_head
BEGIN SELECT RAISE(ABORT, 'audit_head has one row'); END;
CREATE TRIGGER audit_names_update BEFORE UPDATE ON audit_names
BEGIN SELECT RAISE(ABORT, 'audit_names is append-only: rows refer to it'); END;
CREATE TRIGGER audit_names_delete BEFORE DELETE ON audit_names
BEGIN SELECT RAISE(ABORT, 'audit_names is append-only: rows refer to it'); END;
CREATE TRIGGER audit_runs_update
BEFORE UPDATE OF run, service, environment, version, instance, settings_json, started_ts ON audit_runs
BEGIN SELECT RAISE(ABORT, 'audit_runs is append-only: rows refer to it'); END;
CREATE TRIGGER audit_runs_delete BEFORE DELETE ON audit_runs
BEGIN SELECT RAISE(ABORT, 'audit_runs is append-only: rows refer to it'); END;
