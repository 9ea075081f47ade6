//! How far an export is, for somebody at a terminal.

use std::io::{self, IsTerminal as _};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar on standard error; nothing where no terminal is.
#[derive(Debug)]
pub(super) struct Progress(ProgressBar);

const LOOK: &str = "{bar:30} {percent:>3} %  row {human_pos} of {human_len}  {elapsed}, {eta} left";

impl Progress {
    /// From one row of the log to another.
    pub(super) fn new(after: u64, upto: u64, quiet: bool) -> Self {
        if quiet || !io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::with_draw_target(Some(upto), ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template(LOOK) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_position(after);
        bar.reset_eta();
        Self(bar)
    }

    pub(super) fn at(&self, seq: u64) {
        self.0.set_position(seq);
    }

    /// Takes the bar away.
    pub(super) fn end(&self) {
        self.0.finish_and_clear();
    }
}
