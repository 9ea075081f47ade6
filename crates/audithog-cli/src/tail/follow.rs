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
    access,
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
    let path = ledger::find(args.which.db.as_deref())?;
    let mut tail = Tail {
        // Of a ledger that is not there yet all rows are new.
        began: !path.exists(),
        path,
        filter,
        open: None,
        seen: 0,
        mark: None,
        waits: false,
        recorded: false,
    };
    loop {
        let step = match tail.began {
            true => tail.step(printer)?,
            false => tail.begin(printer, args.lines)?,
        };
        let wait = match step {
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

/// What the row with this number says that another file's row with the same number does not. None: retention removed it.
fn mark(log: &mut Log, seq: u64) -> Result<Option<String>, audithog::Error> {
    let row = log.row(seq)?;
    Ok(row.map(|row| row.row().id().to_string()))
}

struct Tail<'f> {
    path: PathBuf,
    /// The latest rows were shown.
    began: bool,
    filter: &'f Filter,
    open: Option<(Log, Identity)>,
    /// The last row that was shown, or passed over.
    seen: u64,
    /// That row's id: what tells whether another file goes on where this one ended.
    mark: Option<String>,
    /// It has said that it waits.
    waits: bool,
    /// There is a row about this look, or there is to be none.
    recorded: bool,
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

    /// Before rows are shown. A ledger that no service writes now may be written later.
    fn record(&mut self) -> Result<(), Failure> {
        if !self.recorded {
            let note = access::of(access::read("tail -f"), self.filter);
            self.recorded = access::record(&self.path, note)?;
        }
        Ok(())
    }

    fn wait(&mut self, error: &audithog::Error) {
        self.open = None;
        if !std::mem::replace(&mut self.waits, true) {
            remark(&format!("waiting: {}", plain(&sentence(error))));
        }
    }

    /// The latest rows, once the file can be read.
    fn begin(&mut self, printer: &mut Printer, lines: usize) -> Result<Step, Failure> {
        let filter = self.filter;
        let Some(log) = self.open()? else {
            return Ok(Step::Idle);
        };
        let found = log.head().and_then(|head| Ok((head, mark(log, head)?)));
        let (head, mark) = match found {
            Ok(found) => found,
            Err(error) => {
                self.wait(&error);
                return Ok(Step::Idle);
            }
        };
        self.record()?;
        let Some((log, _)) = &mut self.open else {
            return Ok(Step::Idle);
        };
        printer.latest(log, filter, lines, head)?;
        (self.seen, self.mark) = (head, mark);
        self.began = true;
        Ok(Step::More)
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
        let read = log
            .rows(self.filter, self.seen, head)
            .and_then(|rows| rows.take(STRETCH).collect::<Result<Vec<_>, _>>())
            .and_then(|rows| {
                // What the mark is read from may be gone as soon as the rows are printed.
                let upto = match rows.last() {
                    Some(last) if rows.len() >= STRETCH => last.seq(),
                    _ => head,
                };
                Ok((rows, upto, mark(log, upto)?))
            });
        // The log follows its name by itself: what another file has is not for here.
        if Identity::of(&self.path) != Some(*identity) {
            self.open = None;
            return Ok(Step::More);
        }
        let (rows, upto, mark) = match read {
            Ok(read) => read,
            Err(error) => {
                self.wait(&error);
                return Ok(Step::Idle);
            }
        };
        if !rows.is_empty() {
            self.record()?;
        }
        for row in &rows {
            printer.row(row).map_err(written)?;
        }
        printer.output.flush().map_err(written)?;
        self.seen = upto;
        self.mark = mark;
        Ok(if upto < head { Step::More } else { Step::Idle })
    }

    /// In a file that was opened anew: after the rows that were seen, if it has them or begins after them, else at its beginning.
    fn find_place(&mut self) {
        if self.seen == 0 {
            return;
        }
        let Some((log, _)) = &mut self.open else {
            return;
        };
        let found = log
            .pruned()
            .and_then(|pruned| Ok((pruned, mark(log, self.seen)?)));
        let (pruned, mark) = match found {
            Ok(found) => found,
            Err(error) => {
                self.wait(&error);
                return;
            }
        };
        if pruned >= self.seen || (mark.is_some() && mark == self.mark) {
            return;
        }
        remark("another ledger is in its place: its rows follow from the first");
        self.recorded = false;
        self.seen = 0;
        self.mark = None;
    }
}
