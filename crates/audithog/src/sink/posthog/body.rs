//! The request body: written event by event through the compressor, so that the whole of it never
//! lies uncompressed in memory.

use std::io::{self, Write};

use flate2::write::GzEncoder;

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

/// A body under construction.
pub(super) enum Body {
    Plain(Vec<u8>),
    Gzip(GzEncoder<Vec<u8>>),
    #[cfg(feature = "zstd")]
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Body {
    /// `expected` is about how many bytes will be written.
    pub(super) fn new(encoding: Encoding, expected: usize) -> io::Result<Self> {
        // Audit rows repeat each other: a tenth remains.
        Ok(match encoding {
            Encoding::Plain => Self::Plain(Vec::with_capacity(expected)),
            // The fastest level: rows shrink to a tenth with any, and the time is the host's.
            Encoding::Gzip => Self::Gzip(GzEncoder::new(
                Vec::with_capacity(expected / 10),
                flate2::Compression::fast(),
            )),
            #[cfg(feature = "zstd")]
            Encoding::Zstd => Self::Zstd(zstd::stream::write::Encoder::new(
                Vec::with_capacity(expected / 10),
                1,
            )?),
        })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(out) => out.write_all(bytes),
            Self::Gzip(encoder) => encoder.write_all(bytes),
            #[cfg(feature = "zstd")]
            Self::Zstd(encoder) => encoder.write_all(bytes),
        }
    }

    pub(super) fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Plain(out) => Ok(out),
            Self::Gzip(encoder) => encoder.finish(),
            #[cfg(feature = "zstd")]
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}
