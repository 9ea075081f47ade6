//! Percentiles of durations in bounded memory.

/// Parts of a power of two. A value is known to half a part: within 0.4 %.
const PARTS: u64 = 128;
const PART_BITS: u32 = PARTS.trailing_zeros();

/// Durations by size. Below 128 µs each has a bucket of its own, above that each power of two has 128.
#[derive(Clone, Debug)]
pub(super) struct Percentiles {
    /// Up to that of the longest.
    buckets: Vec<u32>,
    count: u64,
    least: u64,
    most: u64,
}

impl Default for Percentiles {
    fn default() -> Self {
        Self {
            buckets: Vec::new(),
            count: 0,
            least: u64::MAX,
            most: 0,
        }
    }
}

impl Percentiles {
    pub(super) fn add(&mut self, micros: u64) {
        let at = bucket(micros);
        if at >= self.buckets.len() {
            self.buckets.resize(at + 1, 0);
        }
        self.buckets[at] = self.buckets[at].saturating_add(1);
        self.count += 1;
        self.least = self.least.min(micros);
        self.most = self.most.max(micros);
    }

    /// The smallest duration that at least this share of all do not exceed, in milliseconds: the nearest rank, and never outside of what was
    /// added. None of nothing.
    pub(super) fn at(&self, share: f64) -> Option<f64> {
        if self.count == 0 {
            return None;
        }
        let rank = ((self.count as f64 * share).ceil() as u64).clamp(1, self.count);
        let mut seen = 0;
        let at = self.buckets.iter().position(|count| {
            seen += u64::from(*count);
            seen >= rank
        })?;
        Some(middle(at).clamp(self.least as f64, self.most as f64) / 1_000.0)
    }
}

fn bucket(micros: u64) -> usize {
    if micros < PARTS {
        return usize::try_from(micros).unwrap_or(0);
    }
    // The power of two, and the next seven bits.
    let power = micros.ilog2() - PART_BITS;
    let part = (micros >> power) - PARTS;
    // Some thousands at most.
    usize::try_from(u64::from(power + 1) * PARTS + part).unwrap_or(0)
}

/// The middle of what is in a bucket, in microseconds.
fn middle(bucket: usize) -> f64 {
    let bucket = bucket as u64;
    if bucket < PARTS {
        return bucket as f64;
    }
    let (power, part) = (bucket / PARTS - 1, bucket % PARTS);
    let first = (PARTS + part) << power;
    first as f64 + ((1u64 << power) - 1) as f64 / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_known_to_half_a_percent() {
        let mut value = 1u64;
        while value < 1 << 62 {
            for value in [value - 1, value, value + 1, value + value / 3] {
                let known = middle(bucket(value));
                let off = (known - value as f64).abs() / (value as f64).max(1.0);
                assert!(off <= 0.004, "{value}: {known}");
            }
            value *= 2;
        }
        assert!(bucket(u64::MAX) < 8_000);
    }

    #[test]
    fn no_percentile_is_outside_of_what_was_there() {
        let ms = |micros: &[u64]| {
            let mut percentiles = Percentiles::default();
            for micros in micros {
                percentiles.add(*micros);
            }
            [0.0, 0.5, 0.95, 1.0].map(|share| percentiles.at(share).unwrap())
        };
        // A stream of five hours, and one that never ends.
        assert_eq!(ms(&[18_000_000_000]), [18_000_000.0; 4]);
        assert_eq!(ms(&[u64::MAX]), [u64::MAX as f64 / 1_000.0; 4]);
        // At the edges of what is counted together.
        let [least, .., most] = ms(&[1_003_519, 2_080_768]);
        assert_eq!([least, most], [1_003.519, 2_080.768]);
    }

    #[test]
    fn ranks_are_the_nearest() {
        let mut percentiles = Percentiles::default();
        assert_eq!(percentiles.at(0.5), None);
        for micros in 1..=100 {
            percentiles.add(micros);
        }
        let at = |share| percentiles.at(share).unwrap();
        assert_eq!(
            [at(0.0), at(0.5), at(0.95), at(1.0)],
            [0.001, 0.05, 0.095, 0.1]
        );
    }
}
