//! The facts behind a status: a bounded number of rows, whatever the size of the file.

use rusqlite::{Connection, OptionalExtension, params};

use super::super::runs::{self, Life, Process};
use super::super::settle::{self, count};
use super::super::{file, read, verified};
use super::Looker;
use crate::ledger::{StoreError, Totals};
use crate::record::{Micros, StoredRow};

/// Runs of services told of besides those that have not ended.
const LAST_RUNS: i64 = 5;
/// A machine that is killed again and again leaves open runs until a start finds them.
const MOST_RUNS: usize = 50;

/// What the file says now. One read transaction: everything fits together.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) totals: Totals,
    /// Arrival of the first and of the last row that is kept.
    pub(crate) first: Option<Micros>,
    pub(crate) last: Option<Micros>,
    pub(crate) bytes: u64,
    pub(crate) log_bytes: u64,
    pub(crate) losses: Vec<LossFact>,
    /// The latest first.
    pub(crate) runs: Vec<RunFact>,
    /// By name, as in `totals.sinks`.
    pub(crate) sinks: Vec<SinkFact>,
}

#[derive(Debug)]
pub(crate) struct LossFact {
    pub(crate) reason: String,
    pub(crate) rows: u64,
    pub(crate) last: Option<Micros>,
}

/// Whether a run goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RunLife {
    /// Its process runs on this machine.
    Alive,
    /// Its process is gone, and no later start has found that yet.
    Gone,
    /// On another machine or in another container: from here nobody can tell.
    Unknown,
    /// Ended in good order.
    Ended,
    /// A later start found it dead.
    Killed,
}

#[derive(Debug)]
pub(crate) struct RunFact {
    pub(crate) run: i64,
    pub(crate) service: String,
    pub(crate) environment: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) instance: Option<String>,
    pub(crate) pid: u32,
    pub(crate) life: RunLife,
    pub(crate) started: Micros,
    /// The last sign of life.
    pub(crate) sign: Micros,
    pub(crate) ended: Option<Micros>,
    pub(crate) queue_capacity: u64,
    pub(crate) settings_json: String,
    pub(crate) books: Option<(Micros, String)>,
    pub(crate) trouble: Option<(Micros, String)>,
    /// It is no service's: see [`runs::visits`].
    pub(crate) visits: bool,
}

#[derive(Debug, Default)]
pub(crate) struct SinkFact {
    pub(crate) name: String,
    pub(crate) verified: Option<Micros>,
    /// Rows that were compared with what it has.
    pub(crate) rows_verified: u64,
    pub(crate) leased_until: Option<Micros>,
    /// Arrival of the first row after the cursor; when the oldest straggler first failed.
    pub(crate) oldest: Option<Micros>,
    pub(crate) as_of: Option<Micros>,
    pub(crate) last_success: Option<Micros>,
    pub(crate) breaker: Option<String>,
    pub(crate) breaker_since: Option<Micros>,
    pub(crate) hold: Option<String>,
    pub(crate) hold_since: Option<Micros>,
    pub(crate) hold_detail: Option<String>,
    pub(crate) hold_remedy: Option<String>,
    pub(crate) last_error: Option<String>,
    pub(crate) last_error_at: Option<Micros>,
    /// Of the dead letters.
    pub(crate) dismissed: u64,
}

impl Facts {
    /// The latest run of a service.
    pub(crate) fn latest(&self) -> Option<&RunFact> {
        self.runs.iter().find(|run| !run.visits)
    }
}

/// Rows spread evenly over a stretch of the log.
#[derive(Debug, Default)]
pub(crate) struct Slice {
    /// Rows in the stretch.
    pub(crate) rows: u64,
    pub(crate) sample: Vec<StoredRow>,
}

impl Looker {
    /// What the file says now.
    pub(crate) fn facts(&mut self) -> Result<Facts, StoreError> {
        let process = Process::current();
        let mut facts = self.read(|connection, version| {
            facts(connection, version, &process).map_err(super::failed("be read"))
        })?;
        facts.bytes = file::identity(self.path()).map_or(0, |(_, bytes)| bytes);
        let log = file::beside(self.path(), "-wal");
        facts.log_bytes = file::identity(&log).map_or(0, |(_, bytes)| bytes);
        Ok(facts)
    }

    /// About `limit` rows of those after the time `after`, from up to `pieces` places.
    pub(crate) fn sample(
        &mut self,
        after: Micros,
        limit: usize,
        pieces: usize,
    ) -> Result<Slice, StoreError> {
        let (from, head) = self.read(|connection, _| {
            let from = read::last_before(connection, after);
            let head = connection.query_row("SELECT head FROM audit_head", [], |row| row.get(0));
            from.and_then(|from| Ok((from, head?)))
                .map_err(super::failed("look up a time"))
        })?;
        let rows = usize::try_from(head - from).unwrap_or(0);
        let mut slice = Slice {
            rows: rows as u64,
            sample: Vec::new(),
        };
        let pieces = if rows <= limit { 1 } else { pieces.max(1) };
        let each = limit / pieces;
        for piece in 0..pieces {
            let start = from + i64::try_from(rows / pieces * piece).unwrap_or(0);
            // A read transaction each: none lives long.
            let found = self.rows(start, head, each)?;
            slice.sample.extend(found);
        }
        Ok(slice)
    }
}

fn facts(connection: &Connection, version: i32, process: &Process) -> rusqlite::Result<Facts> {
    let totals = settle::load(connection)?;
    let arrival = |from: i64| {
        connection
            .prepare_cached("SELECT ts FROM audit_rows WHERE seq > ?1 ORDER BY seq LIMIT 1")?
            .query_row([from], |row| row.get(0).map(Micros))
            .optional()
    };
    let mut sinks = Vec::new();
    for (name, sink) in &totals.sinks {
        let mut fact = sink_fact(connection, version, name)?;
        let straggler: Option<i64> = connection.query_row(
            "SELECT min(since_ts) FROM audit_stragglers WHERE sink = ?1",
            [name],
            |row| row.get(0),
        )?;
        let line = arrival(sink.cursor)?;
        fact.oldest = line.into_iter().chain(straggler.map(Micros)).min();
        sinks.push(fact);
    }
    Ok(Facts {
        first: arrival(totals.pruned)?,
        last: arrival(totals.head - 1)?,
        bytes: 0,
        log_bytes: 0,
        losses: losses(connection, version)?,
        runs: run_facts(connection, version, process)?,
        sinks,
        totals,
    })
}

/// Columns that came with schema 2 are empty before.
pub(super) fn since_2(version: i32, columns: &'static str) -> String {
    if version >= 2 {
        return columns.to_owned();
    }
    vec!["NULL"; columns.split(',').count()].join(", ")
}

fn losses(connection: &Connection, version: i32) -> rusqlite::Result<Vec<LossFact>> {
    let last = since_2(version, "last_ts");
    connection
        .prepare(&format!(
            "SELECT reason, rows, {last} FROM audit_losses WHERE rows > 0 ORDER BY reason"
        ))?
        .query_map([], |row| {
            Ok(LossFact {
                reason: row.get(0)?,
                rows: count(row.get(1)?),
                last: row.get::<_, Option<i64>>(2)?.map(Micros),
            })
        })?
        .collect()
}

fn sink_fact(connection: &Connection, version: i32, name: &str) -> rusqlite::Result<SinkFact> {
    let state = since_2(
        version,
        "state_ts, last_success_ts, breaker, breaker_since_ts, hold, hold_since_ts, hold_detail, \
         hold_remedy, last_error, last_error_ts, dismissed",
    );
    let rows_verified = match version {
        ..3 => 0,
        _ => count(verified::rows(connection, name)?),
    };
    connection.query_row(
        &format!("SELECT verified_ts, lease_until, {state} FROM audit_sinks WHERE sink = ?1"),
        [name],
        |row| {
            let time = |at: usize| -> rusqlite::Result<Option<Micros>> {
                Ok(row.get::<_, Option<i64>>(at)?.map(Micros))
            };
            Ok(SinkFact {
                name: name.to_owned(),
                verified: time(0)?,
                rows_verified,
                leased_until: time(1)?,
                oldest: None,
                as_of: time(2)?,
                last_success: time(3)?,
                breaker: row.get(4)?,
                breaker_since: time(5)?,
                hold: row.get(6)?,
                hold_since: time(7)?,
                hold_detail: row.get(8)?,
                hold_remedy: row.get(9)?,
                last_error: row.get(10)?,
                last_error_at: time(11)?,
                dismissed: row.get::<_, Option<i64>>(12)?.map_or(0, count),
            })
        },
    )
}

fn run_facts(
    connection: &Connection,
    version: i32,
    process: &Process,
) -> rusqlite::Result<Vec<RunFact>> {
    let notes = since_2(version, "books_ts, books_json, trouble_ts, trouble");
    let visits = runs::visits();
    let mut found = connection.prepare(&format!(
        "SELECT run, service, environment, version, instance, pid, started_ts, alive_ts, ended_ts,
         unclean, settings_json, {notes}, host_boot, pid_space, pid, pid_started, {visits}, queue_capacity FROM audit_runs
         WHERE ended_ts IS NULL
         OR run IN (SELECT run FROM audit_runs WHERE NOT {visits} ORDER BY run DESC LIMIT ?1)
         ORDER BY run DESC LIMIT ?2"
    ))?;
    let limit = i64::try_from(MOST_RUNS).unwrap_or(i64::MAX);
    found
        .query_map(params![LAST_RUNS, limit], |row| {
            let ended = row.get::<_, Option<i64>>(8)?.map(Micros);
            let life = match (ended, row.get::<_, bool>(9)?) {
                (Some(_), false) => RunLife::Ended,
                (Some(_), true) => RunLife::Killed,
                (None, _) => match runs::life(row, 15, process)? {
                    Life::Alive => RunLife::Alive,
                    Life::Gone => RunLife::Gone,
                    Life::Unknown => RunLife::Unknown,
                },
            };
            let note = |at: usize| -> rusqlite::Result<Option<(Micros, String)>> {
                let time: Option<i64> = row.get(at)?;
                let text: Option<String> = row.get(at + 1)?;
                Ok(time.map(Micros).zip(text))
            };
            Ok(RunFact {
                run: row.get(0)?,
                service: row.get(1)?,
                environment: row.get(2)?,
                version: row.get(3)?,
                instance: row.get(4)?,
                pid: row.get(5)?,
                life,
                started: Micros(row.get(6)?),
                sign: Micros(row.get(7)?),
                ended,
                queue_capacity: count(row.get(20)?),
                settings_json: row.get(10)?,
                books: note(11)?,
                trouble: note(13)?,
                visits: row.get(19)?,
            })
        })?
        .collect()
}
