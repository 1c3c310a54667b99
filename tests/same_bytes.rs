//! The same images give the same patch on every machine: big-endian ones and others. These are
//! the digests of patches with the layer `refs`, coded by `zstd` and by `cm`; a change of the diff
//! changes them, a machine must not.

use neap_engine::diff::{Coder, Options};
use neap_engine::digest::Digest;
use neap_engine::io::drive;
use neap_engine::io::memory::{MemoryJournal, MemoryTarget, PatchBytes};
use neap_sim::executable::{self, Arch};
use neap_sim::layered;

#[test]
fn patches_of_programs_are_the_same_bytes_on_every_machine() {
    let mut found = Vec::new();
    for arch in Arch::ALL {
        for coder in [Coder::Zstd, Coder::Cm] {
            let (source, target) = executable::images(arch, 300, 7);
            let options =
                Options { effort: 4, memory: Options::MEMORY_MIN, coder, ..Options::default() };
            let (pair, _) = layered::diffed(source, target, &options);
            assert!(pair.header.refs, "{arch:?} {coder:?}: nothing is rewritten");
            let (mut target, mut journal) = (MemoryTarget::default(), MemoryJournal::default());
            let mut patch = PatchBytes::new(&pair.patch);
            let options = drive::Options::default();
            let applied =
                drive::apply(&mut patch, &pair.source, &mut target, &mut journal, options, &|_| {});
            assert!(applied.is_ok(), "{arch:?} {coder:?}: {:?}", applied.err());
            assert!(target.bytes == pair.target, "{arch:?} {coder:?}: the target differs");
            found.push(format!("{arch:?} {coder:?} {}", Digest::of(&pair.patch)));
        }
    }
    assert_eq!(found, EXPECTED);
}

const EXPECTED: [&str; 6] = [
    "X86_64 Zstd 6f097aafd5be00202f9c09f62177dc1f0246e20a1452c88db172d483ae7c11e3",
    "X86_64 Cm 069ce325fea3ca1233bd4cc8c1a8b8e9e877f2f285376616b4b976dd1e02aadc",
    "AArch64 Zstd d5c9801903ff76652bf4a9e7e0ddca5d261b810628d8e4447f332b94fe20e92f",
    "AArch64 Cm bc871c6e6fd4ecf33b75d3a27b7f9e868c15362dc0ee555d91d0be8e7dd1c739",
    "Arm Zstd 4743d3d38eb7bd4b5f4e67388e42b9e6340962a435cc5173feed75089b4868dd",
    "Arm Cm f2c5ada9efdd3cc6e5796ab81e2c2537e7263d6f36f3736b784aa52c967fd5e4",
];
