//! Why the demo did not run, or did not end well.

use std::{error::Error as StdError, fmt, io};

/// `Display` is one sentence, `source()` the cause. Wrong variables are one sentence each, one a line.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    exit_code: u8,
}

#[derive(Debug)]
enum Kind {
    /// Speaks for itself.
    Logger(audithog::Error),
    Io(String, io::Error),
    Sentence(String),
}

impl Error {
    /// The audit log cannot start.
    pub(crate) fn logger(error: audithog::Error) -> Self {
        let settings = error.is_config() || error.is_ledger();
        Self {
            exit_code: if settings { 2 } else { 1 },
            kind: Kind::Logger(error),
        }
    }

    /// It cannot start like this: somebody has to change a setting.
    pub(crate) fn start(sentence: impl Into<String>) -> Self {
        Self {
            kind: Kind::Sentence(sentence.into()),
            exit_code: 2,
        }
    }

    pub(crate) fn running(sentence: impl Into<String>) -> Self {
        Self {
            kind: Kind::Sentence(sentence.into()),
            exit_code: 1,
        }
    }

    pub(crate) fn io(sentence: impl Into<String>, error: io::Error) -> Self {
        Self {
            kind: Kind::Io(sentence.into(), error),
            exit_code: 1,
        }
    }

    /// 2 when it cannot start with these settings, 1 for everything else.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        self.exit_code
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Logger(error) => error.fmt(f),
            Kind::Io(sentence, _) | Kind::Sentence(sentence) => f.write_str(sentence),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.kind {
            Kind::Logger(error) => error.source(),
            Kind::Io(_, error) => Some(error),
            Kind::Sentence(_) => None,
        }
    }
}
