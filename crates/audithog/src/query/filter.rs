//! Which rows a question is about.

use std::borrow::Cow;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::SystemTime;

use crate::error::{Error, Kind};
use crate::ledger::{Condition, RowFilter};
use crate::record::{ActorType, Field, Micros};

/// Which rows. All by default; every call narrows it down.
///
/// ```
/// use audithog::query::{Field, Filter};
///
/// let filter = Filter::all()
///     .is(Field::UserRole, ["admin", "owner"])?
///     .begins(Field::Path, "/agents/")?
///     .status("4xx".parse()?);
/// # Ok::<(), audithog::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter(pub(super) RowFilter);

/// Status codes: one (`404`), a class (`5xx`) or a range (`400-451`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    pub(super) first: u16,
    pub(super) last: u16,
}

impl Filter {
    /// What fields are called where people write filters: options of the command line, parameters of the console's addresses.
    pub const WORDS: [(&'static str, Field); 15] = [
        ("event", Field::Event),
        ("user", Field::UserId),
        ("role", Field::UserRole),
        ("org", Field::OrgId),
        ("service", Field::Service),
        ("environment", Field::Environment),
        ("method", Field::Method),
        ("path", Field::Path),
        ("route", Field::Route),
        ("result", Field::Result),
        ("error-code", Field::ErrorCode),
        ("request-id", Field::RequestId),
        ("trace-id", Field::TraceId),
        ("ip", Field::Ip),
        ("user-agent", Field::UserAgent),
    ];

    /// All rows.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Only rows whose time is not before this: the arrival of the request, or the time of the event.
    #[must_use]
    pub fn since(mut self, since: SystemTime) -> Self {
        self.0.since = Some(micros(since));
        self
    }

    /// Only rows whose time is before this.
    #[must_use]
    pub fn until(mut self, until: SystemTime) -> Self {
        self.0.until = Some(micros(until));
        self
    }

    /// Only rows whose field is exactly one of these texts. A method is also looked for in upper case, a request id
    /// that is a UUID in lower case.
    ///
    /// # Errors
    ///
    /// [`Error::is_question`]: no text is given, or one that the field never has: an address, a trace id, an actor type or a result
    /// that is none.
    pub fn is<T: Into<String>>(
        mut self,
        field: Field,
        texts: impl IntoIterator<Item = T>,
    ) -> Result<Self, Error> {
        let texts: Result<Vec<String>, Error> = texts
            .into_iter()
            .map(|text| normal(field, text.into()))
            .collect();
        let mut texts = texts?;
        let others: Vec<String> = texts.iter().filter_map(|text| other(field, text)).collect();
        texts.extend(others);
        if texts.is_empty() {
            return Err(wrong(format!("no value is given for {}", field.name())));
        }
        self.0.conditions.push(Condition::Is(field, texts));
        Ok(self)
    }

    /// Only rows that have the field.
    #[must_use]
    pub fn has(mut self, field: Field) -> Self {
        self.0.conditions.push(Condition::Has(field));
        self
    }

    /// Only rows that do not have the field: requests of nobody known, for [`Field::UserId`].
    #[must_use]
    pub fn lacks(mut self, field: Field) -> Self {
        self.0.conditions.push(Condition::Lacks(field));
        self
    }

    /// Only rows whose path, route, event, error code or user agent begins with this text.
    ///
    /// # Errors
    ///
    /// [`Error::is_question`]: another field, or an empty text.
    pub fn begins(mut self, field: Field, text: impl Into<String>) -> Result<Self, Error> {
        let text = text.into();
        if !has_beginnings(field) {
            return Err(wrong(format!(
                "{} is compared as a whole: a beginning can be asked for of path, route, event, error_code and user_agent",
                field.name()
            )));
        }
        if text.is_empty() {
            return Err(wrong(format!("the beginning of {} is empty", field.name())));
        }
        self.0.conditions.push(Condition::Begins(field, text));
        Ok(self)
    }

    /// Only rows whose field is one of these texts, as people write them: a `*` at the end of a single path, route, event, error code or user
    /// agent stands for anything. A lone `*` is a text of its own, and `\*` at the end stands for a `*`.
    ///
    /// # Errors
    ///
    /// As for [`Filter::is`]; several texts, one of them with such a `*`.
    pub fn matches<T: AsRef<str>>(
        self,
        field: Field,
        texts: impl IntoIterator<Item = T>,
    ) -> Result<Self, Error> {
        let texts: Vec<Wanted> = texts
            .into_iter()
            .map(|text| Wanted::of(field, text.as_ref()))
            .collect();
        let beginning = texts.iter().find_map(|text| match text {
            Wanted::Beginning(text) => Some(text.clone()),
            Wanted::Whole(_) => None,
        });
        match (&*texts, beginning) {
            (_, None) => self.is(field, texts.into_iter().map(Wanted::text)),
            ([_], Some(text)) => self.begins(field, text),
            _ => Err(wrong(
                "several values with `*` cannot be asked for at once: give one".to_owned(),
            )),
        }
    }

    /// The text that [`Filter::matches`] takes for exactly this one: a `*` at its end is written `\*`.
    ///
    /// ```
    /// use audithog::query::{Field, Filter};
    ///
    /// let route = Filter::exactly(Field::Route, "/files/*");
    /// assert_eq!(route, r"/files/\*");
    /// let filter = Filter::all().matches(Field::Route, [route])?;
    /// assert_eq!(filter, Filter::all().is(Field::Route, ["/files/*"])?);
    /// # Ok::<(), audithog::Error>(())
    /// ```
    #[must_use]
    pub fn exactly(field: Field, text: &str) -> Cow<'_, str> {
        match text.strip_suffix('*').filter(|text| !text.is_empty()) {
            Some(before) if has_beginnings(field) => Cow::Owned(format!(r"{before}\*")),
            _ => Cow::Borrowed(text),
        }
    }

    /// Only rows with this status code, or one of this class.
    #[must_use]
    pub fn status(self, status: Status) -> Self {
        self.any_status([status])
    }

    /// Only rows with one of these status codes or classes. None given: no row.
    #[must_use]
    pub fn any_status(mut self, statuses: impl IntoIterator<Item = Status>) -> Self {
        let statuses = Condition::Status(ranges(statuses));
        self.0.conditions.push(statuses);
        self
    }

    /// Only rows with none of these status codes or classes, rows without a status with them. None given: all rows.
    #[must_use]
    pub fn no_status(mut self, statuses: impl IntoIterator<Item = Status>) -> Self {
        let statuses = Condition::NoStatus(ranges(statuses));
        self.0.conditions.push(statuses);
        self
    }

    /// Only requests that were refused because somebody asked for too much: status 402 or 429, or an error code that contains
    /// `QUOTA`, `RATE_LIMIT`, `TOO_MANY_REQUESTS` or `LIMIT_EXCEEDED`, in upper or lower case.
    #[must_use]
    pub fn refused(mut self) -> Self {
        self.0.conditions.push(Condition::Refused);
        self
    }

    /// The rows, for other rooms.
    #[cfg(feature = "posthog")]
    pub(crate) fn rows(&self) -> RowFilter {
        self.0.clone()
    }

    /// The start of the time range, if there is one: RFC 3339 in UTC.
    #[must_use]
    pub fn since_text(&self) -> Option<String> {
        self.0.since.map(|since| since.to_string())
    }

    /// The end of the time range, if there is one: RFC 3339 in UTC.
    #[must_use]
    pub fn until_text(&self) -> Option<String> {
        self.0.until.map(|until| until.to_string())
    }

    /// What is asked for besides the time range, one text a condition: `user_id = u_17`.
    #[must_use]
    pub fn conditions(&self) -> Vec<String> {
        self.0.conditions.iter().filter_map(shown).collect()
    }
}

/// A text as people write it.
#[derive(Debug)]
enum Wanted {
    Whole(String),
    Beginning(String),
}

impl Wanted {
    fn of(field: Field, text: &str) -> Self {
        let before = text.strip_suffix('*').filter(|text| !text.is_empty());
        match before.filter(|_| has_beginnings(field)) {
            None => Self::Whole(text.to_owned()),
            Some(before) => match before.strip_suffix('\\') {
                Some(before) => Self::Whole(format!("{before}*")),
                None => Self::Beginning(before.to_owned()),
            },
        }
    }

    fn text(self) -> String {
        match self {
            Self::Whole(text) | Self::Beginning(text) => text,
        }
    }
}

fn has_beginnings(field: Field) -> bool {
    matches!(
        field,
        Field::Path | Field::Route | Field::Event | Field::ErrorCode | Field::UserAgent
    )
}

fn shown(condition: &Condition) -> Option<String> {
    Some(match condition {
        Condition::Is(field, texts) => format!("{} = {}", field.name(), texts.join(" or ")),
        Condition::Has(field) => format!("{} is set", field.name()),
        Condition::Lacks(field) => format!("{} is not set", field.name()),
        Condition::Begins(field, text) => format!("{} begins with {text}", field.name()),
        Condition::Status(ranges) => format!("status_code = {}", in_words(ranges)),
        Condition::NoStatus(ranges) => format!("status_code is not {}", in_words(ranges)),
        Condition::Refused => "refused for a quota or a rate limit".to_owned(),
        Condition::Request => return None,
    })
}

fn ranges(statuses: impl IntoIterator<Item = Status>) -> Vec<(u16, u16)> {
    statuses
        .into_iter()
        .map(|status| (status.first, status.last))
        .collect()
}

fn in_words(ranges: &[(u16, u16)]) -> String {
    let ranges: Vec<String> = ranges
        .iter()
        .map(|&(first, last)| Status { first, last }.to_string())
        .collect();
    ranges.join(" or ")
}

/// The text as rows have it.
fn normal(field: Field, text: String) -> Result<String, Error> {
    let refuse = |expected: &str| {
        Err(wrong(format!(
            "{text:?} is no {}: {expected}",
            field.name()
        )))
    };
    match field {
        Field::Ip => match text.parse::<IpAddr>() {
            Ok(ip) => Ok(ip.to_string()),
            Err(_) => refuse("give an IPv4 or IPv6 address"),
        },
        Field::TraceId => {
            let hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            if hex {
                Ok(text.to_ascii_lowercase())
            } else {
                refuse("give 32 hexadecimal digits")
            }
        }
        Field::Result => match &*text {
            "success" | "failure" => Ok(text),
            _ => refuse("give success or failure"),
        },
        Field::ActorType => {
            if ActorType::ALL.iter().any(|kind| kind.as_str() == text) {
                Ok(text)
            } else {
                refuse("give user, service, api_key, anonymous or system")
            }
        }
        _ => Ok(text),
    }
}

/// Another form in which rows may have it: methods are written in upper case, UUIDs in lower case, unless somebody does otherwise.
fn other(field: Field, text: &str) -> Option<String> {
    let other = match field {
        Field::Method => text.to_ascii_uppercase(),
        Field::RequestId | Field::UpstreamRequestId if uuid::Uuid::try_parse(text).is_ok() => {
            text.to_ascii_lowercase()
        }
        _ => return None,
    };
    (other != text).then_some(other)
}

impl FromStr for Status {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = || {
            wrong(format!(
                "{text:?} is no status: give a code as 404, a class as 5xx, or a range as 400-451"
            ))
        };
        let code = |text: &str| -> Option<u16> {
            let three = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
            let code = three.then(|| text.parse().ok()).flatten()?;
            (100..=999).contains(&code).then_some(code)
        };
        if let Some(class) = text.strip_suffix("xx").or_else(|| text.strip_suffix("XX")) {
            return match class.parse::<u16>() {
                Ok(class @ 1..=9) => Ok(Self {
                    first: class * 100,
                    last: class * 100 + 99,
                }),
                _ => Err(refuse()),
            };
        }
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (code(first), code(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self { first, last }),
            _ => Err(refuse()),
        }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { first, last } = *self;
        match last - first {
            0 => write!(f, "{first}"),
            99 if first % 100 == 0 => write!(f, "{}xx", first / 100),
            _ => write!(f, "{first}-{last}"),
        }
    }
}

pub(super) fn wrong(message: String) -> Error {
    Error::new(Kind::Question, message)
}

pub(super) fn micros(time: SystemTime) -> Micros {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => Micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX)),
        Err(before) => {
            Micros(i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros))
        }
    }
}
