//! Routes that go wrong, or slowly: each still gets exactly one row.

use std::{convert::Infallible, time::Duration};

use axum::body::Body;
use futures_util::stream;
use tokio::time::{Instant, interval_at};

use super::error::ApiError;

/// Lines that [`slow`] sends.
const LINES: u32 = 5;

/// Time before the response of [`slow`], and between its lines.
const PAUSE: Duration = Duration::from_millis(500);

/// A dependency is down: 503 with an error code.
pub(super) async fn fail() -> ApiError {
    ApiError::ModelUnavailable
}

/// A bug: the connection breaks, the row says `PANIC`.
pub(super) async fn panic() {
    panic!("the panic you asked for");
}

/// A response in pieces: its row's duration covers the last one.
pub(super) async fn slow() -> Body {
    let mut pause = interval_at(Instant::now() + PAUSE, PAUSE);
    pause.tick().await;
    Body::from_stream(stream::unfold((1, pause), async |(line, mut pause)| {
        if line > LINES {
            return None;
        }
        pause.tick().await;
        let text = format!("line {line} of {LINES}\n");
        Some((Ok::<_, Infallible>(text), (line + 1, pause)))
    }))
}
