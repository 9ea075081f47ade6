//! What capture is told by the configuration.

use uuid::Uuid;

use super::client_ip::{ClientIpHeader, TrustedProxies};
use super::guarantee::Guarantees;
use crate::record::{RequestId, Text};

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
    pub(super) fn excludes(&self, method: &str, route: Option<&str>) -> bool {
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

impl RequestIdPolicy {
    /// The request id, and what is kept as the upstream's.
    pub(super) fn choose(self, own: Uuid, sent: Option<Text>) -> (RequestId, Option<Text>) {
        match (self, sent) {
            (Self::Trusted, Some(sent)) if can_be_sent_back(&sent) => (adopted(&sent), None),
            (_, sent) => (RequestId::Uuid(own), sent),
        }
    }
}

/// Also false for an id that was cut or escaped into something longer.
fn can_be_sent_back(id: &str) -> bool {
    id.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A UUID only if it is written as we would write it: the id is sent back as it came.
fn adopted(id: &str) -> RequestId {
    match Uuid::try_parse(id) {
        Ok(uuid) if uuid.to_string() == id => RequestId::Uuid(uuid),
        _ => RequestId::Adopted(id.into()),
    }
}
