//! Which header proxies write the client's address to.

use std::error::Error;
use std::fmt;
use std::str::FromStr;

use http::HeaderName;

static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static FORWARDED: HeaderName = http::header::FORWARDED;

/// The one header that is read: `AUDITHOG_CLIENT_IP_HEADER`. Default: `x-forwarded-for`, what most proxies append to.
///
/// Only a header that the trusted proxy sets or appends to on every request tells the truth. A proxy that does not know
/// a header passes on what the client wrote into it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum ClientIpHeader {
    /// `x-forwarded-for`: addresses between commas.
    #[default]
    XForwardedFor,
    /// `forwarded`: RFC 7239.
    Forwarded,
    /// Any other header that holds one address or a list like `x-forwarded-for`: `x-real-ip`,
    /// `cf-connecting-ip`.
    Other(HeaderName),
}

impl ClientIpHeader {
    pub(crate) fn name(&self) -> &HeaderName {
        match self {
            Self::XForwardedFor => &X_FORWARDED_FOR,
            Self::Forwarded => &FORWARDED,
            Self::Other(name) => name,
        }
    }

    /// The header's name in lower case.
    pub(crate) fn as_str(&self) -> &str {
        self.name().as_str()
    }
}

impl fmt::Display for ClientIpHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ClientIpHeader {
    type Err = ClientIpHeaderError;

    /// Reads a header name, in any case, with white space around it.
    ///
    /// # Errors
    ///
    /// Empty text, several names, and anything else that is no header name (a `token` of RFC 9110 §5.6.2).
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = text.trim();
        if name.is_empty() || !name.bytes().all(is_token_byte) {
            return Err(ClientIpHeaderError { name: name.into() });
        }
        let Ok(name) = name.parse::<HeaderName>() else {
            return Err(ClientIpHeaderError { name: name.into() });
        };
        Ok(match name {
            name if name == X_FORWARDED_FOR => Self::XForwardedFor,
            name if name == FORWARDED => Self::Forwarded,
            name => Self::Other(name),
        })
    }
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Text that is not the name of one header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClientIpHeaderError {
    name: Box<str>,
}

impl fmt::Display for ClientIpHeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not the name of one header", self.name)
    }
}

impl Error for ClientIpHeaderError {}
