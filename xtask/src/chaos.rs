//! Faults against a running service: builds and runs `checks/chaos`.

use std::path::Path;

use anyhow::Result;

use crate::command::Run;

/// What `cargo xtask chaos …` takes, for the help text.
pub(crate) const HELP: &str =
    "    cargo xtask chaos              the short run that is part of the tests
    cargo xtask chaos --rounds 300 [--seed N] [--guarantee G] [--faults A,B] [--keep]
                                   a long one; the seed of a round that fails is printed
    cargo xtask chaos --memory [--rows 10000000]
                                   memory while very many rows wait for PostHog
    cargo xtask chaos --soak [--minutes 30]
                                   memory, file handles and threads under load and faults
                                   (--dev builds these three without optimisation)
";

/// Runs the suite with these arguments.
pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<()> {
    let (command, optimised) = plan(arguments);
    let mut run = Run::cargo(root).words("run --quiet --package chaos");
    if optimised {
        run = run.arg("--release");
    }
    run = run.arg("--");
    for word in command {
        run = run.arg(word);
    }
    run.check()
}

/// The words for the suite's program, and whether it is worth optimising: a short run ends before that build does.
fn plan(arguments: &[String]) -> (Vec<&str>, bool) {
    let given = |flag: &str| arguments.iter().any(|word| word == flag);
    let role = match arguments {
        [] => "short",
        _ if given("--memory") => "memory",
        _ if given("--soak") => "soak",
        _ => "rounds",
    };
    let ours = ["--memory", "--soak", "--dev"];
    let rest = arguments.iter().map(String::as_str);
    let rest = rest.filter(|word| !ours.contains(word));
    let command = std::iter::once(role).chain(rest).collect();
    (command, role != "short" && !given("--dev"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(line: &str) -> (String, bool) {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let (command, optimised) = plan(&words);
        (command.join(" "), optimised)
    }

    #[test]
    fn the_flags_choose_what_is_run_and_how_it_is_built() {
        for (line, command, optimised) in [
            ("", "short", false),
            ("--rounds 300", "rounds --rounds 300", true),
            ("--seed 7 --dev", "rounds --seed 7", false),
            ("--memory --rows 5", "memory --rows 5", true),
            ("--minutes 5 --soak", "soak --minutes 5", true),
        ] {
            assert_eq!(planned(line), (command.to_owned(), optimised), "{line}");
        }
    }
}
