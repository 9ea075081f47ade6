//! PostHog's HogQL, over the table `events`. Names as in `sink/posthog/events.rs`.

use serde_json::Value;

use super::Dialect;
use crate::query::CellKind;
use crate::record::{Field, Micros};

pub(super) struct HogQl;

impl Dialect for HogQl {
    fn parameter(&self, number: usize) -> (String, String) {
        (format!("{{v{number}}}"), format!("v{number}"))
    }

    fn field(&self, field: Field) -> String {
        match property(field) {
            None => "event".to_owned(),
            // As text: PostHog may have taken ids of digits for numbers.
            Some(property) => format!("toString(properties.{property})"),
        }
    }

    fn ts(&self) -> &'static str {
        "timestamp"
    }

    fn time(&self, parameter: &str) -> String {
        format!("toDateTime({parameter})")
    }

    fn status(&self) -> &'static str {
        "toInt(properties.statusCode)"
    }

    fn duration(&self) -> &'static str {
        "toFloat(properties.duration_ms)"
    }

    fn properties(&self) -> &'static str {
        "properties"
    }

    fn begins(&self, text: &str, parameter: &str) -> String {
        format!("startsWith({text}, {parameter})")
    }

    fn contains(&self, text: &str, parameter: &str) -> String {
        format!("position(upper({text}), {parameter}) > 0")
    }

    fn step(&self, column: &str, micros: i64) -> String {
        let seconds = (micros / 1_000_000).max(1);
        format!("toStartOfInterval({column}, toIntervalSecond({seconds}))")
    }

    /// Each event once, however often it arrived, with the number of rows that it stands for.
    fn source(&self, columns: &str, _keys: &str, condition: &str) -> String {
        format!(
            "SELECT {columns}, 1 / ifNull(toFloat(properties.sample_rate), 1) AS weight\n\
             FROM events WHERE {condition} LIMIT 1 BY uuid"
        )
    }

    fn count(&self, condition: Option<&str>) -> String {
        match condition {
            Some(condition) => format!("sumIf(weight, {condition})"),
            None => "sum(weight)".to_owned(),
        }
    }

    fn percentile(&self, share: &str) -> String {
        format!("quantile({share})(took)")
    }

    fn latest(&self) -> &'static str {
        "max(at)"
    }

    fn first_met(&self) -> &'static str {
        "min(at)"
    }

    fn sampled(&self) -> Option<&'static str> {
        Some("max(weight) > 1 AS sampled")
    }

    fn rows_from(&self) -> &'static str {
        "events"
    }

    fn order(&self, latest_first: bool) -> &'static str {
        if latest_first {
            "timestamp DESC LIMIT 1 BY uuid"
        } else {
            "timestamp LIMIT 1 BY uuid"
        }
    }
}

/// The event's property that has the field. None: the event's name has it.
pub(crate) fn property(field: Field) -> Option<&'static str> {
    Some(match field {
        Field::Event => return None,
        Field::UserId => "userId",
        Field::UserRole => "userRole",
        Field::OrgId => "orgId",
        Field::ActorType => "actorType",
        Field::OnBehalfOf => "onBehalfOf",
        Field::Method => "method",
        Field::Path => "path",
        Field::Route => "route",
        Field::Result => "result",
        Field::ErrorCode => "errorCode",
        Field::UserAgent => "userAgent",
        Field::Ip => "ip",
        Field::RequestId => "requestId",
        Field::UpstreamRequestId => "upstreamRequestId",
        Field::TraceId => "traceId",
        Field::Service => "service",
        Field::Environment => "environment",
        Field::Version => "version",
        Field::Instance => "instance",
    })
}

/// A cell of PostHog's reply as answers have it: times in one form, counts without a fraction where they have none.
pub(super) fn read(cell: &mut Value, kind: CellKind) {
    match (kind, &*cell) {
        (CellKind::Time, Value::String(text)) => {
            // Without a zone it is UTC.
            let zoned = text.parse::<jiff::Timestamp>();
            let time = zoned.or_else(|_| format!("{text}Z").parse());
            if let Ok(time) = time {
                *cell = Value::String(Micros(time.as_microsecond()).to_string());
            }
        }
        (CellKind::Count, Value::Number(number)) => {
            if let Some(count) = number.as_f64().filter(|count| count.fract() == 0.0)
                && (0.0..9e15).contains(&count)
            {
                *cell = Value::from(count as u64);
            }
        }
        (CellKind::Json, Value::String(text)) => {
            if let Ok(json) = serde_json::from_str(text) {
                *cell = json;
            }
        }
        _ => {}
    }
}
