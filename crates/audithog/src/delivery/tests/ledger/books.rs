//! What must be so, kept in the plainest way, by someone who believes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use uuid::Uuid;

use super::{Kind, SINK, Standing, kind};
use crate::delivery::request::Request;
use crate::ledger::{Removal, Replayed, Settlement};
use crate::record::{Micros, Row, StoredRow};
use crate::sink::Verdict;

/// Names one life of one process.
pub(super) type Life = u32;

/// The end of a row for the sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Delivered,
    SampledOut,
    Dead,
}

#[derive(Debug, Default)]
pub(super) struct Books {
    /// Every row ever stored; `seq` is the position plus one.
    pub(super) rows: Vec<Row>,
    pub(super) duplicates: u64,
    pub(super) not_stored: u64,
    pub(super) pruned: i64,
    /// When the last row was stored.
    grown: Option<Micros>,
    /// Rows up to here were fsynced by some process.
    pub(super) synced: i64,
    pub(super) cursor: i64,
    pub(super) fates: BTreeMap<i64, Fate>,
    pub(super) stragglers: BTreeSet<i64>,
    /// Who drives the sink, or did last.
    pub(super) driver: Option<Life>,
    /// Until when nobody else may.
    pub(super) until: Option<Micros>,
    /// What a living driver has been told of a row, and has not handed over as a straggler since.
    told: BTreeMap<(Life, i64), Verdict>,
    /// Sent, and no reply so far.
    open: BTreeMap<i64, Life>,
    /// What the server holds: how often each row came.
    pub(super) taken: BTreeMap<Uuid, u32>,
}

impl Books {
    pub(super) fn head(&self) -> i64 {
        self.rows.len() as i64
    }

    pub(super) fn row(&self, seq: i64) -> &Row {
        &self.rows[usize::try_from(seq).unwrap() - 1]
    }

    /// Whether a store still has the row: a file what is not pruned, a memory what the sink needs.
    pub(super) fn holds(&self, seq: i64, memory: bool) -> bool {
        match memory {
            true => seq > self.cursor || self.stragglers.contains(&seq),
            false => seq > self.pruned,
        }
    }

    /// Which rows of a group are refused, and how many at its end do not fit.
    pub(super) fn append(
        &mut self,
        rows: &[Row],
        room: Option<usize>,
        now: Micros,
    ) -> (Vec<usize>, usize) {
        let mut duplicates = Vec::new();
        let mut not_stored = 0;
        for (at, row) in rows.iter().enumerate() {
            let held: Vec<i64> = (1..=self.head())
                .filter(|seq| self.holds(*seq, room.is_some()))
                .collect();
            let same = |seq: &i64| self.row(*seq).caller_id && self.row(*seq).id == row.id;
            if row.caller_id && held.iter().any(same) {
                duplicates.push(at);
            } else if room.is_some_and(|room| room <= held.len()) {
                not_stored = rows.len() - at;
                break;
            } else {
                self.rows.push(row.clone());
                self.grown = Some(now);
            }
        }
        self.duplicates += duplicates.len() as u64;
        self.not_stored += not_stored as u64;
        (duplicates, not_stored)
    }

    /// Rows that a store wrote by itself.
    pub(super) fn learn(&mut self, rows: Vec<StoredRow>, now: Micros) {
        self.rows
            .extend(rows.into_iter().map(|stored| Row::clone(&stored.row)));
        self.grown = Some(now);
    }

    /// What retention may take: what was stored before `before` and is settled, without a gap. Times are kept of a
    /// thousand rows together, and there are never so many here.
    pub(super) fn removal(&self, before: Micros, most: i64) -> Option<Removal> {
        if self.grown? >= before {
            return None;
        }
        let old = self.pruned + 1..=self.head();
        let settled = old.take_while(|seq| self.fates.contains_key(seq));
        let upto = settled.last()?.min(self.pruned.saturating_add(most));
        let letters = self.letters();
        let dead_letters = letters.range(self.pruned + 1..=upto).count() as u64;
        Some(Removal {
            after: self.pruned,
            upto,
            dead_letters,
        })
    }

    pub(super) fn letters(&self) -> BTreeSet<i64> {
        let dead = self.fates.iter().filter(|(_, fate)| **fate == Fate::Dead);
        dead.map(|(seq, _)| *seq).collect()
    }

    /// Letters whose rows are there are stragglers from now on.
    pub(super) fn replay(&mut self, seqs: &[i64]) -> Replayed {
        let mut done = Replayed::default();
        for seq in seqs {
            if self.fates.get(seq) != Some(&Fate::Dead) {
                done.unknown += 1;
            } else if *seq <= self.pruned {
                done.gone += 1;
            } else {
                self.fates.remove(seq);
                self.stragglers.insert(*seq);
                self.told.retain(|(_, told), _| told != seq);
                done.letters += 1;
                done.last = *seq;
                if done.letters == 1 {
                    done.first = *seq;
                }
            }
        }
        done
    }

    /// Whether `life` may drive the sink from now on.
    pub(super) fn lease(&mut self, life: Life, now: Micros, term: Duration) -> bool {
        let free = self.driver == Some(life) || self.until.is_none_or(|until| until <= now);
        if free {
            self.driver = Some(life);
            self.until = Some(now.saturating_add(term));
        }
        free
    }

    /// The lease of `life` is nobody's now. What it settles still counts until somebody else drives.
    pub(super) fn release(&mut self, life: Life) {
        if self.driver == Some(life) {
            self.until = None;
        }
    }

    /// What `life` knew and had not handed over is forgotten: for the ledger it never happened.
    pub(super) fn forget(&mut self, life: Life) {
        self.told.retain(|(who, _), _| *who != life);
        self.open.retain(|_, who| *who != life);
    }

    pub(super) fn sent(&mut self, life: Life, request: &Request, now: Micros) {
        assert_eq!(
            self.driver,
            Some(life),
            "sent by somebody who does not drive"
        );
        assert!(
            self.until.is_some_and(|until| now < until),
            "sent without a lease"
        );
        let mut ids = BTreeSet::new();
        for stored in &request.rows {
            let seq = stored.seq;
            assert_eq!(&*stored.row, self.row(seq), "row {seq} has changed");
            assert!(seq <= self.synced, "{seq} is sent before it is synced");
            assert!(ids.insert(stored.row.id), "an id twice in one request");
            assert_ne!(kind(&stored.row), Kind::SampledOut);
            assert_eq!(
                self.fates.get(&seq),
                None,
                "{seq} is settled and is sent again"
            );
            let waits = seq > self.cursor || self.stragglers.contains(&seq);
            assert!(waits, "{seq} is not pending");
            // What another life was told died with it, or stays with one that may not say so any more.
            if let Some(Verdict::Delivered | Verdict::Dead(_)) = self.told.get(&(life, seq)) {
                panic!("{seq} was answered and is sent again");
            }
            let before = self.open.insert(seq, life);
            assert_ne!(before, Some(life), "{seq} is under way twice");
        }
    }

    /// The server's side of a request: what it keeps.
    pub(super) fn taken(&mut self, id: Uuid) {
        *self.taken.entry(id).or_default() += 1;
    }

    /// `life` was told what became of a request; without a verdict, that nobody knows.
    pub(super) fn replied(&mut self, life: Life, seqs: &[i64], verdicts: &[Verdict]) {
        for (at, seq) in seqs.iter().enumerate() {
            if self.open.get(seq) == Some(&life) {
                self.open.remove(seq);
            }
            if let Some(verdict) = verdicts.get(at) {
                self.told.insert((life, *seq), verdict.clone());
            }
        }
    }

    /// A settlement of `life` was part of a commit.
    pub(super) fn settle(&mut self, life: Life, settlement: &Settlement) {
        if self.driver.is_some_and(|driver| driver != life) {
            return;
        }
        let dead: BTreeSet<i64> = settlement.dead.iter().map(|letter| letter.seq).collect();
        let strays: BTreeSet<i64> = settlement.stragglers.iter().map(|row| row.seq).collect();
        assert_eq!(dead.len(), settlement.dead.len(), "a row is dead twice");
        let (mut delivered, mut sampled_out) = (0, 0);
        let before = self.cursor;
        assert!(before <= settlement.cursor, "the cursor moved back");
        assert!(
            settlement.cursor <= self.head(),
            "the cursor passed the head"
        );
        for seq in &settlement.resolved {
            assert!(self.stragglers.remove(seq), "{seq} was no straggler");
            let fate = self.fate(life, *seq, &dead);
            delivered += u64::from(fate == Fate::Delivered);
            self.end(*seq, fate);
        }
        for seq in before + 1..=settlement.cursor {
            if strays.contains(&seq) {
                assert!(!dead.contains(&seq), "{seq} is dead and a straggler");
                self.stragglers.insert(seq);
                continue;
            }
            let fate = match kind(self.row(seq)) {
                Kind::SampledOut => Fate::SampledOut,
                _ => self.fate(life, seq, &dead),
            };
            delivered += u64::from(fate == Fate::Delivered);
            sampled_out += u64::from(fate == Fate::SampledOut);
            self.end(seq, fate);
        }
        self.cursor = settlement.cursor;
        for seq in &strays {
            assert!(
                self.stragglers.contains(seq),
                "{seq} is no straggler, and tried again"
            );
        }
        for seq in &dead {
            assert_eq!(
                self.fates.get(seq),
                Some(&Fate::Dead),
                "{seq} is not settled by this"
            );
        }
        assert_eq!(settlement.delivered, delivered);
        assert_eq!(settlement.sampled_out, sampled_out);
        assert_eq!(settlement.held_back, 0, "nothing is ever missing here");
    }

    fn fate(&self, life: Life, seq: i64, dead: &BTreeSet<i64>) -> Fate {
        let delivered = self.told.get(&(life, seq)) == Some(&Verdict::Delivered);
        assert_ne!(
            delivered,
            dead.contains(&seq),
            "{seq}: delivered {delivered}"
        );
        match delivered {
            true => Fate::Delivered,
            false => Fate::Dead,
        }
    }

    fn end(&mut self, seq: i64, fate: Fate) {
        let before = self.fates.insert(seq, fate);
        assert_eq!(before, None, "{seq} was settled before");
    }

    /// Compares with what the store says.
    pub(super) fn check(&self, found: &Standing, memory: bool) {
        let count = |fate| self.fates.values().filter(|known| **known == fate).count() as u64;
        let Standing { totals, sink, .. } = found;
        assert_eq!(totals.head, self.head());
        assert!(memory || totals.pruned == self.pruned);
        assert_eq!(
            totals.losses.get(crate::books::LossReason::DuplicateId),
            self.duplicates
        );
        assert_eq!(
            totals.losses.get(crate::books::LossReason::MemoryFull),
            self.not_stored
        );
        assert_eq!((sink.began, sink.cursor), (0, self.cursor));
        assert_eq!(sink.delivered, count(Fate::Delivered));
        assert_eq!(sink.sampled_out, count(Fate::SampledOut));
        assert_eq!(sink.dead, count(Fate::Dead));
        assert_eq!(sink.held_back, 0);
        assert_eq!(sink.stragglers, self.stragglers.len() as u64);
        let settled = sink.delivered + sink.sampled_out + sink.held_back + sink.dead;
        assert_eq!(
            totals.head.unsigned_abs(),
            settled + sink.pending(totals.head),
            "{SINK}"
        );
        let stragglers: BTreeSet<i64> = found.stragglers.iter().map(|row| row.seq).collect();
        assert_eq!(stragglers, self.stragglers);
        let held: Vec<i64> = found.rows.iter().map(|row| row.seq).collect();
        let expected: Vec<i64> = (1..=self.head())
            .filter(|seq| self.holds(*seq, memory))
            .collect();
        assert_eq!(held, expected, "a row is missing or too many");
        for stored in &found.rows {
            assert_eq!(&*stored.row, self.row(stored.seq));
        }
        if let Some(letters) = &found.letters {
            assert!(letters.iter().eq(&self.letters()), "{letters:?}");
        }
    }
}
