//! What one link has been charged with: by day, by month, by update, and what of it is only held.

use std::collections::BTreeMap;

use jiff::civil::Date;
use neap_engine::digest::Digest;

use super::Days;
use crate::limits::{METER_DAY_COUNT_MAX, METER_MONTH_COUNT_MAX, METER_UPDATE_COUNT_MAX};

/// Counts of a link. They include what is held: reserved, and not spent yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Account {
    /// Bytes by day.
    pub(super) days: BTreeMap<Date, u64>,
    /// Bytes by the first day of the month.
    pub(super) months: BTreeMap<Date, u64>,
    /// Bytes by update.
    pub(super) updates: BTreeMap<Digest, Update>,
    /// Not stored: after a kill what was held is spent.
    holds: BTreeMap<Option<Digest>, Hold>,
}

/// What an update has cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Update {
    pub(super) bytes: u64,
    /// First day of the last month that it cost anything in.
    pub(super) month: Date,
}

/// What is reserved and not spent, by how far it has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Hold {
    /// Not in any file.
    pending: u64,
    /// In a file that is being stored.
    saving: u64,
    /// In a file that was stored.
    ready: u64,
}

/// What was wrong about bytes that crossed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spending {
    /// Reserved, but not stored.
    pub(super) unsaved: u64,
    /// Not reserved.
    pub(super) over: u64,
}

impl Hold {
    fn sum(self) -> u64 {
        self.pending.saturating_add(self.saving).saturating_add(self.ready)
    }
}

impl Account {
    /// The most that was counted on one of these days; nothing if that is not known any more.
    pub(super) fn day_bytes(&self, days: Days) -> Option<u64> {
        most(&self.days, [days.today, days.latest], METER_DAY_COUNT_MAX)
    }

    /// The most that was counted in the month of one of these days.
    pub(super) fn month_bytes(&self, days: Days) -> Option<u64> {
        most(&self.months, months(days), METER_MONTH_COUNT_MAX)
    }

    pub(super) fn update_bytes(&self, update: Option<Digest>) -> u64 {
        update.and_then(|update| self.updates.get(&update)).map_or(0, |update| update.bytes)
    }

    /// All that is held.
    pub(super) fn held(&self) -> u64 {
        self.holds.values().fold(0, |sum, hold| sum.saturating_add(hold.sum()))
    }

    pub(super) fn held_by(&self, update: Option<Digest>) -> u64 {
        self.holds.get(&update).map_or(0, |hold| hold.sum())
    }

    pub(super) fn ready(&self, update: Option<Digest>) -> u64 {
        self.holds.get(&update).map_or(0, |hold| hold.ready)
    }

    /// Whether the update is known, or could be: those of earlier months make room.
    pub(super) fn has_room(&self, update: Option<Digest>, days: Days) -> bool {
        update.is_none_or(|update| self.updates.contains_key(&update))
            || self.updates.len() < METER_UPDATE_COUNT_MAX
            || self.forgettable(days).is_some()
    }

    /// As it was stored.
    pub(super) fn new(
        days: BTreeMap<Date, u64>,
        months: BTreeMap<Date, u64>,
        updates: BTreeMap<Digest, Update>,
    ) -> Self {
        Self { days, months, updates, holds: BTreeMap::new() }
    }

    /// Whether nothing was counted since an earlier month.
    pub(super) fn is_idle(&self, days: Days) -> bool {
        let month = days.latest.first_of_month();
        self.holds.is_empty() && self.months.keys().next_back().is_none_or(|last| *last < month)
    }

    /// Counts bytes and holds them.
    pub(super) fn reserve(&mut self, update: Option<Digest>, bytes: u64, days: Days) {
        self.count(update, bytes, days);
        let hold = self.holds.entry(update).or_default();
        hold.pending = hold.pending.saturating_add(bytes);
    }

    /// What is pending goes into the file that is made now.
    pub(super) fn saving(&mut self) {
        for hold in self.holds.values_mut() {
            hold.saving = hold.saving.saturating_add(std::mem::take(&mut hold.pending));
        }
    }

    /// That file was stored.
    pub(super) fn saved(&mut self) {
        for hold in self.holds.values_mut() {
            hold.ready = hold.ready.saturating_add(std::mem::take(&mut hold.saving));
        }
    }

    /// Takes bytes from what is held, the stored first, and counts those that were not.
    pub(super) fn spend(&mut self, update: Option<Digest>, bytes: u64, days: Days) -> Spending {
        let mut rest = bytes;
        let mut take = |from: &mut u64| {
            let taken = rest.min(*from);
            *from -= taken;
            rest -= taken;
            taken
        };
        let mut unsaved = 0;
        if let Some(hold) = self.holds.get_mut(&update) {
            take(&mut hold.ready);
            unsaved = take(&mut hold.saving) + take(&mut hold.pending);
            if hold.sum() == 0 {
                self.holds.remove(&update);
            }
        }
        self.count(update, rest, days);
        Spending { unsaved, over: rest }
    }

    /// Takes back what is held of these days; what it was counted towards before stays counted.
    pub(super) fn release(&mut self, update: Option<Digest>, days: Days) -> bool {
        let Some(hold) = self.holds.remove(&update) else { return false };
        let less = |count: Option<&mut u64>| {
            if let Some(count) = count {
                *count = count.saturating_sub(hold.sum());
            }
        };
        distinct([days.today, days.latest]).for_each(|day| less(self.days.get_mut(&day)));
        distinct(months(days)).for_each(|month| less(self.months.get_mut(&month)));
        less(
            update.and_then(|update| self.updates.get_mut(&update)).map(|update| &mut update.bytes),
        );
        true
    }

    /// What is held counts towards the new days as well, and must be stored again.
    ///
    /// Not towards a day or month that something was counted on before, or that was forgotten: it
    /// might pass a limit there. Then it is held no longer, and stays counted where it was.
    pub(super) fn move_on(&mut self, before: Option<Days>, days: Days) -> bool {
        let held = self.held();
        if held == 0 {
            return false;
        }
        let known = self.day_bytes(days).is_some() && self.month_bytes(days).is_some();
        let new = |now: [Date; 2], before: Option<[Date; 2]>| {
            distinct(now).filter(move |day| before.is_none_or(|before| !before.contains(day)))
        };
        let (of_days, of_months) = (
            new([days.today, days.latest], before.map(|days| [days.today, days.latest])),
            new(months(days), before.map(months)),
        );
        let (of_days, of_months) = (of_days.collect::<Vec<_>>(), of_months.collect::<Vec<_>>());
        let used = of_days.iter().any(|day| self.days.contains_key(day))
            || of_months.iter().any(|month| self.months.contains_key(month));
        if used || !known {
            self.holds.clear();
            return true;
        }
        of_days.iter().for_each(|day| add(&mut self.days, *day, held, METER_DAY_COUNT_MAX));
        of_months.iter().for_each(|day| add(&mut self.months, *day, held, METER_MONTH_COUNT_MAX));
        for hold in self.holds.values_mut() {
            *hold = Hold { pending: hold.sum(), ..Hold::default() };
        }
        true
    }

    /// Counts bytes towards the days, their months and the update.
    fn count(&mut self, update: Option<Digest>, bytes: u64, days: Days) {
        if bytes == 0 {
            return;
        }
        for day in distinct([days.today, days.latest]) {
            add(&mut self.days, day, bytes, METER_DAY_COUNT_MAX);
        }
        for month in distinct(months(days)) {
            add(&mut self.months, month, bytes, METER_MONTH_COUNT_MAX);
        }
        let Some(update) = update.filter(|update| self.has_room(Some(*update), days)) else {
            return;
        };
        if !self.updates.contains_key(&update)
            && self.updates.len() >= METER_UPDATE_COUNT_MAX
            && let Some(earliest) = self.forgettable(days)
        {
            self.updates.remove(&earliest);
        }
        let month = days.latest.first_of_month();
        let known = self.updates.entry(update).or_insert(Update { bytes: 0, month });
        *known = Update { bytes: known.bytes.saturating_add(bytes), month };
    }

    /// The update that has cost nothing for longest, if that is since an earlier month.
    fn forgettable(&self, days: Days) -> Option<Digest> {
        let month = days.latest.first_of_month();
        let idle = self.updates.iter().filter(|(digest, update)| {
            update.month < month && !self.holds.contains_key(&Some(**digest))
        });
        idle.min_by_key(|(_, update)| update.month).map(|(digest, _)| *digest)
    }
}

fn months(days: Days) -> [Date; 2] {
    [days.today.first_of_month(), days.latest.first_of_month()]
}

/// Each of two days once.
fn distinct([first, second]: [Date; 2]) -> impl Iterator<Item = Date> {
    std::iter::once(first).chain((second != first).then_some(second))
}

/// The higher count of two days. A day before all of a full table may have been forgotten.
fn most(counts: &BTreeMap<Date, u64>, days: [Date; 2], count_max: usize) -> Option<u64> {
    let full = counts.len() >= count_max;
    let first = counts.keys().next();
    let forgotten = |day: &Date| full && first.is_some_and(|first| day < first);
    let known = !days.iter().any(forgotten);
    known.then(|| days.iter().filter_map(|day| counts.get(day).copied()).max().unwrap_or(0))
}

/// Counts bytes towards a day, and forgets the earliest day if there are too many.
fn add(counts: &mut BTreeMap<Date, u64>, day: Date, bytes: u64, count_max: usize) {
    let count = counts.entry(day).or_default();
    *count = count.saturating_add(bytes);
    if counts.len() > count_max {
        counts.pop_first();
    }
}
