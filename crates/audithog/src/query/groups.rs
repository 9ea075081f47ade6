//! Rows counted by groups.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::percentiles::Percentiles;
use super::question::{Grouping, Key, Measure, Order};
use crate::ledger::{Column, Columns, FAILURE, HTTP, Slice};
use crate::record::Field;

/// Groups held at a time: some hundred megabytes.
const MOST_GROUPS: usize = 1_000_000;
/// Keys of a group.
const KEYS: usize = 4;

/// Normal quantile of a two-sided 95 % interval.
const Z: f64 = 1.959_963_984_540_054;

type Names = HashMap<[u64; KEYS], u32, BuildHasherDefault<Quick>>;

/// Groups, as far as they are counted.
#[derive(Debug)]
pub(super) struct Groups<'q> {
    grouping: &'q Grouping,
    keys: Vec<Source>,
    percentiles: bool,
    places: Names,
    slots: Vec<Slot>,
    rows: u64,
}

/// Where a key's number comes from.
#[derive(Debug)]
enum Source {
    Column(Column),
    Result,
    /// Of the run; runs with the same text are one.
    Run(HashMap<u64, u64>),
    Time(i64),
}

/// What is known of a group.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) key: [u64; KEYS],
    /// The first of its rows.
    pub(super) example: i64,
    count: u64,
    successes: u64,
    failures: u64,
    client_errors: u64,
    server_errors: u64,
    last: i64,
    percentiles: Option<Percentiles>,
}

/// A measure's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Figure {
    Count(u64),
    Number(Option<f64>),
    Time(i64),
}

impl<'q> Groups<'q> {
    /// `run_keys`: for fields of the run, a number for each run; equal for equal texts.
    pub(super) fn new<E>(
        grouping: &'q Grouping,
        mut run_keys: impl FnMut(Field) -> Result<HashMap<u64, u64>, E>,
    ) -> Result<Self, E> {
        let mut keys = Vec::with_capacity(grouping.by.len());
        for key in &grouping.by {
            keys.push(match key {
                Key::Time(step) => Source::Time(*step),
                Key::Field(Field::Result) => Source::Result,
                Key::Field(field) => match column(*field) {
                    Some(column) => Source::Column(column),
                    None => Source::Run(run_keys(*field)?),
                },
            });
        }
        let timed = [Measure::P50, Measure::P95, Measure::P99];
        Ok(Self {
            grouping,
            keys,
            percentiles: timed
                .iter()
                .any(|measure| grouping.measures.contains(measure)),
            places: Names::default(),
            slots: Vec::new(),
            rows: 0,
        })
    }

    /// The columns that are read.
    pub(super) fn columns(&self) -> Columns {
        let keys = self.keys.iter().map(|source| match source {
            Source::Column(column) => *column,
            Source::Result => Column::Flags,
            Source::Run(_) => Column::Run,
            Source::Time(_) => Column::Ts,
        });
        let measures = self
            .grouping
            .measures
            .iter()
            .flat_map(|measure| match measure {
                Measure::Count => &[][..],
                Measure::Successes | Measure::Failures | Measure::FailureRate => {
                    &[Column::Flags][..]
                }
                Measure::ClientErrors | Measure::ServerErrors | Measure::ServerErrorRate => {
                    &[Column::Status][..]
                }
                Measure::OtherFailures => &[Column::Flags, Column::Status][..],
                Measure::P50 | Measure::P95 | Measure::P99 => &[Column::Duration][..],
                Measure::Last => &[Column::Ts][..],
            });
        keys.chain(measures.copied()).collect()
    }

    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Counts the rows that are selected. False: there are more groups than can be held.
    #[must_use]
    pub(super) fn add(&mut self, slice: &Slice) -> bool {
        let (flags, status) = (slice.column(Column::Flags), slice.column(Column::Status));
        let (ts, duration) = (slice.column(Column::Ts), slice.column(Column::Duration));
        // Neighbours are often of one group.
        let mut last: Option<([u64; KEYS], u32)> = None;
        for &at in &slice.selected {
            let at = at as usize;
            let mut key = [0; KEYS];
            for (key, source) in key.iter_mut().zip(&self.keys) {
                *key = source.key(slice, at);
            }
            let place = match last {
                Some((known, place)) if known == key => place,
                _ => match self.place(key, slice.seqs[at]) {
                    Some(place) => place,
                    None => return false,
                },
            };
            last = Some((key, place));
            let slot = &mut self.slots[place as usize];
            slot.count += 1;
            // Rows that have to be looked at come after the others of their stretch.
            slot.example = slot.example.min(slice.seqs[at]);
            if let Some(flags) = flags.get(at) {
                slot.failures += u64::from(flags & FAILURE != 0);
                slot.successes += u64::from(flags & (HTTP | FAILURE) == HTTP);
            }
            if let Some(status) = status.get(at) {
                slot.client_errors += u64::from((400..500).contains(status));
                slot.server_errors += u64::from((500..600).contains(status));
            }
            if let Some(ts) = ts.get(at) {
                slot.last = slot.last.max(ts.cast_signed());
            }
            if let (Some(percentiles), Some(duration)) = (&mut slot.percentiles, duration.get(at))
                && *duration > 0
            {
                percentiles.add(duration - 1);
            }
        }
        self.rows += slice.selected.len() as u64;
        true
    }

    /// The group's place, made if it is new. None: there is no room.
    fn place(&mut self, key: [u64; KEYS], seq: i64) -> Option<u32> {
        let next = u32::try_from(self.slots.len()).ok()?;
        let place = *self.places.entry(key).or_insert(next);
        if place == next {
            if self.slots.len() >= MOST_GROUPS {
                return None;
            }
            self.slots.push(Slot::new(key, seq, self.percentiles));
        }
        Some(place)
    }

    /// The first `limit` groups in their order, and whether there are more.
    pub(super) fn first(self, limit: usize) -> (Vec<Slot>, bool) {
        let order = self.grouping.order;
        let mut slots = self.slots;
        if order == Order::SurestServerErrors {
            // A rate of nothing is no answer.
            slots.retain(|slot| slot.server_errors > 0);
        }
        // Of equals the one that was met first.
        slots.sort_by(|a, b| match order {
            Order::Key => a.key[0].cast_signed().cmp(&b.key[0].cast_signed()),
            Order::Largest(measure) => b
                .rank(measure)
                .total_cmp(&a.rank(measure))
                .then(a.example.cmp(&b.example)),
            Order::SurestServerErrors => b
                .surest_server_errors()
                .total_cmp(&a.surest_server_errors())
                .then(a.example.cmp(&b.example)),
        });
        let more = slots.len() > limit;
        slots.truncate(limit);
        (slots, more)
    }
}

impl Source {
    fn key(&self, slice: &Slice, at: usize) -> u64 {
        match self {
            Self::Column(column) => slice.column(*column)[at],
            Self::Result => slice.column(Column::Flags)[at] & (HTTP | FAILURE),
            Self::Run(known) => {
                let run = slice.column(Column::Run)[at];
                known.get(&run).copied().unwrap_or(run)
            }
            Self::Time(step) => slice.column(Column::Ts)[at]
                .cast_signed()
                .div_euclid(*step)
                .cast_unsigned(),
        }
    }
}

impl Slot {
    fn new(key: [u64; KEYS], example: i64, percentiles: bool) -> Self {
        Self {
            key,
            example,
            count: 0,
            successes: 0,
            failures: 0,
            client_errors: 0,
            server_errors: 0,
            last: i64::MIN,
            percentiles: percentiles.then(Percentiles::new),
        }
    }

    pub(super) fn figure(&self, measure: Measure) -> Figure {
        let share = |part: u64, of: u64| Figure::Number((of > 0).then(|| part as f64 / of as f64));
        let at = |share: f64| {
            let percentiles = self.percentiles.as_ref();
            Figure::Number(percentiles.and_then(|percentiles| percentiles.at(share)))
        };
        match measure {
            Measure::Count => Figure::Count(self.count),
            Measure::Successes => Figure::Count(self.successes),
            Measure::Failures => Figure::Count(self.failures),
            Measure::FailureRate => share(self.failures, self.failures + self.successes),
            Measure::ClientErrors => Figure::Count(self.client_errors),
            Measure::ServerErrors => Figure::Count(self.server_errors),
            Measure::ServerErrorRate => share(self.server_errors, self.count),
            Measure::OtherFailures => Figure::Count(
                self.failures
                    .saturating_sub(self.client_errors + self.server_errors),
            ),
            Measure::P50 => at(0.50),
            Measure::P95 => at(0.95),
            Measure::P99 => at(0.99),
            Measure::Last => Figure::Time(self.last),
        }
    }

    fn rank(&self, measure: Measure) -> f64 {
        match self.figure(measure) {
            Figure::Count(count) => count as f64,
            Figure::Number(number) => number.unwrap_or(f64::NEG_INFINITY),
            Figure::Time(time) => time as f64,
        }
    }

    fn surest_server_errors(&self) -> f64 {
        surest(self.server_errors, self.count)
    }
}

/// The lower bound of the Wilson score interval of a share.
fn surest(part: u64, of: u64) -> f64 {
    if of == 0 {
        return 0.0;
    }
    let (n, z2) = (of as f64, Z * Z);
    let share = part as f64 / n;
    let spread = Z * (share * (1.0 - share) / n + z2 / (4.0 * n * n)).sqrt();
    (share + z2 / (2.0 * n) - spread) / (1.0 + z2 / n)
}

/// The column that has the field. None: the run has it.
fn column(field: Field) -> Option<Column> {
    Some(match field {
        Field::Event => Column::Event,
        Field::UserId => Column::UserId,
        Field::UserRole => Column::UserRole,
        Field::OrgId => Column::OrgId,
        Field::ActorType => Column::ActorType,
        Field::OnBehalfOf => Column::OnBehalfOf,
        Field::Method => Column::Method,
        Field::Path => Column::Path,
        Field::Route => Column::Route,
        Field::Result => Column::Flags,
        Field::ErrorCode => Column::ErrorCode,
        Field::UserAgent => Column::UserAgent,
        Field::Ip => Column::Ip,
        Field::RequestId | Field::UpstreamRequestId => Column::RequestId,
        Field::TraceId => Column::TraceId,
        Field::Service | Field::Environment | Field::Version | Field::Instance => return None,
    })
}

/// The keys are hashes, numbers of a dictionary or times: nobody outside chooses them.
#[derive(Clone, Copy, Debug, Default)]
struct Quick(u64);

impl Hasher for Quick {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(29) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn finish(&self) -> u64 {
        // The map uses the upper bits for its tags and the lower ones for the place.
        self.0 ^ self.0 >> 32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The second column of Wilson's interval as statistics packages give it.
    #[test]
    fn a_single_failure_does_not_lead() {
        assert!((surest(1, 1) - 0.2065).abs() < 0.0005, "{}", surest(1, 1));
        assert!((surest(50, 100) - 0.4038).abs() < 0.0005);
        assert!(surest(1, 1) < surest(500, 1_000));
        assert!(surest(1, 1_000) < surest(100, 1_000));
        assert_eq!(surest(0, 0), 0.0);
    }
}
