//! Dead letters that need nothing more.

use serde::Serialize;
use serde_json::json;

use super::LedgerFile;
use super::dead_letters::DeadLetters;
use super::session::Session;
use crate::error::Error;
use crate::ledger;
use crate::ledger::own_rows::own_row;

/// What a dismissal did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Dismissed {
    /// Dead letters that are dismissed now.
    pub dismissed: u64,
    /// Of these, letters whose row retention had removed: they are not listed any more.
    pub gone: u64,
    /// Dead letters that somebody had dismissed before.
    pub already: u64,
}

impl LedgerFile {
    /// Says that nothing more has to be done about dead letters. They stay counted as dead, for the
    /// destination has not got their rows, but are no [problem](super::Status::problems) any more. A
    /// letter goes with its row: at once if retention has removed that already. Until then it can be
    /// sent again all the same. Each transaction is recorded as a row of the log
    /// (`audit_dead_letters_dismissed`) with `by`, who asked for it.
    ///
    /// # Errors
    ///
    /// [`Error::is_ledger`]: the file cannot be written, or a service of an older version has made it
    /// and has to be updated first. What was dismissed until then stays dismissed.
    pub fn dismiss(&mut self, which: DeadLetters, by: &str) -> Result<Dismissed, Error> {
        let mut done = Dismissed::default();
        Session::work(self, which, by, |session, sink, seqs| {
            let Session { store, clock, by } = session;
            let record = |dismissed: &ledger::Dismissed| {
                let details = json!({
                    "sink": sink,
                    "count": dismissed.letters,
                    "first": dismissed.first,
                    "last": dismissed.last,
                    "withoutRow": dismissed.gone,
                    "by": by,
                });
                own_row(clock, "audit_dead_letters_dismissed", details)
            };
            let part = store.dismiss(sink, seqs, by, record).map_err(Error::from)?;
            done.dismissed += part.letters;
            done.gone += part.gone;
            done.already += part.already;
            Ok(())
        })?;
        Ok(done)
    }
}
