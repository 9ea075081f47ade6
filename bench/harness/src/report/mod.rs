//! The tables of bench/RESULTS.md, which a partial run prints. Pure.

mod tables;

use crate::goals::{self, Goal, Verdict};
use crate::read::programs::Part;
use crate::results::Results;
use crate::suite::{Layout, OpenCase, Situation};

pub(crate) fn markdown(results: &Results) -> String {
    let sections = [
        head(results),
        machine(results),
        goal_table(results),
        METHOD.to_owned(),
        tables::closed(results),
        tables::open(results),
        tables::parts(results),
        tables::criterion(results),
        tables::disturbed(results),
        limits(results),
    ];
    let written: Vec<String> = sections
        .into_iter()
        .filter(|text| !text.is_empty())
        .collect();
    written.join("\n")
}

/// Few lines for the end of a long run.
pub(crate) fn summary(results: &Results) -> String {
    let goals = goals::all(results);
    let count = |verdict| {
        goals
            .iter()
            .filter(|goal| goal.verdict() == verdict)
            .count()
    };
    let mut text = format!(
        "\n{} goals met, {} floors met, {} missed, {} not measured ({:.0} minutes)\n",
        count(Verdict::Goal),
        count(Verdict::Floor),
        count(Verdict::Missed),
        count(Verdict::NotMeasured),
        results.took_seconds / 60.0
    );
    for goal in goals
        .iter()
        .filter(|goal| goal.verdict() == Verdict::Missed)
    {
        text += &format!("missed: {}: {}\n", goal.what, goal.measured_text());
    }
    text
}

/// What an open-loop measurement is called in tables.
pub(crate) fn name_of(case: &OpenCase) -> String {
    let mut name = format!("{}, {} %", case.variant.label(), case.percent);
    if case.layout == Layout::Apart {
        name += ", audit threads apart";
    }
    name += match case.situation {
        Situation::Healthy => "",
        Situation::Hangs => ", PostHog hangs",
        Situation::Refuses => ", PostHog refuses",
        Situation::Backlog => ", a backlog drains",
    };
    name
}

/// A Markdown table; the first column is text, and so are some of the others, which are figures otherwise.
fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    const TEXTS: &[&str] = &["unit", "note", "verdict"];
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let heads: Vec<String> = heads.iter().map(|&head| head.to_owned()).collect();
    let rule = |(column, head): (usize, &String)| {
        let is_text = column == 0 || TEXTS.contains(&head.as_str());
        if is_text { "---" } else { "--:" }.to_owned()
    };
    let rule: Vec<String> = heads.iter().enumerate().map(rule).collect();
    let rows: String = rows.iter().map(|row| line(row)).collect();
    format!("{}{}{rows}", line(&heads), line(&rule))
}

fn head(results: &Results) -> String {
    let machine = &results.machine;
    format!(
        "# What audithog costs\n\n\
         Written by `{}` on {}: commit {}, rounds: {}, {:.0} minutes. The same command makes every figure again, and nothing \
         else is needed; `cargo xtask bench --report` writes this page from [all raw results](results.json). Do not edit it.\n",
        results.command,
        machine.date,
        machine.commit,
        results.rounds,
        results.took_seconds / 60.0
    )
}

fn machine(results: &Results) -> String {
    let machine = &results.machine;
    let mut versions: Vec<String> = Vec::new();
    let mut before = "";
    for (name, version) in &machine.versions {
        match versions.last_mut() {
            // Two versions of a crate are linked.
            Some(last) if before == name => *last += &format!(" and {version}"),
            // Tools say their name themselves.
            _ if version.starts_with(name.as_str()) => versions.push(version.clone()),
            _ => versions.push(format!("{name} {version}")),
        }
        before = name;
    }
    format!(
        "## Machine\n\n\
         * CPU: {}, {} cores\n\
         * Memory: {}\n\
         * Disk: {}\n\
         * Kernel: {}\n\
         * Versions: {}\n",
        machine.cpu,
        machine.cores,
        machine.memory,
        machine.disk,
        machine.kernel,
        versions.join(", ")
    )
}

fn goal_table(results: &Results) -> String {
    let row = |goal: &Goal| {
        vec![
            goal.what.clone(),
            goal.floor_text(),
            goal.goal_text(),
            goal.measured_text(),
            goal.verdict().words().to_owned(),
        ]
    };
    let goals = goals::all(results);
    // The page names what it has no figure for; who ran a part knows what is missing.
    let shown = goals
        .iter()
        .filter(|goal| !results.partial || goal.verdict() != Verdict::NotMeasured);
    let rows: Vec<Vec<String>> = shown.map(row).collect();
    format!(
        "## Goals\n\n\
         A floor has to be met, a goal is what the project is after. Measured is the median of the rounds, and the \
         smallest and the largest. Where a line speaks of the worst or of every round, the worst one decides, else the median.\n\n{}",
        table(&["what", "floor", "goal", "measured", "verdict"], &rows)
    )
}

const METHOD: &str = "\
## How it is measured

* The service has one core, its audit threads included. The load and the receiver share the other.
* Every stack is the same axum (or NestJS) service: 50 routes that answer a small JSON, 10,000 users, 500 organisations,
  6 user agents, 4 % of requests get 404 and 1 % get 500. All are sent the same list of 20,000 requests.
  Each has seven headers: host, user-agent and accept, as every client's, a forwarded address, and three that say who asks. It matters
  that they are not six: at 6, 12 and 24 headers the map of the http crate has to grow for the `x-request-id` that audithog
  adds, which costs some 970 instructions.
* Stacks are visited in groups of at most ten. All of a group live at the same time and are asked in turns of a second,
  each time in another order: machines are shared, and may be twice as fast a minute later. Each group has bare, the JSON
  line and best-effort with delivery among its stacks. Ratios and differences are made within one visit to a group; then the
  median of the visits is taken. The open loop visits all its cases in each round.
* Authentication, which takes the caller from headers, is the service's own: every axum stack has it, bare included.
* Two processes of one program differ by up to a fifth for as long as they live. So a stack has three at a time (a quick run:
  two), which take its turns one after the other, and their mean is its figure in a visit. NestJS has one: it takes long
  to warm up.
* Closed loop: wrk, 64 connections, a warm-up, then six turns (a quick run: four). A turn begins when the service is at
  rest and ends when it has come to rest again. wrk is made to wait without sleeping (`bench/load/spin.c`), like the generator of the
  open loop: a client that sleeps is woken at the expense of whoever answers it, the dearer the more else its core
  has to do, and no service pays that for a client on another machine.
* CPU per request: user and system time of the service's process, all threads, in its turns and at its end, until it has
  drained everything and has exited, divided by the requests it answered in that time. The end is shared among all requests that
  the process answered, those of the warm-up too. The count is exact to 64 requests a turn. What a timer makes a stack do while
  others have their turns is charged to nobody: posthog-node may keep up to 99 events for 30 seconds.
* What a stack adds is its cost less that of the same framework without an audit: bare axum, or bare NestJS.
* How the peers are set. Request ids come from the uuid crate with `fast-rng`, without which each costs a call of the kernel.
  posthog-rs: a queue for 4,000,000 events in place of 10,000, so that it drops none, and its own 100 events a request (audithog
  sends what is pending, up to 1,500 rows). OTLP: a queue for 1,000,000 records. The JSON line and TraceLayer:
  tracing-appender, not lossy, to a file without a buffer, as its documentation has it, which is a write for each line;
  `json-line-buffered` has a buffer of 8 KiB that is flushed when no line waits. posthog-node: its own 100 events or 30 s.
  audithog: every default, and the load generator as a trusted proxy.
* Peak memory is the process's largest resident size, drain included. Idle is its resident size before the first request.
* Delivered: different rows at the receiver, or lines in the file, against requests answered (audithog: its own rows on
  both sides).
* The conservation check of audithog has to say `ok` after every measurement; otherwise the run stops without a report.
* Open loop: a generator that spins on its core sends at a fixed rate and counts from the moment a request was due. 100 % is
  the median rate of bare in the closed loop of this run. When an answer came is the kernel's
  word (`SO_TIMESTAMPNS`), for which the generator need not be there. \"Clean\" leaves out the requests that were due while the
  generator itself did not have its core, because the receiver shares it, and in the layout \"apart\" the audit threads too.
  What was due meanwhile it sends at once afterwards: no load of a fixed rate. So what it sends until the service has answered
  everything that was due is left out as well, and what was open when such a burst came. Where answers wait for the disk
  something is always open, so there are no clean figures. With \"apart\" the audit threads run when the generator does not: what they
  do meanwhile to a request on the other core, by a lock or a cache, is in the clean figures only of those that were sent just
  before. Clean figures can hide what happens to the service just then, so all are shown beside them. The
  goals are judged by the clean ones; a round with fewer than 1,000 of them has no clean figure.
* Where a service, or with \"apart\" the core of its audit threads, cannot keep up, an open loop measures nothing but a queue. A measurement is overloaded if the generator
  was more than a tenth of a second behind its schedule at its end, or met an error; it is named and is in no figure. A goal
  with an overloaded round is missed. Stacks whose answers wait for the disk are asked for less than half of what bare
  does: durable for 25 %, fail-closed for 10 %, and are compared with bare at that rate.
* A turn, or a measurement of the open loop, is disturbed if other processes used more than 3 % of a core or the hypervisor
  took more than 1 %. It is repeated up to twice, a fifth of all at most; what stays disturbed is kept. A stack is marked
  with `*` if all its turns of a visit together are disturbed, or one of its processes did not come to rest.
";

/// What a reader might think was measured.
fn limits(results: &Results) -> String {
    let mut text = String::from(
        "\
## What is not measured

* A service with more than one core, and a network: everything is on one machine.
* Audit threads with a core of their own. \"Apart\" puts them on the other of two cores, beside the generator, which spins,
  and the receiver: it shows what the service gains, and not what they do undisturbed.
* TLS to PostHog: the receiver speaks plain HTTP.
* PostHog itself: the receiver answers at once and stores nothing.
* Real handlers: they would make every share smaller, and no difference.
* What of the other stacks is durable: they lose what is in memory with the process.
",
    );
    let full = |part: &Part| part.name == "flat_cost_ratio_100m";
    if !results.parts.is_empty() && !results.parts.iter().any(full) {
        text += "* A ledger of more than ten million rows: `--full` measures one of a hundred million.\n";
    }
    for gap in &results.gaps {
        text += &format!("* {gap}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::goal_case;
    use crate::figures::tests::{closed, open, part};
    use crate::read::procfs::Disturbance;
    use crate::suite::Variant;

    fn some_results() -> Results {
        let bare = OpenCase {
            variant: Variant::new("bare", false),
            ..goal_case(Layout::Shared, Situation::Healthy)
        };
        let mut disturbed = closed("json-line", false, 1, 12.0, 59_000.0);
        disturbed.disturbance = Disturbance {
            others: 0.12,
            steal: 0.0,
        };
        Results {
            command: "cargo xtask bench".to_owned(),
            rounds: 2,
            closed: vec![
                closed("bare", false, 0, 7.0, 100_000.0),
                closed("json-line", false, 0, 11.0, 60_000.0),
                closed("audithog-best-effort", true, 0, 9.0, 70_000.0),
                closed("bare", false, 1, 7.0, 100_000.0),
                disturbed,
                closed("audithog-best-effort", true, 1, 9.5, 72_000.0),
            ],
            saturation: Some(100_000.0),
            open: vec![
                open(bare, 0, 20.0, 40.0),
                open(goal_case(Layout::Shared, Situation::Healthy), 0, 22.5, 60.0),
            ],
            parts: vec![
                part("ledger", "append_ratio", 0.93),
                part("request", "instructions", 4000.0),
            ],
            ..Results::default()
        }
    }

    #[test]
    fn every_line_of_a_table_has_as_many_cells_as_its_head() {
        let text = markdown(&some_results());
        let mut width = None;
        for line in text.lines() {
            if !line.starts_with('|') {
                width = None;
                continue;
            }
            let cells = line.matches('|').count();
            assert_eq!(*width.get_or_insert(cells), cells, "{line}");
        }
    }

    #[test]
    fn denominators_ratios_and_marks_are_there() {
        let text = markdown(&some_results());
        for expected in [
            "| bare |",
            "| audithog-best-effort + delivery | 71,000 [70,000 – 72,000] | 0.71",
            "| json-line * |",
            "| 0.50 |",
            "round 2, json-line: others 12.0 % of a core",
            "| append_ratio | 0.93",
            "50 % | 2.5 |",
        ] {
            assert!(
                text.contains(expected),
                "`{expected}` is missing in\n{text}"
            );
        }
    }

    #[test]
    fn an_overloaded_case_is_named_and_has_no_figures() {
        let mut results = some_results();
        results.open[1].latency.behind = results.open[1].rate;
        let text = markdown(&results);
        let name = "| audithog-best-effort + delivery, 50 %, **overloaded** in 1 of 1 rounds | – |";
        assert_eq!(text.matches(name).count(), 2, "{text}");
        let goal = "| overloaded in 1 of 1 rounds | **missed** |";
        assert_eq!(text.matches(goal).count(), 2, "{text}");
    }

    #[test]
    fn a_run_without_results_is_still_a_page() {
        let text = markdown(&Results::default());
        assert!(text.contains("not measured in this run"), "{text}");
        assert!(!text.contains("NaN"), "{text}");
    }

    #[test]
    fn a_part_of_a_run_does_not_list_what_it_left_out() {
        let partial = Results {
            partial: true,
            ..some_results()
        };
        let text = markdown(&partial);
        assert!(
            text.contains("ledger append") && !text.contains("not measured in this run"),
            "{text}"
        );
    }

    #[test]
    fn the_end_of_a_run_names_what_was_missed() {
        let mut results = some_results();
        results.parts[0].value = 0.5;
        let text = summary(&results);
        assert!(text.contains("missed: ledger append"), "{text}");
    }
}
