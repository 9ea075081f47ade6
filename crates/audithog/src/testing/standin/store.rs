//! What has arrived.

use std::collections::{HashMap, VecDeque};
use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use super::event::{CapturedEvent, DedupeKey};
use super::exchange::ReceivedRequest;

/// How many of the last requests [`NotArrived`] shows.
const SHOWN_REQUESTS: usize = 10;

/// What a stand-in has received so far.
#[derive(Debug, Default)]
pub struct Seen {
    requests: VecDeque<Arc<ReceivedRequest>>,
    stored: VecDeque<Arc<CapturedEvent>>,
    copies: HashMap<DedupeKey, usize>,
    counts: Counts,
}

/// Totals; exact whatever [`Behaviour::keep`](super::Behaviour::keep) says, except as noted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Requests received, on any path.
    pub requests: usize,
    /// Events stored, each copy counted.
    pub stored: usize,
    /// Stored copies of an event that was kept already. A copy of one that was let go is not recognised.
    pub duplicates: usize,
}

impl Seen {
    /// The requests in the order in which they were received to their end.
    #[must_use]
    pub fn requests(&self) -> &VecDeque<Arc<ReceivedRequest>> {
        &self.requests
    }

    /// Every stored event in order of arrival, duplicates included.
    #[must_use]
    pub fn stored(&self) -> &VecDeque<Arc<CapturedEvent>> {
        &self.stored
    }

    /// The stored events after de-duplication by project, uuid, event, distinct id and UTC day of the stored timestamp:
    /// the newest copy, at the place of the first.
    #[must_use]
    pub fn events(&self) -> Vec<Arc<CapturedEvent>> {
        let mut places = HashMap::new();
        let mut events: Vec<Arc<CapturedEvent>> = Vec::new();
        for event in &self.stored {
            let place = *places.entry(event.dedupe_key()).or_insert(events.len());
            match events.get_mut(place) {
                Some(older) => *older = Arc::clone(event),
                None => events.push(Arc::clone(event)),
            }
        }
        events
    }

    /// The totals.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    pub(super) fn add(
        &mut self,
        request: ReceivedRequest,
        stored: Vec<Arc<CapturedEvent>>,
        keep: Option<usize>,
    ) {
        self.counts.requests += 1;
        self.requests.push_back(Arc::new(request));
        for event in stored {
            self.counts.stored += 1;
            let copies = self.copies.entry(event.dedupe_key()).or_insert(0);
            if *copies > 0 {
                self.counts.duplicates += 1;
            }
            *copies += 1;
            self.stored.push_back(event);
        }
        if let Some(keep) = keep {
            self.shrink(keep);
        }
    }

    /// Removes stored events; the totals stay.
    pub(super) fn lose(&mut self, mut is_lost: impl FnMut(&CapturedEvent) -> bool) -> usize {
        let before = self.stored.len();
        let copies = &mut self.copies;
        self.stored.retain(|event| {
            let lost = is_lost(event);
            if lost {
                copies.remove(&event.dedupe_key());
            }
            !lost
        });
        before - self.stored.len()
    }

    fn shrink(&mut self, keep: usize) {
        let spare = self.requests.len().saturating_sub(keep);
        self.requests.drain(..spare);
        let spare = self.stored.len().saturating_sub(keep);
        for event in self.stored.drain(..spare) {
            let key = event.dedupe_key();
            if let Some(copies) = self.copies.get_mut(&key) {
                *copies -= 1;
                if *copies == 0 {
                    self.copies.remove(&key);
                }
            }
        }
    }

    fn describe(&self) -> String {
        let Counts {
            requests,
            stored,
            duplicates,
        } = self.counts;
        let mut text =
            format!("{requests} requests, {stored} events stored, {duplicates} of them duplicates");
        let hidden = self.requests.len().saturating_sub(SHOWN_REQUESTS);
        for request in self.requests.iter().skip(hidden) {
            // Writing to a string cannot fail.
            let _ = write!(text, "\n  {request}");
        }
        text
    }
}

impl fmt::Display for ReceivedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)?;
        match self.status {
            Some(status) => write!(f, " -> {status}")?,
            None => write!(f, " -> no reply")?,
        }
        if self.faulted {
            write!(f, " (fault)")?;
        }
        write!(
            f,
            ", {} bytes, {} events",
            self.raw_bytes,
            self.events.len()
        )?;
        let names = self.events.iter().take(5).map(|event| event.event.as_str());
        for (i, name) in names.enumerate() {
            write!(f, "{}{name}", if i == 0 { ": " } else { ", " })?;
        }
        Ok(())
    }
}

/// What was waited for did not arrive in time. Printed, it lists what had arrived.
pub struct NotArrived {
    within: Duration,
    seen: String,
}

impl NotArrived {
    pub(super) fn new(within: Duration, seen: &Seen) -> Self {
        Self {
            within,
            seen: seen.describe(),
        }
    }
}

impl fmt::Display for NotArrived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { within, seen } = self;
        write!(
            f,
            "the PostHog stand-in did not see what was expected within {within:?}; it saw {seen}"
        )
    }
}

// The same as `Display`: this is what a failed test prints.
impl fmt::Debug for NotArrived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for NotArrived {}
