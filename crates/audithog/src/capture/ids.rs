//! Request ids: UUIDs of version 7 (RFC 9562 §5.7), made without a lock or a system call.
//!
//! The leading bits are time: milliseconds, and their fraction in the twelve bits of `rand_a` (method 3 of
//! §6.2). They only grow within a process, so that ids sort in the order of arrival, unless its clock is set back by a lot. The
//! other 62 bits are SipHash of the time, and of how often that happened, under a key that the operating system gave: unique
//! across processes, and not to be guessed from other ids.

use std::cell::RefCell;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use uuid::fmt::Hyphenated;
use uuid::{Builder, Uuid};

use crate::record::{Micros, RequestId};

/// Units of [`stamp`] in a second: 4096 in a millisecond.
const PER_SECOND: u64 = 4096 * 1000;

/// A clock that is set back by more than this takes the ids with it; otherwise ids of one machine
/// that once ran in the future would stay there.
const MAX_LEAD: u64 = 10 * PER_SECOND;

/// The lower bits of [`LAST`] are a stamp, until the year 2527. The upper ones count how often the clock was set back by more than
/// [`MAX_LEAD`]: the same times come again then, and their ids shall be others.
const STAMP: u64 = (1 << 56) - 1;

/// In bytes: a dozen ids.
const BUFFER: usize = 512;

thread_local! {
    static TEXTS: RefCell<BytesMut> = RefCell::new(BytesMut::new());
}

static LAST: AtomicU64 = AtomicU64::new(0);
static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// A new id that says it was made at `now`.
pub(crate) fn next(now: Micros) -> Uuid {
    let last = advance(&LAST, stamp(now));
    build(last & STAMP, KEY.hash_one(last))
}

/// An id as text, for headers. Ids that are written one after the other share a buffer, which is used again once none of
/// them is in use: so the usual request pays no allocation for two headers, and one that stays open for long holds
/// [`BUFFER`] bytes.
pub(super) fn text(id: &RequestId) -> Bytes {
    let hyphenated;
    let text = match id {
        RequestId::Uuid(id) => {
            hyphenated = digits(*id);
            hyphenated.as_slice()
        }
        RequestId::Adopted(text) => text.as_bytes(),
    };
    let shared = TEXTS.try_with(|texts| {
        let mut texts = texts.try_borrow_mut().ok()?;
        if texts.capacity() < text.len() {
            texts.reserve(BUFFER.max(text.len()));
        }
        texts.extend_from_slice(text);
        Some(texts.split().freeze())
    });
    // While the thread is being torn down nothing is shared.
    let shared = shared.ok().flatten();
    shared.unwrap_or_else(|| Bytes::copy_from_slice(text))
}

/// The usual form, eight digits at a time.
fn digits(id: Uuid) -> [u8; Hyphenated::LENGTH] {
    let (words, _) = id.as_bytes().as_chunks::<4>();
    let word = |at: usize| hexadecimal(u32::from_be_bytes(words[at]));
    let words = [word(0), word(1), word(2), word(3)];
    let mut text = [b'-'; Hyphenated::LENGTH];
    text[..8].copy_from_slice(&words[0]);
    text[9..13].copy_from_slice(&words[1][..4]);
    text[14..18].copy_from_slice(&words[1][4..]);
    text[19..23].copy_from_slice(&words[2][..4]);
    text[24..28].copy_from_slice(&words[2][4..]);
    text[28..].copy_from_slice(&words[3]);
    text
}

/// The digits of a number. A byte of a word for each: no table, no loop.
fn hexadecimal(number: u32) -> [u8; 8] {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let halves = |word: u64, by: u32, mask: u64| (word << by | word) & mask;
    let word = halves(u64::from(number), 16, 0x0000_ffff_0000_ffff);
    let word = halves(word, 8, 0x00ff_00ff_00ff_00ff);
    let word = halves(word, 4, 0x0f0f_0f0f_0f0f_0f0f);
    // Ten and more carry into the upper half of their byte.
    let letters = (word + ONES * 6) >> 4 & ONES;
    let letter = u64::from(b'a' - b'0' - 10);
    (word + ONES * u64::from(b'0') + letters * letter).to_be_bytes()
}

/// Time since the epoch in 1/4096 of a millisecond.
fn stamp(now: Micros) -> u64 {
    let micros = u64::try_from(now.0).unwrap_or(0);
    let fraction = micros % 1000 * 4096 / 1000;
    ((micros / 1000) << 12 | fraction) & STAMP
}

/// The next stamp and its age: `now`, or the one after the last if the clock has not moved on.
fn advance(last: &AtomicU64, now: u64) -> u64 {
    let step = |last: u64| {
        let (age, stamp) = (last & !STAMP, last & STAMP);
        if now > stamp {
            age | now
        } else if stamp - now > MAX_LEAD {
            age.wrapping_add(STAMP + 1) | now
        } else {
            last + 1
        }
    };
    let before = last
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| {
            Some(step(last))
        })
        .unwrap_or_default();
    step(before)
}

fn build(stamp: u64, random: u64) -> Uuid {
    let mut bytes = [0; 16];
    let (time, rest) = bytes.split_at_mut(8);
    // 48 bits of milliseconds, then the fraction below the four bits of the version.
    time.copy_from_slice(&(stamp >> 12 << 16 | stamp & 0x0fff).to_be_bytes());
    rest.copy_from_slice(&random.to_be_bytes());
    // Sets the version and the variant.
    Builder::from_bytes(bytes)
        .with_version(uuid::Version::SortRand)
        .with_variant(uuid::Variant::RFC4122)
        .into_uuid()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::atomic::AtomicU64;
    use std::thread;

    use super::{BUFFER, MAX_LEAD, PER_SECOND, STAMP, advance, build, next, stamp, text};
    use crate::record::{Micros, RequestId};

    #[test]
    fn an_id_is_a_version_7_uuid_of_its_time() {
        let id = build(stamp(Micros(1_700_000_000_123_456)), u64::MAX);
        assert_eq!(id.get_version_num(), 7);
        assert_eq!(id.get_variant(), uuid::Variant::RFC4122);
        let (seconds, nanos) = id.get_timestamp().unwrap().to_unix();
        assert_eq!((seconds, nanos), (1_700_000_000, 123_000_000));
        let later = build(stamp(Micros(1_700_000_000_123_457)), 0);
        assert!(later > id);
    }

    #[test]
    fn ids_only_grow_also_when_the_clock_stands_or_steps_back() {
        let last = AtomicU64::new(0);
        assert_eq!(advance(&last, 100_000_000), 100_000_000);
        assert_eq!(advance(&last, 100_000_000), 100_000_001);
        assert_eq!(advance(&last, 99_999_000), 100_000_002);
        let long_ago = 100_000_002 - MAX_LEAD - 1;
        assert_eq!(advance(&last, long_ago) & STAMP, long_ago);
        assert_eq!(advance(&last, long_ago) & STAMP, long_ago + 1);
    }

    /// Each has an id of its own only if what is hashed differs.
    #[test]
    fn a_time_that_comes_again_after_the_clock_was_set_back_is_another() {
        let last = AtomicU64::new(0);
        let hour = 3_600 * PER_SECOND;
        let mut made = HashSet::new();
        for _ in 0..200 {
            assert!(made.insert(advance(&last, 500_000 * hour)));
            assert!(made.insert(advance(&last, 499_999 * hour)));
        }
        let (early, late) = (Micros(1_600_000_000_000_000), Micros(1_700_000_000_000_000));
        let ids: HashSet<_> = (0..100)
            .map(|n| next(if n % 2 == 0 { early } else { late }))
            .collect();
        assert_eq!(ids.len(), 100);
    }

    #[test]
    fn a_text_that_is_in_use_is_never_written_over() {
        let mut kept = Vec::new();
        for n in 0..10 * BUFFER {
            let id = match n % 7 {
                0 => RequestId::Adopted("x".repeat(n % 128 + 1).into()),
                _ => RequestId::Uuid(next(Micros::now())),
            };
            let written = text(&id);
            assert_eq!(written, id.to_string().as_bytes());
            // Now and then none is kept, so that the buffer is used again.
            match n % 100 {
                99 => kept.clear(),
                at if at < 50 => kept.push((id, written)),
                _ => {}
            }
            assert!(
                kept.iter()
                    .all(|(id, text)| *text == *id.to_string().as_bytes())
            );
        }
    }

    #[test]
    fn ids_made_at_once_on_many_threads_differ_and_sort_on_each() {
        let threads: Vec<_> = (0..4)
            .map(|_| thread::spawn(|| (0..2_000).map(|_| next(Micros::now())).collect::<Vec<_>>()))
            .collect();
        let mut all = HashSet::new();
        for thread in threads {
            let ids = thread.join().unwrap();
            assert!(ids.is_sorted());
            all.extend(ids);
        }
        assert_eq!(all.len(), 8_000);
    }
}
