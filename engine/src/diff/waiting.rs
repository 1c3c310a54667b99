//! Lanes that wait for a byte of the target: a queue with one slot for each byte, since the parse
//! only moves ahead and most lanes wait for a byte that is near.

/// No lane, or no byte.
const NONE: u32 = u32::MAX;

/// Lanes by the byte that they wait for; each waits for one at most.
#[derive(Debug)]
pub(super) struct Waiting {
    /// The last lane that came to wait for each byte.
    last: Vec<u32>,
    /// For each lane, the one that came before it to wait for the same byte.
    before: Vec<u32>,
    /// One bit for each byte, set where lanes wait.
    bits: Vec<u64>,
    /// One bit for each word of `bits`, set where it is not zero.
    words: Vec<u64>,
    /// The first byte that lanes wait for.
    first: u32,
}

impl Waiting {
    /// For lanes over `len` bytes of target.
    pub(super) fn new(len: usize, lanes: usize) -> Self {
        Self {
            last: vec![NONE; len + 1],
            before: vec![NONE; lanes],
            bits: vec![0; len / 64 + 1],
            words: vec![0; len / 64 / 64 + 1],
            first: NONE,
        }
    }

    /// A lane waits for byte `at`, which is at most the target's length.
    pub(super) fn push(&mut self, at: u32, lane: u32) {
        let (byte, word) = (at as usize, at as usize / 64);
        self.before[lane as usize] = std::mem::replace(&mut self.last[byte], lane);
        self.bits[word] |= 1 << (byte % 64);
        self.words[word / 64] |= 1 << (word % 64);
        self.first = self.first.min(at);
    }

    /// The first byte that any lane waits for.
    pub(super) fn first(&self) -> Option<u32> {
        (self.first != NONE).then_some(self.first)
    }

    /// Moves the lanes to `lanes` that wait for byte `at` or one before it, in order of bytes, then
    /// of lanes.
    pub(super) fn take(&mut self, at: u32, lanes: &mut Vec<u32>) {
        while let Some(first) = self.first().filter(|first| *first <= at) {
            let from = lanes.len();
            let mut lane = std::mem::replace(&mut self.last[first as usize], NONE);
            while lane != NONE {
                lanes.push(lane);
                lane = self.before[lane as usize];
            }
            lanes[from..].sort_unstable();
            self.forget(first as usize);
        }
    }

    /// No lane waits any more for the first byte that any waited for.
    fn forget(&mut self, byte: usize) {
        let word = byte / 64;
        self.bits[word] &= !(1 << (byte % 64));
        if self.bits[word] == 0 {
            self.words[word / 64] &= !(1 << (word % 64));
        }
        let ahead = self.words[word / 64..].iter().position(|words| *words != 0);
        self.first = ahead.map_or(NONE, |ahead| {
            let group = word / 64 + ahead;
            let word = group * 64 + self.words[group].trailing_zeros() as usize;
            let byte = word * 64 + self.bits[word].trailing_zeros() as usize;
            u32::try_from(byte).expect("it was pushed as such")
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn lanes_come_out_in_the_order_of_the_bytes_they_wait_for() {
        let mut waiting = Waiting::new(1000, 50);
        let mut expected = BTreeSet::new();
        let mut state = 1_u64;
        for at in 0..=1000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(at);
            let lane = u32::try_from(state >> 33).expect("31 bits") % 50;
            let byte = u32::try_from(at).expect("small") + lane * lane % 170;
            if byte <= 1000 && !expected.iter().any(|(_, known)| *known == lane) {
                waiting.push(byte, lane);
                expected.insert((byte, lane));
            }
            assert_eq!(waiting.first(), expected.first().map(|(byte, _)| *byte));
            if at % 40 != 0 {
                continue;
            }
            let mut lanes = Vec::new();
            waiting.take(u32::try_from(at).expect("small"), &mut lanes);
            let due: Vec<_> =
                expected.iter().copied().take_while(|(byte, _)| u64::from(*byte) <= at).collect();
            assert_eq!(lanes, due.iter().map(|(_, lane)| *lane).collect::<Vec<_>>());
            expected.retain(|lane| !due.contains(lane));
        }
    }
}
