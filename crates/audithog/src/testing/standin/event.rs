//! One event as the stand-in understood it.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};
use uuid::Uuid;

/// An event that arrived. Copies of one that came at different times are equal.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CapturedEvent {
    /// The client's uuid, or one made by the server when v0 got none.
    pub uuid: Uuid,
    /// The event's name.
    pub event: String,
    /// Who it belongs to.
    pub distinct_id: String,
    /// The timestamp as the client wrote it.
    pub timestamp_given: Option<String>,
    /// The timestamp as stored: corrected for clock skew unless that was turned off, clamped.
    pub timestamp: Timestamp,
    /// When the server took it: `created_at`.
    pub created: Timestamp,
    /// The properties as stored; on v1 with the options and the library's name written back.
    pub properties: Map<String, Value>,
    /// The project's token.
    pub token: String,
}

/// What makes two stored events one, once ClickHouse has merged them.
pub(super) type DedupeKey = (String, Uuid, String, String, Date);

impl PartialEq for CapturedEvent {
    fn eq(&self, other: &Self) -> bool {
        let content = |event: &Self| (event.uuid, event.timestamp, event.timestamp_given.clone());
        content(self) == content(other)
            && self.event == other.event
            && self.distinct_id == other.distinct_id
            && self.properties == other.properties
            && self.token == other.token
    }
}

impl CapturedEvent {
    pub(super) fn dedupe_key(&self) -> DedupeKey {
        let day = TimeZone::UTC.to_datetime(self.timestamp).date();
        (
            self.token.clone(),
            self.uuid,
            self.event.clone(),
            self.distinct_id.clone(),
            day,
        )
    }

    /// The size against [`Limits::event`](super::Limits::event): the event's JSON, written as a string into other JSON.
    pub(super) fn size_on_the_bus(&self) -> usize {
        let json = serde_json::json!({
            "uuid": self.uuid,
            "event": self.event,
            "distinct_id": self.distinct_id,
            "timestamp": self.timestamp_given,
            "properties": self.properties,
        })
        .to_string();
        let escapes = json.bytes().filter(|b| matches!(b, b'"' | b'\\')).count();
        json.len() + escapes
    }
}
