//! Sizes and times as people write and read them.

use std::time::Duration;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Reads a size in bytes: `4096`, `64K`, `512M`, `2G` (powers of 1024), `2GiB`.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &*text[digits.len()..].to_ascii_lowercase() {
        "" | "b" => 1,
        "k" | "kib" => KIB,
        "m" | "mib" => MIB,
        "g" | "gib" => GIB,
        unit => return Err(format!("unit `{unit}` is none of K, M, G")),
    };
    let count: u64 = digits.parse().map_err(|_| "expected a number and K, M or G".to_owned())?;
    count.checked_mul(unit).ok_or_else(|| "more than 64 bits".to_owned())
}

/// A size with one decimal in the unit that suits it: `1.5 MiB`.
pub(crate) fn human(size: u64) -> String {
    let (unit, name) = match size {
        ..KIB => return format!("{size} B"),
        KIB..MIB => (KIB, "KiB"),
        MIB..GIB => (MIB, "MiB"),
        _ => (GIB, "GiB"),
    };
    let tenths = u128::from(size) * 10 / u128::from(unit);
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

/// A number with its thousands set apart: `671,088,640`.
pub(crate) fn exact(size: u64) -> String {
    let digits = size.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// How much of `whole` a part is: `12.34 %`.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".into();
    }
    let hundredths = u128::from(part) * 10_000 / u128::from(whole);
    format!("{}.{:02} %", hundredths / 100, hundredths % 100)
}

/// A time that is still to go, in whole seconds and minutes.
pub(crate) fn left(time: Duration) -> String {
    match time.as_secs() {
        seconds @ ..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_take_binary_units_and_refuse_others() {
        assert_eq!(parse("4096"), Ok(4096));
        assert_eq!(parse("64K"), Ok(64 << 10));
        assert_eq!(parse("2GiB"), Ok(2 << 30));
        assert!(parse("2T").is_err());
        assert!(parse("G").is_err());
        assert!(parse("-1").is_err());
        assert!(parse("99999999999G").is_err());
    }

    #[test]
    fn sizes_are_shown_in_the_unit_that_suits_them() {
        assert_eq!(human(1023), "1023 B");
        assert_eq!(human(1536), "1.5 KiB");
        assert_eq!(human(u64::MAX), "17179869183.9 GiB");
        assert_eq!(exact(671_088_640), "671,088,640");
        assert_eq!(exact(64), "64");
        assert_eq!(percent(1, 8), "12.50 %");
        assert_eq!(percent(1, 0), "-");
    }
}
