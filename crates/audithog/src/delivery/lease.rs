//! The right to drive a sink: one process at a time per ledger.

use std::time::Duration;

use tokio::sync::oneshot;

use super::Ledger;
use super::course::Now;
use super::status::LeaseState;
use crate::ledger::SinkTotals;

/// How long a holder that died keeps others waiting.
const TERM: Duration = Duration::from_secs(30);
/// Renewed, or asked for again, after this.
const RENEWAL: Duration = Duration::from_secs(10);
/// Asked again after this when the ledger could not say.
const AGAIN: Duration = Duration::from_secs(1);

/// This process's side of a lease.
#[derive(Debug)]
pub(super) struct Lease {
    sink: &'static str,
    holder: String,
    state: LeaseState,
    /// Ours until then, monotonic.
    until: Duration,
    ask_at: Duration,
    asked: Option<Asked>,
}

#[derive(Debug)]
struct Asked {
    at: Duration,
    answer: oneshot::Receiver<Option<SinkTotals>>,
}

/// What an answer means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Granted {
    /// The sink is ours, and these are its totals.
    Ours(SinkTotals),
    /// Somebody else drives it.
    Elsewhere,
    /// The ledger could not say; asked again soon.
    Unknown,
}

impl Lease {
    pub(super) fn new(sink: &'static str, holder: String) -> Self {
        Self {
            sink,
            holder,
            state: LeaseState::Asking,
            until: Duration::ZERO,
            ask_at: Duration::ZERO,
            asked: None,
        }
    }

    pub(super) fn state(&self) -> LeaseState {
        self.state
    }

    /// What a flush goes by: whether somebody else drives the sink is asked anew for each, because
    /// that one may have ended in the meantime.
    pub(super) fn known(&self) -> LeaseState {
        let asking = self.asked.is_some() || self.ask_at == Duration::ZERO;
        match self.state {
            LeaseState::Elsewhere if asking => LeaseState::Asking,
            state => state,
        }
    }

    /// A flush wants to know.
    pub(super) fn ask_again(&mut self) {
        if self.state == LeaseState::Elsewhere {
            self.ask_at = Duration::ZERO;
        }
    }

    /// When it ends if it is not renewed, monotonic.
    pub(super) fn until(&self) -> Duration {
        self.until
    }

    /// Whether requests may be sent now.
    pub(super) fn is_ours(&self, now: Duration) -> bool {
        self.state == LeaseState::Ours && now < self.until
    }

    /// Asks if it is time to. True if it did.
    pub(super) fn ask(&mut self, ledger: &dyn Ledger, now: Now) -> bool {
        if self.asked.is_some() || now.monotonic < self.ask_at {
            return false;
        }
        let until = now.wall.saturating_add(TERM);
        self.ask_at = now.monotonic.saturating_add(RENEWAL);
        self.asked = Some(Asked {
            at: now.monotonic,
            answer: ledger.lease(self.sink, &self.holder, until),
        });
        true
    }

    /// Completes with the answer to what was asked; never while nothing is asked.
    pub(super) async fn answer(&mut self) -> Granted {
        let Some(asked) = &mut self.asked else {
            return std::future::pending().await;
        };
        let answer = (&mut asked.answer).await;
        let at = asked.at;
        self.asked = None;
        match answer {
            Ok(Some(totals)) => {
                self.state = LeaseState::Ours;
                self.until = at.saturating_add(TERM);
                Granted::Ours(totals)
            }
            Ok(None) => {
                self.state = LeaseState::Elsewhere;
                self.until = Duration::ZERO;
                Granted::Elsewhere
            }
            Err(_) => {
                self.ask_at = at.saturating_add(AGAIN);
                Granted::Unknown
            }
        }
    }

    /// When something about the lease is due.
    pub(super) fn wake(&self) -> Option<Duration> {
        self.asked.is_none().then_some(self.ask_at)
    }

    /// Gives it back, without waiting for the answer.
    pub(super) fn release(&mut self, ledger: &dyn Ledger, now: Now) {
        if self.state == LeaseState::Ours {
            drop(ledger.lease(self.sink, &self.holder, now.wall));
            self.state = LeaseState::Asking;
            self.until = Duration::ZERO;
        }
    }
}
