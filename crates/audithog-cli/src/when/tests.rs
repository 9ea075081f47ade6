use super::*;

/// A clock that stands, by RFC 9557: `2026-11-25T14:00:00+01:00[Europe/Berlin]`.
fn clock(text: &str) -> Clock {
    Clock {
        now: text.parse().unwrap(),
    }
}

#[track_caller]
fn reads(clock: &Clock, table: &[(&str, &str)]) {
    for (text, expected) in table {
        let found = clock.moment(text).map(|found| {
            let found = Timestamp::try_from(found).unwrap();
            found.to_string()
        });
        assert_eq!(found.as_deref(), Ok(*expected), "{text}");
    }
}

/// A Wednesday.
const BERLIN: &str = "2026-11-25T14:00:00+01:00[Europe/Berlin]";

#[test]
fn every_usual_form_is_read() {
    let table = [
        ("now", "2026-11-25T13:00:00Z"),
        ("90s", "2026-11-25T12:58:30Z"),
        ("15m", "2026-11-25T12:45:00Z"),
        ("15 min", "2026-11-25T12:45:00Z"),
        ("1h", "2026-11-25T12:00:00Z"),
        ("-1h", "2026-11-25T12:00:00Z"),
        ("1 hour ago", "2026-11-25T12:00:00Z"),
        ("1h30m", "2026-11-25T11:30:00Z"),
        ("1.5h", "2026-11-25T11:30:00Z"),
        ("PT1H", "2026-11-25T12:00:00Z"),
        ("7d", "2026-11-18T13:00:00Z"),
        ("2w", "2026-11-11T13:00:00Z"),
        ("1mo", "2026-10-25T13:00:00Z"),
        ("today", "2026-11-24T23:00:00Z"),
        ("Yesterday", "2026-11-23T23:00:00Z"),
        ("yesterday 09:30", "2026-11-24T08:30:00Z"),
        ("monday", "2026-11-22T23:00:00Z"),
        ("wednesday", "2026-11-24T23:00:00Z"),
        ("thu", "2026-11-18T23:00:00Z"),
        ("sunday 12:00", "2026-11-22T11:00:00Z"),
        ("09:30", "2026-11-25T08:30:00Z"),
        ("09:30:15.5", "2026-11-25T08:30:15.5Z"),
        ("2026-11-25", "2026-11-24T23:00:00Z"),
        ("2026-11-25 09:30", "2026-11-25T08:30:00Z"),
        ("2026-11-25T09:30:01", "2026-11-25T08:30:01Z"),
        ("2026-11-25T09:30:00Z", "2026-11-25T09:30:00Z"),
        ("2026-11-25 09:30:00.123+01:00", "2026-11-25T08:30:00.123Z"),
        ("2026-11-25T09:30:00-05:00", "2026-11-25T14:30:00Z"),
        ("1700000000", "2023-11-14T22:13:20Z"),
        ("1700000000123", "2023-11-14T22:13:20.123Z"),
        ("1700000000123456", "2023-11-14T22:13:20.123456Z"),
    ];
    reads(&clock(BERLIN), &table);
}

#[test]
fn a_wrong_one_is_refused_with_examples() {
    let clock = clock(BERLIN);
    let long = "1h ".repeat(40);
    for wrong in [
        "",
        "0s",
        "soon",
        "90",
        "20261125",
        "25:00",
        "2026-13-01",
        "2026-11-25 9:30 pm",
        "2026-11-25T09:30:00+99:00",
        "yesterday noon",
        "9999999999999999999",
        "99999999y",
        &long,
    ] {
        let error = clock.moment(wrong).unwrap_err();
        assert!(error.contains("is no time: use 15m"), "{wrong}: {error}");
    }
}

#[test]
fn the_end_of_the_year_9999_is_the_last_time_that_there_is() {
    let clock = clock(BERLIN);
    let last = SystemTime::from(Timestamp::MAX);
    for text in [
        "9999-12-31T23:59:59Z",
        "9999-12-31T23:59:59.999999+01:00",
        "9999-12-31 23:59",
        "9999-12-31",
    ] {
        assert_eq!(clock.moment(text), Ok(last), "{text}");
    }
    for text in ["9999-12-32", "9999-12-31T25:00:00Z", "9999-12-3"] {
        assert!(clock.moment(text).is_err(), "{text}");
    }
}

#[test]
fn a_day_is_as_long_as_its_zone_makes_it() {
    // Clocks went forward on 2026-03-29 at 02:00, and back on 2026-10-25 at 03:00.
    let spring = clock("2026-03-29T14:00:00+02:00[Europe/Berlin]");
    let table = [
        ("today", "2026-03-28T23:00:00Z"),
        ("12h", "2026-03-29T00:00:00Z"),
        ("1d", "2026-03-28T13:00:00Z"),
        ("24h", "2026-03-28T12:00:00Z"),
        ("01:59", "2026-03-29T00:59:00Z"),
        ("02:30", "2026-03-29T01:30:00Z"),
        ("03:00", "2026-03-29T01:00:00Z"),
    ];
    reads(&spring, &table);
    let autumn = clock("2026-10-25T14:00:00+01:00[Europe/Berlin]");
    let table = [
        ("today", "2026-10-24T22:00:00Z"),
        ("1d", "2026-10-24T12:00:00Z"),
        ("24h", "2026-10-24T13:00:00Z"),
        ("02:30", "2026-10-25T00:30:00Z"),
        ("2026-10-25 02:30:00+01:00", "2026-10-25T01:30:00Z"),
        ("03:00", "2026-10-25T02:00:00Z"),
    ];
    reads(&autumn, &table);
    // A day that begins at 01:00.
    let beirut = clock("2026-03-29T14:00:00+03:00[Asia/Beirut]");
    reads(&beirut, &[("today", "2026-03-28T22:00:00Z")]);
}

#[test]
fn times_are_shown_with_their_zone_and_read_back() {
    let berlin = clock(BERLIN);
    let shown = berlin.local("2026-07-01T00:00:00.123456Z");
    assert_eq!(shown, "2026-07-01 02:00:00.123+02:00");
    reads(&berlin, &[(&shown, "2026-07-01T00:00:00.123Z")]);
    let utc = clock("2026-11-25T13:00:00+00:00[UTC]");
    assert_eq!(
        utc.local("2026-07-01T00:00:00.5Z"),
        "2026-07-01 00:00:00.500Z"
    );
    assert_eq!(utc.local("\x1b no time"), "\x1b no time");
}

#[test]
fn a_start_in_the_future_is_refused() {
    let berlin = clock(BERLIN);
    assert!(berlin.past("now").is_ok());
    let error = berlin.past("23:30").unwrap_err();
    assert_eq!(
        error,
        "\"23:30\" is in the future (2026-11-25 23:30:00.000+01:00); write `yesterday 23:30`"
    );
    assert!(berlin.past("2027-01-01").is_err());
}

#[test]
fn spans_are_read_with_their_unit() {
    let seconds = |text: &str| span(text).map(|length| length.as_secs_f64());
    for (text, expected) in [
        ("90", 90.0),
        ("90s", 90.0),
        ("15m", 900.0),
        ("15min", 900.0),
        ("1.5h", 5_400.0),
        ("7d", 604_800.0),
        ("2w", 1_209_600.0),
        ("250ms", 0.25),
        ("0", 0.0),
    ] {
        assert_eq!(seconds(text), Ok(expected), "{text}");
    }
    for wrong in [
        "",
        "m",
        "-3s",
        "1mo",
        "1y",
        "99999999d",
        "18446744073709551615",
        "18446744073709551615d",
    ] {
        assert!(span(wrong).is_err(), "{wrong}");
    }
}

/// As from a Monday until yesterday was, on Mondays and Tuesdays.
#[test]
fn a_range_in_an_example_is_none_that_is_empty_on_some_days() {
    let pages = [
        include_str!("../posthog/reconcile.rs"),
        include_str!("../../../../docs/reference/posthog.md"),
    ];
    let mut seen = 0;
    for line in pages.iter().flat_map(|page| page.lines()) {
        let after = |option: &str| {
            let (_, rest) = line.split_once(option)?;
            rest.split_whitespace().next()
        };
        let (Some(since), Some(until)) = (
            after("audithog posthog reconcile --since "),
            after(" --until "),
        ) else {
            continue;
        };
        seen += 1;
        for day in 23..30 {
            let clock = clock(&format!("2026-11-{day}T14:00:00+01:00[Europe/Berlin]"));
            let begin = clock.past(since).unwrap();
            assert!(
                begin < clock.moment(until).unwrap(),
                "{line} on November {day}"
            );
        }
    }
    assert_eq!(seen, 2, "the help and its page");
}
