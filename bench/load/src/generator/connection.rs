//! One connection, with one request at a time.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::http;

const BUFFER: usize = 16 << 10;

#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    buffer: Box<[u8]>,
    filled: usize,
}

impl Connection {
    pub(super) fn open(target: SocketAddr, registry: &Registry, token: Token) -> io::Result<Self> {
        let stream = std::net::TcpStream::connect(target)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        registry.register(&mut stream, token, Interest::READABLE)?;
        Ok(Self {
            stream,
            buffer: vec![0; BUFFER].into(),
            filled: 0,
        })
    }

    /// A request is small and the connection idle: it fits into the socket's buffer.
    pub(super) fn send(&mut self, request: &[u8]) -> io::Result<()> {
        let count = self.stream.write(request)?;
        if count == request.len() {
            Ok(())
        } else {
            Err(ErrorKind::WriteZero.into())
        }
    }

    /// The status, when the response is whole.
    pub(super) fn receive(&mut self) -> io::Result<Option<u16>> {
        loop {
            match self.stream.read(&mut self.buffer[self.filled..]) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.filled += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            let Some(head) = http::head(&self.buffer[..self.filled]) else {
                continue;
            };
            let malformed = || io::Error::from(ErrorKind::InvalidData);
            let length = head.length + head.content_length().ok_or_else(malformed)?;
            let status = head.status().ok_or_else(malformed)?;
            if self.filled >= length {
                // Nothing can come after it: there was one request.
                self.filled = 0;
                return Ok(Some(status));
            }
        }
    }
}
