//! Rows at full speed, without a request: for what only millions of rows show.

use std::time::{Duration, Instant};

use audithog::Logger;
use serde::Serialize;

/// Rows between looks at how full the queue is; far below its capacity.
const BURST: u64 = 2_000;
/// Rows that may wait in the queue before the filling pauses.
const HIGH_WATER: u64 = 20_000;

#[derive(Debug, Serialize)]
pub(super) struct Filled {
    rows: u64,
    seconds: f64,
    lost: u64,
}

/// Logs `rows` events, pausing whenever the ledger is behind, so that none is dropped.
pub(super) fn fill(logger: &Logger, rows: u64) -> Filled {
    let started = Instant::now();
    let mut done = 0;
    while done < rows {
        let burst = BURST.min(rows - done);
        for n in done..done + burst {
            logger
                .event("filled")
                .property("n", n)
                .property("note", "one of very many rows while PostHog is down")
                .log();
        }
        done += burst;
        while logger.health().queued > HIGH_WATER {
            // The only way to see room is to look.
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }
    Filled {
        rows: done,
        seconds: started.elapsed().as_secs_f64(),
        lost: logger.health().lost.values().sum(),
    }
}
