//! One door for all tests: a request as its peer and header lines, in; the answer, out.

mod entries;
mod properties;
mod settings;
mod walk;

use std::net::IpAddr;

use super::{ClientIp, ClientIpHeader, ClientIpSource, TrustedProxies, client_ip};

/// A trusted peer, for tests that are about the header.
const PROXY: &str = "10.0.0.1";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn answer(text: &str, source: ClientIpSource) -> ClientIp {
    ClientIp {
        ip: Some(ip(text)),
        source,
    }
}

/// What the layer does: picks the lines of the configured header out of all headers.
fn resolve(peer: &str, trusted: &str, header: &str, request: &[(&str, &[u8])]) -> ClientIp {
    let trusted: TrustedProxies = trusted.parse().unwrap();
    let header: ClientIpHeader = header.parse().unwrap();
    let lines: Vec<&[u8]> = request
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case(header.as_str()))
        .map(|&(_, value)| value)
        .collect();
    let peer = ip(peer);
    let is_proxy = trusted.contains(peer);
    client_ip(Some(peer), is_proxy, &trusted, &header, lines)
}

/// [`resolve`] with one header from [`PROXY`], trusting 10.0.0.0/8 and fd00::/8.
fn resolve_lines(header: &str, lines: &[&[u8]]) -> ClientIp {
    let request: Vec<_> = lines.iter().map(|&line| (header, line)).collect();
    resolve(PROXY, "10.0.0.0/8 fd00::/8", header, &request)
}
