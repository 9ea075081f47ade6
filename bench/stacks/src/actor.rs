//! Stands in for the application's authentication: an inner middleware that takes the actor from headers and leaves it
//! with the request, as a handler would want it. It is the service's own and part of every stack, bare included; stacks
//! with an audit are told of the actor besides.

use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use axum::extract::Request;
use http::{HeaderMap, HeaderValue};
use tower_layer::Layer;
use tower_service::Service;

/// Who made a request.
#[derive(Clone, Debug)]
pub struct Actor {
    /// `x-user-id`.
    pub user: HeaderValue,
    /// `x-user-role`.
    pub role: HeaderValue,
    /// `x-org-id`.
    pub org: HeaderValue,
}

impl Actor {
    /// From the headers, if all three are there.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        Some(Self {
            user: headers.get("x-user-id")?.clone(),
            role: headers.get("x-user-role")?.clone(),
            org: headers.get("x-org-id")?.clone(),
        })
    }
}

/// How an inner middleware tells an outer one, in the peers: the outer puts a slot into the request's extensions.
#[derive(Clone, Debug, Default)]
pub struct Slot(Arc<OnceLock<Actor>>);

impl Slot {
    /// What was said.
    #[must_use]
    pub fn get(&self) -> Option<&Actor> {
        self.0.get()
    }

    fn set(&self, actor: Actor) {
        // The first one stays.
        let _ = self.0.set(actor);
    }
}

/// Tells peers.
pub fn into_slot(request: &Request, actor: &Actor) {
    if let Some(slot) = request.extensions().get::<Slot>() {
        slot.set(actor.clone());
    }
}

/// For stacks without an audit.
pub fn tell_nobody(_: &Request, _: &Actor) {}

/// The authentication; its function is called with each request that has an actor. No boxes: it is no part of what is
/// measured.
#[derive(Clone, Copy, Debug)]
pub struct Authenticate<F>(pub F);

impl<S, F: Clone> Layer<S> for Authenticate<F> {
    type Service = Authenticated<S, F>;

    fn layer(&self, inner: S) -> Self::Service {
        Authenticated {
            inner,
            tell: self.0.clone(),
        }
    }
}

/// See [`Authenticate`].
#[derive(Clone, Debug)]
pub struct Authenticated<S, F> {
    inner: S,
    tell: F,
}

impl<S, F> Service<Request> for Authenticated<S, F>
where
    S: Service<Request>,
    F: Fn(&Request, &Actor),
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> S::Future {
        if let Some(actor) = Actor::from_headers(request.headers()) {
            (self.tell)(&request, &actor);
            request.extensions_mut().insert(actor);
        }
        self.inner.call(request)
    }
}
