//! What the benchmarks measure alone: a body, its parts, and a verdict.

use std::io;

use uuid::Uuid;

use super::event::Protocol;
use super::events::Events;
use super::verdict::{Answer, Context, V1, v1};
use super::{PosthogSink, Request};
use crate::config::Compression;
use crate::record::{Micros, StoredRow};
use crate::sink::posthog::body::Encoding;
use crate::sink::{Attempt, Reply, Verdict};

impl PosthogSink {
    /// The body of one request of capture v1, as it is sent.
    pub(crate) fn bench_body(&self, rows: &[StoredRow]) -> io::Result<Vec<u8>> {
        let request = Request {
            rows,
            ids: &[],
            attempt: Attempt {
                request: Uuid::nil(),
                created: Micros(0),
                number: 1,
            },
        };
        super::v1::body(self, &request, Encoding::for_v1(Compression::Auto))
    }

    /// Appends the events of one request and compresses nothing.
    pub(crate) fn bench_events(&self, rows: &[StoredRow], out: &mut Vec<u8>) {
        let mut events = Events::new(&self.shape, Protocol::V1);
        for row in rows {
            events.write(out, row, None);
        }
    }

    /// How many of `ids` an answer of capture v1 with status 200 takes.
    pub(crate) fn bench_verdict(&self, ids: &[Uuid], body: Vec<u8>) -> usize {
        let answer = Answer {
            status: 200,
            headers: http::HeaderMap::new(),
            body,
        };
        let context = Context {
            ids,
            now: Micros(0),
            key: &self.key,
        };
        match v1(&answer, &context) {
            V1::Done(Reply::Rows { verdicts, .. }) => verdicts
                .iter()
                .filter(|verdict| **verdict == Verdict::Delivered)
                .count(),
            _ => 0,
        }
    }
}
