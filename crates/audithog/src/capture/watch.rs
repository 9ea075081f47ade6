//! One request being watched, from its arrival to its row.

mod admission;
mod waiting;

pub(crate) use admission::{Announcement, Refused};
use waiting::{Parked, wish};

use std::any::Any;
use std::cell::OnceCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use super::guarantee::Guarantee;
use super::handle::{RequestHandle, Snapshot};
use super::known::Route;
use super::promise::Promise;
use super::recorder::{Arrival, Inner, Sent};
use super::registry::Ticket;
use super::waits::Wait;
use super::{context, ids, path};
use crate::record::{
    Actor, End, Exchange, Measured, Micros, Outcome, RequestId, Row, SharedText, Text,
    derived_error_code, limits, sanitize,
};

/// `errorCode` of a request that was not handled.
const AUDIT_UNAVAILABLE: &str = "AUDIT_UNAVAILABLE";

/// How much of a path is kept until its row is made. Longer than any server accepts by default.
const RAW_PATH: usize = 64 * 1024;

/// One request. Shared by its guard and its handles.
pub(super) struct Watch {
    inner: Arc<Inner>,
    ticket: Ticket,
    row_id: Uuid,
    request_id: RequestId,
    /// Made when somebody asks for it.
    request_id_text: OnceLock<Box<str>>,
    arrived: Micros,
    started: Duration,
    method: Text,
    /// Not masked yet: the route may still be unknown.
    path: Text,
    user_agent: Option<SharedText>,
    upstream_request_id: Option<SharedText>,
    sent: Sent,
    /// 0 before the head of the response.
    status: AtomicU16,
    /// The one flag: the row was made. Set under the lock of `state`, so that what is learnt before it is in the row.
    finished: AtomicBool,
    state: Mutex<State>,
}

/// What is learnt on the way.
#[derive(Default)]
struct State {
    actor: Actor,
    error_code: Option<SharedText>,
    route: Option<Route>,
    masked: Vec<Text>,
    grpc_status: Option<u32>,
    /// The connection's stream will tell of its close.
    close_is_seen: bool,
    /// The `api_connection_closed` row was made.
    closed: bool,
    /// The response waits for the row; taken by whoever holds the response.
    wait: Option<(Wait, Guarantee)>,
    /// The row, while there is no room for it in the queue.
    parked: Option<Parked>,
}

/// Who waits for a row.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holder {
    /// The client is gone, or has its answer.
    Nobody,
    /// A response whose end is there: for the row's commit if so guaranteed, and for room for it.
    Response,
    /// A response whose end will come after the row: for its commit.
    Later,
}

/// The one owner of a watched request. Dropped before its end, it ends the request as abandoned by the client.
pub(crate) struct Guard {
    watch: Arc<Watch>,
    /// A reference that is lent to the thread while it runs the application's code, and taken back: a poll counts
    /// none. None before the first time.
    lent: Option<RequestHandle>,
}

// === impl Guard ===

impl Guard {
    pub(super) fn new(watch: Arc<Watch>) -> Self {
        Self { watch, lent: None }
    }

    pub(crate) fn handle(&self) -> RequestHandle {
        RequestHandle(Arc::clone(&self.watch))
    }

    /// Runs the application's code with this request as the current one. A panic ends the request and is raised again.
    pub(crate) fn run<T>(&mut self, code: impl FnOnce() -> T) -> T {
        self.try_run(code)
            .unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Like [`Guard::run`], for code whose panic can wait for its row ([`Guard::promise`]) before it is raised again.
    pub(crate) fn try_run<T>(
        &mut self,
        code: impl FnOnce() -> T,
    ) -> Result<T, Box<dyn Any + Send>> {
        let own = self.lent.take().unwrap_or_else(|| self.handle());
        let before = context::swap(Some(own));
        // Nothing that the closure leaves half-done is looked at here: the panic goes on.
        let result = catch_unwind(AssertUnwindSafe(code));
        if result.is_err() {
            self.watch.finish(End::Panic);
        }
        self.lent = context::swap(before);
        result
    }

    /// Whether the request may be handled. `Ok` with what the handler has to wait for.
    ///
    /// A request that is refused has ended: it is counted and gets no row of its own.
    pub(crate) fn admit(&self) -> Result<Option<Announcement>, Refused> {
        if self.watch.inner.admits_all {
            return Ok(None);
        }
        self.watch.admit()
    }

    /// A response without a body, or the end of a body, waits for the row now.
    pub(crate) fn waits(&self) -> bool {
        !self.watch.inner.holds_none && self.watch.guarantee().waits()
    }

    /// The request was not handled: its answer is a 503, and nothing waits.
    pub(crate) fn finish_unhandled(self, status: u16) {
        self.set_status(status);
        self.watch.lock().error_code = Some(Text::constant(AUDIT_UNAVAILABLE).into());
        self.watch.finish_for(Holder::Nobody, End::Complete);
    }

    /// The request has ended some other way than through this guard, by a shutdown: its row was made.
    pub(crate) fn is_finished(&self) -> bool {
        self.watch.is_finished()
    }

    /// The response's head is known, and nothing is left that could keep it back but a wait for its row.
    pub(crate) fn set_status(&self, status: u16) {
        self.watch.status.store(status, Ordering::Release);
    }

    pub(crate) fn set_grpc_status(&self, status: u32) {
        self.watch.lock().grpc_status = Some(status);
    }

    /// The response says why it is a failure.
    pub(crate) fn set_error_code(&self, code: Text) {
        self.watch.set_error_code(code);
    }

    /// Ends the request. Only the first end counts. Some if the response has to wait for the row.
    #[must_use = "the response waits for it"]
    pub(crate) fn finish(self, end: End) -> Option<Promise> {
        self.watch.finish(end);
        self.promise()
    }

    /// What the response has to wait for, once the row was made, by whomever.
    pub(crate) fn promise(&self) -> Option<Promise> {
        if self.watch.inner.holds_none {
            return None;
        }
        let (wait, guarantee) = self.watch.lock().wait.take()?;
        Some(Promise::new(Arc::clone(&self.watch), wait, guarantee))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.watch.is_finished() {
            self.watch.abandon();
        } else if !self.watch.inner.holds_none && self.watch.lock().wait.is_some() {
            // Made while the response was dropped: nobody will hold it.
            self.watch.give_up();
        }
    }
}

// === impl Watch ===

impl Watch {
    pub(super) fn new<H>(
        inner: Arc<Inner>,
        ticket: Ticket,
        (arrived, started): (Micros, Duration),
        arrival: &Arrival<'_, H>,
        mut sent: Sent,
        (user_agent, route): (Option<SharedText>, Option<Route>),
    ) -> Self {
        let row_id = ids::next(arrived);
        let policy = inner.settings.request_id;
        let (request_id, upstream_request_id) = policy.choose(row_id, sent.request_id.take());
        Self {
            inner,
            ticket,
            row_id,
            request_id_text: OnceLock::new(),
            request_id,
            arrived,
            started,
            method: method(arrival.method),
            path: sanitize::text(arrival.path, RAW_PATH),
            user_agent,
            upstream_request_id: upstream_request_id.map(Into::into),
            sent,
            status: AtomicU16::new(0),
            finished: AtomicBool::new(false),
            state: Mutex::new(State {
                route,
                ..State::default()
            }),
        }
    }

    pub(super) fn set_actor(&self, mut actor: Actor) -> bool {
        sanitize::actor(&mut actor);
        self.update(|state| state.actor = actor)
    }

    pub(super) fn set_error_code(&self, code: Text) -> bool {
        let code = sanitize::kept(code, limits::ERROR_CODE);
        self.update(|state| state.error_code = (!code.trim().is_empty()).then(|| code.into()))
    }

    pub(super) fn mask_path_param(&self, name: Text) -> bool {
        self.update(|state| state.masked.push(name))
    }

    pub(super) fn set_route_if_unknown(&self, template: &str) {
        self.update(|state| {
            let route = || Route::new(template, &self.inner.settings);
            state.route.get_or_insert_with(route);
        });
    }

    pub(super) fn request_id_text(&self) -> &str {
        match &self.request_id {
            RequestId::Adopted(text) => text,
            RequestId::Uuid(id) => {
                let text = || id.as_hyphenated().to_string().into();
                self.request_id_text.get_or_init(text)
            }
        }
    }

    pub(super) fn request_id_bytes(&self) -> Bytes {
        ids::text(&self.request_id)
    }

    pub(super) fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Acquire)
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot {
            request_id: self.request_id.clone(),
            actor: self.lock().actor.clone(),
            trace_id: self.sent.trace_id,
            trace_trusted: self.sent.trace_trusted(),
            ip: self.sent.ip,
            sink: Arc::clone(&self.inner.sink),
        }
    }

    /// Makes the `api_request` row, unless it was made before. True if it did.
    pub(super) fn finish(&self, end: End) -> bool {
        self.finish_for(
            match end {
                End::ClientClosedBeforeResponse | End::ClientClosedMidBody => Holder::Nobody,
                _ => Holder::Response,
            },
            end,
        )
    }

    fn finish_for(&self, holder: Holder, end: End) -> bool {
        // Most requests need none.
        let wait = OnceCell::new();
        // A row is large: it is made where it stays.
        let row;
        let (waiter, guarantee) = {
            let mut state = self.lock();
            if self.finished.load(Ordering::Relaxed) {
                return false;
            }
            self.finished.store(true, Ordering::Release);
            row = self.request_row(&state, end);
            let guarantee = self.guarantee_in(&state);
            let waits = holder != Holder::Nobody && row.is_some() && guarantee.waits();
            let waiter = waits.then(|| {
                let wait = wait.get_or_init(Wait::default);
                state.wait = Some((wait.clone(), guarantee));
                self.inner.waits.limit(wait)
            });
            (waiter, guarantee)
        };
        let sink = &self.inner.sink;
        match row {
            Some(row) if holder == Holder::Response => {
                let room = || wish(wait.get_or_init(Wait::default));
                if let Err(unplaced) = sink.offer(row, waiter, &room) {
                    self.park(unplaced, &wait.into_inner().unwrap_or_default(), guarantee);
                    return true;
                }
            }
            Some(row) => sink.accept(row, waiter),
            None => sink.request_excluded(),
        }
        self.leave();
        true
    }

    /// Only now that its row is accepted, or a loss: until then the request is in progress.
    fn leave(&self) {
        // What is long is not kept for the next request.
        let reuse = self.path.len() <= limits::PATH;
        self.inner.registry.remove(self.ticket, reuse);
    }

    /// Ends the request from outside. True if this made its row.
    pub(super) fn end(&self, end: End) -> bool {
        self.finish_for(Holder::Later, end) || {
            self.give_up();
            false
        }
    }

    /// The server dropped the request before its end: the client is gone.
    fn abandon(&self) {
        let end = match self.status() {
            None => End::ClientClosedBeforeResponse,
            Some(_) => End::ClientClosedMidBody,
        };
        self.finish(end);
    }

    pub(super) fn close_is_seen(&self) {
        self.lock().close_is_seen = true;
    }

    /// The task that served the connection ended. The connection's stream knows more than one that counted nothing.
    pub(super) fn task_ended(&self, bytes: Option<(u64, u64)>) {
        if bytes.is_some() || !self.lock().close_is_seen {
            self.connection_closed(bytes);
        }
    }

    pub(super) fn connection_closed(&self, bytes: Option<(u64, u64)>) {
        let row = {
            let mut state = self.lock();
            if state.closed {
                return;
            }
            state.closed = true;
            self.closed_row(&state, bytes)
        };
        if let Some(row) = row {
            self.inner.sink.accept(row, None);
        }
    }

    #[inline(never)]
    fn request_row(&self, state: &State, end: End) -> Option<Row> {
        let exchange = self.exchange(state, end)?;
        Some(self.row(self.row_id, self.arrived, "api_request", state, exchange))
    }

    fn closed_row(&self, state: &State, bytes: Option<(u64, u64)>) -> Option<Row> {
        let exchange = self.exchange(state, End::Complete)?;
        let now = self.inner.sink.clock().wall();
        let id = ids::next(now);
        let mut row = self.row(id, now, "api_connection_closed", state, exchange);
        row.properties = bytes.map(|(received, sent)| {
            format!(r#"{{"bytesReceived":{received},"bytesSent":{sent}}}"#).into()
        });
        Some(row)
    }

    // In the caller, so that the row is made where it stays: it is large.
    #[inline(always)]
    fn row(
        &self,
        id: Uuid,
        ts: Micros,
        event: &'static str,
        state: &State,
        exchange: Exchange,
    ) -> Row {
        Row {
            id,
            caller_id: false,
            ts,
            event: Text::constant(event),
            request_id: Some(self.request_id.clone()),
            actor: state.actor.clone(),
            exchange: Some(exchange),
            trace_id: self.sent.trace_id,
            trace_trusted: self.sent.trace_trusted(),
            distinct_id: None,
            properties: None,
            on_request_of: None,
            measured: Measured::default(),
        }
    }

    /// None if the route is excluded.
    #[inline(always)]
    fn exchange(&self, state: &State, end: End) -> Option<Exchange> {
        let route = state.route();
        if self.inner.settings.excludes(&self.method, route) {
            return None;
        }
        let now = self.inner.sink.clock().monotonic();
        let duration = now.saturating_sub(self.started).as_micros();
        let status = self.status();
        let outcome = Outcome::of(end, status, state.grpc_status);
        Some(Exchange {
            status_code: status,
            outcome,
            error_code: error_code(state, status, end, outcome),
            duration_us: u64::try_from(duration).unwrap_or(u64::MAX),
            ..self.exchange_so_far(state)
        })
    }

    /// Without its end.
    #[inline(always)]
    fn exchange_so_far(&self, state: &State) -> Exchange {
        Exchange {
            method: self.method.clone(),
            path: self.stored_path(state),
            route: state.route.as_ref().map(|route| route.text.clone()),
            status_code: None,
            outcome: Outcome::Open,
            error_code: None,
            duration_us: 0,
            user_agent: self.user_agent.clone(),
            ip: self.sent.ip,
            upstream_request_id: self.upstream_request_id.clone(),
        }
    }

    fn stored_path(&self, state: &State) -> Text {
        let has_secret = state.route.as_ref().is_some_and(|route| route.has_secret);
        if !has_secret && state.masked.is_empty() && self.path.len() <= limits::PATH {
            return self.path.clone();
        }
        let (settings, route) = (&self.inner.settings, state.route());
        path::stored(&self.path, route, |name| {
            state.masked.iter().any(|masked| *masked == *name)
                || route.is_some_and(|route| settings.masks(route, name))
        })
    }

    fn status(&self) -> Option<u16> {
        Some(self.status.load(Ordering::Acquire)).filter(|status| *status != 0)
    }

    /// True if the row was not made yet, so that the change shows in it.
    fn update(&self, change: impl FnOnce(&mut State)) -> bool {
        let mut state = self.lock();
        change(&mut state);
        !self.finished.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn route(&self) -> Option<&str> {
        self.route.as_ref().map(|route| &*route.text)
    }
}

/// Only a failure has one: the application's own, or what the end says when there was no response at all.
fn error_code(
    state: &State,
    status: Option<u16>,
    end: End,
    outcome: Outcome,
) -> Option<SharedText> {
    if outcome == Outcome::Success {
        return None;
    }
    let derived = || derived_error_code(end, status, state.grpc_status);
    match (&state.error_code, status) {
        (Some(code), Some(_)) => Some(code.clone()),
        _ => derived(),
    }
}

/// The registered methods need no copy.
fn method(method: &str) -> Text {
    const KNOWN: [&str; 9] = [
        "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "CONNECT", "TRACE",
    ];
    match KNOWN.into_iter().find(|known| *known == method) {
        Some(known) => Text::constant(known),
        None => sanitize::text(method, limits::METHOD),
    }
}
