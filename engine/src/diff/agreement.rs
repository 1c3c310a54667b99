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

    /// Whether byte `at` agrees.
    pub(super) fn at(&self, at: usize) -> bool {
        self.words.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
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
fn word(a: &[u8], b: &[u8]) -> u64 {
    let eights = a.chunks_exact(8).zip(b.chunks_exact(8));
    let (rest_a, rest_b) = (a.chunks_exact(8).remainder(), b.chunks_exact(8).remainder());
    let mut word = 0;
    let mut count = 0;
    for (a, b) in eights {
        let number = |bytes: &[u8]| u64::from_le_bytes(*bytes.first_chunk().expect("eight bytes"));
        word |= zero_bytes(number(a) ^ number(b)) << count;
        count += 8;
    }
    for (a, b) in rest_a.iter().zip(rest_b) {
        word |= u64::from(a == b) << count;
        count += 1;
    }
    word
}

/// One bit for each byte that is zero, the lowest first.
fn zero_bytes(bytes: u64) -> u64 {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    // The high bit of a byte stays clear where neither it nor what carries into it is set.
    let zero = !(((bytes & LOW) + LOW) | bytes | LOW);
    // Moves bit 8 * i to bit 56 + i.
    (zero >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
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
                assert_eq!(agreement.at(at), same.get(at) == Some(&true));
                assert_eq!(agreement.run(at), run(at));
                let starts = |at: usize| run(at) >= 1 && (at == 0 || !same[at - 1]);
                assert_eq!(agreement.next_run(at), (at..len).find(|at| starts(*at)));
            }
        }
    }
}
