//! What a row is: fields, limits, masking, actor, outcome. No I/O, and knows nobody.

mod actor;
mod field;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod getters;
mod id;
pub(crate) mod limits;
pub(crate) mod mask;
mod outcome;
pub(crate) mod properties;
mod row;
pub(crate) mod sanitize;
mod text;
mod time;

pub use actor::{Actor, ActorType};
pub use field::Field;
pub use row::Row;

pub(crate) use field::{FIELD_NAMES, fields, text_of};
pub(crate) use id::RequestId;
pub(crate) use outcome::{End, Outcome, derived_error_code};
pub(crate) use row::{
    API_CONNECTION_CLOSED, API_REQUEST, API_REQUEST_STARTED, Exchange, Measured, Run, SharedRow,
    StoredRow, is_own,
};
pub(crate) use text::{SharedText, Text};
pub(crate) use time::Micros;
