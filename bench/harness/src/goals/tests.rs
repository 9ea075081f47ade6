use super::*;
use crate::arguments::Arguments;
use crate::figures::tests::{closed, open, part};
use crate::read::programs::{Final, Part};
use crate::suite::Suite;

fn spread_of(median: f64, min: f64, max: f64) -> Spread {
    Spread {
        median,
        min,
        max,
        n: 5,
    }
}

#[test]
fn the_median_decides_and_the_bound_itself_is_met() {
    let judge = |median| {
        let measured = Some(spread_of(median, 0.0, 9.0));
        at_most("x", Unit::Ratio, 0.7, 0.5, measured).verdict()
    };
    assert_eq!(judge(0.5), Verdict::Goal);
    assert_eq!(judge(0.51), Verdict::Floor);
    assert_eq!(judge(0.7), Verdict::Floor);
    assert_eq!(judge(0.71), Verdict::Missed);
    let nothing = at_most("x", Unit::Ratio, 0.7, 0.5, None);
    assert_eq!(nothing.verdict(), Verdict::NotMeasured);
    assert_eq!(nothing.measured_text(), "–");
}

#[test]
fn one_bad_round_decides_where_every_round_counts() {
    let one_lost = Some(spread_of(1.0, 0.999_999_9, 1.0));
    let line = worst(at_least("x", Unit::Share, 1.0, 1.0, one_lost));
    assert_eq!(line.verdict(), Verdict::Missed);
    assert_eq!(line.measured_text(), "all [99.9999 % – all]");
    let wait = worst(at_most(
        "x",
        Unit::Millis,
        50.0,
        10.0,
        Some(spread_of(5.0, 1.0, 60.0)),
    ));
    assert_eq!(wait.verdict(), Verdict::Missed);
}

#[test]
fn a_ratio_that_just_misses_does_not_look_as_if_it_met() {
    let text = |value| {
        at_least(
            "x",
            Unit::Ratio,
            0.4,
            0.6,
            Some(spread_of(value, 0.34, 0.44)),
        )
        .measured_text()
    };
    assert_eq!(text(0.3957), "0.3957 [0.3400 – 0.4400]");
    assert_eq!(text(0.4), "0.40 [0.34 – 0.44]");
    assert_eq!(text(0.38), "0.38 [0.34 – 0.44]");
}

#[test]
fn figures_are_shown_as_people_compare_them() {
    assert_eq!(Unit::Fraction.show(1.0 / 40.0), "1/40");
    assert_eq!(Unit::Fraction.show(0.3), "1/3.3");
    assert_eq!(Unit::Fraction.show(-0.1), "-0.100");
    assert_eq!(Unit::PerSecond.show(1_234_567.0), "1,234,567 /s");
    assert_eq!(Unit::Megabytes.show(4.25), "+4.2 MB");
    assert_eq!(thousands(-1000.0), "-1,000");
    assert_eq!(thousands(-0.2), "0");
}

#[test]
fn results_find_their_lines() {
    let results = Results {
        closed: vec![
            closed("bare", false, 0, 7.0, 100.0),
            closed("json-line", false, 0, 11.0, 60.0),
            closed("audithog-best-effort", true, 0, 9.4, 70.0),
        ],
        parts: vec![
            part("ledger", "append_ratio", 0.93),
            part("ledger", "flat_cost_ratio_1m", 1.2),
        ],
        ..Results::default()
    };
    let lines = all(&results);
    let verdict = |start: &str| {
        let found = lines.iter().find(|line| line.what.starts_with(start));
        found.map(Goal::verdict)
    };
    assert_eq!(verdict("CPU added"), Some(Verdict::Floor));
    assert_eq!(
        verdict("rate of bare kept on one core: best"),
        Some(Verdict::Floor)
    );
    assert_eq!(verdict("rows delivered"), Some(Verdict::Goal));
    assert_eq!(verdict("ledger append"), Some(Verdict::Goal));
    assert_eq!(verdict("cost of a row in larger"), Some(Verdict::Missed));
    assert_eq!(
        verdict("… against nest-express"),
        Some(Verdict::NotMeasured)
    );
    assert_eq!(verdict("clean release"), Some(Verdict::NotMeasured));
}

/// Every stack, case and part has figures of its own: a goal that looks at another one shows another number.
fn different_everywhere() -> Results {
    let suite = Suite::new(Arguments::default()).unwrap();
    let mut results = Results::default();
    for (at, variant) in suite.variants().iter().enumerate() {
        let at = at as f64;
        // A worse second round, so that the median is not the worst.
        for (round, more) in [(0, 0.0), (1, 0.25), (2, 0.5)] {
            let is_base = *variant == variant.base();
            let cpu_us = if is_base { 10.0 } else { 20.0 + at };
            let rate = if is_base { 100.0 } else { 30.0 + at - more };
            let mut closed = closed(&variant.stack, variant.delivery, round, cpu_us + more, rate);
            if !is_base {
                closed.idle_kb += 1_000 * at as u64;
                closed.peak_kb += 2_000 * at as u64 + 100;
            }
            if let Some(received) = &mut closed.received {
                received.distinct -= if round == 1 { 1_000 * at as u64 } else { 0 };
            }
            results.closed.push(closed);
        }
    }
    for (at, case) in suite.open_cases().into_iter().enumerate() {
        let at = at as f64;
        let is_bare = case.variant.stack == "bare";
        let (p50, p99) = if is_bare {
            (20.0, 50.0)
        } else {
            (21.0 + at, 60.0 + at)
        };
        for round in 0..3 {
            let mut open = open(case.clone(), round, p50, p99);
            open.last = case.variant.is_ours().then_some(Final {
                answered: 100,
                rows_made: Some(if round == 1 { 98 } else { 100 }),
                rows_delivered: None,
                rows_lost: Some(if round == 2 { 3 } else { 0 }),
                rows_own: None,
                books: None,
            });
            results.open.push(open);
        }
    }
    let parts = [
        ("delivery", "drain_rows_per_s_per_core"),
        ("delivery", "drain_ratio"),
        ("ledger", "append_ratio"),
        ("ledger", "bytes_per_row"),
        ("delivery", "wire_bytes_per_row_100"),
        ("delivery", "wire_bytes_per_row_500"),
        ("ledger", "flat_cost_ratio_100k"),
        ("ledger", "flat_cost_ratio_10m"),
        ("ledger", "flat_time_ratio_start_100k"),
        ("ledger", "flat_time_ratio_seq_10m"),
        ("ledger", "start_ms_1k"),
        ("ledger", "start_ms_10m"),
        ("ledger", "two_writers_longest_wait_ms"),
        ("questions", "ask_ms_named_failures"),
        ("questions", "columns_cost_ratio"),
        ("memory", "pending_10m_mb"),
        ("memory", "allocations_per_request"),
        ("build", "clean_release_s"),
    ];
    for (at, (group, name)) in parts.into_iter().enumerate() {
        let value = 200.0 + at as f64;
        results.parts.push(Part {
            min: Some(value - 100.0),
            max: Some(value + 100.0),
            ..part(group, name, value)
        });
    }
    results
}

#[test]
fn every_goal_looks_at_its_own_figure_and_keeps_its_bounds() {
    let shown: Vec<String> = all(&different_everywhere())
        .iter()
        .map(|goal| {
            let judged = match goal.judged {
                Judged::Median => "median",
                Judged::Worst => "worst",
            };
            format!(
                "{} | {} | {} | {} | {judged}",
                goal.what,
                goal.floor_text(),
                goal.goal_text(),
                goal.measured_text()
            )
        })
        .collect();
    let expected: Vec<&str> = EVERY_GOAL.lines().collect();
    assert_eq!(shown, expected, "\n{}", shown.join("\n"));
}

const EVERY_GOAL: &str = "\
CPU added per request, best-effort ledger and delivery, drain included, against json-line | ≤ 0.70 | ≤ 0.50 | 0.71 | median
… against posthog-rs-v0 | ≤ 1/3 | ≤ 1/5 | 1/1.6 | median
… against posthog-rs-v1-gzip | ≤ 1/4 | ≤ 1/6 | 1/1.8 | median
… against nest-express | ≤ 1/40 | ≤ 1/60 | 1/1.9 | median
… against nest-fastify | ≤ 1/40 | ≤ 1/60 | 1/2.1 | median
the same, memory only with delivery, against json-line | ≤ 0.35 | ≤ 0.25 | 0.62 | median
rate of bare kept on one core: best-effort ledger + delivery | ≥ 0.68 | ≥ 0.78 | 0.35 [0.34 – 0.35] | median
rate of bare kept on one core: memory + delivery | ≥ 0.80 | ≥ 0.86 | 0.33 | median
p50 added at 50 % of bare's saturation, audit threads on the service's core | ≤ 10.0 µs | ≤ 3.0 µs | 5.0 µs | median
p99 added at 50 % of bare's saturation, audit threads on the service's core | ≤ 150.0 µs | ≤ 50.0 µs | 14.0 µs | median
p99 added at 50 % of bare's saturation, audit threads on the service's core, PostHog hangs | ≤ 30.0 µs | ≤ 15.0 µs | 25.0 µs | median
p99 added at 50 % of bare's saturation, audit threads on the service's core, PostHog refuses | ≤ 30.0 µs | ≤ 15.0 µs | 27.0 µs | median
p99 added at 50 % of bare's saturation, audit threads on the service's core, a backlog drains | ≤ 30.0 µs | ≤ 15.0 µs | 29.0 µs | median
p99 added at 50 % of bare's saturation, audit threads on another core | ≤ 30.0 µs | ≤ 15.0 µs | 15.0 µs | median
p99 added at 50 % of bare's saturation, audit threads on another core, PostHog hangs | ≤ 30.0 µs | ≤ 15.0 µs | 26.0 µs | median
p99 added at 50 % of bare's saturation, audit threads on another core, PostHog refuses | ≤ 30.0 µs | ≤ 15.0 µs | 28.0 µs | median
p99 added at 50 % of bare's saturation, audit threads on another core, a backlog drains | ≤ 30.0 µs | ≤ 15.0 µs | 30.0 µs | median
rate of durable, 64 connections, against best-effort's (both with delivery) | ≥ 0.60 | ≥ 0.75 | 1.06 | median
rows delivered at saturation, every process of every audithog stack with delivery | all | all | all [99.1000 % – all] | worst
rows lost at fixed rates, every measurement, while PostHog hangs or refuses too | ≤ 0.0 | ≤ 0.0 | 2.0 [0.0 – 3.0] | worst
drain of a backlog through the PostHog sink, per core | ≥ 600,000 /s | ≥ 1,000,000 /s | 200 /s [100 /s – 300 /s] | median
… against only serialising and compressing the same rows | ≥ 0.40 | ≥ 0.60 | 201.00 [101.00 – 301.00] | median
ledger append against plain rusqlite, same columns, 1,000-row transactions | ≥ 0.75 | ≥ 0.90 | 202.00 [102.00 – 302.00] | median
bytes per row in the ledger's file | ≤ 240 B | ≤ 150 B | 203 B [103 B – 303 B] | median
bytes per row on the wire, 100 rows a request | ≤ 82 B | ≤ 60 B | 204 B [104 B – 304 B] | median
bytes per row on the wire, 500 rows a request | ≤ 75 B | ≤ 55 B | 205 B [105 B – 305 B] | median
cost of a row in larger ledgers against one of 1,000 rows, the worst size | ≤ 1.10 | ≤ 1.10 | 207.00 [107.00 – 307.00] | worst
time of look-ups and start in larger ledgers against one of 1,000 rows, the worst size and figure | ≤ 1.10 | ≤ 1.10 | 209.00 [109.00 – 309.00] | median
start until the first request, the worst size | ≤ 200.0 ms | ≤ 200.0 ms | 211.0 ms [111.0 ms – 311.0 ms] | worst
longest append wait, two saturating processes on one ledger | ≤ 50.0 ms | ≤ 10.0 ms | 212.0 ms [112.0 ms – 312.0 ms] | worst
a named question over a day of a million rows, of ten million that are written meanwhile: the slowest | ≤ 50.0 ms | ≤ 50.0 ms | 213.0 ms [113.0 ms – 313.0 ms] | worst
an append that keeps rows by column, against one that does not | ≤ 1.05 | ≤ 1.05 | 214.00 [114.00 – 314.00] | median
memory over bare, best-effort with delivery, idle | ≤ +10.0 MB | ≤ +6.0 MB | +5.1 MB | median
memory over bare, best-effort with delivery, peak at saturation, drain included; a mean of processes | ≤ +24.0 MB | ≤ +16.0 MB | +10.3 MB | median
memory over a logger that was just started, ten million rows pending, once | ≤ +48.0 MB | ≤ +32.0 MB | +215.0 MB [+115.0 MB – +315.0 MB] | median
allocations per request beyond a no-op layer, on the thread that answers | ≤ 4.0 | ≤ 1.0 | 216.0 [116.0 – 316.0] | median
clean release build of the library, default features | ≤ 140 s | ≤ 90 s | 217 s [117 s – 317 s] | median
";
