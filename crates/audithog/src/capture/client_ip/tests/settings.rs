//! Reading the two variables.

use std::net::IpAddr;

use ipnet::IpNet;
use proptest::prelude::{Strategy, any, prop};
use proptest::{prop_assert_eq, proptest};

use super::ip;
use crate::capture::client_ip::{ClientIpHeader, TrustedProxies};

fn trusted(text: &str) -> TrustedProxies {
    text.parse()
        .unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

#[test]
fn nothing_is_trusted_by_default() {
    for none in [TrustedProxies::default(), trusted(""), trusted(" ,\t, ")] {
        assert!(none.is_empty());
        assert_eq!(none, TrustedProxies::default());
        assert_eq!(none.to_string(), "");
        for text in ["127.0.0.1", "::1", "10.0.0.1", "0.0.0.0", "::"] {
            assert!(!none.contains(ip(text)), "{text}");
        }
    }
}

#[test]
fn networks_contain_their_addresses_only() {
    let cases: &[(&str, &[&str], &[&str])] = &[
        ("192.0.2.1", &["192.0.2.1"], &["192.0.2.0", "192.0.2.2"]),
        ("2001:db8::1", &["2001:db8::1"], &["2001:db8::", "::1"]),
        (
            "192.0.2.0/24,198.51.100.0/25 2001:db8::/32\n203.0.113.7",
            &[
                "192.0.2.0",
                "192.0.2.255",
                "198.51.100.127",
                "2001:db8:ffff::",
                "203.0.113.7",
            ],
            &["192.0.3.0", "198.51.100.128", "2001:db9::", "203.0.113.8"],
        ),
        (
            "Loopback",
            &["127.0.0.1", "127.255.255.255", "::1"],
            &["128.0.0.0", "::2", "::", "10.0.0.1"],
        ),
        (
            "PRIVATE",
            &[
                "10.0.0.0",
                "10.255.255.255",
                "172.16.0.0",
                "172.31.255.255",
                "192.168.0.0",
                "192.168.255.255",
                "169.254.169.254",
                "fc00::",
                "fdff:ffff::1",
                "fe80::1",
                "febf::",
            ],
            &[
                "11.0.0.0",
                "172.15.255.255",
                "172.32.0.0",
                "192.169.0.0",
                "169.253.0.0",
                "100.64.0.1",
                "127.0.0.1",
                "fbff::",
                "fe00::",
                "fec0::",
                "::1",
            ],
        ),
        (
            "0.0.0.0/0",
            &["0.0.0.0", "255.255.255.255", "::ffff:1.2.3.4"],
            &["::", "::1"],
        ),
        ("::/0", &["::", "ffff::"], &["1.2.3.4", "::ffff:1.2.3.4"]),
        ("255.255.255.255", &["255.255.255.255"], &["0.0.0.0"]),
        // IPv4-mapped addresses and networks are IPv4, on both sides.
        ("10.0.0.0/8", &["::ffff:10.1.2.3"], &["::ffff:11.1.2.3"]),
        ("::ffff:10.0.0.1", &["10.0.0.1"], &["10.0.0.2"]),
        (
            "::ffff:10.0.0.0/104",
            &["10.200.0.1", "::ffff:10.0.0.1"],
            &["11.0.0.0"],
        ),
        ("::ffff:0:0/96", &["0.0.0.0", "255.0.0.1"], &["::1"]),
        // A network in a wider one, whatever the order.
        (
            "10.1.0.0/16 10.0.0.0/8 10.0.0.0/16",
            &["10.0.0.1", "10.1.0.1", "10.255.0.1"],
            &["9.255.255.255", "11.0.0.0"],
        ),
    ];
    for (text, inside, outside) in cases {
        let set = trusted(text);
        assert!(!set.is_empty());
        for address in *inside {
            assert!(set.contains(ip(address)), "{text} lacks {address}");
        }
        for address in *outside {
            assert!(!set.contains(ip(address)), "{text} has {address}");
        }
    }
}

#[test]
fn every_bad_entry_is_named() {
    for (text, message) in [
        (
            "10.0.0.0/33",
            r#""10.0.0.0/33" is not an address, a network, `loopback` or `private`"#,
        ),
        (
            "10.0.0.1, proxy.internal;::1/129",
            r#""proxy.internal;::1/129" is not an address, a network, `loopback` or `private`"#,
        ),
        (
            "10.1.2.3/8",
            r#""10.1.2.3/8" has bits below its prefix: write 10.0.0.0/8 or 10.1.2.3"#,
        ),
        (
            "*, private, ::ffff:10.0.0.1/104",
            r#""*" is not an address, a network, `loopback` or `private`; "::ffff:10.0.0.1/104" has bits below its prefix: write ::ffff:10.0.0.0/104 or ::ffff:10.0.0.1"#,
        ),
        (
            "a\u{1b}[31m",
            r#""a\u{1b}[31m" is not an address, a network, `loopback` or `private`"#,
        ),
    ] {
        let error = text.parse::<TrustedProxies>().unwrap_err();
        assert_eq!(error.to_string(), message);
    }
    for text in [
        "10.0.0.1:80",
        "[::1]",
        "fe80::1%eth0",
        "10.0.0.0/",
        "/8",
        "any",
    ] {
        let error = text.parse::<TrustedProxies>().unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    }
}

#[test]
fn networks_are_shown_sorted_and_once() {
    let set =
        trusted("::1 10.0.0.1/32,10.0.0.1 192.168.0.0/16 10.2.0.0/16 fd00::/8 192.168.7.0/24");
    assert_eq!(
        set.to_string(),
        "10.0.0.1/32, 10.2.0.0/16, 192.168.0.0/16, ::1/128, fd00::/8"
    );
}

#[test]
fn the_header_is_one_name_in_any_case() {
    assert_eq!(ClientIpHeader::default().as_str(), "x-forwarded-for");
    for (text, wanted) in [
        ("X-Forwarded-For", ClientIpHeader::XForwardedFor),
        (" forwarded\n", ClientIpHeader::Forwarded),
        ("FORWARDED", ClientIpHeader::Forwarded),
        (
            "CF-Connecting-IP",
            ClientIpHeader::Other(http::HeaderName::from_static("cf-connecting-ip")),
        ),
    ] {
        let header: ClientIpHeader = text.parse().unwrap();
        assert_eq!(header, wanted);
        assert_eq!(header.to_string(), text.trim().to_lowercase());
    }
    for text in [
        "",
        "  ",
        "x-forwarded-for, forwarded",
        "x forwarded for",
        "x-forwarded-for:",
        "(x)",
        "x-\u{f6}",
        "a\0b",
    ] {
        let error = text.parse::<ClientIpHeader>().unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("{:?} is not the name of one header", text.trim())
        );
    }
}

/// Few distinct bits, so that networks nest, repeat and touch.
fn net_strategy() -> impl Strategy<Value = IpNet> {
    (any::<bool>(), 0_u8..8, 0_u8..8).prop_map(|(is_v4, bits, prefix_len)| {
        let first = bits << 5;
        let address = if is_v4 {
            IpAddr::from([first, 0, 0, 0])
        } else {
            IpAddr::from([u16::from(first) << 8, 0, 0, 0, 0, 0, 0, 0])
        };
        IpNet::new(address, prefix_len).unwrap().trunc()
    })
}

proptest! {
    #[test]
    fn a_look_up_agrees_with_asking_every_network(
        nets in prop::collection::vec(net_strategy(), 0..12),
        address in any::<IpAddr>(),
    ) {
        let text = nets.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let set = trusted(&text);
        let wanted = nets.iter().any(|net| net.contains(&address.to_canonical()));
        prop_assert_eq!(set.contains(address), wanted);
        prop_assert_eq!(set.to_string().parse::<TrustedProxies>(), Ok(set));
    }

    #[test]
    fn any_text_is_no_panic(text in any::<String>()) {
        let _ = text.parse::<TrustedProxies>().map_err(|error| error.to_string());
        let _ = text.parse::<ClientIpHeader>().map_err(|error| error.to_string());
    }
}
