//! When the last row was written: what every page shows.

use audithog::query::Filter;
use axum::http::{HeaderValue, header};
use axum::response::IntoResponse as _;
use axum::{Extension, response::Response};
use serde_json::json;

use super::Visit;

pub(crate) async fn show(Extension(visit): Extension<Visit>) -> Response {
    let last = visit.shared.ask(&visit.access, None, |log| {
        let head = log.head()?;
        let last = log
            .latest_rows(&Filter::all(), 0, head)?
            .next()
            .transpose()?;
        Ok(last.map(|row| (row.seq(), row.time_text(), row.time_micros())))
    });
    let said = match last.await {
        Ok(Some((seq, time, micros))) => {
            let age = (visit.here.now.as_microsecond() - micros) as f64 / 1e6;
            json!({ "seq": seq, "time": time, "age": age.max(0.0) })
        }
        Ok(None) => json!({ "seq": 0 }),
        Err(failure) => json!({ "error": failure.text }),
    };
    let kind = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, kind)], said.to_string()).into_response()
}
