//! Bits of a stream, the lowest bit of a byte first (RFC 1951, section 3.1.1).

/// Takes bits from bytes.
#[derive(Debug, Clone)]
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    /// Next byte that is not in `held`.
    at: usize,
    held: u64,
    held_count: u32,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, held: 0, held_count: 0 }
    }

    /// The next bits, the first the lowest, without taking them; zeros behind the end.
    pub(super) fn peek(&mut self, count: u32) -> u64 {
        while self.held_count < count {
            let Some(byte) = self.bytes.get(self.at) else { break };
            self.held |= u64::from(*byte) << self.held_count;
            self.held_count += 8;
            self.at += 1;
        }
        self.held & ((1 << count) - 1)
    }

    /// Takes bits that were looked at; nothing if there are not so many.
    pub(super) fn skip(&mut self, count: u32) -> Option<()> {
        self.held_count = self.held_count.checked_sub(count)?;
        self.held >>= count;
        Some(())
    }

    /// The next bits, at most 48.
    pub(super) fn take(&mut self, count: u32) -> Option<u64> {
        let bits = self.peek(count);
        self.skip(count)?;
        Some(bits)
    }

    /// The same as a number that indexes memory.
    pub(super) fn take_usize(&mut self, count: u32) -> Option<usize> {
        usize::try_from(self.take(count)?).ok()
    }

    /// Where the next bit is, counted from the start.
    pub(super) fn position_bits(&self) -> u64 {
        self.at as u64 * 8 - u64::from(self.held_count)
    }

    /// Takes the bits up to the next whole byte, which have to be zeros.
    pub(super) fn align(&mut self) -> Option<()> {
        let padding = self.take(self.held_count % 8)?;
        (padding == 0).then_some(())
    }

    /// Takes bytes, behind `align`.
    pub(super) fn take_bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let start = self.at - self.held_count as usize / 8;
        let bytes = self.bytes.get(start..start.checked_add(count)?)?;
        (self.at, self.held, self.held_count) = (start + count, 0, 0);
        Some(bytes)
    }

    /// Whether all was taken.
    pub(super) fn is_empty(&self) -> bool {
        self.held_count == 0 && self.at == self.bytes.len()
    }
}

/// Puts bits into bytes.
#[derive(Debug, Default)]
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    held: u64,
    held_count: u32,
}

impl BitWriter {
    /// Puts the lowest `count` bits, at most 48, of which the others are zeros.
    pub(super) fn put(&mut self, bits: u64, count: u32) {
        self.held |= bits << self.held_count;
        self.held_count += count;
        while self.held_count >= 8 {
            self.bytes.push(self.held.to_le_bytes()[0]);
            self.held >>= 8;
            self.held_count -= 8;
        }
    }

    /// Puts zeros up to the next whole byte.
    pub(super) fn align(&mut self) {
        if self.held_count > 0 {
            self.put(0, 8 - self.held_count);
        }
    }

    /// Puts bytes, behind `align`.
    pub(super) fn put_bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Whole bytes so far.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Bits so far.
    pub(super) fn len_bits(&self) -> u64 {
        self.bytes.len() as u64 * 8 + u64::from(self.held_count)
    }

    /// All bytes, the last filled up with zeros.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.align();
        self.bytes
    }
}
