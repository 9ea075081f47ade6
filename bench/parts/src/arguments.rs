//! `--name value` and `--flag`.

use std::path::PathBuf;

use crate::Failure;

/// The program's arguments.
#[derive(Debug)]
pub struct Arguments(Vec<String>);

impl Arguments {
    /// Those the program was called with; `known` are all names it has, with their dashes.
    ///
    /// # Errors
    ///
    /// An unknown one.
    pub fn of_program(known: &[&str]) -> Result<Self, Failure> {
        let given: Vec<String> = std::env::args().skip(1).collect();
        let unknown = given
            .iter()
            .find(|given| given.starts_with("--") && !known.contains(&given.as_str()));
        match unknown {
            Some(unknown) => Err(format!("unknown argument {unknown}; known: {known:?}").into()),
            None => Ok(Self(given)),
        }
    }

    /// Whether the flag is there.
    #[must_use]
    pub fn has(&self, flag: &str) -> bool {
        self.0.iter().any(|given| given == flag)
    }

    /// What follows the name.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        let at = self.0.iter().position(|given| given == name)?;
        self.0.get(at + 1).map(String::as_str)
    }

    /// The number that follows the name, or `default`.
    ///
    /// # Errors
    ///
    /// It is no number.
    pub fn number(&self, name: &str, default: usize) -> Result<usize, Failure> {
        match self.text(name) {
            Some(text) => text
                .parse()
                .map_err(|_| format!("{name} {text}: not a number").into()),
            None => Ok(default),
        }
    }

    /// Where files go: `--dir`, or the system's place for temporary ones.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.text("--dir")
            .map_or_else(std::env::temp_dir, PathBuf::from)
    }
}
