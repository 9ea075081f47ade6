//! Sending dead letters again: the one thing here that writes.

use serde::Serialize;
use serde_json::json;

use super::dead_letters::DeadLetters;
use super::{LedgerFile, refused};
use crate::clock::Clock;
use crate::error::{Error, Kind};
use crate::ledger::own_rows::own_row;
use crate::ledger::{CURRENT_SCHEMA, SqliteStore, Store as _};
use crate::record::Run;

/// Letters in one transaction: a short one keeps the service's appends waiting for a moment only.
const TOGETHER: usize = 500;

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
        if self.0.version() != CURRENT_SCHEMA {
            return Err(Error::new(
                Kind::Ledger,
                format!(
                    "the ledger {} was written by an older version of audithog: update the service \
                     first, it brings the file up to date",
                    self.path().display()
                ),
            ));
        }
        if self
            .dead_letters(which.clone())
            .next()
            .transpose()?
            .is_none()
        {
            return Ok(Replayed::default());
        }
        let mut session = Session::open(self, by)?;
        let done = session.replay_all(self, which);
        // Also after an error: a run that ends in good order is no unclean stop.
        let closed = session.store.close().map_err(refused);
        let done = done?;
        closed?;
        Ok(done)
    }
}

/// A short run of its own in the ledger.
struct Session {
    store: SqliteStore,
    clock: Clock,
    by: String,
}

impl Session {
    fn open(file: &mut LedgerFile, by: &str) -> Result<Self, Error> {
        let facts = file.0.facts().map_err(refused)?;
        // The service's own constants and settings: its next start compares with the last run's.
        let latest = facts.runs.into_iter().next();
        let (run, settings) = latest.map_or_else(
            || (Run::default(), "{}".to_owned()),
            |latest| {
                let run = Run {
                    service: latest.service,
                    environment: latest.environment,
                    version: latest.version,
                    instance: Some("audithog dead-letters".to_owned()),
                };
                (run, latest.settings_json)
            },
        );
        let clock = Clock::system();
        // Nothing waits in memory, so a kill loses nothing.
        let (store, _) =
            SqliteStore::open(file.path(), &run, &settings, &clock, 0).map_err(refused)?;
        Ok(Self {
            store,
            clock,
            by: by.to_owned(),
        })
    }

    fn replay_all(&mut self, file: &mut LedgerFile, which: DeadLetters) -> Result<Replayed, Error> {
        let mut done = Replayed::default();
        let mut batch: Vec<i64> = Vec::with_capacity(TOGETHER);
        let mut sink = String::new();
        for letter in file.dead_letters(which) {
            let letter = letter?;
            if batch.len() >= TOGETHER || letter.sink() != sink {
                self.replay(&sink, &mut batch, &mut done)?;
                letter.sink().clone_into(&mut sink);
            }
            batch.push(letter.0.seq);
        }
        self.replay(&sink, &mut batch, &mut done)?;
        Ok(done)
    }

    fn replay(
        &mut self,
        sink: &str,
        seqs: &mut Vec<i64>,
        done: &mut Replayed,
    ) -> Result<(), Error> {
        if seqs.is_empty() {
            return Ok(());
        }
        let record = |replayed: &crate::ledger::Replayed| {
            let details = json!({
                "sink": sink,
                "count": replayed.letters,
                "first": replayed.first,
                "last": replayed.last,
                "by": self.by,
            });
            own_row(&self.clock, "audit_dead_letters_replayed", details)
        };
        let part = self.store.replay(sink, seqs, record).map_err(refused)?;
        done.replayed += part.letters;
        done.gone += part.gone;
        seqs.clear();
        Ok(())
    }
}
