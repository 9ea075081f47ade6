//! Business events: the same queue, ledger, retry and drain as request rows.

use std::borrow::Cow;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::books::{LossReason, Refusal};
use crate::capture::{RequestHandle, RowSink, Snapshot};
use crate::error::{Error, Kind};
use crate::record::{Actor, Micros, Row, Text, limits, properties, sanitize};

/// Name of an event that was logged with an empty one.
const UNNAMED: &str = "unnamed_event";

/// A business event on its way to the log. Nothing is recorded before [`log`](Self::log) or
/// [`log_durable`](Self::log_durable).
///
/// From [`Logger::event`](crate::Logger::event) it names an actor only if one is set; from
/// [`RequestHandle::event`](crate::RequestHandle::event), or while a request is being handled on
/// this task, it carries the request id, the trace id and the actor known at that moment. It goes to the logger it
/// was asked from: with a handle, to that of the request.
#[must_use = "nothing is recorded before `log` or `log_durable`"]
pub struct Event {
    sink: Arc<dyn RowSink>,
    row: Row,
    properties: Map<String, Value>,
}

impl Event {
    /// An event outside of any request.
    pub(super) fn new(sink: Arc<dyn RowSink>, name: Cow<'static, str>) -> Self {
        let row = Row::event(Uuid::now_v7(), sink.clock().wall(), event_name(name));
        Self {
            sink,
            row,
            properties: Map::new(),
        }
    }

    /// As part of a request, which may be another logger's.
    pub(super) fn within(mut self, request: Snapshot) -> Self {
        self.row.request_id = Some(request.request_id);
        self.row.actor = request.actor;
        self.row.trace_id = request.trace_id;
        self.row.trace_trusted = request.trace_trusted;
        self.row.on_request_of = request.ip.map(Box::new);
        self
    }

    /// Adds a property. Values under a secret name (`token`, `password`, …) become `***`; a text
    /// is cut at 8 KiB, all properties together at 64 KiB; a number that is not finite becomes null.
    pub fn property(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.properties.insert(name.into(), value.into());
        self
    }

    /// Adds every field of a struct or map as a property. A value that is no struct or map, or
    /// cannot be serialised, becomes the one property `value` or `serialization_error`: the event
    /// itself is never lost over it.
    pub fn properties(mut self, fields: impl Serialize) -> Self {
        match serde_json::to_value(fields) {
            Ok(Value::Object(fields)) => self.properties.extend(fields),
            Ok(other) => self = self.property("value", other),
            Err(error) => self = self.property("serialization_error", error.to_string()),
        }
        self
    }

    /// Who did it, in place of the request's actor.
    pub fn actor(mut self, mut actor: Actor) -> Self {
        sanitize::actor(&mut actor);
        self.row.actor = actor;
        self
    }

    /// The event's own id, for imports: a second event with the same id is refused
    /// (`duplicate_id`). Default: a new UUIDv7.
    pub fn id(mut self, id: Uuid) -> Self {
        self.row.id = id;
        self.row.caller_id = true;
        self
    }

    /// When it happened, for imports. Stored in UTC with microseconds; times before the year 1 or
    /// after 9999 become the nearest that can be shown. PostHog takes a time that is more than 23
    /// hours ahead for now. Default: now.
    pub fn at(mut self, time: SystemTime) -> Self {
        let ts = match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => Micros(0).saturating_add(since),
            Err(before) => Micros(0).saturating_sub(before.duration()),
        };
        self.row.ts = ts.clamp(Micros::FIRST, Micros::LAST);
        self
    }

    /// Like [`at`](Self::at), from RFC 3339 text with any offset.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`] with the text in its message when it is no such time.
    pub fn at_rfc3339(mut self, time: &str) -> Result<Self, Error> {
        let parsed: jiff::Timestamp = time.parse().map_err(|error: jiff::Error| {
            Error::new(
                Kind::Config,
                format!("`{}` is no RFC 3339 time", sanitize::text(time, 64)),
            )
            .with_source(error)
        })?;
        self.row.ts = Micros(parsed.as_microsecond()).clamp(Micros::FIRST, Micros::LAST);
        Ok(self)
    }

    /// PostHog's distinct id, for imports. Default: the user id, else one made of the request id.
    pub fn distinct_id(mut self, id: impl Into<String>) -> Self {
        let id = sanitize::text(&id.into(), limits::ACTOR);
        self.row.distinct_id = (!id.trim().is_empty()).then(|| id.into());
        self
    }

    /// Records the event. Never blocks and never fails: what cannot be kept is counted by reason
    /// (see [`LossReason`]).
    pub fn log(self) {
        let (sink, row) = self.freeze();
        sink.accept(row, None);
    }

    /// Records the event and returns once an fsync covers it.
    ///
    /// # Errors
    ///
    /// [`Error::is_duplicate`] when an event with this id exists, [`Error::is_closed`] after
    /// shutdown, [`Error::is_lost`] when it could not be kept. Dropping the future does not take
    /// the event back.
    pub async fn log_durable(self) -> Result<(), Error> {
        let (sink, row) = self.freeze();
        let (done, kept) = oneshot::channel();
        sink.accept(
            row,
            Some(Box::new(move |answer| {
                // Nobody may wait any more. It wakes the caller's task, whose executor may panic.
                drop(catch_unwind(AssertUnwindSafe(|| done.send(answer))));
                None
            })),
        );
        match kept.await {
            Ok(Ok(_seq)) => Ok(()),
            Ok(Err(refusal)) => Err(refused(refusal)),
            Err(_) => Err(refused(Refusal(LossReason::LedgerFailed))),
        }
    }

    fn freeze(self) -> (Arc<dyn RowSink>, Row) {
        let mut row = self.row;
        row.properties = properties::freeze(self.properties);
        (self.sink, row)
    }
}

impl RequestHandle {
    /// A business event of this request, for the logger that watches it: it carries the request's id, trace id and the
    /// actor known now. Works also after the response, and in spawned tasks.
    pub fn event(&self, name: impl Into<Cow<'static, str>>) -> Event {
        Event::new(Arc::clone(self.sink()), name.into()).within(self.snapshot())
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("name", &self.row.event)
            .field("id", &self.row.id)
            .finish_non_exhaustive()
    }
}

fn refused(refusal: Refusal) -> Error {
    match refusal.0 {
        LossReason::DuplicateId => Error::new(
            Kind::Duplicate,
            "an event with this id is in the ledger already",
        ),
        LossReason::AfterShutdown => Error::new(Kind::Closed, "the logger has been shut down"),
        reason => Error::new(Kind::Lost, format!("the event could not be kept: {reason}")),
    }
}

/// PostHog refuses an empty name; the row is worth more than the complaint.
fn event_name(name: Cow<'static, str>) -> Text {
    let name = sanitize::kept(name.into(), limits::EVENT);
    if name.trim().is_empty() {
        Text::constant(UNNAMED)
    } else {
        name
    }
}
