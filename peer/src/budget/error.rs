//! Why bytes may not be spent.

use std::fmt;

use jiff::civil::Date;

use super::METER_FILE;
use crate::limits::{METER_LEN_MAX, METER_LINK_COUNT_MAX, METER_UPDATE_COUNT_MAX};

/// What a limit is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    /// One update.
    Update,
    /// A day, UTC.
    Day,
    /// A month, UTC.
    Month,
}

/// Why bytes may not be spent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BudgetError {
    /// They would pass a limit. That is the link's owner's doing, and no fault.
    Exceeded {
        /// The link.
        link: String,
        /// Which limit.
        period: Period,
        /// The latest day that bytes are counted on.
        day: Date,
        /// Spent and reserved so far.
        used: u64,
        /// How many more were asked for.
        asked: u64,
        /// The limit.
        allowed: u64,
    },
    /// They were reserved, and crossed before that was stored. Our own doing.
    Unsaved {
        /// The link.
        link: String,
        /// How many.
        bytes: u64,
    },
    /// They crossed and were not reserved: a peer sent more than it was asked for.
    Unreserved {
        /// The link.
        link: String,
        /// How many.
        bytes: u64,
    },
    /// More links than the meter counts.
    Links,
    /// More updates in a month than the meter counts.
    Updates {
        /// The link.
        link: String,
    },
}

/// Why the meter's file is refused. Nothing may be spent then: what was spent is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum MeterError {
    /// More bytes than a meter has.
    TooLong(u64),
    /// Not the JSON of a meter.
    Json(String),
    /// Of a version that this program does not know.
    Version(u64),
    /// Something in it was changed: its check does not fit.
    Check,
    /// More entries than a meter keeps.
    TooMany(&'static str),
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Update => "update",
            Self::Day => "day",
            Self::Month => "month",
        })
    }
}

impl fmt::Display for BudgetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exceeded { link, period, day, used, asked, allowed } => write!(
                f,
                "link {link}: {asked} bytes more pass the limit of the {period}: {used} of \
                 {allowed} are spent or reserved (day {day}, UTC)"
            ),
            Self::Unsaved { link, bytes } => {
                write!(f, "link {link}: {bytes} bytes crossed before their count was stored")
            }
            Self::Unreserved { link, bytes } => {
                write!(f, "link {link}: {bytes} bytes crossed that were not asked for")
            }
            Self::Links => write!(f, "the meter counts {METER_LINK_COUNT_MAX} links and no more"),
            Self::Updates { link } => write!(
                f,
                "link {link}: the meter counts {METER_UPDATE_COUNT_MAX} updates in a month and no \
                 more"
            ),
        }
    }
}

impl fmt::Display for MeterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{METER_FILE}: ")?;
        match self {
            Self::TooLong(len) => write!(f, "{len} bytes, {METER_LEN_MAX} allowed")?,
            Self::Json(why) => write!(f, "not a meter: {why}")?,
            Self::Version(found) => write!(f, "a meter of version {found}, known is 1")?,
            Self::Check => f.write_str("damaged, its check does not fit")?,
            Self::TooMany(what) => write!(f, "more {what} than a meter keeps")?,
        }
        f.write_str("; what was spent is not known, so nothing is spent until it is removed")
    }
}

impl std::error::Error for BudgetError {}
impl std::error::Error for MeterError {}
