//! Clients that hold what they opened: an event stream and a WebSocket, so that every signal and fault meets both.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;

use super::{Answer, Asked, Kind, Shared, Target, rest, stands, target};
use crate::time;

/// A look at whether the target still stands, while nothing comes.
const GLANCE: Duration = Duration::from_millis(200);

/// Reads server-sent events until the server ends or, at random, it has had enough.
pub(super) async fn stream(
    shared: Arc<Shared>,
    mut seen: watch::Receiver<Vec<Target>>,
    mut rng: fastrand::Rng,
) {
    while let Some(target) = target(&mut seen, &mut rng).await {
        let (id, sent) = (shared.id(), time::now());
        let enough = rng.usize(5..80);
        let opened = read_events(&id, target, enough, &seen).await;
        // Never complete: such an answer has no end.
        if let Ok(()) | Err(Trouble::Asked) = opened {
            shared.book().push(Asked {
                id,
                kind: Kind::Stream,
                server: target.server,
                sent,
                answer: None,
            });
        }
        rest(shared.rest).await;
    }
}

/// How far a stream got.
enum Trouble {
    /// No request was sent.
    Unasked,
    Asked,
}

async fn read_events(
    id: &str,
    target: Target,
    enough: usize,
    seen: &watch::Receiver<Vec<Target>>,
) -> Result<(), Trouble> {
    let stream = TcpStream::connect(target.address)
        .await
        .map_err(|_| Trouble::Unasked)?;
    let (mut client, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|_| Trouble::Unasked)?;
    tokio::spawn(connection);
    let request = Request::get(Kind::Stream.path(id))
        .header("host", "chaos")
        .body(Empty::<Bytes>::new())
        .map_err(|_| Trouble::Unasked)?;
    let response = client
        .send_request(request)
        .await
        .map_err(|_| Trouble::Asked)?;
    let mut body = response.into_body();
    for _ in 0..enough {
        match timeout(GLANCE, body.frame()).await {
            Ok(Some(Ok(_))) => {}
            Ok(_) => break,
            Err(_) if stands(seen, target) => {}
            Err(_) => break,
        }
        if !stands(seen, target) && seen.has_changed().is_err() {
            break;
        }
    }
    Ok(())
}

/// Talks over a WebSocket until the server ends or, at random, it has had enough.
pub(super) async fn socket(
    shared: Arc<Shared>,
    mut seen: watch::Receiver<Vec<Target>>,
    mut rng: fastrand::Rng,
) {
    while let Some(target) = target(&mut seen, &mut rng).await {
        if let Ok(stream) = TcpStream::connect(target.address).await {
            let words = rng.usize(5..80);
            talk(&shared, target, stream, words, &seen).await;
        }
        rest(shared.rest).await;
    }
}

async fn talk(
    shared: &Shared,
    target: Target,
    stream: TcpStream,
    words: usize,
    seen: &watch::Receiver<Vec<Target>>,
) {
    let (id, sent) = (shared.id(), time::now());
    let url = format!("ws://{}{}", target.address, Kind::Socket.path(&id));
    let opened = client_async(url, stream).await;
    let answer = opened.as_ref().ok().map(|(_, response)| Answer {
        status: response.status().as_u16(),
        at: time::now(),
        request_id: response
            .headers()
            .get("x-request-id")
            .and_then(|id| Some(id.to_str().ok()?.to_owned())),
    });
    shared.book().push(Asked {
        id,
        kind: Kind::Socket,
        server: target.server,
        sent,
        answer,
    });
    let Ok((mut socket, _)) = opened else {
        return;
    };
    for _ in 0..words {
        if seen.has_changed().is_err() || socket.send(Message::text("word")).await.is_err() {
            return;
        }
        match timeout(GLANCE, socket.next()).await {
            Ok(Some(Ok(_))) => rest(GLANCE / 4).await,
            Ok(_) => return,
            Err(_) => {}
        }
    }
    // In good order; the server may be gone.
    let _ = socket.close(None).await;
}
