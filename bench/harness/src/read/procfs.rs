//! Texts under /proc.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::wrk::count_as_f64;

/// The kernel counts in hundredths of a second there, on every machine that Linux runs on.
pub(crate) const TICK_SECONDS: f64 = 0.01;

/// A field of /proc/PID/status that is given in kB.
pub(crate) fn kilobytes(status: &str, field: &str) -> Result<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
        .with_context(|| format!("no `{field}` in the process's status"))?;
    let number = line.trim().trim_end_matches("kB").trim();
    number
        .parse()
        .with_context(|| format!("`{field}:{line}` is no size"))
}

/// One line of /proc/PID/stat.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Stat {
    pub(crate) pid: u32,
    pub(crate) parent: u32,
    /// The process's own, and that of the children it has waited for: a short life is not missed.
    pub(crate) ticks: u64,
}

pub(crate) fn stat(line: &str) -> Result<Stat> {
    let broken = || format!("`{}` is no line of /proc/PID/stat", line.trim());
    // The name may hold anything, also spaces and brackets.
    let (pid, _) = line.split_once(' ').with_context(broken)?;
    let (_, rest) = line.rsplit_once(')').with_context(broken)?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |index: usize| -> Result<u64> {
        let field = fields.get(index).with_context(broken)?;
        // The waited-for ones are signed; they are never negative.
        field.parse().with_context(broken)
    };
    Ok(Stat {
        pid: pid.parse().with_context(broken)?,
        parent: u32::try_from(number(1)?).with_context(broken)?,
        ticks: number(11)? + number(12)? + number(13)? + number(14)?,
    })
}

/// The ticks of all processes but `own`, what descends from it, and the kernel's own threads.
pub(crate) fn ticks_of_others(all: &[Stat], own: u32) -> u64 {
    const KERNEL_THREADS: u32 = 2;
    let parents: BTreeMap<u32, u32> = all.iter().map(|stat| (stat.pid, stat.parent)).collect();
    let is_ours = |pid: u32| {
        // A tree has no circle; a listing that changed while it was read might.
        let chain = std::iter::successors(Some(pid), |pid| parents.get(pid).copied());
        chain
            .take(all.len() + 1)
            .any(|pid| pid == own || pid == KERNEL_THREADS)
    };
    all.iter()
        .filter(|stat| !is_ours(stat.pid))
        .map(|stat| stat.ticks)
        .sum()
}

/// Ticks that the hypervisor gave to others, of all cores, from /proc/stat.
pub(crate) fn steal(stat: &str) -> Result<u64> {
    let total = stat.lines().find_map(|line| line.strip_prefix("cpu "));
    let steal = total.and_then(|total| total.split_whitespace().nth(7));
    steal
        .context("/proc/stat has no field for stolen time")?
        .parse()
        .context("the stolen time in /proc/stat is no number")
}

/// What else the machine did while something was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Disturbance {
    /// CPU of other processes, as a share of one core.
    pub(crate) others: f64,
    /// Time that the hypervisor took, as a share of one core.
    pub(crate) steal: f64,
}

impl Disturbance {
    const OTHERS: f64 = 0.03;
    const STEAL: f64 = 0.01;

    pub(crate) fn between(before: &Ticks, after: &Ticks, seconds: f64) -> Self {
        let share = |before: u64, after: u64| {
            // Others' ticks vanish with a process that nobody waits for.
            let ticks = u32::try_from(after.saturating_sub(before)).unwrap_or(u32::MAX);
            f64::from(ticks) * TICK_SECONDS / seconds.max(TICK_SECONDS)
        };
        Self {
            others: share(before.others, after.others),
            steal: share(before.steal, after.steal),
        }
    }

    /// Of several measurements of the same length.
    pub(crate) fn mean(all: &[Self]) -> Self {
        let n = count_as_f64(all.len().max(1) as u64);
        Self {
            others: all.iter().map(|one| one.others).sum::<f64>() / n,
            steal: all.iter().map(|one| one.steal).sum::<f64>() / n,
        }
    }

    pub(crate) fn is_too_much(&self) -> bool {
        self.others > Self::OTHERS || self.steal > Self::STEAL
    }
}

/// One look at the machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ticks {
    pub(crate) others: u64,
    pub(crate) steal: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_their_absence_is_named() {
        let status = "Name:\tx\nVmHWM:\t    8412 kB\nVmRSS:\t    8000 kB\n";
        assert_eq!(kilobytes(status, "VmHWM").unwrap(), 8412);
        let problem = kilobytes(status, "VmPeak").unwrap_err().to_string();
        assert!(problem.contains("VmPeak"), "{problem}");
        assert!(kilobytes("VmHWM: much kB", "VmHWM").is_err());
    }

    fn line(pid: u32, name: &str, parent: u32, own: u64, waited_for: u64) -> String {
        format!(
            "{pid} ({name}) S {parent} 1 1 0 -1 4194560 0 0 0 0 {own} 1 {waited_for} 1 20 0 1 0 5 0 0\n"
        )
    }

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let found = stat(&line(12, "a) R 9 (b", 7, 30, 4)).unwrap();
        let expected = Stat {
            pid: 12,
            parent: 7,
            ticks: 36,
        };
        assert_eq!(found, expected);
        assert!(stat("12 (x) S").is_err());
        assert!(stat("").is_err());
    }

    #[test]
    fn our_own_tree_and_the_kernel_are_no_disturbance() {
        let at = |pid, parent, ticks| Stat { pid, parent, ticks };
        let all = [
            at(1, 0, 5),
            at(2, 0, 100),
            at(3, 2, 100),
            at(50, 1, 7),
            at(60, 50, 1000),
            at(61, 60, 1000),
            at(70, 50, 9),
        ];
        assert_eq!(ticks_of_others(&all, 60), 5 + 7 + 9);
    }

    #[test]
    fn the_limits_are_three_and_one_per_cent_of_a_core() {
        let before = Ticks {
            others: 100,
            steal: 10,
        };
        let after = |others, steal| Ticks { others, steal };
        let judge = |after| Disturbance::between(&before, &after, 5.0).is_too_much();
        assert!(!judge(after(114, 10)));
        assert!(judge(after(116, 10)));
        assert!(judge(after(100, 16)));
        assert!(!judge(after(90, 15)));
    }

    #[test]
    fn several_looks_count_as_their_mean() {
        let one = |others, steal| Disturbance { others, steal };
        let all = [one(0.5, 0.0), one(0.0, 0.25)];
        assert_eq!(Disturbance::mean(&all), one(0.25, 0.125));
        assert_eq!(Disturbance::mean(&[]), one(0.0, 0.0));
    }

    #[test]
    fn stolen_time_is_the_eighth_field() {
        let text = "cpu  1 2 3 4 5 6 7 88 9 10\ncpu0 1 2 3 4 5 6 7 44 9 10\n";
        assert_eq!(steal(text).unwrap(), 88);
        assert!(steal("cpu  1 2 3\n").is_err());
        assert!(steal("").is_err());
    }
}
