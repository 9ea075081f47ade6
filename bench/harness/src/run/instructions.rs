//! What a request costs in instructions: a figure that does not depend on the machine's mood.
//!
//! callgrind counts what the whole process does in user space, all threads and the drain included, while wrk asks for a
//! few seconds. What start and end take is counted in a run without a request and taken off. A service is some thirty times
//! slower there, so that the writer's groups and the sink's requests hold fewer rows than at saturation: what each of
//! them costs is overstated. What the kernel does is not counted.

use std::ffi::OsString;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::closed::run_wrk;
use super::receiver::{Mode, Receiver};
use super::service::Service;
use crate::read::programs::Part;
use crate::read::wrk::count_as_f64;
use crate::suite::{Suite, Variant};

/// Of load: some fifteen thousand requests.
const SECONDS: u32 = 10;
/// The stacks of the goals, without those whose runtime callgrind cannot follow.
const COUNTED: &[(&str, bool)] = &[
    ("bare", false),
    ("json-line", false),
    ("audithog-memory", true),
    ("audithog-best-effort", false),
    ("audithog-best-effort", true),
    ("posthog-rs-v0", true),
    ("posthog-rs-v1-gzip", true),
];

pub(crate) fn run(suite: &Suite) -> Result<Vec<Part>> {
    let mut counts = Vec::new();
    for &(stack, delivery) in COUNTED {
        let variant = Variant::new(stack, delivery);
        let count = per_request(suite, &variant)
            .with_context(|| format!("counting {}", variant.label()))?;
        println!("  {:<38} {count:>8.0} instructions", variant.label());
        counts.push((variant, count));
    }
    Ok(parts(&counts))
}

fn per_request(suite: &Suite, variant: &Variant) -> Result<f64> {
    let (rest, _) = count(suite, variant, 0)?;
    let (all, answered) = count(suite, variant, SECONDS)?;
    Ok(count_as_f64(all.saturating_sub(rest)) / count_as_f64(answered.max(1)))
}

/// Instructions of a whole life, and the requests that were answered in it.
fn count(suite: &Suite, variant: &Variant, seconds: u32) -> Result<(u64, u64)> {
    let directory = suite.fresh_directory("now")?;
    let receiver = match variant.delivery {
        true => Some(Receiver::start(suite, &directory, Mode::Accept)?),
        false => None,
    };
    let file = directory.join("callgrind.out");
    let mut option = OsString::from("--callgrind-out-file=");
    option.push(&file);
    let under = ["valgrind".into(), "--tool=callgrind".into(), option];
    let service = Service::start_under(&under, suite, variant, &directory, receiver.as_ref())?;
    if seconds > 0 {
        run_wrk(suite, service.address, seconds, &directory)?;
    }
    let ended = service.end()?;
    let count = total(&file)?;
    std::fs::remove_dir_all(&directory)?;
    Ok((count, ended.last.answered))
}

/// The `totals:` line of callgrind's output: the sum over all threads.
fn total(file: &Path) -> Result<u64> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("`{}` cannot be read", file.display()))?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals:"));
    let total = total.and_then(|total| total.trim().parse().ok());
    total.with_context(|| format!("`{}` has no totals", file.display()))
}

fn parts(counts: &[(Variant, f64)]) -> Vec<Part> {
    let of = |stack: &str| counts.iter().find(|(variant, _)| variant.stack == stack);
    let bare = of("bare").map_or(0.0, |(_, count)| *count);
    let line = of("json-line").map_or(0.0, |(_, count)| count - bare);
    let note = |added: f64| {
        let share = added / line;
        format!("{added:.0} more than bare; {share:.2} of what the JSON line adds")
    };
    let part = |(variant, count): &(Variant, f64)| Part {
        group: "instructions".to_owned(),
        name: variant.label(),
        value: *count,
        unit: "a request".to_owned(),
        min: None,
        max: None,
        note: (*count > bare && line > 0.0).then(|| note(count - bare)),
    };
    counts.iter().map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_read_or_missed() {
        let scratch = crate::tests::scratch();
        let file = scratch.path().join("callgrind.out");
        assert!(total(&file).is_err());
        std::fs::write(&file, "summary: 7\n\nfn=(1)\n1 7\n\ntotals: 1234\n").unwrap();
        assert_eq!(total(&file).unwrap(), 1234);
        std::fs::write(&file, "totals: many\n").unwrap();
        let problem = total(&file).unwrap_err().to_string();
        assert!(problem.contains("has no totals"), "{problem}");
    }

    #[test]
    fn what_a_stack_adds_is_told_beside_the_json_line() {
        let counts = [
            (Variant::new("bare", false), 20_000.0),
            (Variant::new("json-line", false), 60_000.0),
            (Variant::new("audithog-memory", true), 40_000.0),
        ];
        let parts = parts(&counts);
        assert_eq!(parts[0].note, None);
        assert_eq!(
            parts[2].note.as_deref(),
            Some("20000 more than bare; 0.50 of what the JSON line adds")
        );
        assert_eq!(
            (parts[2].value, parts[2].unit.as_str()),
            (40_000.0, "a request")
        );
    }
}
