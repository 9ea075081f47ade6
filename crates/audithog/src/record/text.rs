//! The texts of a row.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use smol_str::SmolStr;

/// A text that is frozen: a constant, a short one kept in place, or a longer one that its clones share.
///
/// Most texts of a row are short (a user id, a role, a status' name, most paths), and one row has a dozen: kept in place, they cost no
/// allocation on the request's task, no visit to the allocator on the writer's thread, and no reference count that
/// cores would fight over.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Text(SmolStr);

impl Text {
    /// Without a copy, however long it is.
    pub(crate) const fn constant(text: &'static str) -> Self {
        Self(SmolStr::new_static(text))
    }
}

/// A text that its clones share, whatever its length: one word. For what few rows have, and for what is long and comes
/// again and again.
///
/// A row is written on one core, read by the writer and once more by each sink, most often when it has left their caches:
/// what it is smaller costs less than an allocation for the few that need one.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SharedText(Arc<Text>);

impl Deref for SharedText {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<Text> for SharedText {
    fn from(text: Text) -> Self {
        Self(Arc::new(text))
    }
}

impl From<&str> for SharedText {
    fn from(text: &str) -> Self {
        Text::from(text).into()
    }
}

impl From<String> for SharedText {
    fn from(text: String) -> Self {
        Text::from(text).into()
    }
}

impl From<&SharedText> for Text {
    fn from(text: &SharedText) -> Self {
        (*text.0).clone()
    }
}

impl PartialEq<str> for SharedText {
    fn eq(&self, other: &str) -> bool {
        **self == *other
    }
}

impl PartialEq<&str> for SharedText {
    fn eq(&self, other: &&str) -> bool {
        **self == **other
    }
}

impl Serialize for SharedText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl fmt::Display for SharedText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&*self.0, f)
    }
}

impl fmt::Debug for SharedText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        self
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(SmolStr::new(text))
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<Cow<'static, str>> for Text {
    fn from(text: Cow<'static, str>) -> Self {
        match text {
            Cow::Borrowed(text) => Self::constant(text),
            Cow::Owned(text) => text.into(),
        }
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        **self == *other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        **self == **other
    }
}

impl PartialEq<Text> for &str {
    fn eq(&self, other: &Text) -> bool {
        **self == **other
    }
}

impl PartialEq<Text> for String {
    fn eq(&self, other: &Text) -> bool {
        **self == **other
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&**self, f)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::Text;

    #[test]
    fn a_text_is_three_words_and_so_is_none() {
        assert_eq!(size_of::<Text>(), 24);
        assert_eq!(size_of::<Option<Text>>(), 24);
    }

    #[test]
    fn whatever_its_length_a_text_reads_as_it_was_given() {
        for n in 0..80 {
            let text = "ä".repeat(n);
            assert_eq!(Text::from(text.as_str()), text.as_str());
            assert_eq!(Text::from(text.clone()).clone(), text.as_str());
        }
        assert_eq!(Text::constant("constant"), Text::from("constant"));
    }
}
