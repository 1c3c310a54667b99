//! How often a frame makes the device read a region's headers: what hostile copies could demand
//! without end is counted before any is made.

/// Regions that are kept loaded at once.
pub(super) const LOADED_MAX: usize = 4;

/// Counts loads: a region must be loaded when a copy touches it that is not among the last four.
#[derive(Debug, Default)]
pub(crate) struct Loads {
    /// Indices of regions, the last used first.
    recent: Vec<usize>,
    /// Loads so far.
    pub(crate) count: u64,
}

impl Loads {
    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.recent.clear();
        self.count = 0;
    }

    /// A copy touches the region with this index.
    pub(crate) fn touch(&mut self, index: usize) {
        if let Some(place) = self.recent.iter().position(|recent| *recent == index) {
            self.recent[..=place].rotate_right(1);
            return;
        }
        self.recent.truncate(LOADED_MAX - 1);
        self.recent.insert(0, index);
        self.count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn region_is_loaded_again_once_four_others_were_used() {
        let mut loads = Loads::default();
        let mut count = |indices: &[usize]| {
            indices.iter().for_each(|index| loads.touch(*index));
            loads.count
        };
        assert_eq!(count(&[0, 0, 1, 2, 3, 0, 3, 2, 1]), 4);
        assert_eq!(count(&[4]), 5);
        assert_eq!(count(&[3, 2, 1]), 5);
        assert_eq!(count(&[0]), 6);
    }
}
