//! Dead letters, sent again or dismissed: the two things that the console changes.

use std::sync::Arc;

use audithog::inspect::{Action, DeadLetters, LedgerFile};
use audithog::query::Filter;
use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use ring::rand::{SecureRandom as _, SystemRandom};

use super::Here;
use crate::answers::Failure;
use crate::guard::{self, FORM};
use crate::params::Params;
use crate::{Access, Shared, pages};

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
    State(shared): State<Arc<Shared>>,
    Extension(here): Extension<Here>,
    Extension(access): Extension<Access>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let work =
        |file: &mut LedgerFile, which: DeadLetters, by: &str| Ok(file.replay(which, by)?.replayed);
    operate(&shared, &here, &access, &headers, &body, "replayed", work).await
}

pub(crate) async fn dismiss(
    State(shared): State<Arc<Shared>>,
    Extension(here): Extension<Here>,
    Extension(access): Extension<Access>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let work = |file: &mut LedgerFile, which: DeadLetters, by: &str| {
        Ok(file.dismiss(which, by)?.dismissed)
    };
    operate(&shared, &here, &access, &headers, &body, "dismissed", work).await
}

async fn operate(
    shared: &Arc<Shared>,
    here: &Here,
    access: &Access,
    headers: &HeaderMap,
    body: &Bytes,
    done: &'static str,
    work: impl FnOnce(&mut LedgerFile, DeadLetters, &str) -> Result<u64, Failure> + Send + 'static,
) -> Response {
    let given = Params::parse(std::str::from_utf8(body).unwrap_or_default());
    let which = match allowed(access, headers, &given) {
        Ok(which) => which,
        Err(failure) => return pages::failed(here, &failure),
    };
    let by = access.by.clone();
    let note = shared.note(here, access, Action::Operate, &Filter::all(), None);
    let worked = shared
        .inspect(access, note, move |file| work(file, which, &by))
        .await;
    match worked {
        Ok(count) => {
            let said = Params::default().with(done, &count.to_string());
            guard::see_other(&here.link("health", &said))
        }
        Err(failure) => pages::failed(here, &failure),
    }
}

/// Which letters, if they may be touched.
fn allowed(access: &Access, headers: &HeaderMap, given: &Params) -> Result<DeadLetters, Failure> {
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
