//! Looks at the log become rows of it.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use audithog::inspect::{AccessNote, Action, LedgerFile};
use audithog::query::Filter;

use crate::access::Scope;
use crate::pages::Here;
use crate::{Access, Shared};

/// The same look of the same person again is no other one: pages bring themselves up to date.
const AGAIN: Duration = Duration::from_secs(300);
/// Looks that are remembered for that.
const MOST: usize = 4_096;

/// What was recorded lately.
#[derive(Debug, Default)]
pub(crate) struct Recorded {
    /// By a hash of who looked at what.
    lately: HashMap<u64, Instant>,
    /// The last one could not be written, and that was said.
    failing: bool,
}

/// A look that is to be recorded.
#[derive(Debug)]
pub(crate) struct Note {
    note: AccessNote,
    look: u64,
}

impl Recorded {
    fn has(&self, look: u64, now: Instant) -> bool {
        let before = self.lately.get(&look);
        before.is_some_and(|before| now.duration_since(*before) < AGAIN)
    }

    fn add(&mut self, look: u64, now: Instant) {
        if self.lately.len() >= MOST {
            self.lately.retain(|_, at| now.duration_since(*at) < AGAIN);
        }
        if self.lately.len() >= MOST {
            self.lately.clear();
        }
        self.lately.insert(look, now);
    }
}

impl Shared {
    /// The note of a look, if it is to be recorded. `about`: the id of the one row that it is about.
    pub(crate) fn note(
        &self,
        here: &Here,
        access: &Access,
        action: Action,
        filter: &Filter,
        about: Option<&str>,
    ) -> Option<Note> {
        if !action.is_recorded(self.access_rows) {
            return None;
        }
        let through = format!("console /{}", here.page);
        let mut note = AccessNote::new(action, &access.by, &through)
            .time(filter.since_text(), filter.until_text());
        for condition in filter.conditions() {
            note = note.asked(condition);
        }
        if let Some(id) = about {
            note = note.asked(format!("id = {id}"));
        }
        if let Scope::Org(org) = &access.scope {
            note = note.within_org(org);
        }
        let mut hash = DefaultHasher::new();
        let asked = here.params.clone().rows_only();
        (
            &access.by,
            format!("{:?}", access.scope),
            &through,
            asked,
            about,
            filter.conditions(),
        )
            .hash(&mut hash);
        let look = hash.finish();
        let lately = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        if action == Action::Read && lately.has(look, Instant::now()) {
            return None;
        }
        Some(Note { note, look })
    }

    /// Writes it. What cannot be recorded is shown all the same: somebody needs it most when the disk is full.
    pub(crate) fn record(&self, note: Option<Note>) {
        let Some(Note { note, look }) = note else {
            return;
        };
        let written = LedgerFile::open(&self.path).and_then(|mut file| file.record_access(&[note]));
        let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        match written {
            Ok(_) => {
                recorded.failing = false;
                recorded.add(look, Instant::now());
            }
            Err(error) => {
                if !std::mem::replace(&mut recorded.failing, true) {
                    tracing::warn!(%error, "looks at the audit log cannot be recorded as rows of it");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_look_counts_again_after_minutes() {
        let mut recorded = Recorded::default();
        let start = Instant::now();
        assert!(!recorded.has(1, start));
        recorded.add(1, start);
        assert!(recorded.has(1, start + AGAIN / 2));
        assert!(!recorded.has(2, start));
        assert!(!recorded.has(1, start + AGAIN * 2));
        for look in 0..2 * MOST as u64 {
            recorded.add(look, start);
        }
        assert!(recorded.lately.len() <= MOST);
    }
}
