//! What a link costs: its rate, its price, what the protocol adds; and from them time and money.
//!
//! Whole numbers throughout, and all is rounded up: a captain is never charged more than was said.

use std::fmt;

/// Bytes in the megabyte of price lists.
pub(crate) const MB: u64 = 1_000_000;

/// Fractions of a bit, of a unit of money and of a whole that are told apart.
const MICRO: u64 = 1_000_000;

/// Rate of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link {
    /// Millionths of a bit a second; never 0.
    microbits_per_s: u128,
}

/// Price of a megabyte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Price {
    /// Millionths of the unit of money.
    micros_per_mb: u64,
    /// What the unit is called, if that was said.
    currency: Option<String>,
}

/// What the protocol sends beside the patch, in millionths of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Overhead(u64);

impl Link {
    /// Reads a rate: `88kbit/s`, `1.5 Mbit/s`, `512 kB/s`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (micros, unit) = number(text)?;
        let bits = match unit {
            "bit/s" => 1,
            "kbit/s" => 1_000,
            "Mbit/s" => 1_000_000,
            "Gbit/s" => 1_000_000_000,
            "B/s" => 8,
            "kB/s" => 8_000,
            "MB/s" => 8_000_000,
            _ => {
                return Err(format!(
                    "unit `{unit}` is none of bit/s, kbit/s, Mbit/s, Gbit/s, B/s, kB/s, MB/s"
                ));
            }
        };
        match u128::from(micros) * bits {
            0 => Err("a link of no rate sends nothing".to_owned()),
            microbits_per_s => Ok(Self { microbits_per_s }),
        }
    }

    /// Seconds that `len` bytes take.
    pub(crate) fn seconds(self, len: u64) -> u64 {
        let seconds = (u128::from(len) * 8 * u128::from(MICRO)).div_ceil(self.microbits_per_s);
        u64::try_from(seconds).unwrap_or(u64::MAX)
    }

    /// Bits a second, less the fraction.
    pub(crate) fn bits_per_s(self) -> u64 {
        u64::try_from(self.microbits_per_s / u128::from(MICRO)).unwrap_or(u64::MAX)
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u128, &str); 3] =
            [(1_000_000_000, "Gbit/s"), (1_000_000, "Mbit/s"), (1_000, "kbit/s")];
        let scaled = UNITS.iter().find_map(|(bits, name)| {
            let unit = bits * u128::from(MICRO);
            (self.microbits_per_s >= unit).then_some((self.microbits_per_s * 100 / unit, name))
        });
        let (hundredths, name) =
            scaled.unwrap_or((self.microbits_per_s * 100 / u128::from(MICRO), &"bit/s"));
        write!(f, "{}", hundredths / 100)?;
        match hundredths % 100 {
            0 => {}
            tenths if tenths % 10 == 0 => write!(f, ".{}", tenths / 10)?,
            rest => write!(f, ".{rest:02}")?,
        }
        write!(f, " {name}")
    }
}

impl Price {
    /// Reads a price: `5.00/MB`, `5.00 USD/MB`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (micros, rest) = number(text)?;
        let (currency, unit) = rest.split_once('/').ok_or("expected a price and `/MB`")?;
        let per_mb = match unit.trim() {
            "kB" => Some(1000),
            "MB" => Some(1),
            "GB" => None,
            unit => return Err(format!("unit `{unit}` is none of kB, MB, GB")),
        };
        let micros_per_mb = match per_mb {
            Some(factor) => micros.checked_mul(factor).ok_or("a price beyond reason")?,
            None => micros.div_ceil(1000),
        };
        let currency = currency.trim();
        if currency.chars().any(|letter| letter.is_control() || letter.is_ascii_digit()) {
            return Err(format!("`{currency}` is no name of a currency"));
        }
        let currency = (!currency.is_empty()).then(|| currency.to_owned());
        Ok(Self { micros_per_mb, currency })
    }

    /// What `len` bytes cost, in hundredths of the unit of money.
    pub(crate) fn cents(&self, len: u64) -> u64 {
        let micros = u128::from(len) * u128::from(self.micros_per_mb);
        let cents = micros.div_ceil(u128::from(MB) * 10_000);
        u64::try_from(cents).unwrap_or(u64::MAX)
    }

    pub(crate) fn currency(&self) -> Option<&str> {
        self.currency.as_deref()
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&money(self.cents(MB), self.currency()))?;
        f.write_str(" per MB")
    }
}

impl Overhead {
    /// No overhead.
    pub(crate) const NONE: Self = Self(0);

    /// Reads a share: `5%`, `2.5%`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match number(text)? {
            (0..=100_000_000, unit) if unit != "%" => Err("expected a number and `%`".to_owned()),
            (micros @ 0..=100_000_000, _) => Ok(Self(micros / 100)),
            _ => Err("more than 100 %".to_owned()),
        }
    }

    /// What is sent for `len` bytes.
    pub(crate) fn sent(self, len: u64) -> u64 {
        let sent = (u128::from(len) * u128::from(MICRO + self.0)).div_ceil(u128::from(MICRO));
        u64::try_from(sent).unwrap_or(u64::MAX)
    }
}

impl fmt::Display for Overhead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hundredths = self.0 / 100;
        write!(f, "{}.{:02} %", hundredths / 100, hundredths % 100)
    }
}

/// Money with two decimals, and its currency in front if that was named: `USD 76.84`.
pub(crate) fn money(cents: u64, currency: Option<&str>) -> String {
    let amount = format!("{}.{:02}", crate::size::exact(cents / 100), cents % 100);
    currency.map_or(amount.clone(), |name| format!("{name} {amount}"))
}

/// A time in words, in hours and minutes where it is long; rounded up.
pub(crate) fn duration(seconds: u64) -> String {
    match seconds {
        ..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => {
            let minutes = seconds.div_ceil(60);
            format!("{} h {:02} min", crate::size::exact(minutes / 60), minutes % 60)
        }
    }
}

/// The number at the front of a text, in millionths, and what follows it.
fn number(text: &str) -> Result<(u64, &str), String> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || part.is_empty() || part.contains('.') {
        return Err(format!("`{text}` does not begin with a number"));
    }
    if part.len() > 6 {
        return Err(format!("`{number}` has more than six decimals"));
    }
    let large = || format!("`{number}` is too large");
    let whole: u64 = whole.parse().map_err(|_| large())?;
    let part: u64 = format!("{part:0<6}").parse().map_err(|_| large())?;
    let micros = whole.checked_mul(MICRO).and_then(|micros| micros.checked_add(part));
    Ok((micros.ok_or_else(large)?, rest.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn link(text: &str) -> Link {
        Link::parse(text).expect(text)
    }

    fn price(text: &str) -> Price {
        Price::parse(text).expect(text)
    }

    #[test]
    fn rates_are_read_in_bits_and_bytes_and_printed_in_bits() {
        for (text, bits, shown) in [
            ("88kbit/s", 88_000, "88 kbit/s"),
            ("9600 bit/s", 9600, "9.6 kbit/s"),
            ("1.5Mbit/s", 1_500_000, "1.5 Mbit/s"),
            ("1 Gbit/s", 1_000_000_000, "1 Gbit/s"),
            ("75B/s", 600, "600 bit/s"),
            ("11kB/s", 88_000, "88 kbit/s"),
            ("1.25 MB/s", 10_000_000, "10 Mbit/s"),
            ("1234bit/s", 1234, "1.23 kbit/s"),
            ("1050bit/s", 1050, "1.05 kbit/s"),
        ] {
            assert_eq!(link(text).bits_per_s(), bits, "{text}");
            assert_eq!(link(text).to_string(), shown, "{text}");
        }
    }

    #[test]
    fn what_is_no_rate_is_refused() {
        let wrong = ["", "kbit/s", "88", "88kb/s", "88 KB/s", "-1kbit/s", "0kbit/s", "1.2.3bit/s"];
        for text in wrong.into_iter().chain([".5Mbit/s", "5.Mbit/s", "0.0000001Mbit/s", "1e9bit/s"])
        {
            assert!(Link::parse(text).is_err(), "{text}");
        }
        assert!(Link::parse("99999999999999Gbit/s").is_err());
    }

    #[test]
    fn prices_are_read_with_and_without_a_currency() {
        assert_eq!(price("5.00/MB").to_string(), "5.00 per MB");
        assert_eq!(price("5.00 USD/MB").to_string(), "USD 5.00 per MB");
        assert_eq!(price("0.005 EUR/kB"), price("5 EUR/MB"));
        assert_eq!(price("5000/GB"), price("5/MB"));
        assert_eq!(price("0/MB").cents(MB), 0);
        for text in ["", "5", "5.00", "5.00/TB", "5.00/", "USD 5/MB", "-5/MB", "5 U5D/MB"] {
            assert!(Price::parse(text).is_err(), "{text}");
        }
        assert!(Price::parse("18446744073709/kB").is_err());
    }

    #[test]
    fn overhead_is_a_share_of_at_most_all() {
        let sent = |text, len| Overhead::parse(text).map(|overhead| overhead.sent(len));
        assert_eq!(sent("5%", 1000), Ok(1050));
        assert_eq!(sent("2.5 %", 1001), Ok(1027));
        assert_eq!(sent("0%", 7), Ok(7));
        assert_eq!(sent("100%", 7), Ok(14));
        assert!(sent("101%", 7).is_err() && sent("5", 7).is_err() && sent("5%%", 7).is_err());
        assert_eq!(Overhead::NONE.sent(u64::MAX), u64::MAX);
        assert_eq!(Overhead::parse("2.5%").map(|o| o.to_string()), Ok("2.50 %".to_owned()));
    }

    #[test]
    fn time_and_money_are_rounded_up() {
        assert_eq!(link("8bit/s").seconds(10), 10);
        assert_eq!(link("88kbit/s").seconds(1), 1);
        assert_eq!(link("88kbit/s").seconds(0), 0);
        assert_eq!(link("88kbit/s").seconds(11_001), 2);
        assert_eq!(price("5.00/MB").cents(MB), 500);
        assert_eq!(price("5.00/MB").cents(1), 1);
        assert_eq!(price("5.00/MB").cents(15_366_353), 7684);
    }

    #[test]
    fn money_and_time_are_words_a_captain_reads() {
        assert_eq!(money(7684, None), "76.84");
        assert_eq!(money(123_456_705, Some("USD")), "USD 1,234,567.05");
        assert_eq!(duration(0), "0 s");
        assert_eq!(duration(59), "59 s");
        assert_eq!(duration(60), "1 min 00 s");
        assert_eq!(duration(3599), "59 min 59 s");
        assert_eq!(duration(3600), "1 h 00 min");
        assert_eq!(duration(3601), "1 h 01 min");
        assert_eq!(duration(360_000), "100 h 00 min");
    }

    proptest! {
        #[test]
        fn more_bytes_never_cost_less(
            a: u64,
            b: u64,
            kbits in 1_u64..1_000_000,
            cents in 0_u64..1_000_000,
        ) {
            let (less, more) = (a.min(b), a.max(b));
            let link = link(&format!("{kbits}kbit/s"));
            let price = price(&format!("{}.{:02}/MB", cents / 100, cents % 100));
            prop_assert!(link.seconds(less) <= link.seconds(more));
            prop_assert!(price.cents(less) <= price.cents(more));
        }

        #[test]
        fn any_text_is_answered(text: String) {
            drop((Link::parse(&text), Price::parse(&text), Overhead::parse(&text)));
        }
    }
}
