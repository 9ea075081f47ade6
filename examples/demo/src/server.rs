//! The HTTP server, on a task of its own.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use axum::Router;
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle, time::timeout};

use crate::Error;

/// How long requests under way may take once the server is asked to stop.
const GRACE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Server {
    stop: oneshot::Sender<()>,
    task: JoinHandle<io::Result<()>>,
}

pub(crate) async fn listen(port: u16) -> Result<TcpListener, Error> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpListener::bind(address)
        .await
        .map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => Error::start(format!(
                "port {port} of 127.0.0.1 is taken: choose another with --port, or --port 0 for any that is free"
            )),
            _ => Error::start(format!("cannot listen on {address}: {error}")),
        })
}

impl Server {
    pub(crate) fn start(listener: TcpListener, app: Router) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        // With the peer's address, for the row's `ip`.
        let service = app.into_make_service_with_connect_info::<SocketAddr>();
        let server = axum::serve(listener, service).with_graceful_shutdown(async {
            // Told, or its owner is gone: either way it is time.
            let _ = stopped.await;
        });
        Self {
            stop,
            task: tokio::spawn(server.into_future()),
        }
    }

    /// Takes no more connections and gives the requests under way [`GRACE`]. Those that are still
    /// open then are recorded as cut when the logger shuts down.
    pub(crate) async fn stop(self) {
        drop(self.stop);
        let _ = timeout(GRACE, self.task).await;
    }
}
