//! Everything that audithog parses, behind one door for fuzzers: bytes in, a panic out if a promise is broken.
//!
//! Each room that parses has a `fuzz.rs` with its targets. The corpus in `fuzz/corpus` holds inputs that once led
//! somewhere new, findings among them; an ordinary test runs all of it. `cargo xtask fuzz` looks for more. Compiled for
//! tests and under `--cfg fuzzing` only: no build of the library has it.

mod input;
mod json;
mod rows;
#[cfg(test)]
mod tests;

pub(crate) use input::Input;
pub(crate) use json::{is_clean, parse_unique};
pub(crate) use rows::row;

/// A parser, and what must hold for every input.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// As `cargo xtask fuzz` takes it; also the name of its corpus.
    pub name: &'static str,
    /// # Panics
    ///
    /// If the parser does, or if what it made of the bytes breaks a promise.
    pub run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target {
        name: "client_ip",
        run: crate::capture::fuzz::client_ip,
    },
    Target {
        name: "traceparent",
        run: crate::capture::fuzz::traceparent,
    },
    Target {
        name: "request_headers",
        run: crate::capture::fuzz::request_headers,
    },
    Target {
        name: "path_mask",
        run: crate::capture::fuzz::path_mask,
    },
    Target {
        name: "config",
        run: crate::config::fuzz::config,
    },
    Target {
        name: "sample_rules",
        run: crate::config::fuzz::sample_rules,
    },
    Target {
        name: "properties",
        run: crate::record::fuzz::properties,
    },
    #[cfg(feature = "posthog")]
    Target {
        name: "posthog_reply",
        run: crate::sink::posthog::fuzz::reply,
    },
    #[cfg(feature = "posthog")]
    Target {
        name: "posthog_event",
        run: crate::sink::posthog::fuzz::event,
    },
    Target {
        name: "stored_columns",
        run: crate::ledger::fuzz::stored_columns,
    },
    Target {
        name: "stored_row",
        run: crate::ledger::fuzz::stored_row,
    },
];
