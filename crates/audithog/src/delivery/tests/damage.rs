//! Rows that the ledger has, and cannot read.

use std::time::Duration;

use super::desk::{Line, Scene, answer, block, delivered, status, until};
use super::tuning;
use crate::delivery::{FlushBlock, Tuning};
use crate::sink::{Reply, Verdict};

#[test]
fn a_straggler_that_cannot_be_read_keeps_nothing_else() {
    let scene = Scene::new(Tuning {
        batch_size: 1,
        ..tuning()
    });
    let mut first = true;
    scene.author(move |rows, _| match std::mem::take(&mut first) {
        true => Line::Say(Reply::Rows {
            verdicts: vec![
                Verdict::Retry("not_persisted".to_owned()),
                Verdict::Retry("not_persisted".to_owned()),
                Verdict::Delivered,
            ],
            retry_after: None,
        }),
        false => delivered(rows),
    });
    scene.desk.append(3);
    let delivery = scene.start();
    until("two rows strayed", || scene.desk.totals().stragglers == 2);
    scene.desk.paper().damaged.insert(1);
    // Both are due, and before the line.
    scene.clock.advance(Duration::from_secs(60));
    until("one of them was tried", || {
        scene.desk.paper().failed_reads > 0
    });
    scene.desk.append(1);
    until("the line and the other one go on", || {
        scene.clock.advance(Duration::from_millis(100));
        scene.desk.totals().delivered == 3
    });
    assert_eq!(scene.desk.totals().stragglers, 1);
    assert!(status(&delivery).read_errors > 0);
    let (callback, answered) = answer();
    delivery.flush(4, Duration::from_secs(600), callback);
    assert_eq!(block(&answered), Some(FlushBlock::Stragglers));
    scene.desk.paper().damaged.clear();
    until("it goes too", || {
        scene.clock.advance(Duration::from_millis(100));
        scene.desk.totals().delivered == 4
    });
}
