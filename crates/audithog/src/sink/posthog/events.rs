//! Rows as PostHog's events, written one after the other straight into the request body.
//!
//! `properties` are the same bytes on capture v1 and v0: what v1 wants said in `options` is said there in addition.
//!
//! Properties that audithog adds to those of the design: `eventId`, the event's uuid, on every row
//! whose request id is another (two equal events at the same microsecond stay distinguishable), and
//! `sample_rate` on events that stand for others.
//!
//! The order of the fields is the compressor's: first what is the same in all events of a run, then what has few
//! values, what its length varies with, and last what is the row's own and always of the same length. So an event repeats long stretches
//! of the one before at the same distance.

use std::borrow::Cow;
use std::io::Write as _;
use std::ops::Range;
use std::sync::Arc;

use super::event::{Protocol, Shape, hex};
use super::json::{self, Times};
use super::object::Object;
use super::{business, distinct_id};
use crate::record::{ActorType, Exchange, Outcome, RequestId, Row, Run, StoredRow};

/// Writes the events of one body.
pub(super) struct Events<'a> {
    shape: &'a Shape,
    protocol: Protocol,
    /// What the events of a run share, without and with a person profile.
    shared: Option<(Arc<Run>, [Vec<u8>; 2])>,
    times: Times,
}

impl<'a> Events<'a> {
    pub(super) fn new(shape: &'a Shape, protocol: Protocol) -> Self {
        Self {
            shape,
            protocol,
            shared: None,
            times: Times::default(),
        }
    }

    /// Appends the event of `row` as one JSON object.
    pub(super) fn write(&mut self, out: &mut Vec<u8>, row: &StoredRow, sample_rate: Option<f64>) {
        let StoredRow { run, row, .. } = row;
        let shape = self.shape;
        let group = shape.group(row);
        let profile = (shape.person_profiles && distinct_id::is_known(row)) || group.is_some();
        out.extend_from_slice(b"{\"event\":");
        json::string(out, &row.event);
        out.extend_from_slice(self.shared(run, profile));
        match &row.exchange {
            Some(exchange) => self.exchange(out, row, exchange),
            None => {
                self.actor(out, row);
                out.extend_from_slice(b",\"$ip\":null");
            }
        }
        let user = self.user(out, row);
        let id = self.ids(out, row);
        if let Some(rate) = sample_rate {
            let _ = write!(out, ",\"sample_rate\":{rate}");
        }
        if let Some((kind, key)) = group {
            let mut groups = Object::go_on(out);
            let mut groups = groups.object("$groups");
            groups.given(kind, key);
            groups.close();
        }
        if let Some(json) = &row.properties {
            business::write(&mut Object::go_on(out), &shape.fit_to_leave(row, json));
        }
        out.extend_from_slice(b"},\"distinct_id\":");
        let distinct_id = distinct_id::of(row, run, shape);
        match user {
            Some((user, written)) if std::ptr::eq(user, &*distinct_id) => {
                out.extend_from_within(written);
            }
            _ => json::string(out, &distinct_id),
        }
        out.extend_from_slice(b",\"uuid\":");
        out.extend_from_within(id);
        out.extend_from_slice(b",\"timestamp\":");
        self.times.write(out, row.ts);
        out.push(b'}');
    }

    /// From after the event's name to the first property that is the row's own.
    fn shared(&mut self, run: &Arc<Run>, profile: bool) -> &[u8] {
        let known = self
            .shared
            .take()
            .filter(|(known, _)| Arc::ptr_eq(known, run));
        let (_, texts) = self.shared.insert(known.unwrap_or_else(|| {
            let text = |profile| shared(run, profile, self.protocol);
            (Arc::clone(run), [text(false), text(true)])
        }));
        &texts[usize::from(profile)]
    }

    fn exchange(&self, out: &mut Vec<u8>, row: &Row, exchange: &Exchange) {
        text(out, b",\"method\":", &exchange.method);
        if let Some(status) = exchange.status_code {
            out.extend_from_slice(b",\"statusCode\":");
            json::number(out, status.into());
        }
        optional(out, b",\"result\":", exchange.outcome.as_str());
        optional(out, b",\"errorCode\":", exchange.error_code.as_deref());
        optional(out, b",\"route\":", exchange.route.as_deref());
        text(out, b",\"path\":", &exchange.path);
        optional(
            out,
            b",\"upstreamRequestId\":",
            exchange.upstream_request_id.as_deref(),
        );
        if exchange.outcome != Outcome::Open {
            out.extend_from_slice(b",\"duration_ms\":");
            json::millis(out, exchange.duration_us);
        }
        if self.shape.user_agent {
            optional(out, b",\"userAgent\":", exchange.user_agent.as_deref());
        }
        self.actor(out, row);
        match exchange.ip.and_then(|ip| self.shape.ip(ip)) {
            Some(ip) => {
                out.extend_from_slice(b",\"ip\":");
                let start = out.len();
                json::address(out, ip);
                let written = start..out.len();
                out.extend_from_slice(b",\"$ip\":");
                out.extend_from_within(written);
            }
            // PostHog fills in the peer's address, this server's, unless the name is there.
            None => out.extend_from_slice(b",\"$ip\":null"),
        }
    }

    fn actor(&self, out: &mut Vec<u8>, row: &Row) {
        let actor = &row.actor;
        optional(out, b",\"userRole\":", actor.user_role.as_deref());
        optional(out, b",\"actorType\":", actor.kind.map(ActorType::as_str));
        if let Some(id) = &actor.on_behalf_of {
            text(out, b",\"onBehalfOf\":", &self.shape.user(id));
        }
        optional(out, b",\"orgId\":", actor.org_id.as_deref());
    }

    /// The user's id, if it is written as it is, and where.
    fn user<'r>(&self, out: &mut Vec<u8>, row: &'r Row) -> Option<(&'r str, Range<usize>)> {
        let id = row.actor.user_id.as_deref()?;
        out.extend_from_slice(b",\"userId\":");
        let start = out.len();
        let shown = self.shape.user(id);
        json::string(out, &shown);
        matches!(shown, Cow::Borrowed(_)).then(|| (id, start..out.len()))
    }

    /// Where the row's own id is written.
    fn ids(&self, out: &mut Vec<u8>, row: &Row) -> Range<usize> {
        if let Some(trace_id) = &row.trace_id {
            out.extend_from_slice(b",\"traceId\":");
            json::quoted(out, hex(trace_id).as_bytes());
        }
        match &row.request_id {
            Some(RequestId::Uuid(id)) => {
                out.extend_from_slice(b",\"requestId\":");
                json::uuid(out, *id);
            }
            Some(RequestId::Adopted(id)) => text(out, b",\"requestId\":", id),
            None => {}
        }
        if row.request_id != Some(RequestId::Uuid(row.id)) {
            out.extend_from_slice(b",\"eventId\":");
            json::uuid(out, row.id);
        }
        out.len() - json::UUID..out.len()
    }
}

/// `name` with comma, quotes and colon.
fn text(out: &mut Vec<u8>, name: &'static [u8], value: &str) {
    out.extend_from_slice(name);
    json::string(out, value);
}

fn optional(out: &mut Vec<u8>, name: &'static [u8], value: Option<&str>) {
    if let Some(value) = value {
        text(out, name, value);
    }
}

fn shared(run: &Run, profile: bool, protocol: Protocol) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    let mut event = Object::go_on(&mut out);
    if protocol == Protocol::V1 {
        let mut options = event.object("options");
        options.flag("disable_skew_correction", true);
        options.flag("process_person_profile", profile);
        options.close();
    }
    let mut properties = event.object("properties");
    let service = Some(run.service.as_str()).filter(|service| !service.is_empty());
    properties.optional("service", service);
    properties.optional("environment", run.environment.as_deref());
    properties.optional("version", run.version.as_deref());
    properties.optional("instance", run.instance.as_deref());
    // PostHog's own properties.
    properties.flag("$geoip_disable", true);
    properties.flag("$process_person_profile", profile);
    properties.flag("$ignore_sent_at", true);
    properties.flag("$is_server", true);
    properties.text("$lib", "audithog");
    properties.text("$lib_version", env!("CARGO_PKG_VERSION"));
    out
}
