//! A filter on digests: which rows of a stretch it admits, without a look at the rows.

use rusqlite::{Connection, OptionalExtension};
use uuid::Uuid;

use super::super::digest::{self, Bounds, KEPT, LONGEST, STRETCH, hash};
use super::super::encode::canonical_uuid;
use super::super::error::{damaged, failed};
use crate::ledger::{
    Column, Columns, Condition, FAILURE, HTTP, REFUSED_CODES, REFUSED_STATUS, RowFilter, Slice,
    StoreError, StoreErrorKind,
};
use crate::record::{API_REQUEST, Field};

/// What a filter says of the columns that are kept.
#[derive(Debug)]
pub(super) struct Plan {
    since: Option<i64>,
    until: Option<i64>,
    /// All must hold.
    tests: Vec<Test>,
    /// Nothing else is asked: a row that passes is admitted.
    exact: bool,
}

/// One of these must hold.
#[derive(Debug)]
struct Test(Vec<(Column, Numbers)>);

#[derive(Debug)]
enum Numbers {
    Any(Vec<u64>),
    Within(Vec<(u64, u64)>),
    /// With these bits, the second ones of which are set.
    Bits(u64, u64),
}

/// Rows of one stretch.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    /// Positions in the stretch that the tests admit.
    pub(super) admitted: Vec<u32>,
    /// Positions of rows that have to be looked at.
    pub(super) odd: Vec<u32>,
}

impl Plan {
    pub(super) fn of(connection: &Connection, filter: &RowFilter) -> Result<Self, StoreError> {
        let mut plan = Self {
            since: filter.since.map(|since| since.0),
            until: filter.until.map(|until| until.0),
            tests: Vec::new(),
            exact: true,
        };
        for condition in &filter.conditions {
            plan.add(connection, condition)
                .map_err(failed("read its dictionary"))?;
        }
        Ok(plan)
    }

    /// Fewer rows pass than are there.
    pub(super) fn narrows(&self) -> bool {
        !self.tests.is_empty()
    }

    /// Whether the columns alone answer, for these columns.
    pub(super) fn suffices(&self, columns: Columns) -> bool {
        self.exact && columns.iter().all(|column| KEPT.contains(&column))
    }

    fn add(&mut self, connection: &Connection, condition: &Condition) -> rusqlite::Result<()> {
        let test = match condition {
            Condition::Is(field, texts) => self.is(connection, *field, texts)?,
            Condition::Has(field) => {
                kept(*field).map(|column| vec![(column, Numbers::Within(vec![(1, u64::MAX)]))])
            }
            Condition::Lacks(field) => {
                kept(*field).map(|column| vec![(column, Numbers::Any(vec![0]))])
            }
            Condition::Begins(field, text) => match named(*field) {
                Some(column) => {
                    let names = names(connection, "substr(text, 1, length(?1)) = ?1", text)?;
                    Some(vec![(column, Numbers::Any(names))])
                }
                None => None,
            },
            Condition::Status(ranges) => {
                let ranges = ranges
                    .iter()
                    .map(|&(first, last)| (first.into(), last.into()));
                Some(vec![(Column::Status, Numbers::Within(ranges.collect()))])
            }
            Condition::NoStatus(ranges) => {
                Some(vec![(Column::Status, Numbers::Within(outside(ranges)))])
            }
            Condition::Refused => {
                let statuses = REFUSED_STATUS.map(u64::from).into();
                let mut codes = Vec::new();
                for part in REFUSED_CODES {
                    codes.extend(names(connection, "instr(upper(text), ?1) > 0", part)?);
                }
                Some(vec![
                    (Column::Status, Numbers::Any(statuses)),
                    (Column::ErrorCode, Numbers::Any(codes)),
                ])
            }
            Condition::Request => {
                self.tests
                    .push(Test::of(vec![(Column::Flags, Numbers::Bits(HTTP, HTTP))]));
                let name = name(connection, API_REQUEST)?;
                Some(vec![(
                    Column::Event,
                    Numbers::Any(name.into_iter().collect()),
                )])
            }
        };
        match test {
            Some(test) => self.tests.push(Test::of(test)),
            None => self.exact = false,
        }
        Ok(())
    }

    /// None: it takes a look at the row.
    fn is(
        &mut self,
        connection: &Connection,
        field: Field,
        texts: &[String],
    ) -> rusqlite::Result<Option<Vec<(Column, Numbers)>>> {
        let id = |text: &String| match canonical_uuid(text) {
            Some(id) => hash::blob(id.as_bytes()),
            None => hash::text(text.as_bytes()),
        };
        let numbers: (Column, Vec<u64>) = match field {
            Field::Event | Field::UserRole | Field::Method | Field::Route | Field::ErrorCode => {
                let Some(column) = named(field) else {
                    return Ok(None);
                };
                (column, all_names(connection, texts)?)
            }
            Field::OrgId => {
                let mut numbers = all_names(connection, texts)?;
                let ids = texts.iter().filter_map(|text| canonical_uuid(text));
                numbers.extend(ids.map(|id| hash::blob(id.as_bytes())));
                (Column::OrgId, numbers)
            }
            Field::UserId => (Column::UserId, texts.iter().map(id).collect()),
            Field::Ip => {
                let number = |text: &String| match text.parse() {
                    Ok(std::net::IpAddr::V4(ip)) => hash::ipv4(ip.to_bits().cast_signed().into()),
                    _ => hash::text(text.as_bytes()),
                };
                (Column::Ip, texts.iter().map(number).collect())
            }
            Field::RequestId => {
                // Both are found, and compared with the row.
                self.exact = false;
                let mut numbers = Vec::new();
                for text in texts {
                    numbers.push(hash::short_text(text.as_bytes()).into());
                    let id = canonical_uuid(text);
                    numbers.extend(id.map(|id| u64::from(hash::short_id(id.as_bytes()))));
                }
                (Column::RequestId, numbers)
            }
            Field::TraceId => {
                self.exact = false;
                let ids = texts.iter().filter_map(|text| Uuid::try_parse(text).ok());
                let numbers = ids.map(|id| u64::from(hash::short_id(id.as_bytes())));
                (Column::TraceId, numbers.collect())
            }
            Field::Result => {
                let bits = texts.iter().map(|text| match &**text {
                    "failure" => HTTP | FAILURE,
                    _ => HTTP,
                });
                let any = bits.map(|bits| (Column::Flags, Numbers::Bits(HTTP | FAILURE, bits)));
                return Ok(Some(any.collect()));
            }
            Field::Service | Field::Environment | Field::Version | Field::Instance => {
                (Column::Run, runs(connection, field, texts)?)
            }
            Field::Path
            | Field::ActorType
            | Field::OnBehalfOf
            | Field::UserAgent
            | Field::UpstreamRequestId => return Ok(None),
        };
        Ok(Some(vec![(numbers.0, Numbers::Any(numbers.1))]))
    }

    /// The rows of the stretch with `after < seq <= upto` that pass. None: it has no digest, or a damaged one; the rows are still there.
    pub(super) fn choose(
        &self,
        connection: &Connection,
        stretch: i64,
        part: (i64, i64),
    ) -> Result<Option<Chosen>, StoreError> {
        or_rows(self.try_choose(connection, stretch, part))
    }

    fn try_choose(
        &self,
        connection: &Connection,
        stretch: i64,
        (after, upto): (i64, i64),
    ) -> Result<Option<Chosen>, StoreError> {
        let reading = failed("read rows by column");
        let odd = digest::load_odd(connection, stretch, positions).map_err(&reading)?;
        let Some(odd) = odd else {
            return Ok(None);
        };
        let position = |seq: i64| u32::try_from((seq - stretch * STRETCH).clamp(0, STRETCH));
        let (from, to) = (position(after).unwrap_or(0), position(upto).unwrap_or(0));
        let mut chosen = Chosen {
            admitted: (from..to).collect(),
            odd: odd.ok_or_else(no_digest)?,
        };
        chosen.odd.retain(|at| (from..to).contains(at));
        self.in_time(connection, stretch, &mut chosen.admitted)?;
        for test in &self.tests {
            if chosen.admitted.is_empty() {
                break;
            }
            test.keep(connection, stretch, &mut chosen.admitted)?;
        }
        if !chosen.odd.is_empty() {
            let odd = &chosen.odd;
            chosen.admitted.retain(|at| odd.binary_search(at).is_err());
        }
        Ok(Some(chosen))
    }

    fn in_time(
        &self,
        connection: &Connection,
        stretch: i64,
        admitted: &mut Vec<u32>,
    ) -> Result<(), StoreError> {
        if self.since.is_none() && self.until.is_none() {
            return Ok(());
        }
        let since = self.since.unwrap_or(i64::MIN);
        let until = self.until.unwrap_or(i64::MAX);
        let bounds = bounds(connection, stretch, Column::Ts)?;
        let (least, most) = (bounds.least.cast_signed(), bounds.most.cast_signed());
        // Times before 1970 are large numbers, and then the bounds say nothing.
        if 0 <= least && since <= least && least <= most && most < until {
            return Ok(());
        }
        let mut times = Vec::new();
        lane(connection, stretch, Column::Ts, &mut times)?;
        admitted.retain(|&at| {
            let time = times[at as usize].cast_signed();
            since <= time && time < until
        });
        Ok(())
    }
}

impl Test {
    fn of(mut any: Vec<(Column, Numbers)>) -> Self {
        for (_, numbers) in &mut any {
            if let Numbers::Any(any) = numbers {
                any.sort_unstable();
                any.dedup();
            }
        }
        Self(any)
    }

    /// Drops the positions that do not pass.
    fn keep(
        &self,
        connection: &Connection,
        stretch: i64,
        admitted: &mut Vec<u32>,
    ) -> Result<(), StoreError> {
        let mut lanes: Vec<(Vec<u64>, &Numbers)> = Vec::with_capacity(self.0.len());
        for (column, numbers) in &self.0 {
            let bounds = bounds(connection, stretch, *column)?;
            if bounds.least == bounds.most {
                if numbers.admit(bounds.least) {
                    return Ok(());
                }
            } else if !numbers.may_admit(bounds.least, bounds.most) {
                // None of them.
            } else {
                let mut found = Vec::new();
                lane(connection, stretch, *column, &mut found)?;
                lanes.push((found, numbers));
            }
        }
        match &lanes[..] {
            [] => admitted.clear(),
            [(lane, Numbers::Any(wanted))] if wanted.len() == 1 => {
                let wanted = wanted[0];
                admitted.retain(|&at| lane[at as usize] == wanted);
            }
            lanes => admitted.retain(|&at| {
                lanes
                    .iter()
                    .any(|(lane, numbers)| numbers.admit(lane[at as usize]))
            }),
        }
        Ok(())
    }
}

impl Numbers {
    fn admit(&self, number: u64) -> bool {
        match self {
            // Sorted, and mostly a few.
            Self::Any(any) => any.binary_search(&number).is_ok(),
            Self::Within(ranges) => ranges
                .iter()
                .any(|(first, last)| (*first..=*last).contains(&number)),
            Self::Bits(mask, wanted) => number & mask == *wanted,
        }
    }

    fn may_admit(&self, least: u64, most: u64) -> bool {
        match self {
            Self::Any(any) => any.iter().any(|number| (least..=most).contains(number)),
            Self::Within(ranges) => ranges
                .iter()
                .any(|(first, last)| *first <= most && *last >= least),
            Self::Bits(..) => true,
        }
    }
}

/// Nothing where a digest is damaged.
fn or_rows<T>(found: Result<Option<T>, StoreError>) -> Result<Option<T>, StoreError> {
    match found {
        Err(error) if error.kind == StoreErrorKind::Corrupt => Ok(None),
        found => found,
    }
}

/// Selects the admitted rows, with their columns, which is all that is counted of them. Those whose column does not say how long they took are
/// odd instead. None: the digest is damaged.
pub(super) fn fill(
    connection: &Connection,
    stretch: i64,
    columns: Columns,
    chosen: &mut Chosen,
    slice: &mut Slice,
) -> Result<Option<()>, StoreError> {
    or_rows(try_fill(connection, stretch, columns, chosen, slice).map(Some))
}

fn try_fill(
    connection: &Connection,
    stretch: i64,
    columns: Columns,
    chosen: &mut Chosen,
    slice: &mut Slice,
) -> Result<(), StoreError> {
    let first = stretch * STRETCH + 1;
    slice.seqs.extend(first..first + STRETCH);
    for column in columns.iter() {
        lane(connection, stretch, column, slice.column_mut(column))?;
    }
    slice.selected = std::mem::take(&mut chosen.admitted);
    let durations = std::mem::take(slice.column_mut(Column::Duration));
    let longest = u64::from(LONGEST);
    if durations.contains(&longest) {
        let known = |at: &u32| durations[*at as usize] < longest;
        let unknown = slice.selected.iter().copied().filter(|at| !known(at));
        chosen.odd.extend(unknown);
        slice.selected.retain(known);
    }
    *slice.column_mut(Column::Duration) = durations;
    Ok(())
}

/// Ranges `(after, upto]` that hold these rows, and others where that saves a search: a row that is read and not wanted costs less.
pub(super) fn ranges(stretch: i64, chosen: &Chosen) -> Vec<(i64, i64)> {
    join(stretch, chosen, 8)
}

/// Ranges `(after, upto]` that hold these rows and no others.
pub(super) fn exact_ranges(stretch: i64, chosen: &Chosen) -> Vec<(i64, i64)> {
    join(stretch, chosen, 1)
}

fn join(stretch: i64, chosen: &Chosen, near: i64) -> Vec<(i64, i64)> {
    let first = stretch * STRETCH + 1;
    let mut all: Vec<u32> = chosen.admitted.iter().chain(&chosen.odd).copied().collect();
    all.sort_unstable();
    let mut ranges: Vec<(i64, i64)> = Vec::new();
    for at in all {
        let seq = first + i64::from(at);
        match ranges.last_mut() {
            Some((_, upto)) if seq - *upto <= near => *upto = seq,
            _ => ranges.push((seq - 1, seq)),
        }
    }
    ranges
}

/// A column of a stretch.
fn lane(
    connection: &Connection,
    stretch: i64,
    column: Column,
    numbers: &mut Vec<u64>,
) -> Result<(), StoreError> {
    let rows = usize::try_from(STRETCH).unwrap_or(0);
    let read = |bytes: &[u8]| digest::unpack(bytes, rows, numbers);
    let read = digest::load(connection, stretch, column, read);
    read.map_err(failed("read a column"))?.ok_or_else(no_digest)
}

/// The smallest and the largest number of a column.
fn bounds(connection: &Connection, stretch: i64, column: Column) -> Result<Bounds, StoreError> {
    let bounds = digest::load_bounds(connection, stretch, column);
    bounds
        .map_err(failed("read a column"))?
        .ok_or_else(no_digest)
}

fn no_digest() -> StoreError {
    damaged("rows that are kept by column are not whole")
}

/// Positions of odd rows, in order. None: these are none.
fn positions(bytes: &[u8]) -> Option<Vec<u32>> {
    let count = digest::length(bytes)?;
    let mut numbers = Vec::new();
    digest::unpack(bytes, count, &mut numbers)?;
    // The last one is the stretch's length.
    numbers.pop();
    numbers
        .into_iter()
        .map(|at| u32::try_from(at).ok())
        .collect()
}

/// The column that is 0 where a row lacks the field.
fn kept(field: Field) -> Option<Column> {
    Some(match field {
        Field::UserId => Column::UserId,
        Field::OrgId => Column::OrgId,
        Field::Ip => Column::Ip,
        Field::RequestId => Column::RequestId,
        Field::TraceId => Column::TraceId,
        field => return named(field),
    })
}

/// Every number in none of the ranges; 0 is a row without a status.
fn outside(ranges: &[(u16, u16)]) -> Vec<(u64, u64)> {
    let mut ranges = ranges.to_vec();
    ranges.sort_unstable();
    let mut others = Vec::new();
    let mut next = 0;
    for (first, last) in ranges {
        let (first, last) = (u64::from(first), u64::from(last));
        if next < first {
            others.push((next, first - 1));
        }
        next = next.max(last + 1);
    }
    others.push((next, u64::MAX));
    others
}

fn named(field: Field) -> Option<Column> {
    Some(match field {
        Field::Event => Column::Event,
        Field::UserRole => Column::UserRole,
        Field::Method => Column::Method,
        Field::Route => Column::Route,
        Field::ErrorCode => Column::ErrorCode,
        _ => return None,
    })
}

fn all_names(connection: &Connection, texts: &[String]) -> rusqlite::Result<Vec<u64>> {
    let mut all = Vec::new();
    for text in texts {
        all.extend(name(connection, text)?);
    }
    Ok(all)
}

/// None: rows that have it are odd ones, or there are none.
fn name(connection: &Connection, text: &str) -> rusqlite::Result<Option<u64>> {
    let name: Option<i64> = connection
        .prepare_cached("SELECT name FROM audit_names WHERE text = ?1")?
        .query_row([text], |row| row.get(0))
        .optional()?;
    Ok(name.map(i64::cast_unsigned))
}

fn names(connection: &Connection, condition: &str, text: &str) -> rusqlite::Result<Vec<u64>> {
    connection
        .prepare_cached(&format!("SELECT name FROM audit_names WHERE {condition}"))?
        .query_map([text], |row| Ok(row.get::<_, i64>(0)?.cast_unsigned()))?
        .collect()
}

fn runs(connection: &Connection, field: Field, texts: &[String]) -> rusqlite::Result<Vec<u64>> {
    let sql = format!("SELECT run FROM audit_runs WHERE {} = ?1", field.name());
    let mut statement = connection.prepare_cached(&sql)?;
    let mut runs = Vec::new();
    for text in texts {
        let found = statement.query_map([text], |row| Ok(row.get::<_, i64>(0)?.cast_unsigned()))?;
        for run in found {
            runs.push(run?);
        }
    }
    Ok(runs)
}
