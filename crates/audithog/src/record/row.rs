//! One entry of the audit log.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::ops::Deref;
use std::sync::Arc;

use uuid::Uuid;

use super::{Actor, Micros, Outcome, RequestId, SharedText, Text};

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
    pub(crate) distinct_id: Option<SharedText>,
    /// A JSON object: masked, bounded, valid.
    pub(crate) properties: Option<SharedText>,
    /// Of a business event within a request: the client's address. Only for the queue, which shares its room
    /// among clients; it is not kept.
    pub(crate) on_request_of: Option<Box<IpAddr>>,
    pub(crate) measured: Measured,
}

/// How long the texts of a row are together, once they do not change any more: whoever asks later need not look at
/// the whole row. Rows that differ only in this are the same.
#[derive(Clone, Copy, Default)]
pub(crate) struct Measured(Option<NonZeroU32>);

impl fmt::Debug for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("_")
    }
}

impl PartialEq for Measured {
    fn eq(&self, _: &Self) -> bool {
        true
    }
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
    pub(crate) error_code: Option<SharedText>,
    pub(crate) duration_us: u64,
    pub(crate) user_agent: Option<SharedText>,
    pub(crate) ip: Option<IpAddr>,
    pub(crate) upstream_request_id: Option<SharedText>,
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

    /// Whoever holds this holds no other row.
    pub(crate) fn alone(self) -> Self {
        match &self.0 {
            Held::Alone(_) => self,
            Held::Among(..) => (*self).clone().into(),
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
            Held::Alone(row) => {
                let row = Arc::make_mut(row);
                row.measured = Measured::default();
                row
            }
            Held::Among(..) => unreachable!("it was made one of its own"),
        }
    }
}

/// The event name of a request row.
pub(crate) const API_REQUEST: &str = "api_request";

/// The event names of other rows about requests.
pub(crate) const API_REQUEST_STARTED: &str = "api_request_started";
pub(crate) const API_CONNECTION_CLOSED: &str = "api_connection_closed";

/// What all other names of audithog's own rows begin with, also those that a later version adds.
const OWN: &str = "audit_";

/// No business event has such a name. Spaces around it do not make another one of it.
pub(crate) fn is_own(event: &str) -> bool {
    let event = event.trim();
    event.starts_with(OWN)
        || [API_REQUEST, API_REQUEST_STARTED, API_CONNECTION_CLOSED].contains(&event)
}

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
            measured: Measured::default(),
        }
    }

    /// The client whose request caused the row.
    pub(crate) fn client_ip(&self) -> Option<IpAddr> {
        self.exchange
            .as_ref()
            .map_or(self.on_request_of.as_deref().copied(), |exchange| {
                exchange.ip
            })
    }

    /// An `api_request` row.
    pub(crate) fn is_request(&self) -> bool {
        self.exchange.is_some() && self.event == API_REQUEST
    }

    /// About how many bytes of memory the row takes.
    pub(crate) fn size(&self) -> usize {
        size_of::<Self>() + self.text_size()
    }

    /// To be called when nothing about the row changes any more.
    pub(crate) fn measure(&mut self) {
        let texts = u32::try_from(self.texts()).ok();
        self.measured = Measured(texts.and_then(NonZeroU32::new));
    }

    /// Of all texts together, in bytes.
    pub(crate) fn text_size(&self) -> usize {
        let measured = self.measured.0.and_then(|size| size.get().try_into().ok());
        measured.unwrap_or_else(|| self.texts())
    }

    fn texts(&self) -> usize {
        let text = |text: &Option<Text>| text.as_ref().map_or(0, |text| text.len());
        let shared = |text: &Option<SharedText>| text.as_ref().map_or(0, |text| text.len());
        let exchange = self.exchange.as_ref().map_or(0, |http| {
            http.method.len()
                + http.path.len()
                + text(&http.route)
                + shared(&http.error_code)
                + shared(&http.user_agent)
                + shared(&http.upstream_request_id)
        });
        let actor = text(&self.actor.user_id)
            + text(&self.actor.user_role)
            + text(&self.actor.org_id)
            + shared(&self.actor.on_behalf_of);
        let others = shared(&self.distinct_id) + shared(&self.properties);
        self.event.len() + exchange + actor + others
    }
}

#[cfg(test)]
mod tests {
    use super::{Row, SharedRow};
    use crate::ledger::tests::full_row;

    /// Three cores' caches take a row in, one after the other: see [`SharedText`](super::SharedText).
    #[test]
    fn a_row_is_small() {
        assert!(size_of::<Row>() <= 336, "{}", size_of::<Row>());
    }

    #[test]
    fn a_row_that_was_measured_is_the_same_and_as_large_as_one_that_was_not() {
        let row = full_row(1);
        let mut measured = row.clone();
        measured.measure();
        assert_eq!((&measured, measured.text_size()), (&row, row.text_size()));
        // One that is changed all the same, as tests do, is measured again.
        let mut longer = SharedRow::from(measured);
        longer.properties = None;
        assert_eq!(longer.text_size(), row.text_size() - r#"{"a":1}"#.len());
    }
}
