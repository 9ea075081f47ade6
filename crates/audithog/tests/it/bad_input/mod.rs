//! Wrong settings, hostile requests, absurd events, unusable places: accepted, cut or refused as
//! documented, with one clear sentence; never a panic, never a batch that PostHog cannot read.

mod events;
mod places;
mod requests;
mod settings;

use std::net::SocketAddr;

use audithog::Logger;
use axum::Router;
use axum::routing::get;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Sends bytes over a connection of their own and returns the status that came back, if any.
async fn send(address: SocketAddr, request: &[u8]) -> Option<u16> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The server may close before it has read everything.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let head = std::str::from_utf8(answer.get(9..12)?).unwrap();
    Some(head.parse().unwrap())
}

async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    address
}

fn app(logger: &Logger) -> Router {
    Router::new()
        .route("/", get(|| async { "fine" }))
        .route("/a/{*rest}", get(|| async { "fine" }))
        .layer(logger.layer())
}

fn request(path: &[u8], headers: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = [
        b"GET ",
        path,
        b" HTTP/1.1\r\nhost: x\r\nconnection: close\r\n",
    ]
    .concat();
    for (name, value) in headers {
        bytes.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    bytes.extend(b"\r\n");
    bytes
}

/// Control characters and what else must not reach a terminal.
fn is_harmless(text: &str) -> bool {
    !text
        .chars()
        .any(|c| c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
}
