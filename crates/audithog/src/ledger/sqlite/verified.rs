//! Which rows were compared with what a sink has. Notes for people: no counter depends on them, and they are written from outside of the service.

#[cfg(feature = "posthog")]
mod note;

use rusqlite::Connection;

#[cfg(feature = "posthog")]
pub(crate) use note::{Compared, verify};

/// How many of the rows that are left were compared.
pub(super) fn rows(connection: &Connection, name: &str) -> rusqlite::Result<i64> {
    connection
        .prepare_cached(
            "SELECT coalesce(sum(last_seq - max(first_seq - 1, pruned)), 0) FROM audit_verified, audit_head
             WHERE sink = ?1 AND last_seq > pruned",
        )?
        .query_row([name], |row| row.get(0))
}

/// Drops stretches whose rows are all removed.
pub(super) fn prune(connection: &Connection, pruned: i64) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM audit_verified WHERE last_seq <= ?1")?
        .execute([pruned])?;
    Ok(())
}
