//! What the writer puts into the file beside rows and counters, for other processes to read.

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::Writer;
use crate::ledger::{Notes, SinkState};

/// How often a writer that has nothing to do looks whether its last sign of life is old. Together
/// with the age at which it is, no sign is older than 20 s: see `inspect::problems`.
pub(super) const SIGN_EVERY: Duration = Duration::from_secs(15);

impl Writer {
    /// While nothing happens, the file still shows that the process lives, and its counts.
    pub(super) fn sign(&mut self) {
        if self.last_sign.elapsed() < SIGN_EVERY {
            return;
        }
        self.last_sign = Instant::now();
        if self.store.wants_books() && !self.board.progress().failing {
            self.note_with(Some(&self.books()));
            self.publish_others();
        }
    }

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
        if !self.states.is_empty() || self.trouble.is_some() {
            self.note_with(None);
        }
    }

    fn note_with(&mut self, books: Option<&str>) {
        let notes = Notes {
            states: &self.states,
            books,
            trouble: self.trouble.as_deref(),
        };
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
        self.note_with(Some(&self.books()));
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
        let mut books = json!({
            "requestsSeen": seen,
            "requestsInProgress": seen - counts.accepted_requests - excluded,
            "requestsAccepted": counts.accepted_requests,
            "requestsExcluded": excluded,
            "accepted": counts.accepted,
            "stored": counts.stored,
            "queued": counts.queued(),
            "lost": lost,
        });
        if let Some(books) = books.as_object_mut() {
            let more = self.board.more().into_iter();
            books.extend(more.map(|(name, n)| (name.to_owned(), n.into())));
        }
        books.to_string()
    }
}
