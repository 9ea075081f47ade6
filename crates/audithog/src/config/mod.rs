//! Settings: environment over code over default, all problems reported together.

mod access;
mod builder;
mod env;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod resolve;
mod sample;
mod settings;
mod variables;

pub use access::AccessRows;
pub use builder::Builder;
pub use settings::QueueFull;

pub(crate) use resolve::Resolved;
pub(crate) use sample::parse as sample_rules;
pub(crate) use settings::{
    Compression, Database, DistinctId, IpDetail, LedgerCare, OnDamage, PosthogSettings,
    QueueSettings, ReadBackSettings, RetrySettings, SampleRule, Secret, Settings, StatusMatch,
};

#[cfg(test)]
mod tests;
