//! One fault: an effect, and the requests it applies to.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::{HeaderName, HeaderValue};

use super::event::CapturedEvent;
use super::exchange::Route;
use super::reply::Reply;

/// Something that goes wrong with a request: an effect, and the requests it applies to.
///
/// Without further conditions a fault applies to every request on a capture route, v0 or v1. Conditions add up: all must
/// hold. Unless said otherwise the events of a faulted request are **not** stored; [`Fault::after_storing`] changes that.
///
/// Queue a fault for one request with [`PostHogStandIn::push_fault`](super::PostHogStandIn::push_fault), or let it
/// stand with [`PostHogStandIn::stand_fault`](super::PostHogStandIn::stand_fault).
pub struct Fault {
    pub(super) effect: Effect,
    scope: Scope,
    chance: Option<Chance>,
    above_bytes: Option<usize>,
    above_events: Option<usize>,
    poison: Option<Box<Poison>>,
    pub(super) stores: bool,
}

type Poison = dyn Fn(&CapturedEvent) -> bool + Send;

#[derive(Debug, Clone)]
pub(super) enum Effect {
    Answer(Reply),
    Hang,
    Close,
    Reset,
    ResetUnread,
    Drip(Duration),
}

#[derive(Debug, Clone, Copy)]
enum Scope {
    Capture,
    V0,
    V1,
    Query,
    Private,
}

impl Scope {
    fn covers(self, route: Route) -> bool {
        match self {
            Self::Capture => route.is_capture(),
            Self::V0 => matches!(route, Route::V0Batch | Route::V0Event),
            Self::V1 => route == Route::V1,
            Self::Query => route == Route::Query,
            Self::Private => route == Route::Private,
        }
    }
}

impl Fault {
    fn new(effect: Effect) -> Self {
        Self {
            effect,
            scope: Scope::Capture,
            chance: None,
            above_bytes: None,
            above_events: None,
            poison: None,
            stores: false,
        }
    }

    /// Answers with this status and an empty body; see [`Fault::header`] and [`Fault::body`].
    ///
    /// # Panics
    ///
    /// When `status` is outside 200..=999.
    #[must_use]
    pub fn status(status: u16) -> Self {
        let code = StatusCode::from_u16(status).ok();
        let Some(code) = code.filter(|code| code.as_u16() >= 200) else {
            panic!("{status} is no final HTTP status");
        };
        Self::new(Effect::Answer(Reply::empty(code)))
    }

    /// Answers 200 with a body that is neither JSON nor anything else.
    #[must_use]
    pub fn garbage() -> Self {
        Self::status(200).body("\u{0}<not { json")
    }

    /// Takes the request and never answers; the connection stays open until the client or the stand-in ends it.
    #[must_use]
    pub fn hang() -> Self {
        Self::new(Effect::Hang)
    }

    /// Takes the request and closes the connection without a reply.
    #[must_use]
    pub fn close() -> Self {
        Self::new(Effect::Close)
    }

    /// Takes the request and resets the connection (RST).
    #[must_use]
    pub fn reset() -> Self {
        Self::new(Effect::Reset)
    }

    /// Resets the connection when the head of the request has arrived, with its body unread. Conditions on bytes or
    /// events never hold for this fault.
    #[must_use]
    pub fn reset_before_reading() -> Self {
        Self::new(Effect::ResetUnread)
    }

    /// Processes the request as usual, events stored, then resets the connection: the acknowledgement is lost.
    #[must_use]
    pub fn lose_acknowledgement() -> Self {
        Self::reset().after_storing()
    }

    /// Processes the request as usual, events stored, and sends the reply's body one byte per `pause`.
    ///
    /// # Panics
    ///
    /// When `pause` is zero.
    #[must_use]
    pub fn slow_reply(pause: Duration) -> Self {
        assert!(!pause.is_zero(), "a slow reply needs a pause");
        Self::new(Effect::Drip(pause)).after_storing()
    }

    /// Adds a header to the answer of [`Fault::status`] or [`Fault::garbage`]; other faults have no answer of their own.
    ///
    /// # Panics
    ///
    /// When the name or the value is not valid in HTTP.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let (name, value) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>());
        let (Ok(name), Ok(value)) = (name, value) else {
            panic!("the header of a fault is not valid in HTTP");
        };
        if let Effect::Answer(reply) = &mut self.effect {
            reply.headers.insert(name, value);
        }
        self
    }

    /// The body of the answer of [`Fault::status`]; other faults have no answer of their own.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        if let Effect::Answer(reply) = &mut self.effect {
            reply.body = body.into();
        }
        self
    }

    /// Only for capture v0.
    #[must_use]
    pub fn on_v0(mut self) -> Self {
        self.scope = Scope::V0;
        self
    }

    /// Only for capture v1.
    #[must_use]
    pub fn on_v1(mut self) -> Self {
        self.scope = Scope::V1;
        self
    }

    /// Only for the read-back API.
    #[must_use]
    pub fn on_query(mut self) -> Self {
        self.scope = Scope::Query;
        self
    }

    /// Only for the private API, without queries.
    #[must_use]
    pub fn on_private(mut self) -> Self {
        self.scope = Scope::Private;
        self
    }

    /// Only with this probability (0 to 1). The same seed gives the same series of decisions.
    #[must_use]
    pub fn with_chance(mut self, probability: f64, seed: u64) -> Self {
        self.chance = Some(Chance {
            probability,
            state: seed,
        });
        self
    }

    /// Only for a body of more than this many bytes as sent, like a proxy's limit.
    #[must_use]
    pub fn above_bytes(mut self, bytes: usize) -> Self {
        self.above_bytes = Some(bytes);
        self
    }

    /// Only for a request of more than this many events.
    #[must_use]
    pub fn above_events(mut self, events: usize) -> Self {
        self.above_events = Some(events);
        self
    }

    /// Only for a request with an event that `is_poison` says yes to.
    #[must_use]
    pub fn for_event(
        mut self,
        is_poison: impl Fn(&CapturedEvent) -> bool + Send + 'static,
    ) -> Self {
        self.poison = Some(Box::new(is_poison));
        self
    }

    /// The request is processed and its events are stored before the fault shows.
    #[must_use]
    pub fn after_storing(mut self) -> Self {
        self.stores = true;
        self
    }

    pub(super) fn covers(&self, route: Route) -> bool {
        self.scope.covers(route)
    }

    pub(super) fn applies_unread(&mut self, route: Route) -> bool {
        matches!(self.effect, Effect::ResetUnread)
            && self.above_bytes.is_none()
            && self.above_events.is_none()
            && self.poison.is_none()
            && self.scope.covers(route)
            && self.chance.as_mut().is_none_or(Chance::hits)
    }

    pub(super) fn applies(&mut self, facts: &Facts<'_>) -> bool {
        !matches!(self.effect, Effect::ResetUnread)
            && self.scope.covers(facts.route)
            && self.above_bytes.is_none_or(|n| facts.raw_bytes > n)
            && self.above_events.is_none_or(|n| facts.events.len() > n)
            && self
                .poison
                .as_ref()
                .is_none_or(|is_poison| facts.events.iter().any(|event| is_poison(event)))
            && self.chance.as_mut().is_none_or(Chance::hits)
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fault")
            .field("effect", &self.effect)
            .field("scope", &self.scope)
            .field("chance", &self.chance)
            .field("above_bytes", &self.above_bytes)
            .field("above_events", &self.above_events)
            .field("for_event", &self.poison.is_some())
            .field("stores", &self.stores)
            .finish()
    }
}

/// A seeded coin: SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Debug, Clone)]
struct Chance {
    probability: f64,
    state: u64,
}

impl Chance {
    fn hits(&mut self) -> bool {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        // 53 bits are what an f64 holds exactly.
        let unit = (bits >> 11) as f64 / (1_u64 << 53) as f64;
        unit < self.probability
    }
}

/// What faults are chosen by.
pub(super) struct Facts<'a> {
    pub(super) route: Route,
    pub(super) raw_bytes: usize,
    pub(super) events: &'a [Arc<CapturedEvent>],
}
