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
pub(super) const KEYS: usize = 4;

/// Normal quantile of a two-sided 95 % interval.
const Z: f64 = 1.959_963_984_540_054;

/// Combinations of keys in one slice for which a table is quicker than a map.
const TABLE: u64 = 1 << 16;

/// Groups, as far as they are counted.
#[derive(Debug)]
pub(super) struct Groups<'q> {
    grouping: &'q Grouping,
    keys: Vec<Source>,
    percentiles: bool,
    /// By the key, where there is one; else by all of them.
    by_one: HashMap<u64, u32, BuildHasherDefault<Quick>>,
    by_all: HashMap<[u64; KEYS], u32, BuildHasherDefault<Quick>>,
    found: Vec<[u64; KEYS]>,
    slots: Vec<Slot>,
    rows: u64,
    /// Of the rows of a slice that are selected: each key's numbers, and the places of their groups. Only their memory is kept.
    lanes: [Vec<u64>; KEYS],
    placed: Vec<u32>,
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

/// What is known of a group: a line of the processor's cache, since each row may be of another one.
#[derive(Debug)]
pub(super) struct Slot {
    /// The first of its rows.
    pub(super) example: i64,
    count: u64,
    successes: u64,
    failures: u64,
    client_errors: u64,
    server_errors: u64,
    last: i64,
    percentiles: Option<Box<Percentiles>>,
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
                Key::Status => Source::Column(Column::Status),
                Key::Field(Field::Result) => Source::Result,
                Key::Field(field) => match column(*field) {
                    Some(column) => Source::Column(column),
                    None => Source::Run(run_keys(*field)?),
                },
            });
        }
        Ok(Self {
            grouping,
            keys,
            percentiles: grouping.has_percentiles(),
            by_one: HashMap::default(),
            by_all: HashMap::default(),
            found: Vec::new(),
            slots: Vec::new(),
            rows: 0,
            lanes: Default::default(),
            placed: Vec::new(),
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
        let mut lanes = std::mem::take(&mut self.lanes);
        let mut placed = std::mem::take(&mut self.placed);
        for (lane, source) in lanes.iter_mut().zip(&self.keys) {
            lane.clear();
            source.gather(slice, lane);
        }
        placed.clear();
        let room = self.place_all(slice, &lanes, &mut placed);
        if room {
            self.count(slice, &placed);
        }
        self.lanes = lanes;
        self.placed = placed;
        room
    }

    /// Finds the group of each row. False: there is no room for another.
    fn place_all(
        &mut self,
        slice: &Slice,
        lanes: &[Vec<u64>; KEYS],
        placed: &mut Vec<u32>,
    ) -> bool {
        let lanes = &lanes[..self.keys.len()];
        let rows = slice.selected.iter().enumerate();
        let rows = rows.map(|(at, selected)| (at, slice.seqs[*selected as usize]));
        if let Some(table) = Table::over(lanes) {
            let mut known = table.empty();
            for (at, seq) in rows {
                let known = &mut known[table.at(lanes, at)];
                if *known == u32::MAX {
                    match self.place(key_at(lanes, at), seq) {
                        Some(place) => *known = place,
                        None => return false,
                    }
                }
                placed.push(*known);
            }
            return true;
        }
        for (at, seq) in rows {
            let known = match lanes {
                [lane] => self.by_one.get(&lane[at]),
                lanes => self.by_all.get(&key_at(lanes, at)),
            };
            let place = match known {
                Some(place) => *place,
                None => match self.place(key_at(lanes, at), seq) {
                    Some(place) => place,
                    None => return false,
                },
            };
            placed.push(place);
        }
        true
    }

    /// Makes the group, or finds it; its place. None: there is no room.
    fn place(&mut self, key: [u64; KEYS], seq: i64) -> Option<u32> {
        let next = u32::try_from(self.slots.len()).ok()?;
        let place = match self.keys.len() {
            1 => *self.by_one.entry(key[0]).or_insert(next),
            _ => *self.by_all.entry(key).or_insert(next),
        };
        if place == next {
            if self.slots.len() >= MOST_GROUPS {
                return None;
            }
            self.found.push(key);
            self.slots.push(Slot::new(seq, self.percentiles));
        }
        Some(place)
    }

    fn count(&mut self, slice: &Slice, placed: &[u32]) {
        let column = |column| Some(slice.column(column)).filter(|numbers| !numbers.is_empty());
        let (flags, status) = (column(Column::Flags), column(Column::Status));
        let (ts, durations) = (column(Column::Ts), column(Column::Duration));
        for (place, at) in placed.iter().zip(&slice.selected) {
            let (slot, at) = (&mut self.slots[*place as usize], *at as usize);
            slot.count += 1;
            // Rows that have to be looked at come after the others of their stretch.
            slot.example = slot.example.min(slice.seqs[at]);
            if let Some(flags) = flags {
                slot.failures += u64::from(flags[at] & FAILURE != 0);
                slot.successes += u64::from(flags[at] & (HTTP | FAILURE) == HTTP);
            }
            if let Some(status) = status {
                slot.client_errors += u64::from((400..500).contains(&status[at]));
                slot.server_errors += u64::from((500..600).contains(&status[at]));
            }
            if let Some(ts) = ts {
                slot.last = slot.last.max(ts[at].cast_signed());
            }
            if let (Some(durations), Some(percentiles)) = (durations, &mut slot.percentiles)
                && durations[at] > 0
            {
                percentiles.add(durations[at] - 1);
            }
        }
        self.rows += placed.len() as u64;
    }

    /// The first `limit` groups in their order, each with its keys, and whether there are more.
    pub(super) fn first(self, limit: usize) -> (Vec<([u64; KEYS], Slot)>, bool) {
        let order = self.grouping.order;
        let mut slots: Vec<_> = self.found.into_iter().zip(self.slots).collect();
        // Together there are none, which is an answer too.
        if slots.is_empty() && self.grouping.by.is_empty() {
            slots.push(([0; KEYS], Slot::new(i64::MAX, self.percentiles)));
        }
        if order == Order::SurestServerErrors {
            // A rate of nothing is no answer.
            slots.retain(|(_, slot)| slot.server_errors > 0);
        }
        // Of equals the one that was met first.
        slots.sort_by(|(a_key, a), (b_key, b)| match order {
            Order::Key => a_key[0].cast_signed().cmp(&b_key[0].cast_signed()),
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

/// The keys of the row at this place of the lanes.
fn key_at(lanes: &[Vec<u64>], at: usize) -> [u64; KEYS] {
    let mut key = [0; KEYS];
    for (key, lane) in key.iter_mut().zip(lanes) {
        *key = lane[at];
    }
    key
}

/// A number for each combination of keys in a slice.
#[derive(Debug)]
struct Table {
    least: [u64; KEYS],
    steps: [u64; KEYS],
    size: u64,
}

impl Table {
    /// None: there are too many.
    fn over(lanes: &[Vec<u64>]) -> Option<Self> {
        let mut table = Self {
            least: [0; KEYS],
            steps: [0; KEYS],
            size: 1,
        };
        for (at, lane) in lanes.iter().enumerate() {
            let (least, most) = (*lane.iter().min()?, *lane.iter().max()?);
            table.least[at] = least;
            table.steps[at] = table.size;
            let values = (most - least).checked_add(1)?;
            table.size = table
                .size
                .checked_mul(values)
                .filter(|size| *size <= TABLE)?;
        }
        Some(table)
    }

    fn empty(&self) -> Vec<u32> {
        vec![u32::MAX; usize::try_from(self.size).unwrap_or(0)]
    }

    fn at(&self, lanes: &[Vec<u64>], at: usize) -> usize {
        let mut place = 0;
        for ((lane, least), step) in lanes.iter().zip(self.least).zip(self.steps) {
            place += (lane[at] - least) * step;
        }
        place as usize
    }
}

impl Source {
    /// The key's number of each row that is selected.
    fn gather(&self, slice: &Slice, into: &mut Vec<u64>) {
        let column = match self {
            Self::Column(column) => *column,
            Self::Result => Column::Flags,
            Self::Run(_) => Column::Run,
            Self::Time(_) => Column::Ts,
        };
        let numbers = slice.column(column);
        let selected = slice.selected.iter().map(|at| numbers[*at as usize]);
        match self {
            Self::Column(_) => into.extend(selected),
            Self::Result => into.extend(selected.map(|flags| flags & (HTTP | FAILURE))),
            Self::Run(known) => {
                into.extend(selected.map(|run| known.get(&run).copied().unwrap_or(run)));
            }
            Self::Time(step) => {
                into.extend(selected.map(|ts| ts.cast_signed().div_euclid(*step).cast_unsigned()));
            }
        }
    }
}

impl Slot {
    fn new(example: i64, percentiles: bool) -> Self {
        Self {
            example,
            count: 0,
            successes: 0,
            failures: 0,
            client_errors: 0,
            server_errors: 0,
            last: i64::MIN,
            percentiles: percentiles.then(Box::default),
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
            Measure::Last if self.count == 0 => Figure::Number(None),
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
    /// An array of words comes as its bytes.
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks();
        for word in words {
            self.write_u64(u64::from_ne_bytes(*word));
        }
        for byte in rest {
            self.write_u64(u64::from(*byte));
        }
    }

    #[inline]
    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(29) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    #[inline]
    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    #[inline]
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
