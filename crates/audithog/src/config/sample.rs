//! `AUDITHOG_SAMPLE`: which request rows PostHog gets.
//!
//! ```text
//! rules  = rule *( "," rule )
//! rule   = [ method SP ] [ route SP ] [ status ] "=" rate
//! status = "1xx" … "5xx" / "100" … "599" / "success" / "failure"
//! rate   = a number from 0 (none) to 1 (all)
//! ```
//!
//! Without a status a rule is about successes: failures are kept whole unless a rule names them.

use std::fmt;

use super::{SampleRule, StatusMatch};

/// Parses the rules; the error says which one is wrong and why.
pub(crate) fn parse(text: &str) -> Result<Vec<SampleRule>, String> {
    text.split(',')
        .map(str::trim)
        .filter(|rule| !rule.is_empty())
        .map(rule)
        .collect()
}

fn rule(text: &str) -> Result<SampleRule, String> {
    let wrong = |why: &str| format!("has a rule `{}` that {why}", super::env::shorten(text));
    let (what, rate) = text
        .rsplit_once('=')
        .ok_or_else(|| wrong("has no `=rate`"))?;
    let rate: f64 = rate
        .trim()
        .parse()
        .map_err(|_| wrong("has a rate that is no number"))?;
    if !(0.0..=1.0).contains(&rate) {
        return Err(wrong("has a rate outside 0 to 1"));
    }
    let mut rule = SampleRule {
        method: None,
        route: None,
        status: StatusMatch::Success,
        rate,
    };
    let mut has_status = false;
    for word in what.split_whitespace() {
        if word.starts_with('/') {
            replace(&mut rule.route, word).map_err(wrong)?;
        } else if let Some(status) = status(word) {
            if has_status {
                return Err(wrong("names two statuses"));
            }
            has_status = true;
            rule.status = status;
        } else if word.chars().all(|c| c.is_ascii_alphabetic() || c == '-') {
            replace(&mut rule.method, &word.to_ascii_uppercase()).map_err(wrong)?;
        } else {
            return Err(wrong("has a part that is no method, route or status"));
        }
    }
    Ok(rule)
}

fn replace(slot: &mut Option<String>, word: &str) -> Result<(), &'static str> {
    match slot.replace(word.to_owned()) {
        None => Ok(()),
        Some(_) => Err("names two methods or two routes"),
    }
}

fn status(word: &str) -> Option<StatusMatch> {
    if word.eq_ignore_ascii_case("success") {
        return Some(StatusMatch::Success);
    }
    if word.eq_ignore_ascii_case("failure") {
        return Some(StatusMatch::Failure);
    }
    // Three characters: a number may have a sign and zeros, a status may not.
    if word.len() != 3 {
        return None;
    }
    let class = word.strip_suffix("xx").or_else(|| word.strip_suffix("XX"));
    match class {
        Some(class) => class
            .parse()
            .ok()
            .filter(|class| (1..=5).contains(class))
            .map(StatusMatch::Class),
        None => word
            .parse()
            .ok()
            .filter(|code| (100..=599).contains(code))
            .map(StatusMatch::Code),
    }
}

/// As a rule is written: reading it back gives an equal one.
impl fmt::Display for SampleRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for word in [&self.method, &self.route].into_iter().flatten() {
            write!(f, "{word} ")?;
        }
        match self.status {
            StatusMatch::Success => f.write_str("success")?,
            StatusMatch::Failure => f.write_str("failure")?,
            StatusMatch::Class(class) => write!(f, "{class}xx")?,
            StatusMatch::Code(code) => write!(f, "{code}")?,
        }
        write!(f, "={}", self.rate)
    }
}
