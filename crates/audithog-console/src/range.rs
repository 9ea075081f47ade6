//! The time that a page is about.

use std::time::{Duration, SystemTime};

use audithog::query::Filter;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::params::Params;

/// From, until: as the URL says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    /// None: from the beginning of the log.
    pub(crate) since: Option<Timestamp>,
    /// None: up to the end of the log.
    pub(crate) until: Option<Timestamp>,
    /// `1h`: it moves on with time.
    pub(crate) span: Option<String>,
}

/// What is offered, and how it is called.
pub(crate) const SPANS: [(&str, &str); 6] = [
    ("15m", "15 minutes"),
    ("1h", "hour"),
    ("6h", "6 hours"),
    ("24h", "24 hours"),
    ("7d", "7 days"),
    ("30d", "30 days"),
];

/// The whole log.
pub(crate) const ALL: &str = "all";

const LONGEST: usize = 64;

impl Range {
    /// What `since` and `until` say; without `since` so far back.
    pub(crate) fn of(params: &Params, default: &str, now: Timestamp) -> Result<Self, String> {
        let until = match params.get("until") {
            Some(text) => Some(moment(text, now).ok_or_else(|| wrong("until", text))?),
            None => None,
        };
        let text = match (params.get("since"), until) {
            (Some(text), _) => text,
            (None, Some(_)) => ALL,
            (None, None) => default,
        };
        let span = span(text);
        let since = if text == ALL {
            None
        } else {
            Some(moment(text, now).ok_or_else(|| wrong("since", text))?)
        };
        if let (Some(since), Some(until)) = (since, until)
            && since >= until
        {
            return Err(format!(
                "the time range is empty: {since} is not before {until}"
            ));
        }
        Ok(Self {
            since,
            until,
            span: span.filter(|_| until.is_none()).map(|_| text.to_owned()),
        })
    }

    pub(crate) fn narrow(&self, mut filter: Filter) -> Filter {
        if let Some(since) = self.since {
            filter = filter.since(SystemTime::from(since));
        }
        if let Some(until) = self.until {
            filter = filter.until(SystemTime::from(until));
        }
        filter
    }
}

fn wrong(name: &str, text: &str) -> String {
    format!("{name}: {text:?} is no time: give a span as 1h or 7d, or RFC 3339")
}

/// A span ago, or a time. Without a zone it is UTC.
fn moment(text: &str, now: Timestamp) -> Option<Timestamp> {
    if text.len() > LONGEST {
        return None;
    }
    if text == "now" {
        return Some(now);
    }
    if let Some(length) = span(text) {
        return now.checked_sub(SignedDuration::try_from(length).ok()?).ok();
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    let civil = text.parse::<DateTime>().ok()?;
    Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

/// `15m`, `24h`, `7d`.
fn span(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        _ => return None,
    };
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = number.parse().ok()?;
    Some(Duration::from_secs(number.checked_mul(seconds)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Texts = (Option<String>, Option<String>, Option<String>);

    fn range(query: &str) -> Result<Texts, String> {
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let range = Range::of(&Params::parse(query), "24h", now)?;
        let text = |time: Option<Timestamp>| time.map(|time| time.to_string());
        Ok((text(range.since), text(range.until), range.span))
    }

    #[test]
    fn a_range_is_a_span_or_two_times() {
        let some = |text: &str| Some(text.to_owned());
        for (query, expected) in [
            ("", (some("2026-02-28T12:00:00Z"), None, some("24h"))),
            (
                "since=15m",
                (some("2026-03-01T11:45:00Z"), None, some("15m")),
            ),
            ("since=all", (None, None, None)),
            (
                "until=2026-02-01T00:00:00%2B01:00",
                (None, some("2026-01-31T23:00:00Z"), None),
            ),
            (
                "since=2026-02-01T10:30&until=1h",
                (
                    some("2026-02-01T10:30:00Z"),
                    some("2026-03-01T11:00:00Z"),
                    None,
                ),
            ),
        ] {
            assert_eq!(range(query), Ok(expected), "{query}");
        }
    }

    #[test]
    fn a_wrong_time_is_named() {
        for (query, expected) in [
            ("since=soon", "since: \"soon\" is no time"),
            ("until=5x", "until: \"5x\" is no time"),
            ("since=1h&until=2h", "the time range is empty"),
            ("since=99999999999999999d", "since: "),
        ] {
            let error = range(query).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
