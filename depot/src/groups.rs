//! Sets of groups of a blob, as ranges: what is there, claimed, asked for.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

/// A set of groups. Ranges in it are neither empty nor adjacent.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Groups {
    /// End of each range by its start.
    ranges: BTreeMap<u64, u64>,
}

impl Groups {
    /// All groups of a range.
    #[must_use]
    pub fn of(range: Range<u64>) -> Self {
        let mut groups = Self::default();
        groups.insert(range);
        groups
    }

    /// Adds a range. Costs its overlaps.
    pub fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let (mut start, mut end) = (range.start, range.end);
        // The last range that begins at or before our end may overlap or touch; so may those
        // before it.
        while let Some((&before, &until)) = self.ranges.range(..=end).next_back() {
            if until < start {
                break;
            }
            start = start.min(before);
            end = end.max(until);
            self.ranges.remove(&before);
        }
        self.ranges.insert(start, end);
    }

    /// Takes a range away.
    pub fn remove(&mut self, range: &Range<u64>) {
        if range.is_empty() {
            return;
        }
        while let Some((&start, &end)) = self.ranges.range(..range.end).next_back() {
            if end <= range.start {
                break;
            }
            self.ranges.remove(&start);
            if end > range.end {
                self.ranges.insert(range.end, end);
            }
            if start < range.start {
                self.ranges.insert(start, range.start);
            }
        }
    }

    /// Adds all of another set.
    pub fn extend(&mut self, other: &Self) {
        other.iter().for_each(|range| self.insert(range));
    }

    /// Takes all of another set away.
    pub fn subtract(&mut self, other: &Self) {
        other.iter().for_each(|range| self.remove(&range));
    }

    /// Leaves the first so many ranges.
    pub fn truncate(&mut self, range_count: usize) {
        while self.ranges.len() > range_count {
            self.ranges.pop_last();
        }
    }

    /// The ranges in order.
    pub fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.ranges.iter().map(|(&start, &end)| start..end)
    }

    /// The parts of `window` that are in the set.
    pub fn within(&self, window: Range<u64>) -> impl Iterator<Item = Range<u64>> + '_ {
        let before = self.ranges.range(..window.start).next_back();
        let inside = self.ranges.range(window.start..window.end.max(window.start));
        before.into_iter().chain(inside).filter_map(move |(&start, &end)| {
            let part = start.max(window.start)..end.min(window.end);
            (!part.is_empty()).then_some(part)
        })
    }

    /// The parts of `window` that are not in the set.
    pub fn gaps(&self, window: Range<u64>) -> impl Iterator<Item = Range<u64>> + '_ {
        let mut at = window.start;
        let end = window.end;
        let parts = self.within(window).map(Some).chain(std::iter::once(None));
        parts.filter_map(move |part| {
            let gap = at..part.as_ref().map_or(end, |part| part.start);
            if let Some(part) = part {
                at = part.end;
            }
            (!gap.is_empty()).then_some(gap)
        })
    }

    /// Whether a group is in the set.
    #[must_use]
    pub fn contains(&self, group: u64) -> bool {
        self.ranges.range(..=group).next_back().is_some_and(|(_, &end)| end > group)
    }

    /// Whether all of a range is in the set.
    #[must_use]
    pub fn covers(&self, range: &Range<u64>) -> bool {
        let found = self.ranges.range(..=range.start).next_back();
        range.is_empty() || found.is_some_and(|(_, &end)| end >= range.end)
    }

    /// How many groups there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.iter().map(|range| range.end - range.start).sum()
    }

    /// How many ranges there are.
    #[must_use]
    pub fn range_count(&self) -> usize {
        self.ranges.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }
}

impl FromIterator<Range<u64>> for Groups {
    fn from_iter<I: IntoIterator<Item = Range<u64>>>(ranges: I) -> Self {
        let mut groups = Self::default();
        ranges.into_iter().for_each(|range| groups.insert(range));
        groups
    }
}

impl fmt::Debug for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn set(groups: &Groups) -> BTreeSet<u64> {
        groups.iter().flatten().collect()
    }

    proptest! {
        #[test]
        fn they_are_what_a_plain_set_is(
            steps in prop::collection::vec((any::<bool>(), 0_u64..40, 0_u64..12), 1..40),
            window in (0_u64..45, 0_u64..45),
        ) {
            let (mut groups, mut plain) = (Groups::default(), BTreeSet::new());
            for (adds, start, len) in steps {
                let range = start..start + len;
                if adds {
                    groups.insert(range.clone());
                    plain.extend(range);
                } else {
                    groups.remove(&range);
                    plain.retain(|group| !range.contains(group));
                }
                prop_assert_eq!(set(&groups), plain.clone());
                let ranges: Vec<_> = groups.iter().collect();
                prop_assert!(ranges.iter().all(|range| !range.is_empty()));
                prop_assert!(ranges.windows(2).all(|two| two[0].end < two[1].start));
            }
            let window = window.0..window.1;
            let inside: BTreeSet<u64> = groups.within(window.clone()).flatten().collect();
            let gaps: BTreeSet<u64> = groups.gaps(window.clone()).flatten().collect();
            let (there, not): (BTreeSet<u64>, BTreeSet<u64>) =
                window.clone().partition(|group| plain.contains(group));
            prop_assert_eq!(inside, there);
            prop_assert_eq!(gaps, not);
            prop_assert_eq!(groups.covers(&window), window.clone().all(|g| plain.contains(&g)));
            prop_assert_eq!(groups.count(), plain.len() as u64);
            prop_assert!((0..60).all(|group| groups.contains(group) == plain.contains(&group)));
            let first: Groups = groups.iter().take(2).collect();
            groups.truncate(2);
            prop_assert_eq!(groups, first);
        }
    }
}
