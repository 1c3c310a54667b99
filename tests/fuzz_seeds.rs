//! Runs every committed seed through its fuzz harness, so that what was found once stays fixed
//! without a fuzzer. The harnesses are those of `fuzz/`, built here once more.

#[path = "../fuzz/src/harness/mod.rs"]
#[allow(
    unreachable_pub,
    clippy::cast_possible_truncation,
    reason = "to the fuzz targets it is a library, and all its images are small"
)]
mod harness;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

#[test]
fn every_seed_passes_its_harness() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds");
    let names = |path: &Path| -> BTreeSet<_> {
        let entries = fs::read_dir(path).expect("the folder is in the repository");
        entries.map(|entry| entry.expect("the folder can be read").file_name()).collect()
    };
    let named: BTreeSet<_> = harness::HARNESSES.iter().map(|(name, _)| (*name).into()).collect();
    assert_eq!(names(&seeds), named, "every harness has a folder of seeds and no other is there");
    for (name, harness) in harness::HARNESSES {
        let folder = seeds.join(name);
        assert!(!names(&folder).is_empty(), "{name} has no seed");
        for seed in names(&folder) {
            let path = folder.join(seed);
            println!("{}", path.display());
            harness(&fs::read(&path).expect("a seed can be read"));
        }
    }
}

/// A fuzzer grows its inputs from few seeds; this is a sample of all that can be built.
#[test]
fn both_appliers_agree_on_patches_built_from_noise() {
    for seed in 1..=2000_u64 {
        let mut state = seed;
        let choices = std::iter::repeat_with(|| {
            state =
                state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(0x1405_7b7e_f767_814f);
            state.to_be_bytes()[0]
        });
        println!("seed {seed}");
        // Of another length, they build frames of all coders, the slow one among them.
        let len = if seed.is_multiple_of(100) { 247 } else { 240 };
        harness::whole::fast_vs_reference(&choices.take(len).collect::<Vec<_>>());
    }
}
