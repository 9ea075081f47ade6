//! The loop.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};

use super::books::{Books, Report, Sent};
use super::connection::{Answer, Connection};
use crate::requests::Request;

/// Handled between two sends, so that neither side starves the other.
const EVENTS: usize = 8;
/// What is open at the end gets so long.
const PATIENCE: Duration = Duration::from_secs(10);

/// What to send.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The service.
    pub target: SocketAddr,
    /// Requests a second.
    pub rate: u64,
    /// How long.
    pub length: Duration,
    /// How many at once.
    pub connections: usize,
    /// From the list, in its order, again and again.
    pub requests: Vec<Request>,
}

struct Open {
    request: Sent,
    expected: u16,
}

/// Sends, and waits for what is open at the end.
///
/// # Errors
///
/// If the service cannot be connected to, or the plan has no rate, no connection or no request.
pub fn run(plan: &Plan) -> io::Result<Report> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
    let mut books = Books::new(plan.rate).ok_or_else(invalid)?;
    let host = plan.target.to_string();
    let texts: Vec<_> = plan
        .requests
        .iter()
        .map(|request| (request.to_bytes(&host), request.expected_status()))
        .collect();
    if texts.is_empty() || plan.connections == 0 {
        return Err(invalid());
    }
    let mut poll = Poll::new()?;
    let mut connections = (0..plan.connections)
        .map(|number| Connection::open(plan.target, poll.registry(), Token(number)))
        .collect::<io::Result<Vec<_>>>()?;
    let mut open: Vec<Option<Open>> = connections.iter().map(|_| None).collect();
    let mut free: VecDeque<usize> = (0..plan.connections).collect();
    let mut events = Events::with_capacity(EVENTS);
    let mut list = texts.iter().cycle();

    let total =
        u64::try_from(u128::from(plan.rate) * plan.length.as_millis() / 1000).unwrap_or(u64::MAX);
    let schedule_end = nanoseconds(plan.length);
    let end = nanoseconds(plan.length + PATIENCE);
    let start = Instant::now();
    loop {
        let now = nanoseconds(start.elapsed());
        books.look(now);
        if now >= schedule_end {
            books.schedule_ended(total);
        }
        let due = books.due(books.sent);
        if books.sent < total && due <= now {
            if let (Some(number), Some((text, expected))) = (free.pop_front(), list.clone().next())
            {
                list.next();
                let request = books.send();
                if connections[number].send(text).is_ok() {
                    open[number] = Some(Open {
                        request,
                        expected: *expected,
                    });
                } else {
                    books.failed(now);
                    connections[number] =
                        Connection::open(plan.target, poll.registry(), Token(number))?;
                    free.push_back(number);
                }
            }
        } else if (books.sent == total && free.len() == plan.connections) || now >= end {
            break;
        }
        poll.poll(&mut events, Some(Duration::ZERO))?;
        for event in &events {
            let Token(number) = event.token();
            match connections[number].receive() {
                Ok(None) => {}
                Ok(Some(Answer { status, age })) => {
                    let now = nanoseconds(start.elapsed());
                    // Eight answers at once are no gap, whatever they take together.
                    books.look(now);
                    let received = now.saturating_sub(nanoseconds(age));
                    if let Some(Open { request, expected }) = open[number].take() {
                        books.answered(&request, received, status == expected);
                        free.push_back(number);
                    }
                }
                Err(_) => {
                    connections[number] =
                        Connection::open(plan.target, poll.registry(), Token(number))?;
                    if open[number].take().is_some() {
                        books.failed(nanoseconds(start.elapsed()));
                        free.push_back(number);
                    }
                }
            }
        }
    }
    books.errors += total - books.sent + open.iter().flatten().count() as u64;
    Ok(books.into_report())
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
