//! Numbers in as few bytes each as the largest of them needs above the smallest.
//!
//! A byte with the width, 0 to 8; the smallest and the largest number; then each number less the smallest, all little-endian; then seven bytes of
//! zeros, so that eight bytes can be read from the start of each.

use super::line::{Gather, Line};

const HEAD: usize = 1 + 8 + 8;
const TAIL: usize = 7;

/// The smallest and the largest number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Bounds {
    pub(in super::super) least: u64,
    pub(in super::super) most: u64,
}

impl Bounds {
    /// Of no number at all.
    pub(super) const NONE: Self = Self {
        least: u64::MAX,
        most: 0,
    };

    fn width(self) -> usize {
        (64 - (self.most - self.least).leading_zeros()).div_ceil(8) as usize
    }
}

/// Widens bounds until a column of lines is within them.
pub(super) struct Widen<'a> {
    pub(super) lines: &'a [Line],
    pub(super) bounds: &'a mut Bounds,
}

impl Gather<()> for Widen<'_> {
    fn gather(self, number: impl Fn(&Line) -> u64) {
        widen(self.lines, number, self.bounds);
    }
}

/// Appends a column of lines.
pub(super) struct Append<'a> {
    pub(super) lines: &'a [Line],
    pub(super) lane: &'a mut Lane,
}

impl Gather<()> for Append<'_> {
    fn gather(self, number: impl Fn(&Line) -> u64) {
        self.lane.append(self.lines, number);
    }
}

/// Numbers that are being packed.
#[derive(Debug)]
pub(super) struct Lane {
    bounds: Bounds,
    bytes: Vec<u8>,
}

impl Lane {
    /// For `count` numbers within `bounds`.
    pub(super) fn new(bounds: Bounds, count: usize) -> Self {
        let bounds = Bounds {
            least: bounds.least.min(bounds.most),
            ..bounds
        };
        let width = bounds.width();
        let mut bytes = Vec::with_capacity(HEAD + count * width + TAIL);
        bytes.push(width as u8);
        bytes.extend_from_slice(&bounds.least.to_le_bytes());
        bytes.extend_from_slice(&bounds.most.to_le_bytes());
        Self { bounds, bytes }
    }

    fn append<T>(&mut self, values: &[T], number: impl Fn(&T) -> u64) {
        let (least, width) = (self.bounds.least, self.bounds.width());
        let into = &mut self.bytes;
        let offsets = values.iter().map(|value| number(value) - least);
        // The widths that are frequent have code of their own.
        match width {
            0 => {}
            1 => into.extend(offsets.map(|offset| offset as u8)),
            2 => put::<2>(offsets, into),
            3 => put::<3>(offsets, into),
            4 => put::<4>(offsets, into),
            8 => put::<8>(offsets, into),
            _ => offsets.for_each(|offset| into.extend_from_slice(&offset.to_le_bytes()[..width])),
        }
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(&[0; TAIL]);
        self.bytes
    }
}

fn widen<T>(values: &[T], number: impl Fn(&T) -> u64, bounds: &mut Bounds) {
    let Bounds {
        mut least,
        mut most,
    } = *bounds;
    for value in values {
        let number = number(value);
        least = least.min(number);
        most = most.max(number);
    }
    *bounds = Bounds { least, most };
}

pub(super) fn pack<T>(values: &[T], number: impl Fn(&T) -> u64) -> Vec<u8> {
    let mut bounds = Bounds::NONE;
    widen(values, &number, &mut bounds);
    let mut lane = Lane::new(bounds, values.len());
    lane.append(values, number);
    lane.finish()
}

/// The lowest `WIDTH` bytes of each.
fn put<const WIDTH: usize>(offsets: impl ExactSizeIterator<Item = u64>, into: &mut Vec<u8>) {
    let start = into.len();
    into.resize(start + offsets.len() * WIDTH, 0);
    let (places, _) = into[start..].as_chunks_mut::<WIDTH>();
    for (place, offset) in places.iter_mut().zip(offsets) {
        let bytes = offset.to_le_bytes();
        if let Some(low) = bytes.first_chunk() {
            *place = *low;
        }
    }
}

/// None: these are no numbers.
pub(super) fn bounds(bytes: &[u8]) -> Option<Bounds> {
    let (_, least, most) = head(bytes)?;
    Some(Bounds { least, most })
}

/// Appends the numbers to `into`; `count` of them if all are the same. None: these are no numbers, or not so many.
pub(in super::super) fn unpack(bytes: &[u8], count: usize, into: &mut Vec<u64>) -> Option<()> {
    let (width, least, _) = head(bytes)?;
    if width == 0 {
        into.resize(into.len() + count, least);
        return Some(());
    }
    let body = &bytes[HEAD..];
    if body.len() != count * width + TAIL {
        return None;
    }
    match width {
        1 => take::<1>(body, count, least, into),
        2 => take::<2>(body, count, least, into),
        3 => take::<3>(body, count, least, into),
        4 => take::<4>(body, count, least, into),
        8 => take::<8>(body, count, least, into),
        _ => {
            let mut at = 0;
            for _ in 0..count {
                into.push(low_bytes(&body[at..at + width]).wrapping_add(least));
                at += width;
            }
        }
    }
    Some(())
}

/// Numbers of `WIDTH` bytes each.
fn take<const WIDTH: usize>(body: &[u8], count: usize, least: u64, into: &mut Vec<u64>) {
    let (offsets, _) = body.as_chunks::<WIDTH>();
    let offsets = offsets.iter().take(count);
    into.extend(offsets.map(|bytes| low_bytes(bytes).wrapping_add(least)));
}

/// A little-endian number of at most eight bytes.
fn low_bytes(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

/// How many numbers there are; 1 if they are all the same.
pub(in super::super) fn length(bytes: &[u8]) -> Option<usize> {
    let (width, ..) = head(bytes)?;
    Some((bytes.len() - HEAD - TAIL).checked_div(width).unwrap_or(1))
}

fn head(bytes: &[u8]) -> Option<(usize, u64, u64)> {
    let (head, rest) = bytes.split_at_checked(HEAD)?;
    let number = |at: usize| Some(u64::from_le_bytes(head.get(at..at + 8)?.try_into().ok()?));
    let width = usize::from(head[0]);
    (width <= 8 && rest.len() >= TAIL).then_some((width, number(1)?, number(9)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_come_back(
            least in any::<u64>(),
            spread in 0_u32..64,
            offsets in prop::collection::vec(any::<u64>(), 1..200),
        ) {
            let numbers: Vec<u64> = offsets
                .iter()
                .map(|offset| least.saturating_add(offset >> spread))
                .collect();
            let bytes = pack(&numbers, |number| *number);
            let mut back = Vec::new();
            prop_assert!(unpack(&bytes, numbers.len(), &mut back).is_some());
            prop_assert_eq!(&back, &numbers);
            let found = bounds(&bytes).unwrap();
            prop_assert_eq!(Some(&found.least), numbers.iter().min());
            prop_assert_eq!(Some(&found.most), numbers.iter().max());
        }

        #[test]
        fn damaged_bytes_are_no_numbers_and_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let mut back = Vec::new();
            if unpack(&bytes, 5, &mut back).is_some() {
                prop_assert_eq!(back.len(), 5);
            }
        }
    }
}
