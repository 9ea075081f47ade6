//! Where values come from: code that pins, the environment, code, in this order. Empty means unset.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::Secret;
use super::variables::{self, Variable};
use crate::record::limits;

/// Longest file that a `…_FILE` variable may name.
const MAX_SECRET_FILE: u64 = 64 * 1024;
/// Most bytes of what a parser says about a value: it may repeat parts of it.
const LONGEST_PROBLEM: usize = 1_000;
/// Less than this holds too few rows to be meant.
const LEAST_SIZE: u64 = 1 << 20;
/// 1024 TiB: more is a typing error. SQLite's own limit is 256 TiB.
const MOST_SIZE: u64 = 1 << 50;
/// A hundred years: longer is a typing error, and far from any overflow.
const LONGEST_TIME: Duration = Duration::from_secs(100 * 366 * 86_400);

/// The values of one start, and what is wrong with them.
#[derive(Default)]
pub(crate) struct Values {
    environment: BTreeMap<String, String>,
    code: BTreeMap<&'static str, String>,
    pinned: BTreeMap<&'static str, String>,
    problems: Vec<String>,
}

/// A value, trimmed and not empty.
pub(crate) struct Found {
    pub(crate) text: String,
    pub(crate) source: Source,
}

/// Who set a value, the strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    Pinned,
    /// Also the file that the environment names.
    Environment,
    Code,
}

impl Source {
    /// The variable as a problem names it: where to look for it is part of the name.
    pub(crate) fn of(self, name: &str) -> String {
        match self {
            Self::Pinned => format!("{name}, pinned in code"),
            Self::Environment => name.to_owned(),
            Self::Code => format!("{name}, set in code"),
        }
    }
}

impl Values {
    pub(crate) fn new(
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        code: BTreeMap<&'static str, String>,
        pinned: BTreeMap<&'static str, String>,
    ) -> Self {
        let mut values = Self {
            code,
            pinned,
            ..Self::default()
        };
        for (name, value) in environment {
            values.add(&name, value);
        }
        values
    }

    /// Takes what is ours or may be meant for us.
    fn add(&mut self, name: &OsStr, value: OsString) {
        let name = name.to_string_lossy();
        let is_empty = value.to_str().is_some_and(|value| value.trim().is_empty());
        if is_empty || self.pinned.contains_key(&*name) {
            return;
        }
        if let Some(problem) = variables::unknown(&name, &value.to_string_lossy()) {
            self.problems.push(problem);
        }
        match value.into_string() {
            Ok(value) => drop(self.environment.insert(name.into_owned(), value)),
            // Of OpenTelemetry's variables its specification says to ignore what cannot be read.
            Err(_) if variables::is_known(&name) || name == variables::STATE_DIRECTORY => {
                self.problems.push(format!("{name} is not valid UTF-8"));
            }
            Err(_) => {}
        }
    }

    /// The value of `name` and who set it; a secret also from its file.
    ///
    /// Pinned as empty is pinned as unset: the environment cannot set it.
    pub(crate) fn find(&mut self, name: &'static str) -> Option<Found> {
        let (text, source) = if let Some(pinned) = self.pinned.get(name) {
            (pinned.clone(), Source::Pinned)
        } else if let Some(text) = self.said_by_environment(name) {
            (text, Source::Environment)
        } else {
            (self.code.get(name)?.clone(), Source::Code)
        };
        let text = text.trim();
        (!text.is_empty()).then(|| Found {
            text: text.to_owned(),
            source,
        })
    }

    pub(crate) fn is_pinned(&self, name: &str) -> bool {
        self.pinned.contains_key(name)
    }

    pub(crate) fn text(&mut self, name: &'static str) -> Option<String> {
        self.find(name).map(|found| found.text)
    }

    pub(crate) fn secret(&mut self, name: &'static str) -> Option<Secret> {
        self.text(name).map(Secret::new)
    }

    /// A variable that is not ours.
    pub(crate) fn foreign(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(|value| value.trim())
    }

    fn said_by_environment(&mut self, name: &'static str) -> Option<String> {
        let from_file = if is_secret(name) {
            self.secret_file(name)
        } else {
            None
        };
        self.environment.get(name).cloned().or(from_file)
    }

    /// What the file holds that `<name>_FILE` names. Problems do not repeat the path: who confuses the two forms
    /// has put the secret there.
    fn secret_file(&mut self, name: &'static str) -> Option<String> {
        let path = self.environment.get(&format!("{name}_FILE"))?.trim();
        if self.environment.contains_key(name) {
            self.problems
                .push(format!("{name} and {name}_FILE are both set; keep one"));
            return None;
        }
        let problem = match read_bounded(path) {
            Ok(text) if text.trim().is_empty() => "names an empty file".to_owned(),
            Ok(text) => return Some(text),
            Err(error) => format!("names a file that cannot be read: {error}"),
        };
        self.problems.push(format!("{name}_FILE {problem}"));
        None
    }

    /// Parses `name` with `parse`; the default if it is unset or wrong. A wrong value is noted.
    pub(crate) fn parse<T, E: fmt::Display>(
        &mut self,
        name: &'static str,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> T {
        self.parse_as(name, default, |text| {
            parse(text).map_err(|error| {
                let error = limits::cut(&error.to_string(), LONGEST_PROBLEM).into_owned();
                format!(": `{}` {error}", shorten(text))
            })
        })
    }

    /// Like [`parse`](Self::parse), for values that may hold a secret: a problem does not repeat them.
    pub(crate) fn parse_unseen<T>(
        &mut self,
        name: &'static str,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> T {
        self.parse_as(name, default, |text| {
            parse(text).map_err(|error| format!(" {error}"))
        })
    }

    fn parse_as<T>(
        &mut self,
        name: &'static str,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> T {
        let Some(found) = self.find(name) else {
            return default;
        };
        parse(&found.text).unwrap_or_else(|problem| {
            self.problems
                .push(format!("{}{problem}", found.source.of(name)));
            default
        })
    }

    /// A whole number within bounds.
    pub(crate) fn number<T>(&mut self, name: &'static str, default: T, least: T, most: T) -> T
    where
        T: FromStr + PartialOrd + fmt::Display + Copy,
    {
        self.parse(name, default, |text| match text.parse::<T>() {
            Ok(value) if value >= least && value <= most => Ok(value),
            _ => Err(format!("is not a whole number from {least} to {most}")),
        })
    }

    /// A whole number of milliseconds within bounds.
    pub(crate) fn millis(
        &mut self,
        name: &'static str,
        default: Duration,
        least: u64,
        most: u64,
    ) -> Duration {
        let default = u64::try_from(default.as_millis()).unwrap_or(most);
        Duration::from_millis(self.number(name, default, least, most))
    }

    /// A time of at least `least`.
    pub(crate) fn time(
        &mut self,
        name: &'static str,
        default: Duration,
        least: Duration,
    ) -> Duration {
        self.parse(name, default, |text| duration(text, least))
    }

    /// One of a few words.
    pub(crate) fn choice<T: Copy>(
        &mut self,
        name: &'static str,
        default: T,
        words: &[(&str, T)],
    ) -> T {
        self.parse(name, default, |text| {
            let found = words
                .iter()
                .find(|(word, _)| word.eq_ignore_ascii_case(text));
            found.map(|(_, value)| *value).ok_or_else(|| {
                let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                format!("is not one of: {}", words.join(", "))
            })
        })
    }

    pub(crate) fn problem(&mut self, problem: impl Into<String>) {
        self.problems.push(problem.into());
    }

    pub(crate) fn into_problems(self) -> Vec<String> {
        self.problems
    }
}

fn is_secret(name: &str) -> bool {
    variables::ALL.iter().any(
        |Variable {
             name: known,
             secret,
         }| *secret && *known == name,
    )
}

fn read_bounded(path: &str) -> std::io::Result<String> {
    use std::io::{Error, ErrorKind, Read as _};
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    let read = file.take(MAX_SECRET_FILE + 1).read_to_string(&mut text)?;
    if MAX_SECRET_FILE < read as u64 {
        return Err(Error::new(
            ErrorKind::FileTooLarge,
            "it is longer than 64 KiB",
        ));
    }
    Ok(text)
}

/// A wrong value in a message: bounded and without control characters.
pub(crate) fn shorten(text: &str) -> String {
    crate::record::sanitize::text(text, 80).to_string()
}

/// `90s`, `15m`, `12h`, `400d`; a bare number is refused, because nobody knows its unit.
pub(crate) fn duration(text: &str, least: Duration) -> Result<Duration, String> {
    const FORM: &str = "is not a time like 90s, 15m, 12h or 400d";
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let seconds = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(FORM.to_owned()),
    };
    let amount: u64 = digits.trim().parse().map_err(|_| FORM.to_owned())?;
    let time = Duration::from_secs(amount.saturating_mul(seconds));
    if time < least {
        return Err(format!("is less than {} s", least.as_secs()));
    }
    if LONGEST_TIME < time {
        return Err("is more than a hundred years".to_owned());
    }
    Ok(time)
}

/// `500000000`, `500MB`, `2GiB`, of at least 1 MiB.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    bytes_upto(text, MOST_SIZE, "1024TiB")
}

/// The same with another bound, and how that is written.
pub(super) fn bytes_upto(text: &str, most: u64, written: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 9] = [
        ("KIB", 1 << 10),
        ("MIB", 1 << 20),
        ("GIB", 1 << 30),
        ("TIB", 1 << 40),
        ("KB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
        ("", 1),
    ];
    let upper = text.to_ascii_uppercase();
    let (digits, factor) = UNITS
        .iter()
        .find_map(|(unit, factor)| {
            upper
                .strip_suffix(unit)
                .map(|digits| (digits.trim(), *factor))
        })
        .unwrap_or((upper.as_str(), 1));
    let amount: u64 = digits
        .parse()
        .map_err(|_| "is not a size like 500000000, 500MB or 2GiB".to_owned())?;
    match amount.checked_mul(factor) {
        Some(bytes) if (LEAST_SIZE..=most).contains(&bytes) => Ok(bytes),
        _ => Err(format!("is not a size from 1MiB to {written}")),
    }
}
