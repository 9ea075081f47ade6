//! The search: what was typed becomes a filter of the log.

use axum::Extension;
use axum::response::Response;

use super::Visit;
use crate::guard;
use crate::params::{Params, searched};

pub(crate) async fn find(Extension(visit): Extension<Visit>) -> Response {
    let here = visit.here;
    let time = here.params.clone().time_only();
    let Some(text) = here.params.get("q") else {
        return guard::see_other(&here.link("log", &time));
    };
    let found = searched(text);
    // An id is of one time alone.
    let exact = ["request-id", "trace-id"]
        .iter()
        .any(|name| found.get(name).is_some());
    let time = if exact { Params::default() } else { time };
    let both = found
        .conditions()
        .fold(time, |all, (name, value)| all.with(name, value));
    guard::see_other(&here.link("log", &both))
}
