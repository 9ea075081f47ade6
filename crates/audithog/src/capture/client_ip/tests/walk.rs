//! Which hop is the client.

use std::cell::Cell;

use super::{PROXY, answer, ip, resolve, resolve_lines};
use crate::capture::client_ip::ClientIpSource::{AllTrusted, Header, NoPeer, Peer, TrustedHop};
use crate::capture::client_ip::resolve::{MAX_BYTES, MAX_HOPS};
use crate::capture::client_ip::{ClientIp, ClientIpHeader, TrustedProxies, client_ip};

const XFF: &str = "x-forwarded-for";

#[test]
fn a_header_from_an_untrusted_peer_is_ignored() {
    let spoofed: &[(&str, &[u8])] = &[
        (XFF, b"192.0.2.66"),
        ("forwarded", b"for=192.0.2.66"),
        ("x-real-ip", b"192.0.2.66"),
    ];
    for header in [XFF, "forwarded", "x-real-ip"] {
        for trusted in ["", "10.0.0.0/8", "loopback private"] {
            let got = resolve("203.0.113.9", trusted, header, spoofed);
            assert_eq!(
                got,
                answer("203.0.113.9", Peer),
                "{header}, trusting {trusted:?}"
            );
        }
    }
}

#[test]
fn without_a_peer_nothing_is_believed() {
    let trusted: TrustedProxies = "0.0.0.0/0, ::/0".parse().unwrap();
    let got = client_ip(
        None,
        false,
        &trusted,
        &ClientIpHeader::default(),
        [b"192.0.2.66".as_slice()],
    );
    assert_eq!(
        got,
        ClientIp {
            ip: None,
            source: NoPeer
        }
    );
}

#[test]
fn headers_are_not_read_unless_the_peer_is_trusted() {
    let read = Cell::new(0);
    let resolve = |trusted: &str| {
        let lines = [b"192.0.2.1".as_slice()].into_iter();
        let lines = lines.inspect(|_| read.set(read.get() + 1));
        let trusted: TrustedProxies = trusted.parse().unwrap();
        let (peer, header) = (ip(PROXY), ClientIpHeader::default());
        client_ip(Some(peer), trusted.contains(peer), &trusted, &header, lines)
    };
    resolve("");
    resolve("192.168.0.0/16");
    assert_eq!(read.get(), 0);
    resolve(PROXY);
    assert_eq!(read.get(), 1);
}

#[test]
fn the_walk_ends_at_the_first_untrusted_address() {
    let cases: &[(&[&str], (&str, _))] = &[
        (&[], (PROXY, Peer)),
        (&["203.0.113.9"], ("203.0.113.9", Header)),
        // What the client made up stands to the left of what the proxy appended.
        (&["192.0.2.66, 203.0.113.9"], ("203.0.113.9", Header)),
        (&["10.9.9.9, 203.0.113.9"], ("203.0.113.9", Header)),
        (&["unknown, %%%, 203.0.113.9"], ("203.0.113.9", Header)),
        // Two proxies in a row, and three.
        (&["203.0.113.9, 10.0.0.2"], ("203.0.113.9", Header)),
        (
            &["192.0.2.66, 203.0.113.9, fd00::7, 10.0.0.2"],
            ("203.0.113.9", Header),
        ),
        // Several lines are one list in order.
        (&["203.0.113.9", "10.0.0.2"], ("203.0.113.9", Header)),
        (&["192.0.2.66", "203.0.113.9"], ("203.0.113.9", Header)),
        (
            &["192.0.2.66,203.0.113.9", "10.0.0.3, 10.0.0.2"],
            ("203.0.113.9", Header),
        ),
        // Every hop trusted: the leftmost.
        (&["10.0.0.2"], ("10.0.0.2", AllTrusted)),
        (&["10.0.0.3, 10.0.0.2"], ("10.0.0.3", AllTrusted)),
        (&["10.0.0.4", "10.0.0.3, fd00::2"], ("10.0.0.4", AllTrusted)),
        // A hop that says nothing ends the walk: nothing to its left is believed.
        (&["192.0.2.66, unknown"], (PROXY, TrustedHop)),
        (&["192.0.2.66, _hidden"], (PROXY, TrustedHop)),
        (&["192.0.2.66, unknown, 10.0.0.2"], ("10.0.0.2", TrustedHop)),
        (
            &["192.0.2.66, 10.0.0.3, oops, 10.0.0.2"],
            ("10.0.0.2", TrustedHop),
        ),
        (
            &["192.0.2.66", "unknown", "fd00::2"],
            ("fd00::2", TrustedHop),
        ),
        // So does an empty one.
        (&[""], (PROXY, TrustedHop)),
        (&["   "], (PROXY, TrustedHop)),
        (&["192.0.2.66,"], (PROXY, TrustedHop)),
        (&["192.0.2.66", ""], (PROXY, TrustedHop)),
        (&["192.0.2.66,,10.0.0.2"], ("10.0.0.2", TrustedHop)),
        (&[", 203.0.113.9"], ("203.0.113.9", Header)),
        (&[", 10.0.0.2"], ("10.0.0.2", TrustedHop)),
    ];
    for &(lines, (address, source)) in cases {
        let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
        let wanted = answer(address, source);
        assert_eq!(resolve_lines(XFF, &lines), wanted, "{lines:?}");
        assert_eq!(resolve_lines("x-real-ip", &lines), wanted, "{lines:?}");
    }
}

#[test]
fn forwarded_is_walked_the_same_way() {
    let cases: &[(&[&str], (&str, _))] = &[
        (&[], (PROXY, Peer)),
        (&["for=203.0.113.9"], ("203.0.113.9", Header)),
        (
            &["for=192.0.2.66, for=203.0.113.9;proto=https"],
            ("203.0.113.9", Header),
        ),
        (
            &["for=203.0.113.9, for=\"[fd00::7]:80\";by=10.0.0.1, for=10.0.0.2"],
            ("203.0.113.9", Header),
        ),
        (
            &["for=203.0.113.9", "for=\"10.0.0.2:99\""],
            ("203.0.113.9", Header),
        ),
        (&["for=10.0.0.3, for=10.0.0.2"], ("10.0.0.3", AllTrusted)),
        (&["for=192.0.2.66, for=unknown"], (PROXY, TrustedHop)),
        (
            &["for=192.0.2.66, for=_secret, for=10.0.0.2"],
            ("10.0.0.2", TrustedHop),
        ),
        // An element without an address is a hop that says nothing.
        (&["for=192.0.2.66, proto=https"], (PROXY, TrustedHop)),
        (&["for=192.0.2.66, by=10.0.0.2;host=a"], (PROXY, TrustedHop)),
        (&["for=192.0.2.66,"], (PROXY, TrustedHop)),
        // A comma and an escaped quote in a quoted value do not end the element.
        (
            &[r#"for=203.0.113.9;host="a, for=192.0.2.66""#],
            ("203.0.113.9", Header),
        ),
        (
            &[r#"for=203.0.113.9;host="a\", for=192.0.2.66""#],
            ("203.0.113.9", Header),
        ),
        (
            &[r#"host="a;for=192.0.2.66";for=203.0.113.9"#],
            ("203.0.113.9", Header),
        ),
        (
            &[r#"for=203.0.113.9;host="a\\", for=10.0.0.2"#],
            ("203.0.113.9", Header),
        ),
        // What a client leaves open does not swallow what the proxy appends.
        (&[r#"for=", for=203.0.113.9"#], ("203.0.113.9", Header)),
        (&[r#"for="\, for=203.0.113.9"#], ("203.0.113.9", Header)),
        (
            &[r#"for="192.0.2.66, for="203.0.113.9""#],
            ("203.0.113.9", Header),
        ),
        (&["for=\"", "for=203.0.113.9"], ("203.0.113.9", Header)),
        // A quote that the last hop left open.
        (&[r#"for=192.0.2.66, for=10.0.0.2""#], (PROXY, TrustedHop)),
        (&[r#"for="192.0.2.66"#], (PROXY, TrustedHop)),
        (&[r#"host=a"b;for=192.0.2.66"#], (PROXY, TrustedHop)),
    ];
    for &(lines, (address, source)) in cases {
        let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
        let got = resolve_lines("forwarded", &lines);
        assert_eq!(
            got,
            answer(address, source),
            "{}",
            lines.join(&b'|').escape_ascii()
        );
    }
}

#[test]
fn only_the_configured_header_is_read() {
    let request: &[(&str, &[u8])] = &[
        ("X-Forwarded-For", b"203.0.113.1"),
        ("Forwarded", b"for=203.0.113.2"),
        ("X-Real-IP", b"203.0.113.3"),
        ("CF-Connecting-IP", b"2001:db8::4"),
    ];
    for (header, client) in [
        ("x-forwarded-for", "203.0.113.1"),
        ("forwarded", "203.0.113.2"),
        ("x-real-ip", "203.0.113.3"),
        ("cf-connecting-ip", "2001:db8::4"),
    ] {
        let got = resolve(PROXY, "private", header, request);
        assert_eq!(got, answer(client, Header), "{header}");
    }
    let got = resolve(PROXY, "private", "true-client-ip", request);
    assert_eq!(got, answer(PROXY, Peer));
}

#[test]
fn mapped_peers_are_ipv4_peers() {
    let request: &[(&str, &[u8])] = &[(XFF, b"::ffff:203.0.113.9, ::ffff:10.0.0.2")];
    let got = resolve("::ffff:10.0.0.1", "10.0.0.0/8", XFF, request);
    assert_eq!(got, answer("203.0.113.9", Header));
    let got = resolve("::ffff:192.0.2.5", "10.0.0.0/8", XFF, request);
    assert_eq!(got, answer("192.0.2.5", Peer));
}

#[test]
fn hops_are_limited() {
    let hops = |trusted: usize| format!("203.0.113.9{}", ", 10.0.0.2".repeat(trusted));
    let got = resolve_lines(XFF, &[hops(MAX_HOPS - 1).as_bytes()]);
    assert_eq!(got, answer("203.0.113.9", Header));
    let got = resolve_lines(XFF, &[hops(MAX_HOPS).as_bytes()]);
    assert_eq!(got, answer("10.0.0.2", TrustedHop));

    let mut lines = vec![b"10.0.0.2".as_slice(); MAX_HOPS];
    assert_eq!(resolve_lines(XFF, &lines), answer("10.0.0.2", AllTrusted));
    lines.insert(0, b"203.0.113.9");
    assert_eq!(resolve_lines(XFF, &lines), answer("10.0.0.2", TrustedHop));
}

#[test]
fn bytes_are_limited_and_no_part_of_an_address_is_read() {
    let address = b"203.0.113.9";
    for (header, prefix) in [(XFF, ""), ("forwarded", "for=")] {
        let entry = |spaces: usize| [prefix.as_bytes(), address, &vec![b' '; spaces]].concat();
        let fits = MAX_BYTES - entry(0).len();
        let got = resolve_lines(header, &[&entry(fits)]);
        assert_eq!(got, answer("203.0.113.9", Header));
        // One byte more, and "03.0.113.9", "3.0.113.9" and so on would be what is seen.
        for beyond in 1..=entry(0).len() {
            let got = resolve_lines(header, &[&entry(fits + beyond)]);
            assert_eq!(got, answer(PROXY, TrustedHop), "{beyond}");
        }
    }
}

#[test]
fn the_byte_limit_counts_all_lines() {
    let long = [b"10.0.0.2".as_slice(), &[b' '; MAX_BYTES / 2]].concat();
    let got = resolve_lines(XFF, &[b"203.0.113.9", &long, &long]);
    assert_eq!(got, answer("10.0.0.2", TrustedHop));
    let got = resolve_lines(XFF, &[b"203.0.113.9", &long]);
    assert_eq!(got, answer("203.0.113.9", Header));
}

#[test]
fn a_huge_header_does_not_hide_what_the_proxy_appended() {
    for filler in [b",", b"\"", b"\\", b"=", b";", b" ", b"a"] {
        for (header, appended) in [
            (XFF, "203.0.113.9, 10.0.0.2"),
            ("forwarded", "for=203.0.113.9, for=\"10.0.0.2\""),
        ] {
            let line = [
                &filler.repeat(1 << 20),
                b",".as_slice(),
                appended.as_bytes(),
            ]
            .concat();
            let got = resolve_lines(header, &[&line]);
            assert_eq!(
                got,
                answer("203.0.113.9", Header),
                "{header} after {filler:?}"
            );
        }
    }
}
