use super::*;
use crate::ledger::tests::NOW;

fn lost(reason: LossReason, count: u64, at: i64) -> Episode {
    Episode::new(reason, count, Micros(NOW.0 + at))
}

fn made(own: &mut OwnRows, stopping: bool, room: usize) -> Vec<Value> {
    let mut rows = Vec::new();
    own.make(
        &Counts::default(),
        &Totals::default(),
        stopping,
        room,
        &mut rows,
    );
    let properties = rows
        .iter()
        .map(|row| row.properties.as_deref().unwrap_or("{}"));
    properties
        .map(|text| serde_json::from_str(text).unwrap())
        .collect()
}

#[test]
fn losses_of_one_reason_are_one_row_a_second() {
    let clock = Clock::manual(NOW);
    let mut own = OwnRows::new(clock.clone());
    own.note(&mut vec![
        lost(LossReason::QueueFull, 3, 0),
        lost(LossReason::AfterShutdown, 1, 5),
        lost(LossReason::QueueFull, 4, 9),
    ]);
    let rows = made(&mut own, false, usize::MAX);
    assert_eq!(rows.len(), 2);
    assert_eq!(
        (&rows[0]["reason"], &rows[0]["count"]),
        (&json!("queue_full"), &json!(7))
    );
    assert_eq!(rows[0]["exact"], true);
    assert_eq!(rows[0]["from"], Micros(NOW.0).to_string());
    assert_eq!(rows[0]["until"], Micros(NOW.0 + 9).to_string());
    own.note(&mut vec![lost(LossReason::QueueFull, 1, 10)]);
    assert!(made(&mut own, false, usize::MAX).is_empty());
    assert_eq!(own.due_in(usize::MAX), LOSS_EVERY);
    clock.advance(LOSS_EVERY);
    assert_eq!(made(&mut own, false, usize::MAX).len(), 1);
    assert_eq!(own.take_untold().get(LossReason::QueueFull), 8);
}

#[test]
fn an_estimate_is_never_added_to_a_count() {
    let mut own = OwnRows::new(Clock::manual(NOW));
    let stop = || unclean_stop(100, NOW, NOW);
    own.note(&mut vec![stop(), lost(LossReason::QueueFull, 1, 0), stop()]);
    let rows = made(&mut own, false, usize::MAX);
    let exact: Vec<_> = rows
        .iter()
        .map(|row| (&row["count"], &row["exact"]))
        .collect();
    let (hundred, one) = (json!(100), json!(1));
    let (yes, no) = (json!(true), json!(false));
    assert_eq!(exact, [(&hundred, &no), (&one, &yes), (&hundred, &no)]);
}

#[test]
fn a_ledger_that_went_is_told_with_all_it_may_have_held() {
    let mut own = OwnRows::new(Clock::manual(NOW));
    let gone = Totals {
        head: 50,
        pruned: 20,
        ..Totals::default()
    };
    own.note_replaced(&gone);
    let rows = made(&mut own, false, usize::MAX);
    assert_eq!(rows[0], json!({"headBefore": 50}));
    assert_eq!(rows[1]["reason"], "ledger_replaced");
    assert_eq!(
        (&rows[1]["count"], &rows[1]["exact"]),
        (&json!(30), &json!(false))
    );
    assert_eq!(own.take_untold().get(LossReason::LedgerReplaced), 30);
    own.note_replaced(&Totals::default());
    assert_eq!(made(&mut own, true, usize::MAX).len(), 2);
    assert_eq!(own.take_untold(), Losses::default());
}

#[test]
fn a_loss_waits_for_room_but_not_beyond_the_end() {
    let mut own = OwnRows::new(Clock::manual(NOW));
    own.note(&mut vec![lost(LossReason::MemoryFull, 5, 0)]);
    assert!(made(&mut own, false, 0).is_empty());
    assert_eq!(own.due_in(0), HEARTBEAT_EVERY);
    assert_eq!(own.due_in(1), Duration::ZERO);
    own.note(&mut vec![lost(LossReason::MemoryFull, 5, 3)]);
    let rows = made(&mut own, true, 0);
    assert_eq!(rows[0]["count"], 10);
}

#[test]
fn a_clock_that_was_set_back_turns_no_time_range_round() {
    let earlier = Micros(NOW.0 - 5_000_000);
    for (last_sign, found) in [(earlier, NOW), (NOW, earlier)] {
        let stop = unclean_stop(1, last_sign, found);
        assert_eq!((stop.first, stop.last), (earlier, NOW));
    }
}
