//! One request to a sink: frozen rows, and its way through tries, halves and rows.

use std::time::Duration;

use uuid::Uuid;

use crate::record::{Micros, StoredRow};
use crate::sink::Attempt;

/// Rows that travel together.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) origin: Origin,
    /// Never empty; distinct ids.
    pub(super) rows: Vec<StoredRow>,
    pub(super) attempt: Attempt,
    /// Tries that failed as a whole, those of the request it was split from included.
    pub(super) failures: u32,
    /// How many requests had succeeded and failed when this one first failed.
    pub(super) before: Option<(u64, u64)>,
    /// Failures since then, its own and those of what it was divided from and into.
    pub(super) own: u64,
    /// A row that was taken out of a request in doubt.
    pub(super) alone: bool,
    /// So many such rows of it were taken, one after the other.
    pub(super) taken_of: u32,
    /// Not sent before.
    pub(super) due: Duration,
    /// From `Retry-After`: a flush does not hasten it.
    pub(super) floor: Duration,
    /// See `Breaker::launch`.
    pub(super) launch: u64,
}

/// Where the rows came from, and so who is told what became of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Line { slot: u64 },
    Stragglers,
}

impl Request {
    pub(super) fn new(origin: Origin, rows: Vec<StoredRow>, created: Micros) -> Self {
        Self {
            origin,
            rows,
            attempt: Attempt {
                request: Uuid::now_v7(),
                created,
                number: 0,
            },
            failures: 0,
            before: None,
            own: 0,
            alone: false,
            taken_of: 0,
            due: Duration::ZERO,
            floor: Duration::ZERO,
            launch: 0,
        }
    }

    /// Two requests of about half the weight each. With a single row, only one.
    ///
    /// The halves are new requests (their bodies differ) of the same frozen rows, and inherit how
    /// often the whole has failed.
    pub(super) fn halves(mut self, weight: impl Fn(&StoredRow) -> usize) -> Vec<Self> {
        if self.rows.len() < 2 {
            return vec![self];
        }
        let total: usize = self.rows.iter().map(&weight).sum();
        let mut sum = 0;
        let middle = self
            .rows
            .iter()
            .position(|row| {
                sum += weight(row);
                sum * 2 >= total
            })
            .map_or(1, |last| last + 1)
            .min(self.rows.len() - 1);
        let rest = self.rows.split_off(middle);
        let half = |rows| Self {
            failures: self.failures,
            before: self.before,
            own: self.own,
            taken_of: self.taken_of,
            ..Self::new(self.origin, rows, self.attempt.created)
        };
        vec![half(std::mem::take(&mut self.rows)), half(rest)]
    }
}
