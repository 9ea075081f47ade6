//! What writes here: a short run of its own, as another process would have.

use super::LedgerFile;
use super::dead_letters::DeadLetters;
use crate::clock::Clock;
use crate::error::{Error, Kind};
use crate::ledger::{CURRENT_SCHEMA, DEAD_LETTERS, SqliteStore, Store as _};
use crate::record::Run;

/// Letters in one transaction: a short one keeps the service's appends waiting for a moment only.
const TOGETHER: usize = 500;

/// A short run of its own in the ledger.
pub(super) struct Session {
    pub(super) store: SqliteStore,
    pub(super) clock: Clock,
    /// Who asked.
    pub(super) by: String,
}

impl Session {
    /// Does `work` for the letters of each sink, some hundred at a time. Opens nothing if there are none.
    pub(super) fn work(
        file: &mut LedgerFile,
        which: DeadLetters,
        by: &str,
        mut work: impl FnMut(&mut Self, &str, &[i64]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if file.0.version() != CURRENT_SCHEMA {
            return Err(Error::new(
                Kind::Ledger,
                format!(
                    "the ledger {} was written by an older version of audithog: update the service \
                     first, it brings the file up to date",
                    file.path().display()
                ),
            ));
        }
        if file
            .dead_letters(which.clone())
            .next()
            .transpose()?
            .is_none()
        {
            return Ok(());
        }
        let mut session = Self::open(file, by)?;
        let done = session.all(file, which, &mut work);
        // Also after an error: a run that ends in good order is no unclean stop.
        let closed = session.store.close().map_err(Error::from);
        done?;
        closed
    }

    fn all(
        &mut self,
        file: &mut LedgerFile,
        which: DeadLetters,
        work: &mut impl FnMut(&mut Self, &str, &[i64]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut batch: Vec<i64> = Vec::with_capacity(TOGETHER);
        let mut sink = String::new();
        for letter in file.dead_letters(which) {
            let letter = letter?;
            if batch.len() >= TOGETHER || letter.sink() != sink {
                if !batch.is_empty() {
                    work(self, &sink, &batch)?;
                    batch.clear();
                }
                letter.sink().clone_into(&mut sink);
            }
            batch.push(letter.0.seq);
        }
        if batch.is_empty() {
            return Ok(());
        }
        work(self, &sink, &batch)
    }

    fn open(file: &mut LedgerFile, by: &str) -> Result<Self, Error> {
        let (run, settings) = beside_latest(file, DEAD_LETTERS)?;
        let clock = Clock::system();
        // Nothing waits in memory, so a kill loses nothing.
        let (store, _) =
            SqliteStore::open(file.path(), &run, &settings, &clock, 0).map_err(Error::from)?;
        Ok(Self {
            store,
            clock,
            by: by.to_owned(),
        })
    }
}

/// A run of this `instance` with the constants and settings of the service's latest: its next start compares with the last run's.
pub(super) fn beside_latest(file: &mut LedgerFile, instance: &str) -> Result<(Run, String), Error> {
    let facts = file.0.facts().map_err(Error::from)?;
    let Some(latest) = facts.latest() else {
        return Ok((Run::default(), "{}".to_owned()));
    };
    let run = Run {
        service: latest.service.clone(),
        environment: latest.environment.clone(),
        version: latest.version.clone(),
        instance: Some(instance.to_owned()),
    };
    Ok((run, latest.settings_json.clone()))
}
