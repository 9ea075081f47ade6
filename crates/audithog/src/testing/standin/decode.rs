//! Bodies, query strings and forms to bytes.

use std::io::{self, Read};

/// Why a body could not be decoded.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum DecodeError {
    TooLarge,
    Malformed(&'static str),
}

/// A compression that some route understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Gzip,
    Deflate,
    Brotli,
    Zstd,
    Base64,
}

impl Encoding {
    /// Decodes `body`; more than `limit` bytes are an error.
    pub(super) fn decode(self, body: &[u8], limit: usize) -> Result<Vec<u8>, DecodeError> {
        match self {
            Self::Gzip => read_all(flate2::read::MultiGzDecoder::new(body), limit, "gzip"),
            // RFC 9110 8.4.1.2: "deflate" is the zlib format.
            Self::Deflate => read_all(flate2::read::ZlibDecoder::new(body), limit, "deflate"),
            Self::Brotli => {
                let decoder = brotli_decompressor::Decompressor::new(body, 4096);
                read_all(decoder, limit, "brotli")
            }
            Self::Zstd => match zstd::stream::read::Decoder::new(body) {
                Ok(decoder) => read_all(decoder, limit, "zstd"),
                Err(_) => Err(DecodeError::Malformed("zstd")),
            },
            Self::Base64 => base64(body).ok_or(DecodeError::Malformed("base64")),
        }
    }
}

pub(super) fn is_gzip(body: &[u8]) -> bool {
    body.starts_with(&[0x1f, 0x8b])
}

fn read_all(
    decoder: impl Read,
    limit: usize,
    format: &'static str,
) -> Result<Vec<u8>, DecodeError> {
    let mut out = Vec::new();
    let more_than_limit = u64::try_from(limit).map_or(u64::MAX, |limit| limit.saturating_add(1));
    let read: io::Result<usize> = decoder.take(more_than_limit).read_to_end(&mut out);
    match read {
        Ok(_) if out.len() > limit => Err(DecodeError::TooLarge),
        Ok(_) => Ok(out),
        Err(_) => Err(DecodeError::Malformed(format)),
    }
}

/// Base64 in the standard or the URL alphabet, padding optional, white space ignored.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut group, mut bits) = (0_u32, 0_u32);
    let data = text.trim_ascii_end();
    let data = data
        .strip_suffix(b"==")
        .or_else(|| data.strip_suffix(b"="))
        .unwrap_or(data);
    for &byte in data.iter().filter(|byte| !byte.is_ascii_whitespace()) {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        group = (group << 6) | u32::from(digit);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push(((group >> bits) & 0xff) as u8);
        }
    }
    // A lone digit carries less than a byte.
    (bits < 6).then_some(out)
}

/// The value of `name` in a query string or a form, percent-decoded.
pub(super) fn parameter(pairs: &str, name: &str) -> Option<String> {
    pairs.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (percent_decode(key) == name.as_bytes())
            .then(|| String::from_utf8_lossy(&percent_decode(value)).into_owned())
    })
}

fn percent_decode(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match (byte, hex_pair(tail)) {
            (b'+', _) => out.push(b' '),
            (b'%', Some(decoded)) => {
                out.push(decoded);
                rest = &tail[2..];
            }
            _ => out.push(byte),
        }
    }
    out
}

fn hex_pair(bytes: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let (high, low) = (digit(*bytes.first()?)?, digit(*bytes.get(1)?)?);
    u8::try_from(high * 16 + low).ok()
}
