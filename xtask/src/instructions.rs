//! What the audit layer adds to a request, in instructions: a figure that does not depend on the machine's mood.
//!
//! `bench/micro` answers requests with the layer and with one that does nothing, callgrind counts both, and the difference must
//! stay below the ceiling that is kept beside the program.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::command::Run;

const CEILING: &str = "bench/micro/ceiling.txt";

/// Requests of the shorter run. The longer one has twice as many, so that what the start takes cancels out.
const REQUESTS: u64 = 2_000;

/// What a new ceiling leaves between itself and the figure, in percent: compilers, C libraries and the layouts of their heaps differ that much.
const MARGIN: u64 = 8;

pub(crate) fn run(root: &Path) -> Result<()> {
    let added = count(root)?;
    let ceiling = ceiling(root)?;
    println!(
        "{added} instructions for a request through the audit layer; the ceiling is {ceiling}"
    );
    judge(added, ceiling)
}

/// Makes the present figure the ceiling.
pub(crate) fn update(root: &Path) -> Result<()> {
    let added = count(root)?;
    let ceiling = added + added * MARGIN / 100;
    fs::write(root.join(CEILING), format!("{ceiling}\n"))?;
    println!(
        "{added} instructions for a request through the audit layer; the ceiling is now {ceiling}"
    );
    Ok(())
}

fn judge(added: u64, ceiling: u64) -> Result<()> {
    if added > ceiling {
        bail!(
            "a request through the audit layer takes {added} instructions, and {CEILING} allows {ceiling}: \
             look for what was added to the request path; if it is worth its price, \
             `cargo xtask instructions --update` renews the ceiling"
        );
    }
    Ok(())
}

fn ceiling(root: &Path) -> Result<u64> {
    let text = fs::read_to_string(root.join(CEILING));
    let text = text.with_context(|| format!("`{CEILING}` cannot be read"))?;
    let number = text.trim().parse();
    number.with_context(|| format!("`{CEILING}` holds no number"))
}

/// Instructions for a request, beyond what it takes with a layer that does nothing.
fn count(root: &Path) -> Result<u64> {
    // A profile of its own: optimised like a release, except for what the request path does not touch.
    Run::cargo(root)
        .words("build --manifest-path bench/Cargo.toml --package micro --bin request")
        .words("--profile count --target-dir target/instructions")
        .check()?;
    let for_one = |around| -> Result<u64> {
        let (short, long) = (
            total(root, around, REQUESTS)?,
            total(root, around, 2 * REQUESTS)?,
        );
        Ok(long.saturating_sub(short) / REQUESTS)
    };
    Ok(for_one("audit")?.saturating_sub(for_one("noop")?))
}

/// Instructions of a whole run.
fn total(root: &Path, around: &str, requests: u64) -> Result<u64> {
    let directory = root.join("target/instructions");
    let out = directory.join("callgrind.out");
    Run::new("valgrind", root)
        .words("--tool=callgrind --quiet")
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(directory.join("count/request"))
        .arg(around)
        .arg(requests.to_string())
        .check_quietly()?;
    let profile = fs::read_to_string(&out).context("callgrind wrote nothing")?;
    summary(&profile).context("callgrind's profile has no summary")
}

/// The sum that a profile ends with.
fn summary(profile: &str) -> Option<u64> {
    let mut lines = profile.lines().rev();
    let totals = lines.find_map(|line| {
        line.strip_prefix("summary: ")
            .or_else(|| line.strip_prefix("totals: "))
    });
    totals?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{judge, summary};

    #[test]
    fn one_instruction_too_many_fails_and_says_how_to_renew_the_ceiling() {
        judge(100, 100).unwrap();
        let problem = judge(101, 100).unwrap_err().to_string();
        for part in ["101", "100", "bench/micro/ceiling.txt", "--update"] {
            assert!(problem.contains(part), "{problem}");
        }
    }

    #[test]
    fn the_sum_of_a_profile_is_found_at_its_end() {
        let profile = "# callgrind format\nevents: Ir\nfn=(1) a\n1 20\n\ntotals: 12345\n";
        assert_eq!(summary(profile), Some(12_345));
        assert_eq!(summary("events: Ir\n"), None);
    }
}
