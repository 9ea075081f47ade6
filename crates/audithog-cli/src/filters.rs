//! The options that say which rows a command is about: the same for questions, the tail and exports.

use std::time::{Duration, SystemTime};

use audithog::query::{Filter, Status};

use crate::{
    failure::{Failure, sentence},
    when::Clock,
};

/// Which rows. Different options narrow down; one that is given several times asks for any of its values.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Which rows (an option given again: any of its values)")]
pub(crate) struct Filters {
    /// From this time on: 15m, 1h, 7d, yesterday, monday 09:30, 2026-11-25, RFC 3339, Unix time
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    since: Option<String>,

    /// Up to this time, not included; the same forms
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    until: Option<String>,

    /// Kind of row: api_request, or a business event's name; a `*` at the end stands for anything
    #[arg(long, value_name = "NAME")]
    event: Vec<String>,

    /// User id
    #[arg(long, value_name = "ID")]
    user: Vec<String>,

    /// Role of the user
    #[arg(long, value_name = "ROLE")]
    role: Vec<String>,

    /// Organisation of the user
    #[arg(long, value_name = "ID")]
    org: Vec<String>,

    /// Service that wrote it
    #[arg(long, value_name = "NAME")]
    service: Vec<String>,

    /// Environment of that service
    #[arg(long, value_name = "NAME", visible_alias = "env")]
    environment: Vec<String>,

    /// Method of the request
    #[arg(long, value_name = "METHOD")]
    method: Vec<String>,

    /// Path of the request; a `*` at the end stands for anything
    #[arg(long, value_name = "PATH")]
    path: Vec<String>,

    /// Route template, as /agents/{id}; a `*` at the end stands for anything
    #[arg(long, value_name = "ROUTE")]
    route: Vec<String>,

    /// Status code, class or range: 404, 5xx, 400-451
    #[arg(long, value_name = "STATUS", value_delimiter = ',')]
    status: Vec<Status>,

    /// Has none of these, or none at all; the same forms
    #[arg(long, value_name = "STATUS", value_delimiter = ',')]
    not_status: Vec<Status>,

    /// How it ended
    #[arg(long, value_name = "RESULT", value_parser = ["success", "failure"])]
    result: Vec<String>,

    /// Error code; a `*` at the end stands for anything
    #[arg(long, value_name = "CODE")]
    error_code: Vec<String>,

    /// Request id
    #[arg(long, value_name = "ID")]
    request_id: Vec<String>,

    /// W3C trace id
    #[arg(long, value_name = "ID")]
    trace_id: Vec<String>,

    /// Address of the client
    #[arg(long, value_name = "IP")]
    ip: Vec<String>,

    /// User agent; a `*` at the end stands for anything
    #[arg(long, value_name = "TEXT")]
    user_agent: Vec<String>,

    /// Not set at all: `--without user` for the requests of nobody known; given again, neither is
    #[arg(long, value_name = "WHAT", value_parser = Filter::WORDS.map(|(word, _)| word))]
    without: Vec<String>,
}

impl Filters {
    /// Takes `--user` out, for a command that means more by it.
    pub(crate) fn take_users(&mut self) -> Vec<String> {
        std::mem::take(&mut self.user)
    }

    /// The filter. Without `--since` it looks back so far from `--until`, or from now; `None`: to the beginning of the log.
    ///
    /// # Errors
    ///
    /// Exit code 2, with the option's name.
    pub(crate) fn filter(
        &self,
        clock: &Clock,
        looks_back: Option<Duration>,
    ) -> Result<Filter, Failure> {
        let (since, until) = self.range(clock, looks_back)?;
        let mut filter = Filter::all();
        if let Some(since) = since {
            filter = filter.since(since);
        }
        if let Some(until) = until {
            filter = filter.until(until);
        }
        for ((option, field), texts) in Filter::WORDS.into_iter().zip(self.texts()) {
            if self.without.iter().any(|word| word == option) {
                filter = filter.lacks(field);
            }
            if !texts.is_empty() {
                filter = filter.matches(field, texts).map_err(|error| {
                    Failure::new(2, format!("--{option}: {}", sentence(&error)))
                })?;
            }
        }
        if !self.status.is_empty() {
            filter = filter.any_status(self.status.iter().copied());
        }
        if !self.not_status.is_empty() {
            filter = filter.no_status(self.not_status.iter().copied());
        }
        Ok(filter)
    }

    /// The end of the range, if there is one.
    fn range(
        &self,
        clock: &Clock,
        looks_back: Option<Duration>,
    ) -> Result<(Option<SystemTime>, Option<SystemTime>), Failure> {
        let wrong =
            |option: &str, message: String| Failure::new(2, format!("--{option}: {message}"));
        let until = match &self.until {
            Some(text) => Some(clock.moment(text).map_err(|error| wrong("until", error))?),
            None => None,
        };
        let since = match (&self.since, looks_back) {
            (Some(text), _) => Some(clock.past(text).map_err(|error| wrong("since", error))?),
            (None, Some(length)) => {
                let end = until.map_or(clock.now(), |until| until.min(clock.now()));
                end.checked_sub(length)
            }
            (None, None) => None,
        };
        if let (Some(since), Some(until)) = (since, until) {
            not_empty(clock, since, until)?;
        }
        Ok((since, until))
    }

    /// What was given for [`Filter::WORDS`].
    fn texts(&self) -> [&[String]; 15] {
        [
            &self.event,
            &self.user,
            &self.role,
            &self.org,
            &self.service,
            &self.environment,
            &self.method,
            &self.path,
            &self.route,
            &self.result,
            &self.error_code,
            &self.request_id,
            &self.trace_id,
            &self.ip,
            &self.user_agent,
        ]
    }
}

/// Refuses a time range that has no time in it.
pub(crate) fn not_empty(
    clock: &Clock,
    since: SystemTime,
    until: SystemTime,
) -> Result<(), Failure> {
    if since < until {
        return Ok(());
    }
    let message = format!(
        "the time range is empty: --since {} is not before --until {}",
        clock.text_of(since),
        clock.text_of(until)
    );
    Err(Failure::new(2, message))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Options {
        #[command(flatten)]
        filters: Filters,
    }

    fn filter(options: &[&str]) -> Result<Vec<String>, String> {
        let all = [&["x"], options].concat();
        let options = Options::try_parse_from(all).map_err(|error| error.to_string())?;
        let filter = options.filters.filter(&Clock::system(true), None);
        filter
            .map(|filter| filter.conditions())
            .map_err(|failure| failure.sentence())
    }

    #[test]
    fn an_option_given_again_asks_for_any_of_its_values() {
        let found = filter(&[
            "--user", "u_1", "--user", "u_2", "--status", "404", "--status", "5xx",
        ]);
        assert_eq!(
            found,
            Ok(vec![
                "user_id = u_1 or u_2".to_owned(),
                "status_code = 404 or 5xx".to_owned()
            ])
        );
    }

    #[test]
    fn a_star_at_the_end_asks_for_a_beginning() {
        let one = |condition: &str| Ok(vec![condition.to_owned()]);
        assert_eq!(filter(&["--path", "/a/*"]), one("path begins with /a/"));
        assert_eq!(filter(&["--path", "*"]), one("path = *"));
        assert_eq!(filter(&["--route", r"/a/\*"]), one("route = /a/*"));
        assert_eq!(filter(&["--user", "u*"]), one("user_id = u*"));
        let error = filter(&["--path", "/a/*", "--path", "/b"]).unwrap_err();
        assert!(error.starts_with("--path: several values"), "{error}");
    }

    #[test]
    fn statuses_can_be_left_out() {
        let found = filter(&["--not-status", "4xx,5xx"]);
        assert_eq!(found, Ok(vec!["status_code is not 4xx or 5xx".to_owned()]));
    }

    #[test]
    fn what_is_not_set_can_be_asked_for() {
        let found = filter(&["--without", "user", "--without", "error-code"]);
        let both = ["user_id is not set", "error_code is not set"];
        assert_eq!(found, Ok(both.map(str::to_owned).into()));
        let error = filter(&["--without", "status"]).unwrap_err();
        assert!(error.contains("[possible values: event, user,"), "{error}");
    }

    #[test]
    fn a_wrong_value_is_named_with_its_option() {
        for (options, expected) in [
            (["--ip", "x"], "--ip: \"x\" is no ip"),
            (["--since", "soon"], "--since: \"soon\" is no time"),
            (["--until", "later"], "--until: \"later\" is no time"),
            (["--trace-id", "1"], "--trace-id: \"1\" is no trace_id"),
            (["--status", "9xx9"], "\"9xx9\" is no status"),
            (["--result", "maybe"], "[possible values: success, failure]"),
        ] {
            let error = filter(&options).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        let error = filter(&["--since", "1h", "--until", "2h"]).unwrap_err();
        assert!(error.starts_with("the time range is empty"), "{error}");
    }

    #[test]
    fn without_a_start_it_looks_back_from_the_end() {
        let options = Options::try_parse_from(["x", "--until", "2026-02-02T02:00:00Z"]).unwrap();
        let clock = Clock::system(true);
        let filter = options
            .filters
            .filter(&clock, Some(Duration::from_secs(3_600)));
        let since = filter.unwrap().since_text();
        assert_eq!(since.as_deref(), Some("2026-02-02T01:00:00.000000Z"));
    }
}
