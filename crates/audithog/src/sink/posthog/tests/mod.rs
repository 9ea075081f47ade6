//! Tests of the PostHog sink, and what they share.

mod distinct_id;
mod endpoint;
mod event;
mod network;
mod oracle;
mod verdict;
#[cfg(feature = "testing")]
mod wire;

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;

use super::event::{Protocol, Shape};
use crate::config::{Compression, DistinctId, IpDetail, PosthogSettings, Secret};
use crate::record::{Actor, Exchange, Measured, Micros, Outcome, RequestId, Row, Run, StoredRow};

pub(super) const KEY: &str = "phc_testtesttesttesttesttesttesttesttesttest";
/// 2026-03-01T12:00:00.000001Z
pub(super) const NOW: Micros = Micros(1_772_366_400_000_001);

pub(super) fn id(n: u64) -> Uuid {
    Uuid::from_u128((0x0195_5555_5555_7000_8000 << 48) | u128::from(n))
}

/// A successful request of `u_17`.
pub(super) fn request_row(n: u64) -> StoredRow {
    let id = id(n);
    StoredRow {
        seq: i64::try_from(n).unwrap(),
        run: Arc::new(Run {
            service: "agents".to_owned(),
            environment: Some("test".to_owned()),
            version: Some("1.2.3".to_owned()),
            instance: Some("host-1".to_owned()),
        }),
        row: Row {
            id,
            caller_id: false,
            ts: NOW,
            event: "api_request".into(),
            request_id: Some(RequestId::Uuid(id)),
            actor: Actor::user("u_17")
                .role("admin")
                .org("acme")
                .on_behalf_of("u_4"),
            exchange: Some(Exchange {
                method: "GET".into(),
                path: "/agents/7".into(),
                route: Some("/agents/{id}".into()),
                status_code: Some(200),
                outcome: Outcome::Success,
                error_code: None,
                duration_us: 12_345,
                user_agent: Some("curl/8".into()),
                ip: Some("203.0.113.9".parse().unwrap()),
                upstream_request_id: Some("up-1".into()),
            }),
            trace_id: Some([0xab; 16]),
            trace_trusted: false,
            distinct_id: None,
            properties: None,
            on_request_of: None,
            measured: Measured::default(),
        }
        .into(),
    }
}

/// An event of a job: no request, no actor.
pub(super) fn job_row(n: u64) -> StoredRow {
    let mut row = request_row(n);
    row.row.event = "agent_published".into();
    row.row.request_id = None;
    row.row.actor = Actor::default();
    row.row.exchange = None;
    row.row.trace_id = None;
    row
}

pub(super) fn settings(host: &str) -> PosthogSettings {
    PosthogSettings {
        key: Secret::new(KEY),
        host: host.to_owned(),
        compression: Compression::Auto,
        distinct_id: DistinctId::User,
        hmac_key: None,
        ip: IpDetail::Full,
        user_agent: true,
        user_plain: true,
        person_profiles: false,
        group_type: None,
        backfill: Duration::from_secs(7 * 24 * 3600),
        request_timeout: Duration::from_secs(10),
        ca_file: None,
        sample: Vec::new(),
    }
}

pub(super) fn shape(change: impl FnOnce(&mut PosthogSettings)) -> Shape {
    let mut settings = settings("");
    change(&mut settings);
    Shape::new(&settings).unwrap()
}

/// The event of `row`, as capture v0 gets it.
pub(super) fn written(shape: &Shape, row: &StoredRow) -> Value {
    let mut out = Vec::new();
    shape.write(&mut out, row, None, Protocol::V0);
    serde_json::from_slice(&out).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(&out));
    })
}
