//! New rows as they come, whatever happens to the file.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use audithog::query::{Filter, Log};

use super::{Args, Printer, stop::Stop};
use crate::{
    failure::{Failure, sentence},
    ledger,
    output::{failed, plain, remark, written},
};

/// Between two looks at the head.
const POLL: Duration = Duration::from_millis(200);
/// Rows read, and printed, between two looks for a signal.
const STRETCH: usize = 1_000;

pub(super) fn run(args: &Args, filter: &Filter, printer: &mut Printer) -> Result<(), Failure> {
    let mut stop = Stop::new()?;
    let mut tail = Tail {
        path: ledger::find(args.which.db.as_deref())?,
        filter,
        open: None,
        seen: 0,
        mark: None,
        waits: false,
    };
    if let Some(log) = tail.open()? {
        let head = log.head().map_err(failed)?;
        printer.latest(log, filter, args.lines, head)?;
        tail.advance(head);
    }
    loop {
        let wait = match tail.step(printer)? {
            Step::Idle => POLL,
            Step::More => Duration::ZERO,
        };
        if stop.within(wait) {
            return Ok(());
        }
    }
}

enum Step {
    /// There may be more at once.
    More,
    Idle,
}

/// What tells one file from another under the same name. A number may be given again to a file that is made anew.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    number: u64,
    made: Option<SystemTime>,
}

impl Identity {
    fn of(path: &Path) -> Option<Self> {
        let found = fs::metadata(path).ok()?;
        Some(Self {
            device: found.dev(),
            number: found.ino(),
            made: found.created().ok(),
        })
    }
}

struct Tail<'f> {
    path: PathBuf,
    filter: &'f Filter,
    open: Option<(Log, Identity)>,
    /// The last row that was shown, or passed over.
    seen: u64,
    /// That row's id: what tells whether another file goes on where this one ended.
    mark: Option<String>,
    /// It has said that it waits.
    waits: bool,
}

impl Tail<'_> {
    /// The log, if it is there; says once that it is not.
    fn open(&mut self) -> Result<Option<&mut Log>, Failure> {
        if self.open.is_none() {
            let identity = Identity::of(&self.path);
            match (Log::open(&self.path), identity) {
                (Ok(log), Some(identity)) => {
                    if std::mem::take(&mut self.waits) {
                        remark("the ledger is there");
                    }
                    self.open = Some((log, identity));
                }
                (Ok(_), None) => {}
                (Err(error), _) if error.is_newer_ledger() => return Err(failed(error)),
                (Err(error), _) => self.wait(&error),
            }
        }
        Ok(self.open.as_mut().map(|(log, _)| log))
    }

    fn wait(&mut self, error: &audithog::Error) {
        self.open = None;
        if !std::mem::replace(&mut self.waits, true) {
            remark(&format!("waiting: {}", plain(&sentence(error))));
        }
    }

    fn step(&mut self, printer: &mut Printer) -> Result<Step, Failure> {
        if let Some((_, identity)) = &self.open
            && Identity::of(&self.path) != Some(*identity)
        {
            self.open = None;
        }
        let was_open = self.open.is_some();
        if self.open()?.is_none() {
            return Ok(Step::Idle);
        }
        if !was_open {
            self.find_place();
        }
        if self.mark.is_none() {
            // A service that opens or closes the file can be in the way.
            self.advance(self.seen);
        }
        let Some((log, _)) = &mut self.open else {
            return Ok(Step::Idle);
        };
        let head = match log.head() {
            Ok(head) => head,
            Err(error) => {
                self.wait(&error);
                return Ok(Step::Idle);
            }
        };
        if head < self.seen {
            // Rows never become fewer: something else was written into the file.
            self.open = None;
            return Ok(Step::More);
        }
        if head == self.seen {
            return Ok(Step::Idle);
        }
        self.print_new(printer, head)
    }

    fn print_new(&mut self, printer: &mut Printer, head: u64) -> Result<Step, Failure> {
        let Some((log, identity)) = &mut self.open else {
            return Ok(Step::Idle);
        };
        let rows = log
            .rows(self.filter, self.seen, head)
            .and_then(|rows| rows.take(STRETCH).collect::<Result<Vec<_>, _>>());
        // The log follows its name by itself: what another file has is not for here.
        if Identity::of(&self.path) != Some(*identity) {
            self.open = None;
            return Ok(Step::More);
        }
        let rows = match rows {
            Ok(rows) => rows,
            Err(error) => {
                self.wait(&error);
                return Ok(Step::Idle);
            }
        };
        for row in &rows {
            printer.row(row).map_err(written)?;
        }
        printer.output.flush().map_err(written)?;
        match rows.last() {
            Some(last) if rows.len() >= STRETCH => {
                self.advance(last.seq());
                Ok(Step::More)
            }
            _ => {
                self.advance(head);
                Ok(Step::Idle)
            }
        }
    }

    fn advance(&mut self, seen: u64) {
        self.seen = seen;
        self.mark = self.mark_at(seen);
    }

    fn mark_at(&mut self, seq: u64) -> Option<String> {
        let (log, _) = self.open.as_mut()?;
        // Retention may have removed it; then nothing is known of it.
        let row = log.row(seq).ok().flatten()?;
        Some(row.row().id().to_string())
    }

    /// In a file that was opened anew: after the rows that were seen, if it has them or begins after them, else at its beginning.
    fn find_place(&mut self) {
        if self.seen == 0 {
            return;
        }
        let Some((log, _)) = &mut self.open else {
            return;
        };
        let pruned = match log.pruned() {
            Ok(pruned) => pruned,
            Err(error) => {
                self.wait(&error);
                return;
            }
        };
        let mark = self.mark_at(self.seen);
        if pruned >= self.seen || (mark.is_some() && mark == self.mark) {
            return;
        }
        remark("another ledger is in its place: its rows follow from the first");
        self.seen = 0;
        self.mark = None;
    }
}
