//! The closed loop: as many requests as 64 connections get answered.
//!
//! CPU per request is the process's own user and system time, of all its threads, from the end of warm-up to its exit:
//! what it still has to write and to send is part of the price. The span begins when the process has come to rest after
//! warm-up, so that rows of warm-up are not charged to it, and ends with the exit. It is divided by the requests that
//! the service itself counted, less what wrk counted in warm-up. wrk does not count what is under way when it stops: an
//! error of at most 64 requests in some hundred thousands.

use std::ffi::OsString;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::machine;
use super::process::{LOAD_CORE, Plan, Process};
use super::receiver::{Mode, Receiver};
use super::service::Service;
use crate::read::procfs::Disturbance;
use crate::read::wrk::{self, Wrk};
use crate::results::Closed;
use crate::stats::Round;
use crate::suite::{Suite, Variant};

const CONNECTIONS: u64 = 64;

pub(crate) fn measure(suite: &Suite, variant: &Variant, round: Round) -> Result<Closed> {
    let directory = suite.fresh_directory()?;
    let receiver = match variant.delivery {
        true => Some(Receiver::start(suite, &directory, Mode::Accept)?),
        false => None,
    };
    let service = Service::start(suite, variant, &directory, receiver.as_ref())?;
    service.rest()?;
    let idle_kb = service.memory_kb()?;
    let warm_up = match variant.is_node() {
        true => suite.extent.warm_up_node,
        false => suite.extent.warm_up,
    };
    let warm = run_wrk(suite, service.address, warm_up, &directory)?;
    let rested = service.rest()?;

    let (started, ticks, cpu) = (Instant::now(), machine::ticks()?, service.cpu()?);
    let measured = run_wrk(suite, service.address, suite.extent.closed, &directory)?;
    let ended = service.end()?;
    let seconds = started.elapsed().as_secs_f64();
    let disturbance = Disturbance::between(&ticks, &machine::ticks()?, seconds);

    let received = receiver.map(|receiver| receiver.count()).transpose()?;
    let answered =
        answered_since(ended.last.answered, &warm, &measured).with_context(|| variant.label())?;
    let lines = lines_in(&directory.join("log.jsonl"))?;
    std::fs::remove_dir_all(&directory)?;
    Ok(Closed {
        round,
        variant: variant.clone(),
        rate: measured.per_second,
        answered,
        cpu_seconds: ended.cpu.saturating_sub(cpu).as_secs_f64(),
        idle_kb,
        peak_kb: ended.peak_kb,
        last: ended.last,
        received,
        lines,
        rested,
        disturbance,
        repeats: 0,
    })
}

/// How many lines a file has, if there is one. The service does not count them itself: that would be charged to it.
fn lines_in(file: &Path) -> Result<Option<u64>> {
    let mut file = match File::open(file) {
        Ok(file) => file,
        Err(problem) if problem.kind() == ErrorKind::NotFound => return Ok(None),
        Err(problem) => return Err(problem.into()),
    };
    let mut slice = vec![0; 1 << 20];
    let mut lines = 0;
    loop {
        match file.read(&mut slice)? {
            0 => return Ok(Some(lines)),
            n => {
                let ends = slice[..n].iter().map(|&byte| u64::from(byte == b'\n'));
                lines += ends.sum::<u64>();
            }
        }
    }
}

/// The requests that the service answered after warm-up. Its own count and wrk's have to agree.
fn answered_since(by_service: u64, warm_up: &Wrk, measured: &Wrk) -> Result<u64> {
    let by_wrk = warm_up.requests + measured.requests;
    // Each of the two runs leaves up to one request a connection uncounted.
    if by_service < by_wrk || by_service > by_wrk + 2 * CONNECTIONS {
        bail!("the service counted {by_service} answers, wrk {by_wrk}");
    }
    Ok(by_service - warm_up.requests)
}

/// Answers that take longer end the run.
const TIMEOUT_SECONDS: u32 = 20;

pub(crate) fn run_wrk(
    suite: &Suite,
    address: SocketAddr,
    seconds: u32,
    directory: &Path,
) -> Result<Wrk> {
    let script = suite.root.join("bench/load/requests.lua");
    let words = [
        "--threads".to_owned(),
        "1".to_owned(),
        "--connections".to_owned(),
        CONNECTIONS.to_string(),
        "--duration".to_owned(),
        format!("{seconds}s"),
        // wrk's own two seconds are not enough for a peer that collects garbage while 64 connections wait.
        "--timeout".to_owned(),
        format!("{TIMEOUT_SECONDS}s"),
        "--script".to_owned(),
    ];
    let mut arguments: Vec<OsString> = words.map(OsString::from).into();
    arguments.push(script.into());
    arguments.push(format!("http://{address}").into());
    arguments.push("--".into());
    arguments.push(suite.requests().into());
    let wrk = Process::start(&Plan {
        name: "wrk".to_owned(),
        program: "wrk".into(),
        arguments,
        environment: Vec::new(),
        core: Some(LOAD_CORE),
        directory: directory.to_owned(),
    })?;
    let limit = Duration::from_secs(u64::from(seconds) + 30);
    let finished = wrk.finish(limit, |_| ())?;
    wrk::parse(&finished.lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_if_there_is_a_file() {
        let file = crate::tests::scratch().join("log.jsonl");
        assert_eq!(lines_in(&file).unwrap(), None);
        std::fs::write(&file, "{}\n{}\ncut").unwrap();
        assert_eq!(lines_in(&file).unwrap(), Some(2));
    }

    #[test]
    fn the_two_counts_of_answers_have_to_agree() {
        let wrk = |requests| Wrk {
            requests,
            per_second: 1.0,
            not_2xx: 0,
        };
        let since = |by_service| answered_since(by_service, &wrk(1000), &wrk(5000));
        assert_eq!(since(6000).unwrap(), 5000);
        assert_eq!(since(6128).unwrap(), 5128);
        for wrong in [5999, 6129, 0] {
            let problem = since(wrong).unwrap_err().to_string();
            assert!(problem.contains(&wrong.to_string()), "{problem}");
        }
    }
}
