//! The soak: one process under mixed load and faults for long. What it takes has to stay flat.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::load::Demand;
use crate::oracle;
use crate::round::Round;
use crate::sample::{Sample, mib};
use crate::schedule::{Act, Kind, Plan};
use crate::standin::Order;
use crate::suite::Files;

const EVERY: Duration = Duration::from_millis(500);
/// One fault after the other, each for a part of such a time.
const CYCLE: Duration = Duration::from_secs(10);
/// What one process can live through.
const FAULTS: &[Kind] = &[
    Kind::Outage,
    Kind::Storm503,
    Kind::LostReply,
    Kind::SyncHangs,
    Kind::Hang,
    Kind::WriteFails,
    Kind::Storm429Later,
    Kind::Verdicts,
    Kind::SyncFails,
    Kind::V1Vanishes,
    Kind::Drip,
    Kind::WriteNoSpace,
    Kind::TooMany,
    Kind::Reset,
];

/// Flat: from the second quarter of the time to the last one the median of resident memory rises by no more than a tenth and
/// 4 MiB, of file handles by no more than 4, of threads by no more than 1. The first quarter warms up.
const RULE: &str = "flat: medians of the last quarter against the second: memory at most a tenth and 4 MiB more, \
                    file handles at most 4, threads at most 1";

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// How long.
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// Default: at random.
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    files: Files,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..1 << 32));
    println!("soak of {} minutes, seed {seed}", options.minutes);
    let directory = options.files.make("soak")?;
    let plan = Plan::soak(seed);
    let demand = Demand {
        http1: 4,
        http2: 1,
        rest: Duration::from_millis(40),
        seed,
    };
    let mut round = Round::start(&plan, directory.path(), &demand)?;
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut samples = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(options.minutes * 60);
    let mut faults = FAULTS.iter().cycle();
    while Instant::now() < deadline {
        let began = Instant::now();
        if let Some(kind) = faults.next() {
            let cycle = Plan::cycle(*kind, CYCLE, &mut rng);
            for step in &cycle.steps {
                sample_until(&round, began + step.at, &mut samples)?;
                round.act(&step.act)?;
            }
        }
        sample_until(&round, began + CYCLE, &mut samples)?;
        round.act(&Act::Leave)?;
        round.act(&Act::Posthog(Order::Heal))?;
    }
    round.end()?;
    let books = round.settle()?;
    println!(
        "{} asked, {} answered, {} rows, {} samples",
        books.clients.len(),
        books
            .clients
            .iter()
            .filter(|asked| asked.answer.is_some())
            .count(),
        books.ledger.rows.len(),
        samples.len(),
    );
    let findings = oracle::judge(&books);
    for finding in &findings {
        println!("RED  {finding}");
    }
    let flat = report(&samples);
    if !findings.is_empty() || !flat {
        println!("files: {}", directory.keep().display());
    }
    match (findings.is_empty(), flat) {
        (true, true) => Ok(()),
        (false, _) => bail!("the books do not agree after the soak of seed {seed}"),
        (true, false) => bail!("not flat after the soak of seed {seed}"),
    }
}

fn sample_until(round: &Round<'_>, until: Instant, samples: &mut Vec<Sample>) -> Result<()> {
    let pid = round.bench.pid(0)?;
    while Instant::now() < until {
        samples.push(Sample::of(pid)?);
        let left = until.saturating_duration_since(Instant::now());
        std::thread::park_timeout(left.min(EVERY));
    }
    Ok(())
}

/// Prints the quarters; true if they are flat.
fn report(samples: &[Sample]) -> bool {
    let quarters: Vec<Sample> = quarters(samples);
    println!("quarter    memory     handles  threads   (medians)");
    for (number, median) in quarters.iter().enumerate() {
        println!(
            "{:>7} {:>7.1} MiB {:>9} {:>8}",
            number + 1,
            mib(median.rss),
            median.handles,
            median.threads,
        );
    }
    let flat = is_flat(&quarters);
    println!(
        "{RULE}\n{}",
        if flat { "it is flat" } else { "it is NOT flat" }
    );
    flat
}

fn quarters(samples: &[Sample]) -> Vec<Sample> {
    let length = samples.len().div_ceil(4).max(1);
    samples.chunks(length).map(median).collect()
}

fn median(samples: &[Sample]) -> Sample {
    let of = |read: fn(&Sample) -> u64| {
        let mut values: Vec<u64> = samples.iter().map(read).collect();
        values.sort_unstable();
        values.get(values.len() / 2).copied().unwrap_or(0)
    };
    Sample {
        rss: of(|sample| sample.rss),
        peak: of(|sample| sample.peak),
        handles: of(|sample| sample.handles),
        threads: of(|sample| sample.threads),
    }
}

fn is_flat(quarters: &[Sample]) -> bool {
    let [_, second, _, last] = quarters else {
        // Too few samples to say anything.
        return false;
    };
    last.rss <= second.rss + second.rss / 10 + 4 * 1_024
        && last.handles <= second.handles + 4
        && last.threads <= second.threads + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(rss: u64, handles: u64, threads: u64) -> Sample {
        Sample {
            rss,
            peak: rss,
            handles,
            threads,
        }
    }

    fn flat(from: Sample, to: Sample) -> bool {
        let mut samples = vec![sample(1, 1, 1); 10];
        samples.extend([from; 10]);
        samples.extend([to; 20]);
        is_flat(&quarters(&samples))
    }

    #[test]
    fn a_warm_up_and_a_few_peaks_are_flat_and_growth_is_not() {
        let base = sample(40_000, 30, 10);
        assert!(flat(base, base));
        assert!(flat(base, sample(48_000, 34, 11)));
        assert!(!flat(base, sample(48_200, 30, 10)));
        assert!(!flat(base, sample(40_000, 35, 10)));
        assert!(!flat(base, sample(40_000, 30, 12)));
        assert!(!is_flat(&[base]), "too few samples");
    }
}
