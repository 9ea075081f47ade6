//! Looks at the log become rows of it.

use std::collections::HashMap;
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
    lately: HashMap<String, Instant>,
    /// The last one could not be written, and that was said.
    failing: bool,
}

impl Recorded {
    /// Whether it is another look than those of the last minutes.
    fn is_new(&mut self, look: String, now: Instant) -> bool {
        if self.lately.len() >= MOST {
            self.lately.retain(|_, at| now.duration_since(*at) < AGAIN);
        }
        if self.lately.len() >= MOST {
            self.lately.clear();
        }
        let before = self.lately.insert(look, now);
        before.is_none_or(|before| now.duration_since(before) >= AGAIN)
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
    ) -> Option<AccessNote> {
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
        if action == Action::Read {
            let asked = here
                .params
                .clone()
                .without("before")
                .without("after")
                .without("v");
            let look = format!("{}\n{:?}\n{}", access.by, access.scope, here.again(&asked));
            let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
            if !recorded.is_new(look, Instant::now()) {
                return None;
            }
        }
        Some(note)
    }

    /// Writes it. What cannot be recorded is shown all the same: somebody needs it most when the disk is full.
    pub(crate) fn record(&self, note: Option<AccessNote>) {
        let Some(note) = note else { return };
        let written = LedgerFile::open(&self.path).and_then(|mut file| file.record_access(&[note]));
        let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        match written {
            Ok(_) => recorded.failing = false,
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
        assert!(recorded.is_new("a".to_owned(), start));
        assert!(!recorded.is_new("a".to_owned(), start + AGAIN / 2));
        assert!(recorded.is_new("b".to_owned(), start));
        assert!(recorded.is_new("a".to_owned(), start + AGAIN * 2));
        for n in 0..2 * MOST {
            recorded.is_new(n.to_string(), start);
        }
        assert!(recorded.lately.len() <= MOST);
    }
}
