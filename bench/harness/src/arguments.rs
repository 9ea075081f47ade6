//! The command line.

use anyhow::{Context as _, Result, bail};

use crate::suite::{Group, is_stack};

pub(crate) const HELP: &str = "\
Runs the benchmark suite in alternating rounds on this machine.

    cargo xtask bench              everything, about an hour; writes bench/RESULTS.md and bench/plots
    cargo xtask bench --quick      fewer stacks and rounds, under ten minutes; compares with the last quick run
        --only GROUP,…             closed, open, parts, instructions, build
        --stacks STACK,…           these, and bare
        --rounds N                 instead of 5 (quick: 2)
        --full                     also a ledger of 100 million rows, some 15 GB and minutes
    cargo xtask bench --report     writes tables and plots again from bench/results.json
    cargo xtask bench --check      the suite compiles without a warning, and its tests pass
";

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Arguments {
    pub(crate) help: bool,
    pub(crate) quick: bool,
    /// With a ledger of 100 million rows.
    pub(crate) full: bool,
    /// Only write what earlier results say.
    pub(crate) report: bool,
    pub(crate) only: Vec<Group>,
    pub(crate) stacks: Vec<String>,
    pub(crate) rounds: Option<usize>,
}

impl Arguments {
    pub(crate) fn parse(words: &[String]) -> Result<Self> {
        let mut arguments = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || {
                words
                    .next()
                    .with_context(|| format!("`{word}` needs a value"))
            };
            match word.as_str() {
                "--help" | "-h" => arguments.help = true,
                "--quick" => arguments.quick = true,
                "--full" => arguments.full = true,
                "--report" => arguments.report = true,
                "--only" => {
                    arguments.only = value()?.split(',').map(group).collect::<Result<_>>()?;
                }
                "--stacks" => {
                    arguments.stacks = value()?.split(',').map(stack).collect::<Result<_>>()?;
                }
                "--rounds" => arguments.rounds = Some(rounds(value()?)?),
                other => bail!("`{other}` is not known here"),
            }
        }
        if arguments.quick && arguments.full {
            bail!("`--quick` and `--full` exclude each other");
        }
        Ok(arguments)
    }

    /// What a person typed.
    pub(crate) fn line(words: &[String]) -> String {
        let mut line = "cargo xtask bench".to_owned();
        for word in words {
            line.push(' ');
            line.push_str(word);
        }
        line
    }
}

fn group(name: &str) -> Result<Group> {
    let found = Group::ALL.iter().find(|(known, _)| *known == name);
    let names: Vec<&str> = Group::ALL.iter().map(|(known, _)| *known).collect();
    let (_, group) =
        found.with_context(|| format!("there is no group `{name}`, only {}", names.join(", ")))?;
    Ok(*group)
}

fn stack(name: &str) -> Result<String> {
    if !is_stack(name) {
        bail!("there is no stack `{name}`");
    }
    Ok(name.to_owned())
}

fn rounds(text: &str) -> Result<usize> {
    match text.parse() {
        Ok(rounds @ 1..=99) => Ok(rounds),
        _ => bail!("`--rounds {text}`: a number from 1 to 99"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Arguments::parse(&words)
    }

    #[test]
    fn what_is_asked_for_is_understood() {
        let arguments = parse("--full --only open,parts --stacks bare,otlp --rounds 3").unwrap();
        let expected = Arguments {
            full: true,
            only: vec![Group::Open, Group::Parts],
            stacks: vec!["bare".to_owned(), "otlp".to_owned()],
            rounds: Some(3),
            ..Arguments::default()
        };
        assert_eq!(arguments, expected);
    }

    #[test]
    fn a_slip_is_named() {
        for (line, word) in [
            ("--only closd", "closd"),
            ("--stacks bar", "`bar`"),
            ("--rounds 0", "`--rounds 0`"),
            ("--rounds", "needs a value"),
            ("--fast", "--fast"),
            ("--quick --full", "exclude each other"),
        ] {
            let problem = parse(line).unwrap_err().to_string();
            assert!(problem.contains(word), "{line}: {problem}");
        }
    }
}
