//! What the writer removes, when, and what it says of it.

use rusqlite::Connection;
use serde_json::Value;

use super::*;

const LIMIT: u64 = 1 << 20;
const ROWS: u32 = 12_000;
const HOUR: Duration = Duration::from_secs(3_600);

impl Desk {
    /// With rows of one time, of which the sink has settled some.
    fn filled(retention: Option<Duration>, max_bytes: Option<u64>, settled: i64) -> Self {
        let desk = Self::keeping(retention, max_bytes);
        (0..ROWS).for_each(|n| desk.push(full_row(n)));
        assert_eq!(desk.flush(false).recv_timeout(PATIENCE), Ok(ROWS.into()));
        desk.settle(settled, settled.unsigned_abs(), 1);
        desk.flushed();
        desk
    }

    fn flushed(&self) {
        self.flush(false).recv_timeout(PATIENCE).unwrap();
    }

    /// Lets the chores of a minute be done, to their end.
    fn minute(&self) {
        // What was settled is committed before the chores look.
        self.flushed();
        self.clock.advance(CHORES_EVERY);
        let mut pruned = -1;
        while pruned != self.pruned() {
            pruned = self.pruned();
            // Each answer comes after the chores that the one before began.
            (0..4).for_each(|_| self.flushed());
        }
    }

    fn ask(&self, sql: &str) -> i64 {
        let table = Connection::open(self.path()).unwrap();
        table.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    fn pruned(&self) -> i64 {
        self.ask("SELECT pruned FROM audit_head")
    }

    fn used(&self) -> u64 {
        let sql = "SELECT (page_count - freelist_count) * page_size
                   FROM pragma_page_count, pragma_freelist_count, pragma_page_size";
        self.ask(sql).unsigned_abs()
    }

    /// What the rows of removals say, with their own numbers.
    fn told(&self) -> Vec<(i64, Value)> {
        let table = Connection::open(self.path()).unwrap();
        let sql =
            "SELECT seq, properties FROM audit_logs WHERE event = 'audit_retention' ORDER BY seq";
        let mut rows = table.prepare(sql).unwrap();
        let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)));
        rows.unwrap()
            .map(Result::unwrap)
            .map(|(seq, text)| (seq, serde_json::from_str(&text).unwrap()))
            .collect()
    }

    /// Each removal was told of, from the first row to the mark.
    fn assert_told(&self, reason: &str) {
        let mut upto = 0;
        for (seq, told) in self.told() {
            assert_eq!(told["reason"], reason);
            assert_eq!(told["from"], upto + 1);
            upto = told["upto"].as_i64().unwrap();
            assert_eq!(told["count"], upto + 1 - told["from"].as_i64().unwrap());
            assert!(seq > upto);
        }
        assert_eq!(upto, self.pruned());
    }
}

#[test]
fn above_the_size_limit_the_oldest_go_and_no_more_than_needed() {
    let desk = Desk::filled(None, Some(LIMIT), 11_000);
    let before = desk.used();
    assert!(before > LIMIT, "{before}");
    desk.minute();
    let (used, pruned) = (desk.used(), desk.pruned());
    assert!(used <= LIMIT, "{used}");
    // Within a few transactions of what the rows' share of the space says.
    let needed =
        i64::from(ROWS) * i64::try_from(before - LIMIT).unwrap() / i64::try_from(before).unwrap();
    assert!(
        (needed..needed + 3_000).contains(&pruned),
        "{pruned} for {needed}"
    );
    desk.assert_told("size");
    // Enough is enough.
    desk.minute();
    assert_eq!(desk.pruned(), pruned);
}

#[test]
fn above_the_size_limit_what_no_sink_has_got_stays_and_new_rows_are_kept() {
    let desk = Desk::filled(None, Some(LIMIT), 0);
    desk.minute();
    desk.push(full_row(ROWS));
    desk.flushed();
    desk.minute();
    assert_eq!((desk.pruned(), desk.told().len()), (0, 0));
    assert_eq!(
        desk.ask("SELECT count(*) FROM audit_rows"),
        i64::from(ROWS) + 1
    );
    // The first 500 can go.
    desk.settle(500, 500, 2);
    desk.minute();
    assert_eq!(desk.pruned(), 500);
    desk.assert_told("size");
}

#[test]
fn old_rows_go_once_they_are_settled_and_one_row_says_so() {
    let desk = Desk::filled(Some(HOUR), None, 5_000);
    desk.minute();
    assert_eq!(desk.pruned(), 0);
    desk.clock.advance(HOUR);
    desk.minute();
    assert_eq!(desk.pruned(), 5_000);
    let told = desk.told();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].1["upto"], 5_000);
    desk.settle(i64::from(ROWS), 7_000, 2);
    desk.minute();
    // The last block has younger rows.
    assert!(desk.pruned() >= i64::from(ROWS) - 1_000);
    desk.assert_told("age");
}

/// Its row becomes one of the newest block, which is no longer old then.
#[test]
fn no_removal_is_told_of_that_its_own_row_prevents() {
    // So short that the heartbeat does not make the block young.
    let desk = Desk::filled(Some(Duration::from_secs(10)), None, 0);
    (0..500).for_each(|n| desk.push(full_row(ROWS + n)));
    desk.flushed();
    let head = desk.ask("SELECT head FROM audit_head");
    let block = desk.ask("SELECT max(first_seq) FROM audit_blocks");
    assert!((block..block + 999).contains(&head), "{block} {head}");
    desk.settle(head, head.unsigned_abs(), 2);
    desk.minute();
    assert_eq!(desk.pruned(), block - 1);
    desk.assert_told("age");
    assert_eq!(desk.told().len(), 1);
}

/// A process that dies in between leaves a row that says too much, never one that says too little.
#[test]
fn nothing_is_removed_before_the_row_that_says_so() {
    let desk = Desk::filled(Some(HOUR), None, 5_000);
    desk.fail([Fault::Busy]);
    desk.clock.advance(2 * HOUR);
    desk.queue.command(Command::Sync);
    // The row's commit was tried, and is tried again after a pause.
    desk.wait_for_faults();
    assert_eq!(desk.pruned(), 0);
    desk.minute();
    assert_eq!(desk.pruned(), 5_000);
    desk.assert_told("age");
}
