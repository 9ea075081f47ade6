//! A damaged ledger is put aside, never deleted, and never written over.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rusqlite::OpenFlags;

use super::busy;
use super::error::plain;
use super::file::{self, Identity, beside};
use crate::ledger::{Quarantined, StoreError, StoreErrorKind};
use crate::record::Micros;

const MARK: &str = ".damaged-";
/// What belongs to a ledger's file. The file itself comes first: a process that looks in between
/// finds a log without its file, and waits for the lock.
const PARTS: [&str; 3] = ["", "-wal", "-shm"];
/// No row takes less in the file: the head of a record has a byte for each of its 24 columns, and
/// an id has 16.
const LEAST_ROW: u64 = 40;

/// Held while files are put aside and new ones are made: the lock of the directory.
#[derive(Debug)]
pub(super) struct Aside {
    /// None if another process was faster.
    pub(super) quarantined: Option<Quarantined>,
    pub(super) lock: File,
}

/// Renames the file at `path`, if it is still `expected`, and what is beside it.
///
/// `known`: the head and the pruning mark, where the process knows them.
pub(super) fn put_aside(
    path: &Path,
    expected: Option<Identity>,
    known: Option<(i64, i64)>,
    now: Micros,
) -> Result<Aside, StoreError> {
    let cannot = |source: io::Error| StoreError {
        kind: StoreErrorKind::Unusable,
        message: format!("the damaged ledger {} cannot be put aside", path.display()),
        source: Some(Box::new(source)),
    };
    let lock = directory(path).map_err(cannot)?;
    lock_in_time(&lock).map_err(|error| match error {
        TryLockError::Error(source) => cannot(source),
        TryLockError::WouldBlock => {
            let path = path.display();
            plain(
                StoreErrorKind::Busy,
                format!("the damaged ledger {path} cannot be put aside: another process keeps its directory locked"),
            )
        }
    })?;
    let found = file::identity(path).ok().map(|(identity, _)| identity);
    let there = PARTS.iter().any(|part| beside(path, part).exists());
    if found != expected || !there {
        return Ok(Aside {
            quarantined: None,
            lock,
        });
    }
    let counted = known.or_else(|| read_head(path));
    let bytes: u64 = PARTS[..2]
        .iter()
        .filter_map(|part| fs::metadata(beside(path, part)).ok())
        .map(|found| found.len())
        .sum();
    let target = free_name(path, now);
    for part in PARTS {
        let (from, to) = (beside(path, part), beside(&target, part));
        match fs::rename(&from, &to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(cannot(error)),
            _ => {}
        }
    }
    lock.sync_all().map_err(cannot)?;
    Ok(Aside {
        quarantined: Some(Quarantined {
            file: target,
            head: counted.map(|(head, _)| head),
            held: counted.map_or(bytes / LEAST_ROW, |(head, pruned)| {
                u64::try_from(head - pruned).unwrap_or(0)
            }),
        }),
        lock,
    })
}

fn directory(path: &Path) -> io::Result<File> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent),
        _ => File::open("."),
    }
}

/// The lock of the directory, for whoever makes the file at `path`: until it is a ledger, others would take it for
/// what is left of one. None if it cannot be had, or not in time.
pub(super) fn lock_to_make(path: &Path) -> Option<File> {
    let lock = directory(path).ok()?;
    lock_in_time(&lock).ok()?;
    Some(lock)
}

/// Asks again and again: a wait for a lock that a stopped process holds could not be given up.
fn lock_in_time(lock: &File) -> Result<(), TryLockError> {
    let since = Instant::now();
    loop {
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) if since.elapsed() < busy::patience() => {
                busy::pause(busy::LONG_STEP);
            }
            locked => return locked,
        }
    }
}

/// `audit.db.damaged-20260301T090000Z`, or with `-2` and so on behind it.
fn free_name(path: &Path, now: Micros) -> PathBuf {
    let time: String = now
        .to_string()
        .split('.')
        .next()
        .unwrap_or_default()
        .trim_end_matches('Z')
        .chars()
        .filter(|c| !matches!(c, '-' | ':'))
        .collect();
    let base = beside(path, &format!("{MARK}{time}Z"));
    let taken = |name: &PathBuf| PARTS.iter().any(|part| beside(name, part).exists());
    let others = (2..).map(|n| beside(&base, &format!("-{n}")));
    std::iter::once(base.clone())
        .chain(others)
        .find(|name| !taken(name))
        .unwrap_or(base)
}

/// A damaged file often still says how far it was.
fn read_head(path: &Path) -> Option<(i64, i64)> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if fs::metadata(path).ok()?.len() == 0 {
        return None;
    }
    let connection = rusqlite::Connection::open_with_flags(path, flags).ok()?;
    // Or a file without its last pages could not be read at all.
    connection
        .execute_batch("PRAGMA writable_schema = ON")
        .ok()?;
    let found: (i64, i64) = connection
        .query_row("SELECT head, pruned FROM audit_head", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .ok()?;
    let believable = (0..=found.0).contains(&found.1) && found.0 < i64::MAX / 2;
    believable.then_some(found)
}

/// The files that were put aside here and are still here, oldest first.
pub(crate) fn put_aside_before(path: &Path) -> Vec<PathBuf> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Vec::new();
    };
    let mut start = OsString::from(name);
    start.push(MARK);
    let start = start.to_string_lossy().into_owned();
    let mut found: Vec<PathBuf> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.starts_with(&start) && !name.ends_with("-wal") && !name.ends_with("-shm")
        })
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}

/// What a place without a ledger, or with an empty one, still tells of the one that was there.
pub(super) fn remains(path: &Path, known: bool) -> Result<(), StoreError> {
    let length = |path: &Path| fs::metadata(path).map_or(0, |found| found.len());
    let corrupt = |what: &str| {
        Err(plain(
            StoreErrorKind::Corrupt,
            format!("the ledger {} is damaged: {what}", path.display()),
        ))
    };
    if length(path) > 0 {
        return Ok(());
    }
    // SQLite would delete it: it belongs to no page of an empty file.
    if length(&beside(path, "-wal")) > 0 {
        return corrupt("its write-ahead log is there, but the file is not, or is empty");
    }
    if path.exists() && (known || length(&super::reserve::path(path)) > 0) {
        return corrupt("it was in use, and its file is empty now");
    }
    Ok(())
}
