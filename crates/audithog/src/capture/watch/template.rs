//! The route's template, and the path as it may be stored once it is known, or was not.

use std::sync::atomic::Ordering;

use super::{ARRIVED, CALLED, State, Watch};
use crate::capture::known::Route;
use crate::capture::path;
use crate::record::{Exchange, Text};

impl Watch {
    pub(in crate::capture) fn set_route_if_unknown(&self, template: &str) {
        self.update(|state| {
            if let Some(http) = state.exchange_mut()
                && http.route.is_none()
            {
                let route = Route::new(template, &self.inner.settings);
                http.route = Some(route.text);
                state.has_secret = route.has_secret;
                state.alignment = route.alignment.behind_a_prefix();
            }
        });
    }

    /// The request has come to a tap. `template` is none where the router matched none.
    #[cfg(feature = "axum")]
    pub(in crate::capture) fn tapped(&self, template: Option<&str>) {
        self.way.store(super::TAPPED, Ordering::Relaxed);
        let Some(template) = template else {
            return;
        };
        let is_tapped = &self.inner.is_tapped;
        // A look first: this is on the way of every request.
        if !self.is_named && !is_tapped.load(Ordering::Relaxed) {
            is_tapped.store(true, Ordering::Relaxed);
        }
        self.set_route_if_unknown(template);
    }

    /// Puts the path into the form in which it is stored.
    pub(super) fn mask(&self, http: &mut Exchange, state: &State) {
        if http.route.is_none() && self.is_before_its_route() {
            http.path = Text::default();
            return;
        }
        let may_hide = state.has_secret || !state.said.masked.is_empty();
        if !may_hide && self.path_fits {
            return;
        }
        let settings = &self.inner.settings;
        let route = http.route.as_deref().filter(|_| may_hide);
        http.path = path::stored(&http.path, route, state.alignment, |name| {
            state.said.masked.iter().any(|masked| *masked == *name)
                || route.is_some_and(|route| settings.masks(route, name))
        });
    }

    /// The request has not come as far as to the router that knows its route, so that anything in its path may be a secret.
    fn is_before_its_route(&self) -> bool {
        !self.is_named
            && match self.way.load(Ordering::Relaxed) {
                ARRIVED => true,
                // Or nobody will tell one.
                CALLED => self.inner.is_tapped.load(Ordering::Relaxed),
                _ => false,
            }
    }
}
