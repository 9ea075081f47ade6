//! Choices from bytes, for targets whose input is not the text itself.

/// Hands out the input from left to right; past its end everything is zero or empty.
#[derive(Debug)]
pub(crate) struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self { rest: data }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or_default()
    }

    pub(crate) fn number(&mut self) -> u64 {
        let mut number = [0; 8];
        let found = self.bytes(8);
        number[..found.len()].copy_from_slice(found);
        u64::from_le_bytes(number)
    }

    /// A byte of length, then as many bytes.
    pub(crate) fn short(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte());
        self.bytes(length)
    }

    /// Like [`short`](Self::short), as UTF-8; now and then far longer than what was read.
    pub(crate) fn text(&mut self) -> String {
        let times = match self.byte() {
            0xff => 300,
            0xfe => 40,
            _ => 1,
        };
        String::from_utf8_lossy(self.short()).repeat(times)
    }

    pub(crate) fn optional<T>(&mut self, take: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.byte() & 1 == 1).then(|| take(self))
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// At most `length` bytes.
    pub(crate) fn bytes(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(length.min(self.rest.len()));
        self.rest = rest;
        taken
    }
}
