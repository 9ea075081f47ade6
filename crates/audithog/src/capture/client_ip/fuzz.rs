//! One entry for fuzzers: bytes in, a panic out if a promise is broken.

use std::net::{IpAddr, Ipv4Addr};

use super::node::parse_node;
use super::{ClientIp, ClientIpHeader, ClientIpSource, TrustedProxies, client_ip};

/// The peer of every fuzzed request.
pub(crate) const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

/// Resolves the header lines in `data`, which are separated by line feeds, for a trusted peer. The first byte chooses the header.
///
/// # Panics
///
/// If the answer is neither the peer nor an address in the header, or if its source contradicts it.
pub(crate) fn client_ip_from_bytes(data: &[u8]) -> ClientIp {
    let (choice, text) = data.split_first().unwrap_or((&0, &[]));
    let header = match choice % 3 {
        0 => ClientIpHeader::XForwardedFor,
        1 => ClientIpHeader::Forwarded,
        _ => ClientIpHeader::Other(http::HeaderName::from_static("x-real-ip")),
    };
    let Ok(trusted) = "private".parse::<TrustedProxies>() else {
        panic!("a documented word");
    };
    let answer = client_ip(
        Some(PEER),
        trusted.contains(PEER),
        &trusted,
        &header,
        text.split(|&byte| byte == b'\n'),
    );

    let Some(ip) = answer.ip else {
        panic!("the peer is known");
    };
    assert!(ip == PEER || appears(ip, text), "{ip} is from nowhere");
    match answer.source {
        ClientIpSource::NoPeer => panic!("the peer is known"),
        ClientIpSource::Header => assert!(!trusted.contains(ip), "{ip} is trusted"),
        ClientIpSource::Peer => assert_eq!(ip, PEER),
        ClientIpSource::AllTrusted | ClientIpSource::TrustedHop => {
            assert!(trusted.contains(ip), "{ip} is not trusted");
        }
    }
    answer
}

/// True if some piece of `text` between separators is `ip`, with the escapes of quoted strings resolved.
fn appears(ip: IpAddr, text: &[u8]) -> bool {
    let unescaped: Vec<u8> = text.iter().copied().filter(|&byte| byte != b'\\').collect();
    let is_separator = |byte: &u8| b",;=\" \t\n\r\x0c".contains(byte);
    [text, &unescaped]
        .into_iter()
        .flat_map(|text| text.split(is_separator))
        .any(|piece| parse_node(piece) == Some(ip))
}
