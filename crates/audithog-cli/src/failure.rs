//! How a command ends badly: one sentence on standard error, and an exit code.

use std::{
    error::Error,
    io::{self, Write as _},
    process::ExitCode,
};

#[derive(Debug)]
pub(crate) struct Failure {
    exit_code: u8,
    error: Box<dyn Error>,
}

impl Failure {
    pub(crate) fn new(exit_code: u8, error: impl Into<Box<dyn Error>>) -> Self {
        Self {
            exit_code,
            error: error.into(),
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

    /// The error and its causes. Wrong settings are one a line.
    fn sentence(&self) -> String {
        let mut text = self.error.to_string();
        let mut source = self.error.source();
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        text
    }
}
