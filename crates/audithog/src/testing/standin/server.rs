//! The server: connections, one request after the other, and the faults in between.

use std::fmt;
use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming as Body;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::behaviour::{Behaviour, Limits, V1Route};
use super::connection::{Connection, ResetSwitch};
use super::exchange::{Incoming, Outcome, ReceivedRequest, Route};
use super::fault::{Effect, Facts};
use super::faults::{Chosen, Faults};
use super::reply::{Reply, ReplyBody};
use super::store::Seen;
use super::{readback, v0, v1};

/// What the handle and the server share.
#[derive(Debug)]
pub(super) struct Shared {
    behaviour: Mutex<Arc<Behaviour>>,
    faults: Mutex<Faults>,
    seen: Mutex<Seen>,
    /// Signalled with `seen` whenever that changes.
    pub(super) arrived: Condvar,
    pub(super) changes: watch::Sender<u64>,
}

impl Shared {
    pub(super) fn new() -> Self {
        Self {
            behaviour: Mutex::default(),
            faults: Mutex::default(),
            seen: Mutex::default(),
            arrived: Condvar::new(),
            changes: watch::Sender::new(0),
        }
    }

    pub(super) fn behaviour(&self) -> MutexGuard<'_, Arc<Behaviour>> {
        lock(&self.behaviour)
    }

    pub(super) fn faults(&self) -> MutexGuard<'_, Faults> {
        lock(&self.faults)
    }

    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        lock(&self.seen)
    }

    /// Wakes everyone who waits.
    pub(super) fn announce(&self) {
        self.arrived.notify_all();
        self.changes.send_modify(|change| *change += 1);
    }

    /// Keeps the request, and stores the outcome's events if `stores`.
    fn keep(&self, request: Incoming, outcome: &Outcome, done: Done) {
        let keep = self.behaviour().keep;
        let stored = if done.stores {
            outcome.stored.clone()
        } else {
            Vec::new()
        };
        let request = ReceivedRequest {
            route: request.route,
            method: request.method,
            path: request.path,
            query: request.query,
            headers: request.headers,
            raw_bytes: request.raw_bytes,
            decompressed_bytes: outcome.decompressed_bytes,
            events: outcome.events.clone(),
            status: done.status.map(|status| status.as_u16()),
            faulted: done.faulted,
            received: request.received,
        };
        self.seen().add(request, stored, keep);
        self.announce();
    }
}

/// A closure of the user's may have panicked under a lock; what it guards is still whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What was done about a request.
#[derive(Clone, Copy)]
struct Done {
    status: Option<StatusCode>,
    faulted: bool,
    stores: bool,
}

/// The connection is to be ended without a reply.
#[derive(Debug)]
struct NoReply;

impl fmt::Display for NoReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection is ended without a reply")
    }
}

impl std::error::Error for NoReply {}

/// Accepts connections for ever.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, most likely: give others the time to close some.
            let pause = Duration::from_millis(10);
            let _ = tokio::time::timeout(pause, pending::<()>()).await;
            continue;
        };
        // Replies are small, and written at once.
        let _ = stream.set_nodelay(true);
        let reset = ResetSwitch::default();
        let io = TokioIo::new(Connection::new(stream, reset.clone()));
        let shared = Arc::clone(&shared);
        let service = service_fn(move |request| {
            let (shared, reset) = (Arc::clone(&shared), reset.clone());
            async move { exchange(request, &shared, &reset).await }
        });
        tokio::spawn(async move {
            // Every end of a connection is a legitimate one here.
            let _ = http1::Builder::new().serve_connection(io, service).await;
        });
    }
}

async fn exchange(
    request: Request<Body>,
    shared: &Shared,
    reset: &ResetSwitch,
) -> Result<Response<ReplyBody>, NoReply> {
    let received = Instant::now();
    let (head, body) = request.into_parts();
    let mut incoming = Incoming {
        route: Route::of(head.uri.path()),
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().map(str::to_owned),
        headers: head.headers,
        body: Bytes::new(),
        raw_bytes: 0,
        received,
    };
    let unread = shared.faults().resets_unread(incoming.route);
    if unread {
        keep_unread(shared, incoming, true);
        reset.arm();
        return Err(NoReply);
    }
    let limit = body_limit(incoming.route, &shared.behaviour().limits);
    match read_body(body, limit).await {
        Ok((body, raw_bytes)) => (incoming.body, incoming.raw_bytes) = (body, raw_bytes),
        Err(raw_bytes) => {
            incoming.raw_bytes = raw_bytes;
            keep_unread(shared, incoming, false);
            return Err(NoReply);
        }
    }
    let outcome = decide(&incoming, shared);
    let facts = Facts {
        route: incoming.route,
        raw_bytes: incoming.raw_bytes,
        events: &outcome.events,
    };
    let chosen = shared.faults().choose(&facts);
    carry_out(incoming, outcome, chosen, shared, reset).await
}

fn keep_unread(shared: &Shared, incoming: Incoming, faulted: bool) {
    let nothing = Outcome::only(Reply::empty(StatusCode::OK));
    let done = Done {
        status: None,
        faulted,
        stores: false,
    };
    shared.keep(incoming, &nothing, done);
}

fn decide(incoming: &Incoming, shared: &Shared) -> Outcome {
    let behaviour = Arc::clone(&shared.behaviour());
    match incoming.route {
        Route::V0Batch | Route::V0Event => v0::receive(incoming, &behaviour),
        Route::V1 => v1::receive(incoming, &behaviour, |event| shared.faults().verdict(event)),
        Route::Query => {
            let stored: Vec<_> = shared.seen().stored().iter().cloned().collect();
            readback::receive(incoming, &stored, |sql, values| {
                shared.faults().lines(sql, values)
            })
        }
        Route::Other => {
            let login = behaviour.v1 == V1Route::LoginRedirect && incoming.path == "/login";
            Outcome::only(if login && incoming.method == Method::GET {
                v1::login_page()
            } else {
                Reply::empty(StatusCode::NOT_FOUND)
            })
        }
    }
}

/// Stores what is to be stored, then answers, or does whatever the fault asks for instead.
async fn carry_out(
    incoming: Incoming,
    outcome: Outcome,
    chosen: Option<Chosen>,
    shared: &Shared,
    reset: &ResetSwitch,
) -> Result<Response<ReplyBody>, NoReply> {
    let faulted = chosen.is_some();
    let stores = chosen.as_ref().is_none_or(|chosen| chosen.stores);
    let effect = chosen.map(|chosen| chosen.effect);
    let (reply, drip) = match &effect {
        None => (Some(outcome.reply.clone()), None),
        Some(Effect::Drip(pause)) => (Some(outcome.reply.clone()), Some(*pause)),
        Some(Effect::Answer(reply)) => (Some(reply.clone()), None),
        Some(Effect::Hang | Effect::Close | Effect::Reset | Effect::ResetUnread) => (None, None),
    };
    let done = Done {
        status: reply.as_ref().map(|reply| reply.status),
        faulted,
        stores,
    };
    if matches!(effect, Some(Effect::Reset | Effect::ResetUnread)) {
        reset.arm();
    }
    shared.keep(incoming, &outcome, done);
    match reply {
        Some(reply) => Ok(reply.into_response(drip)),
        None if matches!(effect, Some(Effect::Hang)) => pending().await,
        None => Err(NoReply),
    }
}

fn body_limit(route: Route, limits: &Limits) -> usize {
    match route {
        Route::V0Batch => limits.v0_batch,
        Route::V0Event => limits.v0_event,
        Route::V1 => limits.v1_body,
        Route::Query | Route::Other => 1 << 20,
    }
}

/// Reads the body to its end, keeping no more than `limit` bytes; returns what was kept and the whole size. The error is
/// the size up to which the client got before it left.
async fn read_body(mut body: Body, limit: usize) -> Result<(Bytes, usize), usize> {
    let mut kept = BytesMut::new();
    let mut size = 0;
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let Ok(frame) = frame else {
            return Err(size);
        };
        if let Ok(data) = frame.into_data() {
            size += data.len();
            let room = limit.saturating_sub(kept.len());
            kept.extend_from_slice(&data[..data.len().min(room)]);
        }
    }
    Ok((kept.freeze(), size))
}
