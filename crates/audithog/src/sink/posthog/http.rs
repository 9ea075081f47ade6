//! The HTTP client: TLS, proxies, time limits, bounded replies.

use std::error::Error as StdError;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use reqwest::{Client, redirect};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::Verifier;

use super::endpoint::Endpoint;
use super::verdict::Answer;
use crate::error::{Error, Kind};

/// `User-Agent`; capture v1 requires one.
pub(super) const USER_AGENT: &str = concat!("audithog/", env!("CARGO_PKG_VERSION"));

/// A reply for a full request is about 140 KiB. More than this is not PostHog.
const REPLY_LIMIT: usize = 1 << 20;
/// A host that does not answer a connect within this will not.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Below the 60 s after which common load balancers close an idle connection.
const IDLE: Duration = Duration::from_secs(50);

/// A client for one endpoint.
#[derive(Debug)]
pub(super) struct Http(Client);

impl Http {
    /// The proxy variables (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`) are honoured,
    /// except for a loopback endpoint.
    ///
    /// # Errors
    ///
    /// The CA file cannot be read or holds no certificate, or there is no certificate authority at
    /// all to check an `https` host with.
    pub(super) fn new(
        endpoint: &Endpoint,
        timeout: Duration,
        ca_file: Option<&Path>,
    ) -> Result<Self, Error> {
        let mut builder = Client::builder()
            .tls_backend_preconfigured(tls(endpoint, ca_file)?)
            // A POST that follows a redirect can become a GET, and end in a 200 that means nothing.
            .redirect(redirect::Policy::none())
            .referer(false)
            .user_agent(USER_AGENT)
            .timeout(timeout)
            .connect_timeout(timeout.min(CONNECT_TIMEOUT))
            .pool_idle_timeout(IDLE);
        if endpoint.is_loopback() {
            builder = builder.no_proxy();
        }
        let client = builder.build().map_err(|error| {
            Error::new(Kind::Config, "the HTTP client cannot be set up").with_source(error)
        })?;
        Ok(Self(client))
    }

    /// Posts `body`. An error says what happened; whether the server took the request is unknown.
    pub(super) async fn post(
        &self,
        url: &str,
        headers: HeaderMap,
        body: Vec<u8>,
    ) -> Result<Answer, String> {
        let request = self.0.post(url).headers(headers).body(body);
        let mut response = request.send().await.map_err(describe)?;
        let status = response.status().as_u16();
        let headers = std::mem::take(response.headers_mut());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(describe)? {
            if REPLY_LIMIT < body.len() + chunk.len() {
                return Err(format!(
                    "status {status} with a reply above {REPLY_LIMIT} bytes"
                ));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer {
            status,
            headers,
            body,
        })
    }
}

fn tls(endpoint: &Endpoint, ca_file: Option<&Path>) -> Result<ClientConfig, Error> {
    // Given explicitly: a library must not install a provider for the whole process.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let extra = match ca_file {
        Some(path) => certificates(path)?,
        None => Vec::new(),
    };
    let no_tls =
        |error: rustls::Error| Error::new(Kind::Config, "TLS cannot be set up").with_source(error);
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(no_tls)?;
    if endpoint.is_loopback() && !endpoint.is_secure() {
        // Never used: neither the host nor a proxy speaks TLS. Reading the system's store takes time.
        let config = builder.with_root_certificates(RootCertStore::empty());
        return Ok(config.with_no_client_auth());
    }
    let config = match Verifier::new_with_extra_roots(extra, provider) {
        Ok(verifier) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier)),
        // No certificate authorities on this machine: nothing to worry about on plain HTTP.
        Err(_) if !endpoint.is_secure() => builder.with_root_certificates(RootCertStore::empty()),
        Err(error) => {
            let message = match ca_file {
                Some(path) => format!(
                    "a certificate of AUDITHOG_POSTHOG_CA_FILE {} cannot be used",
                    path.display()
                ),
                None => "there are no certificate authorities on this system to check PostHog's \
                         certificate with: install ca-certificates or set AUDITHOG_POSTHOG_CA_FILE"
                    .to_owned(),
            };
            return Err(Error::new(Kind::Config, message).with_source(error));
        }
    };
    Ok(config.with_no_client_auth())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let problem = |what: &str| {
        let message = format!("AUDITHOG_POSTHOG_CA_FILE {} {what}", path.display());
        Error::new(Kind::Config, message)
    };
    let pem = std::fs::read(path).map_err(|error| problem("cannot be read").with_source(error))?;
    let certificates = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| problem("is not valid PEM").with_source(error))?;
    if certificates.is_empty() {
        return Err(problem("holds no certificate"));
    }
    Ok(certificates)
}

/// What happened, down to the cause. Without the URL: a proxy's may hold a password.
fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    let what = if error.is_connect() {
        "cannot connect"
    } else if error.is_timeout() {
        "no reply in time"
    } else {
        "the connection broke"
    };
    let mut text = what.to_owned();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Wrappers repeat what they wrap.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
