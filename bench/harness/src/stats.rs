//! Medians and ratios. Pure.

use serde::{Deserialize, Serialize};

/// What several rounds gave.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    /// How many rounds.
    pub(crate) n: usize,
}

impl Spread {
    /// For what has no figure and a place in a picture.
    pub(crate) const NOTHING: Self = Self {
        median: 0.0,
        min: 0.0,
        max: 0.0,
        n: 1,
    };

    /// None without a value; what is not a number is left out.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().filter(|v| v.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let n = sorted.len();
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted[n / 2];
        let median = if n % 2 == 1 {
            middle
        } else {
            f64::midpoint(sorted[n / 2 - 1], middle)
        };
        Some(Self {
            median,
            min,
            max,
            n,
        })
    }

    /// `median [min – max]`, or the median alone if nothing else would be seen.
    pub(crate) fn shown(&self, show: impl Fn(f64) -> String) -> String {
        let [median, min, max] = [self.median, self.min, self.max].map(show);
        if min == max {
            median
        } else {
            format!("{median} [{min} – {max}]")
        }
    }

    #[cfg(test)]
    pub(crate) fn exactly(value: f64) -> Self {
        Self {
            median: value,
            min: value,
            max: value,
            n: 1,
        }
    }
}

/// A value with the round that it comes from.
pub(crate) type Round = usize;

/// `what(a, b)` for each round that has both: what is compared was measured side by side.
pub(crate) fn paired(
    a: &[(Round, f64)],
    b: &[(Round, f64)],
    what: impl Fn(f64, f64) -> f64,
) -> Vec<(Round, f64)> {
    a.iter()
        .filter_map(|&(round, left)| {
            let (_, right) = b.iter().find(|(other, _)| *other == round)?;
            Some((round, what(left, *right)))
        })
        .collect()
}

pub(crate) fn spread(values: &[(Round, f64)]) -> Option<Spread> {
    Spread::of(values.iter().map(|(_, value)| *value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        let spread = Spread::of([4.0, 1.0, 2.0, 10.0]).unwrap();
        assert_eq!((spread.median, spread.min, spread.max), (3.0, 1.0, 10.0));
        assert_eq!(Spread::of([7.0]).unwrap(), Spread::exactly(7.0));
        assert_eq!(Spread::of([3.0, 1.0, 2.0]).unwrap().median, 2.0);
    }

    #[test]
    fn rounds_that_look_the_same_are_shown_once() {
        let shown = |max| {
            let spread = Spread::of([1.0, 1.0, max]).unwrap();
            spread.shown(|value| format!("{value:.1}"))
        };
        assert_eq!(shown(1.01), "1.0");
        assert_eq!(shown(1.2), "1.0 [1.0 – 1.2]");
    }

    #[test]
    fn no_value_gives_no_spread_and_no_nonsense_counts() {
        assert_eq!(Spread::of([]), None);
        assert_eq!(Spread::of([f64::NAN, f64::INFINITY]), None);
        assert_eq!(Spread::of([f64::NAN, 2.0]).unwrap().n, 1);
    }

    #[test]
    fn only_values_of_one_round_are_compared() {
        let ours = [(0, 10.0), (1, 20.0), (2, 30.0)];
        let theirs = [(2, 3.0), (0, 2.0)];
        let ratios = paired(&ours, &theirs, |a, b| a / b);
        assert_eq!(ratios, [(0, 5.0), (2, 10.0)]);
    }

    #[test]
    fn a_division_by_nothing_does_not_reach_the_median() {
        let ratios = paired(&[(0, 1.0), (1, 4.0)], &[(0, 0.0), (1, 2.0)], |a, b| a / b);
        assert_eq!(spread(&ratios).unwrap(), Spread::exactly(2.0));
    }
}
