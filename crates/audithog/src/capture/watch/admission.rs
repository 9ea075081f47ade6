//! Whether a request may be handled, and the row that says that it will be.

use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use super::{FINISHED, OPEN, State, Watch};
use crate::capture::guarantee::Guarantee;
use crate::capture::ids;
use crate::capture::waits::{Signal, Verdict, Wait};
use crate::record::{API_REQUEST_STARTED, Row, Text};

/// A request whose arrival is a row, which has to be committed before it is handled.
#[derive(Debug)]
pub(crate) struct Announcement(Wait);

/// The request must not be handled: its rows could not be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused;

impl Announcement {
    /// Ready with whether the row was committed in time.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let signal = self.0.poll(cx);
        signal.map(|signal| signal == Signal::Verdict(Verdict::Kept))
    }
}

impl Watch {
    pub(super) fn admit(&self) -> Result<Option<Announcement>, Refused> {
        let sink = &self.inner.sink;
        let (row, guarantee) = {
            let mut state = self.lock();
            let settings = &self.inner.settings;
            if settings.excludes(|| state.method_and_route()) {
                return Ok(None);
            }
            let guarantee = self.guarantee_in(&state);
            let fails_closed = guarantee == Guarantee::FailClosed;
            if (fails_closed && self.inner.waits.overdue()) || sink.refuses(guarantee) {
                drop(state);
                return Err(self.refuse(guarantee));
            }
            let announces = || {
                let (method, route) = state.method_and_route();
                settings.guarantees.announces(method, route)
            };
            let row = if fails_closed && announces() {
                state.said.announced = true;
                self.started_row(&state)
            } else {
                None
            };
            (row, guarantee)
        };
        let refusing = sink.answers().refusing(guarantee);
        // A look first: this is on the way of every request.
        if refusing.load(Ordering::Relaxed) && refusing.swap(false, Ordering::Relaxed) {
            tracing::info!("requests are served again: the audit ledger takes rows");
        }
        Ok(row.map(|row| {
            let (wait, waiter) = self.inner.waits.open();
            sink.accept(row, Some(waiter));
            Announcement(wait)
        }))
    }

    fn refuse(&self, guarantee: Guarantee) -> Refused {
        let sink = &self.inner.sink;
        if !sink
            .answers()
            .refusing(guarantee)
            .swap(true, Ordering::Relaxed)
        {
            tracing::error!("requests are refused with 503: the audit ledger takes no rows");
        }
        // By a shutdown: it has a row then.
        let ended = {
            let _state = self.lock();
            self.finished.swap(FINISHED, Ordering::AcqRel) != OPEN
        };
        if ended {
            return Refused;
        }
        sink.request_refused();
        self.leave();
        Refused
    }

    /// What is known before the handler runs. A row never changes, so nothing is in it that the route may show to be a secret.
    fn started_row(&self, state: &State) -> Option<Row> {
        let mut row = state.row.clone()?;
        row.id = ids::next(row.ts);
        row.event = Text::constant(API_REQUEST_STARTED);
        if let Some(http) = &mut row.exchange {
            self.mask(http, state);
        }
        Some(row)
    }
}
