//! The route's template, and the path as it may be stored once it is known, or was not.

use std::sync::atomic::Ordering;

use super::{ARRIVED, CALLED, State, Watch};
use crate::capture::known::Route;
use crate::capture::path::{self, Alignment};
use crate::record::{Exchange, Text};

impl Watch {
    /// A router says which of its routes it took. The first one that does is the outermost: its template is the row's. Those of
    /// routers within may still name secrets.
    pub(in crate::capture) fn tell_route(&self, template: &str) {
        self.update(|state| {
            let alignment = state.alignment;
            let Some(http) = state.exchange_mut() else {
                return;
            };
            let route = |template| {
                let mut route = Route::new(template, &self.inner.settings);
                route.alignment = route.alignment.behind_a_prefix();
                route
            };
            match http.route.as_deref() {
                None => {
                    let route = route(template);
                    http.route = Some(route.text);
                    state.has_secret = route.has_secret;
                    state.alignment = route.alignment;
                }
                Some(first) if first == template => {}
                // It matched the whole path, and each of its segments is the application's own text.
                Some(first) if alignment == Alignment::Known && !path::has_params(first) => {}
                Some(first) => {
                    // axum puts the outer template in front, which masks its own secrets.
                    let own = template.strip_prefix(first);
                    let own = own.filter(|own| own.starts_with('/'));
                    let route = route(own.unwrap_or(template));
                    let told = &mut state.said.inner_routes;
                    // The same text may stand for two templates that were cut.
                    let says_this = |known: &Route| {
                        (&known.text, known.has_secret) == (&route.text, route.has_secret)
                    };
                    if !told.iter().any(says_this) {
                        told.push(route);
                    }
                }
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
        self.tell_route(template);
    }

    /// Puts the path into the form in which it is stored.
    pub(super) fn mask(&self, http: &mut Exchange, state: &State) {
        if http.route.is_none() && self.is_before_its_route() {
            http.path = Text::default();
            return;
        }
        let said = &state.said;
        let may_hide = |has_secret| has_secret || !said.masked.is_empty();
        if !may_hide(state.has_secret) && said.inner_routes.is_empty() && self.path_fits {
            return;
        }
        let first = http.route.as_deref().filter(|_| may_hide(state.has_secret));
        let inner = said.inner_routes.iter();
        let inner = inner
            .filter(|route| may_hide(route.has_secret))
            .map(|route| (&*route.text, route.alignment));
        let routes = first.map(|route| (route, state.alignment));
        let routes = routes.into_iter().chain(inner);
        let routes = routes.map(|(route, alignment)| match self.path_is_cut {
            true => (route, Alignment::Cut),
            false => (route, alignment),
        });
        let settings = &self.inner.settings;
        http.path = path::stored(&http.path, routes, |route, name| {
            said.masked.iter().any(|masked| *masked == *name) || settings.masks(route, name)
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
