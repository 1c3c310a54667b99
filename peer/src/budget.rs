//! The meter: how many bytes crossed each link, and how many more may.
//!
//! Bytes are reserved, the meter is stored, and only then are they spent. So what is stored is
//! never less than what crossed, and a kill at any moment loses no count: what was reserved when
//! it came counts as spent from then on, at most [`RESERVE_LEN`](crate::limits::RESERVE_LEN) or so.
//!
//! ```
//! use neap_peer::budget::{Charge, Left, Limits, Meter};
//!
//! let now = "2026-11-26T12:00:00Z".parse()?;
//! let limits = Limits { day_bytes: Some(1000), ..Limits::default() };
//! let charge = Charge { link: "sat", update: None };
//! let mut disk = Vec::new(); // stands for meter.json
//!
//! let mut meter = Meter::load(None)?;
//! meter.reserve(charge, 600, &limits, now)?;
//! meter.persist(|bytes| -> std::io::Result<()> { disk = bytes.to_vec(); Ok(()) })?;
//! meter.spend(charge, 10, now)?;
//! // A kill here: the other 590 count as spent.
//! let meter = Meter::load(Some(&disk))?;
//! assert_eq!(meter.left(charge, &limits, now), Left::Bytes(400));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Days
//! A byte counts towards the day that the caller's known time says (UTC), and towards the latest
//! day that the meter has seen if that is later. So a clock that goes back finds both the day it
//! goes back to and the latest one as full as they were. A day that is so old that its count was
//! forgotten is full.
//!
//! At a change of day what is reserved moves on to the new day and must be stored again before it
//! is spent: see [`Meter::tick`]. If the clock went back to a day that was used before, it is lost
//! instead: it stays counted, and must be reserved again.
//!
//! # Who is trusted
//! Whoever can write the file can change the count; it is the node's own. A file that is damaged
//! is refused, and then nothing may be spent. A file that is gone is a first start.

mod account;
mod error;
mod stored;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::{Timestamp, tz::TimeZone};
use neap_engine::digest::Digest;
use neap_trust::profile::Budget;

pub use error::{BudgetError, MeterError, Period};

use crate::limits::METER_LINK_COUNT_MAX;
use account::Account;

/// What the meter is called among what a node keeps.
pub const METER_FILE: &str = "meter.json";

/// What bytes are charged to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charge<'a> {
    /// The link's name in the configuration.
    pub link: &'a str,
    /// The image that they lead to; none for metadata and receipts.
    pub update: Option<Digest>,
}

/// Most bytes over one link; a limit that is not set is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// For one update.
    pub update_bytes: Option<u64>,
    /// In a day, UTC.
    pub day_bytes: Option<u64>,
    /// In a month, UTC.
    pub month_bytes: Option<u64>,
}

/// How many bytes may still be reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// As many as there are.
    Unlimited,
    /// So many.
    Bytes(u64),
}

/// Bytes that crossed a link, without those that are reserved.
///
/// What was reserved when a process was killed counts as crossed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    /// For the update that was asked about.
    pub update: u64,
    /// On the day.
    pub day: u64,
    /// In the month.
    pub month: u64,
}

/// The meter's file, to be stored, and then to be named to [`Meter::saved`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saving {
    /// The whole file.
    pub bytes: Vec<u8>,
    sequence: u64,
}

/// Counts bytes over all links of a node.
#[derive(Debug, Clone, Default)]
pub struct Meter {
    /// The latest day that was ever seen.
    latest: Option<Date>,
    /// The day that the clock says; not stored.
    today: Option<Date>,
    links: BTreeMap<String, Account>,
    /// Of the last [`Saving`].
    sequence: u64,
    /// Whether something changed since.
    changed: bool,
}

/// The days that a byte counts towards now: the clock's, and the latest if that is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Days {
    today: Date,
    latest: Date,
}

impl Limits {
    /// Whether there is none: such a link need not be metered.
    #[must_use]
    pub const fn is_unlimited(&self) -> bool {
        self.update_bytes.is_none() && self.day_bytes.is_none() && self.month_bytes.is_none()
    }

    /// Of each limit the lower one.
    #[must_use]
    pub fn stricter(self, other: Self) -> Self {
        let lower = |a: Option<u64>, b: Option<u64>| match (a, b) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        Self {
            update_bytes: lower(self.update_bytes, other.update_bytes),
            day_bytes: lower(self.day_bytes, other.day_bytes),
            month_bytes: lower(self.month_bytes, other.month_bytes),
        }
    }
}

impl From<Budget> for Limits {
    fn from(budget: Budget) -> Self {
        let Budget { update_bytes, day_bytes, month_bytes } = budget;
        Self { update_bytes, day_bytes, month_bytes }
    }
}

impl Left {
    /// As many bytes as are wanted and left: what to reserve.
    #[must_use]
    pub fn at_most(self, wanted: u64) -> u64 {
        match self {
            Self::Unlimited => wanted,
            Self::Bytes(left) => left.min(wanted),
        }
    }
}

impl Meter {
    /// The meter as it was stored; a new one at the first start, when there is none.
    ///
    /// # Errors
    /// If it is damaged or of another version. Then nothing may be spent.
    pub fn load(bytes: Option<&[u8]>) -> Result<Self, MeterError> {
        let Some(bytes) = bytes else { return Ok(Self::default()) };
        let (latest, links) = stored::decode(bytes)?;
        Ok(Self { latest, links, ..Self::default() })
    }

    /// Takes note of the time; whether there is something to store before the next byte is spent.
    ///
    /// To be called before bytes are spent, on whatever wakes a node.
    pub fn tick(&mut self, now: Timestamp) -> bool {
        let days = self.days(now);
        let before = self.today.zip(self.latest).map(|(today, latest)| Days { today, latest });
        if before != Some(days) {
            self.changed |= self.latest != Some(days.latest);
            for account in self.links.values_mut() {
                self.changed |= account.move_on(before, days);
            }
            (self.today, self.latest) = (Some(days.today), Some(days.latest));
        }
        self.changed
    }

    /// Sets bytes aside, all or none. They may be spent once this was stored.
    ///
    /// # Errors
    /// If that passes a limit: nothing is set aside then.
    pub fn reserve(
        &mut self,
        charge: Charge<'_>,
        bytes: u64,
        limits: &Limits,
        now: Timestamp,
    ) -> Result<(), BudgetError> {
        self.tick(now);
        let days = self.days(now);
        if bytes == 0 {
            return Ok(());
        }
        if !self.has_room(charge.link, days) {
            return Err(BudgetError::Links);
        }
        let refused = |period: Period, used: u64, allowed: u64| BudgetError::Exceeded {
            link: charge.link.to_owned(),
            period,
            day: days.latest,
            used,
            asked: bytes,
            allowed,
        };
        let empty = Account::default();
        let account = self.links.get(charge.link).unwrap_or(&empty);
        for (period, used, allowed) in used(account, charge, limits, days) {
            if used.checked_add(bytes).is_none_or(|sum| sum > allowed) {
                return Err(refused(period, used, allowed));
            }
        }
        if !account.has_room(charge.update, days) {
            return Err(BudgetError::Updates { link: charge.link.to_owned() });
        }
        let account = self.links.entry(charge.link.to_owned()).or_default();
        account.reserve(charge.update, bytes, days);
        self.changed = true;
        Ok(())
    }

    /// The file as it must be stored before what was reserved may be spent.
    pub fn save(&mut self) -> Saving {
        self.sequence += 1;
        self.changed = false;
        self.links.values_mut().for_each(Account::saving);
        Saving { bytes: stored::encode(self.latest, &self.links), sequence: self.sequence }
    }

    /// The file was stored and would be there after a power cut: what was reserved before it was
    /// made may be spent. A file that is not the last one that was made says nothing.
    pub fn saved(&mut self, saving: &Saving) {
        if saving.sequence == self.sequence {
            self.links.values_mut().for_each(Account::saved);
        }
    }

    /// Stores the file by a function that returns when it would be there after a power cut.
    ///
    /// # Errors
    /// Those of the function: nothing that was reserved since may be spent then.
    pub fn persist<E>(&mut self, store: impl FnOnce(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let saving = self.save();
        if let Err(error) = store(&saving.bytes) {
            self.changed = true;
            return Err(error);
        }
        self.saved(&saving);
        Ok(())
    }

    /// How many bytes may be spent now.
    #[must_use]
    pub fn ready(&self, charge: Charge<'_>) -> u64 {
        self.links.get(charge.link).map_or(0, |account| account.ready(charge.update))
    }

    /// Takes note of bytes that cross the link. They are counted, whether they were
    /// reserved or not.
    ///
    /// # Errors
    /// If they were reserved but that was not stored (store it, and go on), or were never reserved
    /// (stop using the link), or if the meter has no room for another link (nothing was counted;
    /// nothing could have been reserved either).
    pub fn spend(
        &mut self,
        charge: Charge<'_>,
        bytes: u64,
        now: Timestamp,
    ) -> Result<(), BudgetError> {
        self.tick(now);
        let days = self.days(now);
        let link = || charge.link.to_owned();
        if !self.has_room(charge.link, days) {
            return Err(BudgetError::Links);
        }
        let account = self.links.entry(link()).or_default();
        let spending = account.spend(charge.update, bytes, days);
        self.changed |= spending.over > 0;
        match (spending.over, spending.unsaved) {
            (0, 0) => Ok(()),
            (0, unsaved) => Err(BudgetError::Unsaved { link: link(), bytes: unsaved }),
            (over, _) => Err(BudgetError::Unreserved { link: link(), bytes: over }),
        }
    }

    /// Gives back what was reserved and not spent: at the end of a fetch.
    pub fn release(&mut self, charge: Charge<'_>) {
        if let (Some(today), Some(latest)) = (self.today, self.latest)
            && let Some(account) = self.links.get_mut(charge.link)
        {
            self.changed |= account.release(charge.update, Days { today, latest });
        }
    }

    /// How many bytes may still be reserved.
    #[must_use]
    pub fn left(&self, charge: Charge<'_>, limits: &Limits, now: Timestamp) -> Left {
        let mut then = self.clone();
        then.tick(now);
        let empty = Account::default();
        let account = then.links.get(charge.link).unwrap_or(&empty);
        let rest = used(account, charge, limits, then.days(now))
            .map(|(_, used, allowed)| allowed.saturating_sub(used));
        rest.min().map_or(Left::Unlimited, Left::Bytes)
    }

    /// What crossed a link on this day, in this month and for this update. Times the price of the
    /// link it is the money that was spent: [`Price::cents`](crate::link::Price::cents).
    #[must_use]
    pub fn spent(&self, charge: Charge<'_>, now: Timestamp) -> Spent {
        let mut then = self.clone();
        then.tick(now);
        let days = then.days(now);
        then.links.get(charge.link).map_or_else(Spent::default, |account| {
            let held = account.held();
            Spent {
                update: account.update_bytes(charge.update) - account.held_by(charge.update),
                day: account.day_bytes(days).unwrap_or(0).saturating_sub(held),
                month: account.month_bytes(days).unwrap_or(0).saturating_sub(held),
            }
        })
    }

    /// The latest day that bytes were counted on. A clock that reads earlier than it is or was
    /// wrong.
    #[must_use]
    pub const fn latest_day(&self) -> Option<Date> {
        self.latest
    }

    /// Whether the link is counted, or can be: links without a count this month make room.
    fn has_room(&mut self, link: &str, days: Days) -> bool {
        if self.links.len() >= METER_LINK_COUNT_MAX && !self.links.contains_key(link) {
            self.links.retain(|_, account| !account.is_idle(days));
        }
        self.links.len() < METER_LINK_COUNT_MAX || self.links.contains_key(link)
    }

    fn days(&self, now: Timestamp) -> Days {
        let today = now.to_zoned(TimeZone::UTC).date();
        Days { today, latest: self.latest.map_or(today, |latest| latest.max(today)) }
    }
}

/// Each limit that is set, and how much of it is used; all of it, if that was forgotten.
fn used<'a>(
    account: &'a Account,
    charge: Charge<'a>,
    limits: &'a Limits,
    days: Days,
) -> impl Iterator<Item = (Period, u64, u64)> + 'a {
    let update = limits.update_bytes.filter(|_| charge.update.is_some());
    let limit = |period, used: Option<u64>, allowed: Option<u64>| {
        allowed.map(|allowed| (period, used.unwrap_or(allowed), allowed))
    };
    [
        limit(Period::Update, Some(account.update_bytes(charge.update)), update),
        limit(Period::Day, account.day_bytes(days), limits.day_bytes),
        limit(Period::Month, account.month_bytes(days), limits.month_bytes),
    ]
    .into_iter()
    .flatten()
}
