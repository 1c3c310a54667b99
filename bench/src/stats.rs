//! The arithmetic of the tables: median, geometric mean, ratio, and numbers made readable.

/// The middle value; the mean of the two middle ones of an even count. `None` of nothing.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some(f64::midpoint(sorted[sorted.len() / 2 - 1], upper))
}

/// The geometric mean of positive values. `None` of nothing, or where a value is not positive.
#[must_use]
pub fn geometric_mean(values: &[f64]) -> Option<f64> {
    if values.is_empty() || values.iter().any(|value| *value <= 0.0) {
        return None;
    }
    let count = f64::from(u32::try_from(values.len()).ok()?);
    Some((values.iter().map(|value| value.ln()).sum::<f64>() / count).exp())
}

/// `part ÷ whole`. `None` where the whole is nothing.
#[must_use]
pub fn ratio(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| part / whole)
}

/// Bytes as a float. Exact below 2^53 bytes, which is 8 PiB.
#[must_use]
#[allow(clippy::cast_precision_loss)]
pub fn float(bytes: u64) -> f64 {
    bytes as f64
}

/// A count of bytes with a comma after every three digits: `14,900,123`.
#[must_use]
pub fn grouped(bytes: u64) -> String {
    let digits = bytes.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes in the unit that reads best: `812 B`, `4.7 kB`, `14.9 MB`. Powers of 1000.
#[must_use]
pub fn readable(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", float(bytes) / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", float(bytes) / 1e6),
        _ => format!("{:.2} GB", float(bytes) / 1e9),
    }
}

/// Bytes of memory in MiB, one digit behind the point.
#[must_use]
pub fn mebibytes(bytes: u64) -> String {
    format!("{:.1}", float(bytes) / 1_048_576.0)
}

/// Seconds with as many digits as they are worth: `0.012`, `4.81`, `213`.
#[must_use]
pub fn seconds(s: f64) -> String {
    if s < 1.0 {
        format!("{s:.3}")
    } else if s < 100.0 {
        format!("{s:.2}")
    } else {
        format!("{s:.0}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_an_even_count_is_the_mean_of_the_middle_two() {
        assert_eq!(median(&[4.0, 1.0, 2.0, 9.0]), Some(3.0));
        assert_eq!(median(&[4.0, 1.0, 9.0]), Some(4.0));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn geometric_mean_treats_half_and_double_alike() {
        let mean = geometric_mean(&[0.5, 2.0, 4.0, 0.25]).expect("all are positive");
        assert!((mean - 1.0).abs() < 1e-12, "{mean}");
        assert_eq!(geometric_mean(&[1.0, 0.0]), None);
        assert_eq!(geometric_mean(&[]), None);
    }

    #[test]
    fn digits_are_grouped_in_threes_from_the_right() {
        let texts = [0, 12, 123, 1_234, 123_456, 1_234_567].map(grouped);
        assert_eq!(texts, ["0", "12", "123", "1,234", "123,456", "1,234,567"]);
    }

    #[test]
    fn a_size_takes_the_unit_that_leaves_one_to_three_digits() {
        let texts = [999, 1_000, 4_650_000, 1_500_000_000].map(readable);
        assert_eq!(texts, ["999 B", "1.0 kB", "4.7 MB", "1.50 GB"]);
    }

    #[test]
    fn a_ratio_to_nothing_is_none() {
        assert_eq!(ratio(1.0, 0.0), None);
        assert_eq!(ratio(1.0, 2.0), Some(0.5));
    }
}
