//! The stand-in for PostHog in a process of its own, so that what it takes is not counted.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bench_load::receiver::{Mode, Receiver};

use crate::Failure;

const LIMIT: Duration = Duration::from_secs(10);

/// This program again, as the receiver. It ends with its handle.
#[derive(Debug)]
pub struct Spawned {
    child: Child,
    pub address: SocketAddr,
}

impl Spawned {
    /// Starts it with `--receive` and with these arguments; the program has to call [`serve`] then.
    ///
    /// # Errors
    ///
    /// It does not start.
    pub fn start(arguments: &[&str]) -> Result<Self, Failure> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("--receive")
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let output = child.stdout.take().ok_or("the receiver has no output")?;
        BufReader::new(output).read_line(&mut line)?;
        let address = line
            .trim()
            .strip_prefix("ready ")
            .ok_or("the receiver is not ready")?
            .parse()?;
        Ok(Self { child, address })
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves for ever.
///
/// # Errors
///
/// There is no port, or the system's poll fails.
pub fn serve() -> Result<(), Failure> {
    let receiver = Receiver::bind(Mode::Ok)?;
    println!("ready {}", receiver.address());
    receiver.serve()?;
    Ok(())
}

/// Makes a receiver answer in another way: `ok`, `hang`, `refuse`.
///
/// # Errors
///
/// It does not answer, or knows no such way.
pub fn switch(address: SocketAddr, mode: &str) -> Result<(), Failure> {
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    let request = format!(
        "POST /mode HTTP/1.1\r\nhost: {address}\r\ncontent-length: {}\r\n\r\n{mode}",
        mode.len()
    );
    stream.write_all(request.as_bytes())?;
    // The first line is there at once or not at all: the receiver writes its answers whole.
    let mut answer = [0; 64];
    let n = stream.read(&mut answer)?;
    if answer[..n].starts_with(b"HTTP/1.1 200 ") {
        Ok(())
    } else {
        let answer = String::from_utf8_lossy(&answer[..n]);
        Err(format!("the receiver answered mode {mode} with {answer}").into())
    }
}
