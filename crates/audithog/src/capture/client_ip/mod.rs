//! Who sent a request: the peer's address, or what trusted proxies say about it.
//!
//! # The rule
//!
//! 1. The answer is the peer's address, unless the peer is one of the [`TrustedProxies`].
//! 2. Then exactly one header is read, the configured [`ClientIpHeader`]. Its lines are one list, in order, and
//!    the list is walked from the right, because each proxy appends the address it was called from: the entry
//!    furthest right was written by the peer, the next one by the hop before it. The walk passes trusted
//!    networks and ends at the first untrusted address: that is the client.
//! 3. If every hop is trusted, the answer is the one furthest left.
//! 4. If an entry says nothing (malformed, `unknown`, obfuscated, empty), the walk ends there, and the answer is
//!    the last valid address before it: the nearest trusted hop.
//!
//! Rule 4 is the safe answer. Whatever lies further left was written before the hop that told nothing, so it may be
//! the client's own invention, and a forged row is worse than a vague one. "The request came through this
//! proxy" is true, and [`ClientIpSource::TrustedHop`] tells it from a client's address. An empty entry counts as such a hop,
//! although RFC 9110 §5.6.1.2 lets recipients skip it: a proxy whose template has no address to fill in
//! appends just that, and skipping it would hand the decision to the client.
//!
//! # Limits
//!
//! At most [`MAX_HOPS`](resolve::MAX_HOPS) entries and [`MAX_BYTES`](resolve::MAX_BYTES) bytes are read, from the right. What lies beyond is treated like a malformed
//! entry. Nothing here allocates, and the headers are not touched unless the peer is trusted.
//!
//! # Addresses
//!
//! IPv4-mapped IPv6 addresses (`::ffff:192.0.2.1`, what a dual-stack socket reports for IPv4 peers) are IPv4
//! addresses here: for comparing, and in the answer. Ports and zone ids are read and dropped.

mod forwarded;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod header;
mod node;
mod resolve;
mod trusted;
mod xff;

pub(crate) use header::ClientIpHeader;
pub(crate) use resolve::client_ip;
#[cfg(any(test, fuzzing))]
pub(crate) use resolve::{ClientIp, ClientIpSource};
pub(crate) use trusted::TrustedProxies;

#[cfg(test)]
mod tests;
