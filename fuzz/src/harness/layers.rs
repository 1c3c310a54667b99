//! The coder `cm` and the layer `refs`, below the patch: any code, any regions, any executable.

use neap_engine::cm::{Decoder, FieldMark, Guess, SegmentLimits};
use neap_engine::digest::Digest;
use neap_engine::error::FormatError;
use neap_engine::limits::SOURCE_BLOCK;
use neap_engine::refs::Copy;
use neap_engine::refs::field::Field;
use neap_engine::refs::map::Map;
use neap_engine::refs::region::{Region, RegionReader};
use neap_engine::refs::rewriter::{Piece, Rewriter, decode_regions};
use neap_engine::refs::{rewrite, scan};
use neap_sim::executable::{Arch, images, pe_images};
use neap_sim::random::Random;

use super::choices::Choices;

/// Most reads that the headers of one region may take.
const HEADER_READS_MAX: usize = 8;

/// Most bytes that are asked for at once.
const READ_LEN_MAX: usize = 64 << 10;

/// A decoder gives as many bytes as it is asked for, or refuses, and the next one does the same;
/// what was never coded runs out.
pub fn cm(bytes: &[u8]) {
    // One behind the other: the model of each is most of what may be held at once.
    let first = decoded(bytes);
    assert_eq!(first, decoded(bytes), "two decoders of the same code differ");
}

/// What came of each call, and digests of what was decoded.
fn decoded(bytes: &[u8]) -> Vec<(Result<(), FormatError>, Digest)> {
    let (plan, code) = bytes.split_at(bytes.len() / 2);
    let mut decoder = Decoder::new();
    let mut choices = Choices::new(plan);
    let mut codes = code.chunks(1 + choices.below(256));
    let mut outcomes = Vec::new();
    for _ in 0..choices.below(24) {
        let mut made = Vec::new();
        let result = match choices.below(6) {
            0 => {
                drop(decoder);
                decoder = Decoder::new();
                Ok(())
            }
            1 => {
                decoder.open(codes.next().unwrap_or_default().to_vec());
                Ok(())
            }
            2 => {
                let count = 1 << choices.below(10);
                segments(&mut decoder, SegmentLimits { count, target_len: choices.number() })
            }
            3 => decoder.close(),
            4 => {
                made.resize(choices.word() as usize >> 6, 0);
                decoder.literals(&mut made)
            }
            _ => copy(&mut choices, &mut decoder, &mut made),
        };
        outcomes.push((result, Digest::of(&made)));
    }
    outcomes
}

/// Decodes a list of segments, which must be within the limits.
fn segments(decoder: &mut Decoder, limits: SegmentLimits) -> Result<(), FormatError> {
    let mut list = Vec::new();
    let result = decoder.segments(&mut list, limits);
    assert!(list.len() as u64 <= limits.count);
    if result.is_ok() {
        let lens = list.iter().map(|s| s.literals.saturating_add(s.run));
        let sum = lens.fold(0_u64, u64::saturating_add);
        assert!(sum <= limits.target_len, "the segments pass the limit");
    }
    result
}

/// Decodes a copy whose marks may overlap and pass its ends.
fn copy(
    choices: &mut Choices,
    decoder: &mut Decoder,
    made: &mut Vec<u8>,
) -> Result<(), FormatError> {
    let len = choices.word() as usize >> choices.below(12);
    let raw = Random::new(choices.word()).bytes(len);
    let mut guess = raw.clone();
    let mut fields = Vec::new();
    let mut at = 0;
    for _ in 0..choices.below(40) {
        let sizes = choices.byte();
        at += u32::from(choices.byte());
        fields.push(FieldMark {
            at,
            skip: sizes & 7,
            len: 1 + (sizes >> 3 & 7),
            kind: choices.byte(),
            address: choices.word(),
        });
        if let Some(byte) = guess.get_mut(at as usize) {
            *byte ^= sizes;
        }
        at += u32::from(1 + (sizes >> 3 & 7) - (sizes & 7).min(sizes >> 3 & 7));
    }
    fields.retain(|field| (field.at as usize) < len && field.skip < field.len);
    let guess = Guess { bytes: &guess, raw: &raw, fields: &fields };
    made.resize(len, 0);
    decoder.copy(&guess, made)
}

/// An image with an executable that was damaged: regions of any shape are read, scanned and
/// rewritten with few reads of few bytes, all within the image; pieces come out as long as they
/// were, the same whether or not they are cut, and bytes outside of regions as they are.
pub fn regions(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let image = damaged(&mut choices);
    for start in [8192, choices.word() << 2] {
        scanned(&image, start, &mut choices);
    }
    let columns = columns(&mut choices, image.len() as u64);
    let [regions, moves] = &columns;
    let mut rewriter = Rewriter::default();
    if rewriter.open(regions, moves, image.len() as u64).is_err() {
        return;
    }
    let entries = decode_regions(regions, moves).expect("they were opened");
    let mut copies = Vec::new();
    for _ in 0..choices.below(30) {
        let len = 1 + (choices.word() >> choices.below(14));
        let offset = choices.word() << 2;
        if offset + len <= image.len() as u64 {
            let diagonal = choices.word().cast_signed() - 32768;
            copies.push(Copy { offset, len, diagonal });
        }
    }
    for copy in &copies {
        rewriter.add_copy(*copy).expect("copies are few");
    }
    rewriter.copies_added();
    for copy in copies {
        let whole = piece(&mut rewriter, copy, &image, entries.len());
        let half = copy.len / 2;
        let front = Copy { len: half, ..copy };
        let back = Copy { offset: copy.offset + half, len: copy.len - half, ..copy };
        let front = piece(&mut rewriter, front, &image, entries.len());
        let back = piece(&mut rewriter, back, &image, entries.len());
        assert!(whole == [front, back].concat(), "cutting a piece changes its bytes");
        for (offset, byte) in (copy.offset..).zip(&whole) {
            let is_within = entries.iter().any(|e| e.offset <= offset && offset < e.end());
            assert!(is_within || image[offset as usize] == *byte, "{offset} is in no region");
        }
    }
}

/// An image with an executable, some bytes of its headers and of the rest changed.
fn damaged(choices: &mut Choices) -> Vec<u8> {
    let kind = choices.below(6);
    let (arch, seed) = (Arch::ALL[kind % 3], choices.byte().into());
    let (mut image, _) = if kind < 3 { images(arch, 60, seed) } else { pe_images(arch, 60, seed) };
    for _ in 0..choices.below(20) {
        let (place, value) = (choices.word() as usize, choices.byte());
        // The file's header and the programs', the sections', and any.
        let at = match choices.below(3) {
            0 => 8192 + place % 448,
            1 => image.len() - 5000 - 1 - place % 384,
            _ => place % image.len(),
        };
        image[at] = value;
    }
    image
}

/// Reads, scans and rewrites a region as the diff does.
fn scanned(image: &[u8], start: u64, choices: &mut Choices) {
    let Some(region) = read(image, start) else { return };
    assert!(region.end() <= image.len() as u64, "the region passes the image");
    assert!(region.len > 0 && region.offset == start);
    let copies = (0..4).map(|_| Copy {
        offset: start.wrapping_add(choices.word()),
        len: choices.word(),
        diagonal: choices.number().cast_signed(),
    });
    let map = Map::of(copies.collect::<Vec<_>>(), &region, &[choices.number().cast_signed()], &[]);
    let mut at = region.offset;
    let mut fields: Vec<Field> = Vec::new();
    while at < region.end() {
        let end = ((at / SOURCE_BLOCK + 1) * SOURCE_BLOCK).min(region.end());
        let mut bytes = image[at as usize..end as usize].to_vec();
        fields.clear();
        scan::fields(&region, at, &bytes, &mut fields);
        let mut free = at;
        for field in &fields {
            assert!(field.offset >= free, "fields overlap");
            free = field.offset + field.form.len() as u64;
            assert!(free <= end, "a field passes its block");
        }
        rewrite(&region, &map, &fields, choices.byte().into(), at, &mut bytes);
        at = end;
    }
}

/// Drives a reader, with few reads within the image.
fn read(image: &[u8], start: u64) -> Option<Region> {
    let mut reader = RegionReader::new(start, image.len() as u64);
    let mut reads = 0;
    loop {
        let Some((offset, len)) = reader.want() else { return reader.finish() };
        reads += 1;
        assert!(reads <= HEADER_READS_MAX, "more than {HEADER_READS_MAX} reads");
        assert!((1..=READ_LEN_MAX).contains(&len), "{len} bytes at once");
        reader.give(&image[offset as usize..][..len]);
    }
}

/// The columns `regions` and `moves`: raw bytes, or entries of which most are in bounds.
fn columns(choices: &mut Choices, image_size: u64) -> [Vec<u8>; 2] {
    use neap_engine::varint::{put, put_signed};
    let (mut regions, mut moves) = (Vec::new(), Vec::new());
    if choices.below(8) == 0 {
        return [choices.bytes(40).to_vec(), choices.bytes(40).to_vec()];
    }
    let mut end = 0;
    for index in 0..=choices.below(5) {
        let gap = if index == 0 { 8192 } else { choices.word() >> choices.below(12) };
        let len = if index == 0 { 1 + choices.word() } else { choices.number() };
        let len = match choices.below(16) {
            0 => len,
            _ => len.clamp(1, image_size.saturating_sub(end + gap).max(1)),
        };
        end = end.saturating_add(gap).saturating_add(len);
        let (biases, count) = (choices.below(18), choices.below(9));
        for number in [gap, len, biases as u64, count as u64] {
            put(&mut regions, number);
        }
        (0..biases).for_each(|_| put_signed(&mut regions, choices.number().cast_signed()));
        for _ in 0..count {
            put(&mut moves, choices.number());
            put(&mut moves, choices.number());
            put_signed(&mut moves, choices.number().cast_signed());
        }
    }
    [regions, moves]
}

/// What a copy is before its differences.
fn piece(rewriter: &mut Rewriter, copy: Copy, image: &[u8], regions: usize) -> Vec<u8> {
    let mut piece = Piece::default();
    let len = copy.len as usize;
    piece.reset(copy.offset, copy.diagonal, true);
    let mut guess = image[copy.offset as usize..][..len].to_vec();
    let reads_max = (HEADER_READS_MAX + 2) * regions + 2;
    let mut reads = 0;
    loop {
        let Some((offset, wanted)) = rewriter.step(&mut piece, &mut guess) else {
            let mut end = 0;
            for mark in piece.marks() {
                assert!(mark.at >= end && mark.skip < mark.len, "marks overlap");
                assert!((mark.at as usize) < len, "a mark passes the piece");
                end = mark.at + u32::from(mark.len - mark.skip);
            }
            return guess;
        };
        reads += 1;
        assert!(reads <= reads_max, "more than {reads_max} reads for a piece of {len} bytes");
        assert!((1..=READ_LEN_MAX).contains(&wanted), "{wanted} bytes at once");
        rewriter.room(wanted).copy_from_slice(&image[offset as usize..][..wanted]);
    }
}
