//! The ledger's directory, disk and file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::Checks;
use crate::clock::Clock;
use crate::inspect::{LedgerFile, Limits, ProblemKind, Status};
use crate::ledger::place::{self, Verdict};
use crate::ledger::{StoreErrorKind, check, space};

/// How long rows are read to find damage. The service itself reads all of them after a start.
const READING: Duration = Duration::from_secs(2);
/// Below this a burst of rows does not fit, and soon not even the removal of old ones.
const LEAST_SPACE: u64 = 16 << 20;
const LOW_SPACE: u64 = 128 << 20;
/// Rows may arrive a moment before they are stamped elsewhere.
const AHEAD: Duration = Duration::from_secs(5);

pub(super) fn examine(path: &Path, clock: &Clock, checks: &mut Checks) {
    let directory = directory_of(path);
    if !examine_directory(&directory, checks) {
        return;
    }
    examine_file_system(path, checks);
    examine_space(path, &directory, checks);
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            checks.ok(
                "ledger",
                format!(
                    "{} does not exist yet: the first start makes it",
                    path.display()
                ),
            );
        }
        Err(error) => checks.fail(
            "ledger",
            format!("{} cannot be looked at: {error}", path.display()),
            "run this as the service's user, and let that user into the directory",
        ),
        Ok(found) => {
            examine_permissions(path, &found, checks);
            if is_blank(path) {
                checks.ok(
                    "ledger",
                    format!(
                        "{} is empty: the first start makes the ledger in it",
                        path.display()
                    ),
                );
            } else {
                examine_ledger(path, clock, checks);
            }
        }
    }
}

/// An empty file that no write-ahead log belongs to: as good as none.
pub(super) fn is_blank(path: &Path) -> bool {
    let is_empty = |found: fs::Metadata| found.is_file() && found.len() == 0;
    fs::metadata(path).is_ok_and(is_empty) && size_of(path, "-wal") == 0
}

fn size_of(path: &Path, suffix: &str) -> u64 {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    fs::metadata(&name).map_or(0, |found| found.len())
}

fn directory_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// False where nothing else needs to be looked at.
fn examine_directory(directory: &Path, checks: &mut Checks) -> bool {
    let shown = directory.display();
    if !directory.is_dir() {
        checks.fail(
            "directory",
            format!("there is no directory {shown}"),
            "make it, and let the service's user write there: the ledger makes its file, not the directory",
        );
        return false;
    }
    // Permissions alone do not tell: the volume may be read-only, or full.
    let probe = directory.join(format!(".audithog-doctor-{}", std::process::id()));
    let made = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&probe);
    match made {
        Ok(_) => {
            // Left behind it is an empty file with a telling name.
            let _ = fs::remove_file(&probe);
            checks.ok("directory", format!("{shown} can be written"));
        }
        Err(error) => checks.fail(
            "directory",
            format!("{shown} cannot be written by this user: {error}"),
            "run this as the service's user; let that user write there, and see that the volume is not read-only",
        ),
    }
    true
}

fn examine_file_system(path: &Path, checks: &mut Checks) {
    let Some(kind) = place::kind_of(path) else {
        return;
    };
    match place::judge(&kind) {
        Verdict::Good => checks.ok("file_system", format!("{kind}, which SQLite can use")),
        Verdict::Forgets => checks.warn(
            "file_system",
            format!("{kind} does not outlive its container or machine: what is not delivered by then is gone"),
            "put AUDITHOG_DB on a volume",
        ),
        Verdict::Refused => checks.fail(
            "file_system",
            format!("{kind} is a network file system: SQLite's write-ahead log does not work there"),
            "put AUDITHOG_DB on a local disk or a block volume",
        ),
    }
}

fn examine_space(path: &Path, directory: &Path, checks: &mut Checks) {
    let Some((free, all)) = space(directory) else {
        return;
    };
    let size = |suffix: &str| size_of(path, suffix);
    let text = format!(
        "{} MiB free of {} MiB; the ledger takes {} MiB and its write-ahead log {} MiB",
        free >> 20,
        all >> 20,
        size("") >> 20,
        size("-wal") >> 20
    );
    let remedy = "make room outside of the ledger, or give it a larger disk; then set AUDITHOG_DB_MAX_BYTES or a \
                  shorter AUDITHOG_RETENTION";
    match free {
        _ if free < LEAST_SPACE => checks.fail("disk", text, remedy),
        _ if free < LOW_SPACE => checks.warn("disk", text, remedy),
        _ => checks.ok("disk", text),
    }
}

#[cfg(unix)]
fn examine_permissions(path: &Path, found: &fs::Metadata, checks: &mut Checks) {
    use std::os::unix::fs::MetadataExt as _;
    let mode = found.mode() & 0o7777;
    // The owner of a process's own entry is its effective user (proc(5)).
    let me = fs::metadata("/proc/self").map(|own| own.uid()).ok();
    let shown = path.display();
    if me.is_some_and(|me| me != found.uid()) {
        let owner = found.uid();
        checks.warn(
            "permissions",
            format!("{shown} belongs to user {owner}, and this runs as another"),
            "run this as the service's user: only then it sees what the service sees",
        );
    } else if mode & 0o077 != 0 {
        checks.warn(
            "permissions",
            format!("{shown} has mode {mode:04o}: others can get at the audit rows"),
            format!("chmod 600 {shown}"),
        );
    } else {
        checks.ok("permissions", format!("mode {mode:04o}, this user's"));
    }
}

#[cfg(not(unix))]
fn examine_permissions(_path: &Path, _found: &fs::Metadata, _checks: &mut Checks) {}

fn examine_ledger(path: &Path, clock: &Clock, checks: &mut Checks) {
    let opened = LedgerFile::open(path).and_then(|mut file| file.status());
    let status = match opened {
        Ok(status) => status,
        Err(error) => {
            let remedy = if error.is_newer_ledger() {
                "use the version of audithog that the service has"
            } else {
                "see docs/operations.md, \"Errors at start\" and \"the audit ledger is damaged\""
            };
            checks.fail("ledger", sentence(&error), remedy);
            return;
        }
    };
    let (schema, rows) = (status.file.schema, status.rows.head);
    checks.ok(
        "ledger",
        format!(
            "{} is one, schema {schema}, {rows} rows ever",
            path.display()
        ),
    );
    examine_rows(path, &status, checks);
    examine_books(&status, checks);
    examine_last_row(&status, clock, checks);
}

/// The error and its causes.
fn sentence(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn examine_rows(path: &Path, status: &Status, checks: &mut Checks) {
    let head = i64::try_from(status.rows.head).unwrap_or(i64::MAX);
    let until = Instant::now() + READING;
    match check::run(path, head, || Instant::now() < until) {
        Ok(last) if last >= head => checks.ok("integrity", "every row can be read"),
        Ok(last) => checks.ok(
            "integrity",
            format!("rows up to {last} of {head} can be read; {} s were given to it", READING.as_secs()),
        ),
        Err(error) if error.kind == StoreErrorKind::Corrupt => checks.fail(
            "integrity",
            sentence(&error),
            "keep a copy of the file with its -wal; look at the disk; see docs/operations.md, \"the audit ledger is damaged\"",
        ),
        Err(error) => checks.warn(
            "integrity",
            format!("not looked at: {}", sentence(&error)),
            "run this where the ledger can be written",
        ),
    }
}

/// The conservation equations, and whatever else the status has to complain of.
fn examine_books(status: &Status, checks: &mut Checks) {
    let count = status.equations.len();
    let mut broken = status
        .equations
        .iter()
        .filter(|equation| !equation.holds)
        .peekable();
    if broken.peek().is_none() {
        checks.ok("books", format!("all {count} conservation equations hold"));
    }
    for equation in broken {
        checks.fail(
            "books",
            format!(
                "{}: {} does not hold ({})",
                equation.of, equation.rule, equation.sentence
            ),
            "look again; if it stays so, the file is damaged or this is a bug: please report it",
        );
    }
    for problem in status.problems(&Limits::default()) {
        if problem.kind != ProblemKind::BrokenEquation {
            checks.warn("status", problem.text, problem.remedy);
        }
    }
}

/// Rows that are younger than now: the clock was set back, or it was wrong.
fn examine_last_row(status: &Status, clock: &Clock, checks: &mut Checks) {
    let last = status
        .rows
        .last
        .as_deref()
        .and_then(|last| last.parse::<jiff::Timestamp>().ok());
    let Some(last) = last else {
        return;
    };
    let ahead = crate::record::Micros(last.as_microsecond()).since(clock.wall());
    if ahead > AHEAD {
        checks.warn(
            "clock",
            format!(
                "the last row is dated {} s ahead of this machine's clock",
                ahead.as_secs()
            ),
            "let the clock be kept by NTP; rows keep the time they were given",
        );
    } else {
        checks.ok("clock", "not behind the last row");
    }
}
