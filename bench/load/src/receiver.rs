//! Takes what the stacks send, at a cost far below theirs: one thread, bodies scanned and not parsed.

mod connection;
mod counts;
mod otlp;
mod posthog;
mod unpack;

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};

use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};

use connection::{Connection, State};
pub use counts::Counts;

const LISTENER: Token = Token(usize::MAX);

/// What senders get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Everything is taken.
    Ok,
    /// Requests are read and never answered.
    Hang,
    /// Every request gets this status, and nothing is counted as an event.
    Status(u16),
}

impl Mode {
    /// Of `ok`, `hang`, `refuse` (503), or a status.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "ok" => Some(Self::Ok),
            "hang" => Some(Self::Hang),
            "refuse" => Some(Self::Status(503)),
            status => {
                let status = status.parse().ok()?;
                (100..=599)
                    .contains(&status)
                    .then_some(Self::Status(status))
            }
        }
    }
}

/// A receiver that is bound and does not serve yet.
#[derive(Debug)]
pub struct Receiver {
    listener: TcpListener,
    address: SocketAddr,
    poll: Poll,
    mode: Mode,
}

impl Receiver {
    /// On a port that the system chooses.
    ///
    /// # Errors
    ///
    /// If the system has no port or no poll.
    pub fn bind(mode: Mode) -> io::Result<Self> {
        let mut listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let address = listener.local_addr()?;
        let poll = Poll::new()?;
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self {
            listener,
            address,
            poll,
            mode,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves for ever.
    ///
    /// # Errors
    ///
    /// If the system's poll fails.
    pub fn serve(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(256);
        let mut connections: Vec<Option<Connection>> = Vec::new();
        let mut shared = Shared {
            mode: self.mode,
            ..Shared::default()
        };
        loop {
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                other => other?,
            }
            for event in &events {
                if event.token() == LISTENER {
                    self.accept(&mut connections)?;
                } else if let Some(slot) = connections.get_mut(event.token().0)
                    && let Some(connection) = slot
                    && matches!(connection.drive(&mut shared), Ok(State::Closed) | Err(_))
                {
                    *slot = None;
                }
            }
        }
    }

    fn accept(&mut self, connections: &mut Vec<Option<Connection>>) -> io::Result<()> {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // The client may be gone already.
                Err(_) => continue,
            };
            let slot = connections
                .iter()
                .position(Option::is_none)
                .unwrap_or(connections.len());
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll
                .registry()
                .register(&mut stream, Token(slot), interest)?;
            stream.set_nodelay(true)?;
            if slot == connections.len() {
                connections.push(None);
            }
            connections[slot] = Some(Connection::new(stream));
        }
    }
}

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) mode: Mode,
    pub(crate) counts: Counts,
    pub(crate) unpacker: unpack::Unpacker,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            mode: Mode::Ok,
            counts: Counts::default(),
            unpacker: unpack::Unpacker::default(),
        }
    }
}
