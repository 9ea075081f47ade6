//! The log's rows as a file: any number of them in the same memory.

use std::sync::Arc;

use audithog::inspect::Action;
use audithog::query::{Filter, Log, LogRow, csv};
use axum::Extension;
use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderValue};
use axum::response::IntoResponse as _;
use futures_util::stream;
use tokio::sync::mpsc;

use super::overview::{filter, range};
use super::{Reply, Visit};
use crate::answers::Failure;
use crate::range::ALL;

/// Bytes that are handed over at a time, and how many of these wait for a slow reader.
const CHUNK: usize = 64 << 10;
const WAITING: usize = 4;

#[derive(Clone, Copy)]
enum Format {
    Csv,
    Ndjson,
}

type Part = Result<Bytes, std::io::Error>;

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
    let (sender, receiver) = mpsc::channel::<Part>(WAITING);
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        if let Err(failure) = write(&mut log, &filter, format, &sender) {
            // The body ends with an error, so that nobody takes a part for the whole.
            let _ = sender.blocking_send(Err(std::io::Error::other(failure.text)));
        }
    });
    let parts = stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|part| (part, receiver))
    });
    let disposition = format!("attachment; filename=\"{name}\"");
    let mut response = Body::from_stream(parts).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Ok(disposition) = HeaderValue::from_str(&disposition) {
        headers.insert(CONTENT_DISPOSITION, disposition);
    }
    Ok(response)
}

/// The rows in the order in which they were written, up to the head of now. Ends early when nobody reads any more.
fn write(
    log: &mut Log,
    filter: &Filter,
    format: Format,
    to: &mpsc::Sender<Part>,
) -> Result<(), Failure> {
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
        if chunk.len() >= CHUNK
            && to
                .blocking_send(Ok(std::mem::take(&mut chunk).into()))
                .is_err()
        {
            return Ok(());
        }
    }
    let _ = to.blocking_send(Ok(chunk.into()));
    Ok(())
}
