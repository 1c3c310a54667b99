//! The comparison as a user runs it, on two small files, with the peer that needs no installation.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).expect("an earlier run's folder can be removed");
    }
    fs::create_dir_all(&folder).expect("the folder can be made");
    folder
}

fn compare(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_compare"));
    // Neither a corpus of this machine nor a build of neap shall take part.
    command.env("NEAP_CORPUS_CACHE", folder.join("no-corpus")).env_remove("CARGO");
    command.current_dir(folder).args(arguments).output().expect("compare starts")
}

/// A source of 64 blocks, and a target in which three of them differ.
fn write_pair(folder: &Path) {
    let mut source = vec![0; 64 * 4096];
    blake3::Hasher::new().update(b"source").finalize_xof().fill(&mut source);
    fs::write(folder.join("source"), &source).expect("written");
    for block in [3, 30, 63] {
        source[block * 4096] ^= 1;
    }
    fs::write(folder.join("target"), &source).expect("written");
}

#[test]
fn a_row_is_measured_compared_and_written_in_all_three_forms() {
    let folder = folder("three-forms");
    write_pair(&folder);
    let arguments = ["--pair", "source", "target", "--tools", "4 KiB", "--runs", "2"];
    let output = compare(&folder, &[&arguments[..], &["--output", "results"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let json = fs::read(folder.join("results/results.json")).expect("it was written");
    let record: neap_bench::record::Record = serde_json::from_slice(&json).expect("it is a record");
    let row = record.pairs[0].good_row("4 KiB blocks").expect("the target was rebuilt");
    let size = row.patch_size.expect("it was measured");
    assert!((3 * 4096..4 * 4096).contains(&size), "{size}");
    assert_eq!(row.apply.as_ref().map(|timing| timing.runs_s.len()), Some(2));

    let read = |name: &str| fs::read_to_string(folder.join("results").join(name)).expect("written");
    assert!(read("results.md").contains("| 4 KiB blocks | 12,"), "{}", read("results.md"));
    assert!(read("results.svg").starts_with("<svg"));
}

#[test]
fn an_ablation_makes_and_checks_a_patch_for_each_part_and_coder() {
    let folder = folder("ablation");
    write_pair(&folder);
    let arguments = ["ablation", "--pair", "source", "target", "--output", "results"];
    let output = compare(&folder, &arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let json = fs::read(folder.join("results/ablation.json")).expect("it was written");
    let record: neap_bench::ablation::AblationRecord =
        serde_json::from_slice(&json).expect("it is a record");
    // Two coders, each with everything on and with each of five parts left out.
    assert_eq!(record.pairs[0].patches.len(), 12);
    for patch in &record.pairs[0].patches {
        assert!(patch.patch_size.is_some(), "{}", patch.reason);
    }
    let table = fs::read_to_string(folder.join("results/ablation.md")).expect("it was written");
    assert!(table.contains("Coder `cm`") && !table.contains("No result"), "{table}");
}

#[test]
fn estimates_are_held_against_what_the_tools_send() {
    let folder = folder("estimates");
    write_pair(&folder);
    let arguments = ["estimates", "--pair", "source", "target", "--output", "results"];
    let output = compare(&folder, &arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let table = fs::read_to_string(folder.join("results/estimates.md")).expect("it was written");
    let row = table.lines().find(|line| line.starts_with("| source--target |")).expect("a row");
    let blocks = row.split('|').nth(3).map(str::trim).and_then(|cell| cell.parse::<f64>().ok());
    // Blocks are counted by the test's own program, and three of them are sent.
    assert!((0.9..1.1).contains(&blocks.expect("blocks were measured")), "{table}");
}

#[test]
fn without_pairs_the_next_step_is_told() {
    let folder = folder("no-pairs");
    let output = compare(&folder, &["--tools", "4 KiB"]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && error.contains("next:  cargo run"), "{error}");
}

#[test]
fn an_unknown_tool_is_refused_before_anything_is_measured() {
    let folder = folder("unknown-tool");
    write_pair(&folder);
    let output = compare(&folder, &["--pair", "source", "target", "--tools", "courgette"]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && error.contains("no such tool; there are: neap"), "{error}");
    assert!(!folder.join("bench-results").exists());
}
