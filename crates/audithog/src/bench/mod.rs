//! The library's inner paths, for the benchmarks in the repository's `bench/` and for nobody else: no promise of
//! stability holds here.
//!
//! | file | what can be measured alone |
//! |---|---|
//! | `request` | watching one request, a push into the queue |
//! | `ledger` | a group commit, a read |
//! | `delivery` | a request's body, a verdict |

#[cfg(feature = "posthog")]
pub mod delivery;
pub mod ledger;
pub mod request;
