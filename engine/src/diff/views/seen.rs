//! What was seen inside the target, and what became of it, for people: in sum by codec, and by the
//! containers that blocks lie in. There may be many, so those of one kind are told together.

use std::collections::BTreeMap;

use crate::unpack::Codec;
use crate::unpack::find::NotFollowed;

/// What was seen inside the target, for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// What contains blocks, or is known to and not followed; what they lie in comes before them.
    pub kinds: Vec<Kind>,
    /// What became of all blocks.
    pub codecs: Tallies,
}

/// Containers of one name that lie in those of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kind {
    /// What they are: `squashfs`, `gzip` …
    pub name: &'static str,
    /// The kind that they lie in, by its index, packed there or not.
    pub within: Option<usize>,
    /// How many there are, and their bytes.
    pub count: Count,
    /// What became of their blocks.
    pub codecs: Tallies,
    /// Those that are not followed, by why.
    pub not_followed: BTreeMap<NotFollowed, Count>,
    /// Those of which most passes through, at most [`Kind::PLACES_MAX`], in order.
    pub places: Vec<Place>,
}

/// One container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Where in the target it starts, or the packed block that it lies in.
    pub offset: u64,
    /// Its length, in bytes, as far as it is known.
    pub len: u64,
    /// What became of its blocks.
    pub codecs: Tallies,
    /// Why not all of it, or nothing, was looked into.
    pub not_followed: Option<NotFollowed>,
}

/// What became of blocks, of each codec in turn by its name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tallies(pub Vec<(&'static str, Tally)>);

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

/// What became of a block.
#[derive(Debug, Clone, Copy)]
pub(super) enum Outcome {
    Unchanged,
    Rebuilt { correction_len: u64 },
    Passed(Why),
}

impl Seen {
    /// Most kinds that are told apart by what they lie in; others are told by their name alone.
    const KINDS_MAX: usize = 64;

    /// The index of a kind.
    pub(super) fn kind(&mut self, name: &'static str, within: Option<usize>) -> usize {
        let find = |kinds: &[Kind], within| {
            kinds.iter().position(|kind| (kind.name, kind.within) == (name, within))
        };
        let within = within.filter(|_| self.kinds.len() < Self::KINDS_MAX);
        find(&self.kinds, within).unwrap_or_else(|| {
            self.kinds.push(Kind::new(name, within));
            self.kinds.len() - 1
        })
    }

    /// Names of what a kind lies in, from the inside out.
    pub fn around(&self, kind: &Kind) -> impl Iterator<Item = &'static str> {
        let next = |kind: &&Kind| kind.within.map(|index| &self.kinds[index]);
        std::iter::successors(next(&kind), next).map(|kind| kind.name)
    }
}

impl Kind {
    /// Most containers of a kind that are told one by one.
    pub const PLACES_MAX: usize = 4;

    fn new(name: &'static str, within: Option<usize>) -> Self {
        let (count, codecs, not_followed) = Default::default();
        Self { name, within, count, codecs, not_followed, places: Vec::new() }
    }

    /// Adds one container.
    pub(super) fn add(&mut self, place: Place) {
        self.count.add(place.len);
        if let Some(why) = place.not_followed {
            self.not_followed.entry(why).or_default().add(place.len);
        }
        for (name, tally) in &place.codecs.0 {
            self.codecs.of(name).merge(tally);
        }
        self.places.push(place);
        if self.places.len() > Self::PLACES_MAX {
            let passing = self.places.iter().map(Place::passing_len).enumerate();
            // Of those alike the first ones stay.
            let least = passing.rev().min_by_key(|(_, len)| *len);
            self.places.remove(least.map_or(0, |(index, _)| index));
        }
    }
}

impl Place {
    /// Bytes that pass through.
    #[must_use]
    pub fn passing_len(&self) -> u64 {
        let not_followed = if self.not_followed.is_some() { self.len } else { 0 };
        self.codecs.passed().len.max(not_followed)
    }
}

impl Tallies {
    pub(super) fn add(&mut self, codec: Codec, len: u64, outcome: Outcome) {
        let tally = self.of(codec.name());
        match outcome {
            Outcome::Unchanged => tally.unchanged.add(len),
            Outcome::Rebuilt { correction_len } => {
                tally.rebuilt.add(len);
                tally.corrections_len += correction_len;
            }
            Outcome::Passed(why) => tally.passed.entry(why).or_default().add(len),
        }
    }

    fn of(&mut self, name: &'static str) -> &mut Tally {
        let index = self.0.iter().position(|(known, _)| *known == name);
        let index = index.unwrap_or_else(|| {
            self.0.push((name, Tally::default()));
            self.0.len() - 1
        });
        &mut self.0[index].1
    }

    /// Blocks that pass through.
    #[must_use]
    pub fn passed(&self) -> Count {
        let mut sum = Count::default();
        self.0.iter().flat_map(|(_, tally)| tally.passed.values()).for_each(|one| sum.merge(*one));
        sum
    }
}

impl Tally {
    fn merge(&mut self, other: &Self) {
        self.unchanged.merge(other.unchanged);
        self.rebuilt.merge(other.rebuilt);
        self.corrections_len += other.corrections_len;
        for (why, count) in &other.passed {
            self.passed.entry(*why).or_default().merge(*count);
        }
    }
}

impl Count {
    fn add(&mut self, len: u64) {
        self.merge(Self { count: 1, len });
    }

    fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.len += other.len;
    }
}
