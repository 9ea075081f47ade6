//! Questions to the log: who did what, when, how it ended, how long it took.
//!
//! A [`Question`] says which rows, how to group them and what to count. [`Log::ask`] answers it from a ledger's file, also while a service
//! writes it; [`Question::sql`] and [`Question::hogql`] say it in the SQL of other places. The questions that everybody asks have a
//! name: [`Named`].
//!
//! ```no_run
//! use audithog::query::{Filter, Log, Named};
//!
//! # fn main() -> Result<(), audithog::Error> {
//! let question = Named::Paths.question(None, Filter::all())?;
//! let answer = Log::open("audit.db")?.ask(&question)?;
//! for line in answer.lines {
//!     println!("{line:?}");
//! }
//! # Ok(())
//! # }
//! ```

mod ad_hoc;
mod answer;
mod ask;
mod catalogue;
pub mod csv;
mod filter;
mod groups;
mod log;
mod percentiles;
mod question;
mod schema;
mod sql;
#[cfg(test)]
pub(crate) mod tests;
pub mod text;

pub use ad_hoc::{Cut, SqlLimits, Table};
pub use answer::{Answer, AnswerColumn, CellKind, Scope};
pub use catalogue::Named;
pub use filter::{Filter, Status};
pub use log::{Log, LogRow, Rows};
pub use question::{Key, Measure, Question};
pub use schema::{Schema, SchemaColumn};
pub use sql::Statement;
#[cfg(feature = "posthog")]
pub(crate) use sql::property;

pub use crate::record::Field;
