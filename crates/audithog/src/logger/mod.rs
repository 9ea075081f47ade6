//! The logger: the cheap, clonable handle an application holds; the only way in for rows.

mod event;
