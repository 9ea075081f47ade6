//! What the demo says before the first row.

use std::{env, net::SocketAddr, path::Path};

use crate::{
    console::{Console, Style},
    marketplace::{PASSWORD, USERS},
};

#[derive(Debug)]
pub(crate) struct Banner<'a> {
    pub(crate) address: SocketAddr,
    /// Where the log's console is; none: there is no table to look at.
    pub(crate) pages: Option<SocketAddr>,
    /// None: memory only.
    pub(crate) table: Option<&'a Path>,
    /// Rows of earlier runs.
    pub(crate) rows_before: u64,
    /// Rows are shipped to PostHog, or to the stand-in.
    pub(crate) ships: bool,
    pub(crate) standin: bool,
    pub(crate) traffic: bool,
}

impl Banner<'_> {
    pub(crate) fn print(&self, console: &Console) {
        console.line("audithog demo: an agents marketplace whose every request gets an audit row");
        console.line("");
        let say = |name: &str, text: &str| {
            let name = console.paint(Style::Bold, format!("{name:<9}"));
            console.line(format!("  {name} {text}"));
        };
        say("api", &format!("http://{}", self.address));
        if let Some(pages) = self.pages {
            say("console", &format!("http://{pages}"));
        }
        match self.table {
            Some(path) => {
                say("table", &format!("{} ({})", path.display(), self.before()));
                say("sql", &sql(path));
            }
            None => say(
                "table",
                "none: rows are kept in memory only (AUDITHOG_DB=off)",
            ),
        }
        say("posthog", &self.posthog());
        let traffic = if self.traffic {
            "about 5 requests a second of its own; --no-traffic turns it off"
        } else {
            "none but yours"
        };
        say("traffic", traffic);
        let users =
            USERS.map(|user| format!("{} ({} of {})", user.name, user.role.as_str(), user.org));
        say(
            "users",
            &format!("{}; password {PASSWORD}", users.join(", ")),
        );
        say(
            "stop",
            "Ctrl-C drains and prints the report; a second one stops at once",
        );
        console.line("");
        for line in self.requests_to_try() {
            console.line(console.paint(Style::Dim, line));
        }
        console.line("");
    }

    fn before(&self) -> String {
        match self.rows_before {
            0 => "new".to_owned(),
            1 => "continued: 1 row from before".to_owned(),
            rows => format!("continued: {rows} rows from before"),
        }
    }

    fn posthog(&self) -> String {
        if !self.ships {
            return "off: set POSTHOG_API_KEY to ship, or see it with --posthog-standin".to_owned();
        }
        if self.standin {
            return "a stand-in on this machine; nothing leaves it".to_owned();
        }
        let host = env::var("POSTHOG_HOST").unwrap_or_default();
        let region = match host.trim() {
            "" => "the US region (POSTHOG_HOST chooses another)".to_owned(),
            host if host.contains("eu.posthog.com") || host.contains("eu.i.posthog.com") => {
                "the EU region".to_owned()
            }
            host if host.ends_with("posthog.com") => "the US region".to_owned(),
            host => host.to_owned(),
        };
        format!("on, to {region}")
    }

    fn requests_to_try(&self) -> [String; 6] {
        let api = format!("http://{}", self.address);
        let json = "-H 'content-type: application/json'";
        let bearer = "-H \"authorization: Bearer $TOKEN\"";
        [
            format!(
                r#"  TOKEN=$(curl -s {api}/login {json} -d '{{"user":"ada","password":"{PASSWORD}"}}' | cut -d'"' -f4)"#
            ),
            format!(r#"  curl -i {api}/agents {bearer} {json} -d '{{"name":"Scout"}}'"#),
            format!("  curl -i {api}/agents {bearer}"),
            format!("  curl -i -X POST {api}/agents/1/publish {bearer}"),
            format!("  curl -i {api}/trouble/fail {bearer}    # or /trouble/panic"),
            format!("  curl -iN {api}/trouble/slow {bearer}   # and Ctrl-C in the middle of it"),
        ]
    }
}

/// A command line that shows the last rows.
fn sql(path: &Path) -> String {
    let path = shell_word(&path.to_string_lossy());
    format!(
        "sqlite3 -box {path} \"SELECT ts, method, path, status_code, user_id, error_code \
         FROM audit_logs ORDER BY seq DESC LIMIT 10\""
    )
}

/// As one word of a POSIX shell.
fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::shell_word;

    #[test]
    fn a_path_is_one_word_of_a_shell() {
        assert_eq!(shell_word("/var/lib/audit-1.db"), "/var/lib/audit-1.db");
        assert_eq!(shell_word("/my rows/$HOME.db"), "'/my rows/$HOME.db'");
        assert_eq!(shell_word("it's"), r"'it'\''s'");
    }
}
