//! What was coded before, and where it went on like this (10.8).

const RING_LEN: usize = 1 << 22;

pub(super) struct Past {
    /// The last 8 bytes, the newest lowest.
    pub(super) tail: u64,
    ring: Vec<u8>,
    /// Count of bytes that were pushed, modulo 2^32.
    at: u32,
    /// By the last five bytes: `at` behind them.
    places: Vec<u32>,
    /// Where the match goes on, and its length; 0 if there is none.
    from: u32,
    pub(super) len: u32,
}

impl Past {
    pub(super) fn new() -> Self {
        let (ring, places) = (vec![0; RING_LEN], vec![0; 1 << 19]);
        Self { tail: 0, ring, at: 0, places, from: 0, len: 0 }
    }

    /// The newest byte but `age - 1`.
    pub(super) fn b(&self, age: u32) -> u32 {
        u32::from(self.tail.to_le_bytes()[age as usize - 1])
    }

    fn byte(&self, at: u32) -> u8 {
        self.ring[at as usize % RING_LEN]
    }

    /// The byte at the match.
    pub(super) fn expected(&self) -> u8 {
        self.byte(self.from)
    }

    /// Ends the match.
    pub(super) fn cut(&mut self) {
        self.len = 0;
    }

    /// Adds a byte to the tail only.
    pub(super) fn pass(&mut self, byte: u8) {
        self.tail = self.tail << 8 | u64::from(byte);
    }

    /// Adds a byte; where it is news, a match is looked for. All places are kept, or one of eight.
    pub(super) fn push(&mut self, byte: u8, is_news: bool, keeps_all: bool) {
        if self.len > 0 && self.expected() == byte {
            self.len = (self.len + 1).min(63);
            self.from = self.from.wrapping_add(1);
        } else {
            self.len = 0;
        }
        self.pass(byte);
        self.ring[self.at as usize % RING_LEN] = byte;
        self.at = self.at.wrapping_add(1);
        let hash = (self.tail << 24).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 45;
        let place = &mut self.places[usize::try_from(hash).expect("it has 19 bits")];
        let found = *place;
        if keeps_all || self.at.is_multiple_of(8) {
            *place = self.at;
        }
        let age = self.at.wrapping_sub(found);
        if is_news && self.len == 0 && found > 0 && (age as usize) < RING_LEN - 64 {
            self.from = found;
            let agrees = |back: &u32| {
                self.byte(found.wrapping_sub(*back)) == self.byte(self.at.wrapping_sub(*back))
            };
            let count = (1..=63).take_while(agrees).count();
            self.len = u32::try_from(count).expect("at most 63");
        }
    }
}
