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
        let Some(error) = &self.error else {
            return String::new();
        };
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        text
    }
}
