//! Questions to PostHog that store nothing, and the one that reads an event back.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::sync::mpsc;
use std::time::Duration;

use http::Method;
use http::header::DATE;
use serde_json::{Value, json};
use uuid::Uuid;

use super::body::Encoding;
use super::private::{Private, Response};
use super::verdict::Answer;
use super::{PosthogSink, text, v0, v1};
use crate::config::ReadBackSettings;
use crate::record::Micros;
use crate::sink::Attempt;

/// A look-up or a connect that takes longer than this is as good as none.
const LIMIT: Duration = Duration::from_secs(5);

/// What the capture host said to an empty batch: it stores nothing, and a working host refuses it as empty.
#[derive(Debug)]
pub(crate) struct Probed {
    /// The protocol that it takes, `v1` or `v0`.
    pub(crate) protocol: Result<&'static str, Refusal>,
    /// The host's clock, to the second, and ours when the reply came.
    pub(crate) date: Option<(Micros, Micros)>,
}

/// Why it takes nothing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The key is refused.
    Key(String),
    /// Over quota.
    Quota(String),
    /// It answers, but not as PostHog does.
    Foreign(String),
    /// It answers that it cannot now.
    Busy(String),
    /// No answer.
    Unreachable(String),
}

/// What became of a try to read an event back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    Found,
    NotYet,
    /// Asking again will not help.
    Refused(String),
    /// Asking again may.
    Failed(String),
}

impl PosthogSink {
    /// Looks up the host's name and connects; an error says which of the two failed. Blocks, for a bounded time.
    pub(crate) fn connect(&self) -> Result<SocketAddr, String> {
        let (host, port) = self.endpoint.socket();
        let name = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let (done, found) = mpsc::channel();
        // A resolver has no time limit of its own.
        let looked = std::thread::Builder::new().name("audithog-lookup".to_owned());
        let started = looked.spawn(move || {
            let addresses = (name.as_str(), port).to_socket_addrs();
            drop(done.send(addresses.map(Iterator::collect::<Vec<_>>)));
        });
        started.map_err(|error| format!("no thread for the look-up: {error}"))?;
        let addresses = match found.recv_timeout(LIMIT) {
            Ok(Ok(addresses)) => addresses,
            Ok(Err(error)) => return Err(format!("DNS does not know {host}: {error}")),
            Err(_) => return Err(format!("DNS does not answer for {host}")),
        };
        let mut last = format!("DNS has no address for {host}");
        for address in addresses {
            match TcpStream::connect_timeout(&address, LIMIT) {
                Ok(_) => return Ok(address),
                Err(error) => last = format!("no connection to {address}: {error}"),
            }
        }
        Err(last)
    }

    /// Whether one of the proxy variables leads elsewhere: the host itself need not be reachable then.
    pub(crate) fn may_use_proxy(&self) -> bool {
        let names = [
            "HTTPS_PROXY",
            "https_proxy",
            "HTTP_PROXY",
            "http_proxy",
            "ALL_PROXY",
            "all_proxy",
        ];
        !self.endpoint.is_loopback()
            && names
                .iter()
                .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
    }

    /// Asks both protocols, v1 first.
    pub(crate) async fn probe(&self) -> Probed {
        let mut date = None;
        let first = self.ask_v1().await.map(|answer| {
            date = self.dates(&answer);
            judge_v1(&answer, self.key())
        });
        let protocol = match first {
            Ok(Judgement::Takes) => Ok("v1"),
            Ok(Judgement::Refuses(refusal)) => Err(refusal),
            Err(error) => Err(Refusal::Unreachable(error)),
            Ok(Judgement::Absent) => match self.ask_v0().await {
                Ok(answer) => {
                    date = self.dates(&answer).or(date);
                    judge_v0(&answer, self.key())
                }
                Err(error) => Err(Refusal::Unreachable(error)),
            },
        };
        Probed { protocol, date }
    }

    async fn ask_v1(&self) -> Result<Answer, String> {
        let now = self.clock.wall();
        let attempt = Attempt {
            request: Uuid::now_v7(),
            created: now,
            number: 1,
        };
        let headers = v1::headers(&self.authorization, attempt, now, Encoding::Plain);
        let body = json!({"created_at": now.to_string(), "batch": []});
        self.http
            .post(&self.endpoint.v1(), headers, body.to_string().into_bytes())
            .await
    }

    async fn ask_v0(&self) -> Result<Answer, String> {
        let body = json!({"api_key": self.key(), "batch": []});
        let headers = v0::headers(Encoding::Plain);
        self.http
            .post(
                &self.endpoint.v0(false),
                headers,
                body.to_string().into_bytes(),
            )
            .await
    }

    fn dates(&self, answer: &Answer) -> Option<(Micros, Micros)> {
        let text = answer.headers.get(DATE)?.to_str().ok()?;
        let date = jiff::fmt::rfc2822::parse(text).ok()?;
        Some((Micros(date.timestamp().as_microsecond()), self.clock.wall()))
    }

    /// Asks whether the event with this id is in the project.
    pub(crate) async fn read_back(&self, settings: &ReadBackSettings, id: Uuid) -> Reading {
        let api = match Private::new(settings) {
            Ok(api) => api,
            Err(error) => return Reading::Refused(error.to_string()),
        };
        let body = json!({
            "query": {
                "kind": "HogQLQuery",
                "query": "SELECT uuid FROM events WHERE uuid IN {uuids} AND timestamp > now() - INTERVAL 2 DAY LIMIT 1",
                "values": {"uuids": [id]},
            },
            "name": "audithog doctor",
            "refresh": "force_blocking",
        });
        let path = "projects/{project}/query/";
        match api.request(Method::POST, path, Some(&body)).await {
            Ok(response) => judge_query(&response, id),
            Err(error) => Reading::Failed(error),
        }
    }
}

/// What an answer of v1 to an empty batch means.
enum Judgement {
    Takes,
    Absent,
    Refuses(Refusal),
}

fn judge_v1(answer: &Answer, key: &str) -> Judgement {
    // Every refusal of v1 names its reason so; nothing else does.
    let tag = json_of(answer).and_then(|body| Some(body.get("error")?.as_str()?.to_owned()));
    match (answer.status, tag) {
        (401, _) => Judgement::Refuses(Refusal::Key(shown(answer, key))),
        (402, _) => Judgement::Refuses(Refusal::Quota(shown(answer, key))),
        (400, Some(_)) => Judgement::Takes,
        (408 | 429 | 500.., _) => Judgement::Refuses(Refusal::Busy(shown(answer, key))),
        _ => Judgement::Absent,
    }
}

fn judge_v0(answer: &Answer, key: &str) -> Result<&'static str, Refusal> {
    match answer.status {
        // An empty batch is a bad request to the capture service, and nothing to do for older versions.
        400 => Ok("v0"),
        200 if json_of(answer).is_some_and(|body| body.get("status").is_some()) => Ok("v0"),
        401 => Err(Refusal::Key(shown(answer, key))),
        402 => Err(Refusal::Quota(shown(answer, key))),
        408 | 429 | 500.. => Err(Refusal::Busy(shown(answer, key))),
        _ => Err(Refusal::Foreign(shown(answer, key))),
    }
}

fn judge_query(response: &Response, id: Uuid) -> Reading {
    let shown = response.shown();
    match response.status {
        200 => {}
        401 | 403 => {
            return Reading::Refused(format!(
                "the personal key is refused ({shown}): it needs the scope query:read and access to the project"
            ));
        }
        404 => {
            return Reading::Refused(format!("there is no such project ({shown})"));
        }
        408 | 429 | 500.. => return Reading::Failed(shown),
        _ => return Reading::Refused(format!("the query is refused ({shown})")),
    }
    let Some(body) = &response.body else {
        return Reading::Refused(format!("that is not PostHog's API ({shown})"));
    };
    let wanted = id.to_string();
    let rows = body.get("results").and_then(Value::as_array);
    let found = rows.is_some_and(|rows| {
        rows.iter()
            .any(|row| row.get(0).and_then(Value::as_str) == Some(&wanted))
    });
    if found {
        Reading::Found
    } else {
        Reading::NotYet
    }
}

fn json_of(answer: &Answer) -> Option<Value> {
    serde_json::from_slice(&answer.body).ok()
}

/// The status, and what was said with it.
fn shown(answer: &Answer, key: &str) -> String {
    match text::said(&answer.body, key) {
        said if said.is_empty() => answer.status.to_string(),
        said => format!("{}: {said}", answer.status),
    }
}
