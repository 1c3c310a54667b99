//! Segments: which bytes of the target come from where.

/// A stretch of the target and where its bytes come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Segment {
    /// Where it starts in the target, in bytes.
    pub(super) target: u64,
    /// Its length, in bytes.
    pub(super) len: u64,
    /// Where its bytes come from.
    pub(super) from: From,
}

/// Where the bytes of a segment come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum From {
    /// The source, `diagonal` bytes further on than in the target; islands may differ.
    Source {
        /// Source offset minus target offset.
        diagonal: i64,
    },
    /// They are all zero.
    Zeros,
}

impl Segment {
    /// The byte behind the last.
    #[must_use]
    pub(super) fn end(&self) -> u64 {
        self.target + self.len
    }

    /// The same segment in parts of `len` bytes, the last one shorter.
    pub(super) fn parts(self, len: u64) -> impl Iterator<Item = Self> {
        (0..self.len.div_ceil(len)).map(move |index| {
            let target = self.target + index * len;
            Self { target, len: len.min(self.end() - target), from: self.from }
        })
    }
}

/// How many bytes two slices have in common from the front.
pub(super) fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let word = |bytes: &[u8]| u64::from_le_bytes(*bytes.first_chunk().expect("eight bytes"));
    let mut len = 0;
    for (a, b) in a.chunks_exact(8).zip(b.chunks_exact(8)) {
        let differing = word(a) ^ word(b);
        if differing != 0 {
            return len + differing.trailing_zeros() as usize / 8;
        }
        len += 8;
    }
    len + a[len..].iter().zip(&b[len..]).take_while(|(a, b)| a == b).count()
}

/// How many bytes two slices have in common from the back.
pub(super) fn common_suffix(a: &[u8], b: &[u8]) -> usize {
    let pairs = a.rchunks_exact(64).zip(b.rchunks_exact(64));
    let whole = pairs.take_while(|(a, b)| a == b).count() * 64;
    let (a, b) = (&a[..a.len() - whole], &b[..b.len() - whole]);
    whole + a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count()
}
