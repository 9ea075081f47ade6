//! One entry of the audit log.

use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;

use uuid::Uuid;

use super::{Actor, Micros, Outcome, RequestId, Text};

/// One entry of the audit log, frozen when it was recorded: nothing about it changes afterwards.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The de-duplication key everywhere. UUIDv7 unless the caller supplied it.
    pub(crate) id: Uuid,
    /// The caller supplied `id`: it is checked against the ids supplied before.
    pub(crate) caller_id: bool,
    /// Arrival of the request, or the time of the event.
    pub(crate) ts: Micros,
    pub(crate) event: Text,
    /// For `api_request`, `Some(Uuid(id))` unless an upstream id was adopted.
    pub(crate) request_id: Option<RequestId>,
    pub(crate) actor: Actor,
    /// Present on `api_request`, `api_request_started` and `api_connection_closed` rows.
    pub(crate) exchange: Option<Exchange>,
    pub(crate) trace_id: Option<[u8; 16]>,
    /// The trace id came from a trusted peer, so sampling may hash it.
    pub(crate) trace_trusted: bool,
    /// Supplied by the caller; otherwise the sink derives it.
    pub(crate) distinct_id: Option<Text>,
    /// A JSON object: masked, bounded, valid.
    pub(crate) properties: Option<Box<str>>,
    /// Of a business event within a request: the client's address. Only for the queue, which shares its room
    /// among clients; it is not kept.
    pub(crate) on_request_of: Option<IpAddr>,
}

/// The HTTP side of a row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Exchange {
    pub(crate) method: Text,
    /// Without the query string; secret route parameters masked; no control characters.
    pub(crate) path: Text,
    pub(crate) route: Option<Text>,
    pub(crate) status_code: Option<u16>,
    pub(crate) outcome: Outcome,
    pub(crate) error_code: Option<Text>,
    pub(crate) duration_us: u64,
    pub(crate) user_agent: Option<Text>,
    pub(crate) ip: Option<IpAddr>,
    pub(crate) upstream_request_id: Option<Text>,
}

/// What is constant for one run of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) service: String,
    pub(crate) environment: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) instance: Option<String>,
}

/// A row as the ledger has it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StoredRow {
    pub(crate) seq: i64,
    pub(crate) run: Arc<Run>,
    pub(crate) row: SharedRow,
}

/// A row that several hold: the ledger's memory, a request under way.
#[derive(Clone, Debug)]
pub(crate) struct SharedRow(Held);

#[derive(Clone, Debug)]
enum Held {
    Alone(Arc<Row>),
    /// With the rows that were committed with it: a row is large, and copying each would cost more than committing
    /// some.
    Among(Arc<Vec<Row>>, u32),
}

impl SharedRow {
    /// Row `at` of `rows`. While it is held, all of them take memory.
    pub(crate) fn among(rows: &Arc<Vec<Row>>, at: usize) -> Self {
        match u32::try_from(at) {
            Ok(short) if at < rows.len() => Self(Held::Among(Arc::clone(rows), short)),
            _ => rows[at].clone().into(),
        }
    }
}

impl From<Row> for SharedRow {
    fn from(row: Row) -> Self {
        Self(Held::Alone(Arc::new(row)))
    }
}

impl Deref for SharedRow {
    type Target = Row;

    fn deref(&self) -> &Row {
        match &self.0 {
            Held::Alone(row) => row,
            Held::Among(rows, at) => &rows[*at as usize],
        }
    }
}

impl PartialEq for SharedRow {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

#[cfg(test)]
impl PartialEq<Row> for SharedRow {
    fn eq(&self, other: &Row) -> bool {
        **self == *other
    }
}

/// Tests make rows that differ in one thing.
#[cfg(any(test, fuzzing))]
impl std::ops::DerefMut for SharedRow {
    fn deref_mut(&mut self) -> &mut Row {
        if let Held::Among(..) = &self.0 {
            *self = (**self).clone().into();
        }
        match &mut self.0 {
            Held::Alone(row) => Arc::make_mut(row),
            Held::Among(..) => unreachable!("it was made one of its own"),
        }
    }
}

/// The event name of a request row.
pub(crate) const API_REQUEST: &str = "api_request";

impl Row {
    /// A row that says only what happened and when.
    pub(crate) fn event(id: Uuid, ts: Micros, event: Text) -> Self {
        Self {
            id,
            caller_id: false,
            ts,
            event,
            request_id: None,
            actor: Actor::default(),
            exchange: None,
            trace_id: None,
            trace_trusted: false,
            distinct_id: None,
            properties: None,
            on_request_of: None,
        }
    }

    /// The client whose request caused the row.
    pub(crate) fn client_ip(&self) -> Option<IpAddr> {
        self.exchange
            .as_ref()
            .map_or(self.on_request_of, |exchange| exchange.ip)
    }

    /// An `api_request` row.
    pub(crate) fn is_request(&self) -> bool {
        self.exchange.is_some() && self.event == API_REQUEST
    }

    /// About how many bytes of memory the row takes.
    pub(crate) fn size(&self) -> usize {
        let text = |text: &Option<Text>| text.as_ref().map_or(0, |text| text.len());
        let exchange = self.exchange.as_ref().map_or(0, |http| {
            http.method.len()
                + http.path.len()
                + text(&http.route)
                + text(&http.error_code)
                + text(&http.user_agent)
                + text(&http.upstream_request_id)
        });
        let actor =
            text(&self.actor.user_id) + text(&self.actor.user_role) + text(&self.actor.org_id);
        let properties = self
            .properties
            .as_ref()
            .map_or(0, |properties| properties.len());
        size_of::<Self>() + self.event.len() + exchange + actor + properties
    }
}
