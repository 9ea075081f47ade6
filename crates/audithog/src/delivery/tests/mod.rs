//! Tables for the pure decisions, a model for the course, and the whole loop over a real thread.

mod damage;
mod decisions;
mod desk;
mod doubt;
mod drive;
mod ledger;
mod model;
mod others;
mod outage;
mod stragglers;
mod verdicts;
mod wake;

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::Tuning;
use crate::config::RetrySettings;
use crate::record::{Micros, Row, Run, StoredRow};

/// Where the manual clocks start: some day in 2026.
pub(super) const START: Micros = Micros(1_780_000_000_000_000);

pub(super) fn row(seq: i64) -> StoredRow {
    StoredRow {
        seq,
        run: Arc::new(Run::default()),
        row: Row::event(Uuid::now_v7(), START, "api_request".into()).into(),
    }
}

pub(super) fn seqs(rows: &[StoredRow]) -> Vec<i64> {
    rows.iter().map(|row| row.seq).collect()
}

pub(super) fn tuning() -> Tuning {
    Tuning {
        batch_size: 100,
        batch_interval: Duration::from_secs(30),
        retry: RetrySettings::default(),
    }
}

/// Every row at once: for tests that are not about triggers.
pub(super) fn eager() -> Tuning {
    Tuning {
        batch_size: 1,
        ..tuning()
    }
}
