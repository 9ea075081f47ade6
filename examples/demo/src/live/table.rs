//! The table, read as anybody can read it: with SQL, beside the service that writes it.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    path::PathBuf,
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, Row};

use crate::console::{Console, Style};

/// Rows of one query: no read lasts long, so the writer's log can be reset.
const PAGE: u32 = 500;

const NEW_ROWS: &str = "SELECT seq, ts, event, method, path, status_code, duration_ms, user_id, \
     user_role, org_id, error_code, properties \
     FROM audit_logs WHERE seq > ?1 ORDER BY seq LIMIT ?2";

/// Characters of a path or of properties that a line shows.
const PATH_WIDTH: usize = 26;
const PROPERTIES_WIDTH: usize = 60;

/// A reader that remembers how far it is.
#[derive(Debug)]
pub(crate) struct Table {
    path: PathBuf,
    seen: i64,
    complained: bool,
}

/// One row, as far as a line shows it.
struct Entry {
    seq: i64,
    ts: String,
    event: String,
    method: Option<String>,
    path: Option<String>,
    status: Option<i64>,
    duration_ms: Option<f64>,
    user: Option<String>,
    role: Option<String>,
    org: Option<String>,
    error_code: Option<String>,
    properties: Option<String>,
}

impl Table {
    /// Reads on after row `seen`.
    pub(crate) fn new(path: PathBuf, seen: u64) -> Self {
        Self {
            path,
            seen: i64::try_from(seen).unwrap_or(i64::MAX),
            complained: false,
        }
    }

    /// Prints the rows that are new since the last call.
    pub(crate) fn print_new(&mut self, console: &Console) {
        match self.read_new(console) {
            Ok(()) => self.complained = false,
            Err(error) if !self.complained => {
                self.complained = true;
                let path = self.path.display();
                // Nobody may be reading.
                let _ = writeln!(io::stderr(), "audithog: cannot read {path}: {error}");
            }
            Err(_) => {}
        }
    }

    fn read_new(&mut self, console: &Console) -> rusqlite::Result<()> {
        // May write only so that it can tidy up: the last to close the file removes its `-wal` and
        // `-shm`, and after the shutdown that is this connection.
        let connection =
            Connection::open_with_flags(&self.path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.pragma_update(None, "query_only", true)?;
        connection.busy_timeout(Duration::from_secs(1))?;
        let mut statement = connection.prepare(NEW_ROWS)?;
        loop {
            let page = statement
                .query_map((self.seen, PAGE), Entry::read)?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            self.seen = last.seq;
            for entry in &page {
                console.line(entry.line(console));
            }
        }
    }
}

impl Entry {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            seq: row.get("seq")?,
            ts: row.get("ts")?,
            event: row.get("event")?,
            method: row.get("method")?,
            path: row.get("path")?,
            status: row.get("status_code")?,
            duration_ms: row.get("duration_ms")?,
            user: row.get("user_id")?,
            role: row.get("user_role")?,
            org: row.get("org_id")?,
            error_code: row.get("error_code")?,
            properties: row.get("properties")?,
        })
    }

    fn line(&self, console: &Console) -> String {
        // Of `2026-01-31T12:00:00.123456Z` the time of day, in milliseconds.
        let time = self.ts.get(11..23).unwrap_or(&self.ts);
        let mut line = console.paint(Style::Dim, time);
        line.push_str("  ");
        line.push_str(&match &self.method {
            Some(method) => self.request(method, console),
            None => self.event(console),
        });
        for part in [self.actor(), self.error(console)].into_iter().flatten() {
            line.push_str("  ");
            line.push_str(&part);
        }
        line
    }

    fn request(&self, method: &str, console: &Console) -> String {
        let path = cut(self.path.as_deref().unwrap_or("-"), PATH_WIDTH);
        let (style, status) = match self.status {
            Some(status @ ..400) => (Style::Green, status.to_string()),
            Some(status @ 400..500) => (Style::Yellow, status.to_string()),
            Some(status) => (Style::Red, status.to_string()),
            None => (Style::Red, "---".to_owned()),
        };
        let status = console.paint(style, status);
        let duration = self.duration_ms.unwrap_or_default();
        format!("{method:<7} {path:<PATH_WIDTH$} {status} {duration:>8.1} ms")
    }

    fn event(&self, console: &Console) -> String {
        let mut text = console.paint(Style::Bold, &self.event);
        if let Some(properties) = &self.properties {
            // Writing to a String cannot fail.
            let _ = write!(text, "  {}", cut(properties, PROPERTIES_WIDTH));
        }
        text
    }

    /// `ada, admin of acme`, as far as it is known.
    fn actor(&self) -> Option<String> {
        let mut actor = self.user.clone()?;
        if let Some(role) = &self.role {
            actor = format!("{actor}, {role}");
        }
        if let Some(org) = &self.org {
            actor = format!("{actor} of {org}");
        }
        Some(actor)
    }

    fn error(&self, console: &Console) -> Option<String> {
        let code = self.error_code.as_ref()?;
        Some(console.paint(Style::Yellow, code))
    }
}

/// At most `width` characters.
fn cut(text: &str, width: usize) -> String {
    match text.char_indices().nth(width.saturating_sub(1)) {
        Some((end, last)) if end + last.len_utf8() < text.len() => format!("{}…", &text[..end]),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
