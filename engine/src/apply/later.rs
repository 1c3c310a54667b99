//! What of a window is put off: copies that whoever writes the window reads and rewrites, so that
//! two threads share the work. Like the applier, it asks for what must be read.

use std::ops::Range;
use std::sync::Arc;

use crate::refs::piece::{BlockRewriter, Loaded, Piece};
use crate::window::Window;

/// Copies of a window that were put off, in order.
#[derive(Debug, Default)]
pub(crate) struct Later {
    copies: Vec<Copy>,
    /// The regions that the copies lie in, each once.
    regions: Vec<Arc<Loaded>>,
    /// Bytes of memory that those take.
    regions_len: usize,
    /// What the copies differ in: where in the window, and by how much.
    islands: Vec<Range<u32>>,
    differences: Vec<u8>,
}

/// A copy that was put off.
#[derive(Debug)]
struct Copy {
    /// Where it starts in the source.
    offset: u64,
    diagonal: i64,
    /// Which bytes of the window it makes.
    within: Range<u32>,
    /// The region in which it is rewritten, by its index here.
    region: Option<u32>,
}

/// Most copies and islands of a window before no more are put off: less than 1 MiB, as a copy may
/// add [`crate::limits::PIECE_LEN`] islands of one byte, of 9 bytes each here.
const COPIES_MAX: usize = 1 << 13;
const ISLANDS_MAX: usize = 1 << 14;

/// Most memory of the regions of a window before no more are put off, in bytes: they are held until
/// it is written, whatever else is loaded.
const REGIONS_LEN_MAX: usize = 1 << 20;

impl Later {
    /// Whether nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.copies.is_empty()
    }

    /// Whether more may be put off.
    pub(super) fn has_room(&self) -> bool {
        self.copies.len() < COPIES_MAX
            && self.islands.len() < ISLANDS_MAX
            && self.regions_len < REGIONS_LEN_MAX
    }

    /// A copy that makes the bytes `within` the window.
    pub(super) fn copy(
        &mut self,
        offset: u64,
        diagonal: i64,
        within: Range<usize>,
        region: Option<Arc<Loaded>>,
    ) {
        let region = region.map(|region| {
            let known = self.regions.iter().position(|known| Arc::ptr_eq(known, &region));
            narrow(known.unwrap_or_else(|| {
                self.regions_len += region.memory_len();
                self.regions.push(region);
                self.regions.len() - 1
            }))
        });
        let within = narrow(within.start)..narrow(within.end);
        self.copies.push(Copy { offset, diagonal, within, region });
    }

    /// What the copies differ in from byte `at` of the window on.
    pub(super) fn island(&mut self, at: usize, differences: &[u8]) {
        self.islands.push(narrow(at)..narrow(at + differences.len()));
        self.differences.extend(differences);
    }

    /// Adds to the window what its copies, which are made, differ in.
    fn add_differences(&self, window: &mut [u8]) {
        let mut differences = self.differences.iter();
        for island in &self.islands {
            for (byte, difference) in window[wide(island)].iter_mut().zip(&mut differences) {
                *byte = byte.wrapping_add(*difference);
            }
        }
    }
}

/// Makes the copies of one window after another that were put off.
#[derive(Debug, Default)]
pub struct Filler {
    /// How many copies of the window are done.
    done: usize,
    /// Whether the bytes of the next one were asked for.
    is_read: bool,
    piece: Piece,
    blocks: BlockRewriter,
}

impl Filler {
    /// Says what must be read of the source next: its offset, and what to fill. None if the window
    /// is whole.
    pub fn want<'a>(&'a mut self, window: &'a mut Window) -> Option<(u64, &'a mut [u8])> {
        let (bytes, later) = window.parts();
        while let Some(copy) = later.copies.get(self.done) {
            let (offset, within) = (copy.offset, wide(&copy.within));
            if !self.is_read {
                self.is_read = true;
                self.piece.reset(offset, copy.diagonal, false);
                return Some((offset, &mut bytes[within]));
            }
            let region = copy.region.map(|region| &later.regions[region as usize]);
            let wanted = region
                .and_then(|region| self.blocks.step(region, &mut self.piece, &mut bytes[within]));
            if let Some((offset, len)) = wanted {
                return Some((offset, self.blocks.room(len)));
            }
            (self.done, self.is_read) = (self.done + 1, false);
        }
        later.add_differences(bytes);
        *later = Later::default();
        self.done = 0;
        None
    }
}

/// Places within a window, which is no longer than 2 MiB.
fn narrow(place: usize) -> u32 {
    u32::try_from(place).expect("a place within a window fits 32 bits")
}

fn wide(range: &Range<u32>) -> Range<usize> {
    range.start as usize..range.end as usize
}
