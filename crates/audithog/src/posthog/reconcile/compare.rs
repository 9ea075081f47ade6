//! The two sides side by side.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use uuid::Uuid;

use super::remote::{Event, Hour, Remote, Writers};
use super::rows::{Fate, Rules, Source};
use super::{MissingRow, NotDelivered, Reconcile, Reconciliation};
use crate::error::Error;
use crate::posthog::Api;
use crate::record::Micros;

const HOUR: i64 = 3_600_000_000;
/// How far from its time an event is looked for: PostHog sets times that are too far ahead to its own.
const AROUND: Duration = Duration::from_secs(86_400);

/// What the ledger has of an hour that PostHog is to have.
#[derive(Clone, Copy, Debug, Default)]
struct Expected {
    rows: u64,
    /// Sum of the rows' times, in milliseconds.
    times: i128,
}

/// Counts while the comparison goes on.
#[derive(Debug, Default)]
struct Counts {
    rows: u64,
    delivered: u64,
    found: u64,
    on_the_way: u64,
    duplicated: u64,
    late: u64,
    displaced: u64,
    others: Option<u64>,
    not_delivered: NotDelivered,
    differing: Vec<i64>,
}

/// A ledger and a project.
#[derive(Debug)]
pub(super) struct Comparison<'a> {
    remote: Remote,
    rows: Source<'a>,
    asked: &'a Reconcile,
    now: Micros,
    counts: Counts,
    missing: Vec<MissingRow>,
    /// Young rows that are not there yet.
    young: Vec<i64>,
    /// Stretches of the rows that are compared, both ends included. Those that are still to be sent are in none.
    compared: Vec<(i64, i64)>,
}

/// What is noted in the ledger.
#[derive(Debug)]
pub(super) struct Marks {
    pub(super) there: Vec<(i64, i64)>,
    pub(super) missing: Vec<i64>,
}

impl<'a> Comparison<'a> {
    pub(super) fn new(api: Api, rows: Source<'a>, asked: &'a Reconcile, now: Micros) -> Self {
        Self {
            remote: Remote {
                api,
                writers: Writers::default(),
                late: asked.late,
            },
            rows,
            asked,
            now,
            counts: Counts::default(),
            missing: Vec::new(),
            young: Vec::new(),
            compared: Vec::new(),
        }
    }

    pub(super) fn run(&mut self) -> Result<(), Error> {
        let expected = self.expected()?;
        if self.counts.rows == 0 {
            return Ok(());
        }
        let there = self.remote.hours(self.rows.range())?;
        let mut hours: Vec<i64> = expected.keys().chain(there.keys()).copied().collect();
        hours.sort_unstable();
        hours.dedup();
        for hour in hours {
            let expected = expected.get(&hour).copied().unwrap_or_default();
            let there = there.get(&hour).copied().unwrap_or_default();
            if expected.agrees(&there) && !self.asked.each {
                self.counts.found += there.events;
                self.counts.late += there.late;
                continue;
            }
            if !expected.agrees(&there) {
                self.counts.differing.push(hour);
            }
            self.by_id(hour)?;
        }
        self.confirm()
    }

    /// What each hour is to have; on the way, who wrote the rows.
    fn expected(&mut self) -> Result<BTreeMap<i64, Expected>, Error> {
        let mut expected: BTreeMap<i64, Expected> = BTreeMap::new();
        let (counts, writers) = (&mut self.counts, &mut self.remote.writers);
        let compared = &mut self.compared;
        self.rows.each(self.rows.range(), |stored, fate| {
            counts.rows += 1;
            if fate != Fate::Pending {
                extend(compared, stored.seq);
            }
            counts.not_delivered.add(fate);
            writers.add(&stored.run);
            if fate == Fate::Delivered {
                counts.delivered += 1;
                let hour = expected
                    .entry(stored.row.ts.0.div_euclid(HOUR))
                    .or_default();
                hour.rows += 1;
                hour.times += i128::from(stored.row.ts.0.div_euclid(1_000));
            }
        })?;
        Ok(expected)
    }

    /// One hour, or what of it is in the range.
    fn by_id(&mut self, hour: i64) -> Result<(), Error> {
        let (since, until) = self.rows.range();
        let from = Micros(hour.saturating_mul(HOUR)).max(since);
        let to = Micros(hour.saturating_add(1).saturating_mul(HOUR)).min(until);
        let mut there = self.remote.events((from, to))?;
        let (counts, missing, late) = (&mut self.counts, &mut self.missing, self.asked.late);
        self.rows.each((from, to), |stored, fate| {
            let event = there.remove(&stored.row.id);
            if fate != Fate::Delivered {
                return;
            }
            match event {
                Some(event) => counts.add(&event, stored.row.ts, late),
                None => missing.push(MissingRow {
                    seq: stored.seq.unsigned_abs(),
                    id: stored.row.id,
                    time_micros: stored.row.ts.0,
                }),
            }
        })?;
        *self.counts.others.get_or_insert(0) += there.len() as u64;
        Ok(())
    }

    /// What is not in its hour may be elsewhere, or on its way.
    fn confirm(&mut self) -> Result<(), Error> {
        let (Some(first), Some(last)) = (
            self.missing.iter().map(|row| row.time_micros).min(),
            self.missing.iter().map(|row| row.time_micros).max(),
        ) else {
            return Ok(());
        };
        let ids: Vec<Uuid> = self.missing.iter().map(|row| row.id).collect();
        let range = (
            Micros(first).saturating_sub(AROUND),
            Micros(last).max(self.now).saturating_add(AROUND),
        );
        let there = self.remote.named(&ids, range)?;
        let young = self.now.saturating_sub(self.asked.grace);
        let (counts, late) = (&mut self.counts, self.asked.late);
        let on_their_way = &mut self.young;
        self.missing.retain(|row| {
            let time = Micros(row.time_micros);
            if let Some(event) = there.get(&row.id) {
                counts.add(event, time, late);
                counts.displaced += 1;
                return false;
            }
            let on_the_way = time > young;
            if on_the_way {
                counts.on_the_way += 1;
                on_their_way.push(row.seq.cast_signed());
            }
            !on_the_way
        });
        // By number: so they are read, and sent again.
        self.missing.sort_unstable_by_key(|row| row.seq);
        Ok(())
    }

    pub(super) fn end(mut self, path: &Path) -> (Reconciliation, Rules, Marks) {
        let mut missing = std::mem::take(&mut self.young);
        missing.extend(self.missing.iter().map(|row| row.seq.cast_signed()));
        missing.sort_unstable();
        let marks = Marks {
            there: without(&self.compared, &missing),
            missing,
        };
        let (since, until) = self.rows.range();
        let counts = self.counts;
        let hour = |hour: i64| Micros(hour.saturating_mul(HOUR)).to_string();
        let found = Reconciliation {
            ledger: path.to_owned(),
            project: self.remote.api.project().to_owned(),
            since: since.to_string(),
            until: until.to_string(),
            rows: counts.rows,
            delivered: counts.delivered,
            found: counts.found,
            missing: self.missing,
            on_the_way: counts.on_the_way,
            duplicated: counts.duplicated,
            late: counts.late,
            displaced: counts.displaced,
            others: counts.others,
            not_delivered: counts.not_delivered,
            differing_hours: counts.differing.into_iter().map(hour).collect(),
            resent: None,
            verified: false,
        };
        (found, self.rows.into_rules(), marks)
    }
}

/// Adds the next number to the last stretch, or begins another.
fn extend(stretches: &mut Vec<(i64, i64)>, seq: i64) {
    match stretches.last_mut() {
        Some((_, last)) if *last + 1 == seq => *last = seq,
        _ => stretches.push((seq, seq)),
    }
}

/// The stretches without these numbers; both in order.
fn without(stretches: &[(i64, i64)], numbers: &[i64]) -> Vec<(i64, i64)> {
    let mut left = Vec::new();
    let mut numbers = numbers.iter().copied().peekable();
    for &(first, last) in stretches {
        let mut from = first;
        while let Some(number) = numbers.next_if(|number| *number <= last) {
            if from < number {
                left.push((from, number - 1));
            }
            from = from.max(number + 1);
        }
        if from <= last {
            left.push((from, last));
        }
    }
    left
}

impl Counts {
    fn add(&mut self, event: &Event, time: Micros, late: Duration) {
        self.found += 1;
        self.duplicated += u64::from(event.copies > 1);
        let late = i64::try_from(late.as_secs()).unwrap_or(i64::MAX);
        let behind = event.created.saturating_sub(time.0.div_euclid(1_000_000));
        self.late += u64::from(behind > late);
    }
}

impl Expected {
    /// The same number, at the same times all together, each once.
    fn agrees(&self, there: &Hour) -> bool {
        self.rows == there.events && there.stored == there.events && self.times == there.times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_in_no_stretch() {
        let mut stretches = Vec::new();
        for seq in [3, 4, 5, 9, 10, 20] {
            extend(&mut stretches, seq);
        }
        assert_eq!(stretches, [(3, 5), (9, 10), (20, 20)]);
        for (missing, left) in [
            (&[][..], &[(3, 5), (9, 10), (20, 20)][..]),
            (&[4], &[(3, 3), (5, 5), (9, 10), (20, 20)]),
            (&[3, 5, 20], &[(4, 4), (9, 10)]),
            (&[1, 7, 30], &[(3, 5), (9, 10), (20, 20)]),
            (&[3, 4, 5, 9, 10, 20], &[]),
        ] {
            assert_eq!(without(&stretches, missing), left);
        }
    }
}
