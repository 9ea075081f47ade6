//! As much of HTTP/1.1 as both ends of the suite need.

use memchr::{memchr, memmem};

/// The head of a message and where its body is.
#[derive(Debug, PartialEq, Eq)]
pub struct Head<'a> {
    /// The first line.
    pub start: &'a [u8],
    /// The other lines.
    lines: &'a [u8],
    /// Where the body begins.
    pub length: usize,
}

/// The head at the beginning of `bytes`, if it is whole.
#[must_use]
pub fn head(bytes: &[u8]) -> Option<Head<'_>> {
    let end = memmem::find(bytes, b"\r\n\r\n")?;
    let head = &bytes[..end + 2];
    let line = memchr(b'\r', head)?;
    Some(Head {
        start: &head[..line],
        lines: &head[line + 2..],
        length: end + 4,
    })
}

impl<'a> Head<'a> {
    /// The value of a header, given its name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        let mut rest = self.lines;
        while let Some(end) = memchr(b'\r', rest) {
            let line = &rest[..end];
            rest = rest.get(end + 2..).unwrap_or_default();
            let Some((found, value)) = line.split_at_checked(name.len()) else {
                continue;
            };
            if let Some(value) = value.strip_prefix(b":")
                && found.eq_ignore_ascii_case(name.as_bytes())
            {
                return Some(value.trim_ascii());
            }
        }
        None
    }

    /// The length that the message says its body has.
    #[must_use]
    pub fn content_length(&self) -> Option<usize> {
        number(self.header("content-length")?)
    }

    /// The status in a response's first line.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        let rest = self.start.strip_prefix(b"HTTP/1.1 ")?;
        number(rest.get(..3)?).and_then(|status| u16::try_from(status).ok())
    }

    /// Whether the body comes in chunks.
    #[must_use]
    pub fn is_chunked(&self) -> bool {
        self.header("transfer-encoding")
            .is_some_and(|value| value.eq_ignore_ascii_case(b"chunked"))
    }
}

/// A chunked body at the beginning of `bytes`.
#[derive(Debug, PartialEq, Eq)]
pub enum Chunked {
    /// The body, and how many bytes it took.
    Whole(Vec<u8>, usize),
    /// More bytes are needed.
    Partial,
    /// Not a chunked body.
    Malformed,
}

/// Reads a chunked body; trailers are not supported.
#[must_use]
pub fn chunked(bytes: &[u8]) -> Chunked {
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        let Some(end) = memmem::find(&bytes[at..], b"\r\n") else {
            return Chunked::Partial;
        };
        let line = &bytes[at..at + end];
        let digits = &line[..memchr(b';', line).unwrap_or(line.len())];
        let size = std::str::from_utf8(digits)
            .ok()
            .and_then(|text| usize::from_str_radix(text.trim(), 16).ok());
        let Some(size) = size.filter(|size| *size <= MOST_BODY) else {
            return Chunked::Malformed;
        };
        let from = at + end + 2;
        let Some(chunk) = bytes.get(from..from + size + 2) else {
            return Chunked::Partial;
        };
        let Some(chunk) = chunk.strip_suffix(b"\r\n") else {
            return Chunked::Malformed;
        };
        body.extend_from_slice(chunk);
        at = from + size + 2;
        if size == 0 {
            return Chunked::Whole(body, at);
        }
    }
}

/// Larger bodies are nobody's here.
pub const MOST_BODY: usize = 64 << 20;

fn number(digits: &[u8]) -> Option<usize> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &[u8] =
        b"HTTP/1.1 404 Not Found\r\nContent-Type: a\r\ncontent-length:  3\r\n\r\nabcX";

    #[test]
    fn a_head_is_read_when_it_is_whole() {
        let found = head(MESSAGE).expect("a head");
        assert_eq!(found.status(), Some(404));
        assert_eq!(found.content_length(), Some(3));
        assert_eq!(found.header("content-type"), Some(&b"a"[..]));
        assert_eq!(found.header("content"), None);
        assert_eq!(&MESSAGE[found.length..], b"abcX");
        assert_eq!(head(&MESSAGE[..MESSAGE.len() - 5]), None);
    }

    #[test]
    fn chunks_are_put_together() {
        let bytes = b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\nnext";
        assert_eq!(
            chunked(bytes),
            Chunked::Whole(b"abcde".to_vec(), bytes.len() - 4)
        );
        assert_eq!(chunked(&bytes[..12]), Chunked::Partial);
        assert_eq!(chunked(b"zz\r\nabc"), Chunked::Malformed);
        assert_eq!(chunked(b"1\r\nabc\r\n"), Chunked::Malformed);
    }
}
