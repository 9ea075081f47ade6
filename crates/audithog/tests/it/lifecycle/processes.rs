//! Several processes on one ledger: they write in turn, and one of them delivers.

use std::collections::{BTreeMap, HashSet};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use audithog::Logger;
use audithog::testing::standin::Fault;
use audithog::testing::{ManualClock, PostHogStandIn};

use super::{Bench, PATIENCE, assert_ended_well, log, posthog, wait_until};

const DATABASE: &str = "LIFECYCLE_PROCESSES_DATABASE";
const HOST: &str = "LIFECYCLE_PROCESSES_HOST";
const SERVICE: &str = "LIFECYCLE_PROCESSES_SERVICE";
/// More than one group, and more than one request.
const EVENTS: u64 = 2_000;

fn say(text: &str) {
    #[expect(clippy::print_stdout, reason = "how the parent knows what is done")]
    {
        println!("{text}");
    }
    std::io::stdout().flush().unwrap();
}

/// Not a test of its own: what the other processes do. Nothing unless asked.
#[test]
fn child() {
    let (Ok(database), Ok(host), Ok(service)) = (
        std::env::var(DATABASE),
        std::env::var(HOST),
        std::env::var(SERVICE),
    ) else {
        return;
    };
    let logger = Logger::builder()
        .environment([("POSTHOG_API_KEY", "phc_test"), ("POSTHOG_HOST", &*host)])
        .service(service)
        .database(database)
        .batch_size(50)
        .start()
        .unwrap();
    say("ready");
    // Each line is something to do; the end of the input is the end.
    for line in std::io::stdin().lines() {
        match line.unwrap().as_str() {
            "log" => {
                log(&logger, EVENTS);
                say("logged");
            }
            "deliver" => {
                wait_until("it delivers", || !posthog(&logger).lease_elsewhere);
                let report = logger.flush_blocking(Some(PATIENCE));
                assert_eq!(report.blocked, None, "{report:#?}");
                say("delivered");
            }
            "traffic" => loop {
                // In groups of their own: rows are on their way at any moment.
                log(&logger, 10);
                let _ = logger.flush_blocking(Some(Duration::from_millis(50)));
            },
            _ => break,
        }
    }
    let report = logger.shutdown_blocking(Some(PATIENCE));
    assert!(report.closed, "{report}");
    assert_eq!(report.lost(), 0, "{report}");
    report.health.check().unwrap();
    say("ended");
}

struct Other {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Other {
    fn start(bench: &Bench, service: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "lifecycle::processes::child"])
            .env(DATABASE, bench.path())
            .env(HOST, bench.posthog.url())
            .env(SERVICE, service)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            input: child.stdin.take().unwrap(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    fn tell(&mut self, what: &str) {
        writeln!(self.input, "{what}").unwrap();
    }

    fn hear(&mut self, word: &str) {
        let mut line = String::new();
        while self.output.read_line(&mut line).unwrap() > 0 {
            if line.trim_end().ends_with(word) {
                return;
            }
            line.clear();
        }
        panic!("the child ended before it said `{word}`");
    }

    fn end(mut self) {
        self.tell("end");
        self.hear("ended");
        assert!(self.child.wait().unwrap().success());
    }

    /// SIGKILL.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Rows by service; the sequence has no gap.
fn by_service(bench: &Bench) -> BTreeMap<String, u64> {
    let table = bench.table();
    let seqs: Vec<i64> = table.iter().map(|row| row.seq).collect();
    let last = i64::try_from(table.len()).unwrap();
    assert_eq!(seqs, (1..=last).collect::<Vec<_>>());
    let table = rusqlite::Connection::open(bench.path()).unwrap();
    let mut counts = table
        .prepare("SELECT service, count(*) FROM audit_logs WHERE event = 'counted' GROUP BY 1")
        .unwrap();
    let counts = counts.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)));
    counts
        .unwrap()
        .map(Result::unwrap)
        .map(|(service, rows)| (service, rows.unsigned_abs()))
        .collect()
}

/// No event was sent twice, and every row was sent.
fn assert_each_sent_once(bench: &Bench) {
    bench.assert_all_arrived();
    assert_eq!(bench.posthog.duplicates(), 0);
}

#[test]
fn a_rolling_restart_loses_and_repeats_nothing() {
    let bench = Bench::new();
    let mut old = Other::start(&bench, "agents");
    old.hear("ready");
    old.tell("log");
    old.hear("logged");
    // The old one drains while the new one starts and works.
    let new = bench.builder().start().unwrap();
    old.tell("log");
    log(&new, EVENTS);
    old.end();
    log(&new, EVENTS);
    assert_ended_well(&new);
    assert_each_sent_once(&bench);
    assert_eq!(
        by_service(&bench),
        BTreeMap::from([("agents".into(), 4 * EVENTS)])
    );
    assert_eq!(bench.rows_of("audit_loss").len(), 0);
}

#[test]
fn four_processes_share_a_ledger_and_one_delivers_at_a_time() {
    let bench = Bench::new();
    // Some are started before the file is there.
    let mut others: Vec<Other> = (0..4).map(|_| Other::start(&bench, "agents")).collect();
    for other in &mut others {
        other.tell("log");
    }
    for other in &mut others {
        other.hear("logged");
    }
    let holders = "SELECT count(DISTINCT lease_holder) FROM audit_sinks";
    let table = rusqlite::Connection::open(bench.path()).unwrap();
    // Rows may be there before a driver is.
    wait_until("one of them drives the sink", || {
        table.query_row(holders, [], |row| row.get::<_, i64>(0)) == Ok(1)
    });
    drop(table);
    for other in others {
        other.end();
    }
    // What the last one to deliver left to the others.
    assert_ended_well(&bench.builder().start().unwrap());
    assert_each_sent_once(&bench);
    assert_eq!(
        by_service(&bench),
        BTreeMap::from([("agents".into(), 4 * EVENTS)])
    );
}

#[test]
fn two_services_share_a_ledger_and_rows_tell_them_apart() {
    let bench = Bench::new();
    let mut shop = Other::start(&bench, "shop");
    let mut jobs = Other::start(&bench, "jobs");
    for service in [&mut shop, &mut jobs] {
        service.tell("log");
        service.hear("logged");
    }
    shop.end();
    jobs.end();
    assert_ended_well(&bench.builder().start().unwrap());
    assert_each_sent_once(&bench);
    let expected = [("jobs".into(), EVENTS), ("shop".into(), EVENTS)];
    assert_eq!(by_service(&bench), BTreeMap::from(expected));
    let sent = bench.posthog.events();
    let of_shop = sent.iter().filter(|event| {
        event.event == "counted" && event.properties["service"].as_str() == Some("shop")
    });
    assert_eq!(of_shop.count() as u64, EVENTS);
}

#[test]
fn a_killed_deliverers_rows_are_taken_over_and_only_what_was_on_its_way_is_repeated() {
    let bench = Bench::new();
    let mut holder = Other::start(&bench, "agents");
    holder.hear("ready");
    holder.tell("deliver");
    holder.hear("delivered");
    // A stand-in of its own tells who sent what.
    let second = PostHogStandIn::start().unwrap();
    let clock = ManualClock::default();
    let heir = bench.builder_for(&second.url());
    let heir = heir.start_with_clock(&clock).unwrap();
    wait_until("the other one is known to deliver", || {
        posthog(&heir).lease_elsewhere
    });
    log(&heir, EVENTS);
    holder.tell("log");
    holder.hear("logged");
    // Arrived, and never acknowledged: the outcome that a kill leaves unknown.
    bench.posthog.push_fault(Fault::hang().after_storing());
    holder.tell("traffic");
    wait_until("a reply is held back", || {
        bench.posthog.queued_faults() == 0
    });
    holder.kill();
    let table = rusqlite::Connection::open(bench.path()).unwrap();
    let cursor = "SELECT cursor FROM audit_sinks";
    let cursor: i64 = table.query_row(cursor, [], |row| row.get(0)).unwrap();
    drop(table);
    // It asks again after ten seconds, and sees that nobody is there any more.
    wait_until("the heir delivers", || {
        clock.advance(Duration::from_secs(10));
        !posthog(&heir).lease_elsewhere
    });
    log(&heir, EVENTS);
    let report = heir.shutdown_blocking(Some(PATIENCE));
    report.health.check().unwrap();
    assert_eq!((report.pending(), report.blocked), (0, None));

    assert_eq!((bench.posthog.duplicates(), second.duplicates()), (0, 0));
    let first = uuids(&bench.posthog);
    let second = uuids(&second);
    let table = bench.table();
    // The row may be on its way, or its verdict on its way into the ledger.
    let is_unknown = |id: &String| table.iter().any(|row| row.id == *id && row.seq > cursor);
    let repeated: Vec<_> = first.intersection(&second).collect();
    assert!(!repeated.is_empty());
    assert!(repeated.into_iter().all(is_unknown));
    let logged = table.iter().filter(|row| row.event == "counted");
    assert!(logged.count() as u64 > 3 * EVENTS);
    let stored: HashSet<String> = table.into_iter().map(|row| row.id).collect();
    assert_eq!(
        first.union(&second).cloned().collect::<HashSet<_>>(),
        stored
    );
    by_service(&bench);
}

fn uuids(posthog: &PostHogStandIn) -> HashSet<String> {
    let stored = posthog.stored();
    stored.iter().map(|event| event.uuid.to_string()).collect()
}
