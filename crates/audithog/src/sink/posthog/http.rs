//! The HTTP client: TLS, proxies, time limits, bounded replies.

use std::error::Error as StdError;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::header::{PROXY_AUTHORIZATION, USER_AGENT as USER_AGENT_NAME};
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::Verifier;

use super::connect::Connector;
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

/// A client for one endpoint. It follows no redirect: a POST that does can become a GET, and end in a 200 that means nothing.
pub(super) struct Http {
    client: Client<Connector, Full<Bytes>>,
    connector: Connector,
    /// From the start of a request to the last byte of its reply.
    timeout: Duration,
}

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
        let connector = Connector::new(
            tls(endpoint, ca_file)?,
            !endpoint.is_loopback(),
            timeout.min(CONNECT_TIMEOUT),
        );
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .build(connector.clone());
        Ok(Self {
            client,
            connector,
            timeout,
        })
    }

    /// Posts `body`. An error says what happened; whether the server took the request is unknown.
    pub(super) async fn post(
        &self,
        url: &str,
        headers: HeaderMap,
        body: Vec<u8>,
    ) -> Result<Answer, String> {
        self.send(Method::POST, url, headers, body, REPLY_LIMIT)
            .await
    }

    /// Sends a request, and takes a reply of at most `most` bytes. An error is as for [`Http::post`].
    pub(super) async fn send(
        &self,
        method: Method,
        url: &str,
        headers: HeaderMap,
        body: Vec<u8>,
        most: usize,
    ) -> Result<Answer, String> {
        let exchange = self.exchange(method, url, headers, body, most);
        match tokio::time::timeout(self.timeout, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(format!(
                "no reply in time ({} ms)",
                self.timeout.as_millis()
            )),
        }
    }

    async fn exchange(
        &self,
        method: Method,
        url: &str,
        mut headers: HeaderMap,
        body: Vec<u8>,
        most: usize,
    ) -> Result<Answer, String> {
        let uri: Uri = url
            .parse()
            .map_err(|_| "its address is no URL".to_owned())?;
        headers.insert(USER_AGENT_NAME, HeaderValue::from_static(USER_AGENT));
        if let Some(value) = self.connector.authorization(&uri) {
            headers.insert(PROXY_AUTHORIZATION, value);
        }
        let mut request = Request::builder()
            .method(method)
            .uri(uri)
            .body(Full::from(body))
            .map_err(|_| "its address is no URL".to_owned())?;
        *request.headers_mut() = headers;
        let reply = self.client.request(request).await.map_err(|error| {
            let what = match error.is_connect() {
                true => "cannot connect",
                false => "the connection broke",
            };
            describe(what, &error)
        })?;
        let (head, mut incoming) = reply.into_parts();
        let mut body = Vec::new();
        while let Some(frame) = incoming.frame().await {
            let frame = frame.map_err(|error| describe("the connection broke", &error))?;
            let Some(data) = frame.data_ref() else {
                continue;
            };
            if most < body.len() + data.len() {
                let status = head.status.as_u16();
                return Err(format!("status {status} with a reply above {most} bytes"));
            }
            body.extend_from_slice(data);
        }
        Ok(Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
        })
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Nothing of the connector: a proxy's URL may hold a password.
        f.debug_struct("Http")
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
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

/// What happened, down to the cause.
fn describe(what: &str, error: &dyn StdError) -> String {
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
