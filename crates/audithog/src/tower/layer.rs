//! The layer.

use tower_layer::Layer;

use super::service::AuditService;
use crate::capture::Recorder;

/// Gives every request that passes through a row. From [`Logger::layer`](crate::Logger::layer).
///
/// Clones share one logger. A second audit layer on the same request, of whichever logger, passes it through; if it
/// knows the route and the first one did not, it tells it. The layer and its services keep the log open.
///
#[doc = include_str!("when.md")]
#[derive(Clone, Debug)]
pub struct AuditLayer {
    recorder: Recorder,
}

impl AuditLayer {
    pub(crate) fn new(recorder: Recorder) -> Self {
        Self { recorder }
    }
}

impl<S> Layer<S> for AuditLayer {
    type Service = AuditService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        AuditService::new(inner, self.recorder.clone())
    }
}
