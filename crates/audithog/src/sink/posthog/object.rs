//! A JSON object, written straight into the request body: no tree of values in between.

use serde_json::value::RawValue;

use super::json;

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

    /// Goes on with an object that is open in `out` and has a member.
    pub(super) fn go_on(out: &'a mut Vec<u8>) -> Self {
        Self { out, empty: false }
    }

    pub(super) fn close(self) {
        self.out.push(b'}');
    }

    /// A name of ours: it needs no escapes.
    fn name(&mut self, name: &'static str) {
        self.comma();
        json::quoted(self.out, name.as_bytes());
        self.out.push(b':');
    }

    /// A name from outside.
    fn given_name(&mut self, name: &str) {
        self.comma();
        json::string(self.out, name);
        self.out.push(b':');
    }

    fn comma(&mut self) {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
    }

    pub(super) fn text(&mut self, name: &'static str, value: &str) {
        self.name(name);
        json::string(self.out, value);
    }

    pub(super) fn optional(&mut self, name: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    pub(super) fn flag(&mut self, name: &'static str, value: bool) {
        self.name(name);
        let text: &[u8] = if value { b"true" } else { b"false" };
        self.out.extend_from_slice(text);
    }

    /// A text under a name from outside.
    pub(super) fn given(&mut self, name: &str, value: &str) {
        self.given_name(name);
        json::string(self.out, value);
    }

    /// JSON under a name from outside.
    pub(super) fn spliced(&mut self, name: &str, value: &RawValue) {
        self.given_name(name);
        self.out.extend_from_slice(value.get().as_bytes());
    }

    pub(super) fn object(&mut self, name: &'static str) -> Object<'_> {
        self.name(name);
        Object::open(self.out)
    }
}
