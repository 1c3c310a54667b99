//! What the parse thinks things cost to code, in 1/32 of a bit.

/// Prices for a coder. Measured on executables of three architectures: moving any of them by a
/// fifth changes patches by less than 1 %.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Price {
    /// A literal.
    pub(super) literal: u64,
    /// A byte of a copy that agrees with the source.
    pub(super) matched: u64,
    /// The first byte of an island: its place and its difference.
    pub(super) island: u64,
    /// A further byte of an island.
    pub(super) difference: u64,
    /// A copy along another diagonal than the last.
    pub(super) enter: u64,
    /// A copy along the same diagonal as the last, behind literals.
    pub(super) resume: u64,
}

impl Price {
    /// Prices under the zstd coder.
    pub(super) const ZSTD: Self = Self {
        literal: 6 * 32,
        matched: 1,
        island: 13 * 32,
        difference: 8 * 32,
        enter: 36 * 32,
        resume: 26 * 32,
    };

    /// Prices under the coder `cm`.
    pub(super) const CM: Self = Self {
        literal: 5 * 32,
        matched: 1,
        island: 11 * 32,
        difference: 6 * 32,
        enter: 28 * 32,
        resume: 18 * 32,
    };

    /// What one byte of a copy costs.
    pub(super) fn byte(&self, matched: bool, missed_before: bool) -> u64 {
        match (matched, missed_before) {
            (true, _) => self.matched,
            (false, false) => self.island,
            (false, true) => self.difference,
        }
    }
}
