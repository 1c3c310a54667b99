//! Which of two versions is the later one: one total order for all who name versions.

use std::cmp::Ordering;

/// Compares two versions: as [Semantic Versioning](https://semver.org) 2.0.0 does where both are of
/// that form, and by the same rules where they have more numbers, fewer, or letters among them.
///
/// What follows a `+` does not count. What follows the first `-` is a pre-release, and comes
/// before the same version without one. Before it, runs of digits are numbers of any length, and
/// numbers come before letters: `1.9 < 1.10`, `2024a < 2024b`.
#[must_use]
pub fn compare(a: &str, b: &str) -> Ordering {
    let ((a, a_pre), (b, b_pre)) = (parts(a), parts(b));
    natural(a, b).then_with(|| match (a_pre, b_pre) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(a), Some(b)) => pre_release(a, b),
    })
}

/// The version before the pre-release, and the pre-release.
fn parts(version: &str) -> (&str, Option<&str>) {
    let version = version.split_once('+').map_or(version, |(version, _)| version);
    match version.split_once('-') {
        Some((version, pre)) => (version, Some(pre)),
        None => (version, None),
    }
}

/// Field by field (SemVer 11.4): numbers before words; who has more fields is later.
fn pre_release(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.split('.'), b.split('.'));
    loop {
        match (a.next(), b.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(a), Some(b)) => match field(a, b) {
                Ordering::Equal => {}
                different => return different,
            },
        }
    }
}

fn field(a: &str, b: &str) -> Ordering {
    let is_number = |field: &str| !field.is_empty() && field.bytes().all(|b| b.is_ascii_digit());
    match (is_number(a), is_number(b)) {
        (true, true) => number(a, b),
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        (false, false) => a.cmp(b),
    }
}

/// Run by run: digits as numbers, all else byte by byte; who ends first is earlier.
fn natural(mut a: &str, mut b: &str) -> Ordering {
    loop {
        let ((a_digits, a_rest), (b_digits, b_rest)) = (digits(a), digits(b));
        let order = match (a_digits.is_empty(), b_digits.is_empty()) {
            (false, false) => number(a_digits, b_digits),
            _ => Ordering::Equal,
        };
        if order != Ordering::Equal {
            return order;
        }
        if !a_digits.is_empty() && !b_digits.is_empty() {
            (a, b) = (a_rest, b_rest);
            continue;
        }
        match (a.bytes().next(), b.bytes().next()) {
            (Some(x), Some(y)) if x == y => (a, b) = (behind(a), behind(b)),
            (x, y) => return rank(x).cmp(&rank(y)),
        }
    }
}

/// The end comes first, then what separates, then digits, then letters.
fn rank(byte: Option<u8>) -> (u8, u8) {
    match byte {
        None => (0, 0),
        Some(byte @ b'0'..=b'9') => (2, byte),
        Some(byte) if byte.is_ascii_alphabetic() => (3, byte),
        Some(byte) => (1, byte),
    }
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

/// Without the first character.
fn behind(text: &str) -> &str {
    let mut characters = text.chars();
    characters.next();
    characters.as_str()
}

/// Numbers of any length.
fn number(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn versions_are_ordered_as_people_expect() {
        let ordered = [
            "0.9.9",
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1.0.0",
            "1.0.1",
            "1.9",
            "1.10",
            "1.10a",
            "1.10b",
            "2",
            "2024.09",
            "2024.10",
            "99999999999999999999999.0",
        ];
        for (index, a) in ordered.iter().enumerate() {
            for (other, b) in ordered.iter().enumerate() {
                assert_eq!(compare(a, b), index.cmp(&other), "{a} and {b}");
            }
        }
    }

    #[test]
    fn build_metadata_does_not_count() {
        assert_eq!(compare("1.0.0+b1", "1.0.0+b2"), Ordering::Equal);
        assert_eq!(compare("1.0.0-rc+b", "1.0.0-rc"), Ordering::Equal);
    }

    proptest! {
        // A sort by an order that is none may panic, and a planner may go round in circles.
        #[test]
        fn order_is_total(versions in prop::array::uniform3("[0-9a-c.+~_-]{0,6}")) {
            let [a, b, c] = versions;
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            if compare(&a, &b) != Ordering::Greater && compare(&b, &c) != Ordering::Greater {
                prop_assert_ne!(compare(&a, &c), Ordering::Greater);
            }
        }
    }
}
