//! What was coded before, and the byte that followed the last time it read like this.

/// Coded bytes that are remembered: 2 MiB.
const HISTORY_LEN: usize = 1 << 21;

/// Places remembered by the hash of the bytes before them.
const PLACES: usize = 1 << 17;

/// Longest match that is counted.
const MATCH_LEN_MAX: u32 = 63;

/// The bytes coded lately, with one match in them.
#[derive(Debug)]
pub(super) struct History {
    bytes: Vec<u8>,
    at: usize,
    places: Vec<u32>,
    /// Where the match goes on, and how many bytes it is long; 0 for none.
    match_at: usize,
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

    fn byte(&self, at: usize) -> u8 {
        self.bytes[at & (HISTORY_LEN - 1)]
    }

    /// Appends a byte; `tail` are the last eight bytes of the target, the newest lowest.
    pub(super) fn push(&mut self, byte: u8, tail: u64) {
        let hit = self.match_len > 0 && self.byte(self.match_at) == byte;
        self.bytes[self.at & (HISTORY_LEN - 1)] = byte;
        self.at += 1;
        if hit {
            self.match_at += 1;
            self.match_len = (self.match_len + 1).min(MATCH_LEN_MAX);
        } else {
            self.match_len = 0;
        }
        // Five bytes are hashed.
        let hash = (tail << 24).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 47;
        let place = &mut self.places[usize::try_from(hash).map_or(0, |hash| hash & (PLACES - 1))];
        let found = *place as usize;
        *place = u32::try_from(self.at).unwrap_or(0);
        if self.match_len == 0 && found > 0 && self.at - found < HISTORY_LEN - 64 {
            let mut len = 0;
            let reach = (MATCH_LEN_MAX as usize).min(found);
            while len < reach && self.byte(found - 1 - len) == self.byte(self.at - 1 - len) {
                len += 1;
            }
            self.match_at = found;
            self.match_len = u32::try_from(len).unwrap_or(0);
        }
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
