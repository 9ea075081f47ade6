//! Where values come from: code that pins, the environment, code, in this order. Empty means unset.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::Secret;
use super::variables::{self, Variable};

/// Longest file that a `…_FILE` variable may name.
const MAX_SECRET_FILE: u64 = 64 * 1024;

/// The values of one start, and what is wrong with them.
#[derive(Default)]
pub(crate) struct Values {
    environment: BTreeMap<String, String>,
    code: BTreeMap<&'static str, String>,
    pinned: BTreeMap<&'static str, String>,
    problems: Vec<String>,
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
    fn add(&mut self, name: &OsString, value: OsString) {
        let Some(name) = name.to_str() else { return };
        match value.into_string() {
            Ok(value) => {
                if let Some(problem) = variables::unknown(name, &value) {
                    self.problems.push(problem);
                }
                if !value.trim().is_empty() {
                    self.environment.insert(name.to_owned(), value);
                }
            }
            Err(_) if variables::is_known(name) => {
                self.problems.push(format!("{name} is not valid UTF-8"));
            }
            Err(_) => self.problems.extend(variables::unknown(name, "")),
        }
    }

    /// The value of `name`, trimmed; a secret also from its file.
    pub(crate) fn text(&mut self, name: &'static str) -> Option<String> {
        if let Some(pinned) = self.pinned.get(name) {
            return Some(pinned.clone());
        }
        let from_file = if is_secret(name) {
            self.secret_file(name)
        } else {
            None
        };
        let value = self
            .environment
            .get(name)
            .cloned()
            .or(from_file)
            .or_else(|| self.code.get(name).cloned())?;
        let value = value.trim().to_owned();
        (!value.is_empty()).then_some(value)
    }

    pub(crate) fn secret(&mut self, name: &'static str) -> Option<Secret> {
        self.text(name).map(Secret::new)
    }

    /// A variable that is not ours.
    pub(crate) fn foreign(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(|value| value.trim())
    }

    fn secret_file(&mut self, name: &'static str) -> Option<String> {
        let path = self
            .environment
            .get(&format!("{name}_FILE"))?
            .trim()
            .to_owned();
        if self.environment.contains_key(name) {
            self.problems
                .push(format!("{name} and {name}_FILE are both set; keep one"));
            return None;
        }
        match read_bounded(&path) {
            Ok(text) if text.trim().is_empty() => {
                self.problems
                    .push(format!("{name}_FILE names an empty file, {path}"));
                None
            }
            Ok(text) => Some(text),
            Err(error) => {
                self.problems
                    .push(format!("{name}_FILE: {path} cannot be read: {error}"));
                None
            }
        }
    }

    /// Parses `name` with `parse`; the default if it is unset or wrong. A wrong value is noted.
    pub(crate) fn parse<T, E: fmt::Display>(
        &mut self,
        name: &'static str,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> T {
        let Some(text) = self.text(name) else {
            return default;
        };
        match parse(&text) {
            Ok(value) => value,
            Err(error) => {
                // The value of a secret is not repeated, whatever is wrong with it.
                let shown = if is_secret(name) {
                    String::new()
                } else {
                    format!("`{}` ", shorten(&text))
                };
                self.problems.push(format!("{name}: {shown}{error}"));
                default
            }
        }
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
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)?
        .take(MAX_SECRET_FILE)
        .read_to_string(&mut text)?;
    Ok(text)
}

/// A wrong value in a message: bounded and without control characters.
pub(crate) fn shorten(text: &str) -> String {
    crate::record::sanitize::text(text, 80).into_owned()
}

/// `90s`, `15m`, `12h`, `400d`; a bare number is refused, because nobody knows its unit.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let seconds = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err("is not a time like 90s, 15m, 12h or 400d".to_owned()),
    };
    let amount: u64 = digits
        .trim()
        .parse()
        .map_err(|_| "is not a time like 90s, 15m, 12h or 400d".to_owned())?;
    // A hundred years: longer is a typing error, and far from any overflow.
    match amount.checked_mul(seconds) {
        Some(seconds) if seconds <= 100 * 366 * 86_400 => Ok(Duration::from_secs(seconds)),
        _ => Err("is more than a hundred years".to_owned()),
    }
}

/// `500000000`, `500MB`, `2GiB`.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 7] = [
        ("KIB", 1 << 10),
        ("MIB", 1 << 20),
        ("GIB", 1 << 30),
        ("KB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
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
    amount
        .checked_mul(factor)
        .ok_or_else(|| "is too large".to_owned())
}
