//! PostHog. Capture v1 first, because it has a verdict for each event; v0 `/batch/` where the host
//! has no v1, with the same events.
//!
//! | file | question |
//! |---|---|
//! | `endpoint` | where do events go, and can this key be one? |
//! | `event`, `events`, `distinct_id`, `business`, `object`, `json` | what does PostHog see of a row? |
//! | `body`, `v1`, `v0` | what does a request look like? |
//! | `http`, `connect` | how does it get there? |
//! | `verdict`, `all_ok`, `text` | what does a reply mean? |
//! | `memory` | what has the host shown so far? |
//! | `private` | how is a project read and set up? |
//! | `probe` | does it take events with this key, and can they be read back? |
//!
//! Two requests in flight may both find out that v1 is absent; each then sends its own events to v0.
//! An answer to v1 that arrives late, after another request noted the absence, is taken as it is.

mod all_ok;
#[cfg(feature = "__bench")]
mod bench;
mod body;
mod business;
mod connect;
mod distinct_id;
pub(crate) mod endpoint;
mod event;
mod events;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod http;
mod json;
mod memory;
mod object;
pub(crate) mod private;
mod probe;
mod text;
mod v0;
mod v1;
mod verdict;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ::http::HeaderValue;
use uuid::Uuid;

use self::body::{Body, Encoding, Press};
use self::endpoint::Endpoint;
use self::event::{Protocol, Shape};
use self::events::Events;
use self::http::Http;
use self::memory::Memory;
pub(crate) use self::probe::{Probed, Reading, Refusal};
use self::verdict::{Answer, Context};
use super::sampling::{Sampled, Sampler};
use super::{Admission, Attempt, BoxFuture, Reply, RequestLimits, Sink};
use crate::clock::Clock;
use crate::config::{Compression, PosthogSettings};
use crate::error::{Error, Kind};
use crate::record::StoredRow;

/// What a request costs beside its rows is small then, and they are more alike; a refused request is searched by halves,
/// in eleven steps. PostHog names no limit of its own.
const ROWS: usize = 1_500;
/// Uncompressed. PostHog's own SDKs stay below 5 MiB (posthog-python); weights are estimates.
const BYTES: usize = 4_718_592;

/// The PostHog sink.
pub(crate) struct PosthogSink {
    endpoint: Endpoint,
    key: String,
    /// `Bearer` and the key, marked as sensitive.
    authorization: HeaderValue,
    http: Http,
    shape: Shape,
    sampler: Sampler,
    compression: Compression,
    memory: Memory,
    clock: Clock,
    press: Mutex<Press>,
    /// See [`Sink::hurry`].
    hurry: AtomicBool,
}

/// One request to make.
struct Request<'a> {
    rows: &'a [StoredRow],
    ids: &'a [Uuid],
    attempt: Attempt,
}

impl Request<'_> {
    /// About how many bytes the body will have, uncompressed.
    fn weight(&self) -> usize {
        // By the first of them: rows are much alike, and this only makes room.
        let first = self.rows.first().map_or(0, Shape::weight);
        first.saturating_mul(self.rows.len()).min(BYTES)
    }
}

impl PosthogSink {
    /// # Errors
    ///
    /// A setting is wrong: host, key, CA file, HMAC key. The first is reported; `config` has checked
    /// host and key before. Needs no runtime; [`Sink::send`] does.
    pub(crate) fn new(settings: &PosthogSettings, clock: Clock) -> Result<Self, Error> {
        let wrong = |what: String| Error::new(Kind::Config, what);
        let endpoint = Endpoint::parse(&settings.host)
            .map_err(|problem| wrong(format!("POSTHOG_HOST {problem}")))?;
        let key = settings.key.expose().trim();
        if let Some(problem) = endpoint::key_problem(key) {
            return Err(wrong(format!("POSTHOG_API_KEY {problem}")));
        }
        let mut authorization =
            HeaderValue::from_str(&format!("Bearer {key}")).map_err(|error| {
                wrong("POSTHOG_API_KEY fits no header".to_owned()).with_source(error)
            })?;
        authorization.set_sensitive(true);
        Ok(Self {
            http: Http::new(
                &endpoint,
                settings.request_timeout,
                settings.ca_file.as_deref(),
            )?,
            shape: Shape::new(settings).map_err(|problem| wrong(problem.to_owned()))?,
            sampler: Sampler::new(&settings.sample),
            compression: settings.compression,
            memory: Memory::new(clock.clone()),
            endpoint,
            key: key.to_owned(),
            authorization,
            clock,
            press: Mutex::default(),
            hurry: AtomicBool::new(false),
        })
    }

    /// Where events go: region, host.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    fn key(&self) -> &str {
        &self.key
    }

    /// Bodies are made one at a time, on the delivery thread.
    fn press(&self) -> MutexGuard<'_, Press> {
        // A body that a panic left half done is begun anew.
        let mut press = self.press.lock().unwrap_or_else(PoisonError::into_inner);
        press.hurry(self.hurry.load(Ordering::Relaxed));
        press
    }

    fn write_events(
        &self,
        body: &mut Body<'_>,
        request: &Request<'_>,
        protocol: Protocol,
    ) -> io::Result<()> {
        let mut events = Events::new(&self.shape, protocol);
        for (at, row) in request.rows.iter().enumerate() {
            if at > 0 {
                body.pass_on()?;
                body.end().push(b',');
            }
            let rate = match self.sampler.decide(&row.row) {
                Sampled::Kept { rate } => Some(rate),
                // Out: a replay of what was sampled out before the rules changed.
                Sampled::Whole | Sampled::Out => None,
            };
            events.write(body.end(), row, rate);
        }
        Ok(())
    }

    async fn deliver(&self, rows: &[StoredRow], attempt: Attempt) -> Reply {
        let ids: Vec<Uuid> = rows.iter().map(|row| row.row.id).collect();
        let request = Request {
            rows,
            ids: &ids,
            attempt,
        };
        if !self.memory.v1_absent() {
            match self.try_v1(&request).await {
                Ok(verdict::V1::Done(reply)) => return reply,
                Ok(verdict::V1::Absent | verdict::V1::Unsupported) => {
                    if self.memory.note_v1_absent() {
                        tracing::info!(
                            host = self.endpoint.host(),
                            "PostHog host has no capture v1, using v0"
                        );
                    }
                }
                Err(reason) => return unknown(reason),
            }
        }
        match self.try_v0(&request).await {
            Ok(reply) => reply,
            Err(reason) => unknown(reason),
        }
    }

    /// v1, once more without compression if the encoding was not understood.
    async fn try_v1(&self, request: &Request<'_>) -> Result<verdict::V1, String> {
        let wanted = self.encoding(Encoding::for_v1(self.compression));
        let mut outcome = self.post_v1(request, wanted).await?;
        if outcome == verdict::V1::Unsupported && wanted != Encoding::Plain {
            outcome = self.post_v1(request, Encoding::Plain).await?;
            if matches!(outcome, verdict::V1::Done(_)) {
                self.note_plain_only();
            }
        }
        if matches!(outcome, verdict::V1::Done(Reply::Rows { .. })) && self.memory.note_v1_present()
        {
            tracing::info!(
                host = self.endpoint.host(),
                "PostHog host has capture v1 now"
            );
        }
        Ok(outcome)
    }

    async fn post_v1(
        &self,
        request: &Request<'_>,
        encoding: Encoding,
    ) -> Result<verdict::V1, String> {
        let body = v1::body(self, request, encoding).map_err(unwritten)?;
        let headers = v1::headers(
            &self.authorization,
            request.attempt,
            self.clock.wall(),
            encoding,
        );
        let answer = self.http.post(&self.endpoint.v1(), headers, body).await?;
        Ok(verdict::v1(&answer, &self.context(request)))
    }

    async fn try_v0(&self, request: &Request<'_>) -> Result<Reply, String> {
        let wanted = self.encoding(Encoding::for_v0(self.compression));
        let first = self.post_v0(request, wanted).await?;
        match verdict::v0(&first, &self.context(request)) {
            verdict::V0::Done(reply) => return Ok(reply),
            verdict::V0::Unsupported if wanted == Encoding::Plain => {}
            verdict::V0::Unsupported => {
                let second = self.post_v0(request, Encoding::Plain).await?;
                if let verdict::V0::Done(reply) = verdict::v0(&second, &self.context(request)) {
                    self.note_plain_only();
                    return Ok(reply);
                }
            }
        }
        Err("the host takes JSON neither compressed nor plain (415): is POSTHOG_HOST a PostHog host?".to_owned())
    }

    async fn post_v0(&self, request: &Request<'_>, encoding: Encoding) -> Result<Answer, String> {
        let body = v0::body(self, request, encoding).map_err(unwritten)?;
        let url = self.endpoint.v0(encoding == Encoding::Gzip);
        self.http.post(&url, v0::headers(encoding), body).await
    }

    fn encoding(&self, wanted: Encoding) -> Encoding {
        match self.memory.plain_only() {
            true => Encoding::Plain,
            false => wanted,
        }
    }

    fn note_plain_only(&self) {
        if self.memory.note_plain_only() {
            tracing::info!(
                host = self.endpoint.host(),
                "PostHog host takes no compressed bodies, sending plain ones"
            );
        }
    }

    fn context<'a>(&'a self, request: &Request<'a>) -> Context<'a> {
        Context {
            ids: request.ids,
            now: self.clock.wall(),
            key: &self.key,
        }
    }
}

impl Sink for PosthogSink {
    fn name(&self) -> &'static str {
        "posthog"
    }

    fn admit(&self, row: &StoredRow) -> Admission {
        match self.sampler.decide(&row.row) {
            Sampled::Out => Admission::SampledOut,
            Sampled::Whole | Sampled::Kept { .. } => Admission::Send,
        }
    }

    fn weight(&self, row: &StoredRow) -> usize {
        Shape::weight(row)
    }

    fn limits(&self) -> RequestLimits {
        RequestLimits {
            rows: ROWS,
            bytes: BYTES,
        }
    }

    fn hurry(&self, hurry: bool) {
        self.hurry.store(hurry, Ordering::Relaxed);
    }

    fn send<'a>(&'a self, rows: &'a [StoredRow], attempt: Attempt) -> BoxFuture<'a, Reply> {
        Box::pin(self.deliver(rows, attempt))
    }
}

impl fmt::Debug for PosthogSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PosthogSink")
            .field("endpoint", &self.endpoint)
            .field("compression", &self.compression)
            .field("memory", &self.memory)
            .finish_non_exhaustive()
    }
}

/// The fate of the request is unknown, or it was never made.
fn unknown(reason: String) -> Reply {
    Reply::Retry {
        reason,
        retry_after: None,
        suspect_rows: false,
    }
}

#[expect(clippy::needless_pass_by_value, reason = "shape of `map_err`")]
fn unwritten(error: io::Error) -> String {
    format!("the request could not be written: {error}")
}
