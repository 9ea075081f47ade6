//! What holds for every input.

use std::net::IpAddr;

use proptest::prelude::{Just, any, prop};
use proptest::strategy::Strategy;
use proptest::{prop_assert_eq, prop_oneof, proptest};

use super::{answer, resolve_lines};
use crate::capture::client_ip::ClientIpSource::{AllTrusted, Header};
use crate::capture::client_ip::fuzz::client_ip_from_bytes;
use crate::capture::client_ip::{ClientIp, TrustedProxies};

/// Pieces that the parsers look at, mixed with any bytes.
fn hostile_bytes() -> impl Strategy<Value = Vec<u8>> {
    let pieces: &[&[u8]] = &[
        b",",
        b", ",
        b";",
        b"\"",
        b"\\",
        b"\\\"",
        b"=",
        b"for=",
        b"For=\"",
        b"host=",
        b" ",
        b"\n",
        b"[",
        b"]",
        b":80",
        b"%eth0",
        b"unknown",
        b"_x",
        b"10.0.0.2",
        b"10.0.0.3",
        b"fd00::1",
        b"[fd00::2]:80",
        b"192.0.2.66",
        b"2001:db8::66",
        b"[2001:db8::66]",
        b"::ffff:10.0.0.9",
    ];
    let piece = prop_oneof![
        8 => prop::sample::select(pieces.to_vec()).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 0..6),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// An address outside 10.0.0.0/8 and fd00::/8.
fn untrusted() -> impl Strategy<Value = IpAddr> {
    any::<IpAddr>()
        .prop_map(|ip| ip.to_canonical())
        .prop_filter("trusted", |ip| {
            let trusted: TrustedProxies = "10.0.0.0/8 fd00::/8".parse().unwrap();
            !trusted.contains(*ip)
        })
}

fn trusted_hop() -> impl Strategy<Value = IpAddr> {
    any::<(bool, u8)>().prop_map(|(is_v4, n)| {
        if is_v4 {
            IpAddr::from([10, 0, 0, n])
        } else {
            IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, n.into()])
        }
    })
}

/// An address as proxies write it into a list header.
fn list_entry(ip: IpAddr) -> impl Strategy<Value = String> {
    let bracketed = match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    (Just(ip.to_string()), Just(bracketed), any::<u16>(), 0..3).prop_map(
        |(plain, bracketed, port, style)| match style {
            0 => plain,
            1 => bracketed,
            _ => format!("{bracketed}:{port}"),
        },
    )
}

/// An address as proxies write it into `Forwarded`, with a `host` that the client chose, quoted as it must be.
fn element(ip: IpAddr) -> impl Strategy<Value = String> {
    (list_entry(ip), "[ -~]{0,20}", 0..4).prop_map(|(node, host, style)| {
        let host = host.replace('\\', "\\\\").replace('"', "\\\"");
        match style {
            0 => format!("for={node}"),
            1 => format!("for=\"{node}\""),
            2 => format!("for=\"{node}\";host=\"{host}\";proto=https"),
            _ => format!("by=_me;host=\"{host}\";For=\"{node}\""),
        }
    })
}

/// Hops as the proxies append them: each to the same line, or on a line of its own.
fn append(mut lines: Vec<Vec<u8>>, hops: &[(String, bool)]) -> Vec<Vec<u8>> {
    for (hop, own_line) in hops {
        match lines.last_mut() {
            Some(line) if !own_line => {
                line.extend_from_slice(b", ");
                line.extend_from_slice(hop.as_bytes());
            }
            _ => lines.push(hop.clone().into_bytes()),
        }
    }
    lines
}

fn chain<S: Strategy<Value = String>>(
    first: impl Strategy<Value = IpAddr>,
    write: fn(IpAddr) -> S,
) -> impl Strategy<Value = (IpAddr, Vec<(String, bool)>)> {
    let hop = move |ip: IpAddr| (write(ip), any::<bool>());
    (first, prop::collection::vec(trusted_hop(), 0..5)).prop_flat_map(move |(first, proxies)| {
        let hops: Vec<_> = [first].into_iter().chain(proxies).map(hop).collect();
        (Just(first), hops)
    })
}

fn check_chain(header: &str, prefix: Vec<Vec<u8>>, hops: &[(String, bool)]) -> ClientIp {
    let lines = append(prefix, hops);
    let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
    resolve_lines(header, &lines)
}

proptest! {
    #[test]
    fn the_answer_is_the_peer_or_in_the_header(choice in any::<u8>(), text in hostile_bytes()) {
        client_ip_from_bytes(&[&[choice], text.as_slice()].concat());
    }

    #[test]
    fn any_bytes_are_no_panic(data in prop::collection::vec(any::<u8>(), 0..300)) {
        client_ip_from_bytes(&data);
    }

    #[test]
    fn a_client_cannot_change_what_proxies_append(
        prefix in prop::collection::vec(hostile_bytes(), 0..3),
        (client, hops) in chain(untrusted(), list_entry),
    ) {
        let got = check_chain("x-forwarded-for", prefix, &hops);
        prop_assert_eq!(got, answer(&client.to_string(), Header));
    }

    #[test]
    fn a_client_cannot_change_what_proxies_append_to_forwarded(
        prefix in prop::collection::vec(hostile_bytes(), 0..3),
        (client, hops) in chain(untrusted(), element),
    ) {
        let got = check_chain("forwarded", prefix, &hops);
        prop_assert_eq!(got, answer(&client.to_string(), Header));
    }

    #[test]
    fn with_trusted_hops_only_the_leftmost_is_the_answer(
        (first, hops) in chain(trusted_hop(), element),
    ) {
        let got = check_chain("forwarded", Vec::new(), &hops);
        prop_assert_eq!(got, answer(&first.to_string(), AllTrusted));
    }

    #[test]
    fn lines_of_a_list_header_are_one_list(lines in prop::collection::vec(hostile_bytes(), 1..5)) {
        let several: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
        let one = lines.join(&b',');
        prop_assert_eq!(
            resolve_lines("x-forwarded-for", &several),
            resolve_lines("x-forwarded-for", &[&one])
        );
    }
}
