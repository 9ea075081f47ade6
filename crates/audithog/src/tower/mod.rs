//! The middleware for everything that speaks tower: axum, hyper, tonic.
//!
//! # When a row is made
//!
//! A request is seen when [`AuditService::call`](AuditService) runs. Its one row is made at the first of these:
//!
//! | what happens | row |
//! |---|---|
//! | the response has no body to send: HEAD, 1xx (an upgrade's 101), 204, 304, CONNECT, an empty body | when the head is returned |
//! | the server takes the last byte of the body: its last frame, its trailers, or the last byte of a known length | `statusCode` of the response, the time up to here |
//! | the inner service or the body panics | `PANIC`, then the panic goes on |
//! | the inner service returns an error | `SERVICE_ERROR` |
//! | the body returns an error | `RESPONSE_BODY_ERROR` |
//! | the server drops the future: the client is gone, or something outside of the layer gave up | `CLIENT_CLOSED_BEFORE_RESPONSE`, no `statusCode` |
//! | the server drops the body before its end | `CLIENT_CLOSED_MID_BODY` |
//! | the logger shuts down and its deadline passes | `SERVER_SHUTDOWN` |
//!
//! No row is made by this layer for what the server answers itself (a request line that does not parse, headers that are too large), and
//! for requests that go to a route or fallback added after the layer.
//!
//! # Where it goes
//!
//! It is the last `.layer(…)`, after all routes and fallbacks. What runs outside of it is not seen: a timeout there
//! looks like a client that left.

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
