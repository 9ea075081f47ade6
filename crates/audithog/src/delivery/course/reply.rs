//! What a reply means for each row, for the request and for the sink.

use std::time::Duration;

use super::{Course, Now};
use crate::delivery::backoff;
use crate::delivery::breaker::{Change, State};
use crate::delivery::line::Fate;
use crate::delivery::request::{Origin, Request};
use crate::ledger::{DeadLetter, Straggler};
use crate::record::{Micros, StoredRow};
use crate::sink::{Hold, Reply, Verdict};

/// Longest reason that is kept with a row, in bytes. The sink has bounded it before; this is the
/// ledger's own guard.
const REASON_BYTES: usize = 1000;
/// After so long without a success one row is tried alone, in doubt whether the way is to blame. A way that takes nothing
/// for so long loses little by being asked in another way.
const DOUBT: Duration = Duration::from_secs(30 * 60);
/// A request is to blame if this many of others would have succeeded in place of its failures.
const BLAME: u64 = 6;
/// So many successes in a row say that the way is open.
const FLOWING: u32 = 3;
const NO_VERDICT: &str = "the reply has no verdict for this row";
const ROW_GONE: &str = "the row is no longer in the ledger";

/// A request failed as a whole.
struct Failure {
    reason: String,
    retry_after: Option<Duration>,
    suspect_rows: bool,
}

/// What is halved of a request that is divided.
#[derive(Clone, Copy)]
enum Half {
    ByWeight,
    ByCount,
}

impl Course {
    /// What became of a request that was launched. Returns what it changed for the sink.
    pub(in crate::delivery) fn reply(
        &mut self,
        request: Request,
        reply: Reply,
        now: Now,
    ) -> Change {
        self.in_flight = self.in_flight.saturating_sub(1);
        let alone = request.alone.then_some(request.origin);
        let before = self.successes;
        if request.origin == Origin::Stragglers {
            self.straggler_requests = self.straggler_requests.saturating_sub(1);
        }
        let change = match reply {
            Reply::Rows {
                verdicts,
                retry_after,
            } => self.verdicts(request, verdicts, retry_after, now),
            Reply::Retry {
                reason,
                retry_after,
                suspect_rows,
            } => {
                let failure = Failure {
                    reason,
                    retry_after,
                    suspect_rows,
                };
                self.failed(request, &failure, now)
            }
            Reply::Hold { hold, retry_after } => {
                let launch = request.launch;
                let change = self.breaker.hold(launch, hold, now.monotonic, retry_after);
                self.wait_again(request, now);
                change
            }
            Reply::TooLarge { reason } => {
                let change = self.breaker.reached(request.launch, now.monotonic);
                self.divide(request, &reason, Half::ByWeight);
                change
            }
            Reply::Refused { reason } => {
                let change = self.breaker.reached(request.launch, now.monotonic);
                self.divide(request, &reason, Half::ByCount);
                change
            }
        };
        if let Some(origin) = alone {
            self.felt(origin, self.successes - before);
        }
        match change {
            Change::Recovered(_) => self.recover(now),
            Change::Opened | Change::Held => self.doubted = now.monotonic,
            Change::None => {}
        }
        change
    }

    fn verdicts(
        &mut self,
        request: Request,
        verdicts: Vec<Verdict>,
        retry_after: Option<Duration>,
        now: Now,
    ) -> Change {
        if let Origin::Line { slot } = request.origin
            && verdicts.len() == request.rows.len()
            && verdicts
                .iter()
                .all(|verdict| *verdict == Verdict::Delivered)
        {
            self.succeeded(now);
            self.last_success = Some(now.wall);
            self.line.finish_all(slot, verdicts.len());
            return self.breaker.success(request.launch, now.monotonic);
        }
        let mut verdicts: Vec<_> = verdicts.into_iter().map(Some).collect();
        verdicts.resize(request.rows.len(), None);
        let settles = |verdict: &Option<Verdict>| {
            matches!(verdict, Some(Verdict::Delivered | Verdict::Dead(_)))
        };
        let hold = verdicts.iter().find_map(|verdict| match verdict {
            Some(Verdict::Hold(hold)) => Some(hold.clone()),
            _ => None,
        });
        let change = if let Some(hold) = hold {
            self.breaker
                .hold(request.launch, hold, now.monotonic, retry_after)
        } else if verdicts.iter().any(settles) {
            self.succeeded(now);
            self.breaker.success(request.launch, now.monotonic)
        } else if self.is_outage(&request) {
            let failure = Failure {
                reason: first_reason(&verdicts),
                retry_after,
                suspect_rows: request.rows.len() > 1 && request.origin != Origin::Stragglers,
            };
            return self.failed(request, &failure, now);
        } else {
            self.untaken(request.launch, retry_after, now)
        };
        for (row, verdict) in request.rows.into_iter().zip(verdicts) {
            match verdict {
                Some(Verdict::Delivered) => self.delivered(request.origin, &row, now),
                Some(Verdict::Dead(reason)) => self.dead(request.origin, &row, &reason),
                Some(Verdict::Hold(hold)) => self.parked(request.origin, &row, &hold, now),
                Some(Verdict::Retry(reason)) => {
                    self.strayed(request.origin, &row, &reason, retry_after, now);
                }
                None => self.strayed(request.origin, &row, NO_VERDICT, retry_after, now),
            }
        }
        change
    }

    /// A reply that is in order wants a straggler, or a row that was alone, once more: the row's fault, not the
    /// way's.
    fn untaken(&mut self, launch: u64, retry_after: Option<Duration>, now: Now) -> Change {
        match self.breaker.state() {
            State::Flowing | State::Failing { .. } => Change::None,
            State::Open { .. } if self.waiting.is_empty() => {
                self.breaker.reached(launch, now.monotonic)
            }
            // It does not end a hold, nor what other requests failed of, and the next probe keeps its distance.
            State::Open { .. } | State::Held { .. } => self.fail(launch, retry_after, now),
        }
    }

    /// Whether replies that take nothing are an outage that answers politely: several rows of the line at once, or different
    /// rows one after the other and none taken since. As stragglers, all rows of a long one would end in their table.
    fn is_outage(&mut self, request: &Request) -> bool {
        let line = matches!(request.origin, Origin::Line { .. });
        let several = self.tuning.retry.quick_attempts.max(2) as usize;
        let mut outage = line && request.rows.len() > 1;
        for row in &request.rows {
            // One that is refused again though others were taken is refused for itself.
            if !line && self.stragglers.failed(row.seq, self.successes) {
                continue;
            }
            if self.refused.len() < several {
                self.refused.insert(row.seq);
            }
            outage |= self.refused.len() >= several;
        }
        outage
    }

    /// A row that was taken out of a request in doubt has its reply. What was left is to blame if several such rows in a row
    /// were taken and it fails again after each; one is chance, and no success of others.
    fn felt(&mut self, origin: Origin, successes: u64) {
        for rest in &mut self.waiting {
            if rest.origin == origin && successes == 0 {
                rest.taken_of = 0;
            } else if rest.origin == origin {
                rest.taken_of += 1;
                if let Some((before, _)) = &mut rest.before {
                    *before += successes;
                }
            }
        }
    }

    fn succeeded(&mut self, now: Now) {
        self.successes += 1;
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.refused.clear();
        self.doubted = now.monotonic;
    }

    /// The request failed as a whole: the same rows go again, later, or in halves when they seem to
    /// be the cause. In an outage that lasts they may be, whatever the reason says.
    fn failed(&mut self, mut request: Request, failure: &Failure, now: Now) -> Change {
        if request.origin != Origin::Stragglers || request.rows.len() > 1 {
            self.in_a_row = 0;
        }
        self.failed += 1;
        let change = self.fail(request.launch, failure.retry_after, now);
        if request.origin == Origin::Stragglers {
            self.stragglers_failed(&request, failure, now);
            return change;
        }
        let to_blame = self.is_to_blame(&mut request) || request.taken_of >= FLOWING;
        let retry = &self.tuning.retry;
        request.failures = request.failures.saturating_add(1);
        let again_and_again = request.failures >= retry.quick_attempts;
        let probing = self.breaker.is_probing();
        let delay = backoff::delay(
            retry,
            request.failures,
            failure.retry_after,
            &mut self.jitter,
        );
        request.due = now.monotonic.saturating_add(delay);
        let floor = backoff::floor(retry, failure.retry_after);
        request.floor = now.monotonic.saturating_add(floor);
        let suspect = again_and_again && (to_blame || (probing && failure.suspect_rows));
        let in_doubt = request.alone || request.taken_of > 0 || self.is_in_doubt(now);
        if !(suspect || in_doubt) {
            self.waiting.push_front(request);
        } else if request.rows.len() == 1 {
            if in_doubt {
                self.doubted = now.monotonic;
            }
            for row in &request.rows {
                let Failure {
                    reason,
                    retry_after,
                    ..
                } = failure;
                self.strayed(request.origin, row, reason, *retry_after, now);
            }
        } else if suspect {
            self.halve(request, Half::ByCount);
        } else {
            self.take_apart(request, now);
        }
        change
    }

    /// Whether so many others succeeded meanwhile that its failures, and those of what it was divided from and into, are no
    /// chance: a way that fails often or opens rarely fails for others too.
    fn is_to_blame(&mut self, request: &mut Request) -> bool {
        let before = (self.successes, self.failed.saturating_sub(1));
        let (successes, failed) = *request.before.get_or_insert(before);
        request.own += 1;
        for mate in &mut self.waiting {
            mate.own += u64::from(mate.origin == request.origin);
        }
        let successes = self.successes.saturating_sub(successes);
        let others = successes + (self.failed - failed).saturating_sub(request.own);
        successes >= u64::from(FLOWING) && request.own.saturating_mul(successes) >= BLAME * others
    }

    /// Nothing has succeeded for long, and nothing was tried in another way for long.
    fn is_in_doubt(&self, now: Now) -> bool {
        self.breaker.is_probing() && now.monotonic.saturating_sub(self.doubted) >= DOUBT
    }

    fn fail(&mut self, launch: u64, retry_after: Option<Duration>, now: Now) -> Change {
        self.breaker
            .failure(launch, now.monotonic, retry_after, &mut self.jitter)
    }

    /// A failed request of stragglers dissolves: each waits for its own time again.
    fn stragglers_failed(&mut self, request: &Request, failure: &Failure, now: Now) {
        let alone = request.rows.len() == 1;
        let mut others_succeed = false;
        for row in &request.rows {
            others_succeed |= self.stragglers.failed(row.seq, self.successes);
        }
        // What fails again while others are taken fails for these rows, whatever the reason says. That it is not the way is
        // sure only if several were taken one after the other right before.
        let own = failure.suspect_rows || (others_succeed && self.in_a_row >= FLOWING);
        let apart = failure.suspect_rows || others_succeed;
        for row in &request.rows {
            // Only what may be the row's own fault counts as one of its attempts.
            if alone && own {
                let Failure {
                    reason,
                    retry_after,
                    ..
                } = failure;
                self.strayed(request.origin, row, reason, *retry_after, now);
            } else {
                self.postpone(row.seq, failure.retry_after, apart, now);
            }
        }
        if self.is_in_doubt(now) {
            self.doubted = now.monotonic;
            self.stragglers.feel();
        }
    }

    /// The request was not taken because of its size or of some row in it.
    fn divide(&mut self, request: Request, reason: &str, half: Half) {
        if let [row] = request.rows.as_slice() {
            self.dead(request.origin, row, reason);
        } else {
            self.halve(request, half);
        }
    }

    /// The halves go in front, in order: they hold up the cursor.
    fn halve(&mut self, request: Request, half: Half) {
        let sink = self.sink.clone();
        let halves = match half {
            Half::ByWeight => request.halves(|row| sink.weight(row)),
            Half::ByCount => request.halves(|_| 1),
        };
        for mut half in halves.into_iter().rev() {
            // One failure more divides them again.
            half.failures = half
                .failures
                .min(self.tuning.retry.quick_attempts.saturating_sub(1));
            if half.origin == Origin::Stragglers {
                self.straggler_requests += 1;
                half.attempt.number = self.tried(&half.rows);
            }
            self.waiting.push_front(half);
        }
    }

    /// Into its first row, which shows whether the way is open, and the others in one piece: a way that opens rarely has to take
    /// many at a time.
    fn take_apart(&mut self, request: Request, now: Now) {
        self.doubted = now.monotonic;
        let first = request.rows.first().map(|row| row.seq);
        let parts = request.halves(|row| usize::from(Some(row.seq) == first));
        for (at, mut part) in parts.into_iter().enumerate().rev() {
            if at == 0 {
                part.failures = 0;
                part.alone = true;
            }
            self.waiting.push_front(part);
        }
    }

    /// Held: the rows stay pending.
    fn wait_again(&mut self, request: Request, now: Now) {
        if request.origin == Origin::Stragglers {
            for row in &request.rows {
                self.postpone(row.seq, None, false, now);
            }
        } else {
            self.waiting.push_front(request);
        }
    }

    /// The sink takes rows again: everything goes at once, at full speed.
    fn recover(&mut self, now: Now) {
        self.triggers.fire();
        for request in &mut self.waiting {
            request.due = request.floor;
        }
        self.stragglers.hasten(i64::MAX, now.wall);
    }

    // What becomes of a row.

    fn delivered(&mut self, origin: Origin, row: &StoredRow, now: Now) {
        self.last_success = Some(now.wall);
        match origin {
            Origin::Line { slot } => self.line.finish(slot, Fate::Delivered),
            Origin::Stragglers => {
                self.sum.delivered += 1;
                self.resolved(row.seq);
            }
        }
    }

    fn dead(&mut self, origin: Origin, row: &StoredRow, reason: &str) {
        let letter = letter(row.seq, row.row.ts, reason);
        match origin {
            Origin::Line { slot } => self.line.finish(slot, Fate::Dead(letter)),
            Origin::Stragglers => {
                self.sum.dead.push(letter);
                self.resolved(row.seq);
            }
        }
    }

    /// The row needs another try on its own.
    fn strayed(
        &mut self,
        origin: Origin,
        row: &StoredRow,
        reason: &str,
        retry_after: Option<Duration>,
        now: Now,
    ) {
        let retry = &self.tuning.retry;
        let known = match origin {
            Origin::Line { .. } => None,
            Origin::Stragglers => self.stragglers.get(row.seq),
        };
        let attempts = known.map_or(0, |known| known.attempts).saturating_add(1);
        // While it was only held, it has not failed: its age counts from here.
        let since = known
            .filter(|known| known.attempts > 0)
            .map_or(now.wall, |known| known.since);
        // A long hold or outage makes it old without a try.
        let old = attempts >= retry.quick_attempts && now.wall.since(since) >= retry.straggler_age;
        let expired = known.is_some() && (attempts >= retry.straggler_attempts || old);
        if expired {
            let reason = format!("given up after {attempts} attempts: {reason}");
            self.dead(origin, row, &reason);
            return;
        }
        let delay = backoff::straggler_delay(retry, attempts, retry_after, &mut self.jitter);
        let floor = now.wall.saturating_add(backoff::floor(retry, retry_after));
        let straggler = Straggler {
            seq: row.seq,
            attempts,
            since,
            next: now.wall.saturating_add(delay),
            reason: cut(reason),
        };
        self.keep(origin, straggler, floor);
    }

    /// The row is held, by a quota or the like: no fault of its own, so no attempt is counted.
    fn parked(&mut self, origin: Origin, row: &StoredRow, hold: &Hold, now: Now) {
        let retry = &self.tuning.retry;
        let known = match origin {
            Origin::Line { .. } => None,
            Origin::Stragglers => self.stragglers.get(row.seq),
        };
        let straggler = Straggler {
            seq: row.seq,
            attempts: known.map_or(0, |known| known.attempts),
            since: known.map_or(now.wall, |known| known.since),
            next: now.wall.saturating_add(backoff::first_probe(retry)),
            reason: cut(&format!("{}: {}", hold.reason.as_str(), hold.detail)),
        };
        self.keep(origin, straggler, Micros(i64::MIN));
    }

    fn keep(&mut self, origin: Origin, straggler: Straggler, floor: Micros) {
        match origin {
            Origin::Line { slot } => {
                self.stragglers.expect(&straggler, floor);
                self.line.finish(slot, Fate::Straggler(straggler));
            }
            Origin::Stragglers => {
                self.stragglers.put_back(straggler.clone(), false, floor);
                self.sum.stragglers.push(straggler);
            }
        }
    }

    /// Tried, but it says nothing about the row: only its time changes, and only in memory.
    fn postpone(&mut self, seq: i64, retry_after: Option<Duration>, alone: bool, now: Now) {
        let Some(known) = self.stragglers.get(seq) else {
            return;
        };
        let retry = &self.tuning.retry;
        let attempts = known.attempts.saturating_add(1);
        let mut straggler = known.clone();
        let delay = backoff::straggler_delay(retry, attempts, retry_after, &mut self.jitter);
        straggler.next = now.wall.saturating_add(delay);
        let floor = now.wall.saturating_add(backoff::floor(retry, retry_after));
        self.stragglers.put_back(straggler, alone, floor);
    }

    fn resolved(&mut self, seq: i64) {
        self.stragglers.resolve(seq);
        self.sum.resolved.push(seq);
    }

    /// A straggler without a row cannot be sent.
    pub(super) fn bury_missing(&mut self, seq: i64) {
        let since = self.stragglers.get(seq).map_or(Micros(0), |s| s.since);
        self.sum.dead.push(letter(seq, since, ROW_GONE));
        self.resolved(seq);
    }
}

fn first_reason(verdicts: &[Option<Verdict>]) -> String {
    verdicts
        .iter()
        .find_map(|verdict| match verdict {
            Some(Verdict::Retry(reason)) => Some(reason.clone()),
            _ => None,
        })
        .unwrap_or_else(|| NO_VERDICT.to_owned())
}

fn letter(seq: i64, ts: Micros, reason: &str) -> DeadLetter {
    DeadLetter {
        seq,
        ts,
        reason: cut(reason),
    }
}

fn cut(reason: &str) -> String {
    let end = reason.floor_char_boundary(REASON_BYTES);
    reason[..end].to_owned()
}
