//! Bodies as they were before compression.

use std::fmt;

use libdeflater::Decompressor;
use memchr::memmem;

use crate::http::{Head, MOST_BODY};

/// Keeps its decompressors and its buffer: both are large.
pub(crate) struct Unpacker {
    gzip: Decompressor,
    zstd: Option<zstd::bulk::Decompressor<'static>>,
    plain: Vec<u8>,
}

impl Default for Unpacker {
    fn default() -> Self {
        Self {
            gzip: Decompressor::new(),
            zstd: zstd::bulk::Decompressor::new().ok(),
            plain: Vec::new(),
        }
    }
}

impl fmt::Debug for Unpacker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unpacker").finish_non_exhaustive()
    }
}

impl Unpacker {
    /// The plain body, if it can be read. The header counts, then the query, then the first bytes.
    pub(super) fn unpack<'a>(
        &'a mut self,
        head: &Head<'_>,
        target: &[u8],
        body: &'a [u8],
    ) -> Option<&'a [u8]> {
        match head.header("content-encoding") {
            Some(b"zstd") => self.unpack_zstd(body),
            Some(b"gzip") => self.unpack_gzip(body),
            Some(b"identity") | None => {
                let said = memmem::find(target, b"compression=gzip").is_some();
                if said || body.starts_with(&[0x1f, 0x8b]) {
                    self.unpack_gzip(body)
                } else {
                    Some(body)
                }
            }
            Some(_) => None,
        }
    }

    fn unpack_gzip(&mut self, body: &[u8]) -> Option<&[u8]> {
        // The last four bytes are the plain length, if there is one member.
        let said = body
            .len()
            .checked_sub(4)
            .and_then(|at| body[at..].first_chunk::<4>())?;
        let length = usize::try_from(u32::from_le_bytes(*said))
            .ok()
            .filter(|length| *length <= MOST_BODY)?;
        self.plain.resize(length.max(self.plain.len()), 0);
        let written = self.gzip.gzip_decompress(body, &mut self.plain).ok()?;
        Some(&self.plain[..written])
    }

    fn unpack_zstd(&mut self, body: &[u8]) -> Option<&[u8]> {
        let said = zstd::zstd_safe::get_frame_content_size(body).ok()?;
        // A stream does not say its length; this much is room for what a stack sends at once.
        let length = said.map_or(Some(8 << 20), |length| usize::try_from(length).ok())?;
        if length > MOST_BODY {
            return None;
        }
        self.plain.resize(length.max(self.plain.len()), 0);
        let written = self
            .zstd
            .as_mut()?
            .decompress_to_buffer(body, &mut self.plain[..])
            .ok()?;
        Some(&self.plain[..written])
    }
}
