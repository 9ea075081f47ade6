//! The current request: which request this thread is working on right now.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::handle::RequestHandle;
use crate::record::Actor;

thread_local! {
    static CURRENT: Cell<Option<RequestHandle>> = const { Cell::new(None) };
}

/// The request that this thread is working on, if there is one.
///
/// Known inside handlers and middleware below the layer, while a response body is polled, and while either is
/// dropped before its end, as when the client leaves. Not known
/// inside a task that they spawn or on a thread that they hand work to: move a [`RequestHandle`]
/// there, or wrap the future with [`RequestHandle::scope`].
#[must_use]
pub fn current() -> Option<RequestHandle> {
    look(RequestHandle::clone)
}

/// Shows the current request. None also while the thread is being torn down.
fn look<T>(at: impl FnOnce(&RequestHandle) -> T) -> Option<T> {
    let look = |current: &Cell<Option<RequestHandle>>| {
        let handle = current.take()?;
        let seen = at(&handle);
        current.set(Some(handle));
        Some(seen)
    };
    CURRENT.try_with(look).ok().flatten()
}

/// Says who made the [`current`] request, for middleware and handlers that have no [`RequestHandle`] at hand.
///
/// Returns false if there is no current request, or its row was made before: nothing is recorded then.
///
/// ```
/// # use audithog::Actor;
/// // In the middleware that checks credentials, once it knows whose they are:
/// audithog::set_actor(Actor::user("u_17").role_in("admin", "acme"));
/// ```
pub fn set_actor(actor: Actor) -> bool {
    look(|request| request.set_actor(actor)).unwrap_or(false)
}

/// Makes `handle` the current request until the guard is dropped, which brings back the one before, also when
/// a panic unwinds.
pub(super) fn enter(handle: RequestHandle) -> Entered {
    Entered {
        before: swap(Some(handle)),
    }
}

#[must_use = "the context ends when this is dropped"]
pub(super) struct Entered {
    before: Option<RequestHandle>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        swap(self.before.take());
    }
}

/// Makes `handle` the current request, and gives the one before.
pub(super) fn swap(handle: Option<RequestHandle>) -> Option<RequestHandle> {
    CURRENT
        .try_with(|current| current.replace(handle))
        .unwrap_or(None)
}

pin_project! {
    /// A future that works on a request: made by [`RequestHandle::scope`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct Scoped<F> {
        handle: RequestHandle,
        #[pin]
        inner: F,
    }
}

impl<F> Scoped<F> {
    pub(super) fn new(handle: RequestHandle, inner: F) -> Self {
        Self { handle, inner }
    }
}

impl<F: Future> Future for Scoped<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let _entered = enter(this.handle.clone());
        this.inner.poll(cx)
    }
}
