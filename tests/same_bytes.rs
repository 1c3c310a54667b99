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
    "X86_64 Zstd 02a53ef0df5f9f61808525921a0c8e38d1feaa0093040e9c7da8cdc6d19fc612",
    "X86_64 Cm fc5170d983c54aa84f07963b3694517c11ae8f1dd0573b529c7cce2904ae43e9",
    "AArch64 Zstd ebc66ae917417640a1e940c802c84ae1d7878c76ed6a467d6d293f4d2ee07688",
    "AArch64 Cm d05b781d5c8e5e74c2833d52b1654a622bd51d26e0c235b33524a0669aa218e3",
    "Arm Zstd 111895f729c8a7bd31d8b1f7c9537b3a81b5d46408f49dcc36e7fdf71ebf9829",
    "Arm Cm cd2905e20127fb3d6b52a4d5e004151a4243cdb093b31e5a16a04b9fbb85b7d8",
];
