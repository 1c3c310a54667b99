//! Slices: parts of a blob with the pairs of the tree that prove them, as one peer sends them to
//! another. The bytes are those of a Bao slice over groups of 16 KiB without its length (the
//! `bao-tree` crate, which a test compares): down the tree, the pair of each node that has any of
//! what is asked for, then the left and then the right of it, and groups as they are.
//!
//! [`Steps`] is the order of what is sent; [`Splitter`] takes the bytes apart again, for a
//! `neap_depot::partial` that verifies what it keeps; [`Decoder`] gives nothing that it has not
//! verified against the digest.

use std::fmt;

use neap_depot::limits::GROUP_LEN;
use neap_depot::tree::{self, PAIR_LEN, Subtree};
use neap_engine::digest::Digest;

use crate::groups::Groups;

/// One piece of a slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The pair of this subtree: 64 bytes.
    Pair(Subtree),
    /// A group.
    Group {
        /// Its number.
        index: u64,
        /// Its length: 16 KiB, but for the last of a blob.
        len: usize,
    },
}

impl Step {
    /// How many bytes it is.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Self::Pair(_) => PAIR_LEN,
            Self::Group { len, .. } => *len,
        }
    }
}

/// The pieces of a slice in the order in which they are sent.
#[derive(Debug, Clone)]
pub struct Steps {
    open: Vec<Subtree>,
    wanted: Groups,
    len: u64,
}

/// Something verified.
#[derive(Debug, PartialEq, Eq)]
pub enum Verified<'a> {
    /// The pair of the subtree that has `groups` groups from the group `first`.
    Pair {
        /// The first group below it.
        first: u64,
        /// How many groups are below it.
        groups: u64,
        /// Its bytes.
        pair: &'a [u8; PAIR_LEN],
    },
    /// A group.
    Group {
        /// Its number.
        index: u64,
        /// Its bytes.
        bytes: &'a [u8],
    },
}

/// Takes a slice apart into its pieces, in whatever portions it comes. Nothing is verified.
#[derive(Debug)]
pub struct Splitter {
    steps: Steps,
    /// The piece that is coming.
    step: Option<Step>,
    /// Pieces that are complete, and the beginning of the next.
    pieces: Pieces,
    /// Bytes of those that are complete.
    complete: usize,
}

/// Pieces of a slice as they came: nothing is verified.
#[derive(Debug, Default)]
pub struct Pieces {
    steps: Vec<Step>,
    bytes: Vec<u8>,
}

/// Takes a slice and verifies it, piece by piece. Memory: what is given at once, one group, and the
/// way down the tree.
#[derive(Debug)]
pub struct Decoder {
    splitter: Splitter,
    values: Values,
}

/// The value that each open subtree must have, in the order of the steps.
#[derive(Debug)]
struct Values {
    open: Vec<[u8; 32]>,
    wanted: Groups,
    len: u64,
}

/// The sender's bytes are not those of the digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SliceError {
    /// A pair of the tree above this group is wrong.
    Pair {
        /// The first group below it.
        first: u64,
    },
    /// This group is wrong.
    Group {
        /// Its number.
        index: u64,
    },
    /// More bytes came than were asked for.
    Longer,
}

impl Steps {
    /// The slice of these groups of a blob of `len` bytes. Groups past its end are not part of it.
    #[must_use]
    pub fn new(len: u64, wanted: Groups) -> Self {
        Self { open: vec![Subtree::whole(len)], wanted, len }
    }

    /// The next piece, and the subtree that it is of.
    fn next_of(&mut self) -> Option<(Step, Subtree)> {
        loop {
            let at = self.open.pop()?;
            if self.wanted.within(at.first..at.first + at.groups).next().is_none() {
                continue;
            }
            let Some((left, right)) = at.halves() else {
                let left = self.len - at.first * GROUP_LEN as u64;
                let len = usize::try_from(left).unwrap_or(GROUP_LEN).min(GROUP_LEN);
                return Some((Step::Group { index: at.first, len }, at));
            };
            self.open.extend([right, left]);
            return Some((Step::Pair(at), at));
        }
    }
}

impl Iterator for Steps {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        self.next_of().map(|(step, _)| step)
    }
}

impl Decoder {
    /// For the slice of these groups of the blob with this digest, `len` bytes long.
    #[must_use]
    pub fn new(digest: &Digest, len: u64, wanted: Groups) -> Self {
        let mut values = Values { open: Vec::new(), wanted: wanted.clone(), len };
        if values.wants(&Subtree::whole(len)) {
            values.open.push(digest.0);
        }
        Self { splitter: Splitter::new(len, wanted), values }
    }

    /// Whether all of it came.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.splitter.is_done()
    }

    /// Takes bytes; gives what they complete, verified, to `sink`.
    ///
    /// # Errors
    /// At the first piece that is not what it must be: its sender is to blame. Nothing more is
    /// taken then.
    ///
    /// # Panics
    /// Never: it has one value for each step.
    pub fn push<E: From<SliceError>>(
        &mut self,
        bytes: &[u8],
        sink: &mut dyn FnMut(Verified<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let pushed = self.splitter.push(bytes);
        for (step, piece) in self.splitter.take().iter() {
            self.values.take(step, piece, sink)?;
        }
        Ok(pushed?)
    }
}

impl Splitter {
    /// For the slice of these groups of a blob of `len` bytes.
    #[must_use]
    pub fn new(len: u64, wanted: Groups) -> Self {
        let mut steps = Steps::new(len, wanted);
        let step = steps.next();
        Self { steps, step, pieces: Pieces::default(), complete: 0 }
    }

    /// Whether all of it came.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.step.is_none()
    }

    /// Whether any piece is complete.
    #[must_use]
    pub fn has_pieces(&self) -> bool {
        !self.pieces.is_empty()
    }

    /// Bytes of the pieces that are complete.
    #[must_use]
    pub fn complete(&self) -> usize {
        self.complete
    }

    /// Takes bytes. They are held until [`Splitter::take`].
    ///
    /// # Errors
    /// If there are more than were asked for: those are not taken.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), SliceError> {
        while let Some(step) = self.step {
            let missing = self.complete + step.size() - self.pieces.bytes.len();
            let (now, rest) = bytes.split_at(bytes.len().min(missing));
            self.pieces.bytes.extend_from_slice(now);
            bytes = rest;
            if now.len() < missing {
                return Ok(());
            }
            self.pieces.steps.push(step);
            self.complete += step.size();
            self.step = self.steps.next();
        }
        if bytes.is_empty() { Ok(()) } else { Err(SliceError::Longer) }
    }

    /// Gives the pieces that are complete.
    pub fn take(&mut self) -> Pieces {
        // As much is likely to come again before the next time.
        let mut bytes = Vec::with_capacity(self.pieces.bytes.len());
        bytes.extend_from_slice(&self.pieces.bytes[self.complete..]);
        self.pieces.bytes.truncate(self.complete);
        self.complete = 0;
        std::mem::replace(&mut self.pieces, Pieces { steps: Vec::new(), bytes })
    }
}

impl Pieces {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Each with its bytes, in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = (Step, &[u8])> {
        let mut rest = &self.bytes[..];
        self.steps.iter().map(move |step| {
            let (piece, later) = rest.split_at(step.size());
            rest = later;
            (*step, piece)
        })
    }
}

impl Values {
    fn wants(&self, at: &Subtree) -> bool {
        self.wanted.within(at.first..at.first + at.groups).next().is_some()
    }

    fn take<E: From<SliceError>>(
        &mut self,
        step: Step,
        piece: &[u8],
        sink: &mut dyn FnMut(Verified<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let value = self.open.pop().expect("each open subtree has its value");
        match step {
            Step::Pair(at) => {
                let wrong = SliceError::Pair { first: at.first };
                let (left, right) = tree::split(piece, &value, at.is_root).ok_or(wrong)?;
                let halves = at.halves().expect("a subtree with a pair has halves");
                for (half, value) in [(halves.1, right), (halves.0, left)] {
                    if self.wants(&half) {
                        self.open.push(value);
                    }
                }
                let pair = piece.first_chunk().expect("a pair was awaited");
                sink(Verified::Pair { first: at.first, groups: at.groups, pair })
            }
            Step::Group { index, .. } => {
                if !tree::is_group(piece, index, self.len, &value) {
                    return Err(SliceError::Group { index }.into());
                }
                sink(Verified::Group { index, bytes: piece })
            }
        }
    }
}

/// A whole short blob from its slice; nothing if the slice ends early.
///
/// # Errors
/// If it is not that blob's.
pub fn whole(digest: &Digest, len: u64, slice: &[u8]) -> Result<Option<Vec<u8>>, SliceError> {
    let (mut decoder, mut bytes) = (Decoder::new(digest, len, all(len)), Vec::new());
    decoder.push::<SliceError>(slice, &mut |verified| {
        if let Verified::Group { bytes: group, .. } = verified {
            bytes.extend_from_slice(group);
        }
        Ok(())
    })?;
    Ok(decoder.is_done().then_some(bytes))
}

/// All groups of a blob of `len` bytes.
#[must_use]
pub fn all(len: u64) -> Groups {
    Groups::of(0..tree::groups(len))
}

impl fmt::Display for SliceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pair { first } => write!(f, "the tree above group {first} is not the blob's"),
            Self::Group { index } => write!(f, "group {index} is not the blob's"),
            Self::Longer => f.write_str("more bytes than were asked for"),
        }
    }
}

impl std::error::Error for SliceError {}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use bao_tree::io::outboard::PreOrderMemOutboard;
    use bao_tree::io::sync::encode_ranges_validated;
    use bao_tree::{BlockSize, ChunkNum, ChunkRanges};
    use neap_depot::tree::Builder;
    use proptest::prelude::*;

    use super::*;

    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i / 7 % 251).to_le_bytes()[0] ^ (i % 13).to_le_bytes()[0]).collect()
    }

    fn tree(bytes: &[u8]) -> (Digest, Vec<u8>) {
        let (mut builder, mut tree) = (Builder::default(), Vec::new());
        builder.update(bytes, &mut tree);
        (builder.finish(&mut tree).0, tree)
    }

    fn encode(bytes: &[u8], tree: &[u8], wanted: &Groups) -> Vec<u8> {
        let mut slice = Vec::new();
        for step in Steps::new(bytes.len() as u64, wanted.clone()) {
            match step {
                Step::Pair(at) => {
                    let offset = usize::try_from(at.pair_offset().expect("a pair")).expect("short");
                    slice.extend_from_slice(&tree[offset..offset + PAIR_LEN]);
                }
                Step::Group { index, len } => {
                    let offset = usize::try_from(index).expect("short") * GROUP_LEN;
                    slice.extend_from_slice(&bytes[offset..offset + len]);
                }
            }
        }
        slice
    }

    /// What `bao-tree` makes of the same question.
    fn bao(bytes: &[u8], wanted: &Groups) -> Vec<u8> {
        let outboard = PreOrderMemOutboard::create(bytes, BlockSize::from_chunk_log(4));
        let chunks = |range: Range<u64>| {
            ChunkRanges::from(ChunkNum(range.start * 16)..ChunkNum(range.end * 16))
        };
        let ranges = wanted.iter().fold(ChunkRanges::empty(), |all, range| all | chunks(range));
        let mut slice = Vec::new();
        encode_ranges_validated(bytes, &outboard, &ranges, &mut slice).expect("it is whole");
        slice
    }

    type Groupwise = Vec<(u64, Vec<u8>)>;

    fn decode(
        digest: &Digest,
        len: usize,
        wanted: &Groups,
        slice: &[u8],
        piece: usize,
    ) -> (Groupwise, Result<bool, SliceError>) {
        let mut decoder = Decoder::new(digest, len as u64, wanted.clone());
        let mut groups = Vec::new();
        for piece in slice.chunks(piece) {
            let pushed = decoder.push::<SliceError>(piece, &mut |verified| {
                if let Verified::Group { index, bytes } = verified {
                    groups.push((index, bytes.to_vec()));
                }
                Ok(())
            });
            if let Err(error) = pushed {
                return (groups, Err(error));
            }
        }
        let done = decoder.is_done();
        (groups, Ok(done))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn slices_are_those_of_bao_and_only_right_bytes_come_out(
            len in 1_usize..400_000,
            ranges in prop::collection::vec((0_u64..26, 1_u64..9), 1..4),
            piece in 1_usize..40_000,
            flip in any::<prop::sample::Index>(),
        ) {
            let bytes = bytes(len);
            let (digest, tree) = tree(&bytes);
            let end = tree::groups(len as u64);
            let wanted = ranges.into_iter().map(|(start, count)| {
                start.min(end - 1)..(start.min(end - 1) + count).min(end)
            });
            let wanted: Groups = wanted.collect();
            let slice = encode(&bytes, &tree, &wanted);
            prop_assert_eq!(&slice, &bao(&bytes, &wanted));
            let (groups, ended) = decode(&digest, len, &wanted, &slice, piece);
            prop_assert_eq!(ended, Ok(true));
            let indices: Groups = groups.iter().map(|(index, _)| *index..index + 1).collect();
            prop_assert_eq!(&indices, &wanted);
            let right = |(index, group): &(u64, Vec<u8>)| {
                let at = usize::try_from(*index).expect("short") * GROUP_LEN;
                bytes[at..].starts_with(group)
            };
            prop_assert!(groups.iter().all(right));

            let mut wrong = slice.clone();
            wrong[flip.index(slice.len())] ^= 16;
            let (groups, ended) = decode(&digest, len, &wanted, &wrong, piece);
            prop_assert!(ended.is_err());
            prop_assert!(groups.iter().all(right));

            let (_, ended) = decode(&digest, len, &wanted, &slice[..slice.len() - 1], piece);
            prop_assert_eq!(ended, Ok(false));
            let longer = [slice, vec![0]].concat();
            let (_, ended) = decode(&digest, len, &wanted, &longer, piece);
            prop_assert_eq!(ended, Err(SliceError::Longer));
        }
    }

    #[test]
    fn groups_past_the_end_and_none_at_all_are_empty_slices() {
        let bytes = bytes(100_000);
        let (digest, tree) = tree(&bytes);
        for wanted in [Groups::default(), Groups::of(7..9)] {
            assert!(encode(&bytes, &tree, &wanted).is_empty());
            let (groups, ended) = decode(&digest, bytes.len(), &wanted, &[], 1);
            assert_eq!((groups.len(), ended), (0, Ok(true)));
        }
    }
}
