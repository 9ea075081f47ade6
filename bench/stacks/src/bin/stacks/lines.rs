//! JSON lines in a file, written by tracing-appender's thread.

use std::fs::File;
use std::io::{self, BufWriter};

use bench_stacks::process::Settings;
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};

pub(crate) struct Lines {
    guard: WorkerGuard,
}

impl Lines {
    /// Not lossy: the appender's default drops lines when 128,000 wait, and an audit log may not. The appender flushes
    /// when no line waits, so that a buffer spares writes and holds nothing back.
    pub(crate) fn open(settings: &Settings) -> io::Result<(NonBlocking, Self)> {
        let appender = NonBlockingBuilder::default().lossy(false);
        let file = File::create(settings.directory.join("log.jsonl"))?;
        let (writer, guard) = match settings.stack.ends_with("-buffered") {
            true => appender.finish(BufWriter::new(file)),
            false => appender.finish(file),
        };
        Ok((writer, Self { guard }))
    }

    /// Waits for the appender. Whoever measures counts the lines: here that would cost time and memory of this process.
    pub(crate) fn close(self) {
        drop(self.guard);
    }
}
