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
    "X86_64 Cm 6d2505229015209dedd33da698fc3d62d55e4e0339278f57723172be06487b2c",
    "AArch64 Zstd d5c9801903ff76652bf4a9e7e0ddca5d261b810628d8e4447f332b94fe20e92f",
    "AArch64 Cm 5132fbb022dbdba23acefba6507588d993321437fe1994c13b64a604f80d57ba",
    "Arm Zstd 4743d3d38eb7bd4b5f4e67388e42b9e6340962a435cc5173feed75089b4868dd",
    "Arm Cm e9e0738052a02ca0ea48c05820b6a9d98c2194718203484f19456fe6963763b5",
];
