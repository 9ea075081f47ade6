//! Telling of runs that stopped without saying so.

use rusqlite::Connection;

use super::names::Names;
use super::runs::{self, Process, UncleanStop};
use super::{append, settle};
use crate::clock::Clock;
use crate::ledger::Totals;
use crate::ledger::own_rows::{loss_row, unclean_stop};
use crate::record::Row;

/// Who tells.
pub(super) struct Teller<'a> {
    pub(super) process: &'a Process,
    pub(super) instance: Option<&'a str>,
    pub(super) run: i64,
    pub(super) clock: &'a Clock,
}

/// How many of them have a row.
pub(super) fn told(stops: &[UncleanStop]) -> u64 {
    stops.iter().filter(|stop| stop.may_have_lost()).count() as u64
}

impl Teller<'_> {
    /// Finds runs that stopped and marks them, and in the same transaction appends an `audit_loss` row for each that may have
    /// lost rows and counts its bound. A mark without its row would stay so if this process were killed in between: nobody looks twice.
    pub(super) fn tell(
        &self,
        connection: &Connection,
        names: &mut Names,
        totals: &mut Totals,
    ) -> rusqlite::Result<Vec<UncleanStop>> {
        let now = self.clock.wall();
        let stops = runs::take_unclean(connection, self.process, self.instance, now)?;
        if told(&stops) == 0 {
            return Ok(stops);
        }
        let before = totals.losses;
        let losses = stops
            .iter()
            .filter(|stop| stop.may_have_lost())
            .map(|stop| unclean_stop(stop.queue_capacity, stop.alive, now));
        let rows: Vec<Row> = losses
            .map(|loss| {
                totals.losses.add(loss.reason, loss.count);
                loss_row(self.clock, &loss)
            })
            .collect();
        append::append(
            connection,
            names,
            totals,
            append::Rows::own(self.run, &rows, now),
            &mut Vec::new(),
        )?;
        settle::save_losses(connection, &before, &totals.losses, now)?;
        settle::save_head(connection, totals)?;
        Ok(stops)
    }
}
