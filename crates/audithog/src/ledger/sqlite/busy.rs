//! How long a connection waits for another writer's lock.
//!
//! Writers of audithog take turns before they ask for it (`turn.rs`), so it is mostly free. Here is the
//! rest: other programs, readers during a checkpoint, and writers that could not have their turn.
//! SQLite's own back-off is unfair: two busy writers have been measured to wait two seconds for
//! each other. Short, even steps are better.

use std::cell::Cell;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::error::kind;
use crate::ledger::StoreErrorKind;

/// After this an operation gives up with `StoreErrorKind::Busy`.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// About the time that a group's commit takes.
pub(super) const STEP: Duration = Duration::from_micros(50);
/// Whoever holds the lock longer than this is not committing a group: ask less often.
pub(super) const SHORT: Duration = Duration::from_millis(20);
pub(super) const LONG_STEP: Duration = Duration::from_millis(1);

thread_local! {
    static SINCE: Cell<Option<Instant>> = const { Cell::new(None) };
    static LIMIT: Cell<Duration> = const { Cell::new(PATIENCE) };
}

/// Waits for locks in these steps, on whatever thread uses `connection`.
pub(super) fn install(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.busy_handler(Some(wait as fn(i32) -> bool))
}

/// Runs `work` on this thread with another limit than [`PATIENCE`].
pub(super) fn with_patience<T>(limit: Duration, work: impl FnOnce() -> T) -> T {
    LIMIT.set(limit);
    let result = work();
    LIMIT.set(PATIENCE);
    result
}

/// How long this thread waits for a lock.
pub(super) fn patience() -> Duration {
    LIMIT.get()
}

/// Called by SQLite with the number of calls before for the same lock.
fn wait(calls: i32) -> bool {
    let now = Instant::now();
    let since = match SINCE.get() {
        Some(since) if calls > 0 => since,
        _ => now,
    };
    SINCE.set(Some(since));
    let waited = now.duration_since(since);
    if waited >= patience() {
        return false;
    }
    pause(if waited < SHORT { STEP } else { LONG_STEP });
    true
}

/// Repeats `work` while it answers busy, for the locks that SQLite takes without its handler.
pub(super) fn retry<T>(mut work: impl FnMut() -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    let since = Instant::now();
    loop {
        match work() {
            Err(error) if kind(&error) == StoreErrorKind::Busy && since.elapsed() < PATIENCE => {
                pause(LONG_STEP);
            }
            result => return result,
        }
    }
}

pub(super) fn pause(step: Duration) {
    #[expect(
        clippy::disallowed_methods,
        reason = "SQLite has no way to wait for another process's lock but to ask again"
    )]
    std::thread::sleep(step);
}
