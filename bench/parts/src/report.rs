//! Figures, one JSON object a line.

use serde_json::json;

/// Prints the median of `values` with the smallest and the largest of them.
pub fn figure(group: &str, name: &str, unit: &str, values: &[f64], note: &str) {
    let Some((median, min, max)) = summary(values) else {
        return;
    };
    println!(
        "{}",
        json!({ "group": group, "name": name, "value": median, "unit": unit, "min": min, "max": max, "note": note })
    );
}

/// None of nothing.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    summary(values).map(|(median, ..)| median)
}

/// `1,234,567`
#[must_use]
pub fn thousands(n: usize) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Median, smallest, largest.
fn summary(values: &[f64]) -> Option<(f64, f64, f64)> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (min, max) = (*sorted.first()?, *sorted.last()?);
    let middle = sorted.len() / 2;
    let median = if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    };
    Some((median, min, max))
}

#[cfg(test)]
mod tests {
    use super::{summary, thousands};

    #[test]
    fn large_numbers_can_be_read() {
        assert_eq!(thousands(7), "7");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_234_567), "1,234,567");
    }

    #[test]
    fn the_median_of_an_even_number_is_between_the_two_in_the_middle() {
        assert_eq!(summary(&[4.0, 1.0, 3.0, 2.0]), Some((2.5, 1.0, 4.0)));
        assert_eq!(summary(&[3.0, 1.0, 2.0]), Some((2.0, 1.0, 3.0)));
        assert_eq!(summary(&[]), None);
    }
}
