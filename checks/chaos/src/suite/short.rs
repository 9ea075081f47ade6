//! The run that is part of the tests: every fault at least once, and one round that nobody chose.

use anyhow::Result;

use super::{Files, Tally, plant};
use crate::oracle::Guarantee;
use crate::schedule::{Kind, Plan};

/// Seeds and faults. The first is the one whose books are spoiled afterwards.
const ROUNDS: &[(u64, &[Kind])] = &[
    (1, &[Kind::Terminate, Kind::Storm503]),
    (2, &[Kind::Kill, Kind::LostReply, Kind::Storm429]),
    (3, &[Kind::TerminateInOutage, Kind::Poison]),
    (4, &[Kind::Hang, Kind::Kill, Kind::TooMany]),
    (5, &[Kind::TwoWriters, Kind::Kill, Kind::Reset]),
    (6, &[Kind::FullDisk, Kind::Drip]),
    (7, &[Kind::SyncFails, Kind::Quota]),
    (8, &[Kind::SyncHangs, Kind::Storm429Later]),
    (9, &[Kind::WriteFails, Kind::Storm500]),
    (10, &[Kind::WriteNoSpace, Kind::V1Vanishes]),
    (11, &[Kind::WriteSlow, Kind::Verdicts]),
    (12, &[Kind::TruncateFails, Kind::Outage, Kind::TooLarge]),
    (13, &[Kind::ClockStep, Kind::WrongKey]),
    (15, &[Kind::PowerLoss]),
    (14, &[Kind::Storm503Later, Kind::Garbage]),
];

pub(crate) fn run(files: &Files) -> Result<()> {
    let mut tally = Tally::default();
    for (seed, kinds) in ROUNDS {
        let plan = Plan::draw(*seed, Some(Guarantee::BestEffort), kinds);
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
    fn every_fault_is_in_the_short_run() {
        for kind in Kind::ALL {
            let found = ROUNDS.iter().any(|(_, kinds)| kinds.contains(&kind));
            assert!(found, "{kind:?} is in no round");
        }
    }
}
