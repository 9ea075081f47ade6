//! What goes wrong, as a script: faults for whole requests, verdicts for single events.

use std::collections::{HashMap, VecDeque};
use std::fmt;

use serde_json::Value;
use uuid::Uuid;

use super::event::CapturedEvent;
use super::exchange::Route;
use super::fault::{Effect, Facts, Fault};

/// What capture v1 says about one event, in place of its own verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// `ok`: stored.
    Ok,
    /// `warning` with these details: stored.
    Warning(String),
    /// `drop` with these details: not stored.
    Drop(String),
    /// `limited` with these details, as older servers say it: stored only when they are `person_processing_disabled`.
    Limited(String),
    /// `retry`: not stored, and the reply has a `Retry-After`.
    Retry,
    /// The event is missing from the results.
    Missing {
        /// Whether it is stored all the same.
        stored: bool,
    },
    /// A result that no server is known to send: not stored.
    Other(String),
}

type Judge = dyn FnMut(&CapturedEvent, u32) -> Option<Verdict> + Send;
type Oracle = dyn FnMut(&str, &Value) -> Option<Vec<Vec<Value>>> + Send;

/// The script.
#[derive(Default)]
pub(super) struct Faults {
    queue: VecDeque<Fault>,
    standing: Vec<Fault>,
    judge: Option<Box<Judge>>,
    /// How often capture v1 has received each event, counted while there is a judge.
    received: HashMap<Uuid, u32>,
    oracle: Option<Box<Oracle>>,
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults")
            .field("queue", &self.queue)
            .field("standing", &self.standing)
            .field("judge", &self.judge.is_some())
            .field("oracle", &self.oracle.is_some())
            .finish_non_exhaustive()
    }
}

/// The fault that was chosen.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) effect: Effect,
    pub(super) stores: bool,
}

impl Faults {
    pub(super) fn push(&mut self, fault: Fault) {
        self.queue.push_back(fault);
    }

    pub(super) fn stand(&mut self, fault: Fault) {
        self.standing.push(fault);
    }

    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn heal(&mut self) {
        *self = Self::default();
    }

    pub(super) fn set_judge(
        &mut self,
        judge: impl FnMut(&CapturedEvent, u32) -> Option<Verdict> + Send + 'static,
    ) {
        self.judge = Some(Box::new(judge));
        self.received.clear();
    }

    /// The scripted verdict on an event that capture v1 has just received, if there is one.
    pub(super) fn verdict(&mut self, event: &CapturedEvent) -> Option<Verdict> {
        let judge = self.judge.as_mut()?;
        let times = self.received.entry(event.uuid).or_insert(0);
        *times += 1;
        judge(event, *times)
    }

    pub(super) fn set_oracle(
        &mut self,
        oracle: impl FnMut(&str, &Value) -> Option<Vec<Vec<Value>>> + Send + 'static,
    ) {
        self.oracle = Some(Box::new(oracle));
    }

    /// The scripted lines for a query, if there are some.
    pub(super) fn lines(&mut self, sql: &str, values: &Value) -> Option<Vec<Vec<Value>>> {
        self.oracle.as_mut()?(sql, values)
    }

    /// Whether the connection is reset before the body is read. Only the queue's first fault for the route counts: a
    /// later one must not overtake it.
    pub(super) fn resets_unread(&mut self, route: Route) -> bool {
        let first = self.queue.iter().position(|fault| fault.covers(route));
        if let Some(first) = first
            && self.queue[first].applies_unread(route)
        {
            self.queue.remove(first);
            return true;
        }
        self.standing
            .iter_mut()
            .any(|fault| fault.applies_unread(route))
    }

    /// The fault for a request that has been read: the first of the queue that applies, which is used up, else the
    /// first standing one.
    pub(super) fn choose(&mut self, facts: &Facts<'_>) -> Option<Chosen> {
        let mut queued = self.queue.iter_mut();
        if let Some(first) = queued.position(|fault| fault.applies(facts)) {
            return self.queue.remove(first).map(|fault| Chosen {
                effect: fault.effect,
                stores: fault.stores,
            });
        }
        let mut standing = self.standing.iter_mut();
        standing
            .find_map(|fault| fault.applies(facts).then_some(&*fault))
            .map(|fault| Chosen {
                effect: fault.effect.clone(),
                stores: fault.stores,
            })
    }
}
