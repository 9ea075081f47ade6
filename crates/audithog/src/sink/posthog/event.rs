//! A row as PostHog's event, written straight into the request body.
//!
//! An event depends on nothing but the row and the settings, so every retry sends the same bytes.
//! `properties` are the same bytes on capture v1 and v0, too: what v1 wants said in `options` is
//! said there in addition.
//!
//! Properties that audithog adds to those of the design: `eventId`, the event's uuid, on every row
//! whose request id is another (two equal events at the same microsecond stay distinguishable), and
//! `sample_rate` on events that stand for others.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ring::hmac;

use super::object::{Millis, Object};
use super::{business, distinct_id};
use crate::config::{DistinctId, IpDetail, PosthogSettings};
use crate::record::{Actor, Exchange, Outcome, Row, Run, StoredRow};

/// What an event has besides its texts: names, ids, punctuation.
const FIXED_WEIGHT: usize = 1_000;

/// What of a row leaves the machine, and in which form.
pub(super) struct Shape {
    pub(super) distinct_id: DistinctId,
    pub(super) hmac_key: Option<hmac::Key>,
    user_plain: bool,
    ip: IpDetail,
    user_agent: bool,
    person_profiles: bool,
    group_type: Option<String>,
}

/// Which capture protocol an event is written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    V0,
    V1,
}

impl Shape {
    /// # Errors
    ///
    /// A form needs the HMAC key, and there is none.
    pub(super) fn new(settings: &PosthogSettings) -> Result<Self, &'static str> {
        let hmac_key = settings
            .hmac_key
            .as_ref()
            .map(|key| hmac::Key::new(hmac::HMAC_SHA256, key.expose().as_bytes()));
        let needed = settings.distinct_id == DistinctId::Hmac || !settings.user_plain;
        if needed && hmac_key.is_none() {
            return Err("user ids are to be sent as HMAC, but there is no HMAC key");
        }
        Ok(Self {
            distinct_id: settings.distinct_id,
            hmac_key,
            user_plain: settings.user_plain,
            ip: settings.ip,
            user_agent: settings.user_agent,
            person_profiles: settings.person_profiles,
            group_type: settings.group_type.clone(),
        })
    }

    /// About how many bytes [`Shape::write`] adds.
    pub(super) fn weight(row: &StoredRow) -> usize {
        let StoredRow { run, row, .. } = row;
        let len = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let actor = [
            &row.actor.user_id,
            &row.actor.user_role,
            &row.actor.org_id,
            &row.actor.on_behalf_of,
            &row.distinct_id,
        ];
        let actor: usize = actor.into_iter().flatten().map(|text| text.len()).sum();
        let exchange = row.exchange.as_ref().map_or(0, |exchange| {
            let texts = [
                &exchange.route,
                &exchange.error_code,
                &exchange.user_agent,
                &exchange.upstream_request_id,
            ];
            let texts: usize = texts.into_iter().flatten().map(|text| text.len()).sum();
            exchange.path.len() + exchange.method.len() + texts
        });
        let properties = row.properties.as_ref().map_or(0, |json| json.len());
        let run =
            run.service.len() + len(&run.environment) + len(&run.version) + len(&run.instance);
        FIXED_WEIGHT + row.event.len() + actor + exchange + properties + run
    }

    /// Appends the event as one JSON object.
    pub(super) fn write(
        &self,
        out: &mut Vec<u8>,
        row: &StoredRow,
        sample_rate: Option<f64>,
        protocol: Protocol,
    ) {
        let StoredRow { run, row, .. } = row;
        let mut event = Object::open(out);
        event.text("event", &row.event);
        event.shown("uuid", row.id.as_hyphenated());
        event.text("distinct_id", &distinct_id::of(row, run, self));
        event.shown("timestamp", row.ts);
        let known = distinct_id::is_known(row);
        let profile = (self.person_profiles && known) || self.group(row).is_some();
        if protocol == Protocol::V1 {
            let mut options = event.object("options");
            options.plain("disable_skew_correction", true);
            options.plain("process_person_profile", profile);
            options.close();
        }
        let mut properties = event.object("properties");
        self.write_request(&mut properties, row);
        self.write_actor(&mut properties, &row.actor);
        if let Some(exchange) = &row.exchange {
            self.write_exchange(&mut properties, exchange);
        }
        write_run(&mut properties, run);
        self.write_special(&mut properties, row, profile);
        if let Some(rate) = sample_rate {
            properties.plain("sample_rate", rate);
        }
        if let Some(json) = &row.properties {
            business::write(&mut properties, &self.fit_to_leave(row, json));
        }
        properties.close();
        event.close();
    }

    /// The clients that a loss names are addresses too.
    fn fit_to_leave<'a>(&self, row: &Row, json: &'a str) -> Cow<'a, str> {
        if self.ip == IpDetail::Full || row.event != "audit_loss" {
            return json.into();
        }
        let mut details: serde_json::Map<_, _> = serde_json::from_str(json).unwrap_or_default();
        details.remove("clients");
        serde_json::Value::Object(details).to_string().into()
    }

    fn write_request(&self, properties: &mut Object<'_>, row: &Row) {
        use crate::record::RequestId;
        if let Some(id) = &row.request_id {
            properties.text("requestId", &id.to_string());
        }
        if row.request_id != Some(RequestId::Uuid(row.id)) {
            properties.shown("eventId", row.id.as_hyphenated());
        }
        if let Some(trace_id) = &row.trace_id {
            properties.text("traceId", &hex(trace_id));
        }
    }

    fn write_actor(&self, properties: &mut Object<'_>, actor: &Actor) {
        if let Some(id) = &actor.user_id {
            properties.text("userId", &self.user(id));
        }
        properties.optional("userRole", actor.user_role.as_deref());
        properties.optional("orgId", actor.org_id.as_deref());
        if let Some(kind) = actor.kind {
            properties.text("actorType", kind.as_str());
        }
        if let Some(id) = &actor.on_behalf_of {
            properties.text("onBehalfOf", &self.user(id));
        }
    }

    fn write_exchange(&self, properties: &mut Object<'_>, exchange: &Exchange) {
        properties.optional("upstreamRequestId", exchange.upstream_request_id.as_deref());
        properties.text("method", &exchange.method);
        properties.text("path", &exchange.path);
        properties.optional("route", exchange.route.as_deref());
        if let Some(status) = exchange.status_code {
            properties.plain("statusCode", status);
        }
        properties.optional("result", exchange.outcome.as_str());
        properties.optional("errorCode", exchange.error_code.as_deref());
        if exchange.outcome != Outcome::Open {
            properties.plain("duration_ms", Millis(exchange.duration_us));
        }
        if self.user_agent {
            properties.optional("userAgent", exchange.user_agent.as_deref());
        }
        if let Some(ip) = exchange.ip.and_then(|ip| self.ip(ip)) {
            properties.shown("ip", ip);
        }
    }

    /// PostHog's own properties.
    fn write_special(&self, properties: &mut Object<'_>, row: &Row, profile: bool) {
        let ip = row.exchange.as_ref().and_then(|exchange| exchange.ip);
        match ip.and_then(|ip| self.ip(ip)) {
            Some(ip) => properties.shown("$ip", ip),
            // PostHog fills in the peer's address, this server's, unless the name is there.
            None => properties.plain("$ip", "null"),
        }
        properties.plain("$geoip_disable", true);
        properties.plain("$process_person_profile", profile);
        properties.plain("$ignore_sent_at", true);
        properties.plain("$is_server", true);
        properties.text("$lib", "audithog");
        properties.text("$lib_version", env!("CARGO_PKG_VERSION"));
        if let Some((kind, key)) = self.group(row) {
            let mut groups = properties.object("$groups");
            groups.given_name(kind);
            groups.string(key);
            groups.close();
        }
    }

    /// Group type and key. PostHog has no groups on events without a person profile, and a request
    /// of nobody known must not become a person of its own.
    fn group<'a>(&'a self, row: &'a Row) -> Option<(&'a str, &'a str)> {
        let kind = self.group_type.as_deref()?;
        let key = distinct_id::present(row.actor.org_id.as_deref())?;
        distinct_id::is_known(row).then_some((kind, key))
    }

    /// A user id in the form that may leave the machine.
    pub(super) fn user<'a>(&self, id: &'a str) -> Cow<'a, str> {
        match &self.hmac_key {
            Some(key) if !self.user_plain => Cow::Owned(keyed(key, id)),
            _ => Cow::Borrowed(id),
        }
    }

    fn ip(&self, ip: IpAddr) -> Option<IpAddr> {
        match self.ip {
            IpDetail::Full => Some(ip),
            IpDetail::Truncated => Some(truncated(ip)),
            IpDetail::Off => None,
        }
    }
}

/// HMAC-SHA256 of `text`, in hex.
pub(super) fn keyed(key: &hmac::Key, text: &str) -> String {
    hex(hmac::sign(key, text.as_bytes()).as_ref())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The network: IPv4 /24, IPv6 /48. An IPv4 address in IPv6 form is cut as IPv4.
fn truncated(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits() & (u32::MAX << 8)).into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 80)).into(),
    }
}

fn write_run(properties: &mut Object<'_>, run: &Run) {
    let service = Some(run.service.as_str()).filter(|service| !service.is_empty());
    properties.optional("service", service);
    properties.optional("environment", run.environment.as_deref());
    properties.optional("version", run.version.as_deref());
    properties.optional("instance", run.instance.as_deref());
}
