//! The run that is part of the tests: every fault at least once, and one round that nobody chose.

use anyhow::Result;

use super::{Files, Tally, plant};
use crate::oracle::Guarantee::{self, BestEffort, Durable, FailClosed};
use crate::schedule::{Kind, Plan};

/// Seeds, guarantees and faults. The first is the one whose books are spoiled afterwards.
const ROUNDS: &[(u64, Guarantee, &[Kind])] = &[
    (1, BestEffort, &[Kind::Terminate, Kind::Storm503]),
    (2, Durable, &[Kind::Kill, Kind::LostReply, Kind::Storm429]),
    (3, FailClosed, &[Kind::TerminateInOutage, Kind::Poison]),
    (4, BestEffort, &[Kind::Hang, Kind::Kill, Kind::TooMany]),
    (5, Durable, &[Kind::TwoWriters, Kind::Kill, Kind::Reset]),
    (6, BestEffort, &[Kind::FullDisk, Kind::Drip]),
    (7, FailClosed, &[Kind::SyncFails, Kind::Quota]),
    (8, FailClosed, &[Kind::SyncHangs, Kind::Storm429Later]),
    (9, Durable, &[Kind::WriteFails, Kind::Storm500]),
    (10, FailClosed, &[Kind::WriteNoSpace, Kind::V1Vanishes]),
    (11, BestEffort, &[Kind::WriteSlow, Kind::Verdicts]),
    (
        12,
        Durable,
        &[Kind::TruncateFails, Kind::Outage, Kind::TooLarge],
    ),
    (13, BestEffort, &[Kind::ClockStep, Kind::WrongKey]),
    (15, Durable, &[Kind::PowerLoss]),
    // What was answered may be missing here, if it is no older than a second.
    (16, BestEffort, &[Kind::PowerLoss]),
    (14, BestEffort, &[Kind::Storm503Later, Kind::Garbage]),
];

pub(crate) fn run(files: &Files) -> Result<()> {
    let mut tally = Tally::default();
    for (seed, guarantee, kinds) in ROUNDS {
        let plan = Plan::draw(*seed, Some(*guarantee), kinds);
        tally.play(&plan, files, |outcome, directory| {
            if *seed == ROUNDS[0].0 {
                plant::all_are_seen(&outcome.books, &directory.path().join("audit.db"))
            } else {
                Ok(true)
            }
        })?;
    }
    let any = Plan::draw(fastrand::u64(1 << 16..1 << 32), None, &[]);
    tally.play(&any, files, |_, _| Ok(true))?;
    tally.conclude()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_and_guarantee_is_in_the_short_run() {
        for kind in Kind::ALL {
            let found = ROUNDS.iter().any(|(_, _, kinds)| kinds.contains(&kind));
            assert!(found, "{kind:?} is in no round");
        }
        for guarantee in Guarantee::PLAYED {
            let found = ROUNDS.iter().any(|(_, played, _)| played == guarantee);
            assert!(found, "{guarantee:?} is in no round");
        }
    }
}
