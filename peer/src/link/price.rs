//! What a megabyte costs, in whole numbers; what is paid is rounded up.
//!
//! Prices are written as `neap estimate --price` takes them.

use std::fmt;

/// Price of a megabyte, which in price lists has 1,000,000 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Price {
    /// Millionths of the unit of money.
    micros_per_mb: u64,
    /// What the unit is called, if that was said.
    currency: Option<String>,
}

impl Price {
    /// Reads a price: `5.00/MB`, `5.00 USD/MB`, `0.005 EUR/kB`, `1000 USD/GB`.
    ///
    /// # Errors
    /// If it is something else.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (micros, rest) = number(text.trim())?;
        let (currency, unit) = rest.split_once('/').ok_or("expected a price and `/MB`")?;
        let micros_per_mb = match unit.trim() {
            "kB" => micros.checked_mul(1000).ok_or("a price beyond reason")?,
            "MB" => micros,
            "GB" => micros.div_ceil(1000),
            _ => return Err("the unit of a price is none of kB, MB, GB".to_owned()),
        };
        let currency = currency.trim();
        let is_name = |letter: char| !letter.is_control() && !letter.is_ascii_digit();
        if currency.len() > CURRENCY_LEN_MAX || !currency.chars().all(is_name) {
            return Err(format!(
                "a currency of up to {CURRENCY_LEN_MAX} bytes without digits is expected"
            ));
        }
        Ok(Self { micros_per_mb, currency: (!currency.is_empty()).then(|| currency.to_owned()) })
    }

    /// What `len` bytes cost, in hundredths of the unit of money, rounded up.
    #[must_use]
    pub fn cents(&self, len: u64) -> u64 {
        let micros = u128::from(len) * u128::from(self.micros_per_mb);
        u64::try_from(micros.div_ceil(u128::from(MB) * 10_000)).unwrap_or(u64::MAX)
    }

    /// Millionths of the unit of money that a megabyte costs.
    #[must_use]
    pub const fn micros_per_mb(&self) -> u64 {
        self.micros_per_mb
    }

    /// What the unit of money is called, if that was said.
    #[must_use]
    pub fn currency(&self) -> Option<&str> {
        self.currency.as_deref()
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} per MB", money(self.cents(MB), self.currency()))
    }
}

/// Money with two decimals, and its currency in front if that was named: `USD 76.84`.
#[must_use]
pub fn money(cents: u64, currency: Option<&str>) -> String {
    let amount = format!("{}.{:02}", cents / 100, cents % 100);
    currency.map_or(amount.clone(), |name| format!("{name} {amount}"))
}

/// The number at the front of a text, in millionths, and what follows it.
fn number(text: &str) -> Result<(u64, &str), String> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || part.is_empty() || part.contains('.') {
        return Err("a price begins with a number".to_owned());
    }
    if part.len() > 6 {
        return Err("a price of more than six decimals".to_owned());
    }
    let large = || "a price beyond reason".to_owned();
    let whole: u64 = whole.parse().map_err(|_| large())?;
    let part: u64 = format!("{part:0<6}").parse().map_err(|_| large())?;
    let micros = whole.checked_mul(MICRO).and_then(|micros| micros.checked_add(part));
    Ok((micros.ok_or_else(large)?, rest))
}

/// Bytes in the megabyte of price lists.
const MB: u64 = 1_000_000;

/// Fractions of a unit of money that are told apart.
const MICRO: u64 = 1_000_000;

/// Longest name of a currency, in bytes.
const CURRENCY_LEN_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn price(text: &str) -> Price {
        Price::parse(text).expect(text)
    }

    #[test]
    fn prices_are_read_as_the_estimate_reads_them() {
        assert_eq!(price("5.00/MB").to_string(), "5.00 per MB");
        assert_eq!(price("5.00 USD/MB").to_string(), "USD 5.00 per MB");
        assert_eq!(price("0.005 EUR/kB"), price("5 EUR/MB"));
        assert_eq!(price("5000/GB"), price("5/MB"));
        for text in ["", "5", "5.00", "5.00/TB", "5.00/", "USD 5/MB", "-5/MB", "5 U5D/MB"] {
            assert!(Price::parse(text).is_err(), "{text}");
        }
        assert!(Price::parse("18446744073709/kB").is_err());
        assert!(Price::parse(&format!("1 {}/MB", "x".repeat(17))).is_err());
    }

    #[test]
    fn what_is_paid_is_rounded_up() {
        assert_eq!(price("5.00/MB").cents(1_000_000), 500);
        assert_eq!(price("5.00/MB").cents(1), 1);
        assert_eq!(price("5.00/MB").cents(15_366_353), 7684);
        assert_eq!(price("0/MB").cents(u64::MAX), 0);
        assert_eq!(money(7684, Some("USD")), "USD 76.84");
    }

    proptest! {
        #[test]
        fn more_bytes_never_cost_less(a: u64, b: u64, cents in 0_u64..1_000_000) {
            let price = price(&format!("{}.{:02}/MB", cents / 100, cents % 100));
            prop_assert!(price.cents(a.min(b)) <= price.cents(a.max(b)));
        }

        #[test]
        fn any_text_is_answered(text: String) {
            drop(Price::parse(&text));
        }
    }
}
