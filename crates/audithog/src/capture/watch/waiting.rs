//! The response waits: for its row's commit, and for room for the row.

use std::sync::Arc;

use super::{State, Watch};
use crate::books::{RoomCall, Unplaced, Waiter};
use crate::capture::guarantee::Guarantee;
use crate::capture::ids;
use crate::capture::promise::Instead;
use crate::capture::waits::{Answers, Wait};
use crate::record::{Actor, Row};

/// A row that waits for room.
pub(super) struct Parked {
    unplaced: Box<Unplaced>,
    wait: Wait,
    /// Of a response that waits for nothing else: dropped with this, it ends the time limit.
    _limit: Option<Waiter>,
}

impl Watch {
    /// Keeps the row until there is room. The response waits, whatever its guarantee.
    pub(super) fn park(&self, unplaced: Box<Unplaced>, wait: &Wait, guarantee: Guarantee) {
        let mut state = self.lock();
        let limit = state.wait.is_none().then(|| {
            state.wait = Some((wait.clone(), guarantee));
            self.inner.waits.limit(wait)
        });
        state.parked = Some(Parked {
            unplaced,
            wait: wait.clone(),
            _limit: limit,
        });
        drop(state);
        // It may have been given up by a shutdown, and its place be another's.
        let watch = self.inner.registry.get(self.ticket);
        let watch = watch.filter(|watch| std::ptr::eq(&raw const **watch, self));
        if !wait.parks(
            watch
                .map(|watch| Arc::downgrade(&watch))
                .unwrap_or_default(),
        ) {
            self.give_up();
        }
    }

    /// There may be room for the row. True if it waits for none any more.
    pub(in crate::capture) fn try_again(&self) -> bool {
        let Some(parked) = self.lock().parked.take() else {
            return true;
        };
        let Unplaced { row, waiter, .. } = *parked.unplaced;
        let sink = &self.inner.sink;
        let offered = sink.offer(&mut Some(row), waiter, &|| wish(&parked.wait));
        if let Err(unplaced) = offered {
            self.lock().parked = Some(Parked { unplaced, ..parked });
            return false;
        }
        self.leave();
        true
    }

    /// The row has waited long enough for room: it is accepted now, or a counted loss. True if there was one.
    pub(in crate::capture) fn give_up(&self) -> bool {
        let Some(parked) = self.lock().parked.take() else {
            return false;
        };
        let Unplaced { row, waiter, wish } = *parked.unplaced;
        self.inner.sink.forget(wish);
        self.inner.sink.accept(row, waiter);
        self.leave();
        true
    }

    /// Says that the client did not get the response that the request's row tells of.
    pub(in crate::capture) fn withheld(&self, instead: Instead) {
        let now = self.inner.sink.clock().wall();
        let mut row = Row::event(ids::next(now), now, "audit_response_withheld".into());
        row.actor = Actor::system();
        row.request_id = Some(self.request_id.clone());
        let got = match instead {
            Instead::Unavailable => "503",
            Instead::Abort => "abort",
        };
        row.properties = Some(format!(r#"{{"clientGot":"{got}"}}"#).into());
        self.inner.sink.accept(row, None);
    }

    pub(in crate::capture) fn answers(&self) -> &Answers {
        self.inner.sink.answers()
    }

    pub(super) fn guarantee(&self) -> Guarantee {
        self.guarantee_in(&self.lock())
    }

    pub(super) fn guarantee_in(&self, state: &State) -> Guarantee {
        let guarantees = &self.inner.settings.guarantees;
        guarantees.of(|| state.method_and_route())
    }
}

/// What the queue calls when it has room.
pub(super) fn wish(wait: &Wait) -> RoomCall {
    let wait = wait.clone();
    Box::new(move || wait.room())
}
