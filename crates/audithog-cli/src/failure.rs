//! How a command ends badly: one sentence on standard error, and an exit code.

use std::{
    error::Error,
    io::{self, Write as _},
    process::ExitCode,
};

#[derive(Debug)]
pub(crate) struct Failure {
    exit_code: u8,
    /// None: the exit code says it all, or what was printed does.
    error: Option<Box<dyn Error>>,
}

impl Failure {
    pub(crate) fn new(exit_code: u8, error: impl Into<Box<dyn Error>>) -> Self {
        Self {
            exit_code,
            error: Some(error.into()),
        }
    }

    pub(crate) fn quiet(exit_code: u8) -> Self {
        Self {
            exit_code,
            error: None,
        }
    }

    /// With another line, if it says anything.
    pub(crate) fn with(self, line: &str) -> Self {
        match self.error {
            Some(error) => Self::new(self.exit_code, format!("{}\n{line}", sentence(&*error))),
            None => self,
        }
    }

    pub(crate) fn report(&self) -> ExitCode {
        let mut stderr = io::stderr();
        for line in self.sentence().lines() {
            // Nobody may be reading; the exit code says it too.
            let _ = writeln!(stderr, "audithog: {line}");
        }
        ExitCode::from(self.exit_code)
    }

    pub(crate) fn sentence(&self) -> String {
        self.error.as_deref().map(sentence).unwrap_or_default()
    }
}

/// An error and its causes. Wrong settings are one a line.
pub(crate) fn sentence(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // SQLite's own error follows with a number and the same words.
        if !text.contains(without_number(&cause_text)) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// "file is not a database" of "Error code 26: file is not a database".
fn without_number(cause: &str) -> &str {
    cause
        .strip_prefix("Error code ")
        .and_then(|rest| rest.split_once(": "))
        .map_or(cause, |(_, words)| words)
}
