//! The HogQL of every question, insight and comparison, read by PostHog's own parser.
//!
//! The tests are in `tests/parser.rs`; the parser is a package of npm that `cargo xtask setup` installs, `parser/parse.cjs` calls it.
