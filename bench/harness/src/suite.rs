//! What is measured: stacks, situations, durations, and where the programs are.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::arguments::Arguments;

/// A stack as it is run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Variant {
    /// What the service program takes.
    pub(crate) stack: String,
    /// With a receiver.
    pub(crate) delivery: bool,
}

impl Variant {
    pub(crate) fn new(stack: &str, delivery: bool) -> Self {
        Self {
            stack: stack.to_owned(),
            delivery,
        }
    }

    /// For tables and messages.
    pub(crate) fn label(&self) -> String {
        let stack = &self.stack;
        match (self.is_ours(), self.delivery) {
            (true, true) => format!("{stack} + delivery"),
            (true, false) => format!("{stack}, no delivery"),
            (false, _) => stack.clone(),
        }
    }

    pub(crate) fn is_ours(&self) -> bool {
        self.stack.starts_with("audithog-")
    }

    /// Whether the goals compare many others with it.
    pub(crate) fn is_compared_with(&self) -> bool {
        let ours = *self == Self::new(OURS, true);
        ours || self.stack == "bare" || self.stack == "json-line"
    }

    pub(crate) fn is_node(&self) -> bool {
        self.stack.starts_with("nest-")
    }

    /// The program that has this stack. Peers whose features exclude each other have one each.
    pub(crate) fn program(&self) -> &'static str {
        match self.stack.as_str() {
            "posthog-rs-v0" | "posthog-rs-v0-gzip" => "bench-posthog-v0",
            "posthog-rs-v1" | "posthog-rs-v1-gzip" => "bench-posthog-v1",
            "otlp" => "bench-otlp",
            _ => "stacks",
        }
    }

    /// What the same framework costs without an audit.
    pub(crate) fn base(&self) -> Self {
        let bare = match self.stack.as_str() {
            "nest-express" | "nest-express-bare" => "nest-express-bare",
            "nest-fastify" | "nest-fastify-bare" => "nest-fastify-bare",
            _ => "bare",
        };
        Self::new(bare, false)
    }
}

/// Every stack, and whether a quick run has it.
const STACKS: &[(&str, bool, bool)] = &[
    ("bare", false, true),
    ("noop", false, false),
    ("audithog-memory", false, false),
    ("audithog-memory", true, true),
    ("audithog-best-effort", false, true),
    ("audithog-best-effort", true, true),
    ("audithog-durable", false, false),
    ("audithog-durable", true, true),
    ("audithog-fail-closed", false, false),
    ("audithog-fail-closed", true, false),
    ("trace-file", false, false),
    ("json-line", false, true),
    ("json-line-buffered", false, false),
    ("otlp", true, false),
    ("posthog-rs-v0", true, true),
    ("posthog-rs-v0-gzip", true, false),
    ("posthog-rs-v1", true, false),
    ("posthog-rs-v1-gzip", true, false),
    ("nest-express-bare", false, false),
    ("nest-express", true, false),
    ("nest-fastify-bare", false, false),
    ("nest-fastify", true, false),
];

/// Where audithog's threads are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Layout {
    /// On the service's core.
    Shared,
    /// On the core of the generator and the receiver.
    Apart,
}

/// What goes on at the other end of delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Situation {
    Healthy,
    Hangs,
    Refuses,
    /// Healthy, and many old rows to send.
    Backlog,
}

/// One open-loop measurement.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct OpenCase {
    pub(crate) variant: Variant,
    pub(crate) layout: Layout,
    pub(crate) situation: Situation,
    /// Of bare's saturation.
    pub(crate) percent: u32,
}

/// Which parts of the suite run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Group {
    Closed,
    Open,
    Parts,
    Instructions,
    Build,
}

impl Group {
    pub(crate) const ALL: &[(&str, Self)] = &[
        ("closed", Self::Closed),
        ("open", Self::Open),
        ("parts", Self::Parts),
        ("instructions", Self::Instructions),
        ("build", Self::Build),
    ];
}

/// Seconds of each step, and what else a quick run does less of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    pub(crate) rounds: usize,
    pub(crate) warm_up: u32,
    pub(crate) warm_up_node: u32,
    /// Turns of a second each in the closed loop.
    pub(crate) turns: usize,
    /// Processes of a stack at a time, which have as many turns each; see [`Suite::processes`].
    processes: usize,
    pub(crate) open: u32,
    pub(crate) backlog_rows: u64,
}

impl Extent {
    const FULL: Self = Self {
        rounds: 5,
        warm_up: 1,
        warm_up_node: 5,
        turns: 6,
        processes: 3,
        open: 5,
        backlog_rows: 1_000_000,
    };
    const QUICK: Self = Self {
        rounds: 2,
        warm_up: 1,
        warm_up_node: 3,
        turns: 4,
        processes: 2,
        open: 3,
        backlog_rows: 200_000,
    };
}

/// The whole plan of a run.
#[derive(Debug)]
pub(crate) struct Suite {
    pub(crate) arguments: Arguments,
    pub(crate) extent: Extent,
    /// The repository.
    pub(crate) root: PathBuf,
    /// Where cargo put the suite's programs.
    programs: PathBuf,
    /// The load of the closed loop.
    pub(crate) wrk: PathBuf,
    /// What is loaded into it, so that it does not sleep: `load/spin.c`.
    pub(crate) spin: Option<PathBuf>,
    /// For what a run leaves behind.
    pub(crate) scratch: PathBuf,
}

impl Suite {
    pub(crate) fn new(arguments: Arguments) -> Result<Self> {
        let programs = std::env::current_exe()?;
        let programs = programs
            .parent()
            .context("this program is in no directory")?
            .to_owned();
        let bench = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
        let root = bench.and_then(Path::parent);
        let root = root.context("the harness is not in bench/")?.to_owned();
        let mut extent = if arguments.quick {
            Extent::QUICK
        } else {
            Extent::FULL
        };
        extent.rounds = arguments.rounds.unwrap_or(extent.rounds);
        let scratch = root
            .join("bench/target/run")
            .join(std::process::id().to_string());
        Ok(Self {
            arguments,
            extent,
            root,
            programs,
            wrk: "wrk".into(),
            spin: Some(scratch.join("spin.so")),
            scratch,
        })
    }

    /// How many processes of a stack live at a time. Two of one program differ by up to a fifth for as long as they live.
    /// One of Node has to do, because it is slow to warm up.
    pub(crate) fn processes(&self, variant: &Variant) -> usize {
        if variant.is_node() {
            1
        } else {
            self.extent.processes
        }
    }

    /// With the programs and all else in one directory.
    #[cfg(test)]
    pub(crate) fn in_directory(directory: &Path) -> Self {
        let mut suite = Self::new(Arguments::default()).unwrap();
        suite.programs = directory.to_owned();
        suite.wrk = directory.join("wrk");
        suite.spin = None;
        suite.scratch = directory.join("scratch");
        suite
    }

    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// The list of requests that wrk and the generator send.
    pub(crate) fn requests(&self) -> PathBuf {
        self.scratch.join("requests.txt")
    }

    /// An empty directory for one measurement, or for one of several at the same time.
    pub(crate) fn fresh_directory(&self, name: &str) -> Result<PathBuf> {
        let directory = self.scratch.join(name);
        if directory.exists() {
            std::fs::remove_dir_all(&directory)?;
        }
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("`{}` cannot be made", directory.display()))?;
        Ok(directory)
    }

    /// Where set-up built the NestJS services.
    pub(crate) fn node_main(&self) -> PathBuf {
        self.root.join("bench/target/nest/main.js")
    }

    pub(crate) fn runs(&self, group: Group) -> bool {
        let only = &self.arguments.only;
        let long = matches!(group, Group::Instructions | Group::Build);
        let quick_enough = !(self.arguments.quick && long);
        if only.is_empty() {
            quick_enough
        } else {
            only.contains(&group)
        }
    }

    pub(crate) fn is_whole(&self) -> bool {
        let arguments = &self.arguments;
        !arguments.quick && arguments.only.is_empty() && arguments.stacks.is_empty()
    }

    fn wants(&self, stack: &str) -> bool {
        let stacks = &self.arguments.stacks;
        stacks.is_empty() || stacks.iter().any(|wanted| wanted == stack)
    }

    /// A stack that was asked for is compared with this one.
    fn wants_on_top_of(&self, base: &str) -> bool {
        let mut stacks = self.arguments.stacks.iter();
        stacks.any(|stack| Variant::new(stack, true).base().stack == base)
    }

    /// The stacks of the closed loop.
    pub(crate) fn variants(&self) -> Vec<Variant> {
        let named = !self.arguments.stacks.is_empty();
        STACKS
            .iter()
            .filter(|(stack, _, quick)| {
                // Everything is compared with bare.
                let kept = *quick || !self.arguments.quick || named;
                kept && (self.wants(stack) || *stack == "bare" || self.wants_on_top_of(stack))
            })
            .map(|(stack, delivery, _)| Variant::new(stack, *delivery))
            .collect()
    }

    pub(crate) fn open_cases(&self) -> Vec<OpenCase> {
        let all = if self.arguments.quick {
            quick_open_cases()
        } else {
            full_open_cases()
        };
        all.into_iter()
            .filter(|case| self.wants(&case.variant.stack) || case.variant.stack == "bare")
            .collect()
    }
}

pub(crate) fn is_stack(name: &str) -> bool {
    STACKS.iter().any(|(stack, ..)| *stack == name)
}

fn case(stack: &str, layout: Layout, situation: Situation, percent: u32) -> OpenCase {
    let delivery = STACKS
        .iter()
        .any(|(name, delivery, _)| *name == stack && *delivery);
    OpenCase {
        variant: Variant::new(stack, delivery),
        layout,
        situation,
        percent,
    }
}

const OURS: &str = "audithog-best-effort";
/// The rate of the goals.
pub(crate) const HALF: u32 = 50;
/// Stacks whose answers wait for the disk serve less than half of what bare does; above that nothing but the queue is
/// measured. Each is asked for what it can serve.
pub(crate) const WAITING: &[(&str, u32)] =
    &[("audithog-durable", 25), ("audithog-fail-closed", 10)];

fn full_open_cases() -> Vec<OpenCase> {
    use Layout::{Apart, Shared};
    use Situation::{Backlog, Hangs, Healthy, Refuses};
    let mut cases = Vec::new();
    for percent in [25, HALF, 75] {
        for (stack, layout) in [("bare", Shared), (OURS, Shared), (OURS, Apart)] {
            cases.push(case(stack, layout, Healthy, percent));
        }
    }
    for stack in ["noop", "audithog-memory", "json-line"] {
        cases.push(case(stack, Shared, Healthy, HALF));
    }
    for &(stack, percent) in WAITING {
        cases.push(case(stack, Shared, Healthy, percent));
    }
    // What the slowest is compared with; the others' is there already.
    cases.push(case("bare", Shared, Healthy, 10));
    for situation in [Hangs, Refuses, Backlog] {
        for layout in [Shared, Apart] {
            cases.push(case(OURS, layout, situation, HALF));
        }
    }
    cases
}

fn quick_open_cases() -> Vec<OpenCase> {
    use Layout::{Apart, Shared};
    use Situation::Healthy;
    vec![
        case("bare", Shared, Healthy, HALF),
        case(OURS, Shared, Healthy, HALF),
        case(OURS, Apart, Healthy, HALF),
        case("json-line", Shared, Healthy, HALF),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suite(line: &str) -> Suite {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Suite::new(Arguments::parse(&words).unwrap()).unwrap()
    }

    #[test]
    fn a_filter_keeps_what_everything_is_compared_with() {
        let labels: Vec<String> = suite("--stacks audithog-memory")
            .variants()
            .iter()
            .map(Variant::label)
            .collect();
        assert_eq!(
            labels,
            [
                "bare",
                "audithog-memory, no delivery",
                "audithog-memory + delivery"
            ]
        );
        let nest = suite("--stacks nest-fastify").variants();
        let nest: Vec<String> = nest.iter().map(Variant::label).collect();
        assert_eq!(nest, ["bare", "nest-fastify-bare", "nest-fastify"]);
        let open = suite("--stacks json-line").open_cases();
        assert!(open.iter().any(|case| case.variant.stack == "json-line"));
        assert!(
            open.iter()
                .any(|case| case.variant.stack == "bare" && case.percent == 50)
        );
    }

    #[test]
    fn a_quick_run_is_a_part_of_a_full_one_without_node() {
        let (quick, full) = (suite("--quick"), suite(""));
        assert!(
            quick
                .variants()
                .iter()
                .all(|v| full.variants().contains(v) && !v.is_node())
        );
        assert!(
            quick
                .open_cases()
                .iter()
                .all(|c| full.open_cases().contains(c))
        );
        assert!(!quick.runs(Group::Build) && full.runs(Group::Build));
        assert!(!quick.runs(Group::Instructions) && full.runs(Group::Instructions));
        assert!(full.is_whole() && !quick.is_whole() && !suite("--only open").is_whole());
    }

    #[test]
    fn every_case_has_a_bare_one_at_its_rate() {
        for suite in [suite(""), suite("--quick")] {
            let cases = suite.open_cases();
            for case in &cases {
                let has_base = cases
                    .iter()
                    .any(|base| base.variant.stack == "bare" && base.percent == case.percent);
                assert!(has_base, "{case:?}");
            }
        }
    }
}
