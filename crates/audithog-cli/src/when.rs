//! Times as people write them: `1h`, `yesterday`, `monday 09:30`, `2026-11-25 09:30`, RFC 3339, Unix time.

use std::time::{Duration, SystemTime};

use jiff::{
    SpanRelativeTo, Timestamp, ToSpan as _, Zoned,
    civil::{Date, DateTime, Time, Weekday},
    tz::TimeZone,
};

/// Longer texts are no time.
const LONGEST: usize = 64;

const EXAMPLES: &str =
    "use 15m, 7d, yesterday, monday 09:30, 2026-11-25, 2026-11-25 09:30, RFC 3339 or Unix time";

/// Now, and the zone in which times are read and shown.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    now: Zoned,
}

impl Clock {
    /// The system's time and zone (`TZ`, else its own); UTC if asked for, or if it has none.
    pub(crate) fn system(utc: bool) -> Self {
        let zone = if utc {
            TimeZone::UTC
        } else {
            TimeZone::try_system().unwrap_or(TimeZone::UTC)
        };
        Self {
            now: Timestamp::now().to_zoned(zone),
        }
    }

    pub(crate) fn now(&self) -> SystemTime {
        self.now.timestamp().into()
    }

    /// The same zone at another time.
    pub(crate) fn at_time(&self, now: SystemTime) -> Self {
        let now = Timestamp::try_from(now).unwrap_or(Timestamp::MAX);
        Self {
            now: now.to_zoned(self.now.time_zone().clone()),
        }
    }

    /// The zone's name: `Europe/Berlin`, `UTC`; of one without a name its distance from UTC.
    pub(crate) fn zone(&self) -> String {
        match self.now.time_zone().iana_name() {
            Some(name) => name.to_owned(),
            None => self.now.strftime("%:z").to_string(),
        }
    }

    /// The start of what the text names; a span is so long ago.
    pub(crate) fn moment(&self, text: &str) -> Result<SystemTime, String> {
        let text = text.trim();
        let found = (text.len() <= LONGEST)
            .then(|| self.read(text))
            .flatten()
            .ok_or_else(|| format!("{text:?} is no time: {EXAMPLES}"))?;
        Ok(found.into())
    }

    /// A time that is asked for from there on: one that is not yet there is a mistake.
    pub(crate) fn past(&self, text: &str) -> Result<SystemTime, String> {
        let found = self.moment(text)?;
        if found <= self.now() {
            return Ok(found);
        }
        let hint = match time_of_day(text.trim()) {
            Some(_) => format!("; write `yesterday {}`", text.trim()),
            None => String::new(),
        };
        let shown = self.text_of(found);
        Err(format!("{text:?} is in the future ({shown}){hint}"))
    }

    /// As [`Clock::local`].
    pub(crate) fn text_of(&self, time: SystemTime) -> String {
        self.shown(Timestamp::try_from(time).unwrap_or(Timestamp::MAX))
    }

    /// `2026-11-25 09:30:00.123+01:00` of an RFC 3339 time; another text as it is. Can be given back as a time.
    pub(crate) fn local(&self, rfc_3339: &str) -> String {
        match rfc_3339.parse::<Timestamp>() {
            Ok(time) => self.shown(time),
            Err(_) => rfc_3339.to_owned(),
        }
    }

    fn shown(&self, time: Timestamp) -> String {
        let time = time.to_zoned(self.now.time_zone().clone());
        // Milliseconds: rows have microseconds, for which the machine formats are.
        let text = time.strftime("%Y-%m-%d %H:%M:%S%.3f");
        if time.offset().is_zero() {
            return format!("{text}Z");
        }
        format!("{text}{}", time.strftime("%:z"))
    }

    fn read(&self, text: &str) -> Option<Timestamp> {
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return unix(text);
        }
        if text.eq_ignore_ascii_case("now") {
            return Some(self.now.timestamp());
        }
        self.named_day(text)
            .or_else(|| self.civil(text))
            .or_else(|| text.parse().ok())
            .or_else(|| self.ago(text))
            .or_else(|| self.end_of_time(text))
    }

    /// The last days of the year 9999, which are not there in every zone, and mean "never": the last time that there is.
    fn end_of_time(&self, text: &str) -> Option<Timestamp> {
        let earlier = format!("1999-12-3{}", text.strip_prefix("9999-12-3")?);
        let is_one = self.civil(&earlier).or_else(|| earlier.parse().ok());
        is_one.map(|_| Timestamp::MAX)
    }

    /// `today`, `yesterday 09:30`, `mon`: the latest such day, today included.
    fn named_day(&self, text: &str) -> Option<Timestamp> {
        let (word, time) = match text.split_once(char::is_whitespace) {
            Some((word, time)) => (word, time_of_day(time.trim())?),
            None => (text, Time::midnight()),
        };
        let today = self.now.date();
        let day = match &*word.to_ascii_lowercase() {
            "today" => today,
            "yesterday" => today.yesterday().ok()?,
            word => {
                let days = i64::from(today.weekday().since(weekday(word)?));
                today.checked_sub(days.days()).ok()?
            }
        };
        self.at(day.to_datetime(time))
    }

    /// A date, a time of today, or both, in the zone.
    fn civil(&self, text: &str) -> Option<Timestamp> {
        if let Some(time) = time_of_day(text) {
            return self.at(self.now.date().to_datetime(time));
        }
        // These would be read without what they say of a zone.
        let (day, rest) = text.split_at_checked(10)?;
        let has_zone = rest.contains(['+', '-', '[', 'z', 'Z']);
        if has_zone || day.parse::<Date>().is_err() {
            return None;
        }
        self.at(text.parse::<DateTime>().ok()?)
    }

    /// What a clock on the wall showed. Of an hour that comes twice the first; of one that does not come, the time after the gap.
    fn at(&self, civil: DateTime) -> Option<Timestamp> {
        let zone = self.now.time_zone();
        zone.to_ambiguous_timestamp(civil).compatible().ok()
    }

    /// Days and more are those of the calendar.
    fn ago(&self, text: &str) -> Option<Timestamp> {
        let span = span_of(text)?;
        // A zone whose days are 23 to 25 hours long.
        let then = self.now.checked_sub(span.abs()).ok()?;
        Some(then.timestamp())
    }
}

/// `09:30`, `09:30:15.5`. What parses a time takes it out of a date with a zone, too.
fn time_of_day(text: &str) -> Option<Time> {
    let plain = |byte: u8| byte.is_ascii_digit() || byte == b':' || byte == b'.';
    let is_one = text.contains(':') && text.bytes().all(plain);
    is_one.then(|| text.parse().ok()).flatten()
}

/// Seconds, milliseconds or microseconds since 1970, by the number of digits.
fn unix(digits: &str) -> Option<Timestamp> {
    let n: i64 = digits.parse().ok()?;
    match digits.len() {
        9 | 10 => Timestamp::from_second(n).ok(),
        12 | 13 => Timestamp::from_millisecond(n).ok(),
        15 | 16 => Timestamp::from_microsecond(n).ok(),
        _ => None,
    }
}

fn weekday(word: &str) -> Option<Weekday> {
    Some(match word {
        "monday" | "mon" => Weekday::Monday,
        "tuesday" | "tue" => Weekday::Tuesday,
        "wednesday" | "wed" => Weekday::Wednesday,
        "thursday" | "thu" => Weekday::Thursday,
        "friday" | "fri" => Weekday::Friday,
        "saturday" | "sat" => Weekday::Saturday,
        "sunday" | "sun" => Weekday::Sunday,
        _ => return None,
    })
}

/// `90s`, `1h30m`, `2 weeks ago`, `PT1H`.
fn span_of(text: &str) -> Option<jiff::Span> {
    text.parse()
        .ok()
        .filter(|span: &jiff::Span| !span.is_zero())
}

/// A time span as an argument: `90s`, `15m`, `24h`, `7d`, `2w`; a bare number is seconds. A day has 24 hours.
pub(crate) fn span(text: &str) -> Result<Duration, String> {
    let refuse = || "is no time: use 90s, 15m, 24h, 7d or 2w".to_owned();
    let text = text.trim();
    if text.len() > LONGEST {
        return Err(refuse());
    }
    let span = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        format!("{text}s").parse().ok()
    } else {
        text.parse::<jiff::Span>().ok()
    };
    let span = span.ok_or_else(refuse)?;
    // Months and years have no length of their own.
    let length = span
        .to_duration(SpanRelativeTo::days_are_24_hours())
        .map_err(|_| refuse())?;
    let length = Duration::try_from(length).map_err(|_| refuse())?;
    if length > Duration::from_secs(100 * 366 * 86_400) {
        return Err("is more than a hundred years".to_owned());
    }
    Ok(length)
}

#[cfg(test)]
mod tests;
