//! What a process takes, from `/proc`.

use std::fs;

use anyhow::{Context as _, Result};

/// At one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sample {
    /// Resident memory, in KiB.
    pub(crate) rss: u64,
    /// The most it ever was, in KiB.
    pub(crate) peak: u64,
    pub(crate) handles: u64,
    pub(crate) threads: u64,
}

impl Sample {
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))
            .with_context(|| format!("process {pid} is gone"))?;
        let handles = fs::read_dir(format!("/proc/{pid}/fd"))?.count();
        Ok(Self {
            rss: field(&status, "VmRSS:")?,
            peak: field(&status, "VmHWM:")?,
            threads: field(&status, "Threads:")?,
            handles: u64::try_from(handles)?,
        })
    }
}

/// The first number after `name`.
fn field(status: &str, name: &str) -> Result<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    Ok(number.with_context(|| format!("no {name}"))?.parse()?)
}

/// KiB as MiB, for people.
pub(crate) fn mib(kib: u64) -> f64 {
    kib as f64 / 1_024.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_living_process_can_be_sampled() {
        let sample = Sample::of(std::process::id()).unwrap();
        assert!(sample.rss > 0 && sample.peak >= sample.rss, "{sample:?}");
        assert!(sample.handles > 2 && sample.threads > 0, "{sample:?}");
    }

    #[test]
    fn fields_are_found_by_name() {
        let status = "VmHWM:\t    4096 kB\nVmRSS:\t    2048 kB\nThreads:\t3\n";
        assert_eq!(field(status, "VmRSS:").unwrap(), 2048);
        assert_eq!(field(status, "Threads:").unwrap(), 3);
        assert!(field(status, "VmSwap:").is_err());
    }
}
