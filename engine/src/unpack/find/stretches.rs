//! Bytes of files that go on elsewhere, as file systems tell.

use std::ops::Range;

use super::blocks::count_max;

/// Where such bytes start and end in the image, in order.
#[derive(Debug)]
pub(super) struct Stretches {
    ranges: Vec<Range<u64>>,
    count_max: usize,
}

impl Stretches {
    /// None yet, of an image of so many bytes.
    pub(super) fn new(image_size: u64) -> Self {
        let count_max = usize::try_from(count_max(image_size)).unwrap_or(usize::MAX);
        Self { ranges: Vec::new(), count_max }
    }

    /// Adds those of a file system, as many as there is memory for; they are to be sorted.
    pub(super) fn add(&mut self, ranges: Vec<Range<u64>>) {
        let room = self.count_max - self.ranges.len();
        self.ranges.extend(ranges.into_iter().take(room));
    }

    /// Puts those that were added in order.
    pub(super) fn sort(&mut self) {
        self.ranges.sort_unstable_by_key(|range| (range.start, range.end));
    }

    /// Where the bytes end that the one at `offset` is of, once they are sorted.
    pub(super) fn of(&self, offset: u64) -> Option<u64> {
        let next = self.ranges.partition_point(|range| range.start <= offset);
        let range = &self.ranges[next.checked_sub(1)?];
        (offset < range.end).then_some(range.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_has_the_end_of_the_stretch_it_lies_in() {
        let mut stretches = Stretches::new(1000);
        stretches.add(vec![100..200, 10..20]);
        stretches.add(vec![20..30, 500..600]);
        stretches.sort();
        let ends = [9, 10, 19, 20, 29, 30, 99, 100, 199, 200, 599, 600].map(|at| stretches.of(at));
        let expected = [
            None,
            Some(20),
            Some(20),
            Some(30),
            Some(30),
            None,
            None,
            Some(200),
            Some(200),
            None,
            Some(600),
            None,
        ];
        assert_eq!(ends, expected);
    }
}
