//! What became of rows for a sink, as far as the file says it row by row.

use std::collections::HashSet;

use rusqlite::params;

use super::super::error::failed;
use super::Looker;
use crate::ledger::StoreError;

/// Rows that a sink has not got, though its cursor has passed them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Passed {
    pub(crate) stragglers: HashSet<i64>,
    pub(crate) dead: HashSet<i64>,
}

/// What a run was started with.
#[derive(Clone, Debug)]
pub(crate) struct RunSettings {
    pub(crate) run: i64,
    pub(crate) settings_json: String,
}

impl Looker {
    /// Stragglers and dead letters of `sink` with `after < seq`.
    pub(crate) fn passed(&mut self, sink: &str, after: i64) -> Result<Passed, StoreError> {
        self.read(|connection, _| {
            let list = |table: &str| {
                connection
                    .prepare(&format!(
                        "SELECT seq FROM {table} WHERE sink = ?1 AND seq > ?2"
                    ))?
                    .query_map(params![sink, after], |row| row.get(0))?
                    .collect::<rusqlite::Result<HashSet<i64>>>()
            };
            let look = || {
                Ok(Passed {
                    stragglers: list("audit_stragglers")?,
                    dead: list("audit_dead_letters")?,
                })
            };
            look().map_err(failed("read what waits"))
        })
    }

    /// Every run, by number.
    pub(crate) fn run_settings(&mut self) -> Result<Vec<RunSettings>, StoreError> {
        self.read(|connection, _| {
            let list = || {
                connection
                    .prepare("SELECT run, settings_json FROM audit_runs ORDER BY run")?
                    .query_map([], |row| {
                        Ok(RunSettings {
                            run: row.get(0)?,
                            settings_json: row.get(1)?,
                        })
                    })?
                    .collect::<rusqlite::Result<Vec<_>>>()
            };
            list().map_err(failed("read its runs"))
        })
    }

    /// The run of each of these rows; pruned ones are absent.
    pub(crate) fn runs_of(&mut self, seqs: &[i64]) -> Result<Vec<(i64, i64)>, StoreError> {
        self.read(|connection, _| {
            let list = || {
                let mut run =
                    connection.prepare_cached("SELECT run FROM audit_rows WHERE seq = ?1")?;
                let mut runs = Vec::with_capacity(seqs.len());
                for seq in seqs {
                    let mut found = run.query([seq])?;
                    if let Some(row) = found.next()? {
                        runs.push((*seq, row.get(0)?));
                    }
                }
                Ok(runs)
            };
            list().map_err(failed("read rows"))
        })
    }
}
