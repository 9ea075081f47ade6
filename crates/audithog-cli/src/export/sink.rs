//! Where an export goes, byte by byte.

use std::{
    fs::File,
    io::{self, BufWriter, Read, Write},
};

use ring::digest::{Context, SHA256};

/// A file or standard output that knows how much it got and its SHA-256.
pub(super) struct Sink {
    to: BufWriter<Destination>,
    hash: Context,
    bytes: u64,
}

enum Destination {
    File(File),
    Output(io::Stdout),
}

impl Sink {
    pub(super) fn file(file: File) -> Self {
        Self::new(Destination::File(file))
    }

    pub(super) fn output() -> Self {
        Self::new(Destination::Output(io::stdout()))
    }

    fn new(to: Destination) -> Self {
        Self {
            to: BufWriter::with_capacity(64 << 10, to),
            hash: Context::new(&SHA256),
            bytes: 0,
        }
    }

    /// Continues a file that holds so many bytes, which are read once more for the hash; what follows them is cut off.
    pub(super) fn resume(mut file: File, bytes: u64) -> io::Result<Self> {
        if file.metadata()?.len() < bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.set_len(bytes)?;
        let mut hash = Context::new(&SHA256);
        let mut buffer = vec![0; 64 << 10];
        // Reading leaves the position at the end.
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            hash.update(&buffer[..read]);
        }
        let mut sink = Self::file(file);
        (sink.hash, sink.bytes) = (hash, bytes);
        Ok(sink)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Everything is on the disk; or, of standard output, handed over.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.to.flush()?;
        match self.to.get_ref() {
            Destination::File(file) => file.sync_data(),
            Destination::Output(_) => Ok(()),
        }
    }

    /// SHA-256 of all bytes, in hexadecimal digits.
    pub(super) fn sha256(&self) -> String {
        let digest = self.hash.clone().finish();
        let digits = digest.as_ref().iter();
        digits.map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

impl Write for Destination {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::Output(output) => output.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(file) => file.flush(),
            Self::Output(output) => output.flush(),
        }
    }
}
