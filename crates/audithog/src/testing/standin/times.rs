//! Which timestamp is stored for the one that was given.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// A result further ahead of the server's clock than this is set to the server's clock.
const MAX_AHEAD: SignedDuration = SignedDuration::from_hours(23);

/// What v0 was told about an event's time.
#[derive(Debug, Clone, Copy)]
pub(super) struct GivenTime<'a> {
    pub(super) timestamp: Option<&'a str>,
    pub(super) offset_ms: Option<i64>,
    /// The client's clock at the time of sending, unless the event asks to ignore it.
    pub(super) sent_at: Option<Timestamp>,
}

/// The timestamp that v0 stores.
pub(super) fn stored(given: GivenTime<'_>, now: Timestamp) -> Timestamp {
    if let Some(offset) = given.offset_ms {
        let at = now.checked_sub(SignedDuration::from_millis(offset));
        return clamp(at.unwrap_or(Timestamp::UNIX_EPOCH), now);
    }
    match given.timestamp.map(read) {
        None | Some(Reading::Unreadable) => now,
        Some(Reading::OutOfRange) => Timestamp::UNIX_EPOCH,
        Some(Reading::At(at)) => {
            let skew = given
                .sent_at
                .map_or(SignedDuration::ZERO, |sent_at| sent_at.duration_since(now));
            corrected(at, skew, now)
        }
    }
}

/// `at` minus the client's skew, within the bounds of what is stored.
pub(super) fn corrected(at: Timestamp, skew: SignedDuration, now: Timestamp) -> Timestamp {
    clamp(at.checked_sub(skew).unwrap_or(Timestamp::UNIX_EPOCH), now)
}

fn clamp(at: Timestamp, now: Timestamp) -> Timestamp {
    if TimeZone::UTC.to_datetime(at).year() < 0 {
        return Timestamp::UNIX_EPOCH;
    }
    if at.duration_since(now) > MAX_AHEAD {
        return now;
    }
    at
}

enum Reading {
    At(Timestamp),
    OutOfRange,
    Unreadable,
}

/// An instant in any format that v0 takes, if it can be read.
pub(super) fn read_instant(text: &str) -> Option<Timestamp> {
    match read(text) {
        Reading::At(at) => Some(at),
        Reading::OutOfRange | Reading::Unreadable => None,
    }
}

fn read(text: &str) -> Reading {
    let text = text.trim();
    let in_utc = |at: DateTime| TimeZone::UTC.to_timestamp(at).ok();
    let at = text
        .parse::<Timestamp>()
        .ok()
        .or_else(|| text.parse::<DateTime>().ok().and_then(in_utc))
        .or_else(|| text.parse::<Date>().ok().and_then(|day| in_utc(day.into())))
        .or_else(|| {
            let zoned = jiff::fmt::rfc2822::parse(text).ok()?;
            Some(zoned.timestamp())
        });
    if let Some(at) = at {
        Reading::At(at)
    } else if let Ok(number) = text.parse::<f64>() {
        read_number(number)
    } else if has_five_digit_year(text) {
        Reading::OutOfRange
    } else {
        Reading::Unreadable
    }
}

/// Seconds since the epoch, or milliseconds when the number is too large for seconds.
fn read_number(number: f64) -> Reading {
    const FIRST_MILLISECONDS: f64 = 1e11;
    if !number.is_finite() {
        return Reading::Unreadable;
    }
    let seconds = if number.abs() >= FIRST_MILLISECONDS {
        number / 1000.0
    } else {
        number
    };
    SignedDuration::try_from_secs_f64(seconds)
        .ok()
        .and_then(|since| Timestamp::from_duration(since).ok())
        .map_or(Reading::OutOfRange, Reading::At)
}

fn has_five_digit_year(text: &str) -> bool {
    let unsigned = text.trim_start_matches(['+', '-']);
    let digits = unsigned.bytes().take_while(u8::is_ascii_digit).count();
    digits >= 5 && unsigned.as_bytes().get(digits) == Some(&b'-')
}

/// An instant in strict RFC 3339, the only format that v1 takes.
pub(super) fn read_rfc3339(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let shape = b"0000-00-00T00:00:00";
    let head = bytes.get(..shape.len())?;
    let fits = head.iter().zip(shape).all(|(byte, wanted)| match wanted {
        b'0' => byte.is_ascii_digit(),
        _ => byte.eq_ignore_ascii_case(wanted),
    });
    let mut rest = text.get(shape.len()..)?;
    if let Some(fraction) = rest.strip_prefix('.') {
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return None;
        }
        rest = &fraction[digits..];
    }
    let zone_fits = rest.eq_ignore_ascii_case("z")
        || (rest.len() == 6
            && rest.starts_with(['+', '-'])
            && rest.as_bytes().get(3) == Some(&b':'));
    if fits && zone_fits {
        text.parse().ok()
    } else {
        None
    }
}

/// Milliseconds since the epoch, as in v0's `_` parameter; years up to 2020 are taken for garbage.
pub(super) fn read_query_millis(text: &str) -> Option<Timestamp> {
    let at = Timestamp::from_millisecond(text.trim().parse().ok()?).ok()?;
    (TimeZone::UTC.to_datetime(at).year() > 2020).then_some(at)
}
