//! The crate's one error: opaque outside, precise inside.

use std::error::Error as StdError;
use std::fmt;

/// What went wrong while starting, logging durably, asking, flushing or shutting down.
///
/// Opaque: ask the predicates. `Display` is one sentence about this layer; `source()` has the cause.
pub struct Error {
    kind: Kind,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The settings are wrong; the message lists every wrong one.
    Config,
    /// The ledger cannot be opened or written.
    Ledger,
    /// The file was written by a newer version.
    NewerLedger,
    /// A caller-supplied id is in the ledger already.
    Duplicate,
    /// The logger has been shut down.
    Closed,
    /// The row could not be kept.
    Lost,
    /// A deadline passed.
    Deadline,
    /// A thread could not be started.
    Thread,
    /// A process that may live has the ledger open.
    InUse,
    /// What was asked of the log cannot be asked like this.
    Question,
    /// A destination could not be asked, or refused to answer.
    Remote,
}

impl Error {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    pub(crate) fn with_source(
        mut self,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The settings are wrong. The message names every wrong variable, one a line.
    #[must_use]
    pub fn is_config(&self) -> bool {
        self.kind == Kind::Config
    }

    /// The ledger cannot be opened, read or written.
    #[must_use]
    pub fn is_ledger(&self) -> bool {
        matches!(self.kind, Kind::Ledger | Kind::NewerLedger)
    }

    /// The ledger file was written by a newer version of audithog.
    #[must_use]
    pub fn is_newer_ledger(&self) -> bool {
        self.kind == Kind::NewerLedger
    }

    /// A row with this caller-supplied id is in the ledger already.
    #[must_use]
    pub fn is_duplicate(&self) -> bool {
        self.kind == Kind::Duplicate
    }

    /// The logger has been shut down; the row is a counted loss (`after_shutdown`).
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.kind == Kind::Closed
    }

    /// The row could not be kept and is a counted loss.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        matches!(self.kind, Kind::Lost | Kind::Closed)
    }

    /// A process that runs, or may run elsewhere, has the ledger open.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        self.kind == Kind::InUse
    }

    /// What was asked of the log cannot be asked like this: the message names what is wrong.
    #[must_use]
    pub fn is_question(&self) -> bool {
        self.kind == Kind::Question
    }

    /// A destination could not be asked, or refused to answer.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        self.kind == Kind::Remote
    }

    /// A deadline passed before the answer came; the work may still complete.
    #[must_use]
    pub fn is_deadline(&self) -> bool {
        self.kind == Kind::Deadline
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.kind)
            .field("message", &self.message)
            .field("source", &self.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source
            .as_deref()
            .map(|source| source as &(dyn StdError + 'static))
    }
}
