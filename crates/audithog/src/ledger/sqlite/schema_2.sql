-- Schema 2: what another process, or whoever finds the file later, must be able to see.

-- What the process that drives a sink last said of it. Null: no driver has said anything yet.
ALTER TABLE audit_sinks ADD COLUMN state_ts INTEGER;          -- as of then
ALTER TABLE audit_sinks ADD COLUMN last_success_ts INTEGER;   -- the sink last took a row
ALTER TABLE audit_sinks ADD COLUMN breaker TEXT;              -- closed, failing, open
ALTER TABLE audit_sinks ADD COLUMN breaker_since_ts INTEGER;
ALTER TABLE audit_sinks ADD COLUMN hold TEXT;                 -- why nothing is sent until somebody acts
ALTER TABLE audit_sinks ADD COLUMN hold_since_ts INTEGER;
ALTER TABLE audit_sinks ADD COLUMN hold_detail TEXT;          -- what the server said
ALTER TABLE audit_sinks ADD COLUMN hold_remedy TEXT;          -- what to do
ALTER TABLE audit_sinks ADD COLUMN last_error TEXT;
ALTER TABLE audit_sinks ADD COLUMN last_error_ts INTEGER;

-- The run's own counts, as of books_ts; and why it could not write, the last time, until trouble_ts.
ALTER TABLE audit_runs ADD COLUMN books_ts INTEGER;
ALTER TABLE audit_runs ADD COLUMN books_json TEXT;
ALTER TABLE audit_runs ADD COLUMN trouble TEXT;
ALTER TABLE audit_runs ADD COLUMN trouble_ts INTEGER;

-- When rows were last lost for this reason.
ALTER TABLE audit_losses ADD COLUMN last_ts INTEGER;

-- How long the oldest straggler has waited, without reading them all.
CREATE INDEX audit_stragglers_since ON audit_stragglers(sink, since_ts);

-- When the sink gave the row up; and who said, when, that nothing more has to be done about it.
ALTER TABLE audit_dead_letters ADD COLUMN refused_ts INTEGER;
ALTER TABLE audit_dead_letters ADD COLUMN dismissed_ts INTEGER;
ALTER TABLE audit_dead_letters ADD COLUMN dismissed_by TEXT;
-- How many of the sink's dead letters were dismissed, also those that went with their rows.
ALTER TABLE audit_sinks ADD COLUMN dismissed INTEGER NOT NULL DEFAULT 0;
