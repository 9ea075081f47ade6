//! The walk from the peer towards the client.

use std::net::IpAddr;

use super::header::ClientIpHeader;
use super::trusted::TrustedProxies;
use super::{forwarded, xff};

/// How many entries are read, from the right: far more proxies than any request passes.
pub(super) const MAX_HOPS: usize = 64;

/// How many bytes are read, from the right: what [`MAX_HOPS`] entries of 128 bytes need.
pub(super) const MAX_BYTES: usize = 8 * 1024;

/// Where a request came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClientIp {
    /// The address; `None` only for [`ClientIpSource::NoPeer`].
    pub(crate) ip: Option<IpAddr>,
    /// What the address is.
    pub(crate) source: ClientIpSource,
}

/// What the address of a [`ClientIp`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientIpSource {
    /// The peer is not known, so there is nobody to believe: no header was read.
    NoPeer,
    /// The peer: it is not trusted, or it is and sent no such header.
    Peer,
    /// The first untrusted address of the header.
    Header,
    /// The header's leftmost address: a trusted one, like all others.
    AllTrusted,
    /// The nearest trusted hop, possibly the peer: the entry before it says nothing, or lies beyond the limits.
    TrustedHop,
}

/// Finds the address of the client. The rule is in the [module's documentation](super).
///
/// `peer` is the other end of the connection, and `is_proxy` says whether it is among the `trusted`. `values` are the lines of the header named by
/// [`header.name()`](ClientIpHeader::name), and of no other, in the order of the request.
pub(crate) fn client_ip<'a, I>(
    peer: Option<IpAddr>,
    is_proxy: bool,
    trusted: &TrustedProxies,
    header: &ClientIpHeader,
    values: I,
) -> ClientIp
where
    I: IntoIterator<Item = &'a [u8]>,
    I::IntoIter: DoubleEndedIterator,
{
    let Some(peer) = peer else {
        return ClientIp {
            ip: None,
            source: ClientIpSource::NoPeer,
        };
    };
    let peer = peer.to_canonical();
    if !is_proxy {
        return ClientIp {
            ip: Some(peer),
            source: ClientIpSource::Peer,
        };
    }
    let (ip, source) = walk(peer, trusted, header, values.into_iter().rev());
    ClientIp {
        ip: Some(ip),
        source,
    }
}

/// Walks `lines`, the last one first, starting at the trusted `peer`.
fn walk<'a>(
    peer: IpAddr,
    trusted: &TrustedProxies,
    header: &ClientIpHeader,
    lines: impl Iterator<Item = &'a [u8]>,
) -> (IpAddr, ClientIpSource) {
    let mut nearest = (peer, ClientIpSource::Peer);
    let mut budget = Budget::default();
    for line in lines {
        let mut rest = Some(line);
        while let Some(list) = rest {
            let hop = budget.take_last(header, list).and_then(|(entry, before)| {
                rest = before;
                parse_entry(header, entry)
            });
            match hop {
                None => return (nearest.0, ClientIpSource::TrustedHop),
                Some(ip) if trusted.contains(ip) => nearest = (ip, ClientIpSource::AllTrusted),
                Some(ip) => return (ip, ClientIpSource::Header),
            }
        }
    }
    nearest
}

fn parse_entry(header: &ClientIpHeader, entry: &[u8]) -> Option<IpAddr> {
    match header {
        ClientIpHeader::Forwarded => forwarded::parse_entry(entry),
        ClientIpHeader::XForwardedFor | ClientIpHeader::Other(_) => xff::parse_entry(entry),
    }
}

/// What may still be read.
struct Budget {
    hops: usize,
    bytes: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            hops: MAX_HOPS,
            bytes: MAX_BYTES,
        }
    }
}

impl Budget {
    /// Splits the last entry off `list`; what comes before it is `None` if there was no comma.
    ///
    /// `None` if the entry does not end within the limits (a part of an address can look like another address),
    /// or is in an open quote.
    fn take_last<'a>(
        &mut self,
        header: &ClientIpHeader,
        list: &'a [u8],
    ) -> Option<(&'a [u8], Option<&'a [u8]>)> {
        self.hops = self.hops.checked_sub(1)?;
        let start = list.len().saturating_sub(self.bytes);
        let window = &list[start..];
        let comma = match header {
            ClientIpHeader::Forwarded => forwarded::last_comma(window).ok()?,
            ClientIpHeader::XForwardedFor | ClientIpHeader::Other(_) => xff::last_comma(window),
        };
        let (entry, before) = match comma {
            Some(at) => (&window[at + 1..], Some(&list[..start + at])),
            None if start == 0 => (window, None),
            None => return None,
        };
        self.bytes = self.bytes.saturating_sub(entry.len() + 1);
        Some((entry, before))
    }
}
