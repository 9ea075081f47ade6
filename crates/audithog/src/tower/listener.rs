//! axum's listener, wrapped so that the close of each connection is seen.

use std::any::Any;
use std::io;
use std::net::SocketAddr;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};

use super::connection::{AuditConnectInfo, AuditIo};

/// A listener whose connections are seen to close. From [`Logger::listener`](crate::Logger::listener).
#[derive(Debug)]
pub struct AuditListener<L> {
    inner: L,
}

impl<L> AuditListener<L> {
    pub(crate) fn new(inner: L) -> Self {
        Self { inner }
    }
}

impl<L> Listener for AuditListener<L>
where
    L: Listener,
    L::Addr: 'static,
{
    type Io = AuditIo<L::Io>;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (io, address) = self.inner.accept().await;
        // Addresses of Unix sockets name nobody.
        let peer: Option<SocketAddr> = (&address as &dyn Any).downcast_ref().copied();
        (AuditIo::new(io, peer), address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.inner.local_addr()
    }
}

impl<L> Connected<IncomingStream<'_, AuditListener<L>>> for AuditConnectInfo
where
    L: Listener,
    L::Addr: 'static,
{
    fn connect_info(stream: IncomingStream<'_, AuditListener<L>>) -> Self {
        stream.io().connect_info()
    }
}
