//! Rows by column, for those who count them: one number for each row and column.

/// A column of numbers. Equal numbers are equal values within one [`Slices`](super::Looker::slices) call; 0 is "none".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Column {
    /// Microseconds since 1970 as two's complement, so 0 is a time here.
    Ts,
    Run,
    /// [`HTTP`], [`FAILURE`].
    Flags,
    Event,
    Method,
    Route,
    Status,
    ErrorCode,
    /// Microseconds and one; 0 is a row without an end.
    Duration,
    UserId,
    UserRole,
    OrgId,
    Ip,
    RequestId,
    TraceId,
    // Not kept by column: read from the rows.
    Path,
    ActorType,
    UserAgent,
    OnBehalfOf,
}

impl Column {
    pub(crate) const COUNT: usize = 19;

    pub(crate) const ALL: [Self; Self::COUNT] = [
        Self::Ts,
        Self::Run,
        Self::Flags,
        Self::Event,
        Self::Method,
        Self::Route,
        Self::Status,
        Self::ErrorCode,
        Self::Duration,
        Self::UserId,
        Self::UserRole,
        Self::OrgId,
        Self::Ip,
        Self::RequestId,
        Self::TraceId,
        Self::Path,
        Self::ActorType,
        Self::UserAgent,
        Self::OnBehalfOf,
    ];
}

/// A set of columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Columns(u32);

impl Columns {
    pub(crate) fn with(self, column: Column) -> Self {
        Self(self.0 | 1 << column as u32)
    }

    pub(crate) fn has(self, column: Column) -> bool {
        self.0 & (1 << column as u32) != 0
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Column> {
        Column::ALL
            .into_iter()
            .filter(move |column| self.has(*column))
    }
}

impl FromIterator<Column> for Columns {
    fn from_iter<I: IntoIterator<Item = Column>>(columns: I) -> Self {
        columns.into_iter().fold(Self::default(), Self::with)
    }
}

/// Bits of [`Column::Flags`]: the row is about a request that has an end; and it failed.
pub(crate) const HTTP: u64 = 1;
pub(crate) const FAILURE: u64 = 2;

/// A stretch of the log by column.
#[derive(Debug, Default)]
pub(crate) struct Slice {
    pub(crate) seqs: Vec<i64>,
    /// Empty for a column that was not asked for.
    columns: [Vec<u64>; Column::COUNT],
    /// Positions of the rows that the filter admits.
    pub(crate) selected: Vec<u32>,
}

impl Slice {
    pub(crate) fn column(&self, column: Column) -> &[u64] {
        &self.columns[column as usize]
    }

    pub(crate) fn column_mut(&mut self, column: Column) -> &mut Vec<u64> {
        &mut self.columns[column as usize]
    }

    /// Empty again, with its memory.
    pub(crate) fn clear(&mut self) {
        self.seqs.clear();
        self.selected.clear();
        for column in &mut self.columns {
            column.clear();
        }
    }
}
