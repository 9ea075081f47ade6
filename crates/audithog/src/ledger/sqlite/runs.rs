//! Runs: who wrote which rows, and whether a run ended in good order.

use rusqlite::{Connection, OptionalExtension, params};
use std::time::Duration;

use super::settle::{count, int};
use super::sinks;
use crate::record::{Micros, Run};

/// A run shows a sign of life with a commit at most this often.
pub(super) const SIGN_OF_LIFE: Duration = Duration::from_secs(5);
/// Where nothing else can tell, a run without a sign of life for this long has stopped. Far above
/// [`SIGN_OF_LIFE`], so that a hung disk is not a death.
pub(super) const PRESUMED_STOPPED: Duration = Duration::from_secs(60);

/// The instance of runs of those who look at the log from outside.
pub(crate) const ACCESS: &str = "audithog access";
/// The instance of runs that send dead letters again, or dismiss them.
pub(crate) const DEAD_LETTERS: &str = "audithog dead-letters";

/// In SQL: whether a run is no service's, but a shipment's or one of those.
pub(super) fn visits() -> String {
    format!(
        "(settings_json LIKE '{{\"shipping\":%' OR ifnull(instance, '') IN ('{ACCESS}', '{DEAD_LETTERS}'))"
    )
}

/// A run that ended without saying so, found by a later one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UncleanStop {
    pub(crate) run: Run,
    /// The last sign of life: rows after it may be lost.
    pub(crate) alive: Micros,
    /// Its queue's capacity: the upper bound of what it may have lost.
    pub(crate) queue_capacity: u64,
}

impl UncleanStop {
    /// One without a queue had nothing in memory: a tool, or a shipment.
    pub(super) fn may_have_lost(&self) -> bool {
        self.queue_capacity > 0
    }
}

/// A run that has not ended in good order, as somebody sees it who only looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OpenRun {
    pub(crate) run: Run,
    pub(crate) pid: u32,
    pub(crate) alive: Micros,
    pub(crate) queue_capacity: u64,
    pub(crate) at: Whereabouts,
}

/// Where the process of a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whereabouts {
    /// It runs on this host.
    Here,
    /// It runs on this host and has another file now: this one was moved away under it, or is a copy.
    Left,
    /// In another container or on another host, and it may still run: a young sign of life, or a lease that lasts.
    MaybeElsewhere,
    Gone,
}

/// Names one process of one machine, also across reboots and containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Process {
    /// Changes with each boot of the machine.
    boot: Option<String>,
    /// Process ids mean something only within it: a fresh container has a process 1 again.
    space: Option<String>,
    id: u32,
    /// Process ids come again; with the start time they do not.
    started: Option<i64>,
}

/// What can be said of another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    Alive,
    Gone,
    Unknown,
}

impl Process {
    pub(super) fn current() -> Self {
        let id = std::process::id();
        Self {
            boot: std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
                .ok()
                .map(|text| text.trim().to_owned()),
            space: std::fs::read_link("/proc/self/ns/pid")
                .ok()
                .map(|link| link.to_string_lossy().into_owned()),
            id,
            started: started(id),
        }
    }

    /// What can be said of `other` from within this process.
    fn judge(&self, other: &Self, same_instance: bool) -> Life {
        let (Some(boot), Some(other_boot)) = (&self.boot, &other.boot) else {
            return Life::Unknown;
        };
        if boot != other_boot {
            // The same host (or pod) after a reboot; otherwise another host on a shared volume.
            return if same_instance {
                Life::Gone
            } else {
                Life::Unknown
            };
        }
        if self.space.is_none() || self.space != other.space || other.started.is_none() {
            return Life::Unknown;
        }
        if started(other.id) == other.started {
            Life::Alive
        } else {
            Life::Gone
        }
    }
}

/// What can be said from here of the process of a run that has not ended: columns `host_boot`,
/// `pid_space`, `pid` and `pid_started`, from `column` on.
pub(super) fn life(
    row: &rusqlite::Row<'_>,
    column: usize,
    process: &Process,
) -> rusqlite::Result<Life> {
    let other = Process {
        boot: row.get(column)?,
        space: row.get(column + 1)?,
        id: row.get(column + 2)?,
        started: row.get(column + 3)?,
    };
    Ok(process.judge(&other, false))
}

/// When a process started, in clock ticks since boot: field 22 of `/proc/PID/stat` (proc(5)).
/// None if it is not running: an unreaped zombie is not.
fn started(id: u32) -> Option<i64> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The second field is the program's name in brackets and may hold anything.
    let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// Adds a run and returns its number.
pub(super) fn begin(
    connection: &Connection,
    process: &Process,
    run: &Run,
    settings_json: &str,
    queue_capacity: u64,
    now: Micros,
) -> rusqlite::Result<i64> {
    connection.execute(
        "INSERT INTO audit_runs (service, environment, version, instance, host_boot, pid_space, pid,
         pid_started, queue_capacity, settings_json, started_ts, alive_ts)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?11)",
        params![
            run.service,
            run.environment,
            run.version,
            run.instance,
            process.boot,
            process.space,
            process.id,
            process.started,
            int(queue_capacity),
            settings_json,
            now.0
        ],
    )?;
    Ok(connection.last_insert_rowid())
}

/// Whether `run` is this process's and has not ended, though another may have presumed that it had.
pub(super) fn is_open(
    connection: &Connection,
    run: i64,
    process: &Process,
) -> rusqlite::Result<bool> {
    connection.query_row(
        "SELECT count(*) FROM audit_runs WHERE run = ?1 AND (ended_ts IS NULL OR unclean)
         AND host_boot IS ?2 AND pid_space IS ?3 AND pid = ?4 AND pid_started IS ?5",
        params![
            run,
            process.boot,
            process.space,
            process.id,
            process.started
        ],
        |row| row.get(0),
    )
}

/// The settings of the service's last run before this one. A shipment is no run of the service.
pub(super) fn last_settings(
    connection: &Connection,
    service: &str,
) -> rusqlite::Result<Option<String>> {
    connection
        .query_row(
            "SELECT settings_json FROM audit_runs WHERE service = ?1
             AND settings_json NOT LIKE '{\"shipping\":%' ORDER BY run DESC LIMIT 1",
            [service],
            |row| row.get(0),
        )
        .optional()
}

/// Finds runs that stopped without saying so and marks them, so that each is found once.
pub(super) fn take_unclean(
    connection: &Connection,
    process: &Process,
    instance: Option<&str>,
    now: Micros,
) -> rusqlite::Result<Vec<UncleanStop>> {
    let mut open = connection.prepare_cached(
        "SELECT run, host_boot, pid_space, pid, pid_started, alive_ts, queue_capacity
         FROM audit_runs WHERE ended_ts IS NULL",
    )?;
    let mut found = open.query([])?;
    let mut stopped = Vec::new();
    while let Some(row) = found.next()? {
        let number: i64 = row.get(0)?;
        let other = Process {
            boot: row.get(1)?,
            space: row.get(2)?,
            id: row.get(3)?,
            started: row.get(4)?,
        };
        let alive = Micros(row.get(5)?);
        let Some(run) = constants(connection, number)? else {
            continue;
        };
        let same_instance = instance.is_some() && run.instance.as_deref() == instance;
        let gone = match process.judge(&other, same_instance) {
            Life::Alive => false,
            Life::Gone => true,
            Life::Unknown => now.since(alive) > PRESUMED_STOPPED,
        };
        if gone {
            let queue_capacity = count(row.get(6)?);
            stopped.push((
                number,
                UncleanStop {
                    run,
                    alive,
                    queue_capacity,
                },
            ));
        }
    }
    drop(found);
    for (number, _) in &stopped {
        connection
            .prepare_cached("UPDATE audit_runs SET ended_ts = ?2, unclean = 1 WHERE run = ?1")?
            .execute(params![number, now.0])?;
        sinks::free_leases(connection, *number)?;
    }
    Ok(stopped.into_iter().map(|(_, stop)| stop).collect())
}

/// Every run that has not ended, judged without changing anything.
pub(super) fn open_runs(
    connection: &Connection,
    process: &Process,
    now: Micros,
) -> rusqlite::Result<Vec<OpenRun>> {
    let mut open = connection.prepare_cached(
        "SELECT run, host_boot, pid_space, pid, pid_started, alive_ts, queue_capacity,
         EXISTS (SELECT 1 FROM audit_sinks WHERE lease_holder LIKE run || '/%' AND lease_until > ?1)
         FROM audit_runs WHERE ended_ts IS NULL ORDER BY run",
    )?;
    let mut found = open.query([now.0])?;
    let mut runs = Vec::new();
    while let Some(row) = found.next()? {
        let alive = Micros(row.get(5)?);
        let leases: bool = row.get(7)?;
        let at = match life(row, 1, process)? {
            Life::Alive => Whereabouts::Here,
            Life::Gone => Whereabouts::Gone,
            Life::Unknown if leases || now.since(alive) <= PRESUMED_STOPPED => {
                Whereabouts::MaybeElsewhere
            }
            Life::Unknown => Whereabouts::Gone,
        };
        let Some(run) = constants(connection, row.get(0)?)? else {
            continue;
        };
        runs.push(OpenRun {
            run,
            pid: row.get(3)?,
            alive,
            queue_capacity: count(row.get(6)?),
            at,
        });
    }
    Ok(runs)
}

pub(super) fn constants(connection: &Connection, run: i64) -> rusqlite::Result<Option<Run>> {
    connection
        .prepare_cached(
            "SELECT service, environment, version, instance FROM audit_runs WHERE run = ?1",
        )?
        .query_row([run], |row| {
            Ok(Run {
                service: row.get(0)?,
                environment: row.get(1)?,
                version: row.get(2)?,
                instance: row.get(3)?,
            })
        })
        .optional()
}

/// Always changes the file, also while the clock stands: SQLite does not write a page whose bytes
/// stay the same, and a commit that wrote nothing syncs nothing.
pub(super) fn sign_of_life(connection: &Connection, run: i64, now: Micros) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE audit_runs SET alive_ts = ?2, signs = signs + 1 WHERE run = ?1")?
        .execute(params![run, now.0])?;
    Ok(())
}

/// A run that shows a sign of life has not stopped, whatever another process presumed: it is open again, so that its
/// real end is told. What was counted and told of the end that was none stays: it is an upper bound.
pub(super) fn go_on(connection: &Connection, run: i64) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE audit_runs SET ended_ts = NULL, unclean = 0 WHERE run = ?1 AND unclean",
        )?
        .execute([run])?;
    Ok(())
}

/// How many signs of life a run has shown.
pub(super) fn signs(connection: &Connection, run: i64) -> rusqlite::Result<u64> {
    connection
        .prepare_cached("SELECT signs FROM audit_runs WHERE run = ?1")?
        .query_row([run], |row| row.get(0))
        .map(count)
}

pub(super) fn end(connection: &Connection, run: i64, now: Micros) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE audit_runs SET alive_ts = ?2, ended_ts = ?2, unclean = 0 WHERE run = ?1",
        )?
        .execute(params![run, now.0])?;
    Ok(())
}
