//! Addresses in call frame information: `.eh_frame` and its search table.
//!
//! A block does not say where its first record starts, so records are known by what they hold.
//! Layouts: "Linux Standard Base Core Specification", version 5.0, sections 10.6.1 and 10.6.2.

use super::field::{Field, Form};
use super::part::Part;

/// Longest function and longest record that are believed, in bytes.
const FUNCTION_LEN_MAX: u32 = 1 << 24;
const RECORD_LEN_MAX: u32 = 1 << 16;

impl Part<'_> {
    /// The records of functions: a length, the distance back to the common record, where the
    /// function starts, and how long it is. Behind them may be where its handlers are described.
    pub(super) fn eh_frame(&self, out: &mut Vec<Field>) {
        let mut next = 0;
        for at in self.aligned(4) {
            if at < next {
                continue;
            }
            if let Some(len) = self.function_record(at, out) {
                next = at.saturating_add(4 + u64::from(len));
            }
        }
    }

    /// Appends the fields of the record at `at` and returns its length, if it is one.
    fn function_record(&self, at: u64, out: &mut Vec<Field>) -> Option<u32> {
        let len = self.u32(at).filter(|len| len % 4 == 0 && (12..=RECORD_LEN_MAX).contains(len))?;
        let field = |more: u64, address, form| Field { offset: at + more, address, form };
        let place = |more| self.address(at).wrapping_add(more);
        let back = self.u32(at + 4).filter(|back| *back != 0 && back % 4 == 0)?;
        let common = place(4).wrapping_sub(back.into());
        let start = place(8).wrapping_add_signed(self.i32(at + 8)?);
        if !self.is_within(common) || !self.region.is_code(start) {
            return None;
        }
        out.push(field(4, common, Form::Back32));
        out.push(field(8, start, Form::Place32));
        let Some(range) = self.u32(at + 12) else { return Some(len) };
        if range == 0 || range > FUNCTION_LEN_MAX {
            return Some(len);
        }
        let last = start.wrapping_add(u64::from(range) - 1);
        out.push(field(12, last, Form::Last32(start)));
        if self.number(at + 16) == Some([4]) {
            let handlers = self.i32(at + 17).filter(|distance| *distance != 0);
            let address = handlers.map(|distance| place(17).wrapping_add_signed(distance));
            if let Some(address) = address.filter(|address| self.region.is_loaded(*address)) {
                out.push(field(17, address, Form::Place32));
            }
        }
        Some(len)
    }

    /// The search table: where the frames are, a count, then pairs of where a function starts and
    /// where its record is, each relative to the table.
    pub(super) fn eh_frame_hdr(&self, out: &mut Vec<Field>) {
        let base = self.span.address;
        for at in self.aligned(4) {
            let Some(distance) = self.i32(at) else { continue };
            let (address, form) = match at.wrapping_sub(self.span.offset) {
                4 => (self.address(at).wrapping_add_signed(distance), Form::Place32),
                0..=8 => continue,
                _ => (base.wrapping_add_signed(distance), Form::Base32(base)),
            };
            if self.region.is_loaded(address) {
                out.push(Field { offset: at, address, form });
            }
        }
    }
}
