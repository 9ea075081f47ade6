//! The layer.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use tower_layer::Layer;

use super::service::AuditService;
use crate::capture::Recorder;

/// Gives every request that passes through a row. From [`Logger::layer`](crate::Logger::layer).
///
/// Clones share one logger. A second audit layer on the same request, of whichever logger, passes it through; if it
/// knows the route and the first one did not, it tells it. The layer and its services keep the logger alive.
#[derive(Clone, Debug)]
pub struct AuditLayer {
    origin: Arc<Origin>,
}

/// What a layer and its services share.
pub(super) struct Origin {
    pub(super) recorder: Recorder,
    /// A logger that nobody holds any more stops: it must not while requests can come.
    _alive: Box<dyn Any + Send + Sync>,
}

impl AuditLayer {
    /// Keeps `alive` until the last service is gone.
    pub(crate) fn new(recorder: Recorder, alive: impl Any + Send + Sync) -> Self {
        Self {
            origin: Arc::new(Origin {
                recorder,
                _alive: Box::new(alive),
            }),
        }
    }
}

impl<S> Layer<S> for AuditLayer {
    type Service = AuditService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        AuditService::new(inner, Arc::clone(&self.origin))
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.recorder.fmt(f)
    }
}
