//! What the writer does when a commit failed: wait, open the ledger anew, look what is there.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::{RETRY_FIRST, RETRY_MAX, Writer};
use crate::books::{LossReason, Refusal, Waiter, tell_all};
use crate::ledger::progress::Ticket;
use crate::ledger::{Committed, Group, Store, StoreError, StoreErrorKind};
use crate::queue::Command;

/// How often a disk that stays full gets audithog's own rows: each takes of the reserve.
const RESERVE_EVERY: Duration = Duration::from_secs(60);

/// Whether opening anew can help.
pub(super) fn mends(error: &StoreError) -> bool {
    matches!(
        error.kind,
        StoreErrorKind::Io | StoreErrorKind::Corrupt | StoreErrorKind::Unusable
    )
}

/// Where a store stood before a commit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    head: i64,
    /// None if the store had failed before, so that the commit was not tried.
    signs: Option<u64>,
}

impl Mark {
    pub(crate) fn of(store: &dyn Store) -> Self {
        Self {
            head: store.totals().head,
            signs: store.signs(),
        }
    }
}

/// What became of a group whose commit failed, if the store, opened anew, holds it after all: groups are all or
/// nothing. Judged by what only this run does, since other processes go on meanwhile: by its rows, and, if it may have
/// added none, by its signature. None if it is not there. Where all of it was refused the head is that of the file as it is now.
pub(crate) fn found(
    store: &dyn Store,
    group: &Group<'_>,
    before: Mark,
) -> Result<Option<Committed>, StoreError> {
    let Some(signs) = before.signs else {
        return Ok(None);
    };
    let ids: HashSet<Uuid> = group.rows.iter().map(|row| row.id).collect();
    let mut stored = store.own_rows(before.head)?;
    stored.retain(|(_, id)| ids.contains(id));
    let refusable = group.rows.iter().all(|row| row.caller_id);
    let head = match stored.last() {
        Some((last, _)) => *last,
        None if refusable && store.signs().is_some_and(|now| signs < now) => store.totals().head,
        None => return Ok(None),
    };
    let mut stored = stored.into_iter().map(|(_, id)| id).peekable();
    let mut duplicates = Vec::new();
    for (index, row) in group.rows.iter().enumerate() {
        // In order: what is left out was refused.
        if stored.next_if_eq(&row.id).is_none() {
            duplicates.push(index);
        }
    }
    Ok(Some(Committed {
        head,
        duplicates,
        not_stored: 0,
    }))
}

/// What to do about a group whose commit failed.
pub(super) enum Next {
    /// It is not there: once more.
    Commit,
    /// The commit failed after it was safe.
    Conclude(Committed),
    /// The process closes, and its deadline has passed.
    GiveUp,
}

impl Writer {
    /// Waits after a failed commit, listening for commands: a flush, or the end, asks for a try at
    /// once, and so does a lease that can be had though the disk is full. False once the process closes and its
    /// deadline has passed.
    fn wait_out(&mut self, full: bool, pause: &mut Duration) -> bool {
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
                        asked |= matches!(command, Command::Flush { .. })
                            || (full && matches!(command, Command::Lease(_)));
                        self.deferred.push(command);
                    }
                }
            }
            if asked {
                return true;
            }
        }
    }

    /// Waits until a commit that failed with `error` can be tried again, or is found to have happened. As long as
    /// that cannot be told it is not tried: its rows would be there twice. What it settles is at hand again then, with
    /// what came behind it, as far as it is not committed by itself.
    pub(super) fn after_failure(
        &mut self,
        mut error: StoreError,
        group: &Group<'_>,
        before: Mark,
        pause: &mut Duration,
    ) -> Next {
        let (unknown, full) = (mends(&error), error.kind == StoreErrorKind::Full);
        if full {
            self.settlements = group.settlements.to_vec();
            self.use_reserve();
        }
        loop {
            if !self.wait_until_mended(&error, pause) {
                return Next::GiveUp;
            }
            if !unknown {
                break;
            }
            match found(&*self.store, group, before) {
                Ok(None) => break,
                Ok(Some(committed)) => return Next::Conclude(committed),
                Err(later) => error = later,
            }
        }
        // They are of the ledger that is gone, if another is here.
        if !full && self.stale.is_empty() {
            self.settlements = group.settlements.to_vec();
        }
        Next::Commit
    }

    /// Waits, and opens a store anew that cannot be trusted any more, until that is done. False once
    /// the process closes and its deadline has passed.
    fn wait_until_mended(&mut self, error: &StoreError, pause: &mut Duration) -> bool {
        loop {
            if !self.wait_out(error.kind == StoreErrorKind::Full, pause) {
                return false;
            }
            if !mends(error) || self.reopened() {
                return true;
            }
        }
    }

    /// True if the store was opened anew.
    fn reopened(&mut self) -> bool {
        let gone = self.store.totals().clone();
        let reopened = {
            let _under_way = self.board.under_way();
            self.store.reopen()
        };
        self.count_told();
        match reopened {
            Ok(false) => true,
            Ok(true) => {
                self.stale.append(&mut self.held);
                self.settlements.clear();
                self.removing = None;
                self.leases.clear();
                match self.store.take_quarantined() {
                    Some(aside) => self.own.note_damaged(&aside),
                    None => self.own.note_replaced(&gone),
                }
                self.board.replaced(self.store.totals());
                true
            }
            Err(error) => {
                self.board.failed(&error);
                false
            }
        }
    }

    /// On a full disk: commits what sinks have settled, removes rows that may go, and tells of losses, with what is
    /// kept back for that. What the queue holds waits.
    pub(super) fn use_reserve(&mut self) {
        let board = std::sync::Arc::clone(&self.board);
        let under_way = board.under_way();
        if !self.store.make_room() {
            return;
        }
        drop(under_way);
        self.settle_meanwhile();
        let under_way = board.under_way();
        let before = self.store.totals().pruned;
        self.remove_some();
        let removed = self.store.totals().pruned > before;
        if removed {
            self.store.give_back();
        }
        drop(under_way);
        let rested = |at: Instant| at.elapsed() >= RESERVE_EVERY;
        if removed || self.last_reserve.is_none_or(rested) {
            self.last_reserve = Some(Instant::now());
            self.commit_urgent(false);
        }
    }

    /// Settlements and leases take no more than what is kept back. Without them nothing would be sent for longer than a
    /// lease lasts, and no row become one that may go: a disk that a backlog has filled would stay full.
    fn settle_meanwhile(&mut self) {
        for command in std::mem::take(&mut self.deferred) {
            match command {
                // Not before its rows.
                Command::Flush { .. } => self.deferred.push(command),
                _ => self.obey(command),
            }
        }
        if self.commit_settlements() {
            for request in std::mem::take(&mut self.leases) {
                self.lease(request);
            }
        }
    }

    /// Commits the settlements at hand, without rows, and syncs what sinks have not got for want of it. False if they
    /// stay at hand.
    fn commit_settlements(&mut self) -> bool {
        let progress = self.board.progress();
        if self.settlements.is_empty() && progress.synced == progress.head {
            return true;
        }
        let settlements = std::mem::take(&mut self.settlements);
        let group = Group {
            settlements: &settlements,
            sync: true,
            urgent: true,
            ..Group::default()
        };
        let before = Mark::of(&*self.store);
        let tried = {
            let _under_way = self.board.under_way();
            self.store.commit(&group)
        };
        match tried {
            Ok(_) => self.board.urgent(self.store.totals(), true, self.ticket),
            Err(error) if !mends(&error) => {
                tracing::debug!(%error, "settlements wait too");
                self.settlements = settlements;
                return false;
            }
            Err(error) => {
                self.board.failed(&error);
                match self.after_failure(error, &group, before, &mut { RETRY_FIRST }) {
                    Next::Conclude(_) => {
                        self.board.urgent(self.store.totals(), false, self.ticket);
                    }
                    Next::Commit | Next::GiveUp => return false,
                }
            }
        }
        true
    }

    /// What the last round has lost, or found gone, is told too, if that is still possible.
    pub(super) fn last_words(&mut self) {
        self.own.note(&mut self.queue.take_losses());
        if self.own.has_news() || !self.unkept.is_empty() {
            self.store.make_room();
            self.commit_urgent(true);
            let left = std::mem::take(&mut self.unkept);
            if !left.is_empty() {
                self.lose(&left, Vec::new());
            }
        }
    }

    /// Commits the rows that are due of audithog's own. They stay in `unkept` if that fails.
    pub(super) fn commit_urgent(&mut self, stopping: bool) {
        let mut losses = self.queue.take_losses();
        self.own.note(&mut losses);
        let mut rows = std::mem::take(&mut self.unkept);
        let kept_back = rows.len();
        self.own.make(
            &self.queue.counts(),
            self.store.totals(),
            stopping,
            self.store.room(),
            &mut rows,
        );
        self.queue.accept_own((rows.len() - kept_back) as u64);
        if rows.is_empty() {
            return;
        }
        let group = Group {
            rows: &rows,
            losses: self.own.take_untold(),
            sync: true,
            urgent: true,
            ..Group::default()
        };
        let tried = {
            let _under_way = self.board.under_way();
            self.store.commit(&group)
        };
        match tried {
            Ok(committed) => {
                let settled = self.board.progress().settled;
                self.board.urgent(self.store.totals(), true, settled);
                self.book(&rows, Vec::new(), &committed);
            }
            Err(error) => {
                tracing::debug!(%error, "audithog's own rows wait too");
                self.own.put_back(group.losses);
                self.unkept = rows;
            }
        }
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
        let synced = !group.sync || self.commit_group(&[], None, 0, Vec::new(), true);
        if synced {
            self.book(group.rows, waiters, committed);
        } else {
            self.book(group.rows, Vec::new(), committed);
            tell_all(waiters, |_| Err(Refusal(LossReason::LedgerFailed)));
        }
        synced
    }
}
