//! The steps of `cargo xtask test`, in order, and their run.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::command::Run;
use crate::{bench, chaos, deny, features, instructions, neighbours, setup, suite, tidy};

/// One thing that has to hold.
#[derive(Debug)]
pub(crate) struct Step {
    /// What `--only` takes.
    pub(crate) name: &'static str,
    /// One line for the help text and the heading.
    what: &'static str,
    run: fn(&Path) -> Result<()>,
}

/// Cheap and telling first: a slip in formatting is reported in seconds, not after the tests.
pub(crate) const STEPS: &[Step] = &[
    Step {
        name: "setup",
        what: "install what the other steps need",
        run: setup::run,
    },
    Step {
        name: "fmt",
        what: "the code has rustfmt's default style",
        run: fmt,
    },
    Step {
        name: "tidy",
        what: "the house rules that no other tool knows",
        run: tidy::run,
    },
    Step {
        name: "clippy",
        what: "no warning from rustc or clippy, all targets and features",
        run: clippy,
    },
    Step {
        name: "docs",
        what: "the documentation builds without a warning",
        run: docs,
    },
    Step {
        name: "features",
        what: "each feature of audithog compiles alone",
        run: features::run,
    },
    Step {
        name: "tests",
        what: "unit, integration, example and documentation tests",
        run: suite::run,
    },
    Step {
        name: "instructions",
        what: "a request takes no more instructions than its ceiling",
        run: instructions::run,
    },
    Step {
        name: "deny",
        what: "licences, banned crates, sources",
        run: deny::run,
    },
    Step {
        name: "neighbours",
        what: "audithog links beside sqlx, SeaORM and Diesel",
        run: neighbours::run,
    },
];

pub(crate) fn help() -> String {
    let mut help = String::from(
        "\
Set-up, tests and checks of this repository.

    cargo xtask test               all steps in order, stopping at the first that fails
    cargo xtask test --only STEP   one step
    cargo xtask STEP               the same, shorter
    cargo xtask neighbours --update
                                   brings the lock files of checks/neighbours up to date
    cargo xtask instructions --update
                                   makes the present figure of the request path its ceiling
    cargo xtask fuzz [TARGET] [--seconds N]
                                   looks for inputs that break a parser, 60 s for each, and adds what it met to fuzz/corpus
",
    );
    help.push_str(chaos::HELP);
    help.push_str(bench::HELP);
    help.push_str("\nSteps:\n\n");
    for step in STEPS {
        // Writing to a string cannot fail.
        let _infallible = writeln!(help, "    {:<12} {}", step.name, step.what);
    }
    help.push_str(
        "
`setup` installs Debian packages when run as root and else prints the command that does; `rustup` components, cargo-deny
and PostHog's own SDKs go into the toolchain and into target/. A second run installs nothing.

Exit codes: 0 all held, 1 a step failed, 2 the command line was not understood.
",
    );
    help
}

/// Runs one step by itself.
pub(crate) fn run_one(root: &Path, name: &str) -> Result<()> {
    let step = STEPS
        .iter()
        .find(|step| step.name == name)
        .context("no such step")?;
    let started = Instant::now();
    (step.run)(root)?;
    println!("{} holds ({})", step.name, seconds(started.elapsed()));
    Ok(())
}

/// Runs every step and sums up how long each took.
pub(crate) fn run_all(root: &Path) -> Result<()> {
    let mut durations = Vec::new();
    let mut outcome = Ok(());
    for (index, step) in STEPS.iter().enumerate() {
        println!(
            "\n==> {}/{} {}: {}",
            index + 1,
            STEPS.len(),
            step.name,
            step.what
        );
        let started = Instant::now();
        let result = (step.run)(root);
        durations.push((step.name, started.elapsed()));
        if let Err(problem) = result {
            outcome = Err((step.name, problem));
            break;
        }
    }
    println!(
        "\n==> {}",
        if outcome.is_ok() {
            "all steps hold"
        } else {
            "a step failed"
        }
    );
    for (name, duration) in &durations {
        println!("    {name:<11} {:>8}", seconds(*duration));
    }
    println!(
        "    {:<11} {:>8}",
        "total",
        seconds(durations.iter().map(|(_, duration)| *duration).sum())
    );
    match outcome {
        Ok(()) => Ok(()),
        Err((name, problem)) => {
            bail!("step `{name}`: {problem:#}\n       again alone: cargo xtask {name}")
        }
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

fn fmt(root: &Path) -> Result<()> {
    Run::cargo(root)
        .words("fmt --all --check")
        .check()
        .context("`cargo fmt --all` mends it")
}

fn clippy(root: &Path) -> Result<()> {
    Run::cargo(root)
        .words("clippy --workspace --all-targets --all-features -- -D warnings")
        .check()
}

fn docs(root: &Path) -> Result<()> {
    // Only our own documentation: of the dependencies nothing more than the metadata is needed, and clippy made it.
    Run::cargo(root)
        .words("doc --workspace --no-deps --all-features")
        .env("RUSTDOCFLAGS", "-D warnings")
        .check()
}
