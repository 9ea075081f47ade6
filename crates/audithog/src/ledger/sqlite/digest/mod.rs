//! Rows by column, for questions that count: reading a million rows takes half a second, their columns some milliseconds.
//!
//! # Format
//!
//! The log is cut into stretches of 32,768 rows by number: 1 to 32,768, and so on. When a stretch is full, what questions count of its
//! rows is kept once more, column by column, in `audit_digests`: one line, a piece, for each [`Column`] that is kept so.
//! A row's value is one number (`Line`): itself, its number in `audit_names`, or a hash (`hash.rs`). `lane.rs` has the bytes of a piece.
//!
//! * A digest says nothing that the rows do not say, and can be made from them at any time (`build.rs`). What has none yet is read from the rows.
//! * The writer notes each row's numbers while it appends it (`collect.rs`), so a full stretch costs it no look at the rows. It reads
//!   them only where it did not write the whole stretch itself: another process did, or an earlier run, or a version without digests.
//! * A row with a text that is not in the dictionary, where a number is wanted, is an odd one: readers look at the row. The last piece has the
//!   positions of these in the stretch, and 32,768 after them.
//! * A duration over an hour and eleven minutes is kept as that: readers who want the duration look at the row.
//! * Request and trace ids are kept by 32 bits only: a reader compares the row.
//! * A stretch that retention has begun to remove gets no digest; one that is removed loses it.

mod build;
mod collect;
pub(super) mod hash;
mod keep;
mod lane;
mod line;

use rusqlite::{Connection, OptionalExtension, params};

use build::build;
pub(super) use collect::Collector;
pub(super) use lane::{Bounds, length, unpack};
use lane::{Lane, bounds};
pub(super) use line::{LONGEST, Line};

use crate::ledger::Column;

/// Rows of a stretch. Short in tests, so that a few thousand rows have some.
pub(super) const STRETCH: i64 = if cfg!(test) { 1_024 } else { 32_768 };
/// Pieces that a stretch may have.
const PIECES: i64 = 32;
/// The piece with the positions of odd rows.
const ODD_PIECE: i64 = PIECES - 1;

/// Lines that stay in the fastest cache while columns are made of them: 16 KiB.
const FEW: usize = 256;
/// Columns that are made at once, and written in one transaction: all would take a megabyte, and rows wait meanwhile.
const TOGETHER: usize = 5;
/// Transactions that write a digest.
const PARTS: usize = KEPT.len().div_ceil(TOGETHER);

/// The columns that are kept.
pub(super) const KEPT: [Column; 15] = [
    Column::Ts,
    Column::Run,
    Column::Flags,
    Column::Event,
    Column::Method,
    Column::Route,
    Column::Status,
    Column::ErrorCode,
    Column::Duration,
    Column::UserId,
    Column::UserRole,
    Column::OrgId,
    Column::Ip,
    Column::RequestId,
    Column::TraceId,
];

/// Some pieces of a digest, to be written in one transaction.
struct Part(Vec<(i64, Vec<u8>)>);

impl Part {
    /// The digest of a stretch has [`PARTS`] of them. The last one has what readers look for first.
    fn of(stretch: i64, part: usize, lines: &[Line]) -> Self {
        let columns = KEPT.chunks(TOGETHER).nth(part).unwrap_or_default();
        let numbers = columns.iter().map(|column| piece(stretch, *column));
        let mut pieces: Vec<_> = numbers.zip(pack(columns, lines)).collect();
        if part == PARTS - 1 {
            pieces.push((stretch * PIECES + ODD_PIECE, odd(lines)));
        }
        Self(pieces)
    }

    fn bytes(&self) -> u64 {
        self.0.iter().map(|(_, data)| data.len() as u64).sum()
    }

    /// Each piece, unless somebody has written it.
    fn save(&self, connection: &Connection) -> rusqlite::Result<()> {
        let mut insert = connection
            .prepare_cached("INSERT OR IGNORE INTO audit_digests (piece, data) VALUES (?1, ?2)")?;
        for (piece, data) in &self.0 {
            insert.execute(params![piece, data])?;
        }
        Ok(())
    }
}

/// The positions of odd rows.
fn odd(lines: &[Line]) -> Vec<u8> {
    let odd = lines.iter().enumerate().filter(|(_, line)| line.odd);
    let mut odd: Vec<u64> = odd.map(|(at, _)| at as u64).collect();
    // So that one alone is not taken for any number of equal ones.
    odd.push(STRETCH.cast_unsigned());
    lane::pack(&odd, |at| *at)
}

/// The pieces of some columns. The lines do not fit into a core's cache, so all of the columns take what they want of a
/// few lines before the next few.
fn pack(columns: &[Column], lines: &[Line]) -> impl Iterator<Item = Vec<u8>> {
    let mut bounds = vec![Bounds::NONE; columns.len()];
    for lines in lines.chunks(FEW) {
        for (column, bounds) in columns.iter().zip(&mut bounds) {
            Line::numbers(*column, lane::Widen { lines, bounds });
        }
    }
    let lanes = bounds
        .into_iter()
        .map(|bounds| Lane::new(bounds, lines.len()));
    let mut lanes: Vec<Lane> = lanes.collect();
    for lines in lines.chunks(FEW) {
        for (column, lane) in columns.iter().zip(&mut lanes) {
            Line::numbers(*column, lane::Append { lines, lane });
        }
    }
    lanes.into_iter().map(Lane::finish)
}

/// Reads the bytes of a column of a stretch. None: it has no digest, or `read` finds none.
pub(super) fn load<T>(
    connection: &Connection,
    stretch: i64,
    column: Column,
    read: impl FnOnce(&[u8]) -> Option<T>,
) -> rusqlite::Result<Option<T>> {
    let found = with(connection, WHOLE, piece(stretch, column), read)?;
    Ok(found.flatten())
}

/// The smallest and the largest number of a column of a stretch, without a look at the others.
pub(super) fn load_bounds(
    connection: &Connection,
    stretch: i64,
    column: Column,
) -> rusqlite::Result<Option<Bounds>> {
    let found = with(connection, START, piece(stretch, column), bounds)?;
    Ok(found.flatten())
}

/// Reads the positions of the rows that are to be looked at. None: the stretch has no digest.
pub(super) fn load_odd<T>(
    connection: &Connection,
    stretch: i64,
    read: impl FnOnce(&[u8]) -> T,
) -> rusqlite::Result<Option<T>> {
    with(connection, WHOLE, stretch * PIECES + ODD_PIECE, read)
}

/// Whether the stretch has a digest: this piece comes with the last ones.
fn is_there(connection: &Connection, stretch: i64) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM audit_digests WHERE piece = ?1)")?
        .query_row([stretch * PIECES + ODD_PIECE], |row| row.get(0))
}

/// Removes the digests of stretches whose last row is not after `pruned`.
pub(super) fn prune(connection: &Connection, pruned: i64) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM audit_digests WHERE piece < ?1")?
        .execute([pruned / STRETCH * PIECES])?;
    Ok(())
}

fn piece(stretch: i64, column: Column) -> i64 {
    stretch * PIECES + column as i64
}

const WHOLE: &str = "SELECT data FROM audit_digests WHERE piece = ?1";
/// The head of a lane, and the zeros after it. SQLite reads no more of the blob than that.
const START: &str = "SELECT substr(data, 1, 24) FROM audit_digests WHERE piece = ?1";

fn with<T>(
    connection: &Connection,
    sql: &str,
    piece: i64,
    read: impl FnOnce(&[u8]) -> T,
) -> rusqlite::Result<Option<T>> {
    connection
        .prepare_cached(sql)?
        .query_row([piece], |row| Ok(read(row.get_ref(0)?.as_blob()?)))
        .optional()
}

#[cfg(test)]
mod tests {
    use super::line::Gather;
    use super::{FEW, KEPT, Line, lane, pack};

    struct Alone<'a>(&'a [Line]);

    impl Gather<Vec<u8>> for Alone<'_> {
        fn gather(self, number: impl Fn(&Line) -> u64) -> Vec<u8> {
            lane::pack(self.0, number)
        }
    }

    /// A reader takes the rows where a piece is damaged, so that no question would show a mistake here.
    #[test]
    fn columns_made_together_are_those_made_one_by_one() {
        let lines: Vec<Line> = (0..FEW * 3 + 7)
            .map(|n| Line {
                ts: n as i64 * 1_000,
                user_id: (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15),
                request_id: n as u32 * 70_001,
                status: 200 + (n % 300) as u16,
                ..Line::default()
            })
            .collect();
        for (column, bytes) in KEPT.into_iter().zip(pack(&KEPT, &lines)) {
            assert_eq!(bytes, Line::numbers(column, Alone(&lines)), "{column:?}");
        }
    }
}
