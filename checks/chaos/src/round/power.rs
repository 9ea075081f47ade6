//! A power loss: what a process wrote and did not sync is gone.
//!
//! strace writes down each write and each fsync of the ledger's files. When the process is killed, the write-ahead log is
//! cut where its last completed fsync left it. That is the worst image that a disk may show: SQLite syncs the log
//! before its pages go into the file, and the file before it begins the log anew, which is checked here too.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::tamper::{Strace, with_suffix};

/// Follows one server from soon after its start.
#[derive(Debug)]
pub(super) struct Meter {
    strace: Strace,
    trace: PathBuf,
    ledger: PathBuf,
    /// Bytes of the log at the start; whether they are synced is not known.
    length: u64,
}

impl Meter {
    pub(super) fn start(pid: u32, ledger: &Path, trace: PathBuf) -> Result<Self> {
        let strace = Strace::attach(pid, ledger, |command| {
            command.args(["-y", "-s", "0"]);
            command.args(["-e", "trace=write,pwrite64,fsync,fdatasync,ftruncate"]);
            command.arg("-o").arg(&trace);
        })?;
        let length = fs::metadata(with_suffix(ledger, "-wal")).map_or(0, |file| file.len());
        Ok(Self {
            strace,
            trace,
            ledger: ledger.to_owned(),
            length,
        })
    }

    /// Takes away what the process, which is dead now, had not synced. Returns how many bytes that were.
    pub(super) fn lose(self) -> Result<u64> {
        let Self {
            strace,
            trace,
            ledger,
            length,
        } = self;
        strace.wait()?;
        let log = with_suffix(&ledger, "-wal");
        let mut disk = Disk::new(&ledger, &log, length);
        for line in fs::read_to_string(trace)?.lines() {
            disk.read(line)?;
        }
        let file = File::options().write(true).open(&log)?;
        let written = file.metadata()?.len();
        let kept = disk.synced.min(written);
        file.set_len(kept)?;
        // Memory that processes share: gone with them.
        match fs::remove_file(with_suffix(&ledger, "-shm")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(written - kept),
        }
    }
}

/// What is on the disk for sure, line by line of the trace.
#[derive(Debug)]
struct Disk {
    /// As strace shows them.
    file: String,
    log: String,
    /// Where the log ends, and where what is synced of it ends.
    end: u64,
    synced: u64,
    /// Counts how often the log began anew.
    era: u64,
    /// The file has writes that no fsync covers.
    dirty: bool,
    /// Fsyncs under way by thread: of the log, the era and where it ended; of the file nothing.
    under_way: HashMap<String, Option<(u64, u64)>>,
}

impl Disk {
    fn new(file: &Path, log: &Path, length: u64) -> Self {
        Self {
            file: format!("<{}>", file.display()),
            log: format!("<{}>", log.display()),
            end: length,
            synced: 0,
            era: 0,
            dirty: false,
            under_way: HashMap::new(),
        }
    }

    fn read(&mut self, line: &str) -> Result<()> {
        let Some((thread, call)) = line.split_once(' ') else {
            return Ok(());
        };
        let call = call.trim_start();
        let (ours, log) = (call.contains(&self.file), call.contains(&self.log));
        let done = call.ends_with("= 0");
        if call.starts_with("fsync(") || call.starts_with("fdatasync(") {
            if ours || log {
                let covers = log.then_some((self.era, self.end));
                self.under_way.insert(thread.to_owned(), covers);
            }
            if !call.ends_with("<unfinished ...>") {
                self.sync_ended(thread, done);
            }
        } else if call.starts_with("<... fsync") || call.starts_with("<... fdatasync") {
            self.sync_ended(thread, done);
        } else if call.starts_with("ftruncate(") && log {
            self.end = number(call, 1).unwrap_or(0).min(self.end);
            self.synced = self.synced.min(self.end);
        } else if call.starts_with("pwrite64(") && ours {
            self.dirty = true;
        } else if call.starts_with("pwrite64(") && log {
            let (length, offset) = (number(call, 2), number(call, 3));
            let (Some(length), Some(offset)) = (length, offset) else {
                bail!("not understood: {line}");
            };
            if offset == 0 {
                if self.dirty && self.end > 0 {
                    bail!("the log began anew before the file was synced: {line}");
                }
                (self.end, self.synced) = (0, 0);
                self.era += 1;
            }
            self.end = self.end.max(offset + length);
        }
        Ok(())
    }

    fn sync_ended(&mut self, thread: &str, done: bool) {
        match self.under_way.remove(thread) {
            Some(Some((era, end))) if done && era == self.era => {
                self.synced = self.synced.max(end);
            }
            Some(None) if done => self.dirty = false,
            _ => {}
        }
    }
}

/// An argument of a call, counted from 0; the descriptor's path and the data hold no comma.
fn number(call: &str, place: usize) -> Option<u64> {
    let arguments = call.split_once('(')?.1;
    let argument = arguments.split(',').nth(place)?.trim();
    let digits = argument.find(|c: char| !c.is_ascii_digit());
    argument[..digits.unwrap_or(argument.len())].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn synced(lines: &[&str]) -> Result<u64> {
        let mut disk = Disk::new(Path::new("/d/a.db"), Path::new("/d/a.db-wal"), 0);
        for line in lines {
            disk.read(line)?;
        }
        Ok(disk.synced)
    }

    const HEADER: &str = r#"7 pwrite64(9</d/a.db-wal>, ""..., 32, 0) = 32"#;
    const FRAME: &str = r#"7 pwrite64(9</d/a.db-wal>, ""..., 4120, 32) = 4120"#;
    const NEXT: &str = r#"7 pwrite64(9</d/a.db-wal>, ""..., 4120, 4152) = 4120"#;
    const SYNC: &str = "7 fdatasync(9</d/a.db-wal>)     = 0";

    #[test]
    fn only_what_a_completed_fsync_covers_is_kept() {
        assert_eq!(synced(&[HEADER, FRAME]).unwrap(), 0);
        assert_eq!(synced(&[HEADER, FRAME, SYNC, NEXT]).unwrap(), 4152);
        let failed = "7 fdatasync(9</d/a.db-wal>) = -1 EIO (Input/output error)";
        assert_eq!(synced(&[HEADER, FRAME, failed]).unwrap(), 0);
        // A write during the fsync is not covered.
        let begins = "7 fdatasync(9</d/a.db-wal> <unfinished ...>";
        let ends = "7 <... fdatasync resumed>)           = 0";
        let other = NEXT.replacen('7', "8", 1);
        assert_eq!(
            synced(&[HEADER, FRAME, begins, &other, ends]).unwrap(),
            4152
        );
        assert_eq!(synced(&[HEADER, FRAME, begins]).unwrap(), 0);
    }

    #[test]
    fn a_log_that_begins_anew_has_nothing_synced() {
        assert_eq!(synced(&[HEADER, FRAME, SYNC, HEADER, FRAME]).unwrap(), 0);
        let file = r#"8 pwrite64(5</d/a.db>, ""..., 4096, 0) = 4096"#;
        let synced_file = "8 fdatasync(5</d/a.db>) = 0";
        let begin = [HEADER, FRAME, SYNC, file];
        assert!(synced(&[&begin[..], &[HEADER]].concat()).is_err());
        assert!(synced(&[&begin[..], &[synced_file, HEADER]].concat()).is_ok());
    }
}
