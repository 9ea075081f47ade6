//! What is counted of one row.

use crate::ledger::Column;

/// In place of a number: the row has a text that is not in the dictionary.
const ODD: u32 = u32::MAX;

/// A row's numbers; 0 where it has no value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Line {
    pub(in super::super) ts: i64,
    pub(in super::super) user_id: u64,
    pub(in super::super) org_id: u64,
    pub(in super::super) ip: u64,
    pub(in super::super) request_id: u64,
    pub(in super::super) trace_id: u64,
    /// Microseconds and one; longer than an hour and eleven minutes is that.
    pub(in super::super) duration: u32,
    pub(in super::super) run: u32,
    pub(in super::super) event: u32,
    pub(in super::super) method: u32,
    pub(in super::super) route: u32,
    pub(in super::super) error_code: u32,
    pub(in super::super) user_role: u32,
    pub(in super::super) status: u16,
    /// As [`Column::Flags`].
    pub(in super::super) flags: u8,
    pub(in super::super) odd: bool,
}

impl Line {
    pub(super) fn number(&self, column: Column) -> u64 {
        match column {
            Column::Ts => self.ts.cast_unsigned(),
            Column::Run => self.run.into(),
            Column::Flags => self.flags.into(),
            Column::Event => self.event.into(),
            Column::Method => self.method.into(),
            Column::Route => self.route.into(),
            Column::Status => self.status.into(),
            Column::ErrorCode => self.error_code.into(),
            Column::Duration => self.duration.into(),
            Column::UserId => self.user_id,
            Column::UserRole => self.user_role.into(),
            Column::OrgId => self.org_id,
            Column::Ip => self.ip,
            Column::RequestId => self.request_id,
            Column::TraceId => self.trace_id,
            Column::Path | Column::ActorType | Column::UserAgent | Column::OnBehalfOf => 0,
        }
    }

    /// Readers look at the row.
    pub(super) fn is_odd(&self) -> bool {
        self.odd
    }

    /// The number of a text in the dictionary, if it is there.
    pub(in super::super) fn name(&mut self, number: Option<i64>) -> u32 {
        match number.and_then(|number| u32::try_from(number).ok()) {
            Some(number) if number != ODD => number,
            _ => {
                self.odd = true;
                ODD
            }
        }
    }

    pub(in super::super) fn duration(micros: i64) -> u32 {
        u32::try_from(micros.max(0))
            .ok()
            .and_then(|micros| micros.checked_add(1))
            .unwrap_or(u32::MAX)
    }
}
