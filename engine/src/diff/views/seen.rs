//! What was seen inside the target, and what became of it, for people.

use std::collections::BTreeMap;

use crate::unpack::Codec;
use crate::unpack::find::Container;

/// What was seen inside the target, for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// What contains blocks, or is known to and not followed.
    pub containers: Vec<Container>,
    /// Of each codec in turn, what became of its blocks.
    pub codecs: Vec<(&'static str, Tally)>,
}

impl Seen {
    pub(super) fn tally(&mut self, codec: Codec) -> &mut Tally {
        let name = codec.name();
        let index = self.codecs.iter().position(|(known, _)| *known == name);
        let index = index.unwrap_or_else(|| {
            self.codecs.push((name, Tally::default()));
            self.codecs.len() - 1
        });
        &mut self.codecs[index].1
    }
}

/// What became of the blocks of one codec. Lengths are bytes as packed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Blocks that the source has, too.
    pub unchanged: Count,
    /// Blocks that are packed again on the device.
    pub rebuilt: Count,
    /// Bytes of corrections that these need.
    pub corrections_len: u64,
    /// Blocks that pass through as they are, by why.
    pub passed: BTreeMap<Why, Count>,
}

impl Tally {
    pub(super) fn pass(&mut self, why: Why, len: u64) {
        self.passed.entry(why).or_default().add(len);
    }
}

/// Why a block passes through as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// Whoever makes the patch left its codec out.
    SwitchedOff,
    /// It takes more memory than blocks may, or is longer than any may be.
    TooLarge,
    /// It does not unpack, or no method that we know comes near.
    Unknown,
    /// More blocks or methods than a patch may list, or more plain bytes than are kept.
    TooMany,
}

/// How many there are, and how many bytes they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// How many.
    pub count: u64,
    /// Their bytes together.
    pub len: u64,
}

impl Count {
    pub(super) fn add(&mut self, len: u64) {
        self.count += 1;
        self.len += len;
    }
}
