//! Standard output: colours where somebody sees them, and its end.

use std::{
    env,
    fmt::Display,
    io::{self, IsTerminal as _, Write as _},
};

use tokio::sync::watch;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Style {
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
}

#[derive(Debug)]
pub(crate) struct Console {
    colors: bool,
    open: watch::Sender<bool>,
}

impl Console {
    /// Colours on a terminal, unless `NO_COLOR` is set (no-color.org) or the terminal is dumb.
    pub(crate) fn stdout() -> Self {
        let set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self::new(io::stdout().is_terminal() && !set("NO_COLOR") && !dumb)
    }

    pub(crate) fn new(colors: bool) -> Self {
        Self {
            colors,
            open: watch::Sender::new(true),
        }
    }

    /// Prints one line. When nobody reads any more nothing is printed, and [`closed`](Self::closed) completes.
    pub(crate) fn line(&self, line: impl Display) {
        if *self.open.borrow() && writeln!(io::stdout(), "{line}").is_err() {
            self.open.send_replace(false);
        }
    }

    pub(crate) fn paint(&self, style: Style, text: impl Display) -> String {
        if !self.colors {
            return text.to_string();
        }
        // Select Graphic Rendition, ECMA-48.
        let code = match style {
            Style::Bold => 1,
            Style::Dim => 2,
            Style::Red => 31,
            Style::Green => 32,
            Style::Yellow => 33,
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// Completes once a line could not be printed: the reader of a pipe is gone.
    pub(crate) async fn closed(&self) {
        let mut open = self.open.subscribe();
        // The sender lives as long as `self`.
        let _ = open.wait_for(|open| !open).await;
    }
}
