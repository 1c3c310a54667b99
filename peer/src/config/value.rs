//! Values of the configuration that have a form of their own.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use neap_trust::client::is_group;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

use crate::limits::{LINK_NAME_LEN_MAX, SITE_LEN_MAX};
use crate::link::{Price, shown};

/// A number of bytes: `20000000`, or `"20MB"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size(pub(super) u64);

/// A rate in thousands of bits a second: 1 to 100,000,000.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "u64")]
pub(super) struct RateKbit(pub(super) u64);

/// A round trip: 0 to 60,000 ms.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "u64")]
pub(super) struct RttMs(pub(super) u64);

/// An address to listen at, or `none`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Listen(pub(super) Option<SocketAddr>);

#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct OfPrice(pub(super) Price);

/// A host, by name or by address, and a port.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct HostPort {
    /// A name, or an address without brackets.
    pub host: String,
    /// Never 0.
    pub port: u16,
}

/// Where a depot is that no peer serves.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum MirrorPlace {
    /// Behind a web server: `http://…` or `https://…`.
    Web(String),
    /// In a bucket: `s3://BUCKET/PREFIX`.
    Bucket(String),
    /// In a folder.
    Folder(PathBuf),
}

/// A text that `check` let through.
macro_rules! checked_text {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
        #[serde(try_from = "String")]
        pub(super) struct $name(String);

        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                let check: fn(&str) -> Result<(), &'static str> = $check;
                match check(&text) {
                    Ok(()) => Ok(Self(text)),
                    Err(allowed) => Err(wrong(&text, allowed)),
                }
            }
        }

        impl From<$name> for String {
            fn from(text: $name) -> Self {
                text.0
            }
        }
    };
}

checked_text!(
    /// A path from the root of the file system: a service has no other place to begin at.
    AbsolutePath,
    |text| match text.starts_with('/') && !text.contains('\0') {
        true => Ok(()),
        false => Err("expected a path that begins with `/`"),
    }
);

checked_text!(
    /// The name of a group of devices.
    GroupName,
    |text| match is_group(text) {
        true => Ok(()),
        false => Err("expected a group: 1 to 32 of a-z, 0-9, `-`"),
    }
);

checked_text!(
    /// The name of a site; it may be empty.
    SiteName,
    |text| match text.len() <= SITE_LEN_MAX && !text.chars().any(char::is_control) {
        true => Ok(()),
        false => Err("expected a site: at most 64 bytes without control characters"),
    }
);

checked_text!(
    /// The name of a kind of device, as targets have it in their paths.
    ProductName,
    |text| match is_name(text, 64, "-") {
        true => Ok(()),
        false => Err("expected a product: 1 to 64 of a-z, 0-9, `-`"),
    }
);

checked_text!(
    /// The name of a link.
    LinkName,
    |text| match is_name(text, LINK_NAME_LEN_MAX, "-_") {
        true => Ok(()),
        false => Err("expected a link: 1 to 32 of a-z, 0-9, `-`, `_`"),
    }
);

impl LinkName {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<AbsolutePath> for PathBuf {
    fn from(path: AbsolutePath) -> Self {
        Self::from(path.0)
    }
}

impl TryFrom<u64> for RateKbit {
    type Error = String;

    fn try_from(rate: u64) -> Result<Self, String> {
        let fits = (1..=100_000_000).contains(&rate);
        fits.then_some(Self(rate)).ok_or(format!("{rate} kbit/s, 1 to 100000000 allowed"))
    }
}

impl TryFrom<u64> for RttMs {
    type Error = String;

    fn try_from(rtt: u64) -> Result<Self, String> {
        (rtt <= 60_000).then_some(Self(rtt)).ok_or(format!("{rtt} ms, at most 60000 allowed"))
    }
}

impl TryFrom<String> for Listen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(None));
        }
        let at = text.parse().map_err(|_| wrong(&text, "expected ADDRESS:PORT or `none`"))?;
        Ok(Self(Some(at)))
    }
}

impl TryFrom<String> for OfPrice {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let why = |why: String| format!("`{}` is no price: {why}", shown(&text));
        Price::parse(&text).map(Self).map_err(why)
    }
}

impl TryFrom<String> for HostPort {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || wrong(&text, "expected HOST:PORT, and an IPv6 address in `[ ]`");
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|port| digits && *port > 0).ok_or_else(wrong)?;
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(inner) if matches!(inner.parse(), Ok(IpAddr::V6(_))) => inner,
            None if is_host(host) => host,
            _ => return Err(wrong()),
        };
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl TryFrom<String> for MirrorPlace {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let web = text.strip_prefix("https://").or(text.strip_prefix("http://"));
        let bucket = text.strip_prefix("s3://");
        let plain = |rest: &str| {
            let strange = |c: char| c.is_whitespace() || c.is_control() || "?#@".contains(c);
            !rest.is_empty() && !rest.starts_with('/') && !rest.contains(strange)
        };
        match (web, bucket) {
            _ if text.len() > URL_LEN_MAX => Err(format!("a place of {} bytes", text.len())),
            (Some(rest), _) if plain(rest) => Ok(Self::Web(text)),
            (_, Some(rest)) if plain(rest) => Ok(Self::Bucket(text)),
            (None, None) if text.starts_with('/') && !text.contains('\0') => {
                Ok(Self::Folder(PathBuf::from(text)))
            }
            _ => Err(wrong(
                &text,
                "expected https://HOST/PATH, http://HOST/PATH, s3://BUCKET/PREFIX or a path that \
                 begins with `/`, without `?`, `#`, `@` and spaces",
            )),
        }
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Sized;

        impl Visitor<'_> for Sized {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes: a number, or a text like `20MB` or `512KiB`")
            }

            fn visit_i64<E: Error>(self, size: i64) -> Result<Size, E> {
                let negative = |_| E::custom(format!("{size} bytes, at least 0 needed"));
                u64::try_from(size).map(Size).map_err(negative)
            }

            fn visit_u64<E: Error>(self, size: u64) -> Result<Size, E> {
                Ok(Size(size))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Size, E> {
                size(text).map(Size).map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Sized)
    }
}

/// Reads a size: `4096`, `64K`, `2G` and `2GiB` (powers of 1024, as everywhere in neap), and
/// `20MB` (powers of 1000, as in price lists).
fn size(text: &str) -> Result<u64, String> {
    let wrong = || wrong(text, "expected a number and kB, MB, GB, KiB, MiB, GiB, K, M or G");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match &text[digits.len()..] {
        "" | "B" => 1,
        "kB" | "KB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "k" | "K" | "KiB" => 1 << 10,
        "M" | "MiB" => 1 << 20,
        "G" | "GiB" => 1 << 30,
        _ => return Err(wrong()),
    };
    let digits = digits.trim_end();
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let count: Option<u64> = digits.parse().ok();
    let size = count.and_then(|count| count.checked_mul(unit));
    size.ok_or_else(|| format!("`{}` is more than 64 bits", shown(text)))
}

/// 1 to `len_max` small letters, digits and these.
fn is_name(text: &str, len_max: usize, others: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || others.contains(c);
    (1..=len_max).contains(&text.len()) && text.chars().all(fits)
}

/// A host's name or its IPv4 address, as far as a resolver would take it.
fn is_host(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    (1..=253).contains(&text.len()) && text.chars().all(fits)
}

/// What was found, and what is allowed.
fn wrong(found: &str, allowed: &str) -> String {
    format!("found `{}`, {allowed}", shown(found))
}

/// Longest place of a mirror, in bytes.
const URL_LEN_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_read_in_units_of_1000_and_of_1024() {
        for (text, expected) in [
            ("0", 0),
            ("4096", 4096),
            ("20MB", 20_000_000),
            ("20 MB", 20_000_000),
            ("64K", 64 << 10),
            ("2GiB", 2 << 30),
            ("1GB", 1_000_000_000),
            ("5kB", 5000),
        ] {
            assert_eq!(size(text), Ok(expected), "{text}");
        }
        for text in ["", "MB", "20mb", "2TB", "-1", "+1", "1.5MB", "1 0", "99999999999GB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_of_peers_are_a_host_and_a_port() {
        let read = |text: &str| HostPort::try_from(text.to_owned());
        for (text, host, port) in [
            ("shore.example:4747", "shore.example", 4747),
            ("10.0.0.1:1", "10.0.0.1", 1),
            ("[fd00::1]:65535", "fd00::1", 65535),
        ] {
            let address = read(text).expect(text);
            assert_eq!((&*address.host, address.port), (host, port));
            assert_eq!(address.to_string(), text);
        }
        for text in ["", "a", ":1", "a:", "a:0", "a:65536", "a:+1", "fd00::1:1", "[a]:1", "a b:1"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn mirrors_are_web_servers_buckets_and_folders() {
        let read = |text: &str| MirrorPlace::try_from(text.to_owned());
        assert!(matches!(read("https://cdn.example/neap"), Ok(MirrorPlace::Web(_))));
        assert!(matches!(read("s3://releases/fleet"), Ok(MirrorPlace::Bucket(_))));
        assert!(matches!(read("/mnt/depot"), Ok(MirrorPlace::Folder(_))));
        for text in ["", "depot", "ftp://a/", "https://", "https:///a", "https://u:p@a/", "s3://"] {
            assert!(read(text).is_err(), "{text}");
        }
        assert!(read(&format!("/{}", "a".repeat(URL_LEN_MAX))).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text: String) {
            drop(size(&text));
            drop(HostPort::try_from(text.clone()));
            drop(MirrorPlace::try_from(text.clone()));
            drop(Listen::try_from(text));
        }
    }
}
