//! What a row tells of, for schemas that have different places for it.

use crate::query::LogRow;
use crate::record::{API_REQUEST, API_REQUEST_STARTED, ActorType, Row};

/// What a row tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A whole request.
    Request,
    /// A request that is about to be handled.
    Started,
    /// The end of a connection that a request upgraded.
    Closed,
    /// Something that the application told.
    Business,
    /// Something that audithog tells of itself.
    Own,
}

/// How much somebody should care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grade {
    /// Nothing is wrong.
    Information,
    /// The client did something that was refused, or left.
    Warning,
    /// The service failed.
    Error,
    /// Rows of the log are missing.
    Loss,
}

pub(super) fn what(row: &Row) -> What {
    match row.event_name() {
        API_REQUEST if row.method().is_some() => What::Request,
        API_REQUEST_STARTED if row.method().is_some() => What::Started,
        _ if row.method().is_some() => What::Closed,
        name if name.starts_with("audit_") && row.actor().kind == Some(ActorType::System) => {
            What::Own
        }
        _ => What::Business,
    }
}

pub(super) fn grade(row: &Row) -> Grade {
    match what(row) {
        What::Own => match row.event_name() {
            "audit_loss" | "audit_ledger_replaced" => Grade::Loss,
            "audit_response_withheld" => Grade::Warning,
            _ => Grade::Information,
        },
        _ if row.result() != Some("failure") => Grade::Information,
        _ => match (row.status_code(), row.error_code()) {
            (Some(400..=499), _) => Grade::Warning,
            (_, Some(code)) if code.starts_with("CLIENT_CLOSED") => Grade::Warning,
            _ => Grade::Error,
        },
    }
}

/// `GET /agents/a1 404 NOT_FOUND`, `agent_published`
pub(super) fn message(row: &LogRow) -> String {
    let row = row.row();
    let Some((method, path)) = row.method().zip(row.path()) else {
        return row.event_name().to_owned();
    };
    let mut text = format!("{method} {path}");
    if what(row) != What::Request {
        text = format!("{} {text}", row.event_name());
    }
    if let Some(status) = row.status_code() {
        text.push_str(&format!(" {status}"));
    }
    if let Some(code) = row.error_code() {
        text.push_str(&format!(" {code}"));
    }
    text
}
