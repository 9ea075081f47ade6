//! One tracing event with the 13 fields for each request, as a JSON line in a file.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bench_stacks::actor::{self, Authenticate};
use bench_stacks::audit::{Audit, Record, Sink};
use bench_stacks::process::{self, Failure, Rows, Settings};
use bench_stacks::service;

use crate::lines::Lines;

pub(crate) async fn run(settings: &Settings) -> Result<(), Failure> {
    let (writer, lines) = Lines::open(settings)?;
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_writer(writer)
        .init();
    let made = Made::default();
    let router = service::routes()
        .layer(Authenticate(actor::into_slot))
        .layer(Audit(made.clone()));
    process::serve_with_peers(router).await?;
    process::finish(Rows {
        rows_made: Some(made.0.load(Ordering::Relaxed)),
        rows_delivered: Some(lines.close()?),
        ..Rows::default()
    })
}

#[derive(Clone, Default)]
struct Made(Arc<AtomicU64>);

impl Sink for Made {
    fn record(&self, record: &Record) {
        self.0.fetch_add(1, Ordering::Relaxed);
        let [user, role, org] = record.actor();
        tracing::info!(
            requestId = %record.request_id,
            userId = user,
            userRole = role,
            orgId = org,
            method = record.method.as_str(),
            path = record.path(),
            route = record.route(),
            statusCode = record.status.as_u16(),
            result = record.result(),
            errorCode = record.error_code(),
            duration_ms = record.duration_ms,
            userAgent = record.agent(),
            ip = record.ip.map(tracing::field::display),
            "api_request"
        );
    }
}
