//! What an integration holds while a response waits for its row.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use super::waits::{Answers, Signal, Verdict, Wait};
use super::watch::Watch;
use super::{Guarantee, RequestHandle};

/// A response's row is on its way, and the response waits for it. Dropped before it is ready: the client is gone.
pub(crate) struct Promise {
    watch: Arc<Watch>,
    wait: Wait,
    guarantee: Guarantee,
    /// Counted as waiting.
    waits: bool,
}

/// What to do with what waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Release {
    /// Hand it over.
    Go,
    /// The client must not get it: say so with [`Promise::withheld`].
    Withhold,
}

/// What the client got in place of the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Instead {
    /// No byte was out: a 503.
    Unavailable,
    /// The head was out: an error that breaks the connection.
    Abort,
}

impl Promise {
    pub(super) fn new(watch: Arc<Watch>, wait: Wait, guarantee: Guarantee) -> Self {
        watch.answers().waiting.fetch_add(1, Ordering::Relaxed);
        Self {
            watch,
            wait,
            guarantee,
            waits: true,
        }
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Release> {
        let verdict = loop {
            match ready!(self.wait.poll(cx)) {
                Signal::Room => {
                    if self.watch.try_again() && !self.guarantee.waits() {
                        break Verdict::Kept;
                    }
                }
                Signal::Verdict(verdict) => break verdict,
            }
        };
        // Without room until now: a loss, and counted as one.
        let verdict = if self.watch.give_up() {
            Verdict::Lost
        } else {
            verdict
        };
        let answers = self.watch.answers();
        if std::mem::take(&mut self.waits) {
            answers.waiting.fetch_sub(1, Ordering::Relaxed);
        }
        Poll::Ready(match (verdict, self.guarantee) {
            (Verdict::Kept, _) => Release::Go,
            (_, Guarantee::FailClosed) => Release::Withhold,
            (Verdict::Late, _) => {
                answers.late.fetch_add(1, Ordering::Relaxed);
                Release::Go
            }
            // A loss, and counted there.
            (Verdict::Lost, _) => Release::Go,
        })
    }

    /// Whose row it is.
    pub(crate) fn handle(&self) -> RequestHandle {
        RequestHandle(Arc::clone(&self.watch))
    }

    /// Says in a row of its own that the client did not get what the request's row says.
    pub(crate) fn withheld(self, instead: Instead) {
        let answers = self.watch.answers();
        match instead {
            Instead::Unavailable => &answers.withheld,
            Instead::Abort => &answers.aborted,
        }
        .fetch_add(1, Ordering::Relaxed);
        self.watch.withheld(instead);
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        if self.waits {
            self.watch.give_up();
            let answers: &Answers = self.watch.answers();
            answers.waiting.fetch_sub(1, Ordering::Relaxed);
            answers.abandoned.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Promise")
            .field("guarantee", &self.guarantee)
            .finish_non_exhaustive()
    }
}
