//! The line: a window over the ledger between the cursor and the read position.
//!
//! Rows are read in order and cut into slots, one request's worth each. Slots may finish in any
//! order; the cursor moves over the finished ones at the front. What later slots have come to waits
//! in memory, bounded by the number of slots.

use std::collections::{HashSet, VecDeque};

use uuid::Uuid;

use super::id_hash::IdHashing;
use super::request::{Origin, Request};
use crate::ledger::{DeadLetter, Settlement, Straggler};
use crate::record::{Micros, StoredRow};
use crate::sink::{Admission, RequestLimits, Sink};

#[derive(Debug)]
pub(super) struct Line {
    cursor: i64,
    read: i64,
    slots: VecDeque<Slot>,
    /// Of the rows in the one slot that is being filled. Kept: a new set would grow anew for every request.
    ids: HashSet<Uuid, IdHashing>,
    /// Number of the slot at the front.
    front: u64,
    max_slots: usize,
}

/// A stretch of the line: the rows after the slot before it, up to `last`.
#[derive(Debug)]
struct Slot {
    last: i64,
    first_ts: Option<Micros>,
    /// Rows whose fate is open.
    open: usize,
    sum: Settlement,
    /// Rows that will make the slot's request; taken when it is full or nothing is left to read.
    filling: Option<Filling>,
}

#[derive(Debug, Default)]
struct Filling {
    rows: Vec<StoredRow>,
    bytes: usize,
}

/// What became of a row of the line.
#[derive(Debug)]
pub(super) enum Fate {
    Delivered,
    Dead(DeadLetter),
    Straggler(Straggler),
}

impl Line {
    pub(super) fn new(cursor: i64, max_slots: usize) -> Self {
        Self {
            cursor,
            read: cursor,
            slots: VecDeque::new(),
            ids: HashSet::default(),
            front: 0,
            max_slots: max_slots.max(1),
        }
    }

    /// Every row up to here was handed over as settled or as a straggler.
    pub(super) fn cursor(&self) -> i64 {
        self.cursor
    }

    /// Rows up to here were read.
    pub(super) fn read(&self) -> i64 {
        self.read
    }

    pub(super) fn has_room(&self) -> bool {
        self.slots.len() < self.max_slots
    }

    /// Rows up to `upto` can still be read, or a request be made of those that were.
    pub(super) fn is_loading(&self, upto: i64) -> bool {
        let filling = self.slots.back().and_then(|slot| slot.filling.as_ref());
        (self.read < upto && self.has_room())
            || filling.is_some_and(|filling| !filling.rows.is_empty())
    }

    /// Arrival of the first row that was read and is not settled.
    pub(super) fn oldest(&self) -> Option<Micros> {
        self.slots
            .iter()
            .find(|slot| slot.open > 0)
            .and_then(|slot| slot.first_ts)
    }

    /// Takes rows just read, which are all there are up to `upto`. Returns the requests that are
    /// full.
    ///
    /// A sequence number without a row cannot be sent to anyone: it counts as held back, so that
    /// the books stay balanced and the line moves.
    pub(super) fn feed(
        &mut self,
        rows: Vec<StoredRow>,
        upto: i64,
        sink: &dyn Sink,
        now: Micros,
    ) -> Vec<Request> {
        let mut full = Vec::new();
        let limits = sink.limits();
        let (mut kept, mut left_out) = (0, 0);
        for mut row in rows {
            if row.seq <= self.read {
                continue;
            }
            self.skip(row.seq - 1);
            let weight = match sink.admit(&row) {
                Admission::Send => Some(sink.weight(&row)),
                Admission::SampledOut => None,
            };
            if weight.is_some_and(|weight| !self.takes(&row, weight, limits)) {
                full.extend(self.cut(now));
            }
            if weight.is_some() {
                self.ids.insert(row.row.id);
                kept += 1;
                // Rows that were read together take their memory together: of a sample each would hold hundreds.
                if left_out > kept {
                    row.row = row.row.alone();
                }
            } else {
                left_out += 1;
            }
            let seq = row.seq;
            let slot = self.filling_slot();
            slot.last = seq;
            slot.first_ts.get_or_insert(row.row.ts);
            if let Some(weight) = weight {
                slot.open += 1;
                let filling = slot.filling.get_or_insert_default();
                filling.bytes = filling.bytes.saturating_add(weight);
                filling.rows.push(row);
            } else {
                slot.sum.sampled_out += 1;
            }
            self.read = seq;
        }
        self.skip(upto);
        full
    }

    /// Closes the slot being filled: its request, if it has rows to send.
    pub(super) fn cut(&mut self, now: Micros) -> Option<Request> {
        let number = self.front + self.slots.len().saturating_sub(1) as u64;
        let filling = self.slots.back_mut()?.filling.take()?;
        self.ids.clear();
        if filling.rows.is_empty() {
            return None;
        }
        let origin = Origin::Line { slot: number };
        Some(Request::new(origin, filling.rows, now))
    }

    /// A row of slot `number` has come to its end.
    pub(super) fn finish(&mut self, number: u64, fate: Fate) {
        let slot = usize::try_from(number.wrapping_sub(self.front))
            .ok()
            .and_then(|index| self.slots.get_mut(index));
        let Some(slot) = slot else {
            debug_assert!(false, "slot {number} has left the line");
            return;
        };
        debug_assert!(slot.open > 0, "slot {number} has no open row");
        slot.open = slot.open.saturating_sub(1);
        match fate {
            Fate::Delivered => slot.sum.delivered += 1,
            Fate::Dead(letter) => slot.sum.dead.push(letter),
            Fate::Straggler(straggler) => slot.sum.stragglers.push(straggler),
        }
    }

    /// All rows of slot `number` were delivered, `count` of them: as if each had been finished.
    pub(super) fn finish_all(&mut self, number: u64, count: usize) {
        let slot = usize::try_from(number.wrapping_sub(self.front))
            .ok()
            .and_then(|index| self.slots.get_mut(index));
        let Some(slot) = slot else {
            debug_assert!(false, "slot {number} has left the line");
            return;
        };
        debug_assert!(slot.open >= count, "slot {number} has fewer open rows");
        slot.open = slot.open.saturating_sub(count);
        slot.sum.delivered += count as u64;
    }

    /// Moves the cursor over the finished slots at the front and adds what they came to.
    pub(super) fn settle(&mut self, sum: &mut Settlement) {
        while self
            .slots
            .front()
            .is_some_and(|slot| slot.open == 0 && slot.filling.is_none())
        {
            let Some(slot) = self.slots.pop_front() else {
                break;
            };
            self.front += 1;
            self.cursor = slot.last;
            sum.cursor = slot.last;
            sum.delivered += slot.sum.delivered;
            sum.sampled_out += slot.sum.sampled_out;
            sum.held_back += slot.sum.held_back;
            sum.dead.extend(slot.sum.dead);
            sum.stragglers.extend(slot.sum.stragglers);
        }
    }

    fn skip(&mut self, upto: i64) {
        let missing = upto - self.read;
        if missing > 0 {
            let slot = self.filling_slot();
            slot.last = upto;
            slot.sum.held_back += missing.unsigned_abs();
            self.read = upto;
        }
    }

    /// Whether the request being filled has room for the row.
    fn takes(&self, row: &StoredRow, weight: usize, limits: RequestLimits) -> bool {
        let Some(filling) = self.slots.back().and_then(|slot| slot.filling.as_ref()) else {
            return true;
        };
        filling.rows.is_empty()
            || (filling.rows.len() < limits.rows
                && filling.bytes.saturating_add(weight) <= limits.bytes
                && !self.ids.contains(&row.row.id))
    }

    fn filling_slot(&mut self) -> &mut Slot {
        let open = self.slots.back().is_some_and(|slot| slot.filling.is_some());
        if !open {
            self.slots.push_back(Slot {
                last: self.read,
                first_ts: None,
                open: 0,
                sum: Settlement::default(),
                filling: Some(Filling::default()),
            });
        }
        let last = self.slots.len() - 1;
        &mut self.slots[last]
    }
}
