//! Addresses in the tables of PE files.
//!
//! Layouts: Microsoft, "PE Format", section "The .pdata Section", and "ARM64 exception handling".

use super::field::{Field, Form};
use super::part::Part;
use super::region::Arch;

impl Part<'_> {
    /// The start of each function and where its unwinding is told; on x86-64 its end stands between
    /// them. Elsewhere what is no multiple of 4 tells the unwinding itself.
    pub(super) fn functions(&self, base: u64, out: &mut Vec<Field>) {
        let (has_end, len) = match self.region.arch {
            Arch::X86_64 => (true, 12),
            _ => (false, 8),
        };
        for at in self.entries(len) {
            self.relative(at, base, 0, out);
            if has_end {
                self.relative(at.wrapping_add(4), base, 1, out);
            }
            let at = at.wrapping_add(len - 4);
            if self.u32(at).is_some_and(|value| value.is_multiple_of(4)) {
                self.relative(at, base, 0, out);
            }
        }
    }

    /// A distance of 4 bytes from `base`, and `more`, if what it points to is loaded.
    fn relative(&self, at: u64, base: u64, more: u64, out: &mut Vec<Field>) {
        let Some(distance) = self.u32(at).filter(|distance| *distance != 0) else { return };
        let address = base.wrapping_add(distance.into()).wrapping_sub(more);
        let form = if more == 0 { Form::Base32(base) } else { Form::Last32(base) };
        if self.region.is_loaded(address) {
            out.push(Field { offset: at, address, form });
        }
    }
}
