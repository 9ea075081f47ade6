//! The end of an upgraded connection.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::watch::Watch;

/// Lives as long as an upgraded connection is served; its drop makes the `api_connection_closed` row.
///
/// The row has the `requestId` of the upgrade's own row, the time from the arrival of the request to the end, and the
/// properties `bytesReceived` and `bytesSent` if anything was counted. Where a [listener](crate::Logger::listener) sees the
/// connection close, a guard that counted nothing leaves the row to it. There is one such row in any case.
#[must_use = "the connection counts as closed when this is dropped"]
pub struct UpgradeGuard {
    watch: Arc<Watch>,
    received: AtomicU64,
    sent: AtomicU64,
    counted: AtomicBool,
}

impl UpgradeGuard {
    pub(super) fn new(watch: Arc<Watch>) -> Self {
        Self {
            watch,
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            counted: AtomicBool::new(false),
        }
    }

    /// Counts bytes that came from the client.
    pub fn received(&self, bytes: usize) {
        self.count(&self.received, bytes);
    }

    /// Counts bytes that went to the client.
    pub fn sent(&self, bytes: usize) {
        self.count(&self.sent, bytes);
    }

    fn count(&self, counter: &AtomicU64, bytes: usize) {
        self.counted.store(true, Ordering::Relaxed);
        counter.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl Drop for UpgradeGuard {
    fn drop(&mut self) {
        let counts = self.counted.load(Ordering::Relaxed).then(|| {
            let received = self.received.load(Ordering::Relaxed);
            (received, self.sent.load(Ordering::Relaxed))
        });
        self.watch.task_ended(counts);
    }
}

impl fmt::Debug for UpgradeGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpgradeGuard")
            .field("received", &self.received)
            .field("sent", &self.sent)
            .finish_non_exhaustive()
    }
}
