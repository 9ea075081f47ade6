//! The request id.

use std::fmt;

use uuid::Uuid;

/// The id of a request: made by the layer, or adopted from a trusted proxy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum RequestId {
    /// A UUID; version 7 when the layer made it.
    Uuid(Uuid),
    /// Any other text that a trusted proxy sent, cut at [`super::limits::UPSTREAM_REQUEST_ID`].
    Adopted(Box<str>),
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uuid(id) => fmt::Display::fmt(&id.as_hyphenated(), f),
            Self::Adopted(text) => f.write_str(text),
        }
    }
}
