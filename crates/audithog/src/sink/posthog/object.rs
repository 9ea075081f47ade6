//! JSON, written straight into the request body: no tree of values in between.

use std::fmt::{self, Display};
use std::io::Write as _;

use serde_json::value::RawValue;

/// A JSON object under construction. Writing to memory does not fail, so nothing is returned.
pub(super) struct Object<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

impl<'a> Object<'a> {
    pub(super) fn open(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, empty: true }
    }

    pub(super) fn close(self) {
        self.out.push(b'}');
    }

    /// A name of ours: it needs no escapes.
    fn name(&mut self, name: &'static str) {
        self.comma();
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    /// A name from outside.
    pub(super) fn given_name(&mut self, name: &str) {
        self.comma();
        self.string(name);
        self.out.push(b':');
    }

    fn comma(&mut self) {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
    }

    pub(super) fn string(&mut self, text: &str) {
        let _ = serde_json::to_writer(&mut *self.out, text);
    }

    pub(super) fn text(&mut self, name: &'static str, value: &str) {
        self.name(name);
        self.string(value);
    }

    pub(super) fn optional(&mut self, name: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    /// A value whose text needs quotes but no escapes.
    pub(super) fn shown(&mut self, name: &'static str, value: impl Display) {
        self.name(name);
        let _ = write!(self.out, "\"{value}\"");
    }

    /// A value whose text is JSON.
    pub(super) fn plain(&mut self, name: &'static str, value: impl Display) {
        self.name(name);
        let _ = write!(self.out, "{value}");
    }

    pub(super) fn spliced(&mut self, name: &str, value: &RawValue) {
        self.given_name(name);
        self.out.extend_from_slice(value.get().as_bytes());
    }

    pub(super) fn object(&mut self, name: &'static str) -> Object<'_> {
        self.name(name);
        Object::open(self.out)
    }
}

/// Microseconds, shown as milliseconds.
pub(super) struct Millis(pub(super) u64);

impl Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / 1_000, self.0 % 1_000) {
            (whole, 0) => write!(f, "{whole}"),
            (whole, rest) => write!(f, "{whole}.{rest:03}"),
        }
    }
}
