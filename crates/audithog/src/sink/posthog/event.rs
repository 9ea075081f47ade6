//! What of a row leaves the machine as PostHog's event, and in which form.
//!
//! An event depends on nothing but the row and the settings, so every retry sends the same bytes.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ring::hmac;

use super::distinct_id;
#[cfg(any(test, fuzzing))]
use super::events::Events;
use crate::config::{DistinctId, IpDetail, PosthogSettings};
use crate::record::{Row, StoredRow};

/// What an event has besides its texts: names, ids, punctuation.
const FIXED_WEIGHT: usize = 1_000;

/// What of a row leaves the machine, and in which form.
pub(super) struct Shape {
    pub(super) distinct_id: DistinctId,
    pub(super) hmac_key: Option<hmac::Key>,
    user_plain: bool,
    ip: IpDetail,
    pub(super) user_agent: bool,
    pub(super) person_profiles: bool,
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
        let run =
            run.service.len() + len(&run.environment) + len(&run.version) + len(&run.instance);
        FIXED_WEIGHT + row.text_size() + run
    }

    /// Appends the event as one JSON object.
    #[cfg(any(test, fuzzing))]
    pub(super) fn write(
        &self,
        out: &mut Vec<u8>,
        row: &StoredRow,
        sample_rate: Option<f64>,
        protocol: Protocol,
    ) {
        Events::new(self, protocol).write(out, row, sample_rate);
    }

    /// The clients that a loss names are addresses too.
    pub(super) fn fit_to_leave<'a>(&self, row: &Row, json: &'a str) -> Cow<'a, str> {
        if self.ip == IpDetail::Full || row.event != "audit_loss" {
            return json.into();
        }
        let mut details: serde_json::Map<_, _> = serde_json::from_str(json).unwrap_or_default();
        details.remove("clients");
        serde_json::Value::Object(details).to_string().into()
    }

    /// Group type and key. PostHog has no groups on events without a person profile, and a request
    /// of nobody known must not become a person of its own.
    pub(super) fn group<'a>(&'a self, row: &'a Row) -> Option<(&'a str, &'a str)> {
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

    pub(super) fn ip(&self, ip: IpAddr) -> Option<IpAddr> {
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
