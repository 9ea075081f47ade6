//! A look at the log becomes a row of it.

use std::path::Path;

use audithog::{
    Logger,
    inspect::{AccessNote, Action, LedgerFile},
    query::Filter,
};

use crate::{
    failure::{Failure, sentence},
    output::{plain, remark, unanswered},
    user,
};

/// Somebody reads rows through this command.
pub(crate) fn read(command: &str) -> AccessNote {
    note(Action::Read, command)
}

/// Somebody takes rows away.
pub(crate) fn export(command: &str) -> AccessNote {
    note(Action::Export, command)
}

/// Somebody changes something.
pub(crate) fn operate(command: &str) -> AccessNote {
    note(Action::Operate, command)
}

/// With what the filter says.
pub(crate) fn of(note: AccessNote, filter: &Filter) -> AccessNote {
    let note = note.time(filter.since_text(), filter.until_text());
    let conditions = filter.conditions().into_iter();
    conditions.fold(note, AccessNote::asked)
}

fn note(action: Action, command: &str) -> AccessNote {
    AccessNote::new(action, user::name(), command)
}

/// Records it in the ledger, if a service writes that now and `AUDITHOG_ACCESS` has it so. What cannot be recorded is said, and shown all the same.
/// False: no service writes it now.
pub(crate) fn record(path: &Path, note: AccessNote) -> Result<bool, Failure> {
    let rows = Logger::builder().access_rows().map_err(unanswered)?;
    if !note.is_recorded(rows) {
        return Ok(true);
    }
    let written = LedgerFile::open(path).and_then(|mut file| file.record_access(&[note]));
    Ok(written.unwrap_or_else(|error| {
        remark(&format!(
            "this look at the log is not recorded: {}",
            plain(&sentence(&error))
        ));
        true
    }))
}
