//! What was coded before, and the byte that followed the last time it read like this.

use super::ahead::fetch;

/// Coded bytes that are remembered: 4 MiB.
const HISTORY_LEN: usize = 1 << 22;

/// Places remembered by the hash of the bytes before them.
const PLACES: usize = 1 << 19;

/// Longest match that is counted.
const MATCH_LEN_MAX: u32 = 63;

/// Places further back than this are forgotten: what is before them may be overwritten.
const REACH: u32 = (1 << 22) - 64;
const _: () = assert!(REACH as usize + 64 == HISTORY_LEN);

/// The bytes coded lately, with one match in them.
#[derive(Debug)]
pub(super) struct History {
    bytes: Vec<u8>,
    /// How many bytes were appended, modulo 2^32.
    at: u32,
    places: Vec<u32>,
    /// Where the match goes on, and how many bytes it is long; 0 for none.
    match_at: u32,
    match_len: u32,
}

impl History {
    pub(super) fn new() -> Self {
        Self {
            bytes: vec![0; HISTORY_LEN],
            at: 0,
            places: vec![0; PLACES],
            match_at: 0,
            match_len: 0,
        }
    }

    fn byte(&self, at: u32) -> u8 {
        self.bytes[at as usize & (HISTORY_LEN - 1)]
    }

    /// Appends a byte; `tail` are the last eight bytes of the target, the newest lowest. Without a
    /// match, `seek` says whether to look for one: that waits for memory.
    pub(super) fn push(&mut self, byte: u8, tail: u64, is_plain: bool, seek: bool) {
        let hit = self.match_len > 0 && self.byte(self.match_at) == byte;
        self.bytes[self.at as usize & (HISTORY_LEN - 1)] = byte;
        self.at = self.at.wrapping_add(1);
        if hit {
            self.match_at = self.match_at.wrapping_add(1);
            self.match_len = (self.match_len + 1).min(MATCH_LEN_MAX);
        } else {
            self.match_len = 0;
        }
        let place = &mut self.places[place(tail)];
        let found = *place;
        // What is coded plain only matches over many bytes: one place in eight will do.
        if !is_plain || self.at.is_multiple_of(8) {
            *place = self.at;
        }
        if seek && self.match_len == 0 && found > 0 && self.at.wrapping_sub(found) < REACH {
            let before = |at: u32, len| self.byte(at.wrapping_sub(1 + len));
            let len = (0..MATCH_LEN_MAX).find(|len| before(found, *len) != before(self.at, *len));
            self.match_at = found;
            self.match_len = len.unwrap_or(MATCH_LEN_MAX);
        }
    }

    /// Brings into the cache where bytes like `tail` are remembered.
    #[inline]
    pub(super) fn fetch_place(&self, tail: u64) {
        fetch(&self.places[place(tail)]);
    }

    /// Brings into the cache the bytes that are remembered there.
    #[inline]
    pub(super) fn fetch_match(&self, tail: u64) {
        let found = self.places[place(tail)];
        fetch(&self.bytes[found.wrapping_sub(1) as usize & (HISTORY_LEN - 1)]);
    }

    /// Forgets the match: what comes does not follow on what came.
    pub(super) fn cut(&mut self) {
        self.match_len = 0;
    }

    /// The byte that followed the last time, and over how many bytes it had read alike; 0 if none.
    pub(super) fn expected(&self) -> (u8, u32) {
        (self.byte(self.match_at), self.match_len)
    }
}

/// Where bytes like `tail` are remembered: five of them are hashed.
#[inline]
fn place(tail: u64) -> usize {
    let hash = (tail << 24).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 45;
    usize::try_from(hash).map_or(0, |hash| hash & (PLACES - 1))
}
