//! The ledger in an SQLite file.
//!
//! # Format
//!
//! * `audit_rows` is the log: one compact line per row, by `seq`. `audit_logs` is the view for
//!   people: every column as text, number or time. `schema.sql` has the tables.
//! * `seq` is given here, from `audit_head.head`, which moves in the same transaction. It has no
//!   gaps and no number comes twice, also after retention has emptied the table. Only a group's
//!   first row is inserted with its number; SQLite counts on from there, and each number is compared.
//! * Ids are 16-byte blobs; a text that is not a UUID stays text. So a row is found by
//!   `… FROM audit_logs WHERE id = '0192…'` (text, reads the whole log) and by
//!   `… FROM audit_rows WHERE id = x'0192…'` (blob). There is no index on ids: keeping one in
//!   random order costs ten times the append itself. A UUIDv7 begins with its time, and
//!   `audit_blocks` leads from a time to a range of `seq`.
//! * An integer where text is expected is a number in `audit_names`. Where all of a row's texts have one, the numbers
//!   are one text in `event`, and the columns of those texts are null: see `packed.rs`.
//! * What is constant for a run of the process is in `audit_runs`.
//! * `audit_blocks` has the times of about a thousand rows a line. `high_ts` is when the block's last
//!   row was committed, and never falls along the log, also where the clock did: retention goes by
//!   it, whatever times the rows have.
//! * `application_id` is `AHOG`, `user_version` the schema version.
//!
//! # Writing
//!
//! One group is one transaction. Write-ahead log, `synchronous = NORMAL`: a commit survives the
//! process; a group that asks for it is committed with `FULL`, whose fsync covers all frames
//! before it. Several processes may write in turn (`turn.rs`): `PRAGMA data_version`, asked inside the
//! write transaction, says when the counters must be read again.
//!
//! Before each group the files are compared with those that were opened: SQLite goes on writing
//! into a deleted file without an error. After an I/O error, a failed fsync above all, the store
//! refuses everything until [`SqliteStore::reopen`]: what a failed fsync has lost, a second one
//! does not bring back.
//!
//! # Triggers
//!
//! They refuse to change rows, to delete rows that retention has not released, to give a number
//! twice (`INSERT OR REPLACE` passes the other two) and to move the head back. They stop accidents,
//! not insiders: whoever can write the file can drop them. Proof needs a checkpoint outside. The
//! writer itself appends without them (see `open::triggers`) and has them on for retention.

mod append;
mod begin;
mod busy;
mod checkpoint;
mod damage;
mod decode;
mod digest;
mod dismiss;
mod encode;
mod error;
mod file;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod handle;
mod look;
mod mend;
mod names;
mod notes;
mod open;
mod packed;
mod read;
mod replay;
mod reserve;
mod retention;
mod runs;
mod schema;
mod settle;
mod sinks;
mod store;
mod tail;
#[cfg(test)]
mod tests;
mod transact;
mod turn;
mod unclean;
mod verified;
mod visit;

pub(crate) use begin::OpenReport;
pub(crate) use damage::put_aside_before;
pub(crate) use dismiss::Dismissed;
pub(crate) use error::lacks_access;
#[cfg(feature = "posthog")]
pub(crate) use look::Passed;
pub(crate) use look::{
    Access, AdHoc, AdHocEnd, AdHocLimits, Content, Direction, Extent, Facts, Glance, LetterFilter,
    LetterRow, Looker, LossFact, RunFact, RunLife, SinkFact, Walk, space,
};
pub(crate) use read::SqliteReader;
pub(crate) use replay::Replayed;
pub(crate) use reserve::in_use as reserve_in_use;
pub(crate) use runs::{ACCESS, DEAD_LETTERS, OpenRun, UncleanStop, Whereabouts};
pub(crate) use schema::VERSION as CURRENT_SCHEMA;
pub(crate) use store::SqliteStore;
#[cfg(feature = "posthog")]
pub(crate) use verified::{Compared, verify};
pub(crate) use visit::append_beside;
