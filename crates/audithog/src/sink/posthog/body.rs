//! The request body. A small one is compressed where it lies; a large one goes through the compressor in slices, so that
//! the whole of it never lies uncompressed in memory.

use std::fmt;
use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use flate2::write::GzEncoder;
#[cfg(feature = "zstd")]
use zstd::zstd_safe::{self, CCtx, CParameter, InBuffer, OutBuffer, ParamSwitch};

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

/// Bytes that are written before they go through the compressor, and the core is offered: 35 to 100 µs of work. The kernel lets
/// a thread that computes keep its core for milliseconds, whoever wakes up meanwhile; a request shall not wait so long.
const SLICE: usize = 32 * 1024;
/// The same while rows come faster than they are sent: up to a millisecond. Whoever else computes on the core then has
/// it for milliseconds each time it is offered, and with slices of 100 µs a sink would never come near the head again.
const LONG_SLICE: usize = 256 * 1024;
/// The same for zstd while nobody takes the core when it is offered. Each slice is a block with tables of its own, and a block
/// is never larger (RFC 8878, 3.1.1.2.4). Gzip would gain nothing, and takes several times as long for it.
const QUIET_SLICE: usize = 128 * 1024;
/// Offers in a row that nobody took before slices grow: a millisecond or two without a request. Fewer come by chance while a service is
/// half busy, and then its requests wait for the long slices; more never come where the writer settles beside the sink.
const QUIET_OFFERS: u32 = 32;
/// An offer that lasts longer was taken. Without a taker it is a call of the kernel, of a microsecond; a small request takes
/// five and more.
const TAKEN: Duration = Duration::from_micros(4);
/// As a power of two: a whole body fits, most often. Once the window is full and begins anew, every match is looked for in
/// two places, which takes half as long again. Decoders shall take windows up to 8 MiB (RFC 8878, 3.1.1.1.2).
#[cfg(feature = "zstd")]
const WINDOW: u32 = 21;
/// Least room for what the compressor has to say.
#[cfg(feature = "zstd")]
const ROOM: usize = 8 * 1024;

/// What a body is made with, and the next one after it.
#[derive(Default)]
pub(super) struct Press {
    plain: Vec<u8>,
    hurry: bool,
    /// Offers of the core that nobody took, since the last one that somebody did.
    untaken: u32,
    #[cfg(feature = "zstd")]
    zstd: Option<CCtx<'static>>,
    /// Where a body is compressed in one go: as much room as the worst case needs, of which rows touch a tenth.
    #[cfg(feature = "zstd")]
    packed: Vec<u8>,
}

impl Press {
    /// See `Sink::hurry`.
    pub(super) fn hurry(&mut self, hurry: bool) {
        self.hurry = hurry;
    }

    fn slice(&self, makes_blocks: bool) -> usize {
        match self.hurry {
            true => LONG_SLICE,
            false if makes_blocks && self.untaken >= QUIET_OFFERS => QUIET_SLICE,
            false => SLICE,
        }
    }

    /// The core was offered, and was back after `away`.
    fn offered(&mut self, away: Duration) {
        self.untaken = match away > TAKEN {
            true => 0,
            false => self.untaken.saturating_add(1),
        };
    }
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
    /// Of a body that is not compressed: what was there when the core was last offered.
    offered: usize,
}

enum Compressor {
    None,
    Gzip(GzEncoder<Vec<u8>>),
    #[cfg(feature = "zstd")]
    Zstd(Zstd),
}

impl Compressor {
    /// Fewer slices are less work.
    fn makes_blocks(&self) -> bool {
        match self {
            Self::None | Self::Gzip(_) => false,
            #[cfg(feature = "zstd")]
            Self::Zstd(_) => true,
        }
    }
}

impl<'a> Body<'a> {
    /// `expected` is about how many bytes will be written.
    pub(super) fn new(
        press: &'a mut Press,
        encoding: Encoding,
        expected: usize,
    ) -> io::Result<Self> {
        press.plain.clear();
        let compressor = match encoding {
            Encoding::Plain => Compressor::None,
            // The fastest level: rows shrink to a tenth with any, and the time is the host's.
            Encoding::Gzip => Compressor::Gzip(GzEncoder::new(
                // Audit rows repeat each other: a tenth remains.
                Vec::with_capacity(expected / 10),
                flate2::Compression::fast(),
            )),
            #[cfg(feature = "zstd")]
            Encoding::Zstd => Compressor::Zstd(Zstd::new(press.zstd.take())?),
        };
        Ok(Self {
            press,
            compressor,
            offered: 0,
        })
    }

    /// Where to append.
    pub(super) fn end(&mut self) -> &mut Vec<u8> {
        &mut self.press.plain
    }

    /// Compresses what is there if it is enough. To be called between events.
    pub(super) fn pass_on(&mut self) -> io::Result<()> {
        let written = self.press.plain.len();
        let slice = self.press.slice(self.compressor.makes_blocks());
        if written < self.offered + slice {
            return Ok(());
        }
        if matches!(self.compressor, Compressor::None) {
            self.offered = written;
        } else {
            self.compress()?;
        }
        // Requests go first.
        let since = Instant::now();
        std::thread::yield_now();
        self.press.offered(since.elapsed());
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
        #[cfg(feature = "zstd")]
        if let Compressor::Zstd(encoder) = self.compressor {
            let Press {
                plain,
                zstd,
                packed,
                ..
            } = self.press;
            let (out, context) = encoder.finish(plain, packed)?;
            *zstd = Some(context);
            return Ok(out);
        }
        self.compress()?;
        match self.compressor {
            Compressor::Gzip(encoder) => encoder.finish(),
            _ => Ok(std::mem::take(&mut self.press.plain)),
        }
    }
}

/// One frame of zstd.
#[cfg(feature = "zstd")]
struct Zstd {
    context: CCtx<'static>,
    /// Empty until a first slice went through.
    out: Vec<u8>,
    begun: bool,
}

#[cfg(feature = "zstd")]
impl Zstd {
    /// `kept`: a context that has finished its frame. Making one costs as much as compressing a hundred rows.
    fn new(kept: Option<CCtx<'static>>) -> io::Result<Self> {
        let context = match kept {
            Some(context) => context,
            None => {
                let mut context = CCtx::try_create()
                    .ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
                // A small table forgets what is far away, and rows are most like the ones just before: less to send,
                // in less time. The shortest match is level 1's for long inputs, which these always resemble. With
                // every fourth place looked at instead of every second one, a tenth less is done for a twentieth more
                // to send; it would turn the compression of literals off, which halves them.
                for parameter in [
                    CParameter::CompressionLevel(1),
                    CParameter::WindowLog(WINDOW),
                    CParameter::HashLog(12),
                    CParameter::MinMatch(7),
                    CParameter::TargetLength(3),
                    CParameter::LiteralCompressionMode(ParamSwitch::Enable),
                ] {
                    context.set_parameter(parameter).map_err(failed)?;
                }
                context
            }
        };
        Ok(Self {
            context,
            out: Vec::new(),
            begun: false,
        })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.begun = true;
        let mut input = InBuffer::around(bytes);
        while input.pos() < bytes.len() {
            self.out.reserve(ROOM);
            let end = self.out.len();
            let mut output = OutBuffer::around_pos(&mut self.out, end);
            self.context
                .compress_stream(&mut output, &mut input)
                .map_err(failed)?;
        }
        // Else four slices gather, and are compressed in one go.
        loop {
            self.out.reserve(ROOM);
            let end = self.out.len();
            let mut output = OutBuffer::around_pos(&mut self.out, end);
            if self.context.flush_stream(&mut output).map_err(failed)? == 0 {
                return Ok(());
            }
        }
    }

    /// `rest` is what did not go through yet: most often everything, and then it need not be copied into the stream's
    /// window.
    fn finish(mut self, rest: &[u8], packed: &mut Vec<u8>) -> io::Result<(Vec<u8>, CCtx<'static>)> {
        if !self.begun {
            packed.clear();
            packed.reserve(zstd_safe::compress_bound(rest.len()));
            self.context.compress2(packed, rest).map_err(failed)?;
            return Ok((packed.clone(), self.context));
        }
        if !rest.is_empty() {
            self.write(rest)?;
        }
        loop {
            self.out.reserve(ROOM);
            let end = self.out.len();
            let mut output = OutBuffer::around_pos(&mut self.out, end);
            if self.context.end_stream(&mut output).map_err(failed)? == 0 {
                return Ok((self.out, self.context));
            }
        }
    }
}

#[cfg(feature = "zstd")]
fn failed(code: usize) -> io::Error {
    io::Error::other(zstd_safe::get_error_name(code))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Body, Encoding, LONG_SLICE, Press, QUIET_OFFERS, QUIET_SLICE, SLICE, TAKEN};

    /// How much gathers in a body before it goes through the compressor.
    fn slice(encoding: Encoding, hurry: bool, untaken: u32) -> usize {
        let mut press = Press {
            untaken,
            ..Press::default()
        };
        press.hurry(hurry);
        let mut body = Body::new(&mut press, encoding, 0).unwrap();
        let mut written = 0;
        loop {
            body.end().extend_from_slice(&[b'x'; 1_024]);
            written += 1_024;
            body.pass_on().unwrap();
            if body.end().is_empty() {
                return written;
            }
        }
    }

    #[test]
    fn a_sink_in_a_hurry_holds_its_core_for_longer() {
        assert_eq!(slice(Encoding::Gzip, false, 0), SLICE);
        assert_eq!(slice(Encoding::Gzip, true, 0), LONG_SLICE);
    }

    #[test]
    fn the_core_is_held_for_longer_while_nobody_takes_it() {
        let mut press = Press::default();
        for _ in 0..QUIET_OFFERS {
            assert_eq!(press.slice(true), SLICE);
            press.offered(TAKEN);
        }
        assert_eq!(press.slice(true), QUIET_SLICE);
        press.offered(TAKEN + Duration::from_nanos(1));
        assert_eq!(press.slice(true), SLICE);
        press.hurry(true);
        assert_eq!(press.slice(true), LONG_SLICE);

        assert_eq!(slice(Encoding::Gzip, false, QUIET_OFFERS), SLICE);
        #[cfg(feature = "zstd")]
        assert_eq!(slice(Encoding::Zstd, false, QUIET_OFFERS), QUIET_SLICE);
    }
}
