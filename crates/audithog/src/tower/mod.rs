//! The middleware for everything that speaks tower: axum, hyper, tonic. When a row is made: see [`AuditLayer`].

#[cfg(feature = "axum")]
mod axum;
mod body;
mod error_code;
mod facts;
mod future;
mod layer;
mod service;

#[cfg(feature = "axum")]
pub use axum::{MissingLayer, RouteTap, RouteTapLayer};
pub use body::ResponseBody;
pub use error_code::ErrorCode;
pub use facts::PeerAddr;
pub use future::ResponseFuture;
pub use layer::AuditLayer;
pub use service::AuditService;

#[cfg(test)]
mod tests;
