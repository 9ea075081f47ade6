//! What a row says, for those who read it: tests and queries.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use uuid::Uuid;

use super::{Actor, Outcome, Row};

impl Row {
    /// The row's id, the de-duplication key everywhere.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// Arrival of the request, or the time of the event; microseconds.
    #[must_use]
    pub fn time(&self) -> SystemTime {
        let since = Duration::from_micros(self.ts.0.unsigned_abs());
        if self.ts.0 < 0 {
            SystemTime::UNIX_EPOCH - since
        } else {
            SystemTime::UNIX_EPOCH + since
        }
    }

    /// `api_request`, a business event's name, or one of audithog's own.
    #[must_use]
    pub fn event_name(&self) -> &str {
        &self.event
    }

    /// The request that the row is about or belongs to.
    #[must_use]
    pub fn request_id(&self) -> Option<String> {
        self.request_id.as_ref().map(ToString::to_string)
    }

    /// Who did it; empty when nothing was set.
    #[must_use]
    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    /// The request's method.
    #[must_use]
    pub fn method(&self) -> Option<&str> {
        self.exchange.as_ref().map(|http| &*http.method)
    }

    /// The request's path, without the query string, secrets masked.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        self.exchange.as_ref().map(|http| &*http.path)
    }

    /// The route template, absent when no route matched or the layer cannot know it.
    #[must_use]
    pub fn route(&self) -> Option<&str> {
        self.exchange.as_ref()?.route.as_deref()
    }

    /// The response's status; absent when there was no response.
    #[must_use]
    pub fn status_code(&self) -> Option<u16> {
        self.exchange.as_ref()?.status_code
    }

    /// `success` or `failure`; absent for rows that are no requests.
    #[must_use]
    pub fn result(&self) -> Option<&str> {
        self.exchange.as_ref()?.outcome.as_str()
    }

    /// Why it failed.
    #[must_use]
    pub fn error_code(&self) -> Option<&str> {
        self.exchange.as_ref()?.error_code.as_deref()
    }

    /// Arrival to the last byte of the response, or to the abnormal end.
    #[must_use]
    pub fn duration(&self) -> Option<Duration> {
        let http = self.exchange.as_ref()?;
        (http.outcome != Outcome::Open).then(|| Duration::from_micros(http.duration_us))
    }

    /// The `User-Agent` header.
    #[must_use]
    pub fn user_agent(&self) -> Option<&str> {
        self.exchange.as_ref()?.user_agent.as_deref()
    }

    /// The client's address.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        self.exchange.as_ref()?.ip
    }

    /// The request id that a trusted proxy sent.
    #[must_use]
    pub fn upstream_request_id(&self) -> Option<&str> {
        self.exchange.as_ref()?.upstream_request_id.as_deref()
    }

    /// The W3C trace id, 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> Option<String> {
        self.trace_id
            .map(|id| id.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// A business property; none if it is absent.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<serde_json::Value> {
        let mut properties: serde_json::Map<_, _> =
            serde_json::from_str(self.properties.as_deref()?).ok()?;
        properties.remove(name)
    }

    /// All business properties, a JSON object; none if there are none.
    #[must_use]
    pub fn properties_json(&self) -> Option<&str> {
        self.properties.as_deref()
    }
}
