//! What a client can ask for.

use serde::{Deserialize, Serialize};

/// The ways in which a request can go; see the server's routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Kind {
    Quick,
    Order,
    Deed,
    Big,
    Chunks,
    Slow,
    Panic,
    Nowhere,
    Poison,
    Stream,
    Socket,
}

impl Kind {
    /// One at random; the weights are those of a service with few surprises.
    ///
    /// Without `patience` none that waits for the disk: while that hangs, somebody has to go on asking.
    pub(super) fn draw(rng: &mut fastrand::Rng, patience: bool) -> Self {
        match rng.u32(..100) {
            0..42 => Self::Quick,
            42..64 => Self::Order,
            64..70 if patience => Self::Deed,
            64..70 => Self::Quick,
            70..74 => Self::Big,
            74..83 => Self::Chunks,
            83..90 => Self::Slow,
            90..93 => Self::Panic,
            93..97 => Self::Nowhere,
            _ => Self::Poison,
        }
    }

    pub(super) fn method(self) -> &'static str {
        match self {
            Self::Order | Self::Deed => "POST",
            _ => "GET",
        }
    }

    /// The path, as the row has it.
    pub(crate) fn path(self, id: &str) -> String {
        let room = match self {
            Self::Quick => "quick",
            Self::Order => "orders",
            Self::Deed => "deeds",
            Self::Big => "big",
            Self::Chunks => "chunks",
            Self::Slow => "slow",
            Self::Panic => "panic",
            Self::Nowhere => "nowhere",
            Self::Poison => "poison",
            Self::Stream => "stream",
            Self::Socket => "socket",
        };
        format!("/{room}/{id}")
    }

    pub(super) fn query(self, rng: &mut fastrand::Rng) -> String {
        match self {
            Self::Slow => format!("?ms={}", rng.u32(5..300)),
            _ => String::new(),
        }
    }
}
