//! Clients that ask and are answered.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures_util::future::join_all;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use super::{Answer, Asked, Kind, PATIENCE, Shared, Target, rest, stands, target};
use crate::time;

/// Requests at once on a connection of HTTP/2.
const STREAMS: usize = 4;

/// One request after the other over HTTP/1.1.
pub(super) async fn one(
    shared: Arc<Shared>,
    mut seen: watch::Receiver<Vec<Target>>,
    mut rng: fastrand::Rng,
) {
    while let Some(target) = target(&mut seen, &mut rng).await {
        let Ok(mut client) = http1(target).await else {
            rest(shared.rest).await;
            continue;
        };
        // Not for ever, so that of two servers each gets its share.
        for _ in 0..50 {
            if !stands(&seen, target) || client.ready().await.is_err() {
                break;
            }
            let ticket = Ticket::draw(&shared, target, &mut rng, false);
            let request = ticket.request(&mut rng);
            let answer = complete(client.send_request(request)).await;
            ticket.record(&shared, answer);
            rest(shared.rest).await;
        }
    }
}

/// A few at once over HTTP/2.
pub(super) async fn many(
    shared: Arc<Shared>,
    mut seen: watch::Receiver<Vec<Target>>,
    mut rng: fastrand::Rng,
) {
    while let Some(target) = target(&mut seen, &mut rng).await {
        let Ok(mut client) = http2(target).await else {
            rest(shared.rest).await;
            continue;
        };
        for _ in 0..20 {
            if !stands(&seen, target) || client.ready().await.is_err() {
                break;
            }
            let mut under_way = Vec::new();
            for _ in 0..STREAMS {
                let ticket = Ticket::draw(&shared, target, &mut rng, true);
                let request = ticket.request(&mut rng);
                let sent = client.send_request(request);
                let shared = &shared;
                under_way.push(async move { ticket.record(shared, complete(sent).await) });
            }
            join_all(under_way).await;
            rest(shared.rest).await;
        }
    }
}

async fn http1(target: Target) -> Result<http1::SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(target.address).await?;
    let (client, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(client)
}

async fn http2(target: Target) -> Result<http2::SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(target.address).await?;
    let io = TokioIo::new(stream);
    let (client, connection) = http2::handshake(TokioExecutor::new(), io).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// A request that is on its way.
struct Ticket {
    id: String,
    kind: Kind,
    target: Target,
    sent: i64,
}

impl Ticket {
    fn draw(shared: &Shared, target: Target, rng: &mut fastrand::Rng, patience: bool) -> Self {
        Self {
            id: shared.id(),
            kind: Kind::draw(rng, patience),
            target,
            sent: time::now(),
        }
    }

    fn request(&self, rng: &mut fastrand::Rng) -> Request<Full<Bytes>> {
        let Self {
            id, kind, target, ..
        } = self;
        let body = match kind {
            Kind::Order => Bytes::from(vec![b'o'; rng.usize(..4_000)]),
            _ => Bytes::new(),
        };
        let path = kind.path(id) + &kind.query(rng);
        let mut request = Request::new(Full::new(body));
        if let Ok(uri) = format!("http://{}{path}", target.address).parse() {
            *request.uri_mut() = uri;
        }
        if let Ok(method) = kind.method().parse() {
            *request.method_mut() = method;
        }
        if let Ok(host) = target.address.to_string().parse() {
            request.headers_mut().insert("host", host);
        }
        request
    }

    fn record(self, shared: &Shared, answer: Option<Answer>) {
        shared.book().push(Asked {
            id: self.id,
            kind: self.kind,
            server: self.target.server,
            sent: self.sent,
            answer,
        });
    }
}

/// The answer, if it comes to its end.
async fn complete(sent: impl Future<Output = hyper::Result<Response<Incoming>>>) -> Option<Answer> {
    let whole = async {
        let (head, body) = sent.await?.into_parts();
        body.collect().await?;
        anyhow::Ok(head)
    };
    let head = timeout(PATIENCE, whole)
        .await
        .context("too slow")
        .flatten()
        .ok()?;
    let request_id = head.headers.get("x-request-id");
    Some(Answer {
        status: head.status.as_u16(),
        at: time::now(),
        request_id: request_id.and_then(|id| Some(id.to_str().ok()?.to_owned())),
    })
}
