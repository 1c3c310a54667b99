//! .lzma (LZMA Utils; `lzma-file-format.txt` of XZ Utils), and EDK2's sections of it.
//!
//! The first bytes of a stream are no magic, so its header must be one that encoders write, and the
//! stream must unpack to its end. A section (UEFI Platform Initialization 1.8, volume 3, 2.2.4)
//! tells its length, which saves unpacking it.

use liblzma::stream::{Action, Status, Stream};

use super::{
    Block, Codec, Hit, Parsed, Reader, STREAM_PLAIN_LEN_MAX, Stop, Stream as Cut, check, cut, one,
    whole,
};
use crate::unpack::find::reader::{le16, le32, le64, sum};

/// Header of a stream: properties, dictionary, plain length; in bytes.
const HEADER_LEN: usize = 13;

/// Properties of all encoders of today: lc 3, lp 0, pb 2.
const PROPERTIES: u8 = 0x5d;

/// Largest dictionary, in bytes: that of `lzma -9`.
const DICTIONARY_LEN_MAX: u32 = 64 << 20;

/// Most memory that unpacking takes: the dictionary and a little.
const MEMORY_MAX: u64 = DICTIONARY_LEN_MAX as u64 + (1 << 20);

/// Plain length that is not told.
const LEN_UNKNOWN: u64 = u64::MAX;

/// EE4E5898-3914-4259-9D6E-DC7BD79403CF as it is stored.
const SECTION_GUID: [u8; 16] = [
    0x98, 0x58, 0x4e, 0xee, 0x14, 0x39, 0x59, 0x42, 0x9d, 0x6e, 0xdc, 0x7b, 0xd7, 0x94, 0x03, 0xcf,
];

/// Type of a section that a GUID defines.
const SECTION_TYPE: u32 = 2;

/// Size in a section's header if it is in the next 4 bytes.
const SECTION_SIZE_LONG: u32 = 0xff_ffff;

/// Bytes read, and made, at once.
const PIECE_LEN: usize = 64 << 10;

/// Finds the stream at `offset`.
pub(super) fn find(reader: &mut Reader<'_>, offset: u64) -> Parsed<Hit> {
    check(is_header(reader, offset)?)?;
    match end(reader, offset) {
        Ok(end) => {
            let codec = codec(reader, offset)?;
            whole(reader, "lzma", (offset, end), codec)
        }
        Err(Stop::Malformed) => cut(reader, "lzma", (offset, offset), Cut::Lzma),
        Err(stop) => Err(stop),
    }
}

/// What unpacks the stream at `offset`. liblzma makes none that tells its length: up to its end,
/// such a one is the same.
fn codec(reader: &mut Reader<'_>, offset: u64) -> Parsed<Codec> {
    let len = reader.u64(offset + 5)?;
    Ok(if len == LEN_UNKNOWN { Codec::Lzma } else { Codec::Cut(Cut::Lzma) })
}

/// Finds the stream in the section whose GUID is at `guid`.
pub(super) fn find_section(reader: &mut Reader<'_>, guid: u64) -> Parsed<Hit> {
    check(reader.array(guid)? == SECTION_GUID)?;
    let header = guid.checked_sub(4).ok_or(Stop::Malformed)?;
    let word = reader.u32(header)?;
    let (section, size) = if word & 0xff_ffff == SECTION_SIZE_LONG || word >> 24 != SECTION_TYPE {
        let header = guid.checked_sub(8).ok_or(Stop::Malformed)?;
        let bytes: [u8; 8] = reader.array(header)?;
        check(le32(&bytes, 0) == SECTION_SIZE_LONG | SECTION_TYPE << 24)?;
        (header, le32(&bytes, 4))
    } else {
        (header, word & 0xff_ffff)
    };
    let fields: [u8; 4] = reader.array(guid + SECTION_GUID.len() as u64)?;
    let end = sum(section, u64::from(size))?;
    let start = section + u64::from(le16(&fields, 0));
    check(start >= guid + 20 && start + HEADER_LEN as u64 <= end && end <= reader.size())?;
    check(is_header(reader, start)?)?;
    let codec = codec(reader, start)?;
    let block = Block { offset: start, len: end - start, codec };
    one(reader, "lzma-section", (section, end), block)
}

/// Whether a stream may begin at `offset`.
fn is_header(reader: &mut Reader<'_>, offset: u64) -> Parsed<bool> {
    let header: [u8; HEADER_LEN + 1] = reader.array(offset)?;
    let dictionary = le32(&header, 1);
    // Encoders write 2^n, or half as much again.
    let power = dictionary.checked_ilog2().unwrap_or(0);
    let is_plain = dictionary & !(3 << power >> 1) == 0 && dictionary <= DICTIONARY_LEN_MAX;
    let len = le64(&header, 5);
    let is_len = len == LEN_UNKNOWN || (1..=STREAM_PLAIN_LEN_MAX).contains(&len);
    // The range coder starts with a zero byte.
    Ok(header[0] == PROPERTIES && power >= 12 && is_plain && is_len && header[HEADER_LEN] == 0)
}

/// Unpacks the stream at `offset` to nowhere, up to its end.
fn end(reader: &mut Reader<'_>, offset: u64) -> Parsed<u64> {
    let mut state = Stream::new_lzma_decoder(MEMORY_MAX).map_err(|_| Stop::Malformed)?;
    let mut output = vec![0; PIECE_LEN];
    loop {
        let (used, before) = (state.total_in(), state.total_out());
        let input = reader.up_to(offset + used, PIECE_LEN)?;
        let status = state.process(input, &mut output, Action::Run).map_err(|_| Stop::Malformed)?;
        let made = state.total_out() - before;
        check(state.total_out() <= STREAM_PLAIN_LEN_MAX)?;
        // It is several times as slow as scanning.
        reader.spend(made * 4)?;
        match status {
            Status::StreamEnd => return Ok(offset + state.total_in()),
            Status::Ok => check(made > 0 || state.total_in() > used)?,
            _ => return Err(Stop::Malformed),
        }
    }
}
