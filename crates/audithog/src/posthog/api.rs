//! The private API's calls: within its limits, tried again where that is safe, with errors that say what to do.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tokio::runtime::{self, Runtime};

use super::pace::Pace;
use crate::clock::Clock;
use crate::config::{Builder, ReadBackSettings};
use crate::error::{Error, Kind};
use crate::query::{Answer, Question, Statement};
use crate::sink::posthog::private::{Private, Response};

/// Tries of a request whose reply says that it may be made again.
const TRIES: u32 = 5;
/// Before the second try; doubled with each.
const FIRST_REST: Duration = Duration::from_secs(1);
/// Longest that a `Retry-After` is waited for: PostHog's hourly limits end within an hour, and nobody waits so long.
const LONGEST_REST: Duration = Duration::from_secs(300);

/// A project's private API.
///
/// Keeps to PostHog's limits by itself: one request at a time, at most 240 queries a minute and 2,400 an hour, 480 and 4,800 other
/// requests. A reply that asks to wait (429) is obeyed for up to five minutes.
#[derive(Debug)]
pub struct Api {
    private: Private,
    runtime: Runtime,
    clock: Clock,
    queries: Pace,
    others: Pace,
}

/// Why a call did not do what it was to do.
#[derive(Debug)]
pub(super) enum Failure {
    /// It took too long or too much: ask for less.
    TooMuch(String),
    /// There is no such thing.
    Missing(String),
    /// Whether a thing was made is unknown, or why it was not.
    Failed(Error),
}

impl Builder {
    /// A client for the private API of the project that `POSTHOG_PERSONAL_API_KEY` and `POSTHOG_PROJECT_ID` name, on
    /// `AUDITHOG_POSTHOG_API_HOST`, else on the host that belongs to `POSTHOG_HOST`. Makes no request.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`]: a variable is missing or wrong; all are named.
    pub fn posthog_api(self) -> Result<Api, Error> {
        let resolved = self.resolve()?;
        Api::new(&resolved.settings.read_back)
    }
}

impl Api {
    pub(super) fn new(settings: &ReadBackSettings) -> Result<Self, Error> {
        let private = Private::new(settings)?;
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| {
                Error::new(Kind::Thread, "no runtime for requests").with_source(error)
            })?;
        Ok(Self {
            private,
            runtime,
            clock: Clock::system(),
            queries: Pace::queries(),
            others: Pace::others(),
        })
    }

    /// Asks the project. Blocks until the answer is there: usually a second, with the waits for limits some minutes.
    ///
    /// # Errors
    ///
    /// [`Error::is_remote`]: PostHog cannot be reached, refuses the key, or cannot answer: the message says what to do.
    pub fn ask(&mut self, question: &Question) -> Result<Answer, Error> {
        let lines = self
            .query(&question.hogql(), "audithog query")
            .map_err(|failure| failure.into_error(&self.private))?;
        Ok(question.answer_of(lines))
    }

    /// The number in the project's address.
    #[must_use]
    pub fn project(&self) -> &str {
        self.private.project()
    }

    /// The host's name. Needs no request.
    #[must_use]
    pub fn host(&self) -> &str {
        self.private.host()
    }

    /// The lines that a statement finds.
    pub(super) fn query(
        &mut self,
        statement: &Statement,
        name: &str,
    ) -> Result<Vec<Vec<Value>>, Failure> {
        let values: serde_json::Map<String, Value> = statement.values.iter().cloned().collect();
        let body = json!({
            "query": {"kind": "HogQLQuery", "query": statement.sql, "values": values},
            "name": name,
            "refresh": "force_blocking",
        });
        let path = "projects/{project}/query/";
        let reply = self.call(Method::POST, path, Some(&body), true)?;
        if let Some(error) = reply.get("error").and_then(Value::as_str) {
            return Err(Failure::failed(format!("the query failed: {error}")));
        }
        let lines = reply.get("results").and_then(Value::as_array);
        let lines = lines.and_then(|lines| {
            let cells = lines.iter().map(|line| line.as_array().cloned());
            cells.collect::<Option<Vec<_>>>()
        });
        lines.ok_or_else(|| Failure::failed("the reply to a query has no lines".to_owned()))
    }

    /// A request to a path below `/api/` that is no query.
    pub(super) fn request(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        self.call(method, path, body, false)
    }

    /// All things of a list, page by page.
    pub(super) fn list(&mut self, path: &str, query: &str) -> Result<Vec<Value>, Failure> {
        const PAGE: usize = 100;
        let mut found: Vec<Value> = Vec::new();
        loop {
            // Not by the address in `next`: the key goes to no address that a reply names.
            let page = format!("{path}?limit={PAGE}&offset={}{query}", found.len());
            let mut reply = self.request(Method::GET, &page, None)?;
            let more = reply.get("next").is_some_and(|next| !next.is_null());
            let Some(Value::Array(page)) = reply.get_mut("results").map(Value::take) else {
                return Err(Failure::failed(format!("the reply to {path} is no list")));
            };
            let empty = page.is_empty();
            found.extend(page);
            if !more || empty {
                return Ok(found);
            }
        }
    }

    fn call(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        query: bool,
    ) -> Result<Value, Failure> {
        // What was perhaps made must not be made again.
        let repeatable = query || method != Method::POST;
        let mut rest = FIRST_REST;
        for last in (0..TRIES).rev() {
            let pace = if query {
                &mut self.queries
            } else {
                &mut self.others
            };
            let at = pace.next(self.clock.monotonic());
            let sent = self.runtime.block_on(async {
                self.clock.sleep_until(at).await;
                self.private.request(method.clone(), path, body).await
            });
            let again = match &sent {
                Ok(response) => response.worth_another_try(repeatable),
                Err(_) => repeatable,
            };
            let asked = sent.as_ref().ok().and_then(|response| response.retry_after);
            let wait = asked.unwrap_or(rest).max(rest);
            if !again || last == 0 || wait > LONGEST_REST {
                return self.judge(sent, query);
            }
            rest *= 2;
            let until = self.clock.monotonic() + wait;
            self.runtime.block_on(self.clock.sleep_until(until));
        }
        Err(Failure::failed("no request was made".to_owned()))
    }

    fn judge(&self, sent: Result<Response, String>, query: bool) -> Result<Value, Failure> {
        let host = self.private.host();
        let response =
            sent.map_err(|why| Failure::failed(format!("no answer of {host}: {why}")))?;
        let shown = response.shown();
        let project = self.private.project();
        let what = match response.status {
            204 => return Ok(Value::Null),
            200..=299 => {
                return response.body.ok_or_else(|| {
                    Failure::failed(format!(
                        "{host} answers, but not as PostHog's private API: set AUDITHOG_POSTHOG_API_HOST to the address of its web application"
                    ))
                });
            }
            401 => format!("{host} refuses POSTHOG_PERSONAL_API_KEY ({shown})"),
            403 => format!(
                "{host} does not allow this ({shown}): give the personal key the scope and access to project {project}"
            ),
            404 => return Err(Failure::Missing(shown)),
            429 => match response.retry_after {
                Some(wait) => format!(
                    "{host} allows no more requests for {} s ({shown}): try again then",
                    wait.as_secs()
                ),
                None => format!("{host} allows no more requests now ({shown}): try again later"),
            },
            504 | 512 | 513 if query => return Err(Failure::TooMuch(shown)),
            500.. => format!("{host} cannot answer now ({shown})"),
            _ => format!("{host} refuses the request ({shown})"),
        };
        Err(Failure::failed(what))
    }

    /// The error to tell.
    pub(super) fn told(&self, failure: Failure) -> Error {
        failure.into_error(&self.private)
    }
}

impl Response {
    /// 504 is not tried again: the same would take as long. A gateway's 502 and a server that is busy may be over.
    fn worth_another_try(&self, repeatable: bool) -> bool {
        match self.status {
            429 => true,
            408 | 500 | 502 | 503 => repeatable,
            _ => false,
        }
    }
}

impl Failure {
    pub(super) fn failed(what: String) -> Self {
        Self::Failed(Error::new(Kind::Remote, what))
    }

    fn into_error(self, private: &Private) -> Error {
        let (host, project) = (private.host(), private.project());
        match self {
            Self::Failed(error) => error,
            Self::TooMuch(said) => Error::new(
                Kind::Remote,
                format!(
                    "the query takes {host} too long ({said}): ask for a shorter time or fewer rows"
                ),
            ),
            Self::Missing(said) => Error::new(
                Kind::Remote,
                format!(
                    "{host} has no project {project}, or the personal key has no access to it ({said})"
                ),
            ),
        }
    }
}
