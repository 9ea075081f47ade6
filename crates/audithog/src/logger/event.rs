//! Business events: the same queue, ledger, retry and drain as request rows.

use std::borrow::Cow;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::SystemTime;

use jiff::fmt::temporal::Pieces;
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::books::{LossReason, Refusal};
use crate::capture::{RequestHandle, RowSink, Snapshot};
use crate::error::{Error, Kind};
use crate::record::{Actor, Micros, Row, Text, is_own, limits, properties, sanitize};

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
    /// An event outside of any request, unless it is put [`within`](Self::within) one.
    pub(super) fn new(sink: Arc<dyn RowSink>, name: Cow<'static, str>) -> Self {
        let name = event_name(name, &*sink);
        let row = Row::event(Uuid::now_v7(), sink.clock().wall(), name);
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
    ///
    /// It is compared with the ids that were given like this, and with no other: no row is looked up. So give no id that
    /// audithog made, as the request's own: the event and the `api_request` row would share it.
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
    /// [`Error::is_config`] with the text in its message when it is no such time, or one after the last that can be
    /// shown.
    pub fn at_rfc3339(mut self, time: &str) -> Result<Self, Error> {
        let parsed: jiff::Timestamp = time.parse().map_err(|error: jiff::Error| {
            let shown = sanitize::text(time, 64);
            let what = if is_rfc3339(time) {
                let (first, last) = (Micros::FIRST, Micros::LAST);
                format!("`{shown}` is out of range: times go from {first} to {last}")
            } else {
                format!("`{shown}` is no RFC 3339 time")
            };
            Error::new(Kind::Config, what).with_source(error)
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
    /// Without a ledger (`AUDITHOG_DB=off`) there is nothing to fsync: it returns once the row is in memory, where it
    /// goes with the process.
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

/// The name under which an event is kept that would look like one of audithog's own rows: names may come from clients.
#[cold]
fn yielded(name: &str, sink: &dyn RowSink) -> Text {
    let kept: Text = limits::cut(&format!("event:{name}"), limits::EVENT)
        .into_owned()
        .into();
    if sink.tell_of_own_name() {
        tracing::warn!(
            name,
            kept = &*kept,
            "an event has a name of audithog's own rows: it is kept under another one"
        );
    }
    kept
}

/// PostHog refuses an empty name; the row is worth more than the complaint.
fn event_name(name: Cow<'static, str>, sink: &dyn RowSink) -> Text {
    let name = sanitize::kept(name.into(), limits::EVENT);
    if name.trim().is_empty() {
        Text::constant(UNNAMED)
    } else if is_own(&name) {
        yielded(&name, sink)
    } else {
        name
    }
}

/// Whether the text has a date, a time and an offset, whatever they come to.
fn is_rfc3339(time: &str) -> bool {
    Pieces::parse(time).is_ok_and(|pieces| pieces.time().is_some() && pieces.offset().is_some())
}

#[cfg(test)]
mod tests {
    use crate::config::Builder;
    use crate::record::limits;

    /// The names under which events with these are kept.
    fn kept(names: &[&str]) -> Vec<String> {
        let (logger, queue) = Builder::from_environment([]).detached().unwrap();
        for name in names {
            logger.event((*name).to_owned()).log();
        }
        let rows = queue.rows();
        rows.iter().map(|row| row.event.to_string()).collect()
    }

    #[test]
    fn no_event_looks_like_a_row_of_audithogs_own() {
        let own = [
            "api_request",
            "api_request_started",
            "api_connection_closed",
            "audit_loss",
            "audit_stopped",
            "audit_of_a_later_version",
            " audit_loss",
            "api_request ",
        ];
        let expected: Vec<String> = own.iter().map(|name| format!("event:{name}")).collect();
        assert_eq!(kept(&own), expected);
        let longest = format!("audit_{}", "x".repeat(limits::EVENT - 6));
        let kept_longest = kept(&[&longest]).remove(0);
        assert!(kept_longest.starts_with("event:audit_x") && kept_longest.ends_with('…'));
        assert!(kept_longest.len() <= limits::EVENT);
    }

    #[test]
    fn names_that_only_begin_alike_stay() {
        let others = [
            "api_key_created",
            "api_requests",
            "auditor_added",
            "audit",
            "event:audit_loss",
        ];
        assert_eq!(kept(&others), others);
    }

    #[test]
    fn an_own_name_is_told_of_once_for_each_logger() {
        use crate::capture::RowSink as _;
        let (logger, _) = Builder::from_environment([]).detached().unwrap();
        logger.event("fine").log();
        logger.event("audit_loss").log();
        assert!(!logger.0.intake.tell_of_own_name());
        let (other, _) = Builder::from_environment([]).detached().unwrap();
        other.event("fine").log();
        assert!(other.0.intake.tell_of_own_name());
    }
}
