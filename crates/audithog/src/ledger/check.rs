//! The rest of the check that opening leaves out: every row of earlier runs, read once, slowly.

use std::path::Path;
use std::thread;
use std::time::Duration;

use super::{SqliteReader, StoreError};

/// Rows in one read: a short read transaction and a short turn on the core.
const SLICE: usize = 200;
/// Rest between two slices, so that the check takes a small part of one core.
const REST: Duration = Duration::from_millis(5);

/// Reads the rows up to `upto`, as long as `wanted`. Returns how many numbers were covered.
///
/// # Errors
///
/// The first damage found, or why the ledger cannot be read.
pub(crate) fn run(path: &Path, upto: i64, wanted: impl Fn() -> bool) -> Result<i64, StoreError> {
    let mut reader = SqliteReader::open(path)?;
    let mut last = 0;
    while last < upto && wanted() {
        match reader.check(last, SLICE)? {
            Some(checked) => last = checked,
            None => break,
        }
        // Nobody unparks this thread; an early return of the rest would do no harm.
        thread::park_timeout(REST);
    }
    Ok(last)
}
