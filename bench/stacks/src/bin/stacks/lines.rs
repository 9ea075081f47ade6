//! JSON lines in a file, written by tracing-appender's thread.

use std::fs::File;
use std::io;

use bench_stacks::process::Settings;
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};

pub(crate) struct Lines {
    guard: WorkerGuard,
}

impl Lines {
    /// Not lossy: the appender's default drops lines when 128,000 wait, and an audit log may not.
    pub(crate) fn open(settings: &Settings) -> io::Result<(NonBlocking, Self)> {
        let (writer, guard) = NonBlockingBuilder::default()
            .lossy(false)
            .finish(File::create(settings.directory.join("log.jsonl"))?);
        Ok((writer, Self { guard }))
    }

    /// Waits for the appender. Whoever measures counts the lines: here that would cost time and memory of this process.
    pub(crate) fn close(self) {
        drop(self.guard);
    }
}
