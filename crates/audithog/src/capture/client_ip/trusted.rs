//! Which peers are believed when they say whom they speak for.

use std::error::Error;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// `loopback`: RFC 1122 §3.2.1.3 and RFC 4291 §2.5.3.
const LOOPBACK: &[IpNet] = &[
    v4([127, 0, 0, 0], 8),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128)),
];

/// `private`: RFC 1918, RFC 4193, and link-local addresses (RFC 3927, RFC 4291 §2.5.6).
///
/// Carrier-grade NAT (100.64.0.0/10, RFC 6598) is not in it: there the neighbours are other people's machines.
const PRIVATE: &[IpNet] = &[
    v4([10, 0, 0, 0], 8),
    v4([172, 16, 0, 0], 12),
    v4([192, 168, 0, 0], 16),
    v4([169, 254, 0, 0], 16),
    v6(0xfc00, 7),
    v6(0xfe80, 10),
];

/// The bits that an IPv4-mapped IPv6 address has before its IPv4 address: `::ffff:0:0/96`.
const MAPPED_PREFIX_LEN: u8 = 96;

/// The networks whose forwarding header is believed: `AUDITHOG_TRUSTED_PROXIES`. Default: none.
///
/// Written as addresses and networks between commas or white space, IPv4 and IPv6, and the words (in any case):
///
/// | word | networks |
/// |---|---|
/// | `loopback` | 127.0.0.0/8, ::1/128 |
/// | `private` | 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 169.254.0.0/16, fc00::/7, fe80::/10 |
///
/// A network has no bits below its prefix: `10.1.2.3/8` is refused, because a slip there would trust far more machines
/// than were meant. IPv4-mapped IPv6 addresses and networks are read as the IPv4 ones. `::/0` is all of IPv6, not of IPv4.
///
/// Trust only machines that replace or append to the header. With `0.0.0.0/0` the client chooses its own address.
///
/// `Display` writes the networks, and reading that back gives an equal value. Nothing trusted is the empty string.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TrustedProxies {
    // Without bits below the prefix. Sorted and disjoint, so that a look-up is a binary search: lists of content delivery networks are long.
    v4: Vec<Ipv4Net>,
    v6: Vec<Ipv6Net>,
}

impl TrustedProxies {
    fn new(nets: Vec<IpNet>) -> Self {
        let mut all = Self::default();
        for net in nets {
            match net {
                IpNet::V4(net) => all.v4.push(net),
                IpNet::V6(net) => match unmap(net) {
                    Some(net) => all.v4.push(net),
                    None => all.v6.push(net),
                },
            }
        }
        // Two networks are disjoint, or one holds the other; the wider one sorts first.
        all.v4.sort_unstable();
        all.v4.dedup_by(|next, kept| kept.contains(&*next));
        all.v6.sort_unstable();
        all.v6.dedup_by(|next, kept| kept.contains(&*next));
        all
    }

    /// True if no peer is trusted, and so no forwarding header is ever read.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// True if `ip` is in one of the networks.
    pub(crate) fn contains(&self, ip: IpAddr) -> bool {
        match ip.to_canonical() {
            IpAddr::V4(ip) => {
                let after = self.v4.partition_point(|net| net.addr() <= ip);
                self.v4[..after].last().is_some_and(|net| {
                    let differ = net.addr().to_bits() ^ ip.to_bits();
                    differ.leading_zeros() >= u32::from(net.prefix_len())
                })
            }
            IpAddr::V6(ip) => {
                let after = self.v6.partition_point(|net| net.addr() <= ip);
                self.v6[..after].last().is_some_and(|net| {
                    let differ = net.addr().to_bits() ^ ip.to_bits();
                    differ.leading_zeros() >= u32::from(net.prefix_len())
                })
            }
        }
    }
}

/// The IPv4 network that an IPv4-mapped one stands for.
fn unmap(net: Ipv6Net) -> Option<Ipv4Net> {
    let prefix_len = net.prefix_len().checked_sub(MAPPED_PREFIX_LEN)?;
    Ipv4Net::new(net.addr().to_ipv4_mapped()?, prefix_len).ok()
}

impl FromStr for TrustedProxies {
    type Err = TrustedProxiesError;

    /// Reads the list. Empty text trusts nobody.
    ///
    /// # Errors
    ///
    /// Names every entry that is wrong, and why.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut nets = Vec::new();
        let mut bad = Vec::new();
        let entries = text.split(|c: char| c == ',' || c.is_whitespace());
        for entry in entries.filter(|entry| !entry.is_empty()) {
            if entry.eq_ignore_ascii_case("loopback") {
                nets.extend_from_slice(LOOPBACK);
            } else if entry.eq_ignore_ascii_case("private") {
                nets.extend_from_slice(PRIVATE);
            } else {
                match parse_net(entry) {
                    Ok(net) => nets.push(net),
                    Err(problem) => bad.push((entry.into(), problem)),
                }
            }
        }
        if bad.is_empty() {
            Ok(Self::new(nets))
        } else {
            Err(TrustedProxiesError { bad })
        }
    }
}

fn parse_net(entry: &str) -> Result<IpNet, Problem> {
    if let Ok(ip) = entry.parse::<IpAddr>() {
        return Ok(IpNet::from(ip));
    }
    let net: IpNet = entry.parse().map_err(|_| Problem::Unknown)?;
    if net.addr() == net.network() {
        Ok(net)
    } else {
        Err(Problem::BitsBelowPrefix(net))
    }
}

impl fmt::Display for TrustedProxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let v4 = self.v4.iter().copied().map(IpNet::V4);
        let v6 = self.v6.iter().copied().map(IpNet::V6);
        for (at, net) in v4.chain(v6).enumerate() {
            let separator = if at == 0 { "" } else { ", " };
            write!(f, "{separator}{net}")?;
        }
        Ok(())
    }
}

/// The entries of a list of trusted proxies that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TrustedProxiesError {
    bad: Vec<(Box<str>, Problem)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Problem {
    Unknown,
    BitsBelowPrefix(IpNet),
}

impl fmt::Display for TrustedProxiesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (entry, problem)) in self.bad.iter().enumerate() {
            let separator = if at == 0 { "" } else { "; " };
            match problem {
                Problem::Unknown => write!(
                    f,
                    "{separator}{entry:?} is not an address, a network, `loopback` or `private`"
                )?,
                Problem::BitsBelowPrefix(net) => write!(
                    f,
                    "{separator}{entry:?} has bits below its prefix: write {} or {}",
                    net.trunc(),
                    net.addr()
                )?,
            }
        }
        Ok(())
    }
}

impl Error for TrustedProxiesError {}

const fn v4(octets: [u8; 4], prefix_len: u8) -> IpNet {
    let [a, b, c, d] = octets;
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix_len))
}

const fn v6(first_group: u16, prefix_len: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(
        Ipv6Addr::new(first_group, 0, 0, 0, 0, 0, 0, 0),
        prefix_len,
    ))
}
