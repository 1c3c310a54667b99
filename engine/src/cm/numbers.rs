//! Numbers of any size: how many bits they have, then the bits, each in mixed contexts.

use super::decide::{Decider, hash};
use super::range::Coder;

/// Contexts of a number.
const CONTEXTS: usize = 5;

/// Codes numbers.
#[derive(Debug)]
pub(super) struct Numbers {
    sizes: Decider<CONTEXTS, 1, { 1 << 14 }, 64>,
    bits: Decider<CONTEXTS, 1, { 1 << 14 }, 64>,
}

impl Numbers {
    pub(super) fn new() -> Self {
        Self { sizes: Decider::new(), bits: Decider::new() }
    }

    /// Codes `value` of kind `kind` (less than 16), in contexts that are hashes.
    pub(super) fn code<C: Coder>(
        &mut self,
        coder: &mut C,
        kind: usize,
        contexts: [u32; CONTEXTS],
        value: u64,
    ) -> u64 {
        let size = 64 - value.leading_zeros();
        // The count of bits, in unary: small ones are the rule.
        let mut coded = 0;
        while coded < 64 {
            let step = contexts.map(|context| hash(&[context, coded]));
            if self.sizes.code(coder, &step, kind << 2 | (coded as usize / 4).min(3), size == coded)
            {
                break;
            }
            coded += 1;
        }
        if coded < 2 {
            return coded.into();
        }
        let mut made = 1_u64;
        for at in (0..coded - 1).rev() {
            // Below the top six bits there is little to learn but the whole number again.
            let known = u32::try_from(made & 0xffff_ffff).unwrap_or(0);
            let wide = if made < 64 { known } else { 64 };
            let step = [
                hash(&[contexts[0], coded, known]),
                hash(&[contexts[1], coded, wide, at]),
                hash(&[contexts[2], coded, wide, at]),
                hash(&[contexts[3], coded, known]),
                hash(&[contexts[4], coded, wide, at]),
            ];
            let bit = value >> at & 1 == 1;
            let bit = self.bits.code(coder, &step, kind << 2 | (at as usize / 4).min(3), bit);
            made = made << 1 | u64::from(bit);
        }
        made
    }
}
