use std::time::Duration;

use super::desk::{Line, Scene, answer, block, delivered, once_more, status, unavailable, until};
use super::{START, eager, tuning};
use crate::config::RetrySettings;
use crate::delivery::status::BreakerState;
use crate::delivery::{FlushBlock, LeaseState, Ledger, Tuning};
use crate::record::{Micros, StoredRow};
use crate::sink::{Attempt, Hold, HoldReason, Reply, Verdict};

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn hold() -> Line {
    held_for(None)
}

fn held_for(retry_after: Option<Duration>) -> Line {
    Line::Say(Reply::Hold {
        hold: Hold {
            reason: HoldReason::BadKey,
            detail: "API key invalid".to_owned(),
        },
        retry_after,
    })
}

fn over_quota() -> Hold {
    Hold {
        reason: HoldReason::Quota,
        detail: "over".to_owned(),
    }
}

#[test]
fn fewer_rows_than_a_batch_wait_for_the_interval() {
    let scene = Scene::new(tuning());
    let delivery = scene.start();
    until("the lease", || status(&delivery).lease == LeaseState::Ours);
    scene.desk.append(3);
    until("the first rows are seen", || status(&delivery).pending == 3);
    scene.clock.advance(Duration::from_millis(29_999));
    scene.let_it_look(&delivery);
    assert_eq!(scene.sent(), []);
    scene.clock.advance(Duration::from_millis(1));
    scene.wait_for_delivered(4);
    assert_eq!(scene.sent().len(), 1);
    assert_eq!(scene.sent()[0].seqs, [1, 2, 3, 4]);
}

#[test]
fn a_full_batch_goes_at_once_and_takes_everything_pending_along() {
    let scene = Scene::new(tuning());
    let delivery = scene.start();
    until("the lease", || status(&delivery).lease == LeaseState::Ours);
    scene.desk.append(99);
    until("the rows are seen", || status(&delivery).pending == 99);
    assert_eq!(scene.sent(), []);
    scene.desk.append(1234);
    scene.wait_for_delivered(1333);
    let rows: Vec<_> = scene.sent().iter().map(|sent| sent.seqs.len()).collect();
    assert_eq!(rows, [500, 500, 333]);
    assert_eq!(scene.clock.monotonic(), Duration::ZERO);
}

#[test]
fn a_sink_hurries_while_rows_come_faster_than_they_are_read() {
    let scene = Scene::new(eager());
    let _delivery = scene.start();
    scene.desk.append(1);
    scene.wait_for_delivered(1);
    scene.desk.paper().behind = true;
    scene.desk.append(1);
    scene.wait_for_delivered(2);
    scene.desk.paper().behind = false;
    scene.desk.append(1);
    scene.wait_for_delivered(3);
    let hurried: Vec<bool> = scene.sent().iter().map(|sent| sent.hurry).collect();
    assert_eq!(hurried, [false, true, false]);
}

#[test]
fn what_an_earlier_process_left_goes_at_once() {
    let scene = Scene::new(tuning());
    scene.desk.append(2);
    let _delivery = scene.start();
    scene.wait_for_delivered(2);
}

#[test]
fn rows_are_sent_only_after_their_sync() {
    let scene = Scene::new(eager());
    scene.desk.paper().syncs_stopped = true;
    scene.desk.append(2);
    let delivery = scene.start();
    until("the rows are seen", || status(&delivery).pending == 2);
    scene.let_it_look(&delivery);
    assert_eq!(scene.sent(), []);
    scene.desk.paper().syncs_stopped = false;
    // The next batch asks for its sync, which covers the first.
    scene.desk.append(1);
    scene.wait_for_delivered(4);
}

#[test]
fn sampled_out_rows_are_settled_without_a_request() {
    let scene = Scene::sampling(eager(), &[1, 2, 3]);
    scene.desk.append(3);
    let _delivery = scene.start();
    until("the cursor moves", || scene.desk.totals().sampled_out == 3);
    assert_eq!(scene.sent(), []);
    assert_eq!(scene.desk.totals().pending(3), 0);
}

#[test]
fn the_first_start_holds_back_what_is_older_than_the_backfill_limit() {
    let mut scene = Scene::new(eager());
    scene.backfill = Some(secs(100));
    scene.desk.append_at(40, START.saturating_sub(secs(101)));
    scene.desk.append_at(2, START.saturating_sub(secs(100)));
    let delivery = scene.start();
    scene.wait_for_delivered(2);
    assert_eq!(scene.desk.totals().held_back, 40);
    scene.stop(delivery);
    // Later starts hold nothing back, however old the rows are.
    scene.backfill = None;
    scene.desk.append_at(5, Micros(0));
    let _delivery = scene.start();
    scene.wait_for_delivered(7);
    assert_eq!(scene.desk.totals().held_back, 40);
}

#[test]
fn a_flush_returns_when_everything_is_settled_and_committed() {
    let scene = Scene::new(tuning());
    scene.desk.append(3);
    let delivery = scene.start();
    scene.wait_for_delivered(3);
    scene.desk.append(5);
    scene.desk.paper().commits_stopped = true;
    let (callback, answered) = answer();
    delivery.flush(8, secs(30), callback);
    until("the settlement is handed over", || {
        !scene.desk.paper().uncommitted.is_empty()
    });
    scene.let_it_look(&delivery);
    assert!(answered.try_recv().is_err(), "not committed yet");
    scene.desk.commit();
    assert_eq!(block(&answered), None);
    assert_eq!(scene.desk.totals().delivered, 8);
}

#[test]
fn a_flush_cuts_a_quick_retry_short_but_not_retry_after() {
    for (retry_after, waits) in [(None, false), (Some(secs(20)), true)] {
        let scene = Scene::new(eager());
        scene.author(move |rows, attempt| match attempt.number {
            1 => unavailable(retry_after),
            _ => delivered(rows),
        });
        scene.desk.append(1);
        let delivery = scene.start();
        until("the first try failed", || {
            status(&delivery).breaker == BreakerState::Failing
        });
        let (callback, answered) = answer();
        delivery.flush(1, secs(30), callback);
        if waits {
            scene.let_it_look(&delivery);
            assert_eq!(scene.sent().len(), 1);
            scene.clock.advance(secs(20));
        }
        assert_eq!(block(&answered), None);
    }
}

#[test]
fn a_flush_returns_early_with_the_reason() {
    let blocked = |scene: &Scene| {
        let delivery = scene.start();
        let (callback, answered) = answer();
        delivery.flush(scene.desk.paper().head(), secs(30), callback);
        block(&answered)
    };
    let scene = Scene::new(eager());
    scene.desk.append(3);
    scene.author(|_, _| hold());
    assert_eq!(blocked(&scene), Some(FlushBlock::Hold(HoldReason::BadKey)));

    let mut scene = Scene::new(eager());
    scene.tuning.retry.quick_attempts = 1;
    scene.desk.append(3);
    scene.author(|_, _| unavailable(None));
    assert_eq!(blocked(&scene), Some(FlushBlock::BreakerOpen));

    let scene = Scene::new(eager());
    scene.desk.append(3);
    scene.desk.paper().elsewhere = true;
    assert_eq!(blocked(&scene), Some(FlushBlock::LeaseElsewhere));

    let scene = Scene::new(eager());
    scene.desk.append(3);
    scene.desk.paper().syncs_stopped = true;
    scene.desk.set_failing(true);
    assert_eq!(blocked(&scene), Some(FlushBlock::LedgerNotWriting));

    let scene = Scene::new(eager());
    scene.desk.append(3);
    scene.desk.paper().reads_fail = true;
    assert_eq!(blocked(&scene), Some(FlushBlock::LedgerNotWriting));

    let scene = Scene::new(eager());
    scene.desk.append(2);
    scene.author(|rows, _| {
        let verdict = |row: &StoredRow| match row.seq {
            1 => Verdict::Retry("not_persisted".to_owned()),
            _ => Verdict::Delivered,
        };
        Line::Say(Reply::Rows {
            verdicts: rows.iter().map(verdict).collect(),
            retry_after: None,
        })
    });
    assert_eq!(blocked(&scene), Some(FlushBlock::Stragglers));
    assert_eq!(scene.desk.totals().stragglers, 1);
    assert_eq!(scene.desk.totals().cursor, 2);
}

#[test]
fn a_flush_does_not_wait_for_a_try_after_its_deadline() {
    let line: fn(&[StoredRow]) -> Line = |_| unavailable(Some(secs(20)));
    let straggler: fn(&[StoredRow]) -> Line = |rows| {
        Line::Say(Reply::Rows {
            verdicts: vec![Verdict::Retry("not_persisted".to_owned()); rows.len()],
            retry_after: Some(secs(20)),
        })
    };
    for (author, reason) in [
        (line, FlushBlock::BreakerOpen),
        (straggler, FlushBlock::Stragglers),
    ] {
        let scene = Scene::new(eager());
        scene.author(move |rows, attempt| match attempt.number {
            1 => author(rows),
            _ => delivered(rows),
        });
        scene.desk.append(1);
        let delivery = scene.start();
        until("the first try failed", || {
            status(&delivery).breaker == BreakerState::Failing || status(&delivery).stragglers == 1
        });
        // One that outlasts the pause goes on.
        let (callback, patient) = answer();
        delivery.flush(1, secs(21), callback);
        let (callback, answered) = answer();
        delivery.flush(1, secs(20), callback);
        assert_eq!(block(&answered), Some(reason));
        if reason == FlushBlock::BreakerOpen {
            assert!(patient.try_recv().is_err(), "it would have been delivered");
        }
        let (callback, answered) = answer();
        delivery.shutdown(1, secs(5), callback);
        assert_eq!(block(&answered), Some(reason));
        assert_eq!(scene.sent().len(), 1);
        assert_eq!(scene.clock.monotonic(), Duration::ZERO);
    }
}

#[test]
fn a_flush_ends_at_its_deadline() {
    let scene = Scene::new(eager());
    scene.author(|_, _| Line::Hang);
    scene.desk.append(1);
    let delivery = scene.start();
    scene.wait_for_requests(1);
    let (callback, answered) = answer();
    delivery.flush(1, secs(5), callback);
    scene.let_it_look(&delivery);
    assert!(answered.try_recv().is_err());
    scene.clock.advance(secs(5));
    assert_eq!(block(&answered), Some(FlushBlock::Deadline));
}

#[test]
fn a_shutdown_in_an_outage_ends_within_its_deadline_and_frees_the_lease() {
    let scene = Scene::new(eager());
    scene.author(|_, _| Line::Hang);
    scene.desk.append(1);
    let delivery = scene.start();
    scene.wait_for_requests(1);
    let (callback, answered) = answer();
    delivery.shutdown(1, secs(5), callback);
    scene.clock.advance(secs(5));
    assert_eq!(block(&answered), Some(FlushBlock::Deadline));
    assert_eq!(scene.desk.paper().released, 1);
    let (callback, answered) = answer();
    delivery.flush(1, secs(30), callback);
    assert_eq!(block(&answered), Some(FlushBlock::Stopped));
}

#[test]
fn a_shutdown_delivers_what_is_pending() {
    let scene = Scene::new(tuning());
    let delivery = scene.start();
    scene.desk.append(7);
    let (callback, answered) = answer();
    delivery.shutdown(7, secs(25), callback);
    assert_eq!(block(&answered), None);
    assert_eq!(scene.desk.totals().delivered, 7);
    assert_eq!(scene.clock.monotonic(), Duration::ZERO);
}

#[test]
fn a_hold_sends_one_slow_probe_at_a_time_and_recovery_drains_at_once() {
    let scene = Scene::new(eager());
    scene.author(|_, _| hold());
    scene.desk.append(1);
    let delivery = scene.start();
    until("the hold", || status(&delivery).hold.is_some());
    let held = status(&delivery).hold.unwrap();
    assert_eq!(
        (held.reason, held.detail.as_str()),
        (HoldReason::BadKey, "API key invalid")
    );
    // Rows that come meanwhile fire no trigger.
    scene.desk.append(1000);
    until("they are seen", || status(&delivery).pending == 1001);
    scene.clock.advance(Duration::from_millis(29_999));
    scene.let_it_look(&delivery);
    assert_eq!(scene.sent().len(), 1);
    scene.clock.advance(Duration::from_millis(1));
    scene.wait_for_requests(2);
    until("the probe failed", || status(&delivery).in_flight == 0);
    scene.author(|rows, _| delivered(rows));
    scene.clock.advance(secs(60));
    scene.wait_for_delivered(1002);
    let sent = scene.sent();
    assert_eq!(sent[1].at, secs(30));
    assert_eq!(sent[2].at, secs(90));
    assert!(sent[..3].iter().all(|sent| sent.seqs == [1]));
    assert!(sent[..3].iter().map(|sent| sent.attempt.number).eq(1..=3));
    assert!(sent[3..].iter().all(|sent| sent.at == secs(90)));
    until("the hold is over", || status(&delivery).hold.is_none());
}

#[test]
fn a_hold_respects_retry_after_for_the_request_and_for_rows() {
    let rows_held: fn(&[StoredRow]) -> Line = |rows| {
        Line::Say(Reply::Rows {
            verdicts: vec![Verdict::Hold(over_quota()); rows.len()],
            retry_after: Some(secs(45)),
        })
    };
    for held in [|_: &[StoredRow]| held_for(Some(secs(45))), rows_held] {
        let scene = Scene::new(eager());
        scene.author(move |rows, _| held(rows));
        scene.desk.append(1);
        let delivery = scene.start();
        until("the hold", || status(&delivery).hold.is_some());
        scene.author(|rows, _| delivered(rows));
        scene.clock.advance(Duration::from_millis(44_999));
        scene.let_it_look(&delivery);
        assert_eq!(scene.sent().len(), 1);
        scene.clock.advance(Duration::from_millis(1));
        scene.wait_for_delivered(2);
    }
}

#[test]
fn an_outage_costs_a_few_quick_tries_and_then_slow_probes() {
    let scene = Scene::new(eager());
    scene.author(|_, _| unavailable(None));
    scene.desk.append(600);
    let delivery = scene.start();
    // Time moves in steps as small as a delay can be.
    until("the breaker is open", || {
        scene.clock.advance(Duration::from_millis(10));
        status(&delivery).breaker == BreakerState::Open
    });
    let opened = scene.clock.monotonic();
    let quick = scene.sent().len();
    assert_eq!(quick, 4);
    scene.author(|rows, _| delivered(rows));
    scene.clock.advance(secs(29));
    scene.let_it_look(&delivery);
    assert_eq!(scene.sent().len(), quick);
    scene.clock.advance(secs(2));
    scene.wait_for_delivered(601);
    assert!(scene.sent()[quick].at >= opened + secs(29));
    assert!(status(&delivery).breaker == BreakerState::Closed);
}

#[test]
fn retry_after_is_a_floor_and_is_cut_at_the_ceiling() {
    for (retry_after, at) in [(secs(7), secs(7)), (secs(1_000_000), secs(60))] {
        let scene = Scene::new(eager());
        scene.author(move |rows, attempt| {
            if rows[0].seq == 1 && attempt.number == 1 {
                unavailable(Some(retry_after))
            } else {
                delivered(rows)
            }
        });
        scene.desk.append(1);
        let delivery = scene.start();
        until("the first try failed", || {
            status(&delivery).breaker == BreakerState::Failing
        });
        scene.clock.advance(at - Duration::from_millis(1));
        scene.let_it_look(&delivery);
        assert_eq!(scene.sent().len(), 1);
        scene.clock.advance(Duration::from_millis(1));
        scene.wait_for_delivered(2);
        let sent = scene.sent();
        assert_eq!(sent[1].seqs, [1]);
        assert_eq!(sent[0].attempt.request, sent[1].attempt.request);
    }
}

#[test]
fn a_straggler_survives_a_restart_and_never_blocks_the_line() {
    let scene = Scene::new(eager());
    scene.author(|rows, _| {
        let verdict = |row: &StoredRow| match row.seq {
            2 => Verdict::Retry("not_persisted".to_owned()),
            _ => Verdict::Delivered,
        };
        Line::Say(Reply::Rows {
            verdicts: rows.iter().map(verdict).collect(),
            retry_after: Some(secs(5)),
        })
    });
    scene.desk.append(3);
    let delivery = scene.start();
    scene.wait_for_delivered(2);
    assert_eq!(scene.desk.totals().cursor, 3);
    assert_eq!(scene.desk.totals().stragglers, 1);
    let straggler = scene.desk.paper().stragglers[&2].clone();
    assert_eq!((straggler.attempts, straggler.since), (1, START));
    assert!(straggler.next >= START.saturating_add(secs(5)));
    scene.stop(delivery);
    scene.author(|rows, _| delivered(rows));
    let _delivery = scene.start();
    scene.clock.advance(secs(60));
    scene.wait_for_delivered(3);
    assert_eq!(scene.desk.totals().stragglers, 0);
    let again: Vec<_> = scene
        .sent()
        .into_iter()
        .map(|sent| (sent.seqs, sent.attempt.number))
        .collect();
    // The row's second try, though of another request.
    assert_eq!(again, [(vec![1, 2, 3], 1), (vec![2], 2)]);
}

#[test]
fn a_straggler_that_was_tried_too_often_or_too_long_is_a_dead_letter() {
    let limits = [
        RetrySettings {
            straggler_attempts: 3,
            ..RetrySettings::default()
        },
        RetrySettings {
            straggler_age: secs(600),
            ..RetrySettings::default()
        },
    ];
    for retry in limits {
        let scene = Scene::new(Tuning { retry, ..eager() });
        scene.author(|rows, _| once_more(rows, None));
        scene.desk.append(2);
        let delivery = scene.start();
        until("it is given up", || {
            scene.clock.advance(secs(1));
            scene.desk.totals().dead == 1
        });
        let letter = scene.desk.paper().dead[&1].clone();
        assert!(letter.reason.contains("not_persisted"), "{}", letter.reason);
        assert_eq!(letter.ts, START);
        until("it is counted", || status(&delivery).dead.len() == 1);
    }
}

#[test]
fn a_row_that_was_held_for_long_survives_its_first_failures() {
    let age = secs(600);
    let retry = RetrySettings {
        straggler_age: age,
        ..RetrySettings::default()
    };
    let scene = Scene::new(Tuning { retry, ..eager() });
    let verdict_for_one = |verdict: Verdict| {
        move |rows: &[StoredRow], _: Attempt| {
            let verdict = |row: &StoredRow| match row.seq {
                1 => verdict.clone(),
                _ => Verdict::Delivered,
            };
            Line::Say(Reply::Rows {
                verdicts: rows.iter().map(verdict).collect(),
                retry_after: None,
            })
        }
    };
    scene.author(verdict_for_one(Verdict::Hold(over_quota())));
    scene.desk.append(2);
    let _delivery = scene.start();
    until("the row is held", || scene.desk.totals().stragglers == 1);
    let held = scene.desk.paper().stragglers[&1].clone();
    assert_eq!((held.attempts, held.since), (0, START));

    scene.author(verdict_for_one(Verdict::Retry("not_persisted".to_owned())));
    scene.clock.advance(age * 2);
    let failed_since = START.saturating_add(age * 2);
    until("its first failure", || {
        scene.desk.paper().stragglers[&1].attempts == 1
    });
    assert_eq!(scene.desk.paper().stragglers[&1].since, failed_since);

    // An outage may be as long between two failures.
    scene.clock.advance(age * 2);
    until("its second failure", || {
        let paper = scene.desk.paper();
        assert_eq!(paper.totals.dead, 0);
        paper.stragglers[&1].attempts == 2
    });
    until("it is given up", || {
        scene.clock.advance(secs(1));
        scene.desk.totals().dead == 1
    });
    let reason = scene.desk.paper().dead[&1].reason.clone();
    assert!(reason.contains("after 4 attempts"), "{reason}");
}

#[test]
fn a_panic_is_counted_and_the_loop_goes_on() {
    let scene = Scene::new(eager());
    let mut first = true;
    scene.author(move |rows, _| {
        if std::mem::take(&mut first) {
            Line::Panic
        } else {
            delivered(rows)
        }
    });
    scene.desk.append(2);
    let delivery = scene.start();
    until("the panic", || status(&delivery).panics == 1);
    let (callback, answered) = answer();
    delivery.flush(2, secs(30), callback);
    scene.clock.advance(secs(1));
    assert_eq!(block(&answered), None);
    assert_eq!(scene.desk.totals().delivered, 2);
}

#[test]
fn a_lost_lease_stops_sending_until_it_is_ours_again() {
    let scene = Scene::new(eager());
    scene.desk.append(1);
    let delivery = scene.start();
    scene.wait_for_delivered(1);
    scene.desk.paper().elsewhere = true;
    scene.clock.advance(secs(10));
    until("the loss", || {
        status(&delivery).lease == LeaseState::Elsewhere
    });
    scene.desk.append(4);
    let (callback, answered) = answer();
    delivery.flush(5, secs(300), callback);
    assert_eq!(block(&answered), Some(FlushBlock::LeaseElsewhere));
    assert_eq!(scene.sent().len(), 1);
    // The other process delivered two of them before it went.
    {
        let mut paper = scene.desk.paper();
        paper.totals.cursor = 3;
        paper.totals.delivered = 3;
        paper.elsewhere = false;
    }
    scene.clock.advance(secs(10));
    scene.wait_for_delivered(5);
    assert_eq!(scene.sent()[1].seqs, [4, 5]);
}

#[test]
fn a_lease_is_renewed_before_it_ends() {
    let scene = Scene::new(tuning());
    let delivery = scene.start();
    for renewals in 1..5 {
        until("the lease", || {
            scene.desk.paper().leased == renewals && status(&delivery).lease == LeaseState::Ours
        });
        scene.clock.advance(secs(10));
    }
}

#[test]
fn an_unreadable_ledger_is_tried_again() {
    let scene = Scene::new(eager());
    scene.desk.paper().reads_fail = true;
    scene.desk.append(1);
    let delivery = scene.start();
    until("a failed read", || scene.desk.paper().failed_reads > 0);
    scene.desk.paper().reads_fail = false;
    until("it goes on", || {
        scene.clock.advance(Duration::from_millis(100));
        scene.desk.totals().delivered == 1
    });
    assert!(status(&delivery).read_errors > 0);
}

#[test]
fn the_status_names_the_oldest_pending_row() {
    let scene = Scene::new(tuning());
    let delivery = scene.start();
    until("the lease", || status(&delivery).lease == LeaseState::Ours);
    assert_eq!(status(&delivery).oldest_pending, None);
    let old = START.saturating_sub(secs(77));
    scene.desk.append_at(1, old);
    scene.desk.append(1);
    scene.desk.request_sync();
    until("its age is known", || {
        status(&delivery).oldest_pending == Some(old)
    });
}

#[test]
fn dropping_the_handle_ends_delivery_and_answers_who_waits() {
    let scene = Scene::new(eager());
    scene.author(|_, _| Line::Hang);
    scene.desk.append(1);
    let delivery = scene.start();
    scene.wait_for_requests(1);
    let (callback, answered) = answer();
    delivery.flush(1, secs(30), callback);
    drop(delivery);
    assert_eq!(block(&answered), Some(FlushBlock::Stopped));
    until("the lease is free", || scene.desk.paper().released == 1);
}
