//! What is counted of one row.

use crate::ledger::{Column, FAILURE, HTTP};

/// In place of a number: the row has a text that is not in the dictionary.
const ODD: u16 = u16::MAX;

/// A duration that stands for itself and all that are longer.
pub(in super::super) const LONGEST: u32 = u32::MAX;

/// A row's numbers; 0 where it has no value. 64 bytes: the writer fills one for every row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Line {
    pub(in super::super) ts: i64,
    pub(in super::super) user_id: u64,
    pub(in super::super) org_id: u64,
    pub(in super::super) ip: u64,
    pub(in super::super) request_id: u32,
    pub(in super::super) trace_id: u32,
    /// Microseconds and one, or [`LONGEST`].
    pub(in super::super) duration: u32,
    pub(in super::super) run: u32,
    pub(in super::super) event: u16,
    pub(in super::super) method: u16,
    pub(in super::super) route: u16,
    pub(in super::super) error_code: u16,
    pub(in super::super) user_role: u16,
    pub(in super::super) status: u16,
    /// As [`Column::Flags`].
    pub(in super::super) flags: u8,
    /// Readers look at the row.
    pub(in super::super) odd: bool,
}

impl Line {
    /// Calls `with` with what gives the column's number of a line. Once for a column, so that its numbers are gathered by code of their own.
    pub(super) fn numbers<T>(column: Column, with: impl Gather<T>) -> T {
        match column {
            Column::Ts => with.gather(|line| line.ts.cast_unsigned()),
            Column::Run => with.gather(|line| line.run.into()),
            Column::Flags => with.gather(|line| line.flags.into()),
            Column::Event => with.gather(|line| line.event.into()),
            Column::Method => with.gather(|line| line.method.into()),
            Column::Route => with.gather(|line| line.route.into()),
            Column::Status => with.gather(|line| line.status.into()),
            Column::ErrorCode => with.gather(|line| line.error_code.into()),
            Column::Duration => with.gather(|line| line.duration.into()),
            Column::UserId => with.gather(|line| line.user_id),
            Column::UserRole => with.gather(|line| line.user_role.into()),
            Column::OrgId => with.gather(|line| line.org_id),
            Column::Ip => with.gather(|line| line.ip),
            Column::RequestId => with.gather(|line| line.request_id.into()),
            Column::TraceId => with.gather(|line| line.trace_id.into()),
            Column::Path | Column::ActorType | Column::UserAgent | Column::OnBehalfOf => {
                with.gather(|_| 0)
            }
        }
    }

    /// The number of a text in the dictionary, if it is there.
    pub(in super::super) fn name(&mut self, number: Option<i64>) -> u16 {
        match number.and_then(|number| u16::try_from(number).ok()) {
            Some(number) if number != ODD => number,
            _ => {
                self.odd = true;
                ODD
            }
        }
    }

    /// Of `audit_rows.flags`: whether the row has an end, and whether that is a failure.
    pub(in super::super) fn flags(flags: i64) -> u8 {
        let [low, ..] = (flags.cast_unsigned() & (HTTP | FAILURE)).to_le_bytes();
        low
    }

    pub(in super::super) fn duration(micros: i64) -> u32 {
        u32::try_from(micros.max(0))
            .ok()
            .and_then(|micros| micros.checked_add(1))
            .unwrap_or(LONGEST)
    }
}

/// What is done with the numbers of a column.
pub(super) trait Gather<T> {
    fn gather(self, number: impl Fn(&Line) -> u64) -> T;
}
