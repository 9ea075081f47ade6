//! What capture is told by the configuration.

use uuid::Uuid;

use super::client_ip::{ClientIpHeader, TrustedProxies};
use super::guarantee::Guarantees;
use crate::record::{RequestId, Text, limits, sanitize};

/// How requests are watched.
#[derive(Clone, Debug, Default)]
pub(crate) struct CaptureSettings {
    /// `AUDITHOG_TRUSTED_PROXIES`. Default: nobody.
    pub(crate) trusted_proxies: TrustedProxies,
    /// `AUDITHOG_CLIENT_IP_HEADER`. Default: `x-forwarded-for`.
    pub(crate) client_ip_header: ClientIpHeader,
    /// `AUDITHOG_REQUEST_ID`. Default: `own`.
    pub(crate) request_id: RequestIdPolicy,
    /// Requests that get no row. Only code can name them. Default: none.
    pub(crate) exclusions: Vec<Exclusion>,
    /// `AUDITHOG_GUARANTEE`, and what code says of routes. Default: best-effort.
    pub(crate) guarantees: Guarantees,
    /// Route parameters to mask besides those with a secret name. Default: none.
    pub(crate) masked_params: Vec<MaskedParam>,
}

/// Where the id of a request comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum RequestIdPolicy {
    /// Always made here. What a trusted proxy sent is kept beside it.
    #[default]
    Own,
    /// What a trusted proxy sent, if it can be sent back as it is: visible ASCII within the limit.
    Trusted,
}

/// Requests that get no row: by route template, so that no client can choose a path that is not seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exclusion {
    /// None: any method.
    pub(crate) method: Option<String>,
    /// Compared as a whole with the route template.
    pub(crate) route: String,
}

/// A route parameter that holds a secret under an innocent name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MaskedParam {
    /// The route template; none: every route.
    pub(crate) route: Option<String>,
    pub(crate) name: String,
}

impl CaptureSettings {
    /// Whether a request of this method and route gets no row. `request` is asked only where some get none.
    pub(super) fn excludes<'a>(
        &self,
        request: impl FnOnce() -> (&'a str, Option<&'a str>),
    ) -> bool {
        if self.exclusions.is_empty() {
            return false;
        }
        let (method, route) = request();
        let Some(route) = route else { return false };
        self.exclusions.iter().any(|exclusion| {
            exclusion.route == route && exclusion.method.as_deref().is_none_or(|own| own == method)
        })
    }

    pub(super) fn masks(&self, route: &str, name: &str) -> bool {
        self.masked_params.iter().any(|param| {
            param.name == name && param.route.as_deref().is_none_or(|own| own == route)
        })
    }
}

/// A request id that a trusted proxy sent.
#[derive(Debug)]
pub(super) struct SentId {
    /// Bounded and escaped.
    text: Text,
    /// `text` is what was sent, and visible ASCII: it can be sent back.
    intact: bool,
}

impl SentId {
    /// None if nothing is left of `raw` without the white space around it.
    pub(super) fn read(raw: &[u8]) -> Option<Self> {
        let raw = raw.trim_ascii();
        // An escape is visible ASCII too, so the bytes that came are asked.
        let visible = raw.iter().all(u8::is_ascii_graphic);
        (!raw.is_empty()).then(|| Self {
            text: sanitize::bytes(raw, limits::UPSTREAM_REQUEST_ID),
            intact: visible && raw.len() <= limits::UPSTREAM_REQUEST_ID,
        })
    }

    fn into_text(self) -> Text {
        self.text
    }
}

impl RequestIdPolicy {
    /// The request id, and what is kept as the upstream's.
    pub(super) fn choose(self, own: Uuid, sent: Option<SentId>) -> (RequestId, Option<Text>) {
        match (self, sent) {
            (Self::Trusted, Some(sent)) if sent.intact => (adopted(&sent.text), None),
            (_, sent) => (RequestId::Uuid(own), sent.map(SentId::into_text)),
        }
    }
}

/// A UUID only if it is written as we would write it: the id is sent back as it came.
fn adopted(id: &str) -> RequestId {
    match Uuid::try_parse(id) {
        Ok(uuid) if uuid.to_string() == id => RequestId::Uuid(uuid),
        _ => RequestId::Adopted(id.into()),
    }
}
