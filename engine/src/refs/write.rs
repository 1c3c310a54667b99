//! Writing: the bytes of a field, once both its place and its address are those of the target.

use std::ops::Range;

use super::field::{Field, Form};
use super::map::{InLoad, Map};
use super::narrow::SYMBOL_LEN;
use super::region::Region;
use super::{aarch64, arm};

/// Rewrites the fields in `bytes`, which are the source's from byte `offset` and are copied along
/// `diagonal`, as they will be in the target.
///
/// Of a field that the ends of `bytes` cut, the part within is written. One whose new value has no
/// spelling is left as it is.
pub fn rewrite(
    region: &Region,
    map: &Map,
    fields: &[Field],
    diagonal: i64,
    offset: u64,
    bytes: &mut [u8],
) {
    if map.is_empty() {
        return;
    }
    let mut course = Course::new(region, map, diagonal);
    for field in fields {
        let Some((skip, within)) = overlap(field, offset, bytes.len()) else { continue };
        let Some(source_place) = course.source_place(field.offset) else { continue };
        let place = map.place(source_place, diagonal);
        let address = course.moved(field.address, field.offset, source_place);
        let into = &mut bytes[within];
        let mut spelled = [0; 8];
        copy(into, &mut spelled[skip..]);
        let moved = |address| course.moved(address, field.offset, source_place);
        let is_spelled = match field.form {
            Form::Row64 { base, .. } => {
                spell_row(field.form, address, map.address(base), &mut spelled)
            }
            form => spell(form, place, address, moved, &mut spelled),
        };
        if is_spelled {
            copy(&spelled[skip..skip + into.len()], into);
        }
    }
}

/// Which bytes of a field are there, and where among `len` bytes from byte `offset` of the source:
/// how many it has in front of them.
fn overlap(field: &Field, offset: u64, len: usize) -> Option<(usize, Range<usize>)> {
    let field_len = field.form.len();
    if let Some(into) = field.offset.checked_sub(offset) {
        let start = usize::try_from(into).ok().filter(|start| *start < len)?;
        return Some((0, start..len.min(start + field_len)));
    }
    let skip = usize::try_from(offset - field.offset).ok().filter(|skip| *skip < field_len)?;
    Some((skip, 0..len.min(field_len - skip))).filter(|_| len > 0)
}

/// Copies all bytes of a field, or of a part of one, to the front of `to`.
fn copy(from: &[u8], to: &mut [u8]) {
    // Nearly all are whole and of this length, which is one move then.
    match (from.as_array::<4>(), to.first_chunk_mut::<4>()) {
        (Some(from), Some(to)) => *to = *from,
        _ => to[..from.len()].copy_from_slice(from),
    }
}

/// Where the fields go of bytes that are copied along one diagonal. What holds for the next fields,
/// too, is remembered.
struct Course<'a> {
    region: &'a Region,
    map: &'a Map,
    diagonal: i64,
    /// From this byte of the source on, so many have addresses from this one on.
    places: (u64, u64, u64),
    /// From this byte of the source on, so many are elsewhere by the map, or not.
    strays: (u64, u64, bool),
    load: InLoad,
}

impl<'a> Course<'a> {
    fn new(region: &'a Region, map: &'a Map, diagonal: i64) -> Self {
        let (places, strays) = ((0, 0, 0), (0, 0, false));
        Self { region, map, diagonal, places, strays, load: InLoad::default() }
    }

    /// The address of byte `offset` of the source.
    fn source_place(&mut self, offset: u64) -> Option<u64> {
        if offset.wrapping_sub(self.places.0) >= self.places.1 {
            let (address, count) = self.region.addresses_from(offset)?;
            self.places = (offset, count, address);
        }
        Some(self.places.2.wrapping_add(offset - self.places.0))
    }

    /// What an address becomes that a field at `offset`, which is at `source_place`, holds.
    fn moved(&mut self, address: u64, offset: u64, source_place: u64) -> u64 {
        // What is copied from elsewhere takes its surroundings with it, whatever became of them.
        if address.abs_diff(source_place) < NEAR && self.is_stray(offset) {
            return self.map.place(address, self.diagonal);
        }
        self.map.address_near(address, &mut self.load)
    }

    /// Whether byte `offset` of the source is on another diagonal, by the map.
    fn is_stray(&mut self, offset: u64) -> bool {
        if offset.wrapping_sub(self.strays.0) >= self.strays.1 {
            let (diagonal, end) = self.map.diagonal_until(offset);
            self.strays = (offset, end.saturating_sub(offset), diagonal != self.diagonal);
        }
        self.strays.2
    }
}

/// How near to a field, in bytes, its address must be to move with it where the field is not
/// copied along the diagonal that the map has for it. Measured on three pairs: of 1 and 16 KiB,
/// 1 KiB keeps the gain (2.8 % of a wheel for 32-bit ARM) and costs the others less.
const NEAR: u64 = 1 << 10;

/// Puts the address into the first bytes of `bytes`; false where it has no spelling.
fn spell(
    form: Form,
    place: u64,
    address: u64,
    mut moved: impl FnMut(u64) -> u64,
    bytes: &mut [u8; 8],
) -> bool {
    let signed_32 = |value: u64| i32::try_from(value.cast_signed()).ok().map(i32::to_le_bytes);
    let narrow = match form {
        Form::Behind32 => signed_32(address.wrapping_sub(place).wrapping_sub(4)),
        Form::Ahead32 { ahead } => {
            signed_32(address.wrapping_sub(place).wrapping_sub(4 + u64::from(ahead)))
        }
        Form::Place32 => signed_32(address.wrapping_sub(place)),
        Form::Back32 => signed_32(place.wrapping_sub(address)),
        Form::Last32(base) => signed_32(address.wrapping_sub(moved(base)).wrapping_add(1)),
        Form::Base32(base) => signed_32(address.wrapping_sub(moved(base))),
        Form::Absolute32 => u32::try_from(address).ok().map(u32::to_le_bytes),
        Form::Index32 { base, size } => {
            let distance = address.wrapping_sub(moved(base));
            let size = u64::from(size).max(1);
            let index = distance.is_multiple_of(size).then_some(distance / size);
            index.and_then(|index| u32::try_from(index).ok()).map(u32::to_le_bytes)
        }
        Form::Index24 { base } => {
            let distance = address.wrapping_sub(moved(base));
            let index = distance.is_multiple_of(SYMBOL_LEN).then_some(distance / SYMBOL_LEN);
            let index = index.and_then(|index| u32::try_from(index).ok());
            let index = index.filter(|index| *index < 1 << 24);
            index.map(|index| (index << 8 | u32::from(bytes[0])).to_le_bytes())
        }
        Form::Absolute64 => {
            *bytes = address.to_le_bytes();
            return true;
        }
        Form::Base64 { base, more } => {
            let value = address.wrapping_sub(moved(base)).wrapping_add_signed(more.into());
            *bytes = value.to_le_bytes();
            return true;
        }
        _ => {
            let Some(word) = bytes.first_chunk_mut() else { return false };
            return aarch64::write(form, place, address, word)
                || arm::write(form, place, address, word);
        }
    };
    if let (Some(value), Some(word)) = (narrow, bytes.first_chunk_mut()) {
        *word = value;
    }
    narrow.is_some()
}

/// Puts where a row starts into `bytes`, by where its relocation and the first one stand; false
/// where it is none of such a row.
fn spell_row(form: Form, address: u64, base: u64, bytes: &mut [u8; 8]) -> bool {
    let Form::Row64 { rows, index, more, .. } = form else { return false };
    let distance = address.wrapping_sub(base);
    let (place, count) = (distance / 24, u64::from(rows.count).max(1));
    if !distance.is_multiple_of(24) || place % count != u64::from(index) {
        return false;
    }
    *bytes = (place / count).wrapping_mul(rows.len.into()).wrapping_add(more.into()).to_le_bytes();
    true
}

/// Reads addresses from fields of the target.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// The address of the last `ADRP`, as the source has it, and its page in the target.
    page: Option<(u64, u64)>,
}

impl Reader {
    /// The address that a field holds whose `bytes` stand at `place` of the target, if they say it
    /// in full.
    pub(super) fn address(
        &mut self,
        field: &Field,
        place: u64,
        map: &Map,
        bytes: &[u8],
    ) -> Option<u64> {
        let narrow = i64::from(i32::from_le_bytes(*bytes.first_chunk()?));
        let wide = || bytes.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
        let place_and = |distance: i64| Some(place.wrapping_add_signed(distance));
        match field.form {
            Form::Behind32 => place_and(narrow + 4),
            Form::Ahead32 { ahead } => place_and(narrow + 4 + i64::from(ahead)),
            Form::Place32 => place_and(narrow),
            Form::Back32 => place_and(-narrow),
            Form::Base32(base) => Some(map.address(base).wrapping_add_signed(narrow)),
            Form::Absolute32 => Some(u64::try_from(narrow & 0xffff_ffff).ok()?),
            Form::Index32 { base, size } => {
                let distance = (narrow & 0xffff_ffff).wrapping_mul(size.into());
                Some(map.address(base).wrapping_add_signed(distance))
            }
            Form::Absolute64 => wide(),
            Form::Base64 { base, more } => {
                Some(wide()?.wrapping_add(map.address(base)).wrapping_sub_signed(more.into()))
            }
            Form::A64Branch26 => place_and(narrow << 38 >> 36),
            Form::A64Branch19 => place_and(narrow << 40 >> 45 << 2),
            Form::A64Page => {
                let pages = narrow << 40 >> 45 << 2 | narrow >> 29 & 3;
                self.page =
                    Some((field.address, (place & !0xfff).wrapping_add_signed(pages << 12)));
                None
            }
            Form::A64Low12 { shift } => {
                let (_, page) = self.page.take().filter(|(of, _)| *of == field.address)?;
                Some(page.wrapping_add_signed((narrow >> 10 & 0xfff) << shift))
            }
            // Says nothing of where anything went.
            Form::Row64 { .. } => None,
            form => arm::read(form, place, u32::from_le_bytes(*bytes.first_chunk()?)),
        }
    }
}
