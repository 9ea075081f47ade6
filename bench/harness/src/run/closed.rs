//! The closed loop: as many requests as 64 connections get answered.
//!
//! Stacks that are compared live at the same time and are asked in turns of a second: a shared machine may be half as
//! fast a minute later, and then it is for all of them.
//!
//! CPU per request is the process's own user and system time, of all its threads. A turn's time begins when the process
//! is at rest, so that rows of an earlier turn are not charged to it, and ends when it has come to rest again: what it
//! still has to write and to send is part of the price. So is the process's end, from the signal to the exit, which is shared
//! among all requests that it answered. What a timer makes it do while others have their turns is charged to nobody. The
//! time is divided by the requests that the service itself counted, less what wrk counted in warm-up. wrk does not count
//! what is under way when it stops: at most 64 requests a turn.

use std::ffi::OsString;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::machine;
use super::process::{LOAD_CORE, Plan, Process};
use super::receiver::{Mode, Receiver};
use super::service::Service;
use crate::read::procfs::Disturbance;
use crate::read::wrk::{self, Wrk, count_as_f64};
use crate::results::Closed;
use crate::stats::Round;
use crate::suite::{Suite, Variant};

const CONNECTIONS: u64 = 64;
/// The shortest that wrk can do.
const TURN_SECONDS: u32 = 1;

/// A process of a stack under test, from its start to its exit.
#[derive(Debug)]
pub(crate) struct Contender {
    variant: Variant,
    directory: PathBuf,
    receiver: Option<Receiver>,
    service: Service,
    idle_kb: u64,
    warm_up: u64,
    /// What wrk counted in all turns, and how often it ran: those that are measured again are among them.
    asked: u64,
    runs: u64,
    turns: Vec<Turn>,
    repeats: u32,
}

/// A second of load, and what follows from it.
#[derive(Debug)]
pub(crate) struct Turn {
    requests: u64,
    seconds: f64,
    cpu: Duration,
    /// The service was at rest when it began, and when it ended.
    rested: bool,
    pub(crate) disturbance: Disturbance,
}

impl Contender {
    /// Starts the stack and warms it up. `place` is its own among those that live at the same time.
    pub(crate) fn start(suite: &Suite, variant: &Variant, place: usize) -> Result<Self> {
        let directory = suite.fresh_directory(&place.to_string())?;
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
        Ok(Self {
            variant: variant.clone(),
            directory,
            receiver,
            service,
            idle_kb,
            warm_up: warm.requests,
            asked: 0,
            runs: 1,
            turns: Vec::new(),
            repeats: 0,
        })
    }

    pub(crate) fn label(&self) -> String {
        self.variant.label()
    }

    /// One turn. It counts once it is [kept](Self::keep).
    pub(crate) fn turn(&mut self, suite: &Suite) -> Result<Turn> {
        let service = &self.service;
        let at_rest = service.rest()?;
        let (started, ticks, cpu) = (Instant::now(), machine::ticks()?, service.cpu()?);
        let wrk = run_wrk(suite, service.address, TURN_SECONDS, &self.directory)?;
        if wrk.requests == 0 {
            bail!("no request was answered in a turn");
        }
        let rested_again = service.rest()?;
        let cpu = service.cpu()?.saturating_sub(cpu);
        let seconds = started.elapsed().as_secs_f64();
        self.asked += wrk.requests;
        self.runs += 1;
        Ok(Turn {
            requests: wrk.requests,
            seconds: count_as_f64(wrk.requests) / wrk.per_second,
            cpu,
            rested: at_rest && rested_again,
            disturbance: Disturbance::between(&ticks, &machine::ticks()?, seconds),
        })
    }

    /// Takes a turn into the figures. `repeats`: so many before it were not, because they were disturbed.
    pub(crate) fn keep(&mut self, turn: Turn, repeats: u32) {
        self.turns.push(turn);
        self.repeats += repeats;
    }

    /// Lets the service drain and end.
    pub(crate) fn end(self, round: Round) -> Result<Closed> {
        let before = self.service.cpu()?;
        let ended = self.service.end()?;
        let received = self.receiver.map(|receiver| receiver.count()).transpose()?;
        let since = answered_since(ended.last.answered, self.warm_up, self.asked, self.runs)
            .with_context(|| self.variant.label())?;
        let lines = lines_in(&self.directory.join("log.jsonl"))?;
        std::fs::remove_dir_all(&self.directory)?;
        let turns = &self.turns;
        let kept: u64 = turns.iter().map(|turn| turn.requests).sum();
        let seconds: f64 = turns.iter().map(|turn| turn.seconds).sum();
        let cpu: Duration = turns.iter().map(|turn| turn.cpu).sum();
        let answered = share(since, kept, self.asked);
        // What a process leaves for its end it leaves of the warm-up too.
        let of_end = part(
            ended.cpu.saturating_sub(before),
            answered,
            ended.last.answered,
        );
        let disturbances: Vec<_> = turns.iter().map(|turn| turn.disturbance).collect();
        Ok(Closed {
            round,
            variant: self.variant,
            rate: count_as_f64(kept) / seconds,
            answered,
            cpu_seconds: (cpu + of_end).as_secs_f64(),
            idle_kb: self.idle_kb,
            peak_kb: ended.peak_kb,
            last: ended.last,
            received,
            lines,
            rested: turns.iter().all(|turn| turn.rested),
            disturbance: Disturbance::mean(&disturbances),
            repeats: self.repeats,
        })
    }
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
fn answered_since(by_service: u64, warm_up: u64, asked: u64, runs: u64) -> Result<u64> {
    let by_wrk = warm_up + asked;
    // Each run leaves up to one request a connection uncounted.
    if by_service < by_wrk || by_service > by_wrk + runs * CONNECTIONS {
        bail!("the service counted {by_service} answers, wrk {by_wrk}");
    }
    Ok(by_service - warm_up)
}

/// `kept` of `asked` requests, by another count of all of them.
fn share(all: u64, kept: u64, asked: u64) -> u64 {
    let part = u128::from(all) * u128::from(kept) / u128::from(asked.max(1));
    u64::try_from(part).unwrap_or(u64::MAX)
}

/// The part of a time that falls to `answered` of `all` requests.
fn part(time: Duration, answered: u64, all: u64) -> Duration {
    time.mul_f64(count_as_f64(answered.min(all)) / count_as_f64(all.max(1)))
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
    let spin = suite.spin.iter();
    let spin = spin.map(|spin| ("LD_PRELOAD", OsString::from(spin)));
    let wrk = Process::start(&Plan {
        name: "wrk".to_owned(),
        program: suite.wrk.clone(),
        arguments,
        environment: spin.collect(),
        core: Some(LOAD_CORE),
        directory: directory.to_owned(),
    })?;
    let limit = Duration::from_secs(u64::from(seconds) + 30);
    let finished = wrk.finish(limit, |_| ())?;
    wrk::parse(&finished.lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{TcpListener, TcpStream};
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::tests::{scratch, write_script};

    /// Works for 0.2 s of its own time after each load, and once more at its end.
    const LAZY: &str = r#"
        now() { read -r stat </proc/$$/stat; set -- ${stat##*) }; now=$((${12} + ${13})); }
        work() { now; until=$((now + 20)); while now; [ "$now" -lt "$until" ]; do :; done; }
        trap work USR1
        trap 'work; kill $idle; echo "{\"answered\":1000,\"rows_made\":1000,\"rows_lost\":0,\"books\":\"ok\"}"; exit 0' TERM
        mkfifo never; cat <>never & idle=$!; echo $$ >pid
        echo ready 127.0.0.1:9
        while :; do wait $idle; done"#;
    const LOAD: &str =
        "kill -USR1 $(cat pid); echo '500 requests in 1.00s'; echo 'Requests/sec: 500.00'";

    /// Answers whatever comes, as the services do: every twentieth with a failure.
    fn answering() -> SocketAddr {
        static ANSWERED: AtomicU64 = AtomicU64::new(1);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let answer = |mut client: TcpStream| {
            let mut room = [0; 4_096];
            while client.read(&mut room).is_ok_and(|read| read > 0) {
                let number = ANSWERED.fetch_add(1, Ordering::Relaxed);
                let status = if number.is_multiple_of(20) { 404 } else { 200 };
                let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\n\r\n");
                if client.write_all(answer.as_bytes()).is_err() {
                    return;
                }
            }
        };
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                std::thread::spawn(move || answer(client));
            }
        });
        address
    }

    #[test]
    fn wrk_gets_its_answers_while_it_spins() {
        let directory = scratch();
        let mut suite = Suite::in_directory(directory.path());
        suite.wrk = "wrk".into();
        std::fs::create_dir(&suite.scratch).unwrap();
        let request = "/\tuser\trole\torganisation\tagent\t10.0.0.1\n";
        std::fs::write(suite.requests(), request).unwrap();
        let spin = directory.path().join("spin.so");
        crate::build_spin(&suite.root, &spin).unwrap();
        suite.spin = Some(spin);
        let wrk = run_wrk(&suite, answering(), TURN_SECONDS, directory.path()).unwrap();
        assert!(wrk.requests > 0);
        // Nothing was wrong with what was preloaded, which is no error elsewhere.
        let said = std::fs::read_to_string(directory.path().join("wrk.stderr")).unwrap();
        assert_eq!(said, "");
    }

    #[test]
    fn what_a_service_does_after_the_load_and_at_its_end_is_charged_to_it() {
        let directory = scratch();
        write_script(&directory.path().join("stacks"), LAZY);
        write_script(&directory.path().join("wrk"), LOAD);
        let suite = Suite::in_directory(directory.path());
        let variant = Variant::new("audithog-memory", false);
        let mut lazy = Contender::start(&suite, &variant, 0).unwrap();
        let turn = lazy.turn(&suite).unwrap();
        assert!(turn.rested);
        lazy.keep(turn, 0);
        let closed = lazy.end(0).unwrap();
        assert_eq!(closed.answered, 500);
        // The turn's 0.2 s and, as it had half of the requests, half of the end's; the clock that the script reads has ticks of 10 ms.
        let cpu = closed.cpu_seconds;
        assert!((0.27..0.45).contains(&cpu), "{cpu}");
    }

    #[test]
    fn lines_are_counted_if_there_is_a_file() {
        let scratch = scratch();
        let file = scratch.path().join("log.jsonl");
        assert_eq!(lines_in(&file).unwrap(), None);
        std::fs::write(&file, "{}\n{}\ncut").unwrap();
        assert_eq!(lines_in(&file).unwrap(), Some(2));
    }

    #[test]
    fn the_two_counts_of_answers_have_to_agree() {
        let since = |by_service| answered_since(by_service, 1000, 5000, 3);
        assert_eq!(since(6000).unwrap(), 5000);
        assert_eq!(since(6192).unwrap(), 5192);
        for wrong in [5999, 6193, 0] {
            let problem = since(wrong).unwrap_err().to_string();
            assert!(problem.contains(&wrong.to_string()), "{problem}");
        }
    }

    #[test]
    fn the_end_is_shared_among_all_requests() {
        let second = Duration::from_secs(1);
        assert_eq!(part(second, 3, 4), Duration::from_millis(750));
        assert_eq!(part(second, 4, 4), second);
        assert_eq!(part(second, 0, 0), Duration::ZERO);
    }

    #[test]
    fn turns_that_were_measured_again_take_their_share_with_them() {
        assert_eq!(share(5192, 5000, 5000), 5192);
        assert_eq!(share(6060, 5000, 6000), 5050);
        assert_eq!(share(u64::MAX, u64::MAX, u64::MAX), u64::MAX);
        assert_eq!(share(0, 0, 0), 0);
    }
}
