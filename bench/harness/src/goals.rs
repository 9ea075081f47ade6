//! The goals, and how close this run came. Pure.

use crate::figures::goal_case;
use crate::read::programs::Latency;
use crate::results::Results;
use crate::stats::{Spread, spread};
use crate::suite::{Layout, Situation, Variant};

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Goal {
    pub(crate) what: String,
    bound: Bound,
    floor: f64,
    goal: f64,
    unit: Unit,
    judged: Judged,
    pub(crate) measured: Option<Spread>,
    /// In how many of how many rounds the service could not serve the rate.
    overloads: (usize, usize),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Bound {
    AtMost,
    AtLeast,
}

/// Which of the rounds has to keep the bound.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Judged {
    Median,
    Worst,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Unit {
    Ratio,
    /// Shown as `1/n`.
    Fraction,
    Micros,
    Share,
    Bytes,
    Megabytes,
    PerSecond,
    Millis,
    Seconds,
    Number,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Goal,
    Floor,
    Missed,
    NotMeasured,
}

impl Verdict {
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Goal => "met goal",
            Self::Floor => "met floor",
            Self::Missed => "**missed**",
            Self::NotMeasured => "not measured in this run",
        }
    }
}

impl Goal {
    pub(crate) fn verdict(&self) -> Verdict {
        // The rounds that are left would say how fast it is when it is not too slow.
        if self.overloads.0 > 0 {
            return Verdict::Missed;
        }
        let Some(measured) = self.measured else {
            return Verdict::NotMeasured;
        };
        let value = self.decides(&measured);
        let holds = |limit: f64| match self.bound {
            Bound::AtMost => value <= limit,
            Bound::AtLeast => value >= limit,
        };
        if holds(self.goal) {
            Verdict::Goal
        } else if holds(self.floor) {
            Verdict::Floor
        } else {
            Verdict::Missed
        }
    }

    /// The value that the verdict is about.
    fn decides(&self, measured: &Spread) -> f64 {
        match (self.judged, self.bound) {
            (Judged::Median, _) => measured.median,
            (Judged::Worst, Bound::AtMost) => measured.max,
            (Judged::Worst, Bound::AtLeast) => measured.min,
        }
    }

    pub(crate) fn floor_text(&self) -> String {
        self.bound_text(self.floor)
    }

    pub(crate) fn goal_text(&self) -> String {
        self.bound_text(self.goal)
    }

    fn bound_text(&self, limit: f64) -> String {
        let value = self.unit.show(limit);
        match (self.bound, self.unit) {
            (_, Unit::Share) => value,
            (Bound::AtMost, _) => format!("≤ {value}"),
            (Bound::AtLeast, _) => format!("≥ {value}"),
        }
    }

    pub(crate) fn measured_text(&self) -> String {
        if let (n @ 1.., rounds) = self.overloads {
            return format!("overloaded in {n} of {rounds} rounds");
        }
        let Some(measured) = self.measured else {
            return "–".to_owned();
        };
        // Rounded it would read as if the floor were met.
        let looks_met = self.unit.show(self.decides(&measured)) == self.unit.show(self.floor);
        if self.unit == Unit::Ratio && looks_met && self.verdict() == Verdict::Missed {
            return measured.shown(|value| format!("{value:.4}"));
        }
        measured.shown(|value| self.unit.show(value))
    }
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::Ratio => format!("{value:.2}"),
            Self::Fraction if value > 0.0 => {
                let n = 1.0 / value;
                if (n - n.round()).abs() < 1e-9 {
                    format!("1/{n:.0}")
                } else {
                    format!("1/{n:.1}")
                }
            }
            Self::Fraction => format!("{value:.3}"),
            Self::Micros => format!("{value:.1} µs"),
            Self::Share if value >= 1.0 => "all".to_owned(),
            // Never rounded up to all.
            Self::Share => format!("{:.4} %", (value * 1e6).floor() / 1e4),
            Self::Bytes => format!("{value:.0} B"),
            Self::Megabytes => format!("{value:+.1} MB"),
            Self::PerSecond => format!("{} /s", thousands(value)),
            Self::Millis => format!("{value:.1} ms"),
            Self::Seconds => format!("{value:.0} s"),
            Self::Number => format!("{value:.1}"),
        }
    }
}

/// `1,234,567`
pub(crate) fn thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value <= -0.5 {
        format!("-{text}")
    } else {
        text
    }
}

fn at_most(what: &str, unit: Unit, floor: f64, goal: f64, measured: Option<Spread>) -> Goal {
    Goal {
        what: what.to_owned(),
        bound: Bound::AtMost,
        floor,
        goal,
        unit,
        judged: Judged::Median,
        measured,
        overloads: (0, 0),
    }
}

fn at_least(what: &str, unit: Unit, floor: f64, goal: f64, measured: Option<Spread>) -> Goal {
    let mut line = at_most(what, unit, floor, goal, measured);
    line.bound = Bound::AtLeast;
    line
}

fn worst(mut line: Goal) -> Goal {
    line.judged = Judged::Worst;
    line
}

/// Every goal, in the order of the tables that follow it.
pub(crate) fn all(results: &Results) -> Vec<Goal> {
    let mut lines = cpu_and_rate(results);
    lines.extend(latency(results));
    lines.extend(guarantees(results));
    lines.extend(stores(results));
    lines.extend(questions(results));
    lines.extend(memory(results));
    lines.extend(others(results));
    lines
}

fn ours() -> Variant {
    Variant::new("audithog-best-effort", true)
}

fn in_memory() -> Variant {
    Variant::new("audithog-memory", true)
}

fn cpu_and_rate(results: &Results) -> Vec<Goal> {
    let against = |ours: &Variant, stack: &str, delivery| {
        results.cpu_added_ratio(ours, &Variant::new(stack, delivery))
    };
    let ours = ours();
    let fraction = |peer: &str, floor: f64, goal: f64| {
        at_most(
            &format!("… against {peer}"),
            Unit::Fraction,
            1.0 / floor,
            1.0 / goal,
            against(&ours, peer, true),
        )
    };
    vec![
        at_most(
            "CPU added per request, best-effort ledger and delivery, drain included, against json-line",
            Unit::Ratio,
            0.70,
            0.50,
            against(&ours, "json-line", false),
        ),
        fraction("posthog-rs-v0", 3.0, 5.0),
        fraction("posthog-rs-v1-gzip", 4.0, 6.0),
        fraction("nest-express", 40.0, 60.0),
        fraction("nest-fastify", 40.0, 60.0),
        at_most(
            "the same, memory only with delivery, against json-line",
            Unit::Ratio,
            0.35,
            0.25,
            against(&in_memory(), "json-line", false),
        ),
        at_least(
            "rate of bare kept on one core: best-effort ledger + delivery",
            Unit::Ratio,
            0.68,
            0.78,
            results.rate_kept(&ours),
        ),
        at_least(
            "rate of bare kept on one core: memory + delivery",
            Unit::Ratio,
            0.80,
            0.86,
            results.rate_kept(&in_memory()),
        ),
    ]
}

fn latency(results: &Results) -> Vec<Goal> {
    let mut lines = Vec::new();
    for (layout, place) in [
        (Layout::Shared, "audit threads on the service's core"),
        (Layout::Apart, "audit threads on another core"),
    ] {
        for (situation, when) in [
            (Situation::Healthy, ""),
            (Situation::Hangs, ", PostHog hangs"),
            (Situation::Refuses, ", PostHog refuses"),
            (Situation::Backlog, ", a backlog drains"),
        ] {
            let case = goal_case(layout, situation);
            let added = |value: fn(&Latency) -> f64| results.latency_added(&case, value);
            let what = |figure: &str| {
                format!("{figure} added at 50 % of bare's saturation, {place}{when}")
            };
            // In both layouts the narrow bound holds while something is wrong at the other end.
            let (floor, goal) = match (layout, situation) {
                (Layout::Shared, Situation::Healthy) => (150.0, 50.0),
                _ => (30.0, 15.0),
            };
            let mut add = |figure: &str, floor, goal, measured| {
                let mut line = at_most(&what(figure), Unit::Micros, floor, goal, measured);
                line.overloads = results.overloads(&case);
                lines.push(line);
            };
            if (layout, situation) == (Layout::Shared, Situation::Healthy) {
                add("p50", 10.0, 3.0, added(|latency| latency.clean.p50()));
            }
            add("p99", floor, goal, added(|latency| latency.clean.p99()));
        }
    }
    lines
}

fn guarantees(results: &Results) -> Vec<Goal> {
    let durable = Variant::new("audithog-durable", true);
    // A stack without a row of its own would not be seen among the others.
    let delivered: Vec<_> = results
        .variants()
        .iter()
        .filter(|variant| variant.is_ours())
        .flat_map(|variant| results.delivered(variant))
        .collect();
    vec![
        at_least(
            "rate of durable, 64 connections, against best-effort's (both with delivery)",
            Unit::Ratio,
            0.6,
            0.75,
            results.rate_ratio(&durable, &ours()),
        ),
        worst(at_least(
            "rows delivered at saturation, every process of every audithog stack with delivery",
            Unit::Share,
            1.0,
            1.0,
            spread(&delivered),
        )),
        worst(at_most(
            "rows lost at fixed rates, every measurement, while PostHog hangs or refuses too",
            Unit::Number,
            0.0,
            0.0,
            spread(&results.lost_at_fixed_rates()),
        )),
    ]
}

fn stores(results: &Results) -> Vec<Goal> {
    let ledger = |name| results.part("ledger", name);
    let delivery = |name| results.part("delivery", name);
    vec![
        at_least(
            "drain of a backlog through the PostHog sink, per core",
            Unit::PerSecond,
            600_000.0,
            1_000_000.0,
            delivery("drain_rows_per_s_per_core"),
        ),
        at_least(
            "… against only serialising and compressing the same rows",
            Unit::Ratio,
            0.4,
            0.6,
            delivery("drain_ratio"),
        ),
        at_least(
            "ledger append against plain rusqlite, same columns, 1,000-row transactions",
            Unit::Ratio,
            0.75,
            0.9,
            ledger("append_ratio"),
        ),
        at_most(
            "bytes per row in the ledger's file",
            Unit::Bytes,
            240.0,
            150.0,
            ledger("bytes_per_row"),
        ),
        at_most(
            "bytes per row on the wire, 100 rows a request",
            Unit::Bytes,
            82.0,
            60.0,
            delivery("wire_bytes_per_row_100"),
        ),
        at_most(
            "bytes per row on the wire, 500 rows a request",
            Unit::Bytes,
            75.0,
            55.0,
            delivery("wire_bytes_per_row_500"),
        ),
        worst(at_most(
            "cost of a row in larger ledgers against one of 1,000 rows, the worst size",
            Unit::Ratio,
            1.10,
            1.10,
            results.worst_part("ledger", "flat_cost_ratio_"),
        )),
        at_most(
            "time of look-ups and start in larger ledgers against one of 1,000 rows, the worst size and figure",
            Unit::Ratio,
            1.10,
            1.10,
            results.worst_part("ledger", "flat_time_ratio_"),
        ),
        worst(at_most(
            "start until the first request, the worst size",
            Unit::Millis,
            200.0,
            200.0,
            results.worst_part("ledger", "start_ms_"),
        )),
        worst(at_most(
            "longest append wait, two saturating processes on one ledger",
            Unit::Millis,
            50.0,
            10.0,
            ledger("two_writers_longest_wait_ms"),
        )),
    ]
}

fn questions(results: &Results) -> Vec<Goal> {
    vec![
        worst(at_most(
            "a named question over a day of a million rows, of ten million that are written meanwhile: the slowest",
            Unit::Millis,
            50.0,
            50.0,
            results.worst_part("questions", "ask_ms_named_"),
        )),
        at_most(
            "an append that keeps rows by column, against one that does not",
            Unit::Ratio,
            1.05,
            1.05,
            results.part("questions", "columns_cost_ratio"),
        ),
    ]
}

fn memory(results: &Results) -> Vec<Goal> {
    let ours = ours();
    vec![
        at_most(
            "memory over bare, best-effort with delivery, idle",
            Unit::Megabytes,
            10.0,
            6.0,
            results.memory_added(&ours, |closed| closed.idle_kb),
        ),
        at_most(
            "memory over bare, best-effort with delivery, peak at saturation, drain included; a mean of processes",
            Unit::Megabytes,
            24.0,
            16.0,
            results.memory_added(&ours, |closed| closed.peak_kb),
        ),
        at_most(
            "memory over a logger that was just started, ten million rows pending, once",
            Unit::Megabytes,
            48.0,
            32.0,
            results.part("memory", "pending_10m_mb"),
        ),
    ]
}

fn others(results: &Results) -> Vec<Goal> {
    vec![
        at_most(
            "allocations per request beyond a no-op layer, on the thread that answers",
            Unit::Number,
            4.0,
            1.0,
            results.part("memory", "allocations_per_request"),
        ),
        at_most(
            "clean release build of the library, default features",
            Unit::Seconds,
            140.0,
            90.0,
            results.part("build", "clean_release_s"),
        ),
    ]
}

#[cfg(test)]
mod tests;
