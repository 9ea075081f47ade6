//! What can go wrong before a page is asked for.

use std::fmt;
use std::io;

/// Why a console cannot be made or served.
#[derive(Debug)]
pub struct Error(Kind);

#[derive(Debug)]
enum Kind {
    Setting(String),
    Listen(String, io::Error),
}

impl Error {
    pub(crate) fn setting(text: String) -> Self {
        Self(Kind::Setting(text))
    }

    pub(crate) fn listen(text: String, error: io::Error) -> Self {
        Self(Kind::Listen(text, error))
    }

    /// Something that was given cannot be used: an address, a link, a token, or none where one is needed.
    #[must_use]
    pub fn is_setting(&self) -> bool {
        matches!(self.0, Kind::Setting(_))
    }

    /// The address cannot be listened on.
    #[must_use]
    pub fn is_listen(&self) -> bool {
        matches!(self.0, Kind::Listen(..))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Setting(text) | Kind::Listen(text, _) => f.write_str(text),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0 {
            Kind::Setting(_) => None,
            Kind::Listen(_, error) => Some(error),
        }
    }
}
