//! The code of a stick: twelve digits that an engineer reads over the phone, so that the release
//! desk knows which stick it is and that all of it arrived.
//!
//! Digits are the same in every language. The last one is a check digit that finds every wrong
//! digit and every swap of two neighbours (H. M. Damm, "Total anti-symmetrische Quasigruppen",
//! 2004). The code tells sticks apart; it proves nothing: signatures do.

use std::fmt;
use std::str::FromStr;

use neap_engine::digest::Digest;

/// Eleven digits and their check digit.
///
/// ```
/// use neap_usb_sideload::code::Code;
///
/// let code = Code::of(b"timestamp.json", &[]);
/// assert_eq!(code.to_string().parse(), Ok(code));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code(u64);

/// Why something is no code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CodeError {
    /// Not twelve digits.
    Length(usize),
    /// A digit was misheard, or two were swapped.
    CheckDigit,
}

impl Code {
    /// The code of what a stick holds: its timestamp, and its blobs in order.
    #[must_use]
    pub fn of(timestamp: &[u8], blobs: &[Digest]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(DOMAIN).update(&(timestamp.len() as u64).to_le_bytes()).update(timestamp);
        for blob in blobs {
            hasher.update(&blob.0);
        }
        let hash = hasher.finalize();
        let first = hash.as_bytes().first_chunk().expect("a hash has 32 bytes");
        Self(u64::from_be_bytes(*first) % DATA_END)
    }
}

impl FromStr for Code {
    type Err = CodeError;

    /// Reads a code; spaces and hyphens between the digits do not count.
    fn from_str(text: &str) -> Result<Self, CodeError> {
        let digits = text.chars().filter(|c| !matches!(c, ' ' | '-'));
        let digits: Option<Vec<u64>> = digits.map(|c| c.to_digit(10).map(u64::from)).collect();
        let digits = digits.ok_or(CodeError::Length(text.chars().count()))?;
        if digits.len() != DIGITS {
            return Err(CodeError::Length(digits.len()));
        }
        if damm(&digits) != 0 {
            return Err(CodeError::CheckDigit);
        }
        Ok(Self(digits[..DIGITS - 1].iter().fold(0, |value, digit| value * 10 + digit)))
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{:011}", self.0);
        let digits: Vec<u64> = text.bytes().map(|b| u64::from(b - b'0')).collect();
        let check = damm(&digits);
        write!(f, "{} {} {}{check}", &text[..4], &text[4..8], &text[8..])
    }
}

impl fmt::Display for CodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(found) => write!(f, "{found} characters, {DIGITS} digits expected"),
            Self::CheckDigit => f.write_str("a digit is wrong: ask for the code again"),
        }
    }
}

impl std::error::Error for CodeError {}

/// The check digit of digits; 0 of digits that end with theirs.
fn damm(digits: &[u64]) -> u64 {
    digits.iter().fold(0, |interim, digit| {
        let (row, column) = (usize::try_from(interim), usize::try_from(*digit));
        u64::from(TABLE[row.unwrap_or(0) % 10][column.unwrap_or(0) % 10])
    })
}

const DOMAIN: &[u8] = b"neap stick code v1";
const DIGITS: usize = 12;
const DATA_END: u64 = 100_000_000_000;

/// The quasigroup of order 10 in Damm's dissertation, page 111.
const TABLE: [[u8; 10]; 10] = [
    [0, 3, 1, 7, 5, 9, 8, 6, 4, 2],
    [7, 0, 9, 2, 1, 5, 4, 8, 6, 3],
    [4, 2, 0, 6, 8, 7, 1, 3, 5, 9],
    [1, 7, 5, 0, 9, 8, 3, 4, 2, 6],
    [6, 1, 2, 3, 0, 4, 5, 9, 7, 8],
    [3, 6, 7, 4, 2, 0, 9, 5, 8, 1],
    [5, 8, 6, 9, 7, 2, 0, 1, 3, 4],
    [8, 9, 4, 5, 3, 6, 2, 0, 1, 7],
    [9, 4, 3, 8, 6, 1, 7, 2, 0, 5],
    [2, 5, 8, 1, 4, 3, 6, 7, 9, 0],
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_misheard_digit_and_every_swap_is_found() {
        for seed in 0..50_u64 {
            let code = Code::of(&seed.to_le_bytes(), &[]);
            let text: String = code.to_string().replace(' ', "");
            assert_eq!(text.parse(), Ok(code));
            for at in 0..text.len() {
                for digit in '0'..='9' {
                    let mut other = text.clone();
                    other.replace_range(at..=at, &digit.to_string());
                    assert_eq!(other.parse::<Code>().is_ok(), other == text, "{other}");
                }
            }
            for at in 0..text.len() - 1 {
                let mut swapped: Vec<char> = text.chars().collect();
                swapped.swap(at, at + 1);
                let swapped: String = swapped.into_iter().collect();
                assert_eq!(swapped.parse::<Code>().is_ok(), swapped == text, "{swapped}");
            }
        }
    }

    #[test]
    fn code_is_of_all_blobs_and_of_the_timestamp() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let code = Code::of(b"t", &[a, b]);
        for other in [Code::of(b"t", &[a]), Code::of(b"u", &[a, b]), Code::of(b"t", &[b, a])] {
            assert_ne!(code, other);
        }
        assert_eq!("1234".parse::<Code>(), Err(CodeError::Length(4)));
        assert_eq!("12345678901a".parse::<Code>(), Err(CodeError::Length(12)));
    }
}
