//! The ledger for `AUDITHOG_DB=off`: a bounded memory with the same books.
//!
//! It keeps rows until every registered sink has settled them, and frees them at once then. When
//! it is full, the newest rows are refused and counted as `memory_full`: what was accepted first
//! is delivered first, and a row that was stored is never lost afterwards, so the books stay those
//! of a file. Caller-supplied ids are checked against the rows that are held.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use super::{
    Committed, Group, Reader, Settlement, SinkTotals, Size, Store, StoreError, Straggler, Totals,
    UncleanStop,
};
use crate::books::LossReason;
use crate::record::{Micros, Run, StoredRow};

/// Rows in memory. Its readers share them.
#[derive(Debug)]
pub(crate) struct MemoryStore {
    held: Arc<Mutex<Held>>,
    run: Arc<Run>,
    max_rows: usize,
    totals: Totals,
    ids: HashSet<Uuid>,
    leases: HashMap<&'static str, (String, Micros)>,
}

#[derive(Debug, Default)]
struct Held {
    /// What some sink has not passed, up to `head`, without a gap.
    rows: VecDeque<StoredRow>,
    /// Rows that every sink has passed, and that some sink tries again.
    again: BTreeMap<i64, StoredRow>,
    stragglers: HashMap<&'static str, BTreeMap<i64, Straggler>>,
    head: i64,
}

impl Held {
    fn len(&self) -> usize {
        self.rows.len() + self.again.len()
    }

    fn is_straggler(&self, seq: i64) -> bool {
        self.stragglers
            .values()
            .any(|stragglers| stragglers.contains_key(&seq))
    }

    /// Where `seq` is in `rows`, or the first one after it.
    fn place(&self, seq: i64) -> usize {
        let first = self.rows.front().map_or(seq, |row| row.seq);
        usize::try_from(seq - first).map_or(0, |at| at.min(self.rows.len()))
    }

    fn get(&self, seq: i64) -> Option<&StoredRow> {
        let found = self.rows.get(self.place(seq));
        let found = found.filter(|row| row.seq == seq);
        found.or_else(|| self.again.get(&seq))
    }
}

#[derive(Debug)]
struct MemoryReader(Arc<Mutex<Held>>);

impl MemoryStore {
    /// Holds at most `max_rows` unsettled rows.
    pub(crate) fn new(max_rows: usize, run: &Run) -> Self {
        Self {
            held: Arc::default(),
            run: Arc::new(run.clone()),
            max_rows,
            totals: Totals::default(),
            ids: HashSet::new(),
            leases: HashMap::new(),
        }
    }

    fn append(&mut self, held: &mut Held, group: &Group<'_>) -> (Vec<usize>, usize) {
        let mut duplicates = Vec::new();
        for (at, row) in group.rows.iter().enumerate() {
            if row.caller_id && self.ids.contains(&row.id) {
                duplicates.push(at);
                continue;
            }
            if held.len() >= self.max_rows {
                return (duplicates, group.rows.len() - at);
            }
            if row.caller_id {
                self.ids.insert(row.id);
            }
            held.head += 1;
            let stored = StoredRow {
                seq: held.head,
                run: Arc::clone(&self.run),
                row: group.keep(at),
            };
            held.rows.push_back(stored);
        }
        (duplicates, 0)
    }

    fn settle(&mut self, held: &mut Held, settlement: &Settlement) {
        let sink = self
            .totals
            .sinks
            .entry(settlement.sink.to_owned())
            .or_default();
        sink.cursor = sink.cursor.max(settlement.cursor);
        sink.delivered += settlement.delivered;
        sink.sampled_out += settlement.sampled_out;
        sink.held_back += settlement.held_back;
        sink.dead += settlement.dead.len() as u64;
        sink.verified |= settlement.verified;
        let stragglers = held.stragglers.entry(settlement.sink).or_default();
        for seq in &settlement.resolved {
            stragglers.remove(seq);
        }
        for straggler in &settlement.stragglers {
            stragglers.insert(straggler.seq, straggler.clone());
        }
        sink.stragglers = stragglers.len() as u64;
    }

    /// Frees what every sink has settled. Without a sink nothing is ever settled.
    fn free(&mut self, held: &mut Held) {
        let Some(settled) = self.totals.sinks.values().map(|sink| sink.cursor).min() else {
            return;
        };
        let mut again = std::mem::take(&mut held.again);
        let resolved = again.extract_if(.., |seq, _| !held.is_straggler(*seq));
        for (_, stored) in resolved {
            self.forget(&stored);
        }
        while let Some(stored) = held.rows.pop_front_if(|row| row.seq <= settled) {
            if held.is_straggler(stored.seq) {
                again.insert(stored.seq, stored);
            } else {
                self.forget(&stored);
            }
        }
        held.again = again;
        let waiting = held.again.keys().next().copied();
        let first = waiting.or_else(|| held.rows.front().map(|row| row.seq));
        self.totals.pruned = first.map_or(held.head, |first| first - 1);
    }

    fn forget(&mut self, stored: &StoredRow) {
        if stored.row.caller_id {
            self.ids.remove(&stored.row.id);
        }
    }
}

impl Store for MemoryStore {
    fn commit(&mut self, group: &Group<'_>) -> Result<Committed, StoreError> {
        let shared = Arc::clone(&self.held);
        let mut held = lock(&shared);
        // Settled first: it makes room.
        for settlement in group.settlements {
            self.settle(&mut held, settlement);
        }
        if !group.settlements.is_empty() {
            self.free(&mut held);
        }
        let (duplicates, not_stored) = self.append(&mut held, group);
        let losses = &mut self.totals.losses;
        for (reason, rows) in group.losses.iter() {
            losses.add(reason, rows);
        }
        losses.add(LossReason::DuplicateId, duplicates.len() as u64);
        losses.add(LossReason::MemoryFull, not_stored as u64);
        self.totals.requests += group.requests;
        self.totals.head = held.head;
        Ok(Committed {
            head: held.head,
            duplicates,
            not_stored,
        })
    }

    /// There is nothing that could outlive the process.
    fn reopen(&mut self) -> Result<bool, StoreError> {
        Ok(false)
    }

    fn room(&self) -> usize {
        self.max_rows.saturating_sub(lock(&self.held).len())
    }

    fn take_unclean(&mut self) -> Result<Vec<UncleanStop>, StoreError> {
        Ok(Vec::new())
    }

    fn size(&self) -> Result<Size, StoreError> {
        Ok(Size::default())
    }

    fn register_sink(&mut self, sink: &'static str) -> Result<SinkTotals, StoreError> {
        let pruned = self.totals.pruned;
        let known = self
            .totals
            .sinks
            .entry(sink.to_owned())
            .or_insert_with(|| SinkTotals {
                began: pruned,
                cursor: pruned,
                ..SinkTotals::default()
            });
        Ok(known.clone())
    }

    fn lease(
        &mut self,
        sink: &'static str,
        holder: &str,
        now: Micros,
        until: Micros,
    ) -> Result<bool, StoreError> {
        let mine = match self.leases.get(sink) {
            Some((other, _)) if other == holder => true,
            Some((_, end)) => until > now && *end <= now,
            None => until > now,
        };
        if mine && until > now {
            self.leases.insert(sink, (holder.to_owned(), until));
        } else if mine {
            self.leases.remove(sink);
        }
        Ok(mine)
    }

    fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Settled rows are gone already, and the others are not removed.
    fn prune(&mut self, _before: Micros, _limit: usize) -> Result<u64, StoreError> {
        Ok(0)
    }

    fn reader(&self) -> Result<Box<dyn Reader>, StoreError> {
        Ok(Box::new(MemoryReader(Arc::clone(&self.held))))
    }

    fn close(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}

impl Reader for MemoryReader {
    fn rows(&mut self, after: i64, upto: i64, limit: usize) -> Result<Vec<StoredRow>, StoreError> {
        let held = lock(&self.0);
        if upto <= after {
            return Ok(Vec::new());
        }
        // Of rows that wait for another try, the numbers are smaller than all others.
        let again = held.again.range(after + 1..=upto).map(|(_, row)| row);
        let line = held
            .rows
            .range(held.place(after + 1)..held.place(upto.saturating_add(1)));
        Ok(again.chain(line).take(limit).cloned().collect())
    }

    fn rows_by_seq(&mut self, seqs: &[i64]) -> Result<Vec<StoredRow>, StoreError> {
        let held = lock(&self.0);
        let found = seqs.iter().filter_map(|seq| held.get(*seq));
        Ok(found.cloned().collect())
    }

    fn stragglers(&mut self, sink: &str, limit: usize) -> Result<Vec<Straggler>, StoreError> {
        let held = lock(&self.0);
        let Some(stragglers) = held.stragglers.get(sink) else {
            return Ok(Vec::new());
        };
        let mut found: Vec<&Straggler> = stragglers.values().collect();
        found.sort_by_key(|straggler| (straggler.next, straggler.seq));
        Ok(found.into_iter().take(limit).cloned().collect())
    }

    fn straggler_count(&mut self, sink: &str) -> Result<u64, StoreError> {
        let held = lock(&self.0);
        Ok(held
            .stragglers
            .get(sink)
            .map_or(0, |found| found.len() as u64))
    }

    fn last_before(&mut self, before: Micros) -> Result<i64, StoreError> {
        let held = lock(&self.0);
        let mut rows = held.again.values().chain(&held.rows);
        let young = rows.find(|stored| stored.row.ts >= before);
        Ok(young.map_or(held.head, |stored| stored.seq - 1))
    }
}

/// A panic elsewhere leaves the rows as they were: every change is complete before the lock goes.
fn lock(held: &Mutex<Held>) -> MutexGuard<'_, Held> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}
