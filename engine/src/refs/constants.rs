//! Addresses among constants: jump tables.

use super::field::{Field, Form};
use super::part::Part;

/// Fewest entries in a row that are believed to be a jump table.
const ENTRIES_MIN: usize = 4;

/// How far entries that follow each other may point apart, in bytes: within a function.
const APART_MAX: u64 = 1 << 16;

impl Part<'_> {
    /// Runs of numbers of 4 bytes that, added to the address of the first, point into code and near
    /// each other.
    pub(super) fn jump_tables(&self, out: &mut Vec<Field>) {
        let mut run: Vec<Field> = Vec::new();
        for at in self.aligned(4) {
            let base = run.first().map_or(at, |first| first.offset);
            let mut entry = self.entry(at, base);
            let is_near = |entry: &Field| {
                run.last().is_none_or(|last| last.address.abs_diff(entry.address) <= APART_MAX)
            };
            if !entry.as_ref().is_some_and(is_near) {
                close(&mut run, out);
                entry = self.entry(at, at);
            }
            run.extend(entry);
        }
        close(&mut run, out);
    }

    /// The entry at `at` of a table that starts at `base`.
    fn entry(&self, at: u64, base: u64) -> Option<Field> {
        let distance = self.i32(at).filter(|distance| *distance != 0)?;
        let base = self.address(base);
        let address = base.wrapping_add_signed(distance);
        let is_code = self.region.is_code(address);
        is_code.then_some(Field { offset: at, address, form: Form::Base32(base) })
    }
}

fn close(run: &mut Vec<Field>, out: &mut Vec<Field>) {
    if run.len() >= ENTRIES_MIN {
        out.append(run);
    }
    run.clear();
}
