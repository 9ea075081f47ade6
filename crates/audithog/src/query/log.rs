//! A ledger's file, for those who ask it.

use std::collections::VecDeque;
use std::path::Path;
use std::time::Instant;

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::Filter;
use super::ask::{CLOCK, made_at};
use crate::error::Error;
use crate::ledger::{Condition, Direction, Looker, RowFilter, Walk};
use crate::record::{FIELD_NAMES, Field, Row, StoredRow, fields};

/// Rows handed out at a time.
const PAGE: usize = 500;

/// A ledger's file, open for questions: a live service's, a dead one's, or a copy. Nothing is changed, and a service that writes is never
/// kept from it: every read is short.
#[derive(Debug)]
pub struct Log {
    pub(super) looker: Looker,
    /// The organisation whose rows are all there is.
    pub(super) within: Option<String>,
}

/// A row of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct LogRow(pub(super) StoredRow);

/// Rows that a filter admits, read as they are asked for: any number takes the same memory.
#[derive(Debug)]
pub struct Rows<'a> {
    pub(super) log: &'a mut Log,
    filter: RowFilter,
    walk: Walk,
    page: VecDeque<StoredRow>,
    /// After an error there is nothing more.
    failed: bool,
}

impl Log {
    /// Opens the ledger at `path`, as it is: a file of an older version is read and not migrated.
    ///
    /// # Errors
    ///
    /// [`Error::is_ledger`]: there is no ledger at the path, or it cannot be read.
    /// [`Error::is_newer_ledger`]: a newer version has written it.
    ///
    /// All other calls also fail after a [`deadline`](Log::deadline), with [`Error::is_deadline`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let looker = Looker::open(path.as_ref()).map_err(Error::from)?;
        Ok(Self {
            looker,
            within: None,
        })
    }

    /// The log as this organisation may see it: of all calls, only rows whose organisation is exactly this, and what is made of them. What is
    /// lost of the log as a whole is said without times and numbers; statements in SQL are refused.
    #[must_use]
    pub fn within_org(self, org: impl Into<String>) -> Self {
        Self {
            within: Some(org.into()),
            ..self
        }
    }

    /// Reads nothing after this time: what is not answered by then is an error. What is asked of it is read in short steps of some
    /// milliseconds, so none goes on for much longer. By default it takes as long as it takes.
    #[must_use]
    pub fn deadline(mut self, deadline: Instant) -> Self {
        self.looker.set_deadline(deadline);
        self
    }

    /// The filter, for what may be seen.
    pub(super) fn visible(&self, filter: &RowFilter) -> RowFilter {
        let filter = filter.clone();
        match &self.within {
            Some(org) => filter.with(Condition::Is(Field::OrgId, vec![org.clone()])),
            None => filter,
        }
    }

    fn may_see(&self, row: &Row) -> bool {
        let org = self.within.as_deref();
        org.is_none_or(|org| row.actor.org_id() == Some(org))
    }

    /// The file, with symbolic links resolved.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.looker.path()
    }

    /// The number of the last row; 0 if there was none. Within an organisation: of its last row.
    ///
    /// # Errors
    ///
    /// [`Error::is_ledger`]: the file cannot be read.
    pub fn head(&mut self) -> Result<u64, Error> {
        // How many rows others have is not for it.
        if self.within.is_some() {
            let last = self.latest_rows(&Filter::all(), 0, u64::MAX)?.next();
            return Ok(last.transpose()?.map_or(0, |row| row.seq()));
        }
        let extent = self.looker.extent().map_err(Error::from)?;
        Ok(extent.head.unsigned_abs())
    }

    /// The number of the last row that retention removed; 0 if none was, and within an organisation.
    ///
    /// # Errors
    ///
    /// [`Error::is_ledger`]: the file cannot be read.
    pub fn pruned(&mut self) -> Result<u64, Error> {
        if self.within.is_some() {
            return Ok(0);
        }
        let extent = self.looker.extent().map_err(Error::from)?;
        Ok(extent.pruned.unsigned_abs())
    }

    /// The rows that the filter admits with `after < seq <= upto`, by `seq`, the oldest first.
    ///
    /// # Errors
    ///
    /// [`Error::is_ledger`]: the file cannot be read. The iterator has errors too.
    pub fn rows(&mut self, filter: &Filter, after: u64, upto: u64) -> Result<Rows<'_>, Error> {
        self.walk(filter, Direction::Forward, after, upto)
    }

    /// The same rows, the last written first.
    ///
    /// # Errors
    ///
    /// As for [`Log::rows`].
    pub fn latest_rows(
        &mut self,
        filter: &Filter,
        after: u64,
        upto: u64,
    ) -> Result<Rows<'_>, Error> {
        self.walk(filter, Direction::Backward, after, upto)
    }

    /// The row with this number; none if there is none, or retention removed it.
    ///
    /// # Errors
    ///
    /// [`Error::is_ledger`]: the file cannot be read.
    pub fn row(&mut self, seq: u64) -> Result<Option<LogRow>, Error> {
        let Ok(seq) = i64::try_from(seq) else {
            return Ok(None);
        };
        let mut rows = self.looker.rows_by_seq(&[seq])?;
        let row = rows.pop().flatten();
        Ok(row.filter(|row| self.may_see(&row.row)).map(LogRow))
    }

    /// The row with this id, a UUID in any form; none if there is none. It is looked for where the id's own time says, and then in the whole log.
    ///
    /// # Errors
    ///
    /// [`Error::is_ledger`]: the file cannot be read.
    pub fn row_by_id(&mut self, id: &str) -> Result<Option<LogRow>, Error> {
        let Ok(id) = uuid::Uuid::try_parse(id) else {
            return Ok(None);
        };
        let mut seq = None;
        if let Some(made) = made_at(id) {
            let near = RowFilter {
                since: Some(made.saturating_sub(CLOCK)),
                until: Some(made.saturating_add(CLOCK)),
                ..RowFilter::default()
            };
            seq = self.looker.seq_of(id, &near)?;
        }
        // An event may have been given another time than its id.
        if seq.is_none() {
            seq = self.looker.seq_of(id, &RowFilter::default())?;
        }
        match seq {
            Some(seq) => self.row(seq.unsigned_abs()),
            None => Ok(None),
        }
    }

    fn walk(
        &mut self,
        filter: &Filter,
        direction: Direction,
        after: u64,
        upto: u64,
    ) -> Result<Rows<'_>, Error> {
        let number = |seq: u64| i64::try_from(seq).unwrap_or(i64::MAX);
        let filter = self.visible(&filter.0);
        let walk = self
            .looker
            .walk(&filter, direction, number(after), number(upto))
            .map_err(Error::from)?;
        Ok(Rows {
            log: self,
            filter,
            walk,
            page: VecDeque::new(),
            failed: false,
        })
    }
}

impl Iterator for Rows<'_> {
    type Item = Result<LogRow, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.page.is_empty() && !self.failed && !self.walk.is_done() {
            match self.log.looker.step(&self.filter, &mut self.walk, PAGE) {
                Ok(rows) => self.page = rows.into(),
                Err(error) => {
                    self.failed = true;
                    return Some(Err(error.into()));
                }
            }
        }
        self.page.pop_front().map(|row| Ok(LogRow(row)))
    }
}

impl LogRow {
    /// The names of all fields, in the order of [`LogRow::fields`]: the columns of the view `audit_logs`.
    pub const NAMES: [&'static str; 27] = FIELD_NAMES;

    /// Its position in the log.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.0.seq.unsigned_abs()
    }

    /// What it says.
    #[must_use]
    pub fn row(&self) -> &Row {
        &self.0.row
    }

    /// Its time, RFC 3339.
    #[must_use]
    pub fn time_text(&self) -> String {
        self.0.row.ts.to_string()
    }

    /// Its time in microseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn time_micros(&self) -> i64 {
        self.0.row.ts.0
    }

    /// The name of the service that wrote it.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.0.run.service
    }

    /// All fields by the names of the view `audit_logs`, in a fixed order; what is not set is null. Also its JSON.
    #[must_use]
    pub fn fields(&self) -> Vec<(&'static str, Value)> {
        let row = &self.0.row;
        let mut all = vec![
            ("seq", json!(self.0.seq)),
            ("id", json!(row.id().as_hyphenated().to_string())),
            ("ts", json!(row.ts.to_string())),
        ];
        all.extend(fields(Some(&self.0)));
        all
    }
}

impl Serialize for LogRow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.fields())
    }
}
