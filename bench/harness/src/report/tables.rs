//! One table for each kind of measurement.

use super::{name_of, table};
use crate::goals::thousands;
use crate::read::programs::{Latency, Part};
use crate::read::wrk::count_as_f64;
use crate::results::{Closed, Results, Visit};
use crate::rounds::megabytes;
use crate::stats::{Spread, spread};
use crate::suite::{OpenCase, Variant};

/// The figure, or a dash.
fn cell(spread: Option<Spread>, show: impl Fn(f64) -> String) -> String {
    spread.map_or_else(|| "–".to_owned(), |spread| spread.shown(show))
}

fn digits(n: usize) -> impl Fn(f64) -> String {
    move |value| format!("{value:.n$}")
}

pub(super) fn closed(results: &Results) -> String {
    let variants = results.variants();
    if variants.is_empty() {
        return String::new();
    }
    let cost: Vec<Vec<String>> = variants.iter().map(|v| cost_row(results, v)).collect();
    let rows: Vec<Vec<String>> = variants.iter().map(|v| memory_row(results, v)).collect();
    let cost_heads = [
        "stack",
        "requests/s",
        "rate kept",
        "CPU µs per request",
        "added µs",
        "added, against json-line",
    ];
    let heads = [
        "stack",
        "idle MB",
        "over bare",
        "peak MB",
        "over bare",
        "delivered, worst round",
        "round by round",
        "rows lost, worst process",
    ];
    format!(
        "## Closed loop: saturation of one core\n\n{}\n### Memory and delivery\n\n{}",
        table(&cost_heads, &cost),
        table(&heads, &rows)
    )
}

fn marked_label(results: &Results, variant: &Variant) -> String {
    let visits = results.visits();
    let mut of_variant = visits.iter().filter(|visit| visit.variant == *variant);
    let mark = if of_variant.any(Visit::is_marked) {
        " *"
    } else {
        ""
    };
    format!("{}{mark}", variant.label())
}

fn cost_row(results: &Results, variant: &Variant) -> Vec<String> {
    let rate = spread(&results.rounds_of(variant, |closed| closed.rate));
    let cpu = spread(&results.rounds_of(variant, Closed::cpu_us));
    let is_base = *variant == variant.base();
    let unless_base = |spread: Option<Spread>| spread.filter(|_| !is_base);
    let json = Variant::new("json-line", false);
    vec![
        marked_label(results, variant),
        cell(rate, thousands),
        cell(unless_base(results.rate_kept(variant)), digits(2)),
        cell(cpu, digits(2)),
        cell(unless_base(spread(&results.cpu_added(variant))), digits(2)),
        cell(
            unless_base(results.cpu_added_ratio(variant, &json)),
            digits(2),
        ),
    ]
}

fn memory_row(results: &Results, variant: &Variant) -> Vec<String> {
    let is_base = *variant == variant.base();
    let size = |value: fn(&Closed) -> u64| {
        let own = spread(&results.rounds_of(variant, |closed| megabytes(value(closed))));
        let added = results.memory_added(variant, value).filter(|_| !is_base);
        [cell(own, digits(1)), cell(added, |mb| format!("{mb:+.1}"))]
    };
    let delivered = results.delivered(variant);
    // Never rounded up to a hundred.
    let percent = |share: f64| format!("{:.2} %", (share * 1e4).floor() / 100.0);
    let worst = spread(&delivered).map_or_else(|| "–".to_owned(), |spread| percent(spread.min));
    let each: Vec<String> = delivered.iter().map(|(_, share)| percent(*share)).collect();
    let [idle, idle_added] = size(|closed| closed.idle_kb);
    let [peak, peak_added] = size(|closed| closed.peak_kb);
    let each = if each.is_empty() {
        "–".to_owned()
    } else {
        each.join(", ")
    };
    let lost = match results.lost(variant) {
        lost if lost > 0.0 => format!("{:.2} %", (lost * 1e4).ceil() / 100.0),
        _ => "–".to_owned(),
    };
    vec![
        marked_label(results, variant),
        idle,
        idle_added,
        peak,
        peak_added,
        worst,
        each,
        lost,
    ]
}

pub(super) fn open(results: &Results) -> String {
    let cases = results.cases();
    if cases.is_empty() {
        return String::new();
    }
    let saturation = results
        .saturation
        .map_or_else(|| "unknown".to_owned(), thousands);
    let added: Vec<Vec<String>> = cases.iter().map(|case| added_row(results, case)).collect();
    let rows: Vec<Vec<String>> = cases
        .iter()
        .map(|case| latency_row(results, case))
        .collect();
    let added_heads = [
        "case",
        "p50 clean",
        "p99 clean",
        "p50 all",
        "p99 all",
        "late samples",
        "drained meanwhile",
    ];
    let heads = [
        "case",
        "p50",
        "p90",
        "p99",
        "p99.9",
        "p50 clean",
        "p99 clean",
    ];
    format!(
        "## Open loop: latency at fixed rates\n\n\
         100 % are {saturation} requests/s. All figures are microseconds.\n\n\
         ### Added, against bare at the same rate in the same round\n\n{}\n### As measured\n\n{}",
        table(&added_heads, &added),
        table(&heads, &rows)
    )
}

fn case_label(results: &Results, case: &OpenCase) -> String {
    let mut of_case = results.open.iter().filter(|open| open.case == *case);
    let mark = if of_case.any(|open| open.disturbance.is_too_much()) {
        " *"
    } else {
        ""
    };
    let overloaded = match results.overloads(case) {
        (0, _) => String::new(),
        (n, rounds) => format!(", **overloaded** in {n} of {rounds} rounds"),
    };
    format!("{}{mark}{overloaded}", name_of(case))
}

fn added_row(results: &Results, case: &OpenCase) -> Vec<String> {
    let is_bare = case.variant.stack == "bare";
    let added = |value: fn(&Latency) -> f64| {
        cell(
            results.latency_added(case, value).filter(|_| !is_bare),
            digits(1),
        )
    };
    let late = results.latencies_of(case, |latency| {
        100.0 * count_as_f64(latency.late) / count_as_f64(latency.answered.max(1))
    });
    let drained: Vec<String> = results
        .open
        .iter()
        .filter(|open| open.case == *case)
        .filter_map(|open| open.drained)
        .map(|(rows, all)| {
            format!(
                "{:.0} %",
                100.0 * count_as_f64(rows) / count_as_f64(all.max(1))
            )
        })
        .collect();
    vec![
        case_label(results, case),
        added(|latency| latency.clean.p50()),
        added(|latency| latency.clean.p99()),
        added(|latency| latency.p50_us),
        added(|latency| latency.p99_us),
        cell(spread(&late), |share| format!("{share:.1} %")),
        if drained.is_empty() {
            "–".to_owned()
        } else {
            drained.join(", ")
        },
    ]
}

fn latency_row(results: &Results, case: &OpenCase) -> Vec<String> {
    let figure =
        |value: fn(&Latency) -> f64| cell(spread(&results.latencies_of(case, value)), digits(1));
    vec![
        case_label(results, case),
        figure(|latency| latency.p50_us),
        figure(|latency| latency.p90_us),
        figure(|latency| latency.p99_us),
        figure(|latency| latency.p999_us),
        figure(|latency| latency.clean.p50()),
        figure(|latency| latency.clean.p99()),
    ]
}

pub(super) fn parts(results: &Results) -> String {
    if results.parts.is_empty() {
        return String::new();
    }
    let mut groups: Vec<&str> = Vec::new();
    for part in &results.parts {
        if !groups.contains(&part.group.as_str()) {
            groups.push(&part.group);
        }
    }
    let mut text = "## Parts, without HTTP\n".to_owned();
    for group in groups {
        let rows: Vec<Vec<String>> = results
            .parts
            .iter()
            .filter(|part| part.group == group)
            .map(part_row)
            .collect();
        let heads = ["figure", "value", "unit", "note"];
        text += &format!("\n### {group}\n\n{}", table(&heads, &rows));
    }
    text
}

fn part_row(part: &Part) -> Vec<String> {
    let value = match (part.min, part.max) {
        (Some(min), Some(max)) if min < max => {
            format!("{} [{} – {}]", plain(part.value), plain(min), plain(max))
        }
        _ => plain(part.value),
    };
    let unit = match part.unit.as_str() {
        "us" => "µs",
        other => other,
    };
    // A bar would end the cell.
    let text = |text: &str| text.replace('|', "/").replace('\n', " ");
    vec![
        text(&part.name),
        value,
        text(unit),
        text(part.note.as_deref().unwrap_or("")),
    ]
}

/// Three digits that say something.
fn plain(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => thousands(value),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

pub(super) fn criterion(results: &Results) -> String {
    if results.criterion.is_empty() {
        return String::new();
    }
    let rows: Vec<Vec<String>> = results
        .criterion
        .iter()
        .map(|found| vec![found.name.clone(), plain(found.nanoseconds)])
        .collect();
    format!(
        "## Micro-benchmarks\n\nMedians of the benches in bench/micro, a second each.\n\n{}",
        table(&["benchmark", "ns"], &rows)
    )
}

pub(super) fn disturbed(results: &Results) -> String {
    let share = |disturbance: &crate::read::procfs::Disturbance| {
        format!(
            "others {:.1} % of a core, steal {:.1} %",
            disturbance.others * 100.0,
            disturbance.steal * 100.0
        )
    };
    let mut lines = Vec::new();
    let visits = results.visits();
    for visit in visits.iter().filter(|visit| visit.is_marked()) {
        let rest = if visit.rested {
            ""
        } else {
            ", did not come to rest"
        };
        lines.push(format!(
            "* round {}, {}: {}{rest}\n",
            visit.round + 1,
            visit.variant.label(),
            share(&visit.disturbance)
        ));
    }
    for open in results
        .open
        .iter()
        .filter(|open| open.disturbance.is_too_much())
    {
        lines.push(format!(
            "* round {}, {}: {}\n",
            open.round + 1,
            name_of(&open.case),
            share(&open.disturbance)
        ));
    }
    let all = visits.len() + results.open.len();
    if all == 0 {
        return String::new();
    }
    let repeats: u32 = results
        .closed
        .iter()
        .map(|closed| closed.repeats)
        .sum::<u32>()
        + results.open.iter().map(|open| open.repeats).sum::<u32>();
    format!(
        "## Disturbance\n\n{} of {all} measurements are marked; {repeats} turns or measurements were repeated.\n{}{}",
        lines.len(),
        if lines.is_empty() { "" } else { "\n" },
        lines.concat()
    )
}
