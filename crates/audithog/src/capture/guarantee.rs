//! What a response waits for, by route.

use std::fmt;
use std::time::Duration;

/// What the response to a request waits for. Chosen by `AUDITHOG_GUARANTEE`, and by route on the builder.
///
/// Ordered: a later one promises more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Guarantee {
    /// Nothing. A killed process loses the rows of some milliseconds, a power loss those of a second.
    #[default]
    BestEffort,
    /// Its row committed with fsync, up to a time limit. Then the response goes out, and is counted as late.
    Durable,
    /// Its row committed with fsync. At the time limit the client gets 503, or its connection is broken: never
    /// a complete answer that is not in the ledger. New requests get 503 while the ledger cannot be written.
    FailClosed,
}

/// The guarantees of all requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Guarantees {
    /// Of requests that no rule names, and of those without a route.
    pub(crate) default: Guarantee,
    /// The first that matches decides. None is below the floor.
    pub(crate) routes: Vec<(RoutePattern, Guarantee)>,
    /// Requests without an `api_request_started` row.
    pub(crate) unannounced: Vec<RoutePattern>,
    /// How long a response waits at most.
    pub(crate) timeout: Duration,
}

/// Requests by method and route template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RoutePattern {
    /// None: any method.
    pub(crate) method: Option<String>,
    /// Compared as a whole; a trailing `*` matches any rest.
    pub(crate) route: String,
}

// === impl Guarantee ===

impl Guarantee {
    /// Every guarantee by its name, the weakest first.
    pub(crate) const NAMES: [(&'static str, Self); 3] = [
        ("best-effort", Self::BestEffort),
        ("durable", Self::Durable),
        ("fail-closed", Self::FailClosed),
    ];

    /// As in `AUDITHOG_GUARANTEE`: `best-effort`, `durable`, `fail-closed`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::NAMES[self as usize].0
    }

    /// A response waits for its row.
    pub(crate) fn waits(self) -> bool {
        self != Self::BestEffort
    }
}

impl fmt::Display for Guarantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl Guarantees ===

impl Default for Guarantees {
    fn default() -> Self {
        Self {
            default: Guarantee::default(),
            routes: Vec::new(),
            unannounced: Vec::new(),
            timeout: Duration::from_secs(2),
        }
    }
}

impl Guarantees {
    /// Of a request of this method and route. `request` is not asked where all have the same.
    pub(crate) fn of<'a>(&self, request: impl FnOnce() -> (&'a str, Option<&'a str>)) -> Guarantee {
        if self.routes.is_empty() {
            return self.default;
        }
        let (method, route) = request();
        let rule = route.and_then(|route| {
            let mut rules = self.routes.iter();
            rules.find(|(pattern, _)| pattern.matches(method, route))
        });
        rule.map_or(self.default, |(_, guarantee)| *guarantee)
    }

    /// The strongest that any request can have.
    pub(crate) fn strongest(&self) -> Guarantee {
        let routes = self.routes.iter().map(|(_, guarantee)| *guarantee);
        routes.fold(self.default, Guarantee::max)
    }

    /// The arrival of such a request is a row of its own.
    pub(super) fn announces(&self, method: &str, route: Option<&str>) -> bool {
        let Some(route) = route else { return true };
        !self
            .unannounced
            .iter()
            .any(|pattern| pattern.matches(method, route))
    }
}

// === impl RoutePattern ===

impl RoutePattern {
    pub(crate) fn new(method: Option<&str>, route: impl Into<String>) -> Self {
        Self {
            method: method.map(str::to_ascii_uppercase),
            route: route.into(),
        }
    }

    fn matches(&self, method: &str, route: &str) -> bool {
        let is_route = match self.route.strip_suffix('*') {
            Some(start) => route.starts_with(start),
            None => self.route == route,
        };
        // A router answers HEAD with the handler of GET.
        let is_method = |own: &str| own == method || (own == "GET" && method == "HEAD");
        is_route && self.method.as_deref().is_none_or(is_method)
    }
}

impl fmt::Display for RoutePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = self.method.as_deref().unwrap_or("*");
        write!(f, "{method} {}", self.route)
    }
}
