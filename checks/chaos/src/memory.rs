//! Bounded memory: very many rows wait while PostHog is down, and go when it is back.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::Value;

use crate::round::{Bench, Setting};
use crate::sample::{Sample, mib};
use crate::standin::Order;
use crate::suite::Files;

/// How far above idle resident memory may ever be, in KiB.
const ABOVE_IDLE: u64 = 64 * 1_024;
/// After the start, so that what only the start needs is done.
const SETTLE: Duration = Duration::from_secs(3);
const EVERY: Duration = Duration::from_millis(200);
/// The breaker's probes come at most five minutes apart; the rest is for the rows.
const PATIENCE: Duration = Duration::from_secs(3 * 3_600);
/// What the stand-in keeps: its own memory is not the question.
const KEPT: usize = 1_000;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Rows that wait.
    #[arg(long, default_value_t = 10_000_000)]
    rows: u64,
    #[command(flatten)]
    files: Files,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let directory = options.files.make("memory")?;
    let mut bench = Bench::start(directory.path(), &Setting::default())?;
    bench.posthog(&Order::Keep { events: KEPT })?;
    bench.servers.start(0, &bench.recipe)?;
    let mut watch = Watch::start(&bench)?;
    watch.phase("idle");
    watch.until_done(SETTLE, |_| Ok(false))?;
    let idle = watch.sample()?.rss;

    bench.posthog(&Order::Down)?;
    println!("PostHog is down; {} rows", options.rows);
    bench.tell(0, &format!("fill {}", options.rows))?;
    watch.phase("filling");
    let mut filled = Value::Null;
    watch.until_done(PATIENCE, |_| match bench.hear(0, "filled", EVERY) {
        Ok(report) => {
            filled = serde_json::from_str(&report)?;
            Ok(true)
        }
        Err(_) => Ok(false),
    })?;
    watch.phase("waiting");
    watch.until_done(SETTLE, |_| Ok(false))?;
    let on_disk = size(directory.path())?;

    bench.posthog(&Order::Up)?;
    watch.phase("recovery");
    let began = Instant::now();
    watch.until_done(PATIENCE, |_| bench.drained(0))?;
    let recovery = began.elapsed();
    let end = bench.conclude()?;

    println!(
        "filled     {} rows in {:.0} s ({:.0} a second), {} lost; {:.0} MiB on disk, {:.0} bytes a row",
        options.rows,
        seconds(&filled),
        options.rows as f64 / seconds(&filled).max(0.001),
        filled["lost"],
        mib(on_disk / 1_024),
        on_disk as f64 / options.rows as f64,
    );
    println!(
        "recovered  in {:.0} s, the wait for the breaker's probe included; {} rows at PostHog",
        recovery.as_secs_f64(),
        end.stored,
    );
    let above = watch.print(idle);
    if filled["lost"] != 0 {
        bail!("rows were lost: {filled}");
    }
    let delivered = end.delivered;
    if delivered < options.rows || end.stored < delivered || end.pending != 0 {
        bail!("not every row arrived: {end:?}");
    }
    if above > ABOVE_IDLE {
        bail!(
            "resident memory rose {:.1} MiB above idle; 64 are allowed",
            mib(above)
        );
    }
    println!(
        "bounded: never more than {:.1} MiB above idle; 64 are allowed",
        mib(above)
    );
    Ok(())
}

fn seconds(filled: &Value) -> f64 {
    filled["seconds"].as_f64().unwrap_or(0.0)
}

/// Bytes of all files of the ledger.
fn size(directory: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("audit.db") {
            bytes += entry.metadata()?.len();
        }
    }
    Ok(bytes)
}

/// Samples a server, phase by phase.
struct Watch {
    pid: u32,
    phases: Vec<(&'static str, Sample, Instant)>,
}

impl Watch {
    fn start(bench: &Bench) -> Result<Self> {
        Ok(Self {
            pid: bench.pid(0)?,
            phases: Vec::new(),
        })
    }

    fn phase(&mut self, name: &'static str) {
        self.phases.push((name, Sample::default(), Instant::now()));
    }

    fn sample(&mut self) -> Result<Sample> {
        let sample = Sample::of(self.pid)?;
        if let Some((_, most, _)) = self.phases.last_mut() {
            most.rss = most.rss.max(sample.rss);
            most.peak = sample.peak;
        }
        Ok(sample)
    }

    /// Samples until `done` says so, or for as long.
    fn until_done(
        &mut self,
        within: Duration,
        mut done: impl FnMut(Sample) -> Result<bool>,
    ) -> Result<()> {
        let deadline = Instant::now() + within;
        while Instant::now() < deadline {
            let sample = self.sample()?;
            if done(sample)? {
                return Ok(());
            }
            std::thread::park_timeout(EVERY);
        }
        if within == PATIENCE {
            bail!("not done after {PATIENCE:?}");
        }
        Ok(())
    }

    /// Prints the phases; returns how far above idle memory ever was, by the kernel's own high-water mark.
    fn print(&self, idle: u64) -> u64 {
        println!("idle       {:.1} MiB resident", mib(idle));
        for (name, most, _) in &self.phases[1..] {
            println!(
                "{name:<10} {:.1} MiB resident at most ({:+.1}); high-water mark {:.1} MiB",
                mib(most.rss),
                mib(most.rss) - mib(idle),
                mib(most.peak),
            );
        }
        let peak = self.phases.iter().map(|(_, most, _)| most.peak).max();
        peak.unwrap_or(0).saturating_sub(idle)
    }
}
