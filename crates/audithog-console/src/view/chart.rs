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
    let top = nice((0..steps.count).map(total).fold(0.0, f64::max)).max(2.0);
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
    // Of milliseconds: the middle of the scale is a whole microsecond.
    let top = nice(all.copied().fold(0.0, f64::max)).max(0.002);
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
            (axis(steps))
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

/// The times under a chart. One cell a step, so that a time stands where its step begins: the policy allows no style in an element.
fn axis(steps: Steps) -> Markup {
    let (to, form, parts) = labels(steps);
    let marks: Vec<usize> = (0..=parts).map(|part| steps.count * part / parts).collect();
    html! {
        div.axis aria-hidden="true" {
            @for at in 0..=steps.count {
                @match marks.iter().position(|mark| *mark == at) {
                    Some(part) => i.mark.between[part > 0 && part < parts && part * 2 != parts] {
                        @let time = steps.start(at);
                        time datetime=(time) data-to=(to) { (time.strftime(form)) }
                    },
                    None => i {},
                }
            }
        }
    }
}

/// What is said of the times: the script's word for it, its form, and into how many parts they divide the chart.
fn labels(steps: Steps) -> (&'static str, &'static str, usize) {
    let count = i64::try_from(steps.count).unwrap_or(i64::MAX);
    if steps.seconds.saturating_mul(count) >= 86_400 {
        return ("day", "%b %-d, %H:%M", 3);
    }
    match steps.seconds % 60 {
        0 => ("minute", "%H:%M", 4),
        _ => ("clock", "%H:%M:%S", 4),
    }
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

/// The next of 1, 2, 4, 6, 10, 20, …: from 2 on, and with three digits after the point, its half is as short a number.
fn nice(most: f64) -> f64 {
    if most <= 0.0 || !most.is_finite() {
        return 1.0;
    }
    let ten = 10_f64.powf(most.log10().floor());
    [1.0, 2.0, 4.0, 6.0, 10.0]
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
            (0.3, 0.4),
            (1.0, 1.0),
            (5.0, 6.0),
            (7.0, 10.0),
            (1_234.0, 2_000.0),
        ] {
            let found = nice(most);
            assert!((found - expected).abs() < 1e-9, "{most}: {found}");
        }
    }

    /// What stands beside the chart of these values: top, middle.
    fn scale(chart: fn(Steps, &[Series<'_>], Look<'_>) -> Markup, value: f64) -> (String, String) {
        let number = |n: f64| format!("{}", (n * 1e6).round() / 1e6);
        let shown = drawn(chart, steps_of(60, 1), value, number);
        let (_, scale) = shown.split_once("aria-hidden=\"true\"><span>").unwrap();
        let (top, rest) = scale.split_once("</span><span>").unwrap();
        let (middle, _) = rest.split_once("</span>").unwrap();
        (top.to_owned(), middle.to_owned())
    }

    fn steps_of(seconds: i64, count: usize) -> Steps {
        Steps {
            first: time("2026-03-01T20:05:00Z"),
            seconds,
            count,
        }
    }

    fn drawn(
        chart: fn(Steps, &[Series<'_>], Look<'_>) -> Markup,
        steps: Steps,
        value: f64,
        number: fn(f64) -> String,
    ) -> String {
        let values = [Some(value)];
        let series = Series {
            class: "ok",
            name: "success",
            values: &values,
            rows: &[],
        };
        let look = Look {
            title: "Requests",
            number,
            link: &|_, _, _| String::new(),
            zoom: "",
        };
        chart(steps, &[series], look).into_string()
    }

    #[test]
    fn the_middle_of_a_scale_is_what_it_says() {
        for most in 0..20_000 {
            let (top, middle) = scale(bars, f64::from(most));
            let (top, middle): (u64, u64) = (top.parse().unwrap(), middle.parse().unwrap());
            assert_eq!(top, 2 * middle, "{most}");
        }
        // Microseconds are the shortest that is shown.
        for most in 0..20_000 {
            let (top, middle) = scale(lines, f64::from(most) / 1_000.0);
            let micros = |text: &str| (text.parse::<f64>().unwrap() * 1_000.0 * 1_000.0).round();
            assert!(
                (micros(&top) - 2.0 * micros(&middle)).abs() < 1e-9,
                "{top} {middle}"
            );
            assert!((micros(&middle) % 1_000.0).abs() < 1e-9, "{most}: {middle}");
        }
    }

    /// The times under a chart, each with its distance from the left as a share of all.
    fn times(steps: Steps) -> Vec<(f64, String)> {
        let shown = drawn(bars, steps, 1.0, |n| n.to_string());
        let (_, axis) = shown
            .split_once("class=\"axis\" aria-hidden=\"true\">")
            .unwrap();
        let (axis, _) = axis.split_once("</div>").unwrap();
        let cells: Vec<&str> = axis.split("</i>").collect();
        assert_eq!(cells.len(), steps.count + 2, "one a step, and the end");
        let cells = cells.iter().enumerate().filter_map(|(at, cell)| {
            let (_, time) = cell.split_once("\">")?.1.split_once("\">")?;
            let share = at as f64 / steps.count as f64;
            Some((share, time.trim_end_matches("</time>").to_owned()))
        });
        cells.collect()
    }

    #[test]
    fn times_stand_where_they_are_and_tell_steps_apart() {
        for seconds in SECONDS {
            for count in 1..=97 {
                let steps = steps_of(seconds, count);
                let times = times(steps);
                let mut texts: Vec<&String> = times.iter().map(|(_, text)| text).collect();
                texts.dedup();
                assert_eq!(
                    texts.len(),
                    times.len(),
                    "{seconds} s, {count} steps: {times:?}"
                );
                assert!(times.len() >= 2, "{seconds} s, {count} steps: {times:?}");
            }
        }
        let shown = |seconds, count| times(steps_of(seconds, count));
        let said = |share: f64, text: &str| (share, text.to_owned());
        assert_eq!(
            shown(10, 8),
            [
                said(0.0, "20:05:00"),
                said(0.25, "20:05:20"),
                said(0.5, "20:05:40"),
                said(0.75, "20:06:00"),
                said(1.0, "20:06:20"),
            ]
        );
        // A quarter of seven steps is no step: the time stands where its own begins.
        assert_eq!(shown(3_600, 7)[1], said(1.0 / 7.0, "21:05"));
        // A day and a bit.
        assert_eq!(shown(1_800, 49)[0], said(0.0, "Mar 1, 20:05"));
        assert_eq!(shown(1_800, 49)[3], said(1.0, "Mar 2, 20:35"));
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
