//! Where two stretches of bytes agree, as bits: runs of them are found 64 bytes at a time.

/// One bit for each byte that agrees.
#[derive(Debug, Default)]
pub(super) struct Agreement {
    words: Vec<u64>,
}

impl Agreement {
    /// Of two stretches of the same length.
    pub(super) fn of(a: &[u8], b: &[u8]) -> Self {
        let words = a.chunks(64).zip(b.chunks(64));
        Self { words: words.map(|(a, b)| word(a, b)).collect() }
    }

    /// How many bytes agree from byte `at` on.
    pub(super) fn run(&self, at: usize) -> usize {
        let mut len = 0;
        loop {
            let ones = (!self.from(at + len)).trailing_zeros() as usize;
            len += ones;
            if ones < 64 {
                return len;
            }
        }
    }

    /// The bits of 64 bytes from byte `at` on, none behind the last.
    pub(super) fn from(&self, at: usize) -> u64 {
        let word = |index: usize| self.words.get(index).copied().unwrap_or(0);
        let (index, shift) = (at / 64, at % 64);
        match shift {
            0 => word(index),
            _ => word(index) >> shift | word(index + 1) << (64 - shift),
        }
    }

    /// Where the next run starts, at byte `at` or behind it.
    pub(super) fn next_run(&self, at: usize) -> Option<usize> {
        let mut index = at / 64;
        let before = index.checked_sub(1).and_then(|last| self.words.get(last));
        let mut before = before.copied().unwrap_or(0);
        let mut kept = !0 << (at % 64);
        while let Some(word) = self.words.get(index).copied() {
            let starts = word & !(word << 1 | before >> 63) & kept;
            if starts != 0 {
                return Some(index * 64 + starts.trailing_zeros() as usize);
            }
            (before, kept) = (word, !0);
            index += 1;
        }
        None
    }
}

/// The bits of up to 64 bytes.
pub(super) fn word(a: &[u8], b: &[u8]) -> u64 {
    if let (Some(a), Some(b)) = (a.as_array(), b.as_array()) {
        return whole_word(a, b);
    }
    let pairs = a.iter().zip(b).enumerate();
    pairs.fold(0, |word, (at, (a, b))| word | u64::from(a == b) << at)
}

/// The bits of 64 bytes, in steps for each of which processors have one instruction for many bytes.
fn whole_word(a: &[u8; 64], b: &[u8; 64]) -> u64 {
    let mut marks = [0; 64];
    for (at, mark) in marks.iter_mut().enumerate() {
        *mark = if a[at] == b[at] { 1_u8 << (at % 8) } else { 0 };
    }
    // The sum of eight bytes ends up in the highest.
    let sum =
        |eight: &[u8; 8]| u64::from_le_bytes(*eight).wrapping_mul(0x0101_0101_0101_0101) >> 56;
    let eights = marks.as_chunks().0.iter().enumerate();
    eights.fold(0, |word, (at, eight)| word | sum(eight) << (8 * at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_say_what_bytes_do() {
        let mut state = 1_u64;
        for len in [0, 1, 7, 8, 63, 64, 65, 127, 128, 129, 1000] {
            let mut next = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                state.to_le_bytes()[7]
            };
            let a: Vec<u8> = (0..len).map(|_| next()).collect();
            let b: Vec<u8> =
                a.iter().map(|a| a ^ if next() % 3 == 0 { next() } else { 0 }).collect();
            let agreement = Agreement::of(&a, &b);
            let same: Vec<bool> = a.iter().zip(&b).map(|(a, b)| a == b).collect();
            let run = |at: usize| same.iter().skip(at).take_while(|same| **same).count();
            for at in 0..len + 2 {
                assert_eq!(agreement.from(at) & 1 == 1, same.get(at) == Some(&true));
                assert_eq!(agreement.run(at), run(at));
                let starts = |at: usize| run(at) >= 1 && (at == 0 || !same[at - 1]);
                assert_eq!(agreement.next_run(at), (at..len).find(|at| starts(*at)));
            }
        }
    }
}
