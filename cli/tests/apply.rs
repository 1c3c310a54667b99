//! What `neap apply` does to the target, and when it refuses to.

mod common;

use std::fs::{self, File};

use common::{Bench, is_empty, noise, pair};

const APPLY: &str = "apply patch --source source --target made --state state";

#[test]
fn target_is_rebuilt_and_no_journal_is_left() {
    let bench = Bench::with_patch();
    let run = bench.run(APPLY).expect_code(0);
    assert!(bench.read("made") == bench.read("target"));
    assert!(is_empty(&bench.path("state")));
    assert!(run.stdout.contains("read back after"));
    for phase in ["source check: ", "apply: ", "read-back: "] {
        assert!(run.stderr.contains(phase), "{}", run.stderr);
    }
}

#[test]
fn longer_target_file_is_cut_to_the_size_of_the_image() {
    let bench = Bench::with_patch();
    bench.write("made", &noise(9, 9 << 20));
    bench.run(APPLY).expect_code(0);
    assert!(bench.read("made") == bench.read("target"));
}

#[test]
fn patch_can_come_from_standard_input() {
    let bench = Bench::with_patch();
    let patch = bench.read("patch");
    let apply = "apply - --source source --target made --state state";
    bench.run_with(apply, &patch).expect_code(0);
    assert!(bench.read("made") == bench.read("target"));
}

#[test]
fn object_of_apply_has_every_figure() {
    let bench = Bench::with_patch();
    let json = bench.run(&format!("{APPLY} --json")).expect_code(0).json();
    assert_eq!(json["schema"], "neap.apply.v1");
    assert_eq!(json["target_size"], bench.read("target").len());
    assert_eq!(json["patch_size"], bench.read("patch").len());
    assert_eq!(json["windows_resumed"], 0);
    assert!(json["journal_note"].is_null());
    assert!(json["windows"].as_u64() > Some(0));
    assert_eq!(json["target_root"].as_str().map(str::len), Some(64));
    for phase in ["source_check_s", "apply_s", "read_back_s"] {
        assert!(json[phase].as_f64() > Some(0.0), "{phase}");
    }
    assert_eq!(json["resume_check_s"].as_f64(), Some(0.0));
}

#[test]
fn checks_left_out_are_said_to_be_left_out() {
    let bench = Bench::with_patch();
    let apply = format!("{APPLY} --no-source-check --no-read-back --json");
    let json = bench.run(&apply).expect_code(0).json();
    assert_eq!(json["source_check_s"].as_f64(), Some(0.0));
    assert_eq!(json["read_back_s"].as_f64(), Some(0.0));
    assert_eq!(json["read_back"], false);
    assert!(bench.read("made") == bench.read("target"));
}

#[test]
fn quiet_apply_says_nothing_on_stderr() {
    let bench = Bench::with_patch();
    assert_eq!(bench.run(&format!("{APPLY} --quiet")).expect_code(0).stderr, "");
}

/// A patch of which most is literals, so that it comes in many frames.
fn long_patch() -> (Bench, Vec<u8>) {
    let bench = Bench::new();
    bench.write("source", &noise(1, 1 << 20));
    bench.write("target", &noise(2, 40 << 20));
    bench.run("diff source target --output patch --effort 1").expect_code(0);
    let patch = bench.read("patch");
    (bench, patch)
}

#[test]
fn apply_from_a_pipe_that_ends_early_goes_on_with_the_next() {
    let (bench, patch) = long_patch();
    let apply = "apply - --source source --target made --state state --json";
    let says = ["standard input: ", "made is not complete", "run the same command again"];
    let cut = bench.run_with(apply, &patch[..30 << 20]).expect_error(10, &says);
    assert_eq!(cut.json()["exit"], 10);
    assert!(!is_empty(&bench.path("state")));

    let whole = bench.run_with(apply, &patch).expect_code(0).json();
    // 30 MiB were there, and a checkpoint is set every 16 MiB.
    let window_len = (40 << 20) / whole["windows"].as_u64().expect("a count");
    assert!(whole["windows_resumed"].as_u64() >= Some((16 << 20) / window_len), "{whole}");
    assert!(whole["resume_check_s"].as_f64() > Some(0.0));
    assert!(bench.read("made") == bench.read("target"));
    assert!(is_empty(&bench.path("state")));
}

#[test]
fn journal_of_a_removed_target_is_not_trusted() {
    let (bench, patch) = long_patch();
    let apply = "apply - --source source --target made --state state --json";
    bench.run_with(apply, &patch[..30 << 20]).expect_code(10);
    fs::remove_file(bench.path("made")).expect("removed");
    let whole = bench.run_with(apply, &patch).expect_code(0).json();
    assert_eq!(whole["windows_resumed"], 0);
    assert!(whole["journal_note"].is_string());
    assert!(bench.read("made") == bench.read("target"));
}

#[test]
fn wrong_source_after_a_cut_leaves_what_is_there() {
    let bench = Bench::new();
    let source = noise(1, 1 << 20);
    bench.write("source", &source);
    bench.write("target", &[noise(2, 30 << 20), source].concat());
    bench.run("diff source target --output patch --effort 1").expect_code(0);
    let apply = "apply - --source source --target made --state state";
    bench.run_with(apply, &bench.read("patch")[..20 << 20]).expect_code(10);
    let before = bench.read("made");
    bench.write("source", &noise(7, 1 << 20));
    bench.run(APPLY).expect_error(5, &["made is not complete since an earlier run"]);
    assert!(bench.read("made") == before);
}

#[test]
fn truncated_patch_file_is_refused_before_anything_is_made() {
    let bench = Bench::with_patch();
    let patch = bench.read("patch");
    for len in [0, 50, 200, patch.len() - 1] {
        bench.write("patch", &patch[..len]);
        let says = ["patch: truncated: ", "nothing was written", "fetch the patch again"];
        bench.run(APPLY).expect_error(1, &says);
        assert_eq!(bench.names(), ["patch", "source", "target"], "{len} bytes");
    }
}

#[test]
fn patch_file_with_more_bytes_than_promised_is_refused() {
    let bench = Bench::with_patch();
    let patch = bench.read("patch");
    bench.write("patch", &[&patch[..], &[0]].concat());
    bench.run(APPLY).expect_error(1, &["its header promises", "nothing was written"]);
    assert_eq!(bench.names(), ["patch", "source", "target"]);
}

#[test]
fn damaged_frame_is_named_and_not_written() {
    let bench = Bench::with_patch();
    let mut patch = bench.read("patch");
    let last = patch.len() - 1;
    patch[last] ^= 1;
    bench.write("patch", &patch);
    bench.run(APPLY).expect_error(1, &["patch: the frame at byte ", "own digest"]);
}

#[test]
fn what_is_no_patch_is_refused_by_name() {
    let bench = Bench::with_patch();
    bench.write("patch", &noise(5, 4096));
    bench.run(APPLY).expect_error(1, &["patch: not a neap patch", "nothing was written"]);
}

#[test]
fn wrong_source_is_refused_with_the_ranges_that_differ() {
    let bench = Bench::with_patch();
    let mut source = bench.read("source");
    source[(1 << 20) + 5] ^= 1;
    bench.write("source", &source);
    let says = ["source: the source is not what", "differs: ", "nothing was written"];
    let run = bench.run(&format!("{APPLY} --json")).expect_error(5, &says);
    let json = run.json();
    assert_eq!((&json["schema"], &json["exit"]), (&"neap.error.v1".into(), &5.into()));
    let differing = json["differing"].as_array().expect("ranges");
    let holds = |range: &serde_json::Value| {
        let field = |name: &str| range[name].as_u64().expect("a number");
        (field("offset")..field("offset") + field("len")).contains(&((1 << 20) + 5))
    };
    assert!(differing.iter().any(holds), "{json}");
    assert!(!bench.path("made").exists());
}

#[test]
fn wrong_source_leaves_an_existing_target_as_it_was() {
    let bench = Bench::with_patch();
    let before = noise(8, 123_456);
    bench.write("made", &before);
    bench.write("source", &noise(4, bench.read("source").len()));
    bench.run(APPLY).expect_error(5, &["neap inspect patch"]);
    assert!(bench.read("made") == before);
}

#[test]
fn source_that_is_too_small_is_a_wrong_source() {
    let bench = Bench::with_patch();
    bench.write("source", b"short");
    bench.run(APPLY).expect_error(5, &["source: the source has 5 bytes", "nothing was written"]);
    assert!(!bench.path("made").exists());
}

#[test]
fn change_outside_the_used_part_of_the_source_does_not_matter() {
    let bench = Bench::with_patch();
    let mut source = bench.read("source");
    let at = source.len() - 1;
    source[at] ^= 1;
    bench.write("source", &source);
    bench.run(APPLY).expect_code(0);
    assert!(bench.read("made") == bench.read("target"));
}

#[test]
fn window_from_an_unchecked_wrong_source_is_not_written() {
    let bench = Bench::with_patch();
    bench.write("source", &noise(4, bench.read("source").len()));
    let says = ["patch: window at byte 0 has digest", "not written", "--as source"];
    bench.run(&format!("{APPLY} --no-source-check")).expect_error(1, &says);
    assert!(bench.read("made").iter().all(|byte| *byte == 0));
}

#[test]
fn source_is_never_the_target_by_whatever_name() {
    let bench = Bench::with_patch();
    let before = bench.read("source");
    std::os::unix::fs::symlink("source", bench.path("alias")).expect("linked");
    fs::hard_link(bench.path("source"), bench.path("hard")).expect("linked");
    for target in ["source", "./source", "alias", "hard"] {
        let apply = format!("apply patch --source source --target {target} --state state");
        bench.run(&apply).expect_error(2, &["source and target are the same"]);
    }
    assert!(bench.read("source") == before);
}

#[test]
fn patch_is_never_the_target() {
    let bench = Bench::with_patch();
    let before = bench.read("patch");
    let apply = "apply patch --source source --target patch --state state";
    bench.run(apply).expect_error(2, &["patch and target are the same", "nothing was written"]);
    assert!(bench.read("patch") == before);
}

#[test]
fn target_that_is_no_image_is_refused() {
    let bench = Bench::with_patch();
    for target in [".", "/dev/null"] {
        let apply = format!("apply patch --source source --target {target} --state state");
        bench.run(&apply).expect_error(2, &["neither a regular file nor a block device"]);
    }
}

#[test]
fn target_in_use_by_another_apply_is_refused() {
    let bench = Bench::with_patch();
    let other = File::create(bench.path("made")).expect("made");
    other.lock().expect("locked");
    bench.run(APPLY).expect_error(1, &["made: ", "in use by another program", "fuser"]);
    assert!(bench.path("made").exists());
}

#[test]
fn missing_inputs_are_named_and_no_target_is_made() {
    let bench = Bench::with_patch();
    for missing in ["patch", "source"] {
        let there = bench.read(missing);
        fs::remove_file(bench.path(missing)).expect("removed");
        let says = [&*format!("{missing}: cannot open the {missing}"), "nothing was written"];
        bench.run(APPLY).expect_error(1, &says);
        assert!(!bench.path("made").exists());
        bench.write(missing, &there);
    }
}

#[test]
fn state_folder_that_cannot_be_made_is_named_and_no_target_is_left() {
    let bench = Bench::with_patch();
    let apply = "apply patch --source source --target made --state source/state";
    bench.run(apply).expect_error(1, &["source/state: ", "nothing was written", "--state DIR"]);
    assert!(!bench.path("made").exists());
}

#[test]
fn empty_target_is_made_too() {
    let bench = Bench::new();
    bench.write("source", &pair().0);
    bench.write("target", b"");
    bench.run("diff source target --output patch").expect_code(0);
    bench.run(APPLY).expect_code(0);
    assert_eq!(bench.read("made"), b"");
}
