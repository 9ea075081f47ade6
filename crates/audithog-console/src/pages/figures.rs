//! Figures and charts of some requests: what several pages begin with.

use std::time::{Duration, SystemTime};

use audithog::query::{Answer, Field, Filter, Key, Log, Measure, Question};
use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};
use serde_json::Value;

use super::Here;
use crate::answers::Failure;
use crate::params::{NOT_STATUS, Params, STATUS};
use crate::range::Range;
use crate::view::chart::{self, Condition, Look, Series, Steps};
use crate::view::{cells, table};

/// The event of a request's row.
pub(crate) const REQUEST: &str = "api_request";

/// What was found about the requests of a range.
#[derive(Debug)]
pub(crate) struct Figures {
    totals: Answer,
    steps: Steps,
    by_time: Answer,
    /// As it was asked for.
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

const MINUTE: Duration = Duration::from_secs(60);
const WEEK: Duration = Duration::from_secs(7 * 86_400);

const TOTALS: [Measure; 8] = [
    Measure::Last,
    Measure::Failures,
    Measure::FailureRate,
    Measure::ServerErrors,
    Measure::ServerErrorRate,
    Measure::P50,
    Measure::P95,
    Measure::P99,
];

const BY_TIME: [Measure; 7] = [
    Measure::Successes,
    Measure::ClientErrors,
    Measure::ServerErrors,
    Measure::OtherFailures,
    Measure::P50,
    Measure::P95,
    Measure::P99,
];

/// What is counted, how it looks, what it is called, and which rows it is.
type Outcome = (Measure, &'static str, &'static str, &'static [Condition]);

/// Only requests: of all rows they alone have an outcome.
pub(crate) fn requests(filter: Filter) -> Result<Filter, Failure> {
    Ok(filter.is(Field::Event, [REQUEST])?)
}

impl Figures {
    /// Asks for them. `filter` has the range's times.
    pub(crate) fn ask(
        log: &mut Log,
        filter: &Filter,
        range: &Range,
        now: Timestamp,
    ) -> Result<Self, Failure> {
        let requests = requests(filter.clone())?;
        let totals = log.ask(&Question::totals(TOTALS, requests.clone()))?;
        // Totals have rows of the future too, which a clock that was set has made.
        let until = range.until.unwrap_or(now.max(end(&totals).unwrap_or(now)));
        let since = match range.since {
            Some(since) => since,
            None => first(log, requests.clone())?.unwrap_or(until),
        };
        let steps = Steps::over(since.min(until), until);
        let step = Duration::from_secs(steps.seconds.unsigned_abs());
        let by_time = Question::count([Key::time(step)], BY_TIME, requests)?;
        Ok(Self {
            totals,
            by_time: log.ask(&by_time.limit(1_000)?)?,
            steps,
            since: range.since,
            until: range.until,
        })
    }

    fn total(&self, measure: Measure) -> Option<f64> {
        number(&self.totals, self.totals.lines.first()?, measure)
    }

    fn series(&self, measure: Measure) -> Vec<Option<f64>> {
        let mut values = vec![None; self.steps.count];
        for line in &self.by_time.lines {
            if let Some(at) = start(line).and_then(|start| self.steps.at(start)) {
                values[at] = number(&self.by_time, line, measure);
            }
        }
        values
    }

    /// `rows`: what leads to the rows behind these figures.
    pub(crate) fn show(&self, here: &Here, rows: &Params) -> Markup {
        let log = |narrowed: Params| here.link("log", &narrowed);
        let requests = rows.clone().narrowed("event", REQUEST);
        let all = log(requests.clone());
        let failed = log(requests.clone().narrowed("result", "failure"));
        let server = log(requests.narrowed(STATUS, "5xx"));
        let count = |measure| {
            self.total(measure)
                .map_or("0".to_owned(), |n| cells::count(n as u64))
        };
        let rate = |measure| self.total(measure).map_or("–".to_owned(), cells::rate);
        let took = |measure| self.total(measure).map_or("–".to_owned(), cells::duration);
        html! {
            section.tiles aria-label="Figures" {
                (tile("requests", &all, &count(Measure::Count), None))
                (tile("failure rate", &failed, &rate(Measure::FailureRate), Some(&format!("{} failed", count(Measure::Failures)))))
                (tile("5xx rate", &server, &rate(Measure::ServerErrorRate), Some(&format!("{} with 5xx", count(Measure::ServerErrors)))))
                (tile("p50", &all, &took(Measure::P50), None))
                (tile("p95", &all, &took(Measure::P95), None))
                (tile("p99", &all, &took(Measure::P99), None))
            }
            (self.charts(here, rows))
            (table::scope(&self.totals.scope))
        }
    }

    fn charts(&self, here: &Here, rows: &Params) -> Markup {
        let link = |from: Timestamp, to: Timestamp, of: &[Condition]| {
            // The first and the last step reach beyond what was asked for.
            let from = self.since.map_or(from, |since| from.max(since));
            let to = self.until.map_or(to, |until| to.min(until));
            let mut rows = rows
                .clone()
                .narrowed("event", REQUEST)
                .set("since", &from.to_string())
                .set("until", &to.to_string());
            for (name, value) in of {
                rows = rows.narrowed(name, value);
            }
            here.link("log", &rows)
        };
        let zoom = here.again(&here.params.clone().without("since").without("until"));
        let look = |title, number| Look {
            title,
            number,
            link: &link,
            zoom: &zoom,
        };
        let outcomes: [Outcome; 4] = [
            (
                Measure::Successes,
                "ok",
                "success",
                &[("result", "success")],
            ),
            (Measure::ClientErrors, "s4", "4xx", &[(STATUS, "4xx")]),
            (Measure::ServerErrors, "s5", "5xx", &[(STATUS, "5xx")]),
            (
                Measure::OtherFailures,
                "sx",
                "other failures",
                &[("result", "failure"), (NOT_STATUS, "4xx,5xx")],
            ),
        ];
        let outcomes = outcomes.map(|(measure, class, name, rows)| {
            let values = self.series(measure);
            (class, name, rows, values)
        });
        let outcomes = outcomes
            .each_ref()
            .map(|(class, name, rows, values)| Series {
                class,
                name,
                values,
                rows,
            });
        let latencies = [
            (Measure::P50, "p50", "p50"),
            (Measure::P95, "p95", "p95"),
            (Measure::P99, "p99", "p99"),
        ];
        let latencies = latencies.map(|(measure, class, name)| (class, name, self.series(measure)));
        let latencies = latencies.each_ref().map(|(class, name, values)| Series {
            class,
            name,
            values,
            rows: &[],
        });
        html! {
            div.charts {
                (chart::bars(self.steps, &outcomes, look("Requests by outcome", |n| cells::count(n.round() as u64))))
                (chart::lines(self.steps, &latencies, look("Latency", cells::duration)))
            }
        }
    }
}

fn tile(name: &str, to: &str, value: &str, detail: Option<&str>) -> Markup {
    html! {
        a.tile href=(to) {
            span.name { (name) }
            b { (value) }
            @if let Some(detail) = detail { span.detail { (detail) } }
        }
    }
}

fn number(answer: &Answer, line: &[Value], measure: Measure) -> Option<f64> {
    let at = answer
        .columns
        .iter()
        .position(|column| column.name == measure.name())?;
    line.get(at)?.as_f64()
}

/// When the group of a line begins.
fn start(line: &[Value]) -> Option<Timestamp> {
    line.first()?.as_str()?.parse().ok()
}

/// Right behind the latest of the rows.
fn end(totals: &Answer) -> Option<Timestamp> {
    let last = Measure::Last.name();
    let at = totals
        .columns
        .iter()
        .position(|column| column.name == last)?;
    let last: Timestamp = totals.lines.first()?.get(at)?.as_str()?.parse().ok()?;
    last.checked_add(SignedDuration::from_micros(1)).ok()
}

/// The minute of the earliest row that the filter admits. It is not the one with the smallest number: clocks are set, and several processes write
/// one log.
fn first(log: &mut Log, mut filter: Filter) -> Result<Option<Timestamp>, Failure> {
    let mut from = None;
    for step in [WEEK, MINUTE] {
        let groups = Question::count([Key::time(step)], [], filter.clone())?;
        let answer = log.ask(&groups.limit(1)?)?;
        let Some(start) = answer.lines.first().and_then(|line| start(line)) else {
            break;
        };
        from = Some(start);
        let start = SystemTime::from(start);
        filter = filter.since(start).until(start + step);
    }
    Ok(from)
}
