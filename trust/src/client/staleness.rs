//! How old what a carrier offers may be, and what else someone should look at.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use crate::time::{ClockFault, KnownTime, Times};

/// How old what was accepted may be: for status and receipts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Staleness {
    /// The time that is known, and how sure it is.
    pub time: KnownTime,
    /// When the newest timestamp was issued, if it says so.
    pub issued: Option<Timestamp>,
    /// When the first of the roles that were read expires.
    pub expires: Timestamp,
    /// Days past its expiry that the site profile allows.
    pub allowed_days: u32,
}

/// Something that did not stop the check, and that someone should look at.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// The clock is not believed.
    Clock(ClockFault),
    /// A file of the state was damaged and is ignored.
    StateDamaged(String),
    /// The site profile is signed, and its bytes are not on the carrier.
    ProfileMissing(String),
}

impl Staleness {
    pub(crate) fn new(times: &Times, expires: Timestamp, allowed_days: u32) -> Self {
        Self { time: times.known(), issued: times.issued(), expires, allowed_days }
    }

    /// Seconds that what was accepted is past its expiry; 0 where it is fresh.
    #[must_use]
    pub fn stale_s(&self) -> u64 {
        let past = self.time.at.duration_since(self.expires);
        u64::try_from(past.max(SignedDuration::ZERO).as_secs()).unwrap_or_default()
    }

    /// Seconds since the newest timestamp was issued, as far as is known.
    #[must_use]
    pub fn age_s(&self) -> Option<u64> {
        let age = self.time.at.duration_since(self.issued?);
        u64::try_from(age.max(SignedDuration::ZERO).as_secs()).ok()
    }

    /// Whether it was accepted only because the site may be stale.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.time.at > self.expires
    }
}

impl Note {
    /// A word for programs.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Clock(ClockFault::None) => "clock-none",
            Self::Clock(ClockFault::Behind) => "clock-behind",
            Self::Clock(ClockFault::Absurd) => "clock-absurd",
            Self::StateDamaged(_) => "state-damaged",
            Self::ProfileMissing(_) => "profile-missing",
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clock(ClockFault::None) => write!(f, "this device has no clock"),
            Self::Clock(ClockFault::Behind) => {
                write!(f, "the device's clock is behind a time that has passed: not believed")
            }
            Self::Clock(ClockFault::Absurd) => {
                write!(f, "the device's clock is decades ahead of all that is known: not believed")
            }
            Self::StateDamaged(name) => {
                write!(f, "{name}, kept by this device, was damaged: what it held is forgotten")
            }
            Self::ProfileMissing(path) => {
                write!(f, "{path} is signed and not on the carrier: the site may not be stale")
            }
        }
    }
}
