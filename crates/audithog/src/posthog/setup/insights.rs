//! Which insights there are, and where on the dashboard.

use serde_json::{Value, json};

use super::alerts::{self, Alert};
use super::{Setup, sql, trends};
use crate::error::Error;
use crate::query::{Named, property};

/// An insight that is to be.
#[derive(Clone, Debug)]
pub(super) struct Insight {
    /// The same in all projects.
    pub(super) key: String,
    pub(super) name: String,
    pub(super) about: String,
    pub(super) query: Value,
    pub(super) alert: Option<Alert>,
}

/// All of them, in the dashboard's order.
pub(super) fn all(setup: &Setup) -> Result<Vec<Insight>, Error> {
    let label = setup.label();
    let of = |key: &str, title: &str, about: &str, query: Value, alert: Alert| Insight {
        key: key.to_owned(),
        name: format!("{label}: {title}"),
        about: about.to_owned(),
        query,
        alert: Some(alert),
    };
    let mut all = vec![
        of(
            "rate-5xx",
            "5xx rate by hour, %",
            "Requests with a 5xx status, in percent of all requests. A sampled event counts for the requests that it stands for.",
            trends::rate(setup, 500, 599),
            alerts::upper("5xx rate over 1 %", 1.0),
        ),
        of(
            "rate-4xx",
            "4xx rate by hour, %",
            "Requests with a 4xx status, in percent of all requests. A sampled event counts for the requests that it stands for.",
            trends::rate(setup, 400, 499),
            alerts::upper("4xx rate over 5 %", 5.0),
        ),
        of(
            "error-codes",
            "error codes by hour",
            "Requests that failed, by error code.",
            trends::error_codes(setup),
            alerts::increase("error code spike", setup.spike),
        ),
        of(
            "heartbeats",
            "heartbeats by hour",
            "Each process that writes an audit log sends audit_heartbeat every five minutes. None means that the log has stopped, or does not arrive.",
            trends::heartbeats(setup),
            alerts::lower("no heartbeat", 1.0),
        ),
    ];
    for named in Named::ALL {
        let mut about = format!("{}.", named.about());
        if let Some(property) = named.subject_field().and_then(property) {
            about += &format!(" Narrow it down with the dashboard's filter on {property}.");
        }
        all.push(Insight {
            key: format!("question-{}", named.name()),
            name: format!("{label}: {}", named.name()),
            about,
            query: sql::insight(setup, named)?,
            alert: None,
        });
    }
    Ok(all)
}

/// Where the tile of the insight with this number is: two in a row of a dashboard's twelve columns.
pub(super) fn layouts(at: usize) -> Value {
    const WIDTH: usize = 6;
    const HEIGHT: usize = 5;
    json!({
        "sm": {"x": at % 2 * WIDTH, "y": at / 2 * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "xs": {"x": 0, "y": at * HEIGHT, "w": 1, "h": HEIGHT},
    })
}
