//! Votes: where the target's own fields say that addresses moved, where the copies say otherwise.
//!
//! Bytes that look alike, such as the entries of a linkage table, are copied well along a wrong
//! diagonal, and addresses of zeros that no file holds have no copies at all. Each field that is
//! copied says where its address went; where enough of them agree against the map, a move is made.

use std::collections::HashMap;

use super::field::Field;
use super::map::{Map, Move};
use super::region::Region;
use super::write;

/// What a move costs, in halves of a byte of the patch.
const MOVE_COST: i64 = 16;

/// What one vote against the map is worth to a coder, in halves of a byte of the patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Worth {
    /// Where copies say how addresses move.
    pub mapped: i64,
    /// For indices of types and offsets of names, of which copies say nothing.
    pub unmapped: i64,
}

impl Worth {
    /// No moves at all.
    pub const NONE: Self = Self { mapped: 0, unmapped: 0 };

    /// For zstd, to which each wrong field is news.
    pub const ZSTD: Self = Self { mapped: 3, unmapped: 3 };

    /// For the coder `cm`, which learns by itself where addresses are a little off the map, but
    /// not where there is none.
    pub const CM: Self = Self { mapped: 0, unmapped: 3 };

    fn of(self, address: u64) -> i64 {
        if Region::is_index(address) { self.unmapped } else { self.mapped }
    }
}

/// Votes on the addresses of one region.
#[derive(Debug, Default)]
pub struct Votes {
    /// Addresses and by how much each moved.
    votes: Vec<(u64, i64)>,
}

impl Votes {
    /// Counts the fields that are copied whole: `target` is what the bytes of the source from
    /// `offset` are in the target, and `diagonal` their copy's.
    pub fn count(
        &mut self,
        region: &Region,
        map: &Map,
        fields: &[Field],
        diagonal: i64,
        offset: u64,
        target: &[u8],
    ) {
        let mut reader = write::Reader::default();
        for field in fields {
            let bytes = field.offset.checked_sub(offset).and_then(|into| {
                let into = usize::try_from(into).ok()?;
                target.get(into..into.checked_add(field.form.len())?)
            });
            let (Some(bytes), Some(place)) = (bytes, region.address_of(field.offset)) else {
                continue;
            };
            // A move ends behind its last address: no number says that. Checksums do not move.
            if field.address == u64::MAX || Region::is_checksum(field.address) {
                continue;
            }
            if let Some(address) = reader.address(field, map.place(place, diagonal), map, bytes) {
                let shift = address.wrapping_sub(field.address).cast_signed();
                self.votes.push((field.address, shift));
            }
        }
    }

    /// The moves that save more than they cost, in order and disjoint. The map must have none.
    ///
    /// Of all ways to cut the addresses into stretches that follow the map or have a shift of
    /// their own this is the best one: a path through the voted addresses in order, whose states
    /// are the shifts.
    #[must_use]
    pub fn moves(mut self, map: &Map, worth: Worth) -> Vec<Move> {
        self.votes.sort_unstable();
        let mut paths = Paths::default();
        for votes in self.votes.chunk_by(|a, b| a.0 == b.0) {
            let Some((address, _)) = votes.first() else { continue };
            let default = map.address(*address).wrapping_sub(*address).cast_signed();
            let before = paths.best;
            let mut default_count = 0;
            for same in votes.chunk_by(|a, b| a.1 == b.1) {
                let Some((_, shift)) = same.first() else { continue };
                let worth =
                    worth.of(*address).saturating_mul(i64::try_from(same.len()).unwrap_or(0));
                if *shift == default {
                    default_count = worth;
                } else {
                    paths.vote(*address, *shift, worth, before);
                }
            }
            paths.follow_map(default_count, before);
        }
        paths.moves()
    }
}

/// The best ways to reach each state so far.
#[derive(Debug, Default)]
struct Paths {
    /// The end of the path that follows the map now.
    mapped: End,
    /// The end of the path with each shift now.
    shifted: HashMap<i64, End>,
    best: End,
    /// Runs of one shift: what was before, and the run.
    runs: Vec<(Option<usize>, Move)>,
}

/// Where a path ends.
#[derive(Debug, Clone, Copy, Default)]
struct End {
    worth: i64,
    /// Its last run.
    run: Option<usize>,
}

impl Paths {
    fn vote(&mut self, address: u64, shift: i64, worth: i64, before: End) {
        let entered = before.worth - MOVE_COST;
        let end = match self.shifted.get(&shift).copied() {
            Some(end) if end.worth >= entered => {
                // Other paths may go on from the run as it was: a longer one is another run.
                let (parent, mut run) = self.runs[end.run.expect("a shifted path has a run")];
                run.len = address - run.start + 1;
                self.runs.push((parent, run));
                End { worth: end.worth + worth, run: Some(self.runs.len() - 1) }
            }
            _ => {
                self.runs.push((before.run, Move { start: address, len: 1, shift }));
                End { worth: entered + worth, run: Some(self.runs.len() - 1) }
            }
        };
        self.shifted.insert(shift, end);
        if end.worth > self.best.worth {
            self.best = end;
        }
    }

    fn follow_map(&mut self, worth: i64, before: End) {
        if before.worth > self.mapped.worth {
            self.mapped = before;
        }
        self.mapped.worth += worth;
        if self.mapped.worth > self.best.worth {
            self.best = self.mapped;
        }
    }

    fn moves(self) -> Vec<Move> {
        let mut moves = Vec::new();
        let mut last = self.best.run;
        while let Some((parent, run)) = last.and_then(|last| self.runs.get(last)) {
            moves.push(*run);
            last = *parent;
        }
        moves.reverse();
        moves
    }
}
