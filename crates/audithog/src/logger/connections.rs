//! Telling that the close of connections is seen.

use std::net::SocketAddr;

use serde_json::json;

use super::Logger;
use crate::capture::RowSink as _;
use crate::ledger::own_rows::own_row;
use crate::tower::AuditIo;
#[cfg(feature = "axum")]
use crate::tower::AuditListener;

impl Logger {
    /// A listener for `axum::serve` that sees connections close, around a TCP, TLS or Unix one. An upgrade (a WebSocket) then gets its
    /// `api_connection_closed` row, with the bytes each way, without help from the handler.
    ///
    /// Goes with `AuditConnectInfo` in the place of `SocketAddr`; `ConnectInfo<SocketAddr>` still works in handlers, and in
    /// middleware inside of the audit layer. Wrap a listener that has been set up: `.tap_io(…)` goes inside.
    ///
    /// The first call logs an `audit_config_changed` row: `connectionClosesSeen` is true from here on.
    ///
    /// ```no_run
    /// # async fn serve(logger: audithog::Logger, app: axum::Router) -> std::io::Result<()> {
    /// let listener = logger.listener(tokio::net::TcpListener::bind("0.0.0.0:3000").await?);
    /// let app = app.into_make_service_with_connect_info::<audithog::AuditConnectInfo>();
    /// axum::serve(listener, app).await
    /// # }
    /// ```
    #[cfg(feature = "axum")]
    #[must_use]
    pub fn listener<L>(&self, listener: L) -> AuditListener<L> {
        self.tell_of_closes();
        AuditListener::new(listener)
    }

    /// Like [`listener`](Self::listener) for servers that accept connections themselves. `peer` is the other end, if it has an IP address.
    ///
    /// Each request on the connection needs [`AuditIo::connect_info`] in its extensions before the layer sees it.
    #[must_use]
    pub fn connection<Io>(&self, io: Io, peer: Option<SocketAddr>) -> AuditIo<Io> {
        self.tell_of_closes();
        AuditIo::new(io, peer)
    }

    /// `audit_started` said that closes are not seen: it could not know.
    fn tell_of_closes(&self) {
        if !self.0.recorder.sees_closes() {
            return;
        }
        let details = json!({
            "from": {"connectionClosesSeen": false},
            "to": {"connectionClosesSeen": true},
        });
        let intake = &self.0.intake;
        let row = own_row(&intake.clock, "audit_config_changed", details);
        intake.accept(row, None);
    }
}

#[cfg(all(test, feature = "axum"))]
mod tests {
    use crate::config::Builder;

    #[test]
    fn the_log_says_once_that_closes_are_seen() {
        let (logger, queue) = Builder::from_environment([]).detached().unwrap();
        assert!(queue.rows().is_empty());
        drop(logger.clone().listener(()));
        drop(logger.listener(()));
        drop(logger.connection((), None));
        let rows = queue.rows();
        let [row] = &rows[..] else {
            panic!("{rows:#?}");
        };
        assert_eq!(row.event, "audit_config_changed");
        assert_eq!(
            row.properties.as_deref(),
            Some(r#"{"from":{"connectionClosesSeen":false},"to":{"connectionClosesSeen":true}}"#)
        );
    }
}
