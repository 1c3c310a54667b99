//! Tables of Linux kernels (`vmlinux`) whose entries say where something is by how far it is away.
//!
//! Sections and entries: Linux, `include/linux/export.h`, `include/asm-generic/bug.h`,
//! `arch/x86/include/asm/extable.h`, `alternative.h` and `orc_types.h`, and `tools/objtool`.

use super::field::{Field, Form};
use super::part::Part;

/// How the entries of a table look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Bytes of an entry.
    pub len: u8,
    /// Numbers of 4 bytes in front that are distances, each from where it stands.
    pub count: u8,
}

/// The shape of the table that a section of this name and length is, if it is one.
pub(super) fn distances(name: &[u8], len: u64) -> Option<Shape> {
    let (len, count) = match name {
        b".orc_unwind_ip" | b".return_sites" | b".retpoline_sites" | b".call_sites"
        | b".ibt_endbr_seal" | b".cfi_sites" | b".smp_locks" => (4, 1),
        // Where the value is, its name, and its namespace.
        b"__ksymtab" | b"__ksymtab_gpl" => (12, 3),
        // The instruction, and where to go on; the file that has the bug.
        b"__ex_table" | b"__bug_table" => (12, 2),
        // What is replaced, and by what. Flags became longer with Linux 6.3.
        b".altinstructions" if len.is_multiple_of(12) => (12, 2),
        b".altinstructions" => (14, 2),
        _ => return None,
    };
    Some(Shape { len, count })
}

impl Part<'_> {
    /// The distances in front of each entry.
    pub(super) fn distances(&self, shape: Shape, out: &mut Vec<Field>) {
        for at in self.entries(shape.len.into()) {
            for index in 0..shape.count {
                self.distance(at.wrapping_add(4 * u64::from(index)), out);
            }
        }
    }

    /// A field that says how far away what it points to is, if that is loaded.
    fn distance(&self, at: u64, out: &mut Vec<Field>) {
        let Some(distance) = self.i32(at).filter(|distance| *distance != 0) else { return };
        let address = self.address(at).wrapping_add_signed(distance);
        if self.region.is_loaded(address) {
            out.push(Field { offset: at, address, form: Form::Place32 });
        }
    }
}
