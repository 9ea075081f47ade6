//! Where requests are seen: what a request brings along, and where its row goes.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::client_ip::client_ip;
use super::guarantee::Guarantee;
use super::known::Known;
use super::lines::{Found, Headers, Lines};
use super::registry::Registry;
use super::settings::{CaptureSettings, SentId};
use super::trace_context;
use super::waits::{Answers, Waits};
use super::watch::{Guard, Watch};
use crate::books::{RoomCall, Unplaced, Waiter};
use crate::clock::Clock;
use crate::record::{End, Row};

/// Where finished rows go. The logger implements it.
///
/// Called on request tasks and in `Drop`, so it never blocks and never panics.
pub(crate) trait RowSink: Send + Sync + 'static {
    /// Takes a row, or counts its loss. `waiter` is told once what became of it.
    fn accept(&self, row: Row, waiter: Option<Waiter>);

    /// Takes the row of a response that can wait, which leaves none in `row`; or counts its loss. Where the full-queue policy is
    /// to wait, a row without room comes back, and what `room` makes is called once there may be some.
    fn offer(
        &self,
        row: &mut Option<Row>,
        waiter: Option<Waiter>,
        room: &dyn Fn() -> RoomCall,
    ) -> Result<(), Box<Unplaced>>;

    /// A row that came back is not offered again.
    fn forget(&self, wish: u64);

    /// A request arrived: `seen` + 1. Followed by exactly one `accept` of an `api_request` row, or by `request_excluded`.
    fn request_seen(&self);

    /// A request that was seen ended and gets no row, because its route is excluded.
    fn request_excluded(&self);

    /// A request of this guarantee must not be handled now: its rows could not be kept.
    fn refuses(&self, guarantee: Guarantee) -> bool;

    /// A request that was seen is refused: its row counts as accepted and as a loss.
    fn request_refused(&self);

    /// [`refuses`](Self::refuses) may say yes to requests that are not fail-closed.
    fn may_refuse(&self) -> bool;

    /// [`offer`](Self::offer) may give a row back.
    fn may_give_back(&self) -> bool;

    fn answers(&self) -> &Answers;

    /// True for the first caller: an event has a name of audithog's own rows, which is worth one line in the log.
    fn tell_of_own_name(&self) -> bool;

    fn clock(&self) -> &Clock;
}

/// Watches requests. Clones share everything.
///
/// It holds the sink, so the sink must not hold it: the logger's handle holds both.
#[derive(Clone)]
pub(crate) struct Recorder(Arc<Owner>);

/// Of what watches share. They hold it too, also those that the registry keeps: it has to be told that no more come.
struct Owner(Arc<Inner>);

pub(super) struct Inner {
    pub(super) settings: CaptureSettings,
    pub(super) sink: Arc<dyn RowSink>,
    pub(super) registry: Registry,
    pub(super) waits: Waits,
    /// No request is ever refused, and none is announced.
    pub(super) admits_all: bool,
    /// No response ever waits: neither for its row nor for room.
    pub(super) holds_none: bool,
    /// Some request has got its route from a tap: the layer is around a router that tells its routes.
    pub(super) is_tapped: AtomicBool,
    told_of_no_peer: AtomicBool,
    sees_closes: AtomicBool,
}

/// What a server says about a request that has just arrived.
pub(crate) struct Arrival<'a, H> {
    pub(crate) method: &'a str,
    /// As it was sent, without the query.
    pub(crate) path: &'a str,
    /// The route template, if routing has happened.
    pub(crate) route: Option<&'a str>,
    /// The path is the name of a remote procedure, and has no secret. Any other may have one, as long as its route is unknown.
    pub(crate) is_call: bool,
    /// The router may have seen less of the path than `path`.
    pub(crate) is_stripped: bool,
    /// The other end of the connection.
    pub(crate) peer: Option<IpAddr>,
    pub(crate) headers: &'a H,
}

/// What the headers say, as far as the peer is believed.
pub(super) struct Sent {
    pub(super) ip: Option<IpAddr>,
    /// The peer is a trusted proxy.
    pub(super) trusted: bool,
    /// From a trusted proxy only.
    pub(super) request_id: Option<SentId>,
    pub(super) trace_id: Option<[u8; 16]>,
}

// === impl Recorder ===

impl Recorder {
    pub(crate) fn new(settings: CaptureSettings, sink: Arc<dyn RowSink>) -> Self {
        let strongest = settings.guarantees.strongest();
        Self(Arc::new(Owner(Arc::new(Inner {
            admits_all: strongest != Guarantee::FailClosed && !sink.may_refuse(),
            holds_none: !strongest.waits() && !sink.may_give_back(),
            waits: Waits::new(settings.guarantees.timeout),
            settings,
            sink,
            registry: Registry::default(),
            is_tapped: AtomicBool::new(false),
            told_of_no_peer: AtomicBool::new(false),
            sees_closes: AtomicBool::new(false),
        }))))
    }

    /// Starts the thread that ends waits. Without it they have no limit.
    ///
    /// # Errors
    ///
    /// The thread could not be started.
    pub(crate) fn keep_time(&self) -> io::Result<()> {
        self.inner().waits.keep_time()
    }

    /// Begins to watch a request: counts it as seen and as in progress.
    pub(crate) fn start<H: Headers>(&self, arrival: &Arrival<'_, H>) -> Guard {
        let inner = self.inner();
        let clock = inner.sink.clock();
        let times = clock.now();
        let lines = Lines::of(arrival.headers, inner.settings.client_ip_header.name());
        let mut sent = Sent::by(arrival.peer, &lines, &inner.settings);
        let agent = lines.agent();
        inner.sink.request_seen();
        let idle = || Watch::idle(Arc::clone(inner));
        let begin = |watch: &mut Watch, ticket, known: &mut Known| {
            watch.begin(ticket, times, arrival, agent, &mut sent, known);
        };
        Guard::new(inner.registry.insert(idle, begin))
    }

    /// Ends every request that is still open. A request whose row is being made right now ends on its own: the rows of all
    /// requests that were open when this was called have been accepted once [`Recorder::in_progress`] is 0.
    /// Returns how many it has ended.
    pub(crate) fn finish_all(&self, end: End) -> u64 {
        let open = self.inner().registry.open();
        open.iter().filter(|watch| watch.end(end)).count() as u64
    }

    /// Requests that were seen and whose row has not been accepted.
    pub(crate) fn in_progress(&self) -> usize {
        self.inner().registry.len()
    }

    fn inner(&self) -> &Arc<Inner> {
        &self.0.0
    }

    /// True for the first caller: the rest of the process's life it would only be noise.
    pub(crate) fn tell_of_no_peer(&self) -> bool {
        !self.inner().told_of_no_peer.swap(true, Ordering::Relaxed)
    }

    /// Connections are watched from here on. True for the first caller.
    pub(crate) fn sees_closes(&self) -> bool {
        !self.inner().sees_closes.swap(true, Ordering::Relaxed)
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.registry.retire();
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder")
            .field("settings", &self.inner().settings)
            .field("in_progress", &self.in_progress())
            .finish_non_exhaustive()
    }
}

// === impl Sent ===

impl Sent {
    /// Sampling may believe the trace id.
    pub(super) fn trace_trusted(&self) -> bool {
        self.trusted && self.trace_id.is_some()
    }

    pub(super) fn by<H: Headers>(
        peer: Option<IpAddr>,
        lines: &Lines<'_, H>,
        settings: &CaptureSettings,
    ) -> Self {
        let proxies = &settings.trusted_proxies;
        let trusted = peer.is_some_and(|peer| proxies.contains(peer));
        let header = &settings.client_ip_header;
        let client = match lines.forwarded() {
            Found::None => client_ip(peer, trusted, proxies, header, None),
            Found::One(line) => client_ip(peer, trusted, proxies, header, Some(line)),
            Found::Several => client_ip(peer, trusted, proxies, header, lines.all_forwarded()),
        };
        let sent_id = if trusted { lines.request_id() } else { None };
        let trace_id = lines.traceparent().and_then(trace_context::trace_id);
        Self {
            ip: client.ip,
            trusted,
            request_id: sent_id.and_then(SentId::read),
            trace_id: trace_id.or_else(trace_context::current),
        }
    }
}
