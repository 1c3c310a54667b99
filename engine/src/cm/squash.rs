//! Chances and their logits: `squash` and `stretch`, in integers, from tables.
//!
//! A chance is in 65536ths, a logit in 256ths of a nat. Predictions are mixed as logits
//! (M. Mahoney, "Data Compression Explained", section 4.3.2).

/// Largest logit, in 256ths of a nat: 11 nats are a chance of 65535 in 65536.
pub(super) const LOGIT_MAX: i32 = 2815;

/// The chance of a logit, from 1 to 65535.
#[inline]
pub(super) fn squash(logit: i32) -> u32 {
    let place = logit.clamp(-LOGIT_MAX, LOGIT_MAX) + LOGIT_MAX;
    CHANCES[place.unsigned_abs() as usize].into()
}

/// The logit of a chance from 0 to 65535.
#[inline]
pub(super) fn stretch(chance: u32) -> i16 {
    LOGITS[(chance >> 4 & 4095) as usize]
}

/// `65536 / (1 + exp(-i / 4))`, rounded, for `i` from 0.
const LOGISTIC: [u16; 45] = [
    32768, 36843, 40793, 44511, 47911, 50941, 53581, 55834, 57724, 59287, 60565, 61598, 62428,
    63090, 63615, 64030, 64357, 64614, 64816, 64974, 65097, 65194, 65269, 65328, 65374, 65410,
    65438, 65459, 65476, 65489, 65500, 65508, 65514, 65519, 65523, 65526, 65528, 65530, 65531,
    65532, 65533, 65534, 65534, 65535, 65535,
];

const LOGIT_COUNT: usize = 2 * LOGIT_MAX.unsigned_abs() as usize + 1;

/// The chance of each logit, the least first: straight lines between the values of [`LOGISTIC`].
#[expect(clippy::cast_possible_truncation, reason = "a chance is below 65536")]
static CHANCES: [u16; LOGIT_COUNT] = {
    let middle = LOGIT_COUNT / 2;
    let mut table = [0; LOGIT_COUNT];
    let mut size = 0;
    while size <= middle {
        let (index, part) = (size >> 6, size as u32 & 63);
        let (low, high) = (LOGISTIC[index] as u32, LOGISTIC[index + 1] as u32);
        let chance = (low * (64 - part) + high * part + 32) >> 6;
        table[middle + size] = chance as u16;
        table[middle - size] = (65536 - chance) as u16;
        size += 1;
    }
    table
};

/// For every sixteenth chance, and 8 above: the least logit that [`squash`] takes to it or above.
#[expect(clippy::cast_possible_truncation, reason = "a logit is below 2816")]
static LOGITS: [i16; 4096] = {
    let mut table = [0; 4096];
    let mut place = 0;
    let mut index = 0;
    while index < 4096 {
        while place < LOGIT_COUNT && (CHANCES[place] as usize) < 16 * index + 8 {
            place += 1;
        }
        table[index] = (place as i32 - LOGIT_MAX) as i16;
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretch_undoes_squash_to_within_a_step_of_its_table() {
        for logit in -LOGIT_MAX..=LOGIT_MAX {
            let chance = squash(logit);
            assert!((1..65536).contains(&chance));
            let back = squash(stretch(chance).into());
            assert!(back.abs_diff(chance) <= 64, "{logit}: {chance}, {back}");
        }
    }
}
