//! A status for people.

use std::io;

use audithog::inspect::{
    Books, Equation, Problem, ProblemKind, Projection, RunState, RunStatus, SinkStatus, Status,
};

use crate::output::{Output, Style, age, bytes, counted, number, plain, time, wait};

/// The column of labels.
const LABEL: usize = 10;
/// Routes of a projection that are shown; JSON has more.
const ROUTES: usize = 10;
/// Runs that have ended and are shown.
const ENDED: usize = 1;

pub(super) fn status(
    out: &mut Output,
    status: &Status,
    projection: Option<&Projection>,
    problems: &[Problem],
) -> io::Result<()> {
    let service = status.service.as_deref().unwrap_or("no service yet");
    let environment = status.environment.as_deref();
    let environment = environment.map_or(String::new(), |name| format!(" ({name})"));
    let title = format!("Audit log of {}", plain(&format!("{service}{environment}")));
    out.line(&out.paint(&title, Style::Bold))?;
    out.line("")?;
    file(out, status)?;
    runs(out, status)?;
    rows(out, status)?;
    losses(out, status)?;
    for sink in &status.sinks {
        out.line("")?;
        self::sink(out, sink)?;
    }
    if status.sinks.is_empty() {
        out.line("")?;
        let none = "none; without POSTHOG_API_KEY nothing leaves the process";
        out.entry("Sinks", LABEL, none)?;
    }
    out.line("")?;
    books(out, &status.equations)?;
    if let Some(projection) = projection {
        out.line("")?;
        self::projection(out, projection)?;
    }
    out.line("")?;
    self::problems(out, problems)
}

fn file(out: &mut Output, status: &Status) -> io::Result<()> {
    let file = &status.file;
    out.entry("File", LABEL, &file.path.display().to_string())?;
    let space = match (file.disk_free_bytes, file.disk_bytes) {
        (Some(free), Some(all)) => format!(", {} of {} free", bytes(free), bytes(all)),
        _ => String::new(),
    };
    let sizes = format!(
        "{}, write-ahead log {}{space}, schema {}",
        bytes(file.bytes),
        bytes(file.log_bytes),
        file.schema
    );
    out.entry("", LABEL, &sizes)?;
    for damaged in &file.damaged {
        let shown = format!("damaged and put aside: {}", damaged.display());
        out.entry("", LABEL, &shown)?;
    }
    Ok(())
}

fn runs(out: &mut Output, status: &Status) -> io::Result<()> {
    let mut ended = 0;
    let mut label = "Runs";
    for run in &status.runs {
        if matches!(run.state, RunState::Ended | RunState::Killed) {
            ended += 1;
            if ended > ENDED {
                continue;
            }
        }
        out.entry(std::mem::take(&mut label), LABEL, &run_text(run))?;
        if let Some(books) = &run.books {
            let text = format!(
                "{} seen, {} in progress; {} accepted, {} stored, {} in memory",
                counted(books.requests_seen, "request"),
                number(books.requests_in_progress),
                counted(books.accepted, "row"),
                number(books.stored),
                number(books.queued),
            );
            out.entry("", LABEL, &text)?;
        }
        if let Some(text) = run.books.as_ref().and_then(late) {
            out.entry("", LABEL, &text)?;
        }
        if let Some(trouble) = &run.trouble {
            let text = format!(
                "could not write until {}: {}",
                time(&trouble.until),
                plain(&trouble.text)
            );
            out.entry("", LABEL, &text)?;
        }
    }
    if status.runs.is_empty() {
        out.entry("Runs", LABEL, "none yet")?;
    }
    Ok(())
}

/// What the guarantees could not keep in time, if there is any.
fn late(books: &Books) -> Option<String> {
    let parts = [
        (books.late, "answered before their row was safe"),
        (books.withheld, "answered with 503 because a row was late"),
        (books.aborted, "broken off"),
    ];
    let parts: Vec<String> = parts
        .into_iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, what)| format!("{} {what}", number(n)))
        .collect();
    (!parts.is_empty()).then(|| format!("at the time limit: {}", parts.join(", ")))
}

fn run_text(run: &RunStatus) -> String {
    let name = match &run.instance {
        Some(instance) => format!("{}, {}, pid {}", run.run, plain(instance), run.pid),
        None => format!("{}, pid {}", run.run, run.pid),
    };
    let ended = run.ended.as_deref().map(time).unwrap_or_default();
    let sign = age(run.sign_age_seconds);
    let state = match run.state {
        RunState::Alive => format!("alive, last sign {sign} ago"),
        RunState::Remote => {
            format!("on another machine or in another container, last sign {sign} ago")
        }
        RunState::Dead => format!("dead, last sign {sign} ago"),
        RunState::Ended => format!("ended in good order, {ended}"),
        RunState::Killed => format!("killed, found by a later start, {ended}"),
        _ => "in a state that this program does not know".to_owned(),
    };
    format!("{name}: {state}")
}

fn rows(out: &mut Output, status: &Status) -> io::Result<()> {
    let rows = &status.rows;
    let (Some(first), Some(last)) = (&rows.first, &rows.last) else {
        let text = match rows.head {
            0 => "none yet".to_owned(),
            head => format!("none kept; {} were removed by retention", number(head)),
        };
        return out.entry("Rows", LABEL, &text);
    };
    let text = format!(
        "{} kept, number {} to {}, the last {} old",
        number(rows.kept),
        number(rows.pruned + 1),
        number(rows.head),
        age(rows.last_age_seconds.unwrap_or(0.0)),
    );
    out.entry("Rows", LABEL, &text)?;
    let span = format!("from {} to {}", time(first), time(last));
    out.entry("", LABEL, &span)
}

fn losses(out: &mut Output, status: &Status) -> io::Result<()> {
    let uncounted = status.uncounted();
    let mut label = "Losses";
    if status.losses.is_empty() {
        let none = match uncounted {
            0 => "none",
            _ => "none counted yet",
        };
        out.entry(std::mem::take(&mut label), LABEL, none)?;
    }
    for loss in &status.losses {
        let last = loss.last.as_deref().map(time);
        let text = format!(
            "{}{} {}{}",
            if loss.upper_bound { "at most " } else { "" },
            number(loss.rows),
            plain(&loss.reason),
            last.map_or(String::new(), |last| format!(", last {last}")),
        );
        out.entry(std::mem::take(&mut label), LABEL, &text)?;
    }
    if uncounted > 0 {
        let text = format!(
            "up to {} in the memory of a run that died may be gone: the next start of the service, or `audithog ship`, counts them",
            counted(uncounted, "row")
        );
        out.entry("", LABEL, &text)?;
    }
    Ok(())
}

fn sink(out: &mut Output, sink: &SinkStatus) -> io::Result<()> {
    let oldest = sink.oldest_pending_seconds;
    let oldest = oldest.map_or(String::new(), |oldest| {
        format!(", the oldest for {}", age(oldest))
    });
    let pending = format!("{}{oldest}", wait(sink.pending, "row"));
    out.entry(&plain(&sink.name), LABEL, &pending)?;
    let dismissed = match sink.dismissed {
        0 => String::new(),
        n => format!(" ({} dismissed)", number(n)),
    };
    let counts = format!(
        "{} delivered, {} sampled out, {} held back, {}{dismissed}, {}",
        number(sink.delivered),
        number(sink.sampled_out),
        number(sink.held_back),
        counted(sink.dead, "dead letter"),
        counted(sink.stragglers, "straggler"),
    );
    out.entry("", LABEL, &counts)?;
    if let Some(hold) = &sink.hold {
        let since = hold.since.as_deref().map(time).unwrap_or_default();
        let text = format!(
            "on hold since {since} ({}): {}",
            plain(&hold.reason),
            plain(&hold.detail)
        );
        out.entry("", LABEL, &text)?;
        out.entry("", LABEL, &format!("-> {}", plain(&hold.remedy)))?;
    }
    let success = match sink.last_success_age_seconds {
        Some(seconds) => format!("last success {} ago", age(seconds)),
        None => "no success yet".to_owned(),
    };
    let breaker = match sink.breaker.as_deref() {
        None => "breaker unknown".to_owned(),
        Some(breaker) => {
            let since = sink.breaker_since.as_deref().map(time);
            let since = since.map_or(String::new(), |since| format!(" since {since}"));
            format!("breaker {}{since}", plain(breaker))
        }
    };
    let state = [
        breaker,
        success,
        match (sink.verified, sink.rows_verified) {
            (false, _) => "unverified".to_owned(),
            (true, 0) => "verified".to_owned(),
            (true, rows) => format!("verified, {} compared", counted(rows, "row")),
        },
        if sink.configured {
            ""
        } else {
            "not configured by the latest run"
        }
        .to_owned(),
        if sink.driven { "" } else { "nobody sends now" }.to_owned(),
    ];
    let state: Vec<String> = state.into_iter().filter(|part| !part.is_empty()).collect();
    out.entry("", LABEL, &state.join("; "))?;
    if let (Some(error), Some(at)) = (&sink.last_error, &sink.last_error_at) {
        out.entry(
            "",
            LABEL,
            &format!("last error {}: {}", time(at), plain(error)),
        )?;
    }
    Ok(())
}

fn books(out: &mut Output, equations: &[Equation]) -> io::Result<()> {
    let mut label = "Books";
    for equation in equations {
        let verdict = if equation.holds { "ok" } else { "BROKEN" };
        let text = format!("{verdict}, {}: {}", plain(&equation.of), equation.sentence);
        out.entry(std::mem::take(&mut label), LABEL, &text)?;
    }
    if equations.is_empty() {
        out.entry("Books", LABEL, "nothing to add up yet")?;
    }
    Ok(())
}

fn projection(out: &mut Output, projection: &Projection) -> io::Result<()> {
    let text = format!(
        "{} to PostHog at the pace of {} ({}, {} of them read)",
        counted(projection.events_per_month, "event"),
        age(projection.based_on_seconds),
        counted(projection.based_on_rows, "row"),
        number(projection.rows_read),
    );
    out.entry("A month", LABEL, &text)?;
    for kind in projection.by_route.iter().take(ROUTES) {
        let mut name = match (&kind.method, &kind.route) {
            (Some(method), Some(route)) => format!("{method} {route}"),
            (Some(method), None) => format!("{method} without a route"),
            _ => kind.event.clone(),
        };
        if kind.events_per_month != kind.rows_per_month {
            name = format!("{name} (of {})", counted(kind.rows_per_month, "row"));
        }
        let events = number(kind.events_per_month);
        out.line(&format!("{:LABEL$}{events:>12}  {}", "", plain(&name)))?;
    }
    let more = projection.by_route.len().saturating_sub(ROUTES);
    if more > 0 {
        out.entry(
            "",
            LABEL,
            &format!("and {more} more kinds: see --format json"),
        )?;
    }
    Ok(())
}

/// What to act on, the worst first.
pub(super) fn problems(out: &mut Output, problems: &[Problem]) -> io::Result<()> {
    if problems.is_empty() {
        return out.line(&out.paint("No problems.", Style::Good));
    }
    for problem in problems {
        let kind = match problem.kind {
            ProblemKind::LogStopped => "log stopped",
            ProblemKind::LedgerTrouble => "ledger trouble",
            ProblemKind::BrokenEquation => "broken books",
            ProblemKind::Losses => "losses",
            ProblemKind::Hold => "hold",
            ProblemKind::PendingTooOld => "pending",
            ProblemKind::DeadLetters => "dead letters",
            _ => "problem",
        };
        out.line(&out.paint(&format!("Problem: {kind}"), Style::Bad))?;
        out.entry("", 2, &plain(&problem.text))?;
        out.entry("", 2, &format!("-> {}", plain(&problem.remedy)))?;
    }
    Ok(())
}
