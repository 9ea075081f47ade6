//! A service that is not called yet: it is not ready, or the request's arrival is being committed.

use std::any::Any;
use std::task::{Context, Poll, ready};

use http::Request;
use tower_service::Service;

use super::future::Watching;
use crate::capture::{Announcement, Guard};

/// A call to be made.
pub(super) struct Ahead<S, B> {
    service: S,
    /// It was found ready.
    ready: bool,
    /// Until it is made.
    request: Option<Request<B>>,
    /// None if another layer watches the request.
    watching: Option<Watching>,
    /// Its row comes before the service is asked for anything.
    announcement: Option<Announcement>,
}

/// What became of the call.
pub(super) enum Called<F, E> {
    Watched(F, Watching),
    PassedThrough(F),
    Panicked(Guard, Box<dyn Any + Send>),
    /// The service will not be ready.
    Failed(Option<Watching>, E),
    /// It was not made: the row of its arrival did not come, or a shutdown has ended the request.
    Not(Watching),
}

impl<S, B> Ahead<S, B> {
    pub(super) fn new(
        service: S,
        ready: bool,
        request: Request<B>,
        watching: Option<Watching>,
        announcement: Option<Announcement>,
    ) -> Self {
        Self {
            service,
            ready,
            request: Some(request),
            watching,
            announcement,
        }
    }
}

impl<S: Service<Request<B>>, B> Ahead<S, B> {
    /// Not to be polled again once it is ready.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Called<S::Future, S::Error>> {
        if let Some(announcement) = &mut self.announcement {
            let kept = ready!(announcement.poll(cx));
            self.announcement = None;
            if !kept && let Some(watching) = self.watching.take() {
                return Poll::Ready(Called::Not(watching));
            }
        }
        let Some(mut watching) = self.watching.take() else {
            return self.pass_through(cx);
        };
        // Ended by a shutdown meanwhile: no row would tell of what the handler does.
        if watching.guard.is_finished() {
            return Poll::Ready(Called::Not(watching));
        }
        if !self.ready {
            match watching.guard.try_run(|| self.service.poll_ready(cx)) {
                Ok(Poll::Ready(Ok(()))) => {}
                Ok(Poll::Ready(Err(error))) => {
                    return Poll::Ready(Called::Failed(Some(watching), error));
                }
                Ok(Poll::Pending) => {
                    self.watching = Some(watching);
                    return Poll::Pending;
                }
                Err(panic) => return Poll::Ready(Called::Panicked(watching.guard, panic)),
            }
        }
        let Some(request) = self.request.take() else {
            return Poll::Pending;
        };
        Poll::Ready(
            match watching.guard.try_call(|| self.service.call(request)) {
                Ok(inner) => Called::Watched(inner, watching),
                Err(panic) => Called::Panicked(watching.guard, panic),
            },
        )
    }

    fn pass_through(&mut self, cx: &mut Context<'_>) -> Poll<Called<S::Future, S::Error>> {
        Poll::Ready(match ready!(self.service.poll_ready(cx)) {
            Ok(()) => match self.request.take() {
                Some(request) => Called::PassedThrough(self.service.call(request)),
                None => return Poll::Pending,
            },
            Err(error) => Called::Failed(None, error),
        })
    }
}
