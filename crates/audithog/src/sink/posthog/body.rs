//! The request body: written in blocks through the compressor, so that the whole of it never
//! lies uncompressed in memory.

use std::fmt;
use std::io::{self, Write as _};

use flate2::write::GzEncoder;
#[cfg(feature = "zstd")]
use zstd::stream::raw::{CParameter, InBuffer, Operation as _, OutBuffer};

use crate::config::Compression;

/// `Content-Encoding`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Plain,
    Gzip,
    #[cfg(feature = "zstd")]
    Zstd,
}

impl Encoding {
    /// Capture v1 takes gzip and zstd.
    pub(super) fn for_v1(setting: Compression) -> Self {
        match setting {
            #[cfg(feature = "zstd")]
            Compression::Auto | Compression::Zstd => Self::Zstd,
            #[cfg(not(feature = "zstd"))]
            Compression::Auto | Compression::Zstd => Self::Gzip,
            Compression::Gzip => Self::Gzip,
            Compression::None => Self::Plain,
        }
    }

    /// Capture v0 takes gzip only.
    pub(super) fn for_v0(setting: Compression) -> Self {
        match setting {
            Compression::None => Self::Plain,
            Compression::Auto | Compression::Zstd | Compression::Gzip => Self::Gzip,
        }
    }

    /// The header's value; none for a plain body.
    pub(super) fn name(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Gzip => Some("gzip"),
            #[cfg(feature = "zstd")]
            Self::Zstd => Some("zstd"),
        }
    }
}

/// Bytes that are written before they go through the compressor: a block of zstd's. Encoding and compressing them
/// takes about as long as an audit thread may hold a core.
const BLOCK: usize = 128 * 1024;
/// Least room for what the compressor has to say.
#[cfg(feature = "zstd")]
const ROOM: usize = 8 * 1024;

#[cfg(feature = "zstd")]
type Context = zstd::stream::raw::Encoder<'static>;

/// What a body is made with, and the next one after it.
#[derive(Default)]
pub(super) struct Press {
    plain: Vec<u8>,
    #[cfg(feature = "zstd")]
    zstd: Option<Context>,
}

impl fmt::Debug for Press {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Press").finish_non_exhaustive()
    }
}

/// A body under construction.
pub(super) struct Body<'a> {
    press: &'a mut Press,
    compressor: Compressor,
}

enum Compressor {
    None,
    Gzip(GzEncoder<Vec<u8>>),
    #[cfg(feature = "zstd")]
    Zstd(Zstd),
}

impl<'a> Body<'a> {
    /// `expected` is about how many bytes will be written.
    pub(super) fn new(
        press: &'a mut Press,
        encoding: Encoding,
        expected: usize,
    ) -> io::Result<Self> {
        press.plain.clear();
        // Audit rows repeat each other: a tenth remains.
        let packed = Vec::with_capacity(expected / 10);
        let compressor = match encoding {
            Encoding::Plain => Compressor::None,
            // The fastest level: rows shrink to a tenth with any, and the time is the host's.
            Encoding::Gzip => Compressor::Gzip(GzEncoder::new(packed, flate2::Compression::fast())),
            #[cfg(feature = "zstd")]
            Encoding::Zstd => Compressor::Zstd(Zstd::new(press.zstd.take(), packed)?),
        };
        Ok(Self { press, compressor })
    }

    /// Where to append.
    pub(super) fn end(&mut self) -> &mut Vec<u8> {
        &mut self.press.plain
    }

    /// Compresses what is there if it is enough. To be called between events.
    pub(super) fn pass_on(&mut self) -> io::Result<()> {
        if self.press.plain.len() >= BLOCK && !matches!(self.compressor, Compressor::None) {
            self.compress()?;
            // Requests go first.
            std::thread::yield_now();
        }
        Ok(())
    }

    fn compress(&mut self) -> io::Result<()> {
        let plain = &mut self.press.plain;
        match &mut self.compressor {
            Compressor::None => return Ok(()),
            Compressor::Gzip(encoder) => encoder.write_all(plain)?,
            #[cfg(feature = "zstd")]
            Compressor::Zstd(encoder) => encoder.write(plain)?,
        }
        plain.clear();
        Ok(())
    }

    pub(super) fn finish(mut self) -> io::Result<Vec<u8>> {
        self.compress()?;
        match self.compressor {
            Compressor::None => Ok(std::mem::take(&mut self.press.plain)),
            Compressor::Gzip(encoder) => encoder.finish(),
            #[cfg(feature = "zstd")]
            Compressor::Zstd(encoder) => {
                let (out, context) = encoder.finish()?;
                self.press.zstd = Some(context);
                Ok(out)
            }
        }
    }
}

/// One frame of zstd.
#[cfg(feature = "zstd")]
struct Zstd {
    context: Context,
    out: Vec<u8>,
}

#[cfg(feature = "zstd")]
impl Zstd {
    /// `kept`: a context that has finished its frame. Making one costs as much as compressing a hundred rows.
    fn new(kept: Option<Context>, out: Vec<u8>) -> io::Result<Self> {
        let context = match kept {
            Some(context) => context,
            None => {
                // A small table forgets what is far away, and rows are most like the ones just before: less to send,
                // in less time. The shortest match is level 1's for long inputs, which these always resemble.
                let mut context = Context::new(1)?;
                context.set_parameter(CParameter::HashLog(12))?;
                context.set_parameter(CParameter::MinMatch(7))?;
                context
            }
        };
        Ok(Self { context, out })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut input = InBuffer::around(bytes);
        while input.pos() < bytes.len() {
            self.out.reserve(ROOM);
            let end = self.out.len();
            let mut output = OutBuffer::around_pos(&mut self.out, end);
            self.context.run(&mut input, &mut output)?;
        }
        Ok(())
    }

    fn finish(mut self) -> io::Result<(Vec<u8>, Context)> {
        loop {
            self.out.reserve(ROOM);
            let end = self.out.len();
            let mut output = OutBuffer::around_pos(&mut self.out, end);
            if self.context.finish(&mut output, true)? == 0 {
                return Ok((self.out, self.context));
            }
        }
    }
}
