//! From what the requests gave to what is wrong with the application.

use super::{Answer, Probe, Purpose, Sent, UNKNOWN};

const MISSING: &str = "no request gave a row, so the layer is missing, has another logger, or came before \
    the routes and the fallback: make `.layer(logger.layer())` the last `.layer()`, with the logger of the check";
const INSIDE_AUTHENTICATION: &str =
    "the layer is inside authentication: make it the last `.layer()`";
const INSIDE_CORS: &str = "the layer is inside the CORS layer: make it the last `.layer()`";
const MISSES_FALLBACK: &str = "the layer misses the fallback: make it the last `.layer()`, after \
    `.fallback(…)`; `.route_layer()` never covers it";
const MISSES_METHOD_FALLBACK: &str = "the layer misses what answers a wrong method: make it the last \
    `.layer()` of the whole router, after `.method_not_allowed_fallback(…)`";
const BEFORE_ROUTES: &str =
    "the layer comes before this route: make it the last `.layer()`, after all routes";
const INSIDE_ANOTHER: &str = "something outside of the layer answered: make it the last `.layer()`";
const TWICE: &str = "two audit layers do not see each other, because something between them makes a new \
    request: keep the outer one, or pass the request's extensions on";
const CHANGED: &str =
    "something outside of the layer changes the response: make it the last `.layer()`";
const NO_REQUEST_ID: &str =
    "something outside of the layer changes `x-request-id`: make it the last `.layer()`";
const UNPROTECTED: &str =
    "the route did not refuse: name one that needs credentials, or use `.route(…)`";
const NO_ROUTE: &str = "there is no such route: name a path that the service has";
const UNANSWERED: &str = "every request must get a response for the check to see its row";

/// None if all is well.
pub(super) fn of(sent: &[Sent]) -> Option<String> {
    let overview = Overview::of(sent);
    let faults: Vec<String> = sent
        .iter()
        .filter_map(|sent| overview.fault(sent))
        .collect();
    (!faults.is_empty()).then(|| {
        let faults = faults.join("\n  ");
        format!("the audit layer does not give every request its one row:\n  {faults}")
    })
}

/// What all answers together say.
struct Overview {
    any_row: bool,
    fallback_has_row: bool,
    /// Somebody other than an authentication answered.
    open: bool,
    /// Paths whose named request gave a row.
    with_row: Vec<String>,
}

impl Overview {
    fn of(sent: &[Sent]) -> Self {
        let mut this = Self {
            any_row: false,
            fallback_has_row: false,
            open: false,
            with_row: Vec::new(),
        };
        for Sent { probe, answer } in sent {
            let Ok(answer) = answer else { continue };
            this.open |= !answer.refuses();
            if answer.rows.is_empty() {
                continue;
            }
            this.any_row = true;
            match probe.purpose {
                Purpose::Unknown => this.fallback_has_row = true,
                Purpose::Route | Purpose::Protected => this.with_row.push(probe.path.clone()),
                Purpose::Preflight | Purpose::WrongMethod => {}
            }
        }
        this
    }

    /// One line: the request, what came of it, why, and what to change.
    fn fault(&self, sent: &Sent) -> Option<String> {
        let probe = &sent.probe;
        let answer = match &sent.answer {
            Ok(answer) => answer,
            Err(why) => return Some(format!("{probe} {why}: {UNANSWERED}")),
        };
        let (saw, fix) = self.judge(sent, answer)?;
        Some(format!("{probe} answered {} {saw}: {fix}", answer.status))
    }

    fn judge(&self, sent: &Sent, answer: &Answer) -> Option<(String, &'static str)> {
        let [row] = answer.rows.as_slice() else {
            return Some(match answer.rows.len() {
                0 => ("and gave no row".to_owned(), self.no_row(sent, answer)),
                n => (format!("and gave {n} rows"), TWICE),
            });
        };
        if row.status_code() != Some(answer.status) {
            let status = row
                .status_code()
                .map_or("none".to_owned(), |s| s.to_string());
            return Some((format!("but its row has the status {status}"), CHANGED));
        }
        if row.request_id() != answer.request_id {
            let id = answer.request_id.as_deref().unwrap_or("none");
            return Some((
                format!("with the request id {id}, which is not the row's"),
                NO_REQUEST_ID,
            ));
        }
        let fault = match sent.probe.purpose {
            Purpose::Protected if !answer.refuses() && !answer.redirects() => UNPROTECTED,
            Purpose::Route if answer.status == 404 && row.route().is_none() => NO_ROUTE,
            _ => return None,
        };
        Some(("without credentials".to_owned(), fault))
    }

    fn no_row(&self, sent: &Sent, answer: &Answer) -> &'static str {
        if !self.any_row && self.open {
            return MISSING;
        }
        if answer.refuses() {
            return INSIDE_AUTHENTICATION;
        }
        if answer.is_cors {
            return INSIDE_CORS;
        }
        let Probe { purpose, path, .. } = &sent.probe;
        let knows_path = self.with_row.contains(path);
        match purpose {
            Purpose::Unknown | Purpose::Preflight if !self.fallback_has_row => MISSES_FALLBACK,
            Purpose::WrongMethod | Purpose::Preflight if knows_path => MISSES_METHOD_FALLBACK,
            _ if self.fallback_has_row && path != UNKNOWN => BEFORE_ROUTES,
            _ => INSIDE_ANOTHER,
        }
    }
}

impl Answer {
    /// 401, 403, 407: no credentials, or not good enough.
    fn refuses(&self) -> bool {
        matches!(self.status, 401 | 403 | 407)
    }

    fn redirects(&self) -> bool {
        (300..400).contains(&self.status)
    }
}
