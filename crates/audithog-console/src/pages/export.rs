//! The log's rows as a file: any number of them in the same memory.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use audithog::inspect::Action;
use audithog::query::{Filter, Log, LogRow, csv};
use axum::Extension;
use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderValue};
use axum::response::IntoResponse as _;
use futures_util::stream::{self, Stream};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::overview::{filter, range};
use super::{Reply, Visit};
use crate::answers::Failure;
use crate::range::ALL;

/// For somebody who has stopped reading, and keeps a place that others need.
const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes that are handed over at a time, and how many of these wait for a slow reader.
const CHUNK: usize = 64 << 10;
const WAITING: usize = 4;

#[derive(Clone, Copy)]
enum Format {
    Csv,
    Ndjson,
}

pub(crate) async fn download(Extension(visit): Extension<Visit>) -> Reply {
    let (format, kind, name) = match visit.here.params.get("format") {
        Some("csv") => (Format::Csv, "text/csv; charset=utf-8", "audit-log.csv"),
        Some("ndjson") | None => (Format::Ndjson, "application/x-ndjson", "audit-log.ndjson"),
        Some(other) => {
            return Err(Failure::wrong(format!(
                "format: {other:?} is none: csv or ndjson"
            )));
        }
    };
    let range = range(&visit.here, ALL)?;
    let filter = filter(&visit.here, &range)?;
    let Ok(permit) = Arc::clone(&visit.shared.streams).try_acquire_owned() else {
        return Err(Failure::busy(
            "Too many exports at the same time: wait for one to end.",
        ));
    };
    // A ledger that cannot be read is a page, and not an empty file.
    let note = visit.note(Action::Export, &filter, None);
    let Visit { shared, access, .. } = visit;
    let opening = Arc::clone(&shared);
    let opened = shared.blocking(move || {
        opening.record(note);
        opening.log(&access)
    });
    let mut log = opened.await?;
    let (sender, receiver) = mpsc::channel(WAITING);
    let reader = Reader {
        parts: sender,
        runtime: Handle::current(),
        patience: PATIENCE,
    };
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        // Without the end, nobody takes a part for the whole.
        if let Ok(true) = write(&mut log, &filter, format, &reader) {
            reader.send(Part::End);
        }
    });
    let disposition = format!("attachment; filename=\"{name}\"");
    let mut response = Body::from_stream(body(receiver)).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Ok(disposition) = HeaderValue::from_str(&disposition) {
        headers.insert(CONTENT_DISPOSITION, disposition);
    }
    Ok(response)
}

/// What is sent to a reader. A connection is cut if the end is missing.
enum Part {
    Some(Bytes),
    End,
}

fn body(parts: mpsc::Receiver<Part>) -> impl Stream<Item = io::Result<Bytes>> {
    stream::unfold(Some(parts), |parts| async move {
        let mut parts = parts?;
        match parts.recv().await {
            Some(Part::Some(bytes)) => Some((Ok(bytes), Some(parts))),
            Some(Part::End) => None,
            None => Some((Err(io::Error::other("the export was cut")), None)),
        }
    })
}

/// Somebody who reads as fast as they can.
struct Reader {
    parts: mpsc::Sender<Part>,
    runtime: Handle,
    patience: Duration,
}

impl Reader {
    /// False: they have left, or stopped.
    fn send(&self, part: Part) -> bool {
        let sent = tokio::time::timeout(self.patience, self.parts.send(part));
        matches!(self.runtime.block_on(sent), Ok(Ok(())))
    }
}

/// The rows in the order in which they were written, up to the head of now. False: the reader is gone before the end.
fn write(log: &mut Log, filter: &Filter, format: Format, to: &Reader) -> Result<bool, Failure> {
    let (pruned, head) = (log.pruned()?, log.head()?);
    let mut chunk: Vec<u8> = Vec::with_capacity(CHUNK + 4_096);
    // Writing to memory cannot fail.
    if let Format::Csv = format {
        let _ = csv::line(&mut chunk, LogRow::NAMES);
    }
    for row in log.rows(filter, pruned, head)? {
        let row = row?;
        match format {
            Format::Csv => {
                let cells = row.fields().into_iter().map(|(_, value)| csv::cell(&value));
                let _ = csv::line(&mut chunk, cells);
            }
            Format::Ndjson => {
                let _ = serde_json::to_writer(&mut chunk, &row);
                chunk.push(b'\n');
            }
        }
        if chunk.len() >= CHUNK && !to.send(Part::Some(std::mem::take(&mut chunk).into())) {
            return Ok(false);
        }
    }
    Ok(to.send(Part::Some(chunk.into())))
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;

    use super::*;

    fn export(patience: Duration) -> (Reader, mpsc::Receiver<Part>) {
        let (parts, receiver) = mpsc::channel(1);
        let runtime = Handle::current();
        let reader = Reader {
            parts,
            runtime,
            patience,
        };
        (reader, receiver)
    }

    #[tokio::test]
    async fn who_stops_reading_is_left() {
        let (reader, receiver) = export(Duration::ZERO);
        let sent = tokio::task::spawn_blocking(move || {
            [b"a", b"b"].map(|text| reader.send(Part::Some(Bytes::from_static(text))))
        });
        assert_eq!(sent.await.unwrap(), [true, false]);
        let read: Vec<_> = body(receiver).collect().await;
        assert_eq!(read[0].as_ref().unwrap(), "a");
        // The connection is cut: what has arrived is not the whole.
        assert!(read[1].is_err() && read.len() == 2, "{read:?}");
    }

    #[tokio::test]
    async fn only_what_has_its_end_is_whole() {
        let (reader, receiver) = export(Duration::from_secs(60));
        let sent = tokio::task::spawn_blocking(move || {
            reader.send(Part::Some(Bytes::from_static(b"a"))) && reader.send(Part::End)
        });
        let read: Vec<_> = body(receiver).collect().await;
        assert!(sent.await.unwrap());
        assert!(read.len() == 1 && read[0].is_ok(), "{read:?}");
    }
}
