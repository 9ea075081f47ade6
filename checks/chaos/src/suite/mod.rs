//! Rounds, one after the other.

mod plant;
mod short;

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::ValueEnum as _;
use tempfile::TempDir;

use crate::oracle::{Books, Guarantee};
use crate::round::{self, Outcome};
use crate::schedule::{Kind, Plan};

pub(crate) use short::run as short;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// How many.
    #[arg(long, default_value_t = 1)]
    rounds: u64,
    /// The seed of the first round; each round adds one. Default: at random.
    #[arg(long)]
    seed: Option<u64>,
    /// What the service promises. Default: the seed chooses.
    #[arg(long)]
    guarantee: Option<Guarantee>,
    /// Only these faults, all in each round. Default: the seed chooses one to three.
    #[arg(long, value_delimiter = ',')]
    faults: Vec<Kind>,
    #[command(flatten)]
    files: Files,
}

/// What becomes of a round's files.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Files {
    /// Keeps the directory of every round, not only of one that fails.
    #[arg(long)]
    keep: bool,
    /// Where rounds leave their files. Default: the system's directory for temporary files.
    #[arg(long)]
    directory: Option<PathBuf>,
}

impl Files {
    pub(crate) fn make(&self, name: &str) -> Result<TempDir> {
        let parent = self.directory.clone().unwrap_or_else(std::env::temp_dir);
        fs::create_dir_all(&parent)?;
        let mut builder = tempfile::Builder::new();
        Ok(builder
            .prefix(&format!("chaos-{name}-"))
            .tempdir_in(parent)?)
    }
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let first = options.seed.unwrap_or_else(|| fastrand::u64(..1 << 32));
    let mut tally = Tally::default();
    for seed in first..first + options.rounds {
        let plan = Plan::draw(seed, options.guarantee, &options.faults);
        tally.play(&plan, &options.files, |_, _| Ok(true))?;
    }
    tally.conclude()
}

/// Rounds so far.
#[derive(Debug)]
struct Tally {
    began: Instant,
    rounds: u64,
    failed: Vec<u64>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            rounds: 0,
            failed: Vec::new(),
        }
    }
}

impl Tally {
    /// Plays one round; `more` may look for itself at a round that is well.
    fn play(
        &mut self,
        plan: &Plan,
        files: &Files,
        more: impl FnOnce(&Outcome, &TempDir) -> Result<bool>,
    ) -> Result<()> {
        let directory = files.make(&plan.seed.to_string())?;
        println!("seed {:<10} {plan}", plan.seed);
        self.rounds += 1;
        let agrees = match round::play(plan, directory.path()) {
            Ok(outcome) => {
                println!("     {}", summary(&outcome));
                for finding in &outcome.findings {
                    println!("     RED  {finding}");
                }
                outcome.findings.is_empty() && more(&outcome, &directory)?
            }
            Err(problem) => {
                println!("     RED  the round broke: {problem:#}");
                false
            }
        };
        if !agrees {
            self.failed.push(plan.seed);
            println!("     again: {}", command(plan));
        }
        if !agrees || files.keep {
            println!("     files: {}", directory.keep().display());
        }
        Ok(())
    }

    fn conclude(self) -> Result<()> {
        println!(
            "{} rounds in {:.0} s, {} failed",
            self.rounds,
            self.began.elapsed().as_secs_f64(),
            self.failed.len()
        );
        if self.failed.is_empty() {
            return Ok(());
        }
        bail!("the books do not agree after the seeds {:?}", self.failed)
    }
}

fn summary(outcome: &Outcome) -> String {
    let Outcome { books, took, .. } = outcome;
    let ids: HashSet<&str> = books
        .posthog
        .copies
        .iter()
        .map(|copy| copy.uuid.as_str())
        .collect();
    format!(
        "{:>4.1} s  {} asked, {} answered, {} of them without a row; {} rows, {} at PostHog in {} copies; {} processes",
        took.as_secs_f64(),
        books.clients.len(),
        books
            .clients
            .iter()
            .filter(|asked| asked.answer.is_some())
            .count(),
        without_row(books),
        books.ledger.rows.len(),
        ids.len(),
        books.posthog.copies.len(),
        books.servers.len(),
    )
}

fn without_row(books: &Books) -> usize {
    let rows = books.ledger.rows.iter();
    let paths: HashSet<&str> = rows.filter_map(|row| row.path.as_deref()).collect();
    let answered = books.clients.iter().filter(|asked| asked.answer.is_some());
    answered
        .filter(|asked| !paths.contains(asked.kind.path(&asked.id).as_str()))
        .count()
}

/// The command that draws the same plan. The seed alone would choose other faults where they were given.
fn command(plan: &Plan) -> String {
    let kinds = plan.kinds.iter().filter_map(Kind::to_possible_value);
    let kinds: Vec<String> = kinds.map(|kind| kind.get_name().to_owned()).collect();
    let build = if cfg!(debug_assertions) { " --dev" } else { "" };
    let faults = if plan.chosen {
        format!(" --faults {}", kinds.join(","))
    } else {
        String::new()
    };
    format!(
        "cargo xtask chaos{build} --seed {} --guarantee {}{faults} --keep",
        plan.seed,
        plan.setting.guarantee.as_str(),
    )
}
