//! What the log never got, in the time that an export is about.

use std::collections::BTreeMap;

use audithog::{
    ActorType,
    query::{Field, Filter, Log},
};
use serde::Serialize;
use serde_json::Value;

use crate::{failure::Failure, output::failed, output::unanswered};

/// Rows lost for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Loss {
    reason: String,
    /// Rows; an upper bound if it is not exact.
    count: u64,
    exact: bool,
    /// How many rows `audit_loss` tell of it.
    told: u64,
    /// The earliest and the latest time at which rows were lost: RFC 3339, UTC.
    from: String,
    until: String,
}

/// Reads the rows `audit_loss`: those that tell of a time within the filter's.
pub(super) fn read(log: &mut Log, filter: &Filter, upto: u64) -> Result<Vec<Loss>, Failure> {
    let (since, until) = (filter.since_text(), filter.until_text());
    let told = Filter::all()
        .is(Field::Event, ["audit_loss"])
        .map_err(unanswered)?;
    let mut losses: BTreeMap<String, Loss> = BTreeMap::new();
    // A loss is told after it: also behind the end of the range.
    for row in log.rows(&told, 0, upto).map_err(failed)? {
        let row = row.map_err(failed)?;
        let own = row.row().actor().actor_type() == Some(ActorType::System);
        let text = |name: &str| match row.row().property(name) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        let Some((reason, count)) = text("reason").zip(count(row.row().property("count"))) else {
            continue;
        };
        let from = text("from").unwrap_or_else(|| row.time_text());
        let last = text("until").unwrap_or_else(|| row.time_text());
        // RFC 3339 of one form: the order of texts is that of times.
        let outside = since.as_ref().is_some_and(|since| last < *since)
            || until.as_ref().is_some_and(|until| from >= *until);
        if outside || !own {
            continue;
        }
        let exact = row.row().property("exact") == Some(Value::Bool(true));
        let loss = losses.entry(reason.clone()).or_insert_with(|| Loss {
            reason,
            count: 0,
            exact: true,
            told: 0,
            from: from.clone(),
            until: last.clone(),
        });
        loss.count = loss.count.saturating_add(count);
        loss.told += 1;
        loss.exact &= exact;
        loss.from = from.min(std::mem::take(&mut loss.from));
        loss.until = last.max(std::mem::take(&mut loss.until));
    }
    Ok(losses.into_values().collect())
}

fn count(value: Option<Value>) -> Option<u64> {
    value?.as_u64()
}
