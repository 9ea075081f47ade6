//! The private API, which reads a project and sets it up: with a personal key, not with the project's.

use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use serde_json::Value;

use super::endpoint::Endpoint;
use super::http::Http;
use super::text;
use crate::config::ReadBackSettings;
use crate::error::{Error, Kind};
use crate::record::Micros;

/// A page of 50,000 short rows has some megabytes, rows with all their properties more.
const REPLY_LIMIT: usize = 128 << 20;
/// PostHog's own limit of a request's run is 60 s, and a query may wait 30 s for its turn.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A client of one project's private API. It makes one request at a time, and never again by itself.
pub(crate) struct Private {
    endpoint: Endpoint,
    http: Http,
    bearer: HeaderValue,
    key: String,
    project: String,
}

/// A reply, whatever its status.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// None: it was no JSON.
    pub(crate) body: Option<Value>,
    /// What was said, in one line, without the key.
    pub(crate) said: String,
    pub(crate) retry_after: Option<Duration>,
}

impl Private {
    /// # Errors
    ///
    /// A variable is missing or wrong: all are named.
    pub(crate) fn new(settings: &ReadBackSettings) -> Result<Self, Error> {
        let mut problems = Vec::new();
        let key = personal_key(settings).unwrap_or_else(|problem| {
            problems.push(problem);
            String::new()
        });
        let project = project(settings).unwrap_or_else(|problem| {
            problems.push(problem);
            String::new()
        });
        let endpoint = endpoint(settings).map_err(|problem| problems.push(problem));
        let bearer = HeaderValue::from_str(&format!("Bearer {key}"))
            .map_err(|_| problems.push("POSTHOG_PERSONAL_API_KEY fits no header".to_owned()));
        let (Ok(endpoint), Ok(mut bearer), true) = (endpoint, bearer, problems.is_empty()) else {
            return Err(Error::new(Kind::Config, problems.join("\n")));
        };
        bearer.set_sensitive(true);
        Ok(Self {
            http: Http::new(&endpoint, TIMEOUT, settings.ca_file.as_deref())?,
            endpoint,
            bearer,
            key,
            project,
        })
    }

    /// The number in the project's address.
    pub(crate) fn project(&self) -> &str {
        &self.project
    }

    /// The host's name, for messages.
    pub(crate) fn host(&self) -> &str {
        self.endpoint.host()
    }

    /// A request to a path below `/api/`; `{project}` in it is the project's number. Needs a runtime.
    ///
    /// # Errors
    ///
    /// No reply: what happened. Whether the request was taken is unknown.
    pub(crate) async fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Response, String> {
        let mut headers = HeaderMap::with_capacity(2);
        headers.insert(AUTHORIZATION, self.bearer.clone());
        let body = body.map(|body| {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            body.to_string().into_bytes()
        });
        let url = self
            .endpoint
            .private(&path.replace("{project}", &self.project));
        let body = body.unwrap_or_default();
        let sent = self.http.send(method, &url, headers, body, REPLY_LIMIT);
        let answer = sent.await?;
        Ok(Response {
            status: answer.status,
            said: text::said(&answer.body, &self.key),
            retry_after: answer.retry_after(Micros::now()),
            body: serde_json::from_slice(&answer.body).ok(),
        })
    }
}

impl Response {
    /// The status, and what was said with it.
    pub(crate) fn shown(&self) -> String {
        match &*self.said {
            "" => self.status.to_string(),
            said => format!("{}: {said}", self.status),
        }
    }
}

impl std::fmt::Debug for Private {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Private")
            .field("endpoint", &self.endpoint)
            .field("project", &self.project)
            .finish_non_exhaustive()
    }
}

/// A personal key, if one is set.
///
/// # Errors
///
/// What is wrong, without the key.
pub(crate) fn personal_key(settings: &ReadBackSettings) -> Result<String, String> {
    let Some(key) = &settings.key else {
        return Err(
            "POSTHOG_PERSONAL_API_KEY is not set: make a personal key (phx_…) in PostHog's user settings"
                .to_owned(),
        );
    };
    let key = key.expose().trim();
    if !key.starts_with("phx_") {
        return Err("POSTHOG_PERSONAL_API_KEY does not begin with phx_".to_owned());
    }
    Ok(key.to_owned())
}

fn project(settings: &ReadBackSettings) -> Result<String, String> {
    let project = settings.project.as_deref().unwrap_or_default().trim();
    if project.is_empty() {
        return Err(
            "POSTHOG_PROJECT_ID is not set: take the number from the project's address in PostHog"
                .to_owned(),
        );
    }
    // It becomes a part of every path.
    if !project.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(
            "POSTHOG_PROJECT_ID is no number: take it from the project's address in PostHog"
                .to_owned(),
        );
    }
    Ok(project.to_owned())
}

fn endpoint(settings: &ReadBackSettings) -> Result<Endpoint, String> {
    let (name, host) = match (&settings.host, &settings.capture_host) {
        (Some(host), _) => ("AUDITHOG_POSTHOG_API_HOST", host.as_str()),
        (None, Some(host)) => ("POSTHOG_HOST", host.as_str()),
        (None, None) => ("POSTHOG_HOST", ""),
    };
    Endpoint::parse(host).map_err(|problem| format!("{name} {problem}"))
}
