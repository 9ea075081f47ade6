//! A process that is killed.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use audithog::Logger;

use super::{Bench, assert_ended_well, assert_flushed, log};

const DATABASE: &str = "LIFECYCLE_CRASH_DATABASE";
const HOST: &str = "LIFECYCLE_CRASH_HOST";
const CAPACITY: u64 = 4_096;

/// What the killed process does: logs and flushes until it is killed.
fn traffic(database: &str, host: &str) -> ! {
    let logger = Logger::builder()
        .environment([("POSTHOG_API_KEY", "phc_test"), ("POSTHOG_HOST", host)])
        .service("agents")
        .database(database)
        .set("AUDITHOG_QUEUE_ROWS", CAPACITY.to_string())
        .batch_size(50)
        .start()
        .unwrap();
    loop {
        log(&logger, 100);
        let _ = logger.flush_blocking(None);
        // On its way when the kill comes.
        log(&logger, 100);
        #[expect(clippy::print_stdout, reason = "how the parent knows that it may kill")]
        {
            println!("round");
        }
    }
}

#[test]
fn a_killed_process_is_found_and_what_it_committed_is_delivered_once() {
    if let (Ok(database), Ok(host)) = (std::env::var(DATABASE), std::env::var(HOST)) {
        traffic(&database, &host);
    }
    let bench = Bench::new();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture"])
        .arg("lifecycle::crash::a_killed_process_is_found_and_what_it_committed_is_delivered_once")
        .env(DATABASE, bench.path())
        .env(HOST, bench.posthog.url())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let rounds = output
        .lines()
        .map_while(Result::ok)
        .filter(|line| line.contains("round"));
    assert_eq!(rounds.take(3).count(), 3, "the child ended by itself");
    // SIGKILL.
    child.kill().unwrap();
    child.wait().unwrap();
    let committed = bench.table();

    // At once: the dead process's lease is freed with the run that is found dead.
    let logger = bench.builder().start().unwrap();
    assert_flushed(&logger);
    let losses = bench.rows_of("audit_loss");
    assert_eq!(losses.len(), 1, "{losses:?}");
    let loss = &losses[0].properties;
    assert_eq!(loss["reason"], "unclean_stop");
    assert_eq!(loss["exact"], false);
    assert_eq!(loss["count"], CAPACITY);
    assert!(
        loss["from"].as_str().unwrap() < loss["until"].as_str().unwrap(),
        "{loss}"
    );
    let books = logger.health();
    assert_eq!(books.ledger.lost["unclean_stop"], CAPACITY);
    assert_ended_well(&logger);
    bench.assert_all_arrived();
    let after = bench.table();
    assert!(after.len() > committed.len());
    for (before, after) in committed.iter().zip(&after) {
        assert_eq!((before.seq, &before.id), (after.seq, &after.id));
    }

    // Told once.
    let logger = bench.builder().start().unwrap();
    assert_ended_well(&logger);
    assert_eq!(bench.rows_of("audit_loss").len(), 1);
}
