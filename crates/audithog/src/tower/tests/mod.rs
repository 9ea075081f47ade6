//! Through the layer's door: [`service`] calls it directly, [`paths`] asks which secrets are masked and [`ends`] when and how a request
//! ends then, [`socket`] goes over real connections.
#![cfg(feature = "axum")]

mod ahead;
mod connection;
mod ends;
mod grpc;
mod paths;
mod service;
mod socket;

use std::sync::Arc;

use axum::Router;

use super::AuditLayer;
use crate::capture::collector::{Collector, exchange};
use crate::capture::{CaptureSettings, Recorder};
use crate::clock::Clock;
use crate::record::Row;

fn audit() -> (Arc<Collector>, AuditLayer) {
    audit_with(CaptureSettings::default())
}

fn audit_with(settings: CaptureSettings) -> (Arc<Collector>, AuditLayer) {
    let (sink, recorder) = recorder(settings);
    (sink, AuditLayer::new(recorder))
}

fn recorder(settings: CaptureSettings) -> (Arc<Collector>, Recorder) {
    let sink = Collector::new(Clock::system());
    let recorder = Recorder::new(settings, Arc::clone(&sink) as _);
    (sink, recorder)
}

/// The documented place of the layer: the last one.
fn audited(router: Router) -> (Arc<Collector>, Router) {
    let (sink, layer) = audit();
    (sink, router.layer(layer))
}

/// `STATUS RESULT ERROR_CODE`, with `-` for what is absent.
fn verdict(row: &Row) -> String {
    let exchange = exchange(row);
    let status = exchange.status_code.map(|status| status.to_string());
    format!(
        "{} {} {}",
        status.as_deref().unwrap_or("-"),
        exchange.outcome.as_str().unwrap_or("-"),
        exchange.error_code.as_deref().unwrap_or("-"),
    )
}

/// Of the only row.
#[track_caller]
fn only(rows: &[Row]) -> &Row {
    match rows {
        [row] => row,
        rows => panic!("not one row: {rows:#?}"),
    }
}
