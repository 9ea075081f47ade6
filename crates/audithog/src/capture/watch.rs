//! One request being watched, from its arrival to its row.

mod admission;
mod template;
mod waiting;

pub(crate) use admission::{Announcement, Refused};
use waiting::{Parked, wish};

use std::any::Any;
use std::cell::OnceCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU8, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use super::guarantee::Guarantee;
use super::handle::{RequestHandle, Snapshot};
use super::known::{Known, Route};
use super::path::Alignment;
use super::promise::Promise;
use super::recorder::{Arrival, Inner, RowSink, Sent};
use super::registry::Ticket;
use super::waits::Wait;
use super::{context, ids};
use crate::record::{
    API_CONNECTION_CLOSED, API_REQUEST, Actor, End, Exchange, Measured, Micros, Outcome, RequestId,
    Row, SharedText, Text, derived_error_code, limits, sanitize,
};

/// `errorCode` of a request that was not handled.
const AUDIT_UNAVAILABLE: &str = "AUDIT_UNAVAILABLE";

/// How much of a path is kept until its row is made. Longer than any server accepts by default.
const RAW_PATH: usize = 64 * 1024;

/// One request. Shared by its guard and its handles.
pub(super) struct Watch {
    inner: Arc<Inner>,
    ticket: Ticket,
    started: Duration,
    request_id: RequestId,
    /// Made when somebody asks for it.
    request_id_text: OnceLock<Box<str>>,
    /// The path is no longer than a row's may be. So the memory is worth keeping for another request, too.
    path_fits: bool,
    /// It was too long to be kept, so that its end is no template's.
    path_is_cut: bool,
    /// It was known on arrival which parts of the path may be a secret: there is a route, or the path is the name of a remote procedure.
    is_named: bool,
    /// How far it has come: `ARRIVED`, `CALLED` or `TAPPED`.
    way: AtomicU8,
    /// 0 before the head of the response.
    status: AtomicU16,
    /// The one flag: whether the row was made, and whether its guard has to hear of that. Set under the lock of `state`, so
    /// that what is learnt before it is in the row.
    finished: AtomicU8,
    state: Mutex<State>,
}

/// The row was not made yet.
const OPEN: u8 = 0;
const FINISHED: u8 = 1;
/// A shutdown has made the row, while the guard lives: whatever comes with a handle of it is still the same request.
const SHUT_DOWN: u8 = 2;

/// The service was not called yet.
const ARRIVED: u8 = 0;
const CALLED: u8 = 1;
/// The request has reached a router that tells its routes, and whatever it knows of this one is known.
#[cfg(feature = "axum")]
const TAPPED: u8 = 2;

/// What is learnt on the way.
#[derive(Default)]
struct State {
    /// The request's row, as far as it is known. Its path is not masked yet: the route may still be unknown. Once the
    /// row was made: none, if nobody was left who could ask for what is in it; else what it was made from, for events
    /// and the close of the connection.
    row: Option<Row>,
    /// A parameter of the route is never stored.
    has_secret: bool,
    alignment: Alignment,
    said: Said,
    /// The response waits for the row; taken by whoever holds the response.
    wait: Option<(Wait, Guarantee)>,
    /// The row, while there is no room for it in the queue.
    parked: Option<Parked>,
}

/// What few requests have anything of.
#[derive(Default)]
struct Said {
    error_code: Option<SharedText>,
    masked: Vec<Text>,
    /// Of routers within the one whose route is the row's.
    inner_routes: Vec<Route>,
    grpc_status: Option<u32>,
    /// An `api_request_started` row was made, which has to be followed by the row of the end.
    announced: bool,
    /// The connection's stream will tell of its close.
    close_is_seen: bool,
    /// The `api_connection_closed` row was made.
    closed: bool,
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
        let before = self.enter();
        // Nothing that the closure leaves half-done is looked at here: the panic goes on.
        let result = catch_unwind(AssertUnwindSafe(code));
        if result.is_err() {
            self.watch.finish(End::Panic);
        }
        self.leave(before);
        result
    }

    /// Like [`Guard::try_run`], for the call of the service.
    pub(crate) fn try_call<T>(
        &mut self,
        call: impl FnOnce() -> T,
    ) -> Result<T, Box<dyn Any + Send>> {
        self.watch.way.store(CALLED, Ordering::Relaxed);
        self.try_run(call)
    }

    /// Makes this request the current one; returns the one before. Not once for each kind of code that is run.
    #[inline(never)]
    fn enter(&mut self) -> Option<RequestHandle> {
        let own = self.lent.take().unwrap_or_else(|| self.handle());
        context::swap(Some(own))
    }

    #[inline(never)]
    fn leave(&mut self, before: Option<RequestHandle>) {
        self.lent = context::swap(before);
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

    /// The request was not handled: its answer is a 503, and nothing waits. Counted, unless a shutdown ended it.
    pub(crate) fn finish_unhandled(self, status: u16) {
        self.set_status(status);
        self.watch.lock().said.error_code = Some(Text::constant(AUDIT_UNAVAILABLE).into());
        if self.watch.finish_for(Holder::Nobody, End::Complete, false) {
            let answers = self.watch.answers();
            answers.withheld.fetch_add(1, Ordering::Relaxed);
        }
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
        self.watch.lock().said.grpc_status = Some(status);
    }

    /// The call ended without one.
    pub(crate) fn set_grpc_status_if_none(&self, status: u32) {
        self.watch.lock().said.grpc_status.get_or_insert(status);
    }

    /// The response says why it is a failure. An empty code is none: what was said before stays.
    pub(crate) fn set_error_code(&self, code: Text) {
        if !code.trim().is_empty() {
            self.watch.set_error_code(code);
        }
    }

    /// Ends the request. Only the first end counts. Some if the response has to wait for the row.
    #[must_use = "the response waits for it"]
    pub(crate) fn finish(self, end: End) -> Option<Promise> {
        let unasked = self.is_alone();
        self.watch.finish_for(Holder::Response, end, unasked);
        self.promise()
    }

    /// Nobody can ask for what is in the row once it was made: no handle of the request is left, and none is made
    /// for a response that waits.
    fn is_alone(&self) -> bool {
        // The registry's and ours. Only a handle or this guard can make another handle.
        let own = 2 + usize::from(self.lent.is_some());
        self.watch.inner.holds_none && Arc::strong_count(&self.watch) == own
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
        if self.watch.is_shut_down() {
            self.watch.finished.store(FINISHED, Ordering::Release);
        }
        if !self.watch.is_finished() {
            if std::thread::panicking() {
                // Of what the server, or the layer, asked a body outside of its polls.
                self.watch.finish_for(Holder::Nobody, End::Panic, false);
                return;
            }
            self.watch.abandon();
        } else if !self.watch.inner.holds_none && self.watch.lock().wait.is_some() {
            // Made while the response was dropped: nobody will hold it.
            self.watch.give_up();
        }
    }
}

// === impl Watch ===

impl Watch {
    /// Watches no request yet.
    pub(super) fn idle(inner: Arc<Inner>) -> Self {
        Self {
            inner,
            ticket: Ticket::default(),
            started: Duration::ZERO,
            request_id: RequestId::Uuid(Uuid::nil()),
            request_id_text: OnceLock::new(),
            path_fits: false,
            path_is_cut: false,
            is_named: false,
            way: AtomicU8::new(ARRIVED),
            status: AtomicU16::new(0),
            finished: AtomicU8::new(FINISHED),
            state: Mutex::default(),
        }
    }

    /// Watches a request that has just arrived. Nothing is left of one that was watched before.
    ///
    /// What is large is written where it stays: to move it takes more code than to make it.
    pub(super) fn begin<H>(
        &mut self,
        ticket: Ticket,
        (arrived, started): (Micros, Duration),
        arrival: &Arrival<'_, H>,
        agent: Option<&[u8]>,
        sent: &mut Sent,
        known: &mut Known,
    ) {
        let settings = &self.inner.settings;
        let id = ids::next(arrived);
        let (request_id, upstream_request_id) =
            settings.request_id.choose(id, sent.request_id.take());
        self.ticket = ticket;
        self.started = started;
        self.request_id_text.take();
        // Escapes make it longer.
        let path = sanitize::text(arrival.path, RAW_PATH);
        self.path_fits = path.len() <= limits::PATH;
        self.path_is_cut = !self.path_fits && path != *arrival.path;
        self.is_named = arrival.route.is_some() || arrival.is_call;
        *self.way.get_mut() = ARRIVED;
        *self.status.get_mut() = 0;
        *self.finished.get_mut() = OPEN;
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        state.said = Said::default();
        state.wait = None;
        state.parked = None;
        let route = arrival.route.map(|route| known.route(route, settings));
        let (route, has_secret, alignment) = match route {
            Some(route) => (Some(route.text), route.has_secret, route.alignment),
            None => (None, false, Alignment::default()),
        };
        state.has_secret = has_secret;
        state.alignment = if arrival.is_stripped {
            alignment.behind_a_prefix()
        } else {
            alignment
        };
        state.row = Some(Row {
            id,
            caller_id: false,
            ts: arrived,
            event: Text::constant(API_REQUEST),
            request_id: Some(request_id.clone()),
            actor: Actor::default(),
            exchange: Some(Exchange {
                method: method(arrival.method),
                path,
                route,
                status_code: None,
                outcome: Outcome::Open,
                error_code: None,
                duration_us: 0,
                user_agent: agent.map(|agent| known.agent(agent)),
                ip: sent.ip,
                upstream_request_id: upstream_request_id.map(Into::into),
            }),
            trace_id: sent.trace_id,
            trace_trusted: sent.trace_trusted(),
            distinct_id: None,
            properties: None,
            on_request_of: None,
            measured: Measured::default(),
        });
        self.request_id = request_id;
    }

    pub(super) fn set_actor(&self, mut actor: Actor) -> bool {
        sanitize::actor(&mut actor);
        self.update(|state| {
            if let Some(row) = &mut state.row {
                row.actor = actor;
            }
        })
    }

    pub(super) fn set_error_code(&self, code: Text) -> bool {
        let code = sanitize::kept(code, limits::ERROR_CODE);
        self.update(|state| state.said.error_code = (!code.trim().is_empty()).then(|| code.into()))
    }

    pub(super) fn mask_path_param(&self, name: Text) -> bool {
        self.update(|state| state.said.masked.push(name))
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
        self.finished.load(Ordering::Acquire) != OPEN
    }

    pub(super) fn is_shut_down(&self) -> bool {
        self.finished.load(Ordering::Acquire) == SHUT_DOWN
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let state = self.lock();
        // Whoever asks has a handle, and so the row is there.
        let row = state.row.as_ref();
        Snapshot {
            request_id: self.request_id.clone(),
            actor: row.map(|row| row.actor.clone()).unwrap_or_default(),
            trace_id: row.and_then(|row| row.trace_id),
            trace_trusted: row.is_some_and(|row| row.trace_trusted),
            ip: row.and_then(Row::client_ip),
        }
    }

    pub(super) fn sink(&self) -> &Arc<dyn RowSink> {
        &self.inner.sink
    }

    /// Makes the `api_request` row, unless it was made before. True if it did.
    pub(super) fn finish(&self, end: End) -> bool {
        self.finish_for(
            match end {
                End::ClientClosedBeforeResponse | End::ClientClosedMidBody => Holder::Nobody,
                _ => Holder::Response,
            },
            end,
            false,
        )
    }

    /// `unasked`: nobody will ask for what is in the row.
    fn finish_for(&self, holder: Holder, end: End, unasked: bool) -> bool {
        // Most requests need none.
        let wait = OnceCell::new();
        let mut row;
        let (waiter, guarantee) = {
            let mut state = self.lock();
            if self.finished.load(Ordering::Relaxed) != OPEN {
                return false;
            }
            let how = if end == End::ServerShutdown {
                SHUT_DOWN
            } else {
                FINISHED
            };
            self.finished.store(how, Ordering::Release);
            let guarantee = self.guarantee_in(&state);
            row = if unasked {
                state.row.take()
            } else {
                state.row.clone()
            };
            self.complete(&mut row, &state, end);
            let waits = holder != Holder::Nobody && row.is_some() && guarantee.waits();
            let waiter = waits.then(|| {
                let wait = wait.get_or_init(Wait::default);
                state.wait = Some((wait.clone(), guarantee));
                self.inner.waits.limit(wait)
            });
            (waiter, guarantee)
        };
        let sink = &self.inner.sink;
        if row.is_none() {
            sink.request_excluded();
        } else if holder == Holder::Response {
            let room = || wish(wait.get_or_init(Wait::default));
            if let Err(unplaced) = sink.offer(&mut row, waiter, &room) {
                self.park(unplaced, &wait.into_inner().unwrap_or_default(), guarantee);
                return true;
            }
        } else if let Some(row) = row {
            sink.accept(row, waiter);
        }
        self.leave();
        true
    }

    /// Only now that its row is accepted, or a loss: until then the request is in progress.
    fn leave(&self) {
        self.inner.registry.remove(self.ticket, self.path_fits);
    }

    /// Ends the request from outside. True if this made its row.
    pub(super) fn end(&self, end: End) -> bool {
        self.finish_for(Holder::Later, end, false) || {
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
        self.lock().said.close_is_seen = true;
    }

    /// The task that served the connection ended. The connection's stream knows more than one that counted nothing.
    pub(super) fn task_ended(&self, bytes: Option<(u64, u64)>) {
        if bytes.is_some() || !self.lock().said.close_is_seen {
            self.connection_closed(bytes);
        }
    }

    pub(super) fn connection_closed(&self, bytes: Option<(u64, u64)>) {
        let row = {
            let mut state = self.lock();
            if state.said.closed {
                return;
            }
            state.said.closed = true;
            self.closed_row(&state, bytes)
        };
        if let Some(row) = row {
            self.inner.sink.accept(row, None);
        }
    }

    fn closed_row(&self, state: &State, bytes: Option<(u64, u64)>) -> Option<Row> {
        let mut row = state.row.clone();
        self.complete(&mut row, state, End::Complete);
        let mut row = row?;
        row.ts = self.inner.sink.clock().wall();
        row.id = ids::next(row.ts);
        row.event = Text::constant(API_CONNECTION_CLOSED);
        row.properties = bytes.map(|(received, sent)| {
            format!(r#"{{"bytesReceived":{received},"bytesSent":{sent}}}"#).into()
        });
        Some(row)
    }

    /// Says in the row how the request ended. Takes it away if the route is excluded.
    #[inline(never)]
    fn complete(&self, row: &mut Option<Row>, state: &State, end: End) {
        let Some(http) = row.as_mut().and_then(|row| row.exchange.as_mut()) else {
            return;
        };
        let settings = &self.inner.settings;
        if !state.said.announced && settings.excludes(|| (&http.method, http.route.as_deref())) {
            *row = None;
            return;
        }
        let now = self.inner.sink.clock().monotonic();
        let duration = now.saturating_sub(self.started).as_micros();
        let status = self.status();
        http.duration_us = u64::try_from(duration).unwrap_or(u64::MAX);
        http.status_code = status;
        http.outcome = Outcome::of(end, status, state.said.grpc_status);
        if http.outcome != Outcome::Success {
            http.error_code = error_code(state, status, end);
        }
        self.mask(http, state);
    }

    fn status(&self) -> Option<u16> {
        Some(self.status.load(Ordering::Acquire)).filter(|status| *status != 0)
    }

    /// True if the row was not made yet, so that the change shows in it.
    fn update(&self, change: impl FnOnce(&mut State)) -> bool {
        let mut state = self.lock();
        change(&mut state);
        self.finished.load(Ordering::Relaxed) == OPEN
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn exchange(&self) -> Option<&Exchange> {
        self.row.as_ref()?.exchange.as_ref()
    }

    fn exchange_mut(&mut self) -> Option<&mut Exchange> {
        self.row.as_mut()?.exchange.as_mut()
    }

    /// What rules are chosen by.
    fn method_and_route(&self) -> (&str, Option<&str>) {
        let http = self.exchange();
        http.map_or(("", None), |http| (&*http.method, http.route.as_deref()))
    }
}

/// Of a failure: the application's own, or what the end says when there was no response at all.
fn error_code(state: &State, status: Option<u16>, end: End) -> Option<SharedText> {
    let derived = || derived_error_code(end, status, state.said.grpc_status);
    match (&state.said.error_code, status) {
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
