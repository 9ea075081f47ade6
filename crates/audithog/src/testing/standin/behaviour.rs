//! What the stand-in is like, as opposed to what goes wrong (see `faults`).

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

/// How the stand-in behaves. Change it at any time with [`PostHogStandIn::configure`](super::PostHogStandIn::configure).
///
/// The default is a current PostHog with capture v1, within quota, on which every well-shaped token is a project's.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Behaviour {
    /// Whether capture v1 exists. Default: it does.
    pub v1: V1Route,
    /// Which version of capture v1 answers. Default: the newest.
    pub generation: Generation,
    /// Whether the project is over its quota. Default: it is not.
    pub quota: Quota,
    /// The tokens that belong to a project; events for any other are answered like all others and thrown away.
    /// Default `None`: every well-shaped token is known.
    pub known_tokens: Option<BTreeSet<String>>,
    /// Personal keys, each with its scopes (`query:read`, `*`). Default `None`: every key that begins with `phx_` may do all.
    pub personal_keys: Option<BTreeMap<String, BTreeSet<String>>>,
    /// The plan has no tags: those that are given are ignored. Default: it has.
    pub no_tags: bool,
    /// An alert must tell somebody, as older servers want. Default: it need not.
    pub alerts_need_users: bool,
    /// Size limits, in bytes.
    pub limits: Limits,
    /// How many events, and how many requests, are kept; the oldest go first. Counts stay exact, but a copy of an event
    /// that was let go is no longer recognised as a duplicate. Default `None`: everything is kept.
    pub keep: Option<usize>,
    /// What the server's clock shows. Default `None`: the system's time.
    pub now: Option<Timestamp>,
}

impl Behaviour {
    pub(super) fn now(&self) -> Timestamp {
        self.now.unwrap_or_else(Timestamp::now)
    }

    pub(super) fn knows(&self, token: &str) -> bool {
        self.known_tokens
            .as_ref()
            .is_none_or(|known| known.contains(token))
    }
}

/// Whether capture v1 exists, and how its absence shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum V1Route {
    /// It exists.
    #[default]
    Present,
    /// 404: capture runs without v1.
    NotFound,
    /// 302 to `/login`, which answers 200 with a page: an old installation that routes unknown paths to its web application.
    LoginRedirect,
    /// 403 with a CSRF page, from the same.
    CsrfForbidden,
    /// 200 with an HTML page, from the same.
    HtmlPage,
}

/// Versions of capture v1 that answer differently.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Generation {
    /// Over quota is 429, a placeholder distinct id is dropped as `malformed_distinct_id`, a scoped quota is `limited`,
    /// an option of the wrong type refuses the batch.
    Oldest,
    /// Over quota is 402 with a link, a placeholder distinct id is dropped as `invalid_distinct_id`.
    Middle,
    /// Over quota is 402, a placeholder distinct id is stored with the detail `person_processing_disabled`.
    #[default]
    Newest,
}

/// The project's billing limits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Quota {
    /// Nothing is over quota.
    #[default]
    Within,
    /// Every event is: v0 says 200 and drops, v1 refuses the request.
    Exceeded,
    /// Only events of these kinds are.
    ExceededFor(Vec<ScopedQuota>),
}

/// Kinds of events with a quota of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ScopedQuota {
    /// `$exception`
    Exceptions,
    /// `survey sent`, `survey shown`, `survey dismissed`
    SurveyResponses,
    /// `$ai_…`
    LlmEvents,
}

impl ScopedQuota {
    fn covers(self, event: &str) -> bool {
        match self {
            Self::Exceptions => event == "$exception",
            Self::SurveyResponses => {
                matches!(event, "survey sent" | "survey shown" | "survey dismissed")
            }
            Self::LlmEvents => event.starts_with("$ai_"),
        }
    }

    fn detail(self) -> &'static str {
        match self {
            Self::Exceptions => "exceptions_over_quota",
            Self::SurveyResponses => "survey_responses_over_quota",
            Self::LlmEvents => "llm_events_over_quota",
        }
    }
}

impl Quota {
    /// The detail under which a scoped quota refuses this event.
    pub(super) fn scoped_refusal(&self, event: &str) -> Option<&'static str> {
        let Self::ExceededFor(kinds) = self else {
            return None;
        };
        kinds
            .iter()
            .find(|kind| kind.covers(event))
            .map(|kind| kind.detail())
    }
}

/// Size limits in bytes. The defaults are PostHog's.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Limits {
    /// A v0 `/batch` body, as sent and decompressed. Default 20 MiB.
    pub v0_batch: usize,
    /// A body on the other v0 routes, as sent and decompressed. Default 2 MiB.
    pub v0_event: usize,
    /// A v1 body as sent. Default 10 MiB.
    pub v1_body: usize,
    /// A v1 body decompressed. Default 50 MiB.
    pub v1_decompressed: usize,
    /// One event, as a JSON string inside JSON (every `"` and `\` counts twice). Default 1,000,000: the Kafka
    /// producer's `message.max.bytes`.
    pub event: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            v0_batch: 20 << 20,
            v0_event: 2 << 20,
            v1_body: 10 << 20,
            v1_decompressed: 50 << 20,
            event: 1_000_000,
        }
    }
}
