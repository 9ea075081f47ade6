//! What the writer puts into the file beside rows and counters, for other processes to read.

use serde_json::{Map, Value, json};

use super::Writer;
use crate::ledger::{Notes, SinkState};

impl Writer {
    pub(super) fn obey_report(&mut self, state: SinkState) {
        if self.stale.contains_key(state.sink) {
            return;
        }
        self.states.retain(|known| known.sink != state.sink);
        self.states.push(state);
    }

    /// What a commit takes along: a commit of nothing may write nothing.
    pub(super) fn states_for(&mut self, empty: bool) -> Vec<SinkState> {
        if empty {
            return Vec::new();
        }
        std::mem::take(&mut self.states)
    }

    /// What no commit has taken along, by itself. Nobody waits for it, so it is not synced.
    pub(super) fn note(&mut self) {
        let notes = Notes {
            states: &self.states,
            books: None,
            trouble: self.trouble.as_deref(),
        };
        if notes.is_empty() {
            return;
        }
        match self.store.note(&notes) {
            Ok(()) => {
                self.states.clear();
                self.trouble = None;
            }
            Err(error) => tracing::debug!(%error, "the state could not be noted"),
        }
    }

    /// The process's own counts as the file shall show them: every few seconds, and with the
    /// commit that ends a burst.
    pub(super) fn books_due(&self, idle: bool) -> Option<String> {
        (idle || self.store.wants_books()).then(|| self.books())
    }

    /// The counts with which the run ends.
    pub(super) fn note_end(&mut self) {
        if self.board.progress().failing {
            return;
        }
        let books = self.books();
        let notes = Notes {
            states: &self.states,
            books: Some(&books),
            trouble: self.trouble.as_deref(),
        };
        if let Err(error) = self.store.note(&notes) {
            tracing::debug!(%error, "the last counts could not be noted");
        }
    }

    fn books(&self) -> String {
        let counts = self.queue.counts();
        let excluded = self.board.requests_excluded();
        // Asked last: a request that ended meanwhile was seen before.
        let seen = self
            .board
            .requests_seen()
            .max(counts.accepted_requests + excluded);
        let lost: Map<String, Value> = counts
            .losses
            .iter()
            .map(|(reason, n)| (reason.to_string(), n.into()))
            .collect();
        json!({
            "requestsSeen": seen,
            "requestsInProgress": seen - counts.accepted_requests - excluded,
            "requestsAccepted": counts.accepted_requests,
            "requestsExcluded": excluded,
            "accepted": counts.accepted,
            "stored": counts.stored,
            "queued": counts.queued(),
            "lost": lost,
        })
        .to_string()
    }
}
