//! Sending dead letters again.

use serde::Serialize;
use serde_json::json;

use super::LedgerFile;
use super::dead_letters::DeadLetters;
use super::session::Session;
use crate::error::Error;
use crate::ledger;
use crate::ledger::own_rows::own_row;

/// What a replay did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Replayed {
    /// Dead letters that wait to be sent again.
    pub replayed: u64,
    /// Dead letters whose row retention has removed: there is nothing left to send.
    pub gone: u64,
}

impl LedgerFile {
    /// Makes dead letters pending again: each is sent once more, with the bytes and the sampling
    /// decision of the first time, and its age and attempts begin anew. A live service sends them
    /// within about ten seconds; otherwise the next start does. Each transaction is recorded as a row
    /// of the log (`audit_dead_letters_replayed`) with `by`, who asked for it.
    ///
    /// # Errors
    ///
    /// [`Error::is_ledger`]: the file cannot be written, or a service of an older version has made it
    /// and has to be updated first. What was replayed until then stays replayed.
    pub fn replay(&mut self, which: DeadLetters, by: &str) -> Result<Replayed, Error> {
        let mut done = Replayed::default();
        Session::work(self, which, by, |session, sink, seqs| {
            let Session { store, clock, by } = session;
            let record = |replayed: &ledger::Replayed| {
                let details = json!({
                    "sink": sink,
                    "count": replayed.letters,
                    "first": replayed.first,
                    "last": replayed.last,
                    "by": by,
                });
                own_row(clock, "audit_dead_letters_replayed", details)
            };
            let part = store.replay(sink, seqs, record).map_err(Error::from)?;
            done.replayed += part.letters;
            done.gone += part.gone;
            Ok(())
        })?;
        Ok(done)
    }
}
