//! `audithog export`.

use std::{
    io,
    path::{Path, PathBuf},
};

use audithog::query::Log;

use crate::{
    access,
    failure::Failure,
    files,
    filters::Filters,
    ledger::{self, Which},
    output::{Output, bytes, counted, failed, written},
};

mod form;
mod losses;
mod manifest;
mod parquet;
mod place;
mod progress;
mod rows;
mod sink;
mod state;

use form::{Form, Names, WriteFailure, Writer};
use manifest::{Facts, Manifest};
use place::Place;
use progress::Progress;
use rows::Wanted;
use sink::Sink;
use state::{Request, State};

const LONG_ABOUT: &str = "\
Write rows of the log to a file, with a manifest

Any number of rows takes the same memory, and a service that writes the log is never kept from it. The file appears under its name once \
it is complete and on the disk, with mode 0600; until then it is .FILE.part beside it. FILE.manifest.json says what is in it: filters, \
time range, first and last row, count, SHA-256, rows that were lost in that time, and what each column means.

The export is of the rows that are there when it begins. Without --since it begins with the first that is left.

With --user it answers a person's request for their data: every row whose user_id or on_behalf_of is that user. The manifest says so.";

const AFTER_LONG_HELP: &str = "\
Examples:
  audithog export -o log.ndjson
  audithog export -o november.parquet --since 2026-11-01 --until 2026-12-01
  audithog export -o failures.csv --result failure --since 7d
  audithog export -o u_17.ndjson --user u_17
  audithog export -o log.ndjson --resume           Goes on with an interrupted one
  audithog export --schema ecs -o - | gzip > log.ecs.gz

Exit codes:
  0  Done
  1  It could not be written, or the ledger cannot be read
  2  A wrong argument";

/// Write rows to a file: ndjson, CSV or Parquet, also as OCSF, ECS or OpenTelemetry
#[derive(Debug, clap::Args)]
#[command(long_about = LONG_ABOUT, after_long_help = AFTER_LONG_HELP, after_help = "See --help for examples and exit codes.")]
pub(crate) struct Args {
    /// The file; `-` is standard output
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,

    /// What to write [default: by the ending of FILE, else ndjson]
    #[arg(long, value_enum)]
    format: Option<Form>,

    /// The names that rows are written in
    #[arg(long, value_enum, default_value_t = Names::Audithog)]
    schema: Names,

    /// Where the manifest goes [default: FILE.manifest.json; none for standard output]
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,

    /// Go on with an interrupted export of the same rows to FILE; if there is none, begin
    #[arg(long)]
    resume: bool,

    /// Replace FILE and its manifest if they are there, and begin anew
    #[arg(long, conflicts_with = "resume")]
    force: bool,

    /// Neither a progress bar nor a summary
    #[arg(long, short)]
    quiet: bool,

    #[command(flatten)]
    which: Which,

    #[command(flatten)]
    filters: Filters,
}

/// An export under way.
struct Export {
    logs: Vec<Log>,
    wanted: Wanted,
    writer: Writer,
    sink: Sink,
    state: State,
    /// None: standard output.
    place: Option<Place>,
}

pub(crate) fn run(mut args: Args) -> Result<(), Failure> {
    let form = Form::of(args.format, &args.output);
    let writer = form.writer(args.schema)?;
    let to_output = args.output == Path::new("-");
    if to_output && args.resume {
        let text = "--resume needs a file: standard output keeps nothing";
        return Err(Failure::new(2, text));
    }
    let manifest = match (&args.manifest, to_output) {
        (Some(path), _) => Some(path.clone()),
        (None, true) => None,
        (None, false) => Some(manifest::beside(&args.output)),
    };
    let ledger = ledger::find(args.which.db.as_deref())?;
    if let Some(path) = &manifest {
        must_have_places_of_their_own(path, &args.output)?;
        files::must_not_be_of(&ledger, &manifest::part(path))?;
    }
    let (place, before) = if to_output {
        (None, None)
    } else {
        files::must_be_free(&args.output, args.force, &ledger)?;
        for path in place::paths(&args.output) {
            files::must_not_be_of(&ledger, &path)?;
        }
        let (place, before) = Place::take(&args.output, args.resume, args.force)?;
        (Some(place), before)
    };
    // An export that was killed at its very end has written its manifest.
    if let Some(path) = &manifest {
        let free = files::must_be_free(path, args.force || before.is_some(), &ledger);
        let free = free.and_then(|()| manifest::try_place(path));
        free.inspect_err(|_| {
            abandon(&place);
        })?;
    }
    let export = prepare(&mut args, form, writer, place, before.as_ref())?;
    export.run(&args, manifest.as_deref())
}

/// The export and its manifest are written one after the other: neither may take what the other has made.
fn must_have_places_of_their_own(manifest: &Path, output: &Path) -> Result<(), Failure> {
    if manifest == Path::new("-") {
        let text = "--manifest needs a file: standard output is for the rows";
        return Err(Failure::new(2, text));
    }
    let mut taken = place::paths(output).to_vec();
    taken.push(output.to_owned());
    let taken: Vec<PathBuf> = taken.iter().map(|path| files::place(path)).collect();
    let wanted = [manifest.to_owned(), manifest::part(manifest)];
    if wanted
        .iter()
        .any(|path| taken.contains(&files::place(path)))
    {
        let text = format!(
            "--manifest {} is a file that -o {} makes: name another one",
            manifest.display(),
            output.display()
        );
        return Err(Failure::new(2, text));
    }
    Ok(())
}

fn abandon(place: &Option<Place>) -> bool {
    place.as_ref().is_some_and(Place::abandon)
}

/// Opens the ledger, and begins the file or goes on with it.
fn prepare(
    args: &mut Args,
    form: Form,
    mut writer: Writer,
    mut place: Option<Place>,
    before: Option<&State>,
) -> Result<Export, Failure> {
    let users = args.filters.take_users();
    let found = find(args, form, users, before);
    let (logs, wanted, state) = found.inspect_err(|_| {
        abandon(&place);
    })?;
    let sink = match (&mut place, before) {
        (None, _) => Sink::output(),
        (Some(place), None) => place.begin()?,
        (Some(place), Some(before)) => {
            let (sink, notes) = place.resume(before)?;
            writer.resume(notes);
            sink
        }
    };
    Ok(Export {
        logs,
        wanted,
        writer,
        sink,
        state,
        place,
    })
}

/// What is asked for, and where the export stands.
fn find(
    args: &Args,
    form: Form,
    users: Vec<String>,
    before: Option<&State>,
) -> Result<(Vec<Log>, Wanted, State), Failure> {
    let clock = args.which.clock();
    // Spans of time are counted from when the export began.
    let clock = match before {
        Some(before) => clock.at_time(before.began()),
        None => clock,
    };
    let filter = args.filters.filter(&clock, None)?;
    let wanted = Wanted::new(filter, users)?;
    let mut note = access::of(access::export("export"), wanted.common());
    // As the manifest has them, with the persons that it is about.
    let common = wanted.common().conditions().len();
    for condition in wanted.conditions().into_iter().skip(common) {
        note = note.asked(condition);
    }
    let mut logs = vec![ledger::log(args.which.db.as_deref(), note)?];
    while logs.len() < wanted.walks() {
        logs.push(ledger::again(&logs[0])?);
    }
    let request = Request {
        ledger: logs[0].path().display().to_string(),
        format: form,
        schema: args.schema,
        since: wanted.common().since_text(),
        until: wanted.common().until_text(),
        conditions: wanted.conditions(),
    };
    let state = match before {
        Some(before) => continued(before, &request, &mut logs[0])?,
        None => {
            let pruned = logs[0].pruned().map_err(failed)?;
            let upto = logs[0].head().map_err(failed)?;
            State::new(request, clock.now(), upto, pruned)
        }
    };
    Ok((logs, wanted, state))
}

/// The state, if it is of the same rows in the same ledger.
fn continued(before: &State, request: &Request, log: &mut Log) -> Result<State, Failure> {
    if before.request != *request {
        let text = "the interrupted export was asked for other rows, or in another way: give the same options, \
                    or --force to begin anew";
        return Err(Failure::new(2, text));
    }
    let last = before.tally.last_seq;
    let row = log.row(last).map_err(failed)?;
    let same = row.map(|row| row.row().id().as_hyphenated().to_string());
    let is_gone = same.is_none() && last <= log.pruned().map_err(failed)?;
    let other = last > 0 && !is_gone && same.as_ref() != Some(&before.tally.last_id);
    if other || log.head().map_err(failed)? < before.upto {
        let text =
            "another ledger is there now than when the export was interrupted: --force begins anew";
        return Err(Failure::new(1, text));
    }
    Ok(before.clone())
}

impl Export {
    fn run(mut self, args: &Args, manifest: Option<&Path>) -> Result<(), Failure> {
        let progress = Progress::new(self.state.tally.last_seq, self.state.upto, args.quiet);
        let done = self.write(&args.output, &progress);
        progress.end();
        let done = done.and_then(|()| self.finish(args, manifest));
        done.map_err(|failure| match abandon(&self.place) {
            true => failure.with("--resume goes on where it stopped"),
            false => failure,
        })?;
        if args.quiet || self.place.is_none() {
            return Ok(());
        }
        let mut output = Output::standard();
        let text = format!(
            "{} in {} ({})",
            counted(self.state.tally.rows, "row"),
            args.output.display(),
            bytes(self.state.bytes)
        );
        output.line(&text).map_err(written)?;
        output.end()
    }

    /// All rows, chunk by chunk.
    fn write(&mut self, path: &Path, progress: &Progress) -> Result<(), Failure> {
        let cannot = |error: io::Error| match path == Path::new("-") {
            true => written(error),
            false => files::cannot_write(path)(error),
        };
        if self.sink.bytes() == 0 {
            self.writer.begin(&mut self.sink).map_err(cannot)?;
        }
        let mut facts = Log::open(self.logs[0].path()).map_err(failed)?;
        let (after, upto) = (self.state.tally.last_seq, self.state.upto);
        let rows = self.wanted.walk(&mut self.logs, after, upto)?;
        let mut rows = rows.inspect(|row| {
            if let Ok(row) = row {
                progress.at(row.seq());
            }
        });
        loop {
            let (sink, tally) = (&mut self.sink, &mut self.state.tally);
            let more = self.writer.chunk(&mut rows, sink, tally);
            let more = more.map_err(|failure| match failure {
                WriteFailure::Write(error) => cannot(error),
                WriteFailure::Rows(failure) => failure,
            })?;
            let pruned = facts.pruned().map_err(failed)?;
            if pruned > self.state.pruned && pruned > self.state.tally.last_seq {
                self.state.overtaken = Some(pruned.min(upto));
            }
            if !more {
                return Ok(());
            }
            self.sink.sync().map_err(cannot)?;
            self.state.bytes = self.sink.bytes();
            if let Some(place) = &mut self.place {
                place
                    .save(&mut self.state, self.writer.notes())
                    .map_err(cannot)?;
            }
        }
    }

    /// The end of the file, its manifest, its name.
    fn finish(&mut self, args: &Args, manifest: Option<&Path>) -> Result<(), Failure> {
        let cannot = files::cannot_write(&args.output);
        let ended = self.writer.end(&mut self.sink);
        let ended = ended.and_then(|()| self.sink.sync());
        ended.map_err(|error| match self.place {
            Some(_) => cannot(error),
            None => written(error),
        })?;
        self.state.bytes = self.sink.bytes();
        if let Some(path) = manifest {
            let log = &mut self.logs[0];
            let losses = losses::read(log, self.wanted.common(), self.state.upto)?;
            let notes = manifest::notes(log, &self.wanted, &self.state)?;
            let facts = Facts {
                file: self.place.as_ref().map(|_| &*args.output),
                state: &self.state,
                wanted: &self.wanted,
                clock: &args.which.clock(),
                sha256: self.sink.sha256(),
                losses,
                notes,
            };
            Manifest::new(facts).write(path)?;
        }
        match &self.place {
            Some(place) => place.finish().map_err(cannot),
            None => Ok(()),
        }
    }
}
