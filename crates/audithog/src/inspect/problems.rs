//! What of a status somebody must act on.

use std::time::Duration;

use serde::Serialize;

use super::status::{RunState, SinkStatus, Status};

/// A run gives a sign of life at least every 20 s: three of them did not come.
const SILENCE: Duration = Duration::from_secs(60);
/// Two heartbeats and a bit: what a run of the first version, which has no other sign while nothing
/// happens, must not exceed.
const OLD_SILENCE: Duration = Duration::from_secs(620);
/// Less free space than this, and a burst of rows or the removal of old ones may not fit.
const LOW_SPACE: u64 = 128 << 20;
/// The writer empties its log before it is this large, unless it cannot.
const LARGE_LOG: u64 = 128 << 20;

/// What is worth a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Oldest pending row of a configured sink; default 15 minutes.
    pub max_pending_age: Duration,
    /// Losses and trouble longer ago are history; default 24 hours.
    pub window: Duration,
    /// Dead letters of a sink; default 0.
    pub max_dead_letters: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_pending_age: Duration::from_secs(15 * 60),
            window: Duration::from_secs(24 * 3_600),
            max_dead_letters: 0,
        }
    }
}

impl Limits {
    /// With another [`Limits::max_pending_age`].
    #[must_use]
    pub fn max_pending_age(self, max_pending_age: Duration) -> Self {
        Self {
            max_pending_age,
            ..self
        }
    }

    /// With another [`Limits::window`].
    #[must_use]
    pub fn window(self, window: Duration) -> Self {
        Self { window, ..self }
    }

    /// With another [`Limits::max_dead_letters`].
    #[must_use]
    pub fn max_dead_letters(self, max_dead_letters: u64) -> Self {
        Self {
            max_dead_letters,
            ..self
        }
    }
}

/// Something to act on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Problem {
    /// What it is.
    pub kind: ProblemKind,
    /// The sink or the run, if it is about one.
    pub of: Option<String>,
    /// What is so, in one sentence.
    pub text: String,
    /// What to do, in one sentence.
    pub remedy: String,
}

/// Kinds of problems, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ProblemKind {
    /// No process writes the log, or one that lives has stopped writing.
    LogStopped,
    /// The ledger cannot be written, or soon cannot.
    LedgerTrouble,
    /// The books do not add up: a bug, or a damaged file.
    BrokenEquation,
    /// Rows were lost lately.
    Losses,
    /// A sink sends nothing until somebody acts.
    Hold,
    /// Rows wait for too long.
    PendingTooOld,
    /// A destination refused rows for good.
    DeadLetters,
}

impl Status {
    /// What somebody must act on, the worst first.
    #[must_use]
    pub fn problems(&self, limits: &Limits) -> Vec<Problem> {
        let mut problems = Vec::new();
        self.stopped(&mut problems);
        self.trouble(limits, &mut problems);
        self.broken(&mut problems);
        self.lost(limits, &mut problems);
        for sink in self.sinks.iter().filter(|sink| sink.configured) {
            held(sink, &mut problems);
            waiting(sink, limits, &mut problems);
        }
        for sink in &self.sinks {
            dead(sink, limits, &mut problems);
        }
        problems.sort_by_key(|problem| problem.kind);
        problems
    }

    /// Rows that may be gone and that [`Status::losses`] does not have yet, at most: what was in memory when runs died, which no later start or
    /// shipment has found.
    #[must_use]
    pub fn uncounted(&self) -> u64 {
        let dead = self.runs.iter().filter(|run| run.state == RunState::Dead);
        dead.fold(0, |rows, run| rows.saturating_add(run.queue_capacity))
    }

    fn stopped(&self, problems: &mut Vec<Problem>) {
        let mut live = false;
        for run in &self.runs {
            match run.state {
                RunState::Alive | RunState::Remote => {
                    live = true;
                    let limit = if run.books.is_some() || self.file.schema >= 2 {
                        SILENCE
                    } else {
                        OLD_SILENCE
                    };
                    if run.sign_age_seconds > limit.as_secs_f64() {
                        problems.push(problem(
                            ProblemKind::LogStopped,
                            Some(format!("run {}", run.run)),
                            format!(
                                "run {} (pid {}) lives and has written nothing for {} s",
                                run.run, run.pid, run.sign_age_seconds as u64
                            ),
                            "read the service's log for `the audit ledger cannot be written`, and \
                             look at the disk",
                        ));
                    }
                }
                RunState::Dead => problems.push(problem(
                    ProblemKind::LogStopped,
                    Some(format!("run {}", run.run)),
                    format!(
                        "run {} (pid {}) stopped without saying so after {}",
                        run.run, run.pid, run.sign
                    ),
                    "start the service again: its start counts what may be missing, and sends what \
                     waits",
                )),
                RunState::Ended | RunState::Killed => {}
            }
        }
        if !live && problems.is_empty() {
            problems.push(problem(
                ProblemKind::LogStopped,
                None,
                "no process writes this log".to_owned(),
                "start the service, or look whether its AUDITHOG_DB names this file",
            ));
        }
    }

    fn trouble(&self, limits: &Limits, problems: &mut Vec<Problem>) {
        let kind = ProblemKind::LedgerTrouble;
        if let Some(free) = self.file.disk_free_bytes.filter(|free| *free < LOW_SPACE) {
            problems.push(problem(
                kind,
                None,
                format!("the disk has {} MiB left", free >> 20),
                "make room beside the ledger, or lower AUDITHOG_RETENTION; never delete audit.db or \
                 the files beside it",
            ));
        }
        if self.file.reserve_in_use {
            problems.push(problem(
                kind,
                None,
                "the disk was full, and the ledger's reserve is in use: rows wait in memory".to_owned(),
                "make room beside the ledger: twice AUDITHOG_DB_RESERVE must be free before rows are written again",
            ));
        }
        if self.file.log_bytes > LARGE_LOG {
            problems.push(problem(
                kind,
                None,
                format!(
                    "the write-ahead log has {} MiB and is not emptied",
                    self.file.log_bytes >> 20
                ),
                "end programs that read the file for long, and look at the disk",
            ));
        }
        for run in &self.runs {
            let lately = |age: f64| age <= limits.window.as_secs_f64();
            if let Some(trouble) = run.trouble.as_ref().filter(|it| lately(it.age_seconds)) {
                problems.push(problem(
                    kind,
                    Some(format!("run {}", run.run)),
                    format!(
                        "run {} could not write the ledger until {}: {}",
                        run.run, trouble.until, trouble.text
                    ),
                    if self.file.reserve_in_use {
                        "make room; what does not fit into memory meanwhile is lost, and counted"
                    } else {
                        "it writes again; look at the disk, and at the losses for what did not fit \
                         into memory"
                    },
                ));
            }
        }
    }

    fn broken(&self, problems: &mut Vec<Problem>) {
        for equation in self.equations.iter().filter(|equation| !equation.holds) {
            problems.push(problem(
                ProblemKind::BrokenEquation,
                Some(equation.of.clone()),
                format!(
                    "the books of {} do not add up: {}",
                    equation.of, equation.sentence
                ),
                "keep a copy of the file with its -wal and report this: it is a bug, or the file was \
                 changed by hand",
            ));
        }
    }

    fn lost(&self, limits: &Limits, problems: &mut Vec<Problem>) {
        for loss in &self.losses {
            let lately = |age: f64| age <= limits.window.as_secs_f64();
            let Some(last) = loss.last.as_ref().filter(|_| {
                // The row exists: only its second copy was refused, and its caller was told.
                loss.reason != "duplicate_id" && loss.last_age_seconds.is_some_and(lately)
            }) else {
                continue;
            };
            let bound = if loss.upper_bound { "at most " } else { "" };
            problems.push(problem(
                ProblemKind::Losses,
                Some(loss.reason.clone()),
                format!(
                    "rows were lost as {}, last {last}; {bound}{} in all",
                    loss.reason, loss.rows
                ),
                remedy_of_loss(&loss.reason),
            ));
        }
    }
}

fn held(sink: &SinkStatus, problems: &mut Vec<Problem>) {
    if let Some(hold) = &sink.hold {
        problems.push(problem(
            ProblemKind::Hold,
            Some(sink.name.clone()),
            format!(
                "{} is on hold ({}): {}",
                sink.name,
                hold.reason,
                rows_wait(sink.pending)
            ),
            &hold.remedy,
        ));
    }
}

fn waiting(sink: &SinkStatus, limits: &Limits, problems: &mut Vec<Problem>) {
    let limit = limits.max_pending_age.as_secs_f64();
    if let Some(age) = sink.oldest_pending_seconds.filter(|age| *age > limit) {
        let remedy = match sink.breaker.as_deref() {
            _ if sink.hold.is_some() => "end the hold",
            Some("open") => "nothing, if the destination is down; else see its last error",
            _ if !sink.driven => "start the service: no process sends now",
            _ => "see the sink's last error, and the service's log",
        };
        problems.push(problem(
            ProblemKind::PendingTooOld,
            Some(sink.name.clone()),
            format!(
                "{} for {}, the oldest for {} s",
                rows_wait(sink.pending),
                sink.name,
                age as u64
            ),
            remedy,
        ));
    }
}

fn dead(sink: &SinkStatus, limits: &Limits, problems: &mut Vec<Problem>) {
    let open = sink.dead.saturating_sub(sink.dismissed);
    if open > limits.max_dead_letters {
        problems.push(problem(
            ProblemKind::DeadLetters,
            Some(sink.name.clone()),
            match open {
                1 => format!("{} refused 1 row for good", sink.name),
                open => format!("{} refused {open} rows for good", sink.name),
            },
            "see why with `audithog dead-letters list`, then `audithog dead-letters replay`, or \
             `dismiss` if nothing is to be done",
        ));
    }
}

fn rows_wait(n: u64) -> String {
    match n {
        1 => "1 row waits".to_owned(),
        n => format!("{n} rows wait"),
    }
}

fn remedy_of_loss(reason: &str) -> &'static str {
    match reason {
        "queue_full" => "raise AUDITHOG_QUEUE_ROWS, or find what keeps the disk from writing",
        "after_shutdown" => "call `shutdown` after the server has stopped, not before",
        "unclean_stop" => {
            "find out what killed the process; an upper bound, milliseconds of rows as a rule"
        }
        "ledger_failed" => "look at the disk and at the service's log from that time",
        "ledger_replaced" => {
            "find out who moved or deleted the file; nothing may touch it while the service runs"
        }
        "ledger_damaged" => {
            "save what can be read of the file that was put aside (`.damaged-…`, beside the ledger): most of it was \
             delivered"
        }
        _ => "see the `audit_loss` rows of that time",
    }
}

fn problem(kind: ProblemKind, of: Option<String>, text: String, remedy: &str) -> Problem {
    Problem {
        kind,
        of,
        text,
        remedy: remedy.to_owned(),
    }
}
