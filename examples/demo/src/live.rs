//! What happens, line by line: new rows of the table, and what the PostHog stand-in receives.

mod arrivals;
mod table;

use std::{
    io,
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::console::Console;

pub(crate) use arrivals::Arrivals;
pub(crate) use table::Table;

/// Time between two looks.
const INTERVAL: Duration = Duration::from_millis(200);

/// A thread that looks and prints.
pub(crate) struct Live {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl Live {
    pub(crate) fn start(
        console: Arc<Console>,
        mut table: Option<Table>,
        mut arrivals: Option<Arrivals>,
    ) -> io::Result<Self> {
        let (stop, stopped) = mpsc::channel::<()>();
        let thread = thread::Builder::new()
            .name("demo-live".to_owned())
            .spawn(move || {
                loop {
                    let last = stopped.recv_timeout(INTERVAL) != Err(RecvTimeoutError::Timeout);
                    if let Some(table) = &mut table {
                        table.print_new(&console);
                    }
                    if let Some(arrivals) = &mut arrivals {
                        arrivals.print_new(&console);
                    }
                    if last {
                        break;
                    }
                }
            })?;
        Ok(Self { stop, thread })
    }

    /// Looks once more, prints what is new, and ends.
    pub(crate) fn finish(self) {
        drop(self.stop);
        // A panic of the thread has been printed.
        let _ = self.thread.join();
    }
}
