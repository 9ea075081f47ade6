//! Which looks at the log are rows of it.

/// Which looks at the log become rows of it (`audit_access`): `AUDITHOG_ACCESS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AccessRows {
    /// Reading, exporting, and what changes something.
    #[default]
    All,
    /// Exporting, and what changes something.
    Exports,
    /// None.
    Off,
}

impl AccessRows {
    /// As the variable has them.
    pub(crate) const NAMES: [(&'static str, Self); 3] = [
        ("all", Self::All),
        ("exports", Self::Exports),
        ("off", Self::Off),
    ];
}
