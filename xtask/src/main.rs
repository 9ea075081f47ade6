//! Set-up, tests and checks: `cargo xtask help` lists them.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool talks on its output"
)]

mod bench;
mod chaos;
mod command;
mod deny;
mod features;
mod fuzz;
mod instructions;
mod neighbours;
mod setup;
mod steps;
mod suite;
mod tidy;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let task = match Task::parse(&arguments) {
        Ok(task) => task,
        Err(problem) => {
            eprintln!("error: {problem:#}\n\n`cargo xtask help` lists what there is.");
            return ExitCode::from(2);
        }
    };
    match task.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("\nerror: {problem:#}");
            ExitCode::FAILURE
        }
    }
}

/// What the command line asks for.
#[derive(Debug, PartialEq)]
enum Task {
    Help,
    /// Every step, in order.
    Test,
    Step(&'static str),
    UpdateNeighbours,
    UpdateInstructions,
    Fuzz(fuzz::Fuzz),
    /// Faults against a running service, with these arguments.
    Chaos(Vec<String>),
    /// Measurements, with these arguments.
    Bench(Vec<String>),
}

impl Task {
    fn parse(arguments: &[OsString]) -> Result<Self> {
        let words: Vec<&str> = arguments
            .iter()
            .map(|word| word.to_str().context("an argument is not UTF-8"))
            .collect::<Result<_>>()?;
        match words.as_slice() {
            [] | ["help" | "--help" | "-h"] => Ok(Self::Help),
            ["test", "--help" | "-h"] => Ok(Self::Help),
            ["test"] => Ok(Self::Test),
            ["test", "--only"] => bail!("`--only` needs the name of a step"),
            ["test", "--only", name] => Self::step(name),
            ["neighbours", "--update"] => Ok(Self::UpdateNeighbours),
            ["instructions", "--update"] => Ok(Self::UpdateInstructions),
            ["fuzz", rest @ ..] => Ok(Self::Fuzz(fuzz::Fuzz::parse(rest)?)),
            ["chaos", rest @ ..] => Ok(Self::Chaos(
                rest.iter().map(|&word| word.to_owned()).collect(),
            )),
            ["bench", rest @ ..] => Ok(Self::Bench(
                rest.iter().map(|&word| word.to_owned()).collect(),
            )),
            [name] => Self::step(name),
            [first, rest @ ..] => bail!("`{first}` does not take `{}`", rest.join(" ")),
        }
    }

    fn step(name: &str) -> Result<Self> {
        match steps::STEPS.iter().find(|step| step.name == name) {
            Some(step) => Ok(Self::Step(step.name)),
            None => bail!("there is no step `{name}`"),
        }
    }

    fn run(&self) -> Result<()> {
        let root = repository()?;
        match self {
            Self::Help => {
                print!("{}", steps::help());
                Ok(())
            }
            Self::Test => steps::run_all(&root),
            Self::Step(name) => steps::run_one(&root, name),
            Self::UpdateNeighbours => neighbours::update(&root),
            Self::UpdateInstructions => instructions::update(&root),
            Self::Fuzz(fuzz) => fuzz.run(&root),
            Self::Chaos(arguments) => chaos::run(&root, arguments),
            Self::Bench(arguments) => bench::run(&root, arguments),
        }
    }
}

/// The top of the repository that this program was built from.
fn repository() -> Result<PathBuf> {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = xtask.parent().context("xtask has no parent directory")?;
    Ok(root.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Task> {
        let arguments: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        Task::parse(&arguments)
    }

    #[test]
    fn each_step_can_be_run_alone_in_two_ways() {
        for step in steps::STEPS {
            assert_eq!(parse(step.name).unwrap(), Task::Step(step.name));
            assert_eq!(
                parse(&format!("test --only {}", step.name)).unwrap(),
                Task::Step(step.name)
            );
        }
    }

    #[test]
    fn a_wrong_command_line_names_the_wrong_word() {
        for (line, word) in [
            ("tset", "tset"),
            ("test --only tdiy", "tdiy"),
            ("fmt --fix", "--fix"),
            ("test --only", "name"),
            ("test --only chaos", "chaos"),
        ] {
            let problem = parse(line).unwrap_err().to_string();
            assert!(problem.contains(word), "{line}: {problem}");
        }
    }

    #[test]
    fn without_arguments_help_is_shown_and_names_every_step() {
        assert_eq!(parse("").unwrap(), Task::Help);
        let help = steps::help();
        for step in steps::STEPS {
            assert!(help.contains(step.name), "{} is missing", step.name);
        }
    }
}
