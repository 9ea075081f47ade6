//! SQLite's errors as what the caller can do about them.

use std::io::ErrorKind;

use rusqlite::ErrorCode;

use crate::ledger::{StoreError, StoreErrorKind};

/// Turns an error of SQLite into one that says what was attempted.
pub(super) fn failed(doing: &'static str) -> impl Fn(rusqlite::Error) -> StoreError {
    move |source| StoreError {
        kind: kind(&source),
        message: format!("the ledger could not {doing}"),
        source: Some(Box::new(source)),
    }
}

/// A value in the file that no version has written.
pub(super) fn damaged(what: impl std::fmt::Display) -> StoreError {
    StoreError {
        kind: StoreErrorKind::Corrupt,
        message: format!("the ledger is damaged: {what}"),
        source: None,
    }
}

/// A newer version began to write the file after this one had opened it. Damage it is not, and nothing is put aside.
pub(super) fn newer(seq: i64) -> StoreError {
    plain(
        StoreErrorKind::Newer,
        format!("row {seq} of the ledger was written by a newer version of audithog"),
    )
}

pub(super) fn plain(kind: StoreErrorKind, message: impl Into<String>) -> StoreError {
    StoreError {
        kind,
        message: message.into(),
        source: None,
    }
}

/// Whether the file, or its directory, must not be written, or not even be read.
pub(crate) fn lacks_access(error: &StoreError) -> bool {
    let Some(source) = &error.source else {
        return false;
    };
    if let Some(error) = source.downcast_ref::<rusqlite::Error>() {
        return matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly)
        );
    }
    let error = source.downcast_ref::<std::io::Error>();
    error.is_some_and(|error| {
        matches!(
            error.kind(),
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem
        )
    })
}

pub(super) fn kind(error: &rusqlite::Error) -> StoreErrorKind {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreErrorKind::Busy,
        Some(ErrorCode::DiskFull) => StoreErrorKind::Full,
        // The index of the log could not grow.
        Some(ErrorCode::SystemIoFailure) if no_room_for_index(error) => StoreErrorKind::Full,
        // A refused constraint means that the tables contradict each other.
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::ConstraintViolation) => {
            StoreErrorKind::Corrupt
        }
        Some(
            ErrorCode::NotADatabase
            | ErrorCode::CannotOpen
            | ErrorCode::PermissionDenied
            | ErrorCode::ReadOnly,
        ) => StoreErrorKind::Unusable,
        Some(_) => StoreErrorKind::Io,
        // Not from SQLite: a value of the wrong type.
        None => StoreErrorKind::Corrupt,
    }
}

/// SQLite makes room for its index by writing to it, and calls a failure an I/O error.
fn no_room_for_index(error: &rusqlite::Error) -> bool {
    let rusqlite::Error::SqliteFailure(failure, _) = error else {
        return false;
    };
    failure.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE
}

/// The disk answered with an error: what was written last may be in the system's memory only.
pub(super) fn is_disk_error(error: &StoreError) -> bool {
    code(error) == Some(ErrorCode::SystemIoFailure)
}

pub(super) fn is_no_database(error: &StoreError) -> bool {
    code(error) == Some(ErrorCode::NotADatabase)
}

fn code(error: &StoreError) -> Option<ErrorCode> {
    let source = error.source.as_deref()?;
    source
        .downcast_ref::<rusqlite::Error>()?
        .sqlite_error_code()
}
