//! Ctrl-C and SIGTERM.

use std::{
    io::{self, Write as _},
    process,
};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// 128 + SIGINT, as shells report it.
const INTERRUPTED: i32 = 130;

#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// From here on a signal does not end the process by itself.
    pub(crate) fn catch() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// Whoever asks twice does not want to wait: the next signal ends the process.
    pub(crate) fn next_one_exits(mut self) {
        tokio::spawn(async move {
            self.next().await;
            // Nobody may be reading; the exit code says it too.
            let _ = writeln!(
                io::stderr(),
                "audithog: stopped at once; the next start reports what was in memory as a loss"
            );
            process::exit(INTERRUPTED);
        });
    }
}
