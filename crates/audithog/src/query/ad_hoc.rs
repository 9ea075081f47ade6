//! A statement that somebody wrote for this one time.

use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;

use super::Log;
use super::filter::wrong;
use super::question::MOST_LINES;
use crate::error::Error;
use crate::ledger::{AdHoc, AdHocEnd, AdHocLimits};

/// Most bytes of an answer, as far as its texts go.
const MOST_BYTES: usize = 64 << 20;
/// As long as a statement may keep a service from tidying its write-ahead log.
const LONGEST: Duration = Duration::from_secs(3_600);

/// How much a statement may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SqlLimits {
    time: Duration,
    rows: usize,
}

/// What a statement found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Table {
    /// The names of the columns. One that comes again has a number behind it: `n`, `n:2`.
    pub columns: Vec<String>,
    /// The lines, each with a cell for each column: null, numbers, texts; a blob is a text of hexadecimal digits.
    pub lines: Vec<Vec<Value>>,
    /// Why there may be more lines than these. None: there are no more.
    pub cut: Option<Cut>,
}

/// Why a statement was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Cut {
    /// It has more lines than were asked for.
    Rows,
    /// It took too long.
    Time,
    /// Its lines are larger than 64 MiB.
    Bytes,
}

impl Default for SqlLimits {
    /// 1,000 lines, 10 s.
    fn default() -> Self {
        Self {
            time: Duration::from_secs(10),
            rows: 1_000,
        }
    }
}

impl SqlLimits {
    /// Stop after this time, at most an hour. While the statement runs, a service that writes cannot move its write-ahead log into the
    /// file, so the log grows; it is never kept from writing.
    #[must_use]
    pub fn time(mut self, time: Duration) -> Self {
        self.time = time;
        self
    }

    /// At most so many lines, up to 50,000.
    #[must_use]
    pub fn rows(mut self, rows: usize) -> Self {
        self.rows = rows;
        self
    }
}

impl Log {
    /// Runs one `SELECT`, `WITH`, `VALUES` or `EXPLAIN` on the file as it is now: in SQLite's SQL, mostly on the view `audit_logs`. The other
    /// tables may change with any version. Nothing can be written, attached or loaded. The statement has one read transaction, which ends
    /// with it or at the time limit.
    ///
    /// ```no_run
    /// use audithog::query::{Log, SqlLimits};
    ///
    /// # fn main() -> Result<(), audithog::Error> {
    /// let mut log = Log::open("audit.db")?;
    /// let table = log.sql("SELECT event, count(*) AS n FROM audit_logs GROUP BY event", SqlLimits::default())?;
    /// # let _ = table;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::is_question`]: limits out of range, another kind of statement, more than one, or one that SQLite refuses; with its message and, where
    /// it says so, the position. [`Error::is_ledger`]: the file cannot be read.
    pub fn sql(&mut self, statement: &str, limits: SqlLimits) -> Result<Table, Error> {
        if self.within.is_some() {
            return Err(wrong(
                "a statement would see the rows of all organisations: it cannot be limited to one"
                    .to_owned(),
            ));
        }
        if !(1..=MOST_LINES).contains(&limits.rows) {
            return Err(wrong(format!(
                "an answer has 1 to {MOST_LINES} lines, not {}",
                limits.rows
            )));
        }
        if limits.time.is_zero() || limits.time > LONGEST {
            return Err(wrong(
                "a statement may take up to an hour, and more than no time".to_owned(),
            ));
        }
        let limits = AdHocLimits {
            until: Instant::now() + limits.time,
            rows: limits.rows,
            bytes: MOST_BYTES,
        };
        match self.looker.ad_hoc(statement, &limits)? {
            AdHoc::Found(mut found) => {
                number_again(&mut found.columns);
                Ok(Table {
                    columns: found.columns,
                    lines: found.lines,
                    cut: found.end.map(Cut::from),
                })
            }
            AdHoc::Refused(why) => Err(wrong(format!("the statement cannot be run: {why}"))),
        }
    }
}

impl From<AdHocEnd> for Cut {
    fn from(end: AdHocEnd) -> Self {
        match end {
            AdHocEnd::Rows => Self::Rows,
            AdHocEnd::Time => Self::Time,
            AdHocEnd::Bytes => Self::Bytes,
        }
    }
}

/// Gives each column a name of its own.
fn number_again(columns: &mut [String]) {
    for at in 1..columns.len() {
        let (before, [column, ..]) = columns.split_at_mut(at) else {
            return;
        };
        let name = column.clone();
        let mut n = 1;
        while before.contains(column) {
            n += 1;
            *column = format!("{name}:{n}");
        }
    }
}
