//! What the writer does when a commit failed: wait, open the ledger anew, look what is there.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::{RETRY_MAX, Writer};
use crate::books::{LossReason, Refusal, Waiter};
use crate::ledger::progress::Ticket;
use crate::ledger::{Committed, Group, StoreError, StoreErrorKind, Totals};
use crate::queue::Command;

impl Writer {
    /// Waits after a failed commit, listening for commands: a flush, or the end, asks for a try at
    /// once. False once the process closes and its deadline has passed.
    pub(super) fn wait_out(&mut self, pause: &mut Duration) -> bool {
        let mut until = Instant::now() + *pause;
        *pause = (*pause * 2).min(RETRY_MAX);
        loop {
            if let Some(closing) = &self.closing {
                if Instant::now() >= closing.deadline {
                    return false;
                }
                until = until.min(closing.deadline);
            }
            let mut commands = Vec::new();
            self.queue.take_commands(&mut commands, until);
            if commands.is_empty() {
                return true;
            }
            let mut asked = false;
            for command in commands {
                match command {
                    Command::Close { .. } => {
                        asked = true;
                        self.obey(command);
                    }
                    // Not before its rows: they are still in the queue.
                    _ => {
                        asked |= matches!(command, Command::Flush { .. });
                        self.deferred.push(command);
                    }
                }
            }
            if asked {
                return true;
            }
        }
    }

    /// Opens a store anew that cannot be trusted any more. True if it was.
    pub(super) fn reopened(&mut self, error: &StoreError) -> bool {
        let mends = matches!(
            error.kind,
            StoreErrorKind::Io | StoreErrorKind::Corrupt | StoreErrorKind::Unusable
        );
        if !mends {
            return false;
        }
        let gone = self.store.totals().clone();
        match self.store.reopen() {
            Ok(false) => true,
            Ok(true) => {
                self.stale.append(&mut self.held);
                self.removing = None;
                self.leases.clear();
                self.own.note_replaced(&gone);
                self.board.replaced(self.store.totals());
                true
            }
            Err(error) => {
                self.board.failed(&error);
                false
            }
        }
    }

    /// What became of a group whose commit failed, if the store holds it after all: groups are all
    /// or nothing, so one row tells, or, without rows, the counters of the sink that only this
    /// process drives. None if it is not there.
    pub(super) fn found(&self, group: &Group<'_>, before: &Totals) -> Option<Committed> {
        let totals = self.store.totals();
        let mut committed = Committed {
            head: totals.head,
            duplicates: Vec::new(),
            not_stored: 0,
        };
        if group.rows.is_empty() {
            let settled = !group.settlements.is_empty() && totals.sinks != before.sinks;
            return settled.then_some(committed);
        }
        let added = usize::try_from(totals.head - before.head).unwrap_or(0);
        let stored = self
            .store
            .reader()
            .and_then(|mut reader| reader.rows(before.head, totals.head, added))
            .ok()?;
        let mut ids: HashSet<Uuid> = stored.iter().map(|stored| stored.row.id).collect();
        for (index, row) in group.rows.iter().enumerate() {
            // Once each: of two rows with one id the second was refused.
            if !ids.remove(&row.id) {
                committed.duplicates.push(index);
            }
        }
        (committed.duplicates.len() < group.rows.len()).then_some(committed)
    }

    /// Books a group that was found in the store after its commit had failed. It was found by
    /// reading, so whoever asked for an fsync waits for another commit. False if that failed.
    pub(super) fn conclude(
        &mut self,
        group: &Group<'_>,
        waiters: Vec<(usize, Waiter)>,
        committed: &Committed,
        ticket: Ticket,
    ) -> bool {
        self.publish(false, ticket);
        let synced = !group.sync || self.commit_group(&[], Vec::new(), true);
        if synced {
            self.book(group.rows, waiters, committed);
        } else {
            self.book(group.rows, Vec::new(), committed);
            for (_, waiter) in waiters {
                waiter(Err(Refusal(LossReason::LedgerFailed)));
            }
        }
        synced
    }
}
