use std::io::Write;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use serde_json::json;

use super::client::{TOKEN, at_noon, event, event_with, send, v0_batch};

fn body() -> Vec<u8> {
    v0_batch(&[event(1)]).to_string().into_bytes()
}

pub(super) fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data).expect("memory");
    encoder.finish().expect("memory")
}

pub(super) fn deflate(data: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data).expect("memory");
    encoder.finish().expect("memory")
}

fn base64(data: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for group in data.chunks(3) {
        let bits = group
            .iter()
            .fold(0, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - group.len()));
        for digit in 0..4 {
            let index = (bits >> (18 - 6 * digit)) & 63;
            let padding = digit > group.len();
            out.push(if padding {
                '='
            } else {
                DIGITS[index as usize].into()
            });
        }
    }
    out
}

/// Target, headers, body, and the status to expect.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], Vec<u8>, u16);

#[test]
fn compression_is_taken_from_query_header_or_magic_bytes() {
    let posthog = at_noon();
    let gzip_header = [("content-encoding", "gzip")];
    let zstd_header = [("content-encoding", "zstd")];
    let base64_header = [("content-encoding", "base64")];
    let zstd = zstd::encode_all(body().as_slice(), 0).expect("memory");
    let text = base64(&body()).into_bytes();
    let cases: [Case<'_>; 13] = [
        ("/batch", &[], body(), 200),
        ("/batch?compression=gzip", &gzip_header, gzip(&body()), 200),
        ("/batch?compression=gzip-js", &[], gzip(&body()), 200),
        ("/batch", &gzip_header, gzip(&body()), 200),
        ("/batch", &[], gzip(&body()), 200),
        ("/batch?compression=base64", &[], gzip(&body()), 200),
        ("/batch?compression=b64", &[], text.clone(), 200),
        ("/batch", &base64_header, text.clone(), 200),
        // The query comes before the header.
        ("/batch?compression=base64", &gzip_header, text, 200),
        ("/batch", &gzip_header, body(), 400),
        ("/batch", &zstd_header, zstd, 400),
        ("/batch?compression=br", &[], deflate(&body()), 400),
        ("/batch", &[], Vec::new(), 400),
    ];
    for (case, (target, headers, data, status)) in cases.into_iter().enumerate() {
        posthog.clear();
        let answer = send(&posthog, "POST", target, headers, &data).expect("a reply");
        assert_eq!(answer.status, status, "case {case}: {answer:?}");
        let stored = usize::from(status == 200);
        assert_eq!(posthog.stored().len(), stored, "case {case}");
        let request = &posthog.requests()[0];
        assert_eq!(request.raw_bytes, data.len(), "case {case}");
        let decompressed = (status == 200).then(|| body().len());
        assert_eq!(request.decompressed_bytes, decompressed, "case {case}");
    }
}

#[test]
fn forms_and_get_carry_the_payload_in_data() {
    let posthog = at_noon();
    let one = event_with(1, &json!({"token": TOKEN})).to_string();
    let encoded = base64(one.as_bytes())
        .replace('+', "%2B")
        .replace('=', "%3D");
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let data = format!("compression=base64&data={encoded}");
    let answer = send(&posthog, "POST", "/e/", &form, data.as_bytes()).expect("a reply");
    assert_eq!(answer.status, 200, "{answer:?}");
    let target = format!("/e/?compression=base64&data={encoded}");
    let answer = send(&posthog, "GET", &target, &[], b"").expect("a reply");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(posthog.stored().len(), 2);
    assert_eq!(posthog.events().len(), 1);
}

#[test]
fn each_route_has_its_size_limit_raw_and_decompressed() {
    let posthog = at_noon();
    let body = |bytes: usize| {
        let event = event_with(1, &json!({"properties": {"a": "x".repeat(bytes)}}));
        v0_batch(&[event]).to_string().into_bytes()
    };
    let overhead = body(0).len();
    posthog.configure(|b| {
        b.limits.v0_batch = overhead + 2000;
        b.limits.v0_event = overhead + 1000;
    });
    for (path, limit) in [("/batch", 2000), ("/e", 1000)] {
        let status = |data: &[u8]| {
            send(&posthog, "POST", path, &[], data)
                .expect("a reply")
                .status
        };
        assert_eq!(status(&body(limit)), 200, "{path}");
        assert_eq!(status(&body(limit + 1)), 413, "{path}");
        assert_eq!(status(&gzip(&body(limit))), 200, "{path}");
        assert_eq!(status(&gzip(&body(limit + 1))), 413, "{path}");
    }
}

#[test]
fn the_default_limits_are_those_of_posthog() {
    let posthog = at_noon();
    let padded = |bytes: usize| {
        let mut body = body();
        body.resize(bytes, b' ');
        body
    };
    let status = |path: &str, data: &[u8]| {
        send(&posthog, "POST", path, &[], data)
            .expect("a reply")
            .status
    };
    assert_eq!(status("/batch", &padded(20 << 20)), 200);
    assert_eq!(status("/batch", &padded((20 << 20) + 1)), 413);
    assert_eq!(status("/capture", &padded(2 << 20)), 200);
    assert_eq!(status("/capture", &padded((2 << 20) + 1)), 413);
    assert_eq!(posthog.requests()[1].raw_bytes, (20 << 20) + 1);
}
