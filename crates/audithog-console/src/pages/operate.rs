//! Dead letters, sent again or dismissed: the two things that the console changes.

use audithog::inspect::{Action, DeadLetters, LedgerFile};
use audithog::query::Filter;
use axum::Extension;
use axum::body::Bytes;
use axum::http::HeaderMap;
use ring::rand::{SecureRandom as _, SystemRandom};

use super::{Reply, Visit};
use crate::Access;
use crate::answers::Failure;
use crate::guard::{self, FORM};
use crate::params::Params;

/// What a form has to repeat: the value of a cookie that no other site can set or send.
pub(crate) fn form_token(headers: &HeaderMap) -> Option<String> {
    let known = guard::cookie(headers, FORM).filter(|value| is_token(value));
    if let Some(known) = known {
        return Some(known.to_owned());
    }
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn is_token(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

pub(crate) async fn replay(
    Extension(visit): Extension<Visit>,
    headers: HeaderMap,
    body: Bytes,
) -> Reply {
    let which = allowed(&visit.access, &headers, &body)?;
    let by = visit.access.by.clone();
    let work = move |file: &mut LedgerFile| Ok(file.replay(which, &by)?.replayed);
    operate(&visit, "replayed", work).await
}

pub(crate) async fn dismiss(
    Extension(visit): Extension<Visit>,
    headers: HeaderMap,
    body: Bytes,
) -> Reply {
    let which = allowed(&visit.access, &headers, &body)?;
    let by = visit.access.by.clone();
    let work = move |file: &mut LedgerFile| Ok(file.dismiss(which, &by)?.dismissed);
    operate(&visit, "dismissed", work).await
}

/// Works, and goes back to the page, which says what was `done`.
async fn operate(
    visit: &Visit,
    done: &'static str,
    work: impl FnOnce(&mut LedgerFile) -> Result<u64, Failure> + Send + 'static,
) -> Reply {
    let note = visit.note(Action::Operate, &Filter::all(), None);
    let count = visit.shared.inspect(&visit.access, note, work).await?;
    let said = Params::default().with(done, &count.to_string());
    Ok(guard::see_other(&visit.here.link("health", &said)))
}

/// Which letters, if they may be touched.
fn allowed(access: &Access, headers: &HeaderMap, body: &[u8]) -> Result<DeadLetters, Failure> {
    let given = Params::parse(std::str::from_utf8(body).unwrap_or_default());
    if !access.may_operate() {
        return Err(Failure::denied());
    }
    let known = guard::cookie(headers, FORM).filter(|value| is_token(value));
    if known.is_none() || known != given.get("form") {
        return Err(Failure::wrong(
            "The form is too old: go back, load the page again, and send it from there.",
        ));
    }
    let Some(sink) = given.get("sink") else {
        return Err(Failure::wrong("sink: of which destination?"));
    };
    let mut which = DeadLetters::all().of_sink(sink).not_dismissed();
    if let Some(seq) = given.get("seq") {
        let seq: u64 = seq
            .parse()
            .map_err(|_| Failure::wrong(format!("seq: {seq:?} is no number")))?;
        which = which.with_seqs([seq]);
    } else if let Some(reason) = given.get("reason") {
        which = which.with_reason(reason);
    } else {
        return Err(Failure::wrong("which letters? Give a seq or a reason."));
    }
    Ok(which)
}
