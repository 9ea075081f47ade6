//! What operators are told, once per episode.

use std::error::Error;

use crate::delivery::breaker::{Change, State};
use crate::ledger::{DeadLetter, StoreError};
use crate::record::Micros;

pub(super) fn change(sink: &str, change: Change, state: &State, reason: &str, pending: u64) {
    match (change, state) {
        (Change::Held, State::Held { hold, .. }) => tracing::warn!(
            sink,
            reason = hold.reason.as_str(),
            detail = %hold.detail,
            remedy = hold.reason.remedy(),
            pending,
            "delivery is held: rows wait in the ledger"
        ),
        (Change::Opened, _) => tracing::warn!(
            sink,
            reason,
            pending,
            "the destination does not take rows: they wait in the ledger, a slow probe goes on"
        ),
        (Change::Recovered(lasted), _) => tracing::info!(
            sink,
            after_secs = lasted.as_secs(),
            pending,
            "delivery goes on"
        ),
        _ => {}
    }
}

pub(super) fn held_back(sink: &str, rows: u64, before: Micros) {
    tracing::info!(
        sink,
        rows,
        %before,
        "first start of this destination: older rows stay in the ledger and are not sent"
    );
}

pub(super) fn lease_lost(sink: &str) {
    tracing::warn!(sink, "another process delivers from this ledger now");
}

pub(super) fn dead(sink: &str, letter: &DeadLetter) {
    tracing::warn!(
        sink,
        seq = letter.seq,
        reason = %letter.reason,
        "the destination refused a row for good: it is kept as a dead letter"
    );
}

pub(super) fn unreadable(sink: &str, error: &StoreError) {
    tracing::warn!(
        sink,
        error = error as &dyn Error,
        "the ledger cannot be read: delivery waits"
    );
}

pub(super) fn readable(sink: &str) {
    tracing::info!(sink, "the ledger can be read again");
}

pub(super) fn stragglers_unreadable(sink: &str, error: &StoreError) {
    tracing::warn!(
        sink,
        error = error as &dyn Error,
        "rows that wait for another try cannot be read: they wait on, the others go on"
    );
}

pub(super) fn stragglers_readable(sink: &str) {
    tracing::info!(sink, "rows that wait for another try can be read again");
}
