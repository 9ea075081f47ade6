//! The headers of a request that its row is made of.

use http::HeaderName;
use http::header::USER_AGENT;

static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The headers of a request, whatever the framework's type.
pub(crate) trait Headers {
    /// All lines with the names of their headers, in lower case. The lines of one header are in order.
    fn lines(&self) -> impl Iterator<Item = (&str, &[u8])>;

    /// The lines of one header, in order.
    fn values<'a>(&'a self, name: &HeaderName) -> impl DoubleEndedIterator<Item = &'a [u8]>;
}

/// What is read of them, found in one pass: to look each up would cost more, because each name is hashed.
pub(super) struct Lines<'a, H> {
    headers: &'a H,
    forwarded_name: &'a HeaderName,
    forwarded: Found<'a>,
    agent: Found<'a>,
    request_id: Found<'a>,
    traceparent: Found<'a>,
}

/// The lines of one header.
#[derive(Clone, Copy, Default)]
pub(super) enum Found<'a> {
    #[default]
    None,
    One(&'a [u8]),
    Several,
}

impl<'a, H: Headers> Lines<'a, H> {
    /// `forwarded` is the header in which proxies say who the client is. It may be one of the others.
    pub(super) fn of(headers: &'a H, forwarded: &'a HeaderName) -> Self {
        let mut lines = Self {
            headers,
            forwarded_name: forwarded,
            forwarded: Found::None,
            agent: Found::None,
            request_id: Found::None,
            traceparent: Found::None,
        };
        let forwarded = forwarded.as_str();
        for (name, line) in headers.lines() {
            if name == forwarded {
                lines.forwarded.add(line);
            }
            match name {
                "user-agent" => lines.agent.add(line),
                "x-request-id" => lines.request_id.add(line),
                "traceparent" => lines.traceparent.add(line),
                _ => {}
            }
        }
        lines
    }

    pub(super) fn forwarded(&self) -> Found<'a> {
        self.forwarded
    }

    /// All lines of the header in which proxies say who the client is.
    pub(super) fn all_forwarded(&self) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        self.headers.values(self.forwarded_name)
    }

    pub(super) fn agent(&self) -> Option<&'a [u8]> {
        let several = || self.headers.values(&USER_AGENT).next();
        self.agent.or(several)
    }

    /// Of several lines the last one: it is the nearest hop's.
    pub(super) fn request_id(&self) -> Option<&'a [u8]> {
        let several = || self.headers.values(&X_REQUEST_ID).next_back();
        self.request_id.or(several)
    }

    /// None if there are several: the header holds one value, and which of them the tracing library believes is not
    /// known here.
    pub(super) fn traceparent(&self) -> Option<&'a [u8]> {
        self.traceparent.or(|| None)
    }
}

impl<'a> Found<'a> {
    fn add(&mut self, line: &'a [u8]) {
        *self = match self {
            Self::None => Self::One(line),
            Self::One(_) | Self::Several => Self::Several,
        };
    }

    fn or(self, several: impl FnOnce() -> Option<&'a [u8]>) -> Option<&'a [u8]> {
        match self {
            Self::None => None,
            Self::One(line) => Some(line),
            Self::Several => several(),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::{Found, Headers, Lines};

    #[test]
    fn one_pass_finds_what_look_ups_would_whichever_header_proxies_use() {
        let names = ["user-agent", "x-request-id", "traceparent", "x-real-ip"];
        for forwarded in names.into_iter().map(HeaderName::from_static) {
            // Up to two lines of each.
            for choice in 0..3_usize.pow(4) {
                let mut headers = HeaderMap::new();
                for (at, name) in names.into_iter().enumerate() {
                    for line in 0..choice / 3_usize.pow(at as u32) % 3 {
                        let value = HeaderValue::try_from(format!("{name} {line}")).unwrap();
                        headers.append(name, value);
                    }
                }
                let lines = Lines::of(&headers, &forwarded);
                let all: Vec<_> = Headers::values(&headers, &forwarded).collect();
                match (lines.forwarded(), all.as_slice()) {
                    (Found::None, []) | (Found::Several, [_, _]) => {}
                    (Found::One(line), [only]) => assert_eq!(line, *only),
                    _ => panic!("{headers:?}"),
                }
                assert!(lines.all_forwarded().eq(all));
                assert_eq!(lines.agent(), first(&headers, "user-agent"));
                let ids = headers.get_all("x-request-id").into_iter();
                assert_eq!(
                    lines.request_id(),
                    ids.map(HeaderValue::as_bytes).next_back()
                );
                let traces = headers.get_all("traceparent").into_iter().count();
                let only = first(&headers, "traceparent").filter(|_| traces == 1);
                assert_eq!(lines.traceparent(), only);
            }
        }
    }

    fn first<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
        headers.get(name).map(HeaderValue::as_bytes)
    }
}
