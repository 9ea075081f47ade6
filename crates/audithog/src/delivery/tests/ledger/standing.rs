//! What the store says, read past the processes that are under test.

use std::path::Path;

use rusqlite::Connection;

use super::SINK;
use crate::books::LossReason;
use crate::ledger::{Reader, SinkTotals, SqliteReader, Store, Straggler, Totals};
use crate::record::StoredRow;

pub(super) struct Standing {
    pub(super) totals: Totals,
    pub(super) sink: SinkTotals,
    pub(super) rows: Vec<StoredRow>,
    pub(super) stragglers: Vec<Straggler>,
    pub(super) letters: Option<Vec<i64>>,
}

impl Standing {
    pub(super) fn of_memory(store: &dyn Store) -> Self {
        let mut reader = store.reader().unwrap();
        Self {
            totals: store.totals().clone(),
            sink: store.totals().sinks[SINK].clone(),
            rows: reader.rows(0, i64::MAX - 1, usize::MAX).unwrap(),
            stragglers: reader.stragglers(SINK, usize::MAX).unwrap(),
            letters: None,
        }
    }
}

/// Somebody who looks at the file by other ways than the processes use, where there are some.
pub(super) struct Observer {
    connection: Connection,
    reader: SqliteReader,
}

impl Observer {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            connection: Connection::open(path).unwrap(),
            reader: SqliteReader::open(path).unwrap(),
        }
    }

    pub(super) fn standing(&mut self) -> Standing {
        let (totals, sink) = self.counters();
        let letters = self
            .connection
            .prepare_cached("SELECT seq FROM audit_dead_letters WHERE sink = ?1 ORDER BY seq")
            .unwrap()
            .query_map([SINK], |row| row.get(0))
            .unwrap()
            .collect::<rusqlite::Result<Vec<i64>>>()
            .unwrap();
        Standing {
            totals,
            sink,
            rows: self.reader.rows(0, i64::MAX - 1, usize::MAX).unwrap(),
            stragglers: self.reader.stragglers(SINK, usize::MAX).unwrap(),
            letters: Some(letters),
        }
    }

    fn counters(&self) -> (Totals, SinkTotals) {
        let mut counters = self
            .connection
            .prepare_cached(
                "SELECT head, pruned, began, cursor, delivered, sampled_out, held_back, dead, stragglers,
                 (SELECT coalesce(sum(rows), 0) FROM audit_losses WHERE reason = 'duplicate_id')
                 FROM audit_head, audit_sinks WHERE sink = ?1",
            )
            .unwrap();
        counters
            .query_row([SINK], |row| {
                let count = |at: usize| row.get(at).map(i64::cast_unsigned);
                let mut totals = Totals {
                    head: row.get(0)?,
                    pruned: row.get(1)?,
                    ..Totals::default()
                };
                totals.losses.add(LossReason::DuplicateId, count(9)?);
                let sink = SinkTotals {
                    began: row.get(2)?,
                    cursor: row.get(3)?,
                    delivered: count(4)?,
                    sampled_out: count(5)?,
                    held_back: count(6)?,
                    dead: count(7)?,
                    stragglers: count(8)?,
                    verified: false,
                };
                Ok((totals, sink))
            })
            .unwrap()
    }
}
