//! Who looked at the log.

use serde_json::{Value, json};

use super::session::beside_latest;
use super::{Access, LedgerFile, RunState, Status};
use crate::clock::Clock;
use crate::config::AccessRows;
use crate::error::{Error, Kind};
use crate::ledger::own_rows::own_row;
use crate::ledger::{ACCESS, CURRENT_SCHEMA, append_beside};

/// The event of the row.
const EVENT: &str = "audit_access";

/// What somebody did with the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Looked at rows.
    Read,
    /// Took rows away.
    Export,
    /// Changed something: sent dead letters again, dismissed them.
    Operate,
}

/// A look at the log, for the row that records it.
#[derive(Clone, Debug)]
pub struct AccessNote {
    action: Action,
    by: String,
    through: String,
    org: Option<String>,
    conditions: Vec<String>,
    since: Option<String>,
    until: Option<String>,
}

impl Action {
    fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Export => "export",
            Self::Operate => "operate",
        }
    }

    /// Whether it becomes a row.
    #[must_use]
    pub fn is_recorded(self, rows: AccessRows) -> bool {
        match rows {
            AccessRows::All => true,
            AccessRows::Exports => self != Self::Read,
            AccessRows::Off => false,
        }
    }
}

impl AccessNote {
    /// `by` did it, through a command or a page: `query failures`, `console /log`.
    pub fn new(action: Action, by: impl Into<String>, through: impl Into<String>) -> Self {
        Self {
            action,
            by: by.into(),
            through: through.into(),
            org: None,
            conditions: Vec::new(),
            since: None,
            until: None,
        }
    }

    /// Whether it becomes a row.
    #[must_use]
    pub fn is_recorded(&self, rows: AccessRows) -> bool {
        self.action.is_recorded(rows)
    }

    /// What was asked for: a filter's conditions, `id = 019ab3c4-…`, a statement.
    #[must_use]
    pub fn asked(mut self, text: impl Into<String>) -> Self {
        self.conditions.push(text.into());
        self
    }

    /// Of which time, RFC 3339; none: from the beginning, up to then.
    #[must_use]
    pub fn time(self, since: Option<String>, until: Option<String>) -> Self {
        Self {
            since,
            until,
            ..self
        }
    }

    /// Nothing but the rows of this organisation could be seen.
    #[must_use]
    pub fn within_org(self, org: impl Into<String>) -> Self {
        Self {
            org: Some(org.into()),
            ..self
        }
    }

    fn details(&self) -> Value {
        let mut details = json!({
            "action": self.action.name(),
            "by": self.by,
            "through": self.through,
        });
        let optional = [
            ("withinOrg", self.org.as_ref()),
            ("since", self.since.as_ref()),
            ("until", self.until.as_ref()),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                details[name] = json!(value);
            }
        }
        if !self.conditions.is_empty() {
            details["filter"] = json!(self.conditions);
        }
        details
    }
}

impl LedgerFile {
    /// Records looks at the log as rows of it (`audit_access`), with an fsync. Only in a ledger that a service writes now: a copy, also one whose
    /// original is in use, and what a service left, stay as they are. Returns whether it did so.
    ///
    /// # Errors
    ///
    /// [`Error::is_ledger`]: the file cannot be read, not be written by this user, or its disk is full.
    pub fn record_access(&mut self, notes: &[AccessNote]) -> Result<bool, Error> {
        if notes.is_empty() || self.0.version() != CURRENT_SCHEMA {
            return Ok(false);
        }
        let status = self.status()?;
        if !self.is_written_now(&status) {
            return Ok(false);
        }
        // What space is left is for the rows that wait.
        if status.file.reserve_in_use {
            return Err(Error::new(
                Kind::Ledger,
                "the disk is full: looks at the log are not recorded".to_owned(),
            ));
        }
        let (run, settings) = beside_latest(self, ACCESS)?;
        let clock = Clock::system();
        let rows: Vec<_> = notes
            .iter()
            .map(|note| own_row(&clock, EVENT, note.details()))
            .collect();
        append_beside(self.path(), &run, &settings, &rows, clock.wall()).map_err(Error::from)?;
        Ok(true)
    }

    /// A copy has the original's runs, so that a living process alone says nothing.
    fn is_written_now(&self, status: &Status) -> bool {
        // Whoever writes has the log and its index beside the file.
        status.file.access == Access::Shared
            && status.runs.iter().any(|run| match run.state {
                RunState::Alive => self.0.may_be_open_in(run.pid),
                RunState::Remote => true,
                _ => false,
            })
    }
}
