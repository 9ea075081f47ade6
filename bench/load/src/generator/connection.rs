//! One connection, with one request at a time.

use std::io::{self, ErrorKind, IoSliceMut, Write};
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::time::{Duration, SystemTime};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;

use crate::http;

const BUFFER: usize = 16 << 10;

#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    buffer: Box<[u8]>,
    filled: usize,
    /// Where the kernel says when something came.
    control: Vec<u8>,
}

/// A response.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// How long ago the kernel had the last of it. The generator may have been off its core meanwhile.
    pub(super) age: Duration,
}

impl Connection {
    pub(super) fn open(target: SocketAddr, registry: &Registry, token: Token) -> io::Result<Self> {
        let stream = std::net::TcpStream::connect(target)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        setsockopt(&stream, sockopt::ReceiveTimestampns, &true)?;
        let mut stream = TcpStream::from_std(stream);
        registry.register(&mut stream, token, Interest::READABLE)?;
        Ok(Self {
            stream,
            buffer: vec![0; BUFFER].into(),
            filled: 0,
            control: nix::cmsg_space!(TimeSpec),
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

    /// What came, when the response is whole.
    pub(super) fn receive(&mut self) -> io::Result<Option<Answer>> {
        loop {
            let came = match self.read() {
                Ok((0, _)) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok((count, came)) => {
                    self.filled += count;
                    came
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let Some(head) = http::head(&self.buffer[..self.filled]) else {
                continue;
            };
            let malformed = || io::Error::from(ErrorKind::InvalidData);
            let length = head.length + head.content_length().ok_or_else(malformed)?;
            let status = head.status().ok_or_else(malformed)?;
            if self.filled >= length {
                // Nothing can come after it: there was one request.
                self.filled = 0;
                // The kernel begins to note times a moment after it was asked to.
                let age = came.map_or(Duration::ZERO, |came| {
                    SystemTime::now().duration_since(came).unwrap_or_default()
                });
                return Ok(Some(Answer { status, age }));
            }
        }
    }

    /// How many bytes, and when the kernel had the last of them.
    fn read(&mut self) -> io::Result<(usize, Option<SystemTime>)> {
        let mut room = [IoSliceMut::new(&mut self.buffer[self.filled..])];
        let message = recvmsg::<()>(
            self.stream.as_raw_fd(),
            &mut room,
            Some(&mut self.control),
            MsgFlags::empty(),
        )?;
        let came = message.cmsgs()?.find_map(|message| match message {
            ControlMessageOwned::ScmTimestampns(time) => {
                Some(SystemTime::UNIX_EPOCH + Duration::from(time))
            }
            _ => None,
        });
        Ok((message.bytes, came))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::TcpListener;
    use std::sync::mpsc;
    use std::time::Instant;

    use mio::Poll;

    use super::*;

    /// The kernel need not note times from the first moment on.
    const PATIENCE: Duration = Duration::from_secs(10);

    #[test]
    fn an_answer_is_as_old_as_the_kernel_says() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let target = listener.local_addr().expect("an address");
        let (answered, told) = mpsc::channel();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            while stream.read(&mut [0; 64]).is_ok_and(|count| count > 0) {
                stream
                    .write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
                    .expect("an answer");
                answered.send(Instant::now()).expect("somebody waits");
            }
        });
        let poll = Poll::new().expect("a poll");
        let mut connection =
            Connection::open(target, poll.registry(), Token(0)).expect("a connection");
        let start = Instant::now();
        loop {
            connection.send(b"GET / HTTP/1.1\r\n\r\n").expect("sent");
            let had = told.recv().expect("an answer");
            let least = had.elapsed();
            let answer = loop {
                if let Some(answer) = connection.receive().expect("read") {
                    break answer;
                }
                assert!(start.elapsed() < PATIENCE, "the answer is nowhere");
                std::thread::yield_now();
            };
            assert_eq!(answer.status, 404);
            if answer.age >= least {
                return;
            }
            assert_eq!(answer.age, Duration::ZERO, "{least:?}");
            assert!(start.elapsed() < PATIENCE, "the kernel notes no times");
        }
    }
}
