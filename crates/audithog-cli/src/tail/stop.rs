//! When to stop: a signal, or a reader that left.

use std::{
    io, process,
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::Duration,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::{
    runtime::Builder,
    signal::unix::{Signal, SignalKind, signal},
};

use crate::failure::Failure;

/// Hears the first SIGINT or SIGTERM; the second ends the process at once.
pub(super) struct Stop {
    heard: Receiver<()>,
    over: bool,
}

impl Stop {
    pub(super) fn new() -> Result<Self, Failure> {
        let cannot = |error: io::Error| Failure::new(1, error);
        let runtime = Builder::new_current_thread().enable_io().build();
        let runtime = runtime.map_err(cannot)?;
        let (interrupt, terminate) = {
            let _context = runtime.enter();
            (
                signal(SignalKind::interrupt()).map_err(cannot)?,
                signal(SignalKind::terminate()).map_err(cannot)?,
            )
        };
        let (hear, heard) = mpsc::channel();
        thread::spawn(move || {
            let mut signals = (interrupt, terminate);
            let mut next = || runtime.block_on(either(&mut signals.0, &mut signals.1));
            next();
            // Nobody listens: the end has begun.
            let _ = hear.send(());
            next();
            process::exit(130);
        });
        Ok(Self { heard, over: false })
    }

    /// Waits so long; whether it is time to stop.
    pub(super) fn within(&mut self, time: Duration) -> bool {
        self.over |= self.heard.recv_timeout(time) != Err(RecvTimeoutError::Timeout);
        self.over || reader_left()
    }
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}

/// A pipe without a reader is an error to poll(2); a write would tell only with the next row.
fn reader_left() -> bool {
    let stdout = io::stdout();
    let mut polled = [PollFd::new(&stdout, PollFlags::empty())];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let found = poll(&mut polled, Some(&now));
    let left = PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL;
    found.is_ok() && polled[0].revents().intersects(left)
}
