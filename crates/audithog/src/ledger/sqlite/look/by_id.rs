//! A row by its id. Ids have no index: the writer would pay for it with each row.

use rusqlite::{OptionalExtension as _, params};
use uuid::Uuid;

use super::super::error::failed;
use super::Looker;
use super::rows::in_steps;
use super::rows::stretches;
use crate::ledger::{RowFilter, StoreError};

impl Looker {
    /// The number of the row with this id, among those whose times the filter wants. Its conditions are not looked at.
    pub(crate) fn seq_of(
        &mut self,
        id: Uuid,
        range: &RowFilter,
    ) -> Result<Option<i64>, StoreError> {
        let found = self.read(|connection, _| {
            stretches(connection, range, 0, i64::MAX).map_err(failed("look up a time"))
        })?;
        for (after, upto) in found.into_iter().rev().flat_map(in_steps) {
            let seq = self.read(|connection, _| {
                connection
                    .prepare_cached(
                        "SELECT seq FROM audit_rows WHERE seq > ?1 AND seq <= ?2 AND id = ?3",
                    )
                    .and_then(|mut statement| {
                        let id = id.as_bytes().as_slice();
                        statement
                            .query_row(params![after, upto, id], |row| row.get(0))
                            .optional()
                    })
                    .map_err(failed("look up an id"))
            })?;
            if seq.is_some() {
                return Ok(seq);
            }
        }
        Ok(None)
    }
}
