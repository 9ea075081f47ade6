use std::sync::Arc;

use super::{Place, open_at};
use crate::ledger::sqlite::tail::{Limits, Tail};
use crate::ledger::sqlite::{SqliteReader, SqliteStore};
use crate::ledger::tests::{commit_rows, full_row, run};
use crate::ledger::{Buffer, Group, Reader, Store, StoreError, StoreErrorKind, Straggler};
use crate::record::{Micros, Row, Run, StoredRow};

enum File {
    /// It cannot be read: whatever is read comes from memory.
    Unreadable,
    /// It has every row it is asked for.
    Whole,
}

impl Reader for File {
    fn rows(&mut self, after: i64, upto: i64, limit: usize) -> Result<Vec<StoredRow>, StoreError> {
        let row = |seq: i64| StoredRow {
            seq,
            run: Arc::default(),
            row: full_row(u32::try_from(seq).unwrap()).into(),
        };
        match self {
            Self::Unreadable => Err(StoreError::new(StoreErrorKind::Io, "the file was asked")),
            Self::Whole => Ok((after + 1..=upto).take(limit).map(row).collect()),
        }
    }

    fn rows_by_seq(&mut self, _: &[i64]) -> Result<Vec<StoredRow>, StoreError> {
        Ok(Vec::new())
    }

    fn stragglers(&mut self, _: &str, _: usize) -> Result<Vec<Straggler>, StoreError> {
        Ok(Vec::new())
    }

    fn straggler_count(&mut self, _: &str) -> Result<u64, StoreError> {
        Ok(0)
    }

    fn last_before(&mut self, _: Micros) -> Result<i64, StoreError> {
        Ok(0)
    }
}

fn tail(rows: usize, bytes: usize) -> Arc<Tail> {
    Arc::new(Tail::new(Limits { rows, bytes }))
}

fn rows(range: std::ops::RangeInclusive<u32>) -> Vec<Row> {
    range.map(full_row).collect()
}

fn add(tail: &Tail, range: std::ops::RangeInclusive<u32>) {
    let head = i64::from(*range.end());
    let rows = rows(range);
    let group = Group {
        rows: &rows,
        ..Group::default()
    };
    tail.add(&Arc::<Run>::default(), &group, &[], head);
}

fn seqs(rows: &[StoredRow]) -> Vec<i64> {
    rows.iter().map(|row| row.seq).collect()
}

#[test]
fn a_sink_that_has_caught_up_does_not_read_the_file_and_leaves_nothing_behind() {
    let tail = tail(100, usize::MAX);
    let mut sink = tail.follow(File::Unreadable);
    add(&tail, 1..=5);
    add(&tail, 6..=7);
    // What is looked at is not taken.
    assert_eq!(sink.first(0, 7).unwrap().map(|(seq, _)| seq), Some(1));
    let read = sink.rows(0, 6, 4).unwrap();
    assert_eq!(seqs(&read), [1, 2, 3, 4]);
    assert_eq!(read[2].row, full_row(3));
    assert_eq!(seqs(&sink.rows(4, 6, 4).unwrap()), [5, 6]);
    assert_eq!(tail.held(), 1);
    // Beyond what is here, or before it, only the file knows.
    assert!(sink.rows(6, 8, 4).is_err());
    assert!(sink.rows(3, 7, 4).is_err());
    assert_eq!(seqs(&sink.rows(6, 7, 4).unwrap()), [7]);
    assert_eq!(tail.held(), 0);
}

#[test]
fn rows_stay_until_the_last_of_several_sinks_has_them() {
    let tail = tail(100, usize::MAX);
    let mut first = tail.follow(File::Unreadable);
    let mut second = tail.follow(File::Unreadable);
    add(&tail, 1..=4);
    assert_eq!(seqs(&first.rows(0, 4, 10).unwrap()), [1, 2, 3, 4]);
    assert_eq!(tail.held(), 4);
    assert_eq!(seqs(&second.rows(0, 2, 10).unwrap()), [1, 2]);
    assert_eq!(tail.held(), 2);
    // One that has ended keeps nothing.
    drop(second);
    add(&tail, 5..=5);
    assert_eq!(seqs(&first.rows(4, 5, 10).unwrap()), [5]);
    assert_eq!(tail.held(), 0);
}

#[test]
fn without_a_sink_nothing_is_kept() {
    let tail = tail(100, usize::MAX);
    add(&tail, 1..=4);
    assert_eq!(tail.held(), 0);
    drop(tail.follow(File::Whole));
    add(&tail, 5..=6);
    assert_eq!(tail.held(), 0);
}

#[test]
fn a_sink_that_falls_behind_costs_nothing_until_it_is_near_again() {
    for tail in [
        tail(10, usize::MAX),
        tail(usize::MAX, rows(1..=10).iter().map(Row::size).sum()),
    ] {
        let mut sink = tail.follow(File::Whole);
        add(&tail, 1..=10);
        assert_eq!(tail.held(), 10);
        add(&tail, 11..=11);
        assert_eq!(tail.held(), 0);
        // It asks for nothing yet.
        add(&tail, 12..=12);
        assert_eq!(tail.held(), 0);
        assert_eq!(seqs(&sink.rows(0, 12, 6).unwrap()).last(), Some(&6));
        // Six rows before the next: more than half of what was too much.
        add(&tail, 13..=13);
        assert_eq!(tail.held(), 0);
        assert_eq!(seqs(&sink.rows(6, 13, 2).unwrap()), [7, 8]);
        // It never reads to the head, because rows come as fast as it reads.
        add(&tail, 14..=15);
        assert_eq!(tail.held(), 2);
        assert_eq!(seqs(&sink.rows(8, 14, 3).unwrap()), [9, 10, 11]);
        add(&tail, 16..=17);
        assert_eq!(tail.held(), 4);
        assert_eq!(seqs(&sink.rows(11, 15, 2).unwrap()), [12, 13]);
        assert_eq!(tail.held(), 4);
        assert_eq!(seqs(&sink.rows(13, 17, 3).unwrap()), [14, 15, 16]);
        assert_eq!(tail.held(), 1);
    }
}

#[test]
fn a_sink_hurries_while_memory_fills_and_until_it_is_near_again() {
    let tail = tail(10, usize::MAX);
    let mut sink = tail.follow(File::Whole);
    add(&tail, 1..=5);
    assert!(!sink.falls_behind());
    add(&tail, 6..=6);
    assert!(sink.falls_behind());
    assert_eq!(sink.rows(0, 6, 3).unwrap().len(), 3);
    assert!(!sink.falls_behind());
    // Pushed out.
    add(&tail, 7..=20);
    assert_eq!(tail.held(), 0);
    assert!(sink.falls_behind());
    // From a hundred rows on it is an old backlog.
    add(&tail, 21..=103);
    assert!(sink.falls_behind());
    add(&tail, 104..=104);
    assert!(!sink.falls_behind());
    assert_eq!(sink.rows(3, 104, 99).unwrap().len(), 99);
    assert!(sink.falls_behind());
    add(&tail, 105..=105);
    assert!(!sink.falls_behind());
    assert_eq!(tail.held(), 1);
}

#[test]
fn a_gap_ends_the_stretch() {
    let tail = tail(100, usize::MAX);
    let mut sink = tail.follow(File::Unreadable);
    add(&tail, 1..=3);
    add(&tail, 5..=6);
    assert!(sink.rows(0, 6, 10).is_err());
    assert_eq!(tail.held(), 2);
    assert_eq!(seqs(&sink.rows(4, 6, 10).unwrap()), [5, 6]);
}

#[test]
fn what_was_left_out_has_no_number() {
    let tail = tail(100, usize::MAX);
    let mut sink = tail.follow(File::Unreadable);
    let all = Arc::new(rows(1..=6));
    let group = Group {
        rows: &all[2..],
        buffer: Some(Buffer {
            rows: &all,
            first: 2,
        }),
        ..Group::default()
    };
    tail.add(&Arc::default(), &group, &[1], 3);
    let read = sink.rows(0, 3, 10).unwrap();
    assert_eq!(seqs(&read), [1, 2, 3]);
    assert_eq!(read[1].row, full_row(5));
}

// The same through a store.

fn append(store: &mut SqliteStore, range: std::ops::RangeInclusive<u32>) {
    let rows = rows(range);
    let group = Group {
        rows: &rows,
        ..Group::default()
    };
    store.commit(&group).unwrap();
}

#[test]
fn a_follower_reads_what_the_file_holds() {
    let place = Place::new();
    let mut store = place.open();
    append(&mut store, 1..=3);
    let mut follower = store.follower().unwrap();
    let mut reader = store.reader().unwrap();
    append(&mut store, 4..=6);
    for (after, upto) in [(0, 3), (3, 5), (5, 6)] {
        let read = follower.rows(after, upto, 100).unwrap();
        assert_eq!(read, reader.rows(after, upto, 100).unwrap());
    }
    // From the start again, as after a change of hands.
    let all = follower.rows(0, 6, 100).unwrap();
    assert_eq!(all, reader.rows(0, 6, 100).unwrap());
    assert_eq!(all[0].run, run().into());
}

#[test]
fn rows_of_another_process_are_read_from_the_file() {
    let place = Place::new();
    let mut ours = place.open();
    let mut follower = ours.follower().unwrap();
    append(&mut ours, 1..=2);
    let (mut theirs, _) = open_at(&place.path(), &place.clock).unwrap();
    append(&mut theirs, 3..=3);
    append(&mut ours, 4..=5);
    assert_eq!(ours.tail.held(), 2);
    let read = follower.rows(0, 5, 100).unwrap();
    assert_eq!(seqs(&read), [1, 2, 3, 4, 5]);
    assert_eq!(read[2].row, full_row(3));
    append(&mut ours, 6..=6);
    assert_eq!(seqs(&follower.rows(5, 6, 100).unwrap()), [6]);
}

#[test]
fn a_store_that_opens_again_forgets_what_it_kept() {
    let place = Place::new();
    let mut store = place.open();
    let _follower = store.follower().unwrap();
    append(&mut store, 1..=2);
    assert_eq!(store.tail.held(), 2);
    store.reopen().unwrap();
    assert_eq!(store.tail.held(), 0);
    append(&mut store, 3..=3);
    assert_eq!(store.tail.held(), 1);
}

/// In one piece of memory, as rows that come through the tail are.
#[test]
fn rows_that_are_read_together_lie_side_by_side_and_share_their_texts() {
    let place = Place::new();
    let mut store = place.open();
    commit_rows(&mut store, &rows(1..=5));
    let mut reader = SqliteReader::open(&place.path()).unwrap();
    let by_range = reader.rows(0, 5, 10).unwrap();
    let by_number = reader.rows_by_seq(&[2, 4, 5]).unwrap();
    assert_eq!((by_range.len(), by_number.len()), (5, 3));
    for read in [&by_range, &by_number] {
        let address = |stored: &StoredRow| std::ptr::from_ref::<Row>(&stored.row).addr();
        let mut pairs = read.windows(2);
        assert!(pairs.all(|pair| address(&pair[1]) - address(&pair[0]) == size_of::<Row>()));
        let code = |stored: &StoredRow| {
            let exchange = stored.row.exchange.as_ref().unwrap();
            exchange.error_code.as_ref().unwrap().as_ptr()
        };
        // In the dictionary since it came a second time.
        let [.., last_but_one, last] = &read[..] else {
            panic!("two rows at least were read");
        };
        assert_eq!(code(last_but_one), code(last));
    }
}
