//! Charts over time, as SVG: bars are links, so a chart works without a script, and a table says the same in figures.

use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};

use super::cells;

/// Equal steps of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Steps {
    /// The start of the first.
    pub(crate) first: Timestamp,
    pub(crate) seconds: i64,
    pub(crate) count: usize,
}

/// One kind of what is counted.
#[derive(Debug)]
pub(crate) struct Series<'a> {
    pub(crate) class: &'static str,
    pub(crate) name: &'static str,
    /// For each step; none where nothing was measured.
    pub(crate) values: &'a [Option<f64>],
    /// The conditions of its rows among those of a step. None: it has no rows of its own.
    pub(crate) rows: &'static [Condition],
}

/// A filter's word and its value.
pub(crate) type Condition = (&'static str, &'static str);

/// Most steps of a chart.
const MOST: i64 = 96;

const SECONDS: [i64; 17] = [
    1, 5, 10, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400,
    604_800,
];

impl Steps {
    /// Some dozens of steps, which begin at whole multiples since 1970, as the answers have them.
    pub(crate) fn over(since: Timestamp, until: Timestamp) -> Self {
        let range = (until.as_second() - since.as_second()).max(1);
        let mut seconds = SECONDS
            .into_iter()
            .find(|seconds| range / seconds < MOST)
            .unwrap_or(604_800);
        while range / seconds >= MOST {
            seconds *= 2;
        }
        let first = since.as_second().div_euclid(seconds) * seconds;
        let last = (until.as_second() - i64::from(until.subsec_nanosecond() == 0)).max(first);
        Self {
            first: Timestamp::from_second(first).unwrap_or(since),
            seconds,
            count: usize::try_from(last.div_euclid(seconds) - first / seconds + 1).unwrap_or(1),
        }
    }

    pub(crate) fn start(&self, at: usize) -> Timestamp {
        let seconds = self
            .seconds
            .saturating_mul(i64::try_from(at).unwrap_or(i64::MAX));
        self.first
            .saturating_add(SignedDuration::from_secs(seconds))
            .unwrap_or(self.first)
    }

    /// Which one begins then.
    pub(crate) fn at(&self, start: Timestamp) -> Option<usize> {
        let behind = start.as_second() - self.first.as_second();
        let at = usize::try_from(behind.checked_div(self.seconds)?).ok()?;
        (at < self.count && behind >= 0).then_some(at)
    }

    /// In words: how long one is.
    pub(crate) fn words(&self) -> String {
        match self.seconds {
            s if s % 86_400 == 0 => plural(s / 86_400, "day"),
            s if s % 3_600 == 0 => plural(s / 3_600, "hour"),
            s if s % 60 == 0 => plural(s / 60, "minute"),
            s => plural(s, "second"),
        }
    }
}

fn plural(number: i64, unit: &str) -> String {
    match number {
        1 => format!("1 {unit}"),
        number => format!("{number} {unit}s"),
    }
}

/// How a chart is shown.
#[derive(Clone, Copy)]
pub(crate) struct Look<'a> {
    pub(crate) title: &'a str,
    /// What a number is: `12`, `3.1 ms`.
    pub(crate) number: fn(f64) -> String,
    /// The rows of a step, all of them or those of a series.
    pub(crate) link: &'a dyn Fn(Timestamp, Timestamp, &[Condition]) -> String,
    /// The page with another time range: `…&since=%FROM&until=%TO`.
    pub(crate) zoom: &'a str,
}

/// One bar a step, the series on top of each other.
pub(crate) fn bars(steps: Steps, series: &[Series<'_>], look: Look<'_>) -> Markup {
    let total = |at: usize| -> f64 {
        let values = series.iter().filter_map(|series| *series.values.get(at)?);
        values.sum()
    };
    // Of whole numbers: the middle of the scale is one, too.
    let top = nice((0..steps.count).map(total).fold(2.0, f64::max));
    let drawn = html! {
        @for at in 0..steps.count {
            @let (from, to) = (steps.start(at), steps.start(at + 1));
            @if total(at) > 0.0 {
                a href=((look.link)(from, to, &[])) tabindex="-1" {
                    title { (said(steps, series, look, at)) }
                    rect.hit x=(at * 10) y="0" width="10" height="100" {}
                    @for (class, y, height) in stack(series, at, top) {
                        rect class=(class) x=(format!("{}.5", at * 10)) width="9" y=(format!("{y:.3}")) height=(format!("{height:.3}")) {}
                    }
                }
            }
        }
    };
    figure(steps, series, look, top, &drawn)
}

/// Of a hundred: less is not seen.
const LEAST: f64 = 0.8;

/// The bars of one step, from below: class, y, height.
fn stack(series: &[Series<'_>], at: usize, top: f64) -> Vec<(&'static str, f64, f64)> {
    let parts = series.iter().filter_map(|series| {
        let value = series.values.get(at).copied().flatten()?;
        (value > 0.0).then(|| (series.class, (value / top * 100.0).max(LEAST)))
    });
    let mut parts: Vec<(&'static str, f64)> = parts.collect();
    let over = parts.iter().map(|(_, height)| height).sum::<f64>() - 100.0;
    let largest = parts.iter_mut().max_by(|(_, a), (_, b)| a.total_cmp(b));
    if let Some((_, height)) = largest.filter(|_| over > 0.0) {
        *height -= over;
    }
    let mut from = 100.0;
    let stacked = parts.into_iter().map(|(class, height)| {
        from -= height;
        (class, from, height)
    });
    stacked.collect()
}

/// One line a series.
pub(crate) fn lines(steps: Steps, series: &[Series<'_>], look: Look<'_>) -> Markup {
    let all = series
        .iter()
        .flat_map(|series| series.values.iter().flatten());
    let top = nice(all.copied().fold(0.0, f64::max));
    let drawn = html! {
        @for series in series {
            @for points in stretches(series.values, top) {
                polyline class=(series.class) points=(points) {}
            }
        }
        @for at in 0..steps.count {
            @if series.iter().any(|series| series.values.get(at).copied().flatten().is_some()) {
                a href=((look.link)(steps.start(at), steps.start(at + 1), &[])) tabindex="-1" {
                    title { (said(steps, series, look, at)) }
                    rect.hit x=(at * 10) y="0" width="10" height="100" {}
                }
            }
        }
    };
    figure(steps, series, look, top, &drawn)
}

/// Lines between neighbours that were measured; a lone one is a short line.
fn stretches(values: &[Option<f64>], top: f64) -> Vec<String> {
    let mut all = Vec::new();
    let mut points: Vec<String> = Vec::new();
    for (at, value) in values.iter().chain(&[None]).enumerate() {
        if let Some(value) = value {
            let y = 100.0 - (value / top * 100.0).min(100.0);
            if points.is_empty() {
                points.push(format!("{},{y:.3}", at * 10 + 2));
            }
            points.push(format!("{},{y:.3}", at * 10 + 5));
            points.push(format!("{},{y:.3}", at * 10 + 8));
        } else if !points.is_empty() {
            all.push(std::mem::take(&mut points).join(" "));
        }
    }
    all
}

fn figure(steps: Steps, series: &[Series<'_>], look: Look<'_>, top: f64, drawn: &Markup) -> Markup {
    let until = steps.start(steps.count);
    let any = |at: usize| {
        series.iter().any(|series| {
            series
                .values
                .get(at)
                .copied()
                .flatten()
                .is_some_and(|value| value > 0.0)
        })
    };
    html! {
        figure.chart data-from=(steps.first) data-to=(until) data-zoom=(look.zoom) {
            figcaption {
                span.title { (look.title) }
                span.legend { @for series in series { span { i.key.(series.class) {} (series.name) } } }
                span.step { "per " (steps.words()) }
            }
            div.plot {
                div.scale aria-hidden="true" {
                    span { ((look.number)(top)) }
                    span { ((look.number)(top / 2.0)) }
                    span { "0" }
                }
                svg viewBox=(format!("0 0 {} 100", steps.count * 10)) preserveAspectRatio="none" role="group" aria-label=(look.title) {
                    line.grid x1="0" x2=(steps.count * 10) y1="0.5" y2="0.5" {}
                    line.grid x1="0" x2=(steps.count * 10) y1="50" y2="50" {}
                    (drawn)
                }
            }
            div.axis aria-hidden="true" {
                @for at in 0..5 {
                    @let time = steps.start(steps.count * at / 4);
                    time datetime=(time) data-to=(if steps.seconds >= 3_600 { "day" } else { "minute" }) { (axis(steps, time)) }
                }
            }
            details {
                summary { "Figures" }
                div.wide tabindex="0" { table {
                    thead { tr { th { "from" } @for series in series { th.n { (series.name) } } } }
                    tbody {
                        @for at in (0..steps.count).filter(|at| any(*at)) {
                            @let (from, to) = (steps.start(at), steps.start(at + 1));
                            tr {
                                td { a href=((look.link)(from, to, &[])) { (cells::second(&from.to_string())) } }
                                @for series in series {
                                    td.n {
                                        @match series.values.get(at).copied().flatten() {
                                            Some(value) if value > 0.0 || series.rows.is_empty() => a href=((look.link)(from, to, series.rows)) { ((look.number)(value)) },
                                            Some(value) => ((look.number)(value)),
                                            None => "–",
                                        }
                                    }
                                }
                            }
                        }
                    }
                } }
            }
        }
    }
}

fn axis(steps: Steps, time: Timestamp) -> String {
    let form = if steps.seconds >= 3_600 {
        "%b %-d, %H:%M"
    } else {
        "%H:%M"
    };
    time.strftime(form).to_string()
}

/// What a step says when somebody points at it.
fn said(steps: Steps, series: &[Series<'_>], look: Look<'_>, at: usize) -> String {
    let mut text = steps
        .start(at)
        .strftime("%Y-%m-%d %H:%M:%S UTC")
        .to_string();
    for series in series {
        if let Some(value) = series.values.get(at).copied().flatten() {
            text.push_str(&format!("\n{}: {}", series.name, (look.number)(value)));
        }
    }
    text
}

/// The next of 1, 2, 5, 10, 20, …
fn nice(most: f64) -> f64 {
    if most <= 0.0 || !most.is_finite() {
        return 1.0;
    }
    let ten = 10_f64.powf(most.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * ten)
        .find(|nice| *nice >= most)
        .unwrap_or(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn steps_cover_the_range_and_begin_at_whole_multiples() {
        let steps = Steps::over(time("2026-03-01T10:07:30Z"), time("2026-03-01T11:07:30Z"));
        assert_eq!((steps.seconds, steps.count), (60, 61));
        assert_eq!(steps.start(0), time("2026-03-01T10:07:00Z"));
        assert_eq!(steps.at(time("2026-03-01T11:07:00Z")), Some(60));
        assert_eq!(steps.at(time("2026-03-01T11:08:00Z")), None);
        assert_eq!(steps.at(time("2026-03-01T10:06:00Z")), None);

        // The end is not part of the range.
        let steps = Steps::over(time("2026-03-01T10:00:00Z"), time("2026-03-01T11:00:00Z"));
        assert_eq!((steps.seconds, steps.count), (60, 60));

        let steps = Steps::over(time("1970-01-01T00:00:00Z"), time("2026-03-01T00:00:00Z"));
        assert!(steps.count <= 97, "{steps:?}");
    }

    #[test]
    fn scales_end_at_round_numbers() {
        for (most, expected) in [
            (0.0, 1.0),
            (0.3, 0.5),
            (1.0, 1.0),
            (7.0, 10.0),
            (1_234.0, 2_000.0),
        ] {
            let found = nice(most);
            assert!((found - expected).abs() < 1e-9, "{most}: {found}");
        }
    }

    #[test]
    fn the_smallest_part_of_a_bar_is_seen() {
        let many = [Some(10_000.0)];
        let one = [Some(1.0)];
        let series = [
            Series {
                class: "ok",
                name: "success",
                values: &many,
                rows: &[],
            },
            Series {
                class: "s5",
                name: "5xx",
                values: &one,
                rows: &[],
            },
        ];
        let stack = stack(&series, 0, 10_001.0);
        assert_eq!(stack.len(), 2);
        assert!(stack[1].2 >= 0.7, "{stack:?}");
        assert!(stack.iter().all(|(_, y, _)| *y > -1e-9), "{stack:?}");
    }
}
