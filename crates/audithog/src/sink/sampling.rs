//! Which request rows a sink is sent. The ledger always has every row.
//!
//! * Rules apply to `api_request` rows only. Business events, audithog's own rows and the close of a
//!   connection are always sent.
//! * The first rule that matches decides; a row that none matches is sent.
//! * Failures are sent whole unless a rule names them: `failure`, `4xx`, `5xx` or a status from 400.
//!   A rule for `2xx` does not cover a response that broke off, although its status was 200.
//! * A route is compared with the route template. A row without one matches no rule with a route:
//!   the raw path is the client's choice.
//! * The decision depends on the row alone, so that a retry, a restart, a replay and another process
//!   decide the same. It comes from a hash of the request id, or of the trace id when a trusted peer
//!   sent it: then all services of a trace agree, and no client can sample itself out.
//!
//! The hash: 64-bit FNV-1a over the id's text (lower-case hex, UUIDs with hyphens), then the 64-bit
//! finalizer of MurmurHash3, because FNV-1a alone mixes the last bytes little into the high bits. The
//! row is sent if the high 53 bits, as a fraction of 2⁵³, are below the rate. UUIDv7 begins with the
//! time; hashed whole, that does not show.

use crate::config::{SampleRule, StatusMatch};
use crate::record::{Outcome, Row};

/// The rules of one sink.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sampler {
    rules: Vec<SampleRule>,
}

/// What the rules say about a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Sampled {
    /// It stands for itself.
    Whole,
    /// Sent, as one of `1 / rate`.
    Kept {
        rate: f64,
    },
    Out,
}

impl Sampler {
    pub(crate) fn new(rules: &[SampleRule]) -> Self {
        Self {
            rules: rules.to_vec(),
        }
    }

    /// The part of rows like this one that is sent, from 0 to 1.
    pub(crate) fn rate(&self, row: &Row) -> f64 {
        let decided = row.event == "api_request";
        let rule = self.rules.iter().find(|rule| decided && matches(rule, row));
        rule.map_or(1.0, |rule| if rule.rate.is_nan() { 1.0 } else { rule.rate })
    }

    pub(crate) fn decide(&self, row: &Row) -> Sampled {
        if self.rules.is_empty() || row.event != "api_request" {
            return Sampled::Whole;
        }
        let Some(rule) = self.rules.iter().find(|rule| matches(rule, row)) else {
            return Sampled::Whole;
        };
        // Not a number: a row too many is better than one too few.
        if rule.rate.is_nan() || 1.0 <= rule.rate {
            return Sampled::Whole;
        }
        if fraction(row) < rule.rate {
            Sampled::Kept { rate: rule.rate }
        } else {
            Sampled::Out
        }
    }
}

fn matches(rule: &SampleRule, row: &Row) -> bool {
    let Some(exchange) = &row.exchange else {
        return false;
    };
    let method = rule
        .method
        .as_ref()
        .is_none_or(|method| method.eq_ignore_ascii_case(&exchange.method));
    let route = rule.route.as_ref().is_none_or(|pattern| {
        exchange
            .route
            .as_ref()
            .is_some_and(|route| route_matches(pattern, route))
    });
    method && route && status_matches(rule.status, exchange.status_code, exchange.outcome)
}

fn route_matches(pattern: &str, route: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => route.starts_with(prefix),
        None => pattern == route,
    }
}

fn status_matches(wanted: StatusMatch, status: Option<u16>, outcome: Outcome) -> bool {
    let success = outcome == Outcome::Success;
    match wanted {
        StatusMatch::Success => success,
        StatusMatch::Failure => !success,
        StatusMatch::Class(class) => {
            status.is_some_and(|status| status / 100 == u16::from(class)) && (success || 4 <= class)
        }
        StatusMatch::Code(code) => status == Some(code) && (success || 400 <= code),
    }
}

/// Where the row lies in `[0, 1)`.
fn fraction(row: &Row) -> f64 {
    let mut hash = Fnv::default();
    let trusted = row.trace_id.filter(|_| row.trace_trusted);
    match (trusted, &row.request_id) {
        (Some(trace_id), _) => hash.show(format_args!("{:032x}", u128::from_be_bytes(trace_id))),
        (None, Some(id)) => hash.show(format_args!("{id}")),
        (None, None) => hash.show(format_args!("{}", row.id.as_hyphenated())),
    }
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit an f64 exactly")]
    let high = (mixed(hash.0) >> 11) as f64;
    high / 9_007_199_254_740_992.0
}

/// 64-bit FNV-1a (draft-eastlake-fnv).
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn show(&mut self, text: std::fmt::Arguments<'_>) {
        let _ = std::fmt::Write::write_fmt(self, text);
    }
}

impl std::fmt::Write for Fnv {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        Ok(())
    }
}

/// `fmix64` of MurmurHash3.
fn mixed(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests;
