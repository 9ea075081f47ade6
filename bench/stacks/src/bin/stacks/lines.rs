//! JSON lines in a file, written by tracing-appender's thread.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

use bench_stacks::process::Settings;
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};

pub(crate) struct Lines {
    file: PathBuf,
    guard: WorkerGuard,
}

impl Lines {
    /// Not lossy: the appender's default drops lines when 128,000 wait, and an audit log may not.
    pub(crate) fn open(settings: &Settings) -> io::Result<(NonBlocking, Self)> {
        let file = settings.directory.join("log.jsonl");
        let (writer, guard) = NonBlockingBuilder::default()
            .lossy(false)
            .finish(File::create(&file)?);
        Ok((writer, Self { file, guard }))
    }

    /// Waits for the appender, and counts the lines in the file.
    pub(crate) fn close(self) -> io::Result<u64> {
        drop(self.guard);
        let text = fs::read(&self.file)?;
        Ok(text.iter().filter(|byte| **byte == b'\n').count() as u64)
    }
}
