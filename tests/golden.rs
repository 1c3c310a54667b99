//! Patches of every released format version, kept for ever: both appliers make of them what they
//! made when they were written.
//!
//! The patches lie in `golden/`; the images they turn into each other are made here, and held
//! against the digests in `golden/manifest.txt`.

#[path = "../engine/reference/tests/common/mod.rs"]
mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use common::{FrameScript, Run, Script, both, noise, patch_of};
use neap_engine::diff::{Coder, Options, Parts};
use neap_engine::digest::Digest;
use neap_engine::io::drive::read_header;
use neap_engine::io::memory::PatchBytes;
use neap_sim::derived;
use neap_sim::erofs;
use neap_sim::executable::{self, Arch};
use neap_sim::layered;
use neap_sim::packed;

/// Longest golden patch, in bytes: they are read by people with a hex dump beside `format.md`.
const PATCH_LEN_MAX: usize = 4096;

/// The name of a patch, its source, and how it is written where it is not there yet.
struct Golden {
    name: &'static str,
    source: Vec<u8>,
    made_by: MadeBy,
}

enum MadeBy {
    /// `diff`, from this target, with a restart point after so many bytes.
    Diff(Vec<u8>, u64),
    /// `diff`, from this target, by this coder, with addresses rewritten or not.
    Layers(Vec<u8>, Coder, bool),
    /// Hand, for what `diff` does not write.
    Hand(Box<Script>),
}

fn goldens() -> Vec<Golden> {
    let diffed = |name, source, target: Vec<u8>| Golden {
        name,
        source,
        made_by: MadeBy::Diff(target, 8 << 20),
    };
    let image = noise(200_000, 1);
    let sparse = [noise(100, 2), vec![0; 200_000], noise(50, 3), vec![0; 70_000]].concat();
    vec![
        diffed("v1-empty-source", Vec::new(), text(40, 0)),
        diffed("v1-empty-target", noise(5000, 4), Vec::new()),
        diffed("v1-empty-both", Vec::new(), Vec::new()),
        diffed("v1-identical", image.clone(), image),
        diffed("v1-text", text(900, 0), [text(500, 0), text(400, 3)].concat()),
        diffed("v1-executable", executable(3000, 0), executable(3000, 64)),
        diffed("v1-full", noise(9000, 5), noise(3000, 6)),
        diffed("v1-zeros", noise(4096, 7), sparse),
        restarts(),
        Golden { name: "v1-stored", source: noise(9000, 8), made_by: by_hand(0, noise(9000, 8)) },
        Golden { name: "v1-islands", source: noise(9000, 8), made_by: by_hand(1, noise(9000, 8)) },
        notes(),
        layers("v1-refs", Arch::X86_64, Coder::Zstd, true),
        pe(),
        layers("v1-cm", Arch::X86_64, Coder::Cm, false),
        layers("v1-cm-refs-aarch64", Arch::AArch64, Coder::Cm, true),
        layers("v1-cm-refs-arm", Arch::Arm, Coder::Cm, true),
        unpacked(),
        cut(),
        derived_regions(),
    ]
}

/// Lines of words, some of which depend on `change`.
fn text(lines: usize, change: usize) -> Vec<u8> {
    const WORDS: [&str; 7] = ["tide", "low", "neap", "moon", "quarter", "spring", "water"];
    let line = |index: usize| {
        let word = |step: usize| WORDS[(index * step + index / 50 * change) % 7];
        format!("{index}: {} {} {}\n", word(1), word(3), word(5))
    };
    (0..lines).flat_map(|index| line(index).into_bytes()).collect()
}

/// Code that calls functions by address, all of them moved by `shift` behind the first thousand.
fn executable(calls: u32, shift: u32) -> Vec<u8> {
    let mut code = noise(64, 11);
    for index in 0..calls {
        if index == 1000 {
            code.extend(noise(shift as usize, 12));
        }
        let callee = index.wrapping_mul(2_654_435_761) >> 18;
        let address = if callee > 8000 { callee + shift } else { callee };
        code.extend([0x94, 0x2a, (index % 13) as u8]);
        code.extend(address.to_le_bytes());
    }
    code
}

/// A patch with a note of estimates, and one that no program knows.
fn notes() -> Golden {
    let source = noise(5000, 15);
    let segments = vec![(b"with notes: ".to_vec(), Run::Copy(0, 5000))];
    let frame = FrameScript { coder: 1, segments, ..FrameScript::default() };
    let estimates = vec![0x00, 0x80, 5, 0, 0x88, 0x27, 0x91, 0x01, 12];
    let unknown = [vec![0xfe, 0xff, 10, 0], b"for later.".to_vec()].concat();
    let layers = vec![estimates, unknown];
    let script = Script { layers, ..Script::new(source.clone(), vec![frame]) };
    Golden { name: "v1-notes", source, made_by: MadeBy::Hand(Box::new(script)) }
}

/// Frames of zstd, some of them in others.
fn unpacked() -> Golden {
    let (source, target) = packed::images(150_000, 5);
    Golden { name: "v1-unpack", source, made_by: MadeBy::Layers(target, Coder::Zstd, false) }
}

/// Streams of gzip, xz and lzma whose ends lie elsewhere.
fn cut() -> Golden {
    let (source, target) = erofs::images(3, 21);
    Golden { name: "v1-unpack-cut", source, made_by: MadeBy::Layers(target, Coder::Zstd, false) }
}

/// The same with a hash tree and parity behind them.
fn derived_regions() -> Golden {
    let (source, target) = derived::images(100_000, 5);
    Golden { name: "v1-derived", source, made_by: MadeBy::Layers(target, Coder::Zstd, false) }
}

/// A program whose functions grew.
fn layers(name: &'static str, arch: Arch, coder: Coder, refs: bool) -> Golden {
    let (source, target) = executable::images(arch, 100, 16);
    Golden { name, source, made_by: MadeBy::Layers(target, coder, refs) }
}

/// The same in a PE file.
fn pe() -> Golden {
    let (source, target) = executable::pe_images(Arch::AArch64, 100, 17);
    Golden { name: "v1-refs-pe", source, made_by: MadeBy::Layers(target, Coder::Zstd, true) }
}

/// So many literals that they take several frames, each in a group of its own.
fn restarts() -> Golden {
    let source = noise(100_000, 13);
    let unit = noise(500, 14);
    let target = [source.clone(), unit.repeat(9000), source.clone()].concat();
    Golden { name: "v1-restarts", source, made_by: MadeBy::Diff(target, 1) }
}

/// Three frames, one a restart point; islands that span copies; runs in the source map.
fn by_hand(coder: u8, source: Vec<u8>) -> MadeBy {
    let frame = |is_restart, from: u64| FrameScript {
        coder,
        is_restart,
        segments: vec![
            (b"literals, then a copy: ".to_vec(), Run::Copy(from, 100)),
            (Vec::new(), Run::Zeros(70_000)),
            (b"more".to_vec(), Run::Copy(8192, 808)),
            (b"a last word".to_vec(), Run::None),
        ],
        islands: vec![(0, vec![1]), (97, vec![2, 3, 4, 5]), (0, vec![255]), (804, vec![6])],
        refs: None,
    };
    let frames = vec![frame(false, 0), frame(false, 3996), frame(true, 50)];
    let runs = vec![(0, 1), (2, 1)];
    MadeBy::Hand(Box::new(Script { runs, ..Script::new(source, frames) }))
}

impl MadeBy {
    fn patch(&self, source: &[u8]) -> Vec<u8> {
        match self {
            Self::Diff(target, restart_len) => patch_of(source, target, *restart_len),
            Self::Layers(target, coder, refs) => {
                let parts = Parts { refs: *refs, ..Parts::default() };
                let options = Options { coder: *coder, parts, ..Options::default() };
                layered::diffed(source.to_vec(), target.clone(), &options).0.patch
            }
            Self::Hand(script) => script.patch(),
        }
    }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden")
}

/// Digests of patch, source and target by the patch's name.
fn manifest() -> BTreeMap<String, [String; 3]> {
    let text = fs::read_to_string(folder().join("manifest.txt")).unwrap_or_default();
    let lines = text.lines().map(|line| {
        let mut words = line.split_whitespace().map(str::to_owned);
        let mut word = || words.next().unwrap_or_default();
        (word(), [word(), word(), word()])
    });
    lines.collect()
}

#[test]
fn golden_patches_make_what_they_made() {
    let manifest = manifest();
    for golden in goldens() {
        let (name, source) = (golden.name, golden.source);
        let patch = fs::read(folder().join(format!("{name}.neap"))).expect(name);
        assert!(patch.len() < PATCH_LEN_MAX, "{name} has {} bytes", patch.len());
        let target = both(&patch, &source);
        assert!(target.is_ok(), "{name}: {target:?}");
        let target = target.unwrap_or_default();
        if let MadeBy::Diff(expected, _) | MadeBy::Layers(expected, ..) = golden.made_by {
            assert!(target == expected, "{name}: the target is not the one that was diffed");
        }
        let digests = [patch, source, target].map(|bytes| Digest::of(&bytes).to_string());
        assert_eq!(Some(&digests), manifest.get(name), "{name}: patch, source, target");
    }
}

#[test]
fn golden_patches_are_those_of_the_manifest() {
    let listed: Vec<String> = manifest().into_keys().collect();
    let mut made: Vec<String> = goldens().into_iter().map(|golden| golden.name.into()).collect();
    made.sort();
    assert_eq!(listed, made, "manifest, then this file");
    let files = fs::read_dir(folder()).expect("the folder is there").flatten();
    let names = files.map(|file| file.file_name().to_string_lossy().into_owned());
    let mut found: Vec<String> =
        names.filter_map(|name| Some(name.strip_suffix(".neap")?.to_owned())).collect();
    found.sort();
    assert_eq!(listed, found, "manifest, then folder");
}

#[test]
fn golden_patches_show_frames_restart_points_and_both_coders() {
    let header = |name: &str| fs::read(folder().join(format!("{name}.neap"))).expect("it is there");
    let restart_count = |name: &str| header(name)[104];
    assert!(restart_count("v1-restarts") >= 2);
    assert_eq!(restart_count("v1-stored"), 1);
    let coder = |name: &str| {
        let patch = header(name);
        patch[20 + usize::from(patch[12]) + 256 * usize::from(patch[13])]
    };
    assert_eq!((coder("v1-stored"), coder("v1-islands")), (0, 1));
}

#[test]
fn golden_patches_show_the_layer_refs_and_the_coder_cm() {
    let shows = |name: &str| {
        let patch = fs::read(folder().join(format!("{name}.neap"))).expect("it is there");
        let header = read_header(&mut PatchBytes::new(&patch)).expect("it has a header");
        let body = usize::try_from(header.header_len).expect("a header is in memory") + 20;
        (header.refs, patch[body])
    };
    assert_eq!(shows("v1-refs"), (true, 1));
    assert_eq!(shows("v1-cm"), (false, 2));
    assert_eq!(shows("v1-cm-refs-aarch64"), (true, 2));
    assert_eq!(shows("v1-cm-refs-arm"), (true, 2));
}

#[test]
#[ignore = "writes files: run it by name after adding a patch to this file"]
fn missing_golden_patches_are_written() {
    let mut manifest = manifest();
    for golden in goldens() {
        let path = folder().join(format!("{}.neap", golden.name));
        if path.exists() {
            continue;
        }
        let patch = golden.made_by.patch(&golden.source);
        let target = both(&patch, &golden.source);
        let target = target.expect("a new patch applies");
        fs::write(&path, &patch).expect("the folder can be written to");
        let digests = [patch, golden.source, target].map(|bytes| Digest::of(&bytes).to_string());
        manifest.insert(golden.name.into(), digests);
    }
    let lines = manifest.iter().map(|(name, digests)| format!("{name} {}\n", digests.join(" ")));
    let written = fs::write(folder().join("manifest.txt"), lines.collect::<String>());
    written.expect("the folder can be written to");
}
