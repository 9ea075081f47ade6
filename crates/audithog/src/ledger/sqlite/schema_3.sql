-- Schema 3: what questions read instead of every row.

-- Rows by column, a stretch of 32,768 rows at a time: derived from audit_rows, which alone is the log. See digest/mod.rs.
CREATE TABLE audit_digests(
  piece INTEGER PRIMARY KEY,   -- (first seq of the stretch - 1) / 32768 * 32 + column
  data BLOB NOT NULL
) STRICT;
CREATE TRIGGER audit_digests_update BEFORE UPDATE ON audit_digests
BEGIN SELECT RAISE(ABORT, 'audit_digests is derived from rows that never change'); END;

-- Stretches of rows that were compared with a sink: of these it has every one that it is to have. Nothing else depends on them.
CREATE TABLE audit_verified(
  sink TEXT NOT NULL,
  first_seq INTEGER NOT NULL,
  last_seq INTEGER NOT NULL,
  verified_ts INTEGER NOT NULL, -- when the last part of it was compared
  PRIMARY KEY (sink, first_seq)
) STRICT, WITHOUT ROWID;
