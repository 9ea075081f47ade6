//! A sink that keeps its rows, for tests.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Answers, Guarantee, RowSink};
use crate::books::{RoomCall, Unplaced, Waiter};
use crate::clock::Clock;
use crate::record::{Exchange, Row};

/// Long enough for any machine; a test that waits this long fails.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Collector {
    clock: Clock,
    answers: Answers,
    kept: Mutex<Kept>,
    changed: Condvar,
}

#[derive(Default)]
struct Kept {
    rows: Vec<Row>,
    seen: usize,
    excluded: usize,
}

impl Collector {
    pub(crate) fn new(clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            clock,
            answers: Answers::default(),
            kept: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    pub(crate) fn rows(&self) -> Vec<Row> {
        self.lock().rows.clone()
    }

    pub(crate) fn seen(&self) -> usize {
        self.lock().seen
    }

    pub(crate) fn excluded(&self) -> usize {
        self.lock().excluded
    }

    /// Waits until as many requests ended as were seen, and at least one was; then the rows.
    pub(crate) fn settled(&self) -> Vec<Row> {
        self.wait(|kept| kept.seen > 0 && kept.requests() + kept.excluded >= kept.seen)
    }

    /// Waits for `n` rows.
    pub(crate) fn wait_for(&self, n: usize) -> Vec<Row> {
        self.wait(|kept| kept.rows.len() >= n)
    }

    /// Waits until `n` requests have arrived.
    pub(crate) fn wait_seen(&self, n: usize) {
        self.wait(|kept| kept.seen >= n);
    }

    fn wait(&self, done: impl Fn(&Kept) -> bool) -> Vec<Row> {
        let deadline = Instant::now() + PATIENCE;
        let mut kept = self.lock();
        while !done(&kept) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited in vain; rows: {:#?}", kept.rows);
            (kept, _) = self
                .changed
                .wait_timeout(kept, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
        kept.rows.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Kept)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }
}

impl Kept {
    fn requests(&self) -> usize {
        let is_request = |row: &&Row| row.event == "api_request";
        self.rows.iter().filter(is_request).count()
    }
}

impl RowSink for Collector {
    fn accept(&self, row: Row, _waiter: Option<Waiter>) {
        self.change(|kept| kept.rows.push(row));
    }

    fn offer(
        &self,
        row: &mut Option<Row>,
        waiter: Option<Waiter>,
        _room: &dyn Fn() -> RoomCall,
    ) -> Result<(), Box<Unplaced>> {
        if let Some(row) = row.take() {
            self.accept(row, waiter);
        }
        Ok(())
    }

    fn forget(&self, _wish: u64) {}

    fn request_seen(&self) {
        self.change(|kept| kept.seen += 1);
    }

    fn request_excluded(&self) {
        self.change(|kept| kept.excluded += 1);
    }

    fn refuses(&self, _guarantee: Guarantee) -> bool {
        false
    }

    fn request_refused(&self) {}

    fn may_refuse(&self) -> bool {
        false
    }

    fn may_give_back(&self) -> bool {
        false
    }

    fn answers(&self) -> &Answers {
        &self.answers
    }

    fn tell_of_own_name(&self) -> bool {
        false
    }

    fn clock(&self) -> &Clock {
        &self.clock
    }
}

/// The HTTP side of a row.
pub(crate) fn exchange(row: &Row) -> &Exchange {
    row.exchange.as_ref().expect("a request's row")
}
