//! Where partitions are: a GPT (UEFI, section 5.3) of sectors of 512 or 4096 bytes, or an MBR.

use std::ops::Range;

use crate::io::Error;
use crate::unpack::find::reader::{Parsed, Reader, Stop, check, le32, le64};

/// Most partitions that are looked at, and the longest entry of one, in bytes.
const COUNT_MAX: u32 = 256;
const ENTRY_LEN_MAX: u32 = 4096;

/// The partitions of an image, in order; none if there is no table.
pub(super) fn partitions(reader: &mut Reader<'_>) -> Result<Vec<Range<u64>>, Error> {
    for sector_len in [Some(512), Some(4096), None] {
        let found = match sector_len {
            Some(sector_len) => gpt(reader, sector_len),
            None => mbr(reader),
        };
        match found {
            Ok(mut partitions) => {
                let size = reader.size();
                partitions.retain(|range: &Range<u64>| range.start < range.end.min(size));
                partitions.sort_by_key(|range| (range.start, range.end));
                return Ok(partitions);
            }
            Err(Stop::Device(error)) => return Err(error),
            Err(Stop::Malformed | Stop::Spent) => {}
        }
    }
    Ok(Vec::new())
}

fn gpt(reader: &mut Reader<'_>, sector_len: u64) -> Parsed<Vec<Range<u64>>> {
    let header: [u8; 92] = reader.array(sector_len)?;
    check(header.starts_with(b"EFI PART"))?;
    let (count, entry_len) = (le32(&header, 80), le32(&header, 84));
    check((128..=ENTRY_LEN_MAX).contains(&entry_len))?;
    let in_bytes = |sector: u64| sector.checked_mul(sector_len).ok_or(Stop::Malformed);
    let mut at = in_bytes(le64(&header, 72))?;
    let mut partitions = Vec::new();
    for _ in 0..count.min(COUNT_MAX) {
        let entry: [u8; 48] = reader.array(at)?;
        at = at.checked_add(entry_len.into()).ok_or(Stop::Malformed)?;
        if entry[..16] != [0; 16] {
            let (first, last) = (le64(&entry, 32), le64(&entry, 40));
            let end = in_bytes(last.checked_add(1).ok_or(Stop::Malformed)?)?;
            partitions.push(in_bytes(first)?..end);
        }
    }
    Ok(partitions)
}

fn mbr(reader: &mut Reader<'_>) -> Parsed<Vec<Range<u64>>> {
    let sector: [u8; 512] = reader.array(0)?;
    check(sector.ends_with(&[0x55, 0xaa]))?;
    let partitions = sector[446..510].as_chunks::<16>().0.iter().filter(|entry| entry[4] != 0);
    let range = |entry: &[u8; 16]| {
        let (first, count) = (u64::from(le32(entry, 8)), u64::from(le32(entry, 12)));
        first * 512..(first + count) * 512
    };
    Ok(partitions.map(range).collect())
}
