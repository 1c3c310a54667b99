//! Reads an image for parsers that trust nothing: no read is past the end, and work has a limit.

use crate::io::{Error, Source};
use crate::limits::CUT_LEN_MIN;

/// Why a parser gives up.
#[derive(Debug)]
pub(super) enum Stop {
    /// What the image's device says; it ends the whole search.
    Device(Error),
    /// The bytes are not what they seemed to be.
    Malformed,
    /// The work allowed does not suffice.
    Spent,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Device(error)
    }
}

/// What a parser says.
pub(super) type Parsed<T> = Result<T, Stop>;

/// Least bytes read from the device at once: headers lie close together.
const READ_LEN_MIN: usize = 4096;

/// Most bytes asked for at once.
const READ_LEN_MAX: usize = 16 << 20;

/// Reads one image, and counts down the work that is left.
///
/// Work is counted in bytes: those that are read from the device and those that are unpacked.
pub(super) struct Reader<'a> {
    source: &'a dyn Source,
    size: u64,
    held: Vec<u8>,
    held_at: u64,
    work_left: u64,
    is_in_stretch: bool,
    /// Whether bytes behind the end were asked for last.
    is_short: bool,
}

impl<'a> Reader<'a> {
    /// Reads with so much work allowed.
    pub(super) fn new(source: &'a dyn Source, work: u64) -> Self {
        Self {
            source,
            size: source.size(),
            held: Vec::new(),
            held_at: 0,
            work_left: work,
            is_in_stretch: false,
            is_short: false,
        }
    }

    /// The same of a file whose bytes up to `end` lie here, and the others elsewhere.
    pub(super) fn up_to_end_of_stretch(self, end: u64) -> Self {
        Self { size: end.min(self.size), is_in_stretch: true, ..self }
    }

    /// Where what was read from `start` up to the end is cut, if it goes on elsewhere; else it is
    /// malformed.
    pub(super) fn cut(&self, start: u64) -> Parsed<u64> {
        let is_long = self.size.saturating_sub(start) >= CUT_LEN_MIN;
        check(self.is_in_stretch && self.is_short && is_long)?;
        Ok(self.size)
    }

    /// Size of the image, or where the stretch ends, in bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Work that is left, in bytes.
    pub(super) fn work_left(&self) -> u64 {
        self.work_left
    }

    /// Takes work off what is left.
    pub(super) fn spend(&mut self, work: u64) -> Parsed<()> {
        let left = self.work_left.checked_sub(work);
        self.work_left = left.unwrap_or(0);
        left.map(|_| ()).ok_or(Stop::Spent)
    }

    /// Exactly `len` bytes from `offset`.
    pub(super) fn bytes(&mut self, offset: u64, len: usize) -> Parsed<&[u8]> {
        let bytes = self.up_to(offset, len)?;
        bytes.get(..len).ok_or(Stop::Malformed)
    }

    /// As many of `len` bytes from `offset` as the image has.
    pub(super) fn up_to(&mut self, offset: u64, len: usize) -> Parsed<&[u8]> {
        if len > READ_LEN_MAX {
            return Err(Stop::Malformed);
        }
        let there = self.size.saturating_sub(offset);
        self.is_short = there < len as u64;
        let len = usize::try_from(there).map_or(len, |there| len.min(there));
        if len == 0 {
            return Ok(&[]);
        }
        if !self.holds(offset, len) {
            let room = usize::try_from(there).unwrap_or(usize::MAX);
            let read = len.max(READ_LEN_MIN).min(room);
            self.spend(read as u64)?;
            self.held.resize(read, 0);
            self.held_at = offset;
            if let Err(error) = self.source.read_at(offset, &mut self.held) {
                self.held.clear();
                return Err(error.into());
            }
        }
        // What is held is in memory, so the distance is, too.
        let start = usize::try_from(offset - self.held_at).map_err(|_| Stop::Malformed)?;
        Ok(&self.held[start..start + len])
    }

    /// A few bytes.
    pub(super) fn array<const N: usize>(&mut self, offset: u64) -> Parsed<[u8; N]> {
        self.bytes(offset, N)?.first_chunk().copied().ok_or(Stop::Malformed)
    }

    /// A little-endian number of 16 bits.
    pub(super) fn u16(&mut self, offset: u64) -> Parsed<u16> {
        self.array(offset).map(u16::from_le_bytes)
    }

    /// A little-endian number of 32 bits.
    pub(super) fn u32(&mut self, offset: u64) -> Parsed<u32> {
        self.array(offset).map(u32::from_le_bytes)
    }

    /// A little-endian number of 64 bits.
    pub(super) fn u64(&mut self, offset: u64) -> Parsed<u64> {
        self.array(offset).map(u64::from_le_bytes)
    }

    fn holds(&self, offset: u64, len: usize) -> bool {
        let Some(start) = offset.checked_sub(self.held_at) else { return false };
        start + len as u64 <= self.held.len() as u64
    }
}

/// The sum of offsets and lengths that the image gave, if there is such a number.
pub(super) fn sum(offset: u64, len: u64) -> Parsed<u64> {
    offset.checked_add(len).ok_or(Stop::Malformed)
}

/// Goes on only if a fact holds.
pub(super) fn check(fact: bool) -> Parsed<()> {
    if fact { Ok(()) } else { Err(Stop::Malformed) }
}

/// A little-endian number of 16 bits in bytes that are there.
pub(super) fn le16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(field(bytes, at))
}

/// A little-endian number of 32 bits in bytes that are there.
pub(super) fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(field(bytes, at))
}

/// A little-endian number of 64 bits in bytes that are there.
pub(super) fn le64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(field(bytes, at))
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let field = bytes.get(at..).and_then(<[u8]>::first_chunk);
    *field.expect("the parser asked for a header of its full length")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_to_the_end_are_there_and_one_more_is_not() {
        let image = (0..=255).cycle().take(10_000).collect::<Vec<u8>>();
        let mut reader = Reader::new(&image, 1 << 20);
        assert_eq!(reader.bytes(9_990, 10).expect("it is there"), &image[9_990..]);
        assert!(matches!(reader.bytes(9_990, 11), Err(Stop::Malformed)));
        assert!(matches!(reader.bytes(u64::MAX, 1), Err(Stop::Malformed)));
        assert_eq!(reader.up_to(9_990, 11).expect("ten are").len(), 10);
        assert_eq!(reader.up_to(10_000, 1).expect("none is").len(), 0);
        assert_eq!(reader.u32(4).expect("it is there"), 0x0706_0504);
    }

    #[test]
    fn work_ends() {
        let image = vec![0; 100_000];
        let mut reader = Reader::new(&image, 5_000);
        assert!(reader.bytes(0, 4096).is_ok());
        assert!(reader.bytes(100, 1000).is_ok(), "it is held");
        assert!(matches!(reader.bytes(50_000, 10), Err(Stop::Spent)));
    }
}
