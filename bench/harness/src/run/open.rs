//! The open loop: a fixed rate, whatever the service does, and latency from the moment a request was due.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::closed::run_wrk;
use super::machine;
use super::process::{LOAD_CORE, Plan, Process};
use super::receiver::{Mode, Receiver};
use super::service::Service;
use crate::read::procfs::Disturbance;
use crate::read::programs::{self, Latency};
use crate::results::Open;
use crate::stats::Round;
use crate::suite::{Layout, OpenCase, Situation, Suite, Variant};

const CONNECTIONS: u32 = 64;
const WARM_UP_SECONDS: u32 = 1;

/// A ledger that no sink has read yet.
#[derive(Debug)]
pub(crate) struct Backlog {
    directory: PathBuf,
    pub(crate) rows: u64,
}

impl Backlog {
    /// Lets a service without delivery fill it.
    pub(crate) fn prepare(suite: &Suite, variant: &Variant) -> Result<Self> {
        const SLICE_SECONDS: u32 = 2;
        let directory = suite.scratch.join("backlog");
        std::fs::create_dir_all(&directory)?;
        let variant = Variant::new(&variant.stack, false);
        let service = Service::start(suite, &variant, &directory, None)?;
        let mut requests = 0;
        while requests < suite.extent.backlog_rows {
            requests += run_wrk(suite, service.address, SLICE_SECONDS, &directory)?.requests;
        }
        let last = service.end()?.last;
        let rows = last.rows_made.unwrap_or(last.answered);
        Ok(Self { directory, rows })
    }

    fn copy_to(&self, target: &Path) -> Result<()> {
        for entry in self.directory.read_dir()? {
            let entry = entry?;
            std::fs::copy(entry.path(), target.join(entry.file_name()))?;
        }
        Ok(())
    }
}

pub(crate) fn measure(
    suite: &Suite,
    case: &OpenCase,
    rate: u64,
    backlog: Option<&Backlog>,
    round: Round,
) -> Result<Open> {
    let directory = suite.fresh_directory("now")?;
    let waiting = match case.situation {
        Situation::Backlog => {
            let backlog = backlog.context("no backlog was prepared")?;
            backlog.copy_to(&directory)?;
            Some(backlog.rows)
        }
        _ => None,
    };
    let mode = other_end(case.situation);
    let receiver = match case.variant.delivery {
        true => Some(Receiver::start(suite, &directory, mode)?),
        false => None,
    };
    let service = Service::start(suite, &case.variant, &directory, receiver.as_ref())?;
    lay_out(case, &service)?;
    if waiting.is_none() {
        // A backlog drains from the start: warming up would miss it.
        generate(suite, &service, rate, WARM_UP_SECONDS, &directory)?;
        // Delivery has started its threads by now.
        lay_out(case, &service)?;
    }

    let (started, ticks) = (Instant::now(), machine::ticks()?);
    let latency = generate(suite, &service, rate, suite.extent.open, &directory)?;
    let seconds = started.elapsed().as_secs_f64();
    let disturbance = Disturbance::between(&ticks, &machine::ticks()?, seconds);

    let drained = match (waiting, &receiver) {
        (Some(waiting), Some(receiver)) => Some((receiver.count()?.distinct.min(waiting), waiting)),
        _ => None,
    };
    if let Some(receiver) = &receiver {
        receiver.switch(Mode::Accept)?;
    }
    let last = service.end()?.last;
    std::fs::remove_dir_all(&directory)?;
    Ok(Open {
        round,
        case: case.clone(),
        rate,
        latency,
        last: Some(last),
        drained,
        disturbance,
        repeats: 0,
    })
}

/// How the receiver behaves while it is measured.
fn other_end(situation: Situation) -> Mode {
    match situation {
        Situation::Healthy | Situation::Backlog => Mode::Accept,
        Situation::Hangs => Mode::Hang,
        Situation::Refuses => Mode::Refuse,
    }
}

fn lay_out(case: &OpenCase, service: &Service) -> Result<()> {
    if case.layout == Layout::Apart && service.move_audit_threads(LOAD_CORE)? == 0 {
        bail!("{} has no thread named audithog-…", case.variant.label());
    }
    Ok(())
}

fn generate(
    suite: &Suite,
    service: &Service,
    rate: u64,
    seconds: u32,
    directory: &Path,
) -> Result<Latency> {
    let words = [
        "--target".to_owned(),
        service.address.to_string(),
        "--rate".to_owned(),
        rate.to_string(),
        "--seconds".to_owned(),
        seconds.to_string(),
        "--connections".to_owned(),
        CONNECTIONS.to_string(),
        "--requests".to_owned(),
    ];
    let mut arguments: Vec<std::ffi::OsString> = words.map(Into::into).into();
    arguments.push(suite.requests().into());
    let generator = Process::start(&Plan {
        name: "the generator".to_owned(),
        program: suite.program("generator"),
        arguments,
        environment: Vec::new(),
        core: Some(LOAD_CORE),
        directory: directory.to_owned(),
    })?;
    let limit = Duration::from_secs(u64::from(seconds) + 30);
    let finished = generator.finish(limit, |_| ())?;
    let line = programs::last_object("the generator", &finished.lines)?;
    checked(programs::line("the generator", line)?)
}

/// Errors and missing answers are what too high a rate looks like, and are kept as such. A service that answers nothing
/// is broken.
fn checked(latency: Latency) -> Result<Latency> {
    if latency.answered == 0 {
        bail!(
            "none of the generator's {} requests was answered",
            latency.sent
        );
    }
    Ok(latency)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::programs::Clean;

    #[test]
    fn the_other_end_does_what_the_case_is_called() {
        assert_eq!(other_end(Situation::Healthy), Mode::Accept);
        assert_eq!(other_end(Situation::Hangs), Mode::Hang);
        assert_eq!(other_end(Situation::Refuses), Mode::Refuse);
        assert_eq!(other_end(Situation::Backlog), Mode::Accept);
    }

    #[test]
    fn a_service_that_answers_nothing_ends_the_run() {
        let with = |sent, answered, errors| {
            checked(Latency {
                sent,
                answered,
                errors,
                p50_us: 1.0,
                p90_us: 1.0,
                p99_us: 1.0,
                p999_us: 1.0,
                max_us: 1.0,
                late: 0,
                behind: 0,
                clean: Clean {
                    n: answered,
                    p50_us: 1.0,
                    p99_us: 1.0,
                },
            })
        };
        assert!(with(9, 9, 0).is_ok());
        assert!(with(9, 8, 3).is_ok());
        let problem = with(9, 0, 9).unwrap_err().to_string();
        assert!(problem.contains("none of the generator's 9"), "{problem}");
    }
}
