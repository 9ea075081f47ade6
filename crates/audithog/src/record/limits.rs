//! How long a value may be. Longer ones are cut, and the cut shows as a trailing `…`.
//!
//! Units are bytes of UTF-8, the ellipsis included.

/// Request path. Longer than any route; what a scanner sends beyond it is noise.
pub(crate) const PATH: usize = 2_048;
/// Route template.
pub(crate) const ROUTE: usize = 512;
/// `User-Agent`.
pub(crate) const USER_AGENT: usize = 512;
/// User id, role, organisation, on-behalf-of. PostHog's limit for a distinct id is 200.
pub(crate) const ACTOR: usize = 200;
/// Error code.
pub(crate) const ERROR_CODE: usize = 128;
/// Request method. The longest registered one is 17 characters (RFC 9110 registry).
pub(crate) const METHOD: usize = 32;
/// Request id sent by a proxy.
pub(crate) const UPSTREAM_REQUEST_ID: usize = 128;
/// Event name. PostHog's capture v1 refuses more than 200 bytes.
pub(crate) const EVENT: usize = 200;
/// One text inside business properties.
pub(crate) const PROPERTY_TEXT: usize = 8_192;
/// All business properties of one event as JSON.
pub(crate) const PROPERTIES: usize = 65_536;

/// Cuts `text` to at most `limit` bytes at a character boundary; a cut ends in `…`.
pub(crate) fn cut(text: &str, limit: usize) -> std::borrow::Cow<'_, str> {
    if text.len() <= limit {
        return text.into();
    }
    let end = text.floor_char_boundary(limit.saturating_sub('…'.len_utf8()));
    format!("{}…", &text[..end]).into()
}
