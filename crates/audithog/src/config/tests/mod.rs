//! Through the builder's door: what an environment and a program's code come to.
#![cfg(feature = "posthog")]

mod names;
mod precedence;
mod public;
mod resolve;
mod sample;
mod values;

use std::ffi::OsString;

use super::{Builder, Resolved};

/// Of this environment and no other.
fn env<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Builder {
    let os = |(name, value)| (OsString::from(name), OsString::from(value));
    Builder::from_environment(variables.into_iter().map(os))
}

#[track_caller]
fn resolved(builder: &Builder) -> Resolved {
    builder.resolve().unwrap()
}

/// What is wrong, one a line.
#[track_caller]
fn problems(builder: &Builder) -> Vec<String> {
    let error = builder.resolve().unwrap_err();
    assert!(error.is_config());
    error.to_string().lines().map(str::to_owned).collect()
}

/// The only thing that is wrong with one variable.
#[track_caller]
fn problem(name: &str, value: &str) -> String {
    let mut problems = problems(&env([(name, value)]));
    assert_eq!(problems.len(), 1, "{problems:#?}");
    problems.remove(0)
}
