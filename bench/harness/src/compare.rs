//! Before and after a change: the figures of two runs side by side. Pure.

use crate::results::{Closed, Results};
use crate::stats::{Spread, spread};

/// A figure by its name.
type Figures = Vec<(String, Spread)>;

fn figures(results: &Results) -> Figures {
    let mut found = Figures::new();
    let mut add = |name: String, spread: Option<Spread>| found.extend(spread.map(|s| (name, s)));
    for variant in results.variants() {
        let label = variant.label();
        if variant == variant.base() {
            add(
                format!("{label}: CPU µs"),
                spread(&results.rounds_of(&variant, Closed::cpu_us)),
            );
            continue;
        }
        add(
            format!("{label}: CPU µs added"),
            spread(&results.cpu_added(&variant)),
        );
        add(format!("{label}: rate kept"), results.rate_kept(&variant));
        add(
            format!("{label}: peak MB added"),
            results.memory_added(&variant, |c| c.peak_kb),
        );
    }
    for case in results.cases() {
        let name = crate::report::name_of(&case);
        if case.variant.stack != "bare" {
            add(
                format!("{name}: p50 µs added"),
                results.latency_added(&case, |l| l.clean.p50()),
            );
            add(
                format!("{name}: p99 µs added"),
                results.latency_added(&case, |l| l.clean.p99()),
            );
        }
    }
    for part in &results.parts {
        add(
            format!("{}: {} ({})", part.group, part.name, part.unit),
            results.part(&part.group, &part.name),
        );
    }
    found
}

/// What both runs have, and whether the difference is larger than what the rounds differ by.
pub(crate) fn table(before: &Results, after: &Results) -> String {
    let old = figures(before);
    let mut text = format!(
        "\n## Before and after\n\nBefore: {} at {}.\n\n| figure | before | after | change |\n| --- | --: | --: | --: |\n",
        before.machine.commit, before.machine.date
    );
    for (name, now) in figures(after) {
        if let Some((_, then)) = old.iter().find(|(known, _)| *known == name) {
            let (then_text, now_text, change) = (shown(then), shown(&now), change(then, &now));
            text += &format!("| {name} | {then_text} | {now_text} | {change} |\n");
        }
    }
    text
}

fn shown(spread: &Spread) -> String {
    let Spread {
        median, min, max, ..
    } = spread;
    format!("{median:.2} [{min:.2} – {max:.2}]")
}

fn change(then: &Spread, now: &Spread) -> String {
    if then.min <= now.max && now.min <= then.max {
        return "within the spread".to_owned();
    }
    if then.median == 0.0 {
        return format!("{:+.2}", now.median);
    }
    format!(
        "**{:+.1} %**",
        100.0 * (now.median - then.median) / then.median.abs()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::tests::{closed, part};

    fn run(json_us: f64, append: f64) -> Results {
        Results {
            closed: vec![
                closed("bare", false, 0, 7.0, 100.0),
                closed("json-line", false, 0, json_us, 50.0),
            ],
            parts: vec![part("ledger", "append_ratio", append)],
            ..Results::default()
        }
    }

    #[test]
    fn a_difference_is_named_and_the_rest_is_not_made_much_of() {
        let text = table(&run(11.0, 0.8), &run(9.0, 0.8));
        assert!(text.contains("| json-line: CPU µs added | 4.00 [4.00 – 4.00] | 2.00 [2.00 – 2.00] | **-50.0 %** |"), "{text}");
        assert!(text.contains("| ledger: append_ratio (x) | 0.80 [0.80 – 0.80] | 0.80 [0.80 – 0.80] | within the spread |"), "{text}");
    }

    #[test]
    fn only_what_both_have_is_compared() {
        let mut before = run(11.0, 0.8);
        before.parts.clear();
        let text = table(&before, &run(11.0, 0.9));
        assert!(!text.contains("append_ratio"), "{text}");
        assert!(!table(&Results::default(), &run(1.0, 1.0)).contains("json-line"));
    }

    #[test]
    fn a_change_from_nothing_has_no_percentage() {
        assert_eq!(
            change(&Spread::exactly(0.0), &Spread::exactly(2.0)),
            "+2.00"
        );
    }
}
