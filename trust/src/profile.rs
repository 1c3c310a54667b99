//! The site profile: what a site may do on its own, signed like a release.
//!
//! It is a target of kind `site-profile` in the role of a group, at
//! `g/<group>/site/<number>/profile`; the highest number counts. It is JSON without unknown fields:
//!
//! ```
//! let profile = neap_trust::profile::Profile::parse(br#"{
//!     "neap_profile": 1,
//!     "site": "MV Aurora",
//!     "stale_days": 180,
//!     "approval": "crew",
//!     "budget": {"update_bytes": 20000000, "month_bytes": 200000000}
//! }"#);
//! assert_eq!(profile.expect("a profile").stale_days, 180);
//! ```

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::limits::{PROFILE_LEN_MAX, STALE_DAYS_MAX};

/// What a site may do on its own.
///
/// | field | is |
/// |-------|----|
/// | `neap_profile` | 1 |
/// | `site` | name of the site, for people: 1 to 128 characters, no control characters |
/// | `stale_days` | days past its expiry that metadata still counts, 0 to 3650 |
/// | `approval` | `none`, or `crew`: someone on site says yes before a device is written |
/// | `budget` | bytes over the costly link; a limit that is left out is none |
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    neap_profile: u8,
    /// Name of the site, for people.
    pub site: String,
    /// Days past its expiry that metadata still counts.
    pub stale_days: u32,
    /// Who must say yes.
    #[serde(default)]
    pub approval: Approval,
    /// What may cross the costly link.
    #[serde(default)]
    pub budget: Budget,
}

/// Who must say yes before a device is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Approval {
    /// Nobody: the signatures are enough.
    #[default]
    None,
    /// Someone on site.
    Crew,
}

/// Bytes that may cross the costly link.
///
/// | field | is |
/// |-------|----|
/// | `update_bytes` | for one update of one device |
/// | `day_bytes` | in a day, UTC |
/// | `month_bytes` | in a month, UTC |
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// For one update of one device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_bytes: Option<u64>,
    /// In a day, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day_bytes: Option<u64>,
    /// In a month, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub month_bytes: Option<u64>,
}

/// Why something is not a site profile; whoever signed it wrote it so.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProfileError {
    /// More bytes than a profile may have.
    TooLong(u64),
    /// Not the JSON of a profile.
    Json(String),
    /// Of a format that this program does not know.
    Format(u8),
    /// A name that cannot be shown.
    Site,
    /// More days than a profile may allow.
    StaleDays(u32),
}

impl Profile {
    /// A profile, if its name and its days are in their bounds.
    ///
    /// # Errors
    /// If they are not.
    pub fn new(
        site: &str,
        stale_days: u32,
        approval: Approval,
        budget: Budget,
    ) -> Result<Self, ProfileError> {
        let profile = Self { neap_profile: 1, site: site.to_owned(), stale_days, approval, budget };
        Self::parse(&profile.bytes())
    }

    /// The file.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("names and numbers are JSON")
    }

    /// Reads a profile; nothing in it may be unknown, for what is not understood may be a limit.
    ///
    /// # Errors
    /// If it is not one.
    pub fn parse(bytes: &[u8]) -> Result<Self, ProfileError> {
        let len = bytes.len() as u64;
        if len > PROFILE_LEN_MAX {
            return Err(ProfileError::TooLong(len));
        }
        let parsed = serde_json::from_slice(bytes);
        let profile: Self = parsed.map_err(|error| ProfileError::Json(error.to_string()))?;
        let site_len = profile.site.chars().count();
        if profile.neap_profile != 1 {
            return Err(ProfileError::Format(profile.neap_profile));
        }
        if !(1..=128).contains(&site_len) || profile.site.chars().any(char::is_control) {
            return Err(ProfileError::Site);
        }
        if profile.stale_days > STALE_DAYS_MAX {
            return Err(ProfileError::StaleDays(profile.stale_days));
        }
        Ok(profile)
    }
}

impl fmt::Display for ProfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong(len) => write!(f, "{len} bytes, {PROFILE_LEN_MAX} allowed"),
            Self::Json(why) => write!(f, "not a site profile: {why}"),
            Self::Format(found) => write!(f, "a profile of format {found}, known is 1"),
            Self::Site => write!(f, "a site name of 1 to 128 characters is needed"),
            Self::StaleDays(days) => write!(f, "stale for {days} days, {STALE_DAYS_MAX} allowed"),
        }
    }
}

impl std::error::Error for ProfileError {}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"neap_profile":1,"site":"A","stale_days":3650}"#;

    #[test]
    fn smallest_profile_asks_for_nothing() {
        let profile = Profile::parse(GOOD.as_bytes()).expect("a profile");
        assert_eq!((profile.approval, profile.budget), (Approval::None, Budget::default()));
    }

    #[test]
    fn neighbours_of_a_profile_are_refused() {
        for (from, to) in [
            ("3650", "3651"),
            ("3650", "-1"),
            ("3650", "1.5"),
            ("\"A\"", "\"\""),
            ("\"A\"", "\"\\u0007\""),
            ("ile\":1", "ile\":2"),
            ("}", ",\"aproval\":\"crew\"}"),
            ("}", ",\"approval\":\"captain\"}"),
            ("}", ",\"budget\":{\"week_bytes\":1}}"),
            ("}", "}}"),
        ] {
            let text = GOOD.replacen(from, to, 1);
            assert_ne!(text, GOOD);
            assert!(Profile::parse(text.as_bytes()).is_err(), "{text}");
        }
        let long = format!("{GOOD}{}", " ".repeat(16 << 10));
        assert!(matches!(Profile::parse(long.as_bytes()), Err(ProfileError::TooLong(_))));
    }
}
