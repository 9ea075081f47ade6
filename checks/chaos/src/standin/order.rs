//! What the stand-in's process can be told. Also what the schedule draws.

use std::path::PathBuf;

use audithog::testing::standin::V1Route;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// Refuses connections.
    Down,
    /// Listens again, on the same port.
    Up,
    /// Ends every fault.
    Heal,
    /// Takes requests and never answers.
    Hang,
    /// Stores, and replies one byte per pause.
    Drip { pause_ms: u64 },
    /// Stores, and resets the connection: a lost acknowledgement.
    LoseReplies { chance: f64, seed: u64 },
    /// Resets the connection when a request begins.
    ResetUnread { chance: f64, seed: u64 },
    /// Answers with this status.
    Status {
        status: u16,
        retry_after: Option<u32>,
        chance: f64,
        seed: u64,
    },
    /// Answers 200 with something that PostHog never said.
    Garbage { chance: f64, seed: u64 },
    /// Answers 413 to requests of more events.
    TooManyEvents { above: usize },
    /// Answers 413 to larger requests.
    TooManyBytes { above: usize },
    /// Refuses a whole batch for one row in it.
    Poison { status: u16 },
    /// Judges events one by one.
    Verdicts { seed: u64 },
    /// Capture v1 is like this.
    V1 { route: V1 },
    /// The project is over its quota.
    OverQuota,
    /// Keeps only so many events and requests from now on.
    Keep { events: usize },
    /// Says how many copies it took.
    Count,
    /// Writes everything it took into a file.
    Book { path: PathBuf },
}

/// How capture v1 shows itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum V1 {
    Present,
    NotFound,
    LoginRedirect,
    CsrfForbidden,
    HtmlPage,
}

impl From<V1> for V1Route {
    fn from(v1: V1) -> Self {
        match v1 {
            V1::Present => Self::Present,
            V1::NotFound => Self::NotFound,
            V1::LoginRedirect => Self::LoginRedirect,
            V1::CsrfForbidden => Self::CsrfForbidden,
            V1::HtmlPage => Self::HtmlPage,
        }
    }
}
