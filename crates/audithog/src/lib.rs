//! One audit row for every HTTP request.

#[cfg(feature = "testing")]
pub mod testing;
