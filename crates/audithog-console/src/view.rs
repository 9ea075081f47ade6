//! How things look on every page.

pub(crate) mod cells;
pub(crate) mod chart;
pub(crate) mod chips;
pub(crate) mod layout;
pub(crate) mod table;
