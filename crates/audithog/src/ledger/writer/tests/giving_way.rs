//! How often the writer offers its core while it commits.

use super::*;

/// The groups of so many rows that had gathered before the writer came.
fn groups_of(rows: usize, durable: bool) -> Vec<(usize, Option<usize>)> {
    let (mut desk, writer) = Desk::without_thread(None, None);
    let row = |n| full_row(u32::try_from(n).unwrap());
    for n in 1..rows {
        desk.push(row(n));
    }
    let answer = durable.then(|| desk.push_durable(row(rows)));
    if answer.is_none() {
        desk.push(row(rows));
    }
    let flushed = desk.flush(false);
    desk.thread = Some(std::thread::spawn(move || writer.run()));
    flushed.recv_timeout(PATIENCE).unwrap();
    let groups = desk.groups.lock().unwrap().clone();
    assert!(desk.close());
    groups
}

#[test]
fn the_core_is_offered_less_often_while_rows_pile_up_and_not_at_all_once_they_are_many() {
    for (rows, every) in [
        (1, Some(SLICE)),
        (GROUP_ROWS, Some(SLICE)),
        (GROUP_ROWS + 1, Some(LONG_SLICE)),
        (MANY_ROWS, Some(LONG_SLICE)),
        (MANY_ROWS + 1, None),
    ] {
        let groups = groups_of(rows, false);
        assert_eq!(groups.iter().map(|(rows, _)| rows).sum::<usize>(), rows);
        assert!(groups.iter().all(|group| group.1 == every), "{groups:?}");
    }
}

#[test]
fn a_group_that_somebody_waits_for_gives_nobody_way() {
    assert_eq!(groups_of(2, true), [(2, None)]);
}
