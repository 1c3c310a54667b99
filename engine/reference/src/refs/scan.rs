//! Finding fields, block by block (9.3).

use super::form::{Field, Form};
use super::region::{Kind, Machine, Region, Span, number};
use super::{BLOCK_LEN, aarch64, arm, btf, call_frames, constants, pe, tables, x86_64};
use crate::bytes::memory;

/// The part of a span that lies in a block, and the fields that were found in it.
pub(super) struct Scan<'a> {
    pub(super) region: &'a Region,
    pub(super) span: &'a Span,
    pub(super) bytes: &'a [u8],
    /// The address of the first byte.
    pub(super) start: u64,
    offset: u64,
    pub(super) fields: Vec<Field>,
}

/// The fields of the region in a block of the source.
pub(super) fn fields(region: &Region, source: &[u8], block: u64) -> Vec<Field> {
    let (start, end) = (block * BLOCK_LEN, (block + 1) * BLOCK_LEN);
    let mut fields = Vec::new();
    let first = region.spans.partition_point(|span| span.offset + span.len <= start);
    for span in region.spans[first..].iter().take_while(|span| span.offset < end) {
        let (offset, end) = (span.offset.max(start), end.min(span.offset + span.len));
        let mut scan = Scan {
            region,
            span,
            bytes: &source[memory(offset)..memory(end)],
            start: span.address.wrapping_add(offset - span.offset),
            offset,
            fields,
        };
        scan.run();
        fields = scan.fields;
    }
    fields.sort_by_key(|field| field.offset);
    let mut free = 0;
    fields.retain(|field| {
        let is_free = field.offset >= free;
        free = if is_free { field.offset + field.form.len() } else { free };
        is_free
    });
    fields
}

impl Scan<'_> {
    fn run(&mut self) {
        match (self.span.kind, self.region.machine) {
            (Kind::Code, Machine::X86_64) => x86_64::scan(self),
            (Kind::Code, Machine::AArch64) => aarch64::scan(self),
            (Kind::Code, Machine::Arm) => arm::scan(self),
            (Kind::Code, Machine::Other) => {}
            (Kind::Constants | Kind::Data, _) => constants::scan(self),
            (Kind::Functions, _) => pe::scan_functions(self),
            (Kind::CallFrames, _) => call_frames::scan(self),
            (Kind::SearchTable, _) => call_frames::scan_search_table(self),
            (Kind::UnwindIndex, _) => arm::scan_unwind_index(self),
            (Kind::UnwindTables, _) => arm::scan_unwind_tables(self),
            (Kind::Types, _) => btf::scan(self),
            _ => tables::scan(self),
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The number of `len` bytes at an address; nothing if it is not all in this part.
    pub(super) fn number(&self, at: u64, len: u64) -> Option<u64> {
        number(self.bytes, at.wrapping_sub(self.start), len)
    }

    pub(super) fn u32(&self, at: u64) -> Option<u64> {
        self.number(at, 4)
    }

    pub(super) fn word(&self, at: u64) -> Option<u64> {
        self.number(at, self.region.word_len())
    }

    /// Addresses in this part that are multiples of a power of two.
    pub(super) fn multiples(&self, of: u64) -> impl Iterator<Item = u64> + use<> {
        let (start, len) = (self.start, self.len());
        let first = start.wrapping_neg() & (of - 1);
        (first..len).step_by(memory(of)).map(move |index| start.wrapping_add(index))
    }

    /// Addresses at a multiple of `len` behind the span's start: from the last that is not behind
    /// this part's start up to this part's end.
    pub(super) fn entries(&self, len: u64) -> impl Iterator<Item = u64> + use<> {
        let (skipped, address) = (self.offset - self.span.offset, self.span.address);
        let entries = skipped / len..(skipped + self.len()).div_ceil(len);
        entries.map(move |index| address.wrapping_add(index * len))
    }

    /// Notes a field at an address.
    pub(super) fn add(&mut self, at: u64, form: Form, address: u64) {
        let offset = self.offset + at.wrapping_sub(self.start);
        self.fields.push(Field { offset, form, address });
    }

    /// Notes a field if what it points to passes a test; gives what that is.
    pub(super) fn add_if(
        &mut self,
        at: u64,
        form: Form,
        test: impl Fn(&Region, u64) -> bool,
    ) -> Option<u64> {
        let address = form.read(self.number(at, form.len())?, at);
        if test(self.region, address) {
            self.add(at, form, address);
        }
        Some(address)
    }
}
