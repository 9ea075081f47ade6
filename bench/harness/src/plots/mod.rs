//! The pictures of the README: what is drawn, and from which figures. Pure.

mod svg;

use crate::report::name_of;
use crate::results::Results;
use crate::stats::{Spread, spread};
use crate::suite::{HALF, OpenCase, Variant, WAITING};
use svg::{Bar, Chart, Row, Tone};

/// The name of each file and what is in it. A picture without figures is left out.
pub(crate) fn all(results: &Results) -> Vec<(&'static str, String)> {
    [
        ("cpu.svg", cpu(results)),
        ("rate.svg", rate(results)),
        ("latency.svg", latency(results)),
    ]
    .into_iter()
    .filter(|(_, chart)| !chart.rows.is_empty())
    .map(|(name, chart)| (name, chart.svg()))
    .collect()
}

fn cpu(results: &Results) -> Chart {
    let added = |variant: &Variant| spread(&results.cpu_added(variant));
    // NestJS adds ten times as much as all others: on one scale nothing else would be seen.
    let cap = results
        .variants()
        .iter()
        .filter(|variant| !variant.is_node())
        .filter_map(added)
        .map(|spread| spread.max)
        .fold(0.0, f64::max);
    let mut rows = stack_rows(results, added, |value| format!("{value:.1} µs"));
    rows.sort_by(|a, b| a.bars[0].spread.median.total_cmp(&b.bars[0].spread.median));
    Chart {
        title: "CPU that a request costs more".to_owned(),
        subtitle: "microseconds over the same framework without an audit, writing and sending included; less is better".to_owned(),
        rows,
        cap: (cap > 0.0).then_some(cap),
        whole: None,
    }
}

fn rate(results: &Results) -> Chart {
    let kept = |variant: &Variant| results.rate_kept(variant);
    let mut rows = stack_rows(results, kept, |value| format!("{:.0} %", value * 100.0));
    rows.sort_by(|a, b| b.bars[0].spread.median.total_cmp(&a.bars[0].spread.median));
    Chart {
        title: "Request rate that one core keeps".to_owned(),
        subtitle:
            "share of the same framework's rate without an audit, at saturation; more is better"
                .to_owned(),
        rows,
        cap: None,
        whole: Some(1.0),
    }
}

fn stack_rows(
    results: &Results,
    figure: impl Fn(&Variant) -> Option<Spread>,
    show: impl Fn(f64) -> String,
) -> Vec<Row> {
    let variants = results.variants();
    let shown = variants
        .iter()
        .filter(|variant| **variant != variant.base());
    shown
        .filter_map(|variant| {
            let spread = figure(variant)?;
            let tone = match variant.stack.as_str() {
                "noop" => Tone::Floor,
                _ if variant.is_ours() => Tone::Ours,
                _ => Tone::Peer,
            };
            Some(Row {
                label: stack_label(results, variant),
                bars: vec![Bar {
                    spread,
                    tone,
                    text: show(spread.median),
                }],
            })
        })
        .collect()
}

/// A row that is thrown away costs less than one that is kept: whoever loses rows does not look fast for it.
fn stack_label(results: &Results, variant: &Variant) -> String {
    let lost = (results.lost(variant) * 100.0).ceil();
    match lost > 0.0 {
        true => format!("{}, loses {lost:.0} % of its rows", variant.label()),
        false => variant.label(),
    }
}

fn latency(results: &Results) -> Chart {
    let mut rows = Vec::new();
    let mut cap: f64 = 0.0;
    for case in results.cases() {
        // A response that waits for the disk is on another scale, and measured at a rate of its own.
        let waits = WAITING
            .iter()
            .any(|(stack, _)| *stack == case.variant.stack);
        if (case.percent != HALF && !waits) || case.variant.stack == "bare" {
            continue;
        }
        let (strong, pale) = match case.variant.is_ours() {
            true => (Tone::Ours, Tone::OursPale),
            false => (Tone::Peer, Tone::PeerPale),
        };
        if let (n @ 1.., rounds) = results.overloads(&case) {
            // A picture without it would look better than the stack is.
            rows.push(Row {
                label: latency_label(&case),
                bars: vec![Bar {
                    spread: Spread::NOTHING,
                    tone: strong,
                    text: format!("overloaded in {n} of {rounds} rounds"),
                }],
            });
            continue;
        }
        let p50 = results.latency_added(&case, |latency| latency.clean.p50());
        let p99 = results.latency_added(&case, |latency| latency.clean.p99());
        let (Some(p50), Some(p99)) = (p50, p99) else {
            continue;
        };
        if !waits {
            cap = cap.max(p99.max);
        }
        let bar = |name: &str, spread: Spread, tone| Bar {
            spread,
            tone,
            text: format!("{name} {:.1} µs", spread.median),
        };
        rows.push(Row {
            label: latency_label(&case),
            bars: vec![bar("p50", p50, strong), bar("p99", p99, pale)],
        });
    }
    // What most people have, most of the time, comes first.
    let is_special = |row: &Row| row.label.contains("PostHog") || row.label.contains("backlog");
    rows.sort_by_key(is_special);
    Chart {
        title: "Latency added at half of the bare service's saturation".to_owned(),
        subtitle:
            "microseconds over bare axum at the same rate, here 50 % where nothing else is said; less is better"
                .to_owned(),
        rows,
        cap: (cap > 0.0).then_some(cap),
        whole: None,
    }
}

/// Shorter than in tables: the rate and delivery are the same for all.
fn latency_label(case: &OpenCase) -> String {
    let full = name_of(case);
    full.replacen(" + delivery", "", 1)
        .replacen(&format!(", {HALF} %"), "", 1)
        .replacen("audit threads apart", "threads apart", 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::goal_case;
    use crate::figures::tests::{closed, open};
    use crate::suite::{Layout, Situation};

    #[test]
    fn nothing_measured_gives_no_picture() {
        assert!(all(&Results::default()).is_empty());
    }

    #[test]
    fn every_stack_but_the_bare_ones_has_its_bar_and_its_value() {
        let bare = OpenCase {
            variant: Variant::new("bare", false),
            ..goal_case(Layout::Shared, Situation::Healthy)
        };
        let results = Results {
            closed: vec![
                closed("bare", false, 0, 7.0, 100.0),
                closed("noop", false, 0, 7.1, 99.0),
                closed("json-line", false, 0, 11.5, 62.0),
                closed("audithog-best-effort", true, 0, 9.4, 71.0),
                closed("nest-express-bare", false, 0, 60.0, 10.0),
                closed("nest-express", true, 0, 210.0, 4.0),
            ],
            open: vec![
                open(bare, 0, 20.0, 40.0),
                open(goal_case(Layout::Apart, Situation::Hangs), 0, 21.0, 52.0),
            ],
            ..Results::default()
        };
        let pictures = all(&results);
        let text = |name: &str| &pictures.iter().find(|(known, _)| *known == name).unwrap().1;
        for value in ["0.1 µs", "4.5 µs", "2.4 µs", "150.0 µs"] {
            assert!(text("cpu.svg").contains(value), "{value}");
        }
        for value in ["99 %", "62 %", "71 %", "40 %"] {
            assert!(text("rate.svg").contains(value), "{value}");
        }
        assert!(!text("rate.svg").contains(">bare<"));
        assert!(text("latency.svg").contains("p99 12.0 µs"));
        assert!(text("latency.svg").contains("audithog-best-effort, threads apart, PostHog hangs"));
    }

    #[test]
    fn a_stack_that_loses_rows_says_so_beside_its_bar() {
        let mut lossy = closed("audithog-memory", false, 0, 8.0, 90.0);
        lossy.last.rows_made = Some(1_000_000);
        lossy.last.rows_lost = Some(401_000);
        let results = Results {
            closed: vec![closed("bare", false, 0, 7.0, 100.0), lossy],
            ..Results::default()
        };
        for (name, svg) in all(&results) {
            assert!(svg.contains("loses 41 % of its rows"), "{name}: {svg}");
        }
    }

    #[test]
    fn a_case_that_was_too_much_is_not_left_out_of_the_picture() {
        let mut too_much = open(goal_case(Layout::Shared, Situation::Healthy), 0, 9e6, 9e6);
        too_much.latency.behind = too_much.rate;
        let results = Results {
            open: vec![too_much],
            ..Results::default()
        };
        let (_, svg) = &all(&results)[0];
        assert!(svg.contains("overloaded in 1 of 1 rounds"), "{svg}");
    }
}
