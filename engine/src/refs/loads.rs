//! How often a frame makes the device load a region, and what it then goes through: what hostile
//! copies could demand without end is counted before any is made.

use super::map::Map;
use crate::error::FormatError;
use crate::format::bounded;
use crate::limits::{REGION_LOADS_MAX, REGION_LOOKS_MAX};

/// Regions that are kept loaded at once.
pub(super) const LOADED_MAX: usize = 4;

/// Counts loads: a region must be loaded when a copy touches it that is not among the last four.
/// Each load looks at all copies of the frame that its region's map is made of.
#[derive(Debug, Default)]
pub(crate) struct Loads {
    /// Indices of regions, the last used first.
    recent: Vec<usize>,
    /// Per region its loads, and the copies of its map, so far.
    regions: Vec<(u32, u32)>,
    /// Loads so far.
    count: u64,
    /// Copies that these loads look at: the sum of the products of `regions`.
    looks: u64,
}

impl Loads {
    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.recent.clear();
        self.regions.clear();
        (self.count, self.looks) = (0, 0);
    }

    /// A copy of `len` bytes touches the region with this index.
    ///
    /// # Errors
    /// If that makes too many loads, or loads that look at too many copies.
    pub(crate) fn touch(&mut self, index: usize, len: u64) -> Result<(), FormatError> {
        if self.regions.len() <= index {
            self.regions.resize(index + 1, (0, 0));
        }
        let (loads, copies) = &mut self.regions[index];
        if len >= Map::COPY_LEN_MIN {
            *copies += 1;
            self.looks += u64::from(*loads);
        }
        if let Some(place) = self.recent.iter().position(|recent| *recent == index) {
            self.recent[..=place].rotate_right(1);
        } else {
            self.recent.truncate(LOADED_MAX - 1);
            self.recent.insert(0, index);
            *loads += 1;
            self.count += 1;
            self.looks += u64::from(*copies);
        }
        bounded("loads of regions", self.count, 0, REGION_LOADS_MAX)?;
        bounded("copies that loads of regions look at", self.looks, 0, REGION_LOOKS_MAX)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: u64 = Map::COPY_LEN_MIN;

    fn touched(touches: impl IntoIterator<Item = (usize, u64)>) -> Result<Loads, FormatError> {
        let mut loads = Loads::default();
        touches.into_iter().try_for_each(|(index, len)| loads.touch(index, len))?;
        Ok(loads)
    }

    #[test]
    fn region_is_loaded_again_once_four_others_were_used() {
        let count = |indices: &[usize]| {
            touched(indices.iter().map(|index| (*index, 1))).map(|loads| loads.count)
        };
        assert_eq!(count(&[0, 0, 1, 2, 3, 0, 3, 2, 1]), Ok(4));
        assert_eq!(count(&[0, 0, 1, 2, 3, 0, 3, 2, 1, 4]), Ok(5));
        assert_eq!(count(&[0, 0, 1, 2, 3, 0, 3, 2, 1, 4, 3, 2, 1]), Ok(5));
        assert_eq!(count(&[0, 0, 1, 2, 3, 0, 3, 2, 1, 4, 3, 2, 1, 0]), Ok(6));
    }

    #[test]
    fn each_load_looks_at_all_long_copies_of_its_region() {
        let looks =
            |touches: &[(usize, u64)]| touched(touches.iter().copied()).map(|loads| loads.looks);
        // One load: two copies, before and behind it, and a short one that says nothing.
        assert_eq!(looks(&[(7, LONG), (7, LONG - 1), (7, LONG)]), Ok(2));
        // Loaded twice, once in front of each of three copies of all regions but the last.
        let round = [(0, LONG), (1, LONG), (2, LONG), (3, LONG), (4, LONG - 1)];
        assert_eq!(looks(&[round, round].concat()), Ok(4 * 2 * 2));
    }

    #[test]
    fn loads_that_look_at_one_copy_too_many_are_refused() {
        // Region 0 is loaded by each of these rounds, and its map is of all their long copies.
        let rounds = 2048;
        let long = REGION_LOOKS_MAX / rounds / rounds;
        let round = |long: u64| {
            let long = (0..long).map(|_| (0, LONG));
            long.chain([1, 2, 3, 4].map(|region| (region, 1)))
        };
        let frame = |more| (1..rounds).flat_map(move |_| round(long)).chain(round(long + more));
        assert_eq!(touched(frame(0)).map(|loads| loads.looks), Ok(REGION_LOOKS_MAX));
        let refused = FormatError::OutOfBounds {
            field: "copies that loads of regions look at",
            value: REGION_LOOKS_MAX + rounds,
            min: 0,
            max: REGION_LOOKS_MAX,
        };
        assert_eq!(touched(frame(1)).map(|loads| loads.looks), Err(refused));
    }

    #[test]
    fn one_load_more_than_a_frame_may_make_is_refused() {
        let frame = |loads| (0..loads).map(|load| (load % 5, 1));
        assert_eq!(touched(frame(16384)).map(|loads| loads.count), Ok(REGION_LOADS_MAX));
        assert!(touched(frame(16385)).is_err());
    }
}
