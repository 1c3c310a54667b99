//! Chances and their logits: `squash` and `stretch`, in integers.
//!
//! A chance is in 65536ths, a logit in 256ths of a nat. Predictions are mixed as logits
//! (M. Mahoney, "Data Compression Explained", section 4.3.2).

/// Largest logit, in 256ths of a nat: 11 nats are a chance of 65535 in 65536.
pub(super) const LOGIT_MAX: i32 = 2815;

/// `65536 / (1 + exp(-i / 4))`, rounded, for `i` from 0.
const LOGISTIC: [u16; 45] = [
    32768, 36843, 40793, 44511, 47911, 50941, 53581, 55834, 57724, 59287, 60565, 61598, 62428,
    63090, 63615, 64030, 64357, 64614, 64816, 64974, 65097, 65194, 65269, 65328, 65374, 65410,
    65438, 65459, 65476, 65489, 65500, 65508, 65514, 65519, 65523, 65526, 65528, 65530, 65531,
    65532, 65533, 65534, 65534, 65535, 65535,
];

/// The chance of a logit, from 1 to 65535: straight lines between the values of [`LOGISTIC`].
pub(super) fn squash(logit: i32) -> u32 {
    let logit = logit.clamp(-LOGIT_MAX, LOGIT_MAX);
    let size = logit.unsigned_abs();
    let (index, part) = ((size >> 6) as usize, size & 63);
    let (low, high) = (u32::from(LOGISTIC[index]), u32::from(LOGISTIC[index + 1]));
    let chance = (low * (64 - part) + high * part + 32) >> 6;
    if logit < 0 { 65536 - chance } else { chance }
}

/// Logits of chances, tabled: 8 KiB.
#[derive(Debug)]
pub(super) struct Stretch(Box<[i16; 4096]>);

impl Stretch {
    /// For every sixteenth chance, and 8 above: the least logit that [`squash`] takes to it or
    /// above.
    pub(super) fn new() -> Self {
        let mut table = Box::new([0; 4096]);
        let mut logit = -2816_i16;
        for (chance, entry) in (8..).step_by(16).zip(table.iter_mut()) {
            while squash(logit.into()) < chance {
                logit += 1;
            }
            *entry = logit;
        }
        Self(table)
    }

    /// The logit of a chance from 0 to 65535.
    #[inline]
    pub(super) fn of(&self, chance: u32) -> i32 {
        self.0[(chance >> 4 & 4095) as usize].into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretch_undoes_squash_to_within_a_step_of_its_table() {
        let stretch = Stretch::new();
        for logit in -LOGIT_MAX..=LOGIT_MAX {
            let chance = squash(logit);
            assert!((1..65536).contains(&chance));
            let back = squash(stretch.of(chance));
            assert!(back.abs_diff(chance) <= 64, "{logit}: {chance}, {back}");
        }
    }
}
