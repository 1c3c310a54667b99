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
    "X86_64 Zstd d3d7f17d1053225d487e82f1aa879dbfe8210b59f55456d7df42462151b7a52e",
    "X86_64 Cm 1b84d9d90a85c8aecb9284ee1a519bf31f142428c55d1dfa969f1db97b66c3af",
    "AArch64 Zstd 3eaa1b3df989b44a370d4c6a214f043cff44dc336acd2467c32e05f8d2415b4d",
    "AArch64 Cm 695fcd4b3886d69052ecbad16f9a684814cfd9f8c76f1132609b3d5bc1c4bb1b",
    "Arm Zstd 111895f729c8a7bd31d8b1f7c9537b3a81b5d46408f49dcc36e7fdf71ebf9829",
    "Arm Cm cd2905e20127fb3d6b52a4d5e004151a4243cdb093b31e5a16a04b9fbb85b7d8",
];
