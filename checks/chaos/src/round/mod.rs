//! One round: processes, load and faults; then calm, a drain, and the oracle.

mod bench;
mod clock;
mod disk;
mod power;
mod servers;
mod tamper;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::load::{Demand, Load};
use crate::oracle::{self, Books, Finding, Injected, Ledger};
use crate::schedule::{Act, Ending, Kind, Plan};
use crate::standin::Order;
pub(crate) use bench::{Bench, Setting};
use power::Meter;
use tamper::Strace;

/// How long a response waits for its row at most.
pub(crate) const WAIT_LIMIT: Duration = Duration::from_millis(1_000);
/// Rows that wait for another try on their own do so for at most a minute.
const DRAIN: Duration = Duration::from_secs(150);
const ANSWER: Duration = Duration::from_secs(60);

/// What a round came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) findings: Vec<Finding>,
    pub(crate) books: Books,
    pub(crate) took: Duration,
}

/// Plays a plan in an empty directory.
pub(crate) fn play(plan: &Plan, directory: &Path) -> Result<Outcome> {
    let started = Instant::now();
    let mut round = Round::start(
        plan,
        directory,
        &Demand {
            http1: 6,
            http2: 1,
            rest: Duration::from_millis(8),
            seed: plan.seed,
        },
    )?;
    round.faults()?;
    round.end()?;
    let books = round.settle()?;
    Ok(Outcome {
        findings: oracle::judge(&books),
        books,
        took: started.elapsed(),
    })
}

/// A plan that is being played.
pub(crate) struct Round<'a> {
    plan: &'a Plan,
    pub(crate) bench: Bench,
    load: Load,
    tampering: Option<Strace>,
    /// Of the server whose power will go.
    meter: Option<Meter>,
    began: Instant,
}

impl<'a> Round<'a> {
    pub(crate) fn start(plan: &'a Plan, directory: &Path, demand: &Demand) -> Result<Self> {
        let mut bench = Bench::start(directory, &plan.setting)?;
        let load = Load::start(demand)?;
        for place in 0..plan.servers() {
            bench.servers.start(place, &bench.recipe)?;
        }
        let meter = match plan.has(Kind::PowerLoss) {
            true => Some(Meter::start(
                bench.pid(0)?,
                &bench.ledger(),
                directory.join("power.trace"),
            )?),
            false => None,
        };
        load.aim(bench.servers.targets());
        Ok(Self {
            plan,
            bench,
            load,
            tampering: None,
            meter,
            began: Instant::now(),
        })
    }

    /// Plays the steps.
    fn faults(&mut self) -> Result<()> {
        let plan = self.plan;
        for step in &plan.steps {
            self.wait_for(step.at);
            self.act(&step.act)
                .with_context(|| format!("{:?}", step.act))?;
        }
        self.wait_for(plan.length);
        Ok(())
    }

    /// The schedule is about time: there is nothing else to wait for.
    fn wait_for(&self, at: Duration) {
        while let Some(left) = at.checked_sub(self.began.elapsed()) {
            if left.is_zero() {
                break;
            }
            std::thread::park_timeout(left);
        }
    }

    pub(crate) fn act(&mut self, act: &Act) -> Result<()> {
        match act {
            Act::Kill(place) => {
                self.bench.servers.kill(*place)?;
                self.replace(*place)
            }
            Act::Terminate(place) => {
                self.bench.servers.terminate(*place)?;
                self.replace(*place)
            }
            Act::PowerLoss => {
                self.bench.servers.lose_power(0)?;
                if let Some(meter) = self.meter.take() {
                    let bytes = meter.lose()?;
                    println!(
                        "     the power went, and with it {bytes} bytes that no fsync covered"
                    );
                }
                self.replace(0)
            }
            Act::Posthog(order) => self.bench.posthog(order).map(drop),
            Act::Tamper(place, tamper) => {
                // Two cannot have hold of one process.
                self.tampering = None;
                if let Ok(pid) = self.bench.pid(*place) {
                    let ledger = self.bench.ledger();
                    self.tampering = Some(Strace::tamper(tamper, pid, &ledger)?);
                }
                Ok(())
            }
            Act::Leave => {
                // Dropped, strace lets go.
                self.tampering = None;
                Ok(())
            }
            Act::FillDisk => self.bench.disk.as_ref().map_or(Ok(()), disk::Disk::fill),
            Act::FreeDisk => self.bench.disk.as_ref().map_or(Ok(()), disk::Disk::free),
            Act::SetClock(seconds) => clock::set(&self.bench.directory, *seconds),
        }
    }

    /// A new server in a place whose server is gone.
    fn replace(&mut self, place: usize) -> Result<()> {
        self.load.aim(self.bench.servers.targets());
        let started = self.bench.servers.start(place, &self.bench.recipe);
        self.load.aim(self.bench.servers.targets());
        match started {
            // With a ledger that cannot be written a service may refuse to start; it is started when it can.
            Err(_) if self.plan.troubles_ledger() => Ok(()),
            other => other,
        }
    }

    /// Ends the servers under load, whatever else goes wrong at that moment.
    pub(crate) fn end(&mut self) -> Result<()> {
        for place in 0..self.bench.servers.live.len() {
            match self.plan.ending {
                Ending::Kill => self.bench.servers.kill(place)?,
                Ending::Terminate => self.bench.servers.terminate(place)?,
            }
        }
        self.tampering = None;
        Ok(())
    }

    /// All is well again: one more server ships what there is, and every book is read.
    pub(crate) fn settle(self) -> Result<Books> {
        let Self {
            plan,
            mut bench,
            load,
            ..
        } = self;
        load.aim(Vec::new());
        bench.posthog(&Order::Heal)?;
        if let Some(disk) = &bench.disk {
            disk.free()?;
        }
        bench.servers.start(0, &bench.recipe)?;
        drain(&mut bench)?;
        bench.servers.terminate(0)?;
        let posthog = bench.book()?;
        let ledger: PathBuf = bench.ledger();
        let kept = bench.directory.join("audit.db");
        if ledger != kept {
            // On a disk as small as this the log may not have been emptied into the file at the end.
            for suffix in ["", "-wal"] {
                let from = tamper::with_suffix(&ledger, suffix);
                if from.exists() {
                    std::fs::copy(from, tamper::with_suffix(&kept, suffix))?;
                }
            }
        }
        Ok(Books {
            guarantee: plan.setting.guarantee,
            injected: Injected {
                clock: plan.has(Kind::ClockStep),
                ledger_trouble: plan.troubles_ledger(),
                refusals: plan.refuses_rows(),
            },
            servers: bench.servers.ended.into_iter().flatten().collect(),
            clients: load.stop(),
            ledger: Ledger::read(&kept)?,
            posthog,
        })
    }
}

fn drain(bench: &mut Bench) -> Result<()> {
    let deadline = Instant::now() + DRAIN;
    while !bench.drained(0)? {
        if Instant::now() > deadline {
            bail!("not drained after {DRAIN:?}");
        }
        // A blocked flush returns at once.
        std::thread::park_timeout(Duration::from_millis(200));
    }
    Ok(())
}
