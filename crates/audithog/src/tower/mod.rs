//! The middleware for everything that speaks tower: axum, hyper, tonic. When a row is made: see [`AuditLayer`].

mod ahead;
#[cfg(feature = "axum")]
mod axum;
mod body;
mod connection;
mod error_code;
mod facts;
mod future;
mod held;
mod layer;
#[cfg(feature = "axum")]
mod listener;
mod service;

#[cfg(feature = "axum")]
pub use axum::{MissingLayer, RouteTap, RouteTapLayer};
pub use body::ResponseBody;
pub use connection::{AuditConnectInfo, AuditIo};
pub use error_code::ErrorCode;
pub use facts::PeerAddr;
pub use future::ResponseFuture;
pub use layer::AuditLayer;
#[cfg(feature = "axum")]
pub use listener::AuditListener;
pub use service::AuditService;

#[cfg(test)]
mod tests;
