//! What `neap diff`, `inspect` and `verify` print, refuse and leave behind.

mod common;

use std::process::Command;

use common::{Bench, noise, pair};

#[test]
fn patch_is_the_same_on_any_number_of_threads() {
    let bench = Bench::with_patch();
    for threads in [1, 2, 5] {
        let name = format!("patch-{threads}");
        let diff = "diff source target --effort 3 --output";
        bench.run(&format!("{diff} {name} --threads {threads}")).expect_code(0);
        assert!(bench.read(&name) == bench.read("patch"), "{threads} threads");
    }
}

#[test]
fn diff_says_where_every_byte_went() {
    let bench = Bench::with_patch();
    let run = bench.run("diff source target --output patch --json").expect_code(0);
    let json = run.json();
    let sum = |part: &str, names: Option<&[&str]>| -> u64 {
        let part = json[part].as_object().expect("an object");
        let counted = part.iter().filter(|(name, _)| names.is_none_or(|n| n.contains(&&***name)));
        counted.map(|(_, len)| len.as_u64().expect("bytes")).sum()
    };
    assert_eq!(json["schema"], "neap.diff.v1");
    assert_eq!(json["patch_size"], bench.read("patch").len());
    assert_eq!(sum("patch_bytes", None), bench.read("patch").len() as u64);
    let target_bytes = sum("target_bytes", Some(&["exact", "near", "literals", "zeros"]));
    assert_eq!(target_bytes, bench.read("target").len() as u64);
    assert_eq!(json["is_full"], false);
    assert!(run.stderr.contains("match blocks: "), "{}", run.stderr);
}

#[test]
fn diff_prints_a_table_for_people() {
    let bench = Bench::with_patch();
    let run = bench.run("diff source target -o patch -q").expect_code(0);
    for part in ["patch    patch: ", "of the target", "exact", "literals", "header"] {
        assert!(run.stdout.contains(part), "`{part}` is not in\n{}", run.stdout);
    }
    assert_eq!(run.stderr, "");
    assert!(run.stdout.lines().all(|line| line.trim_end() == line));
}

#[test]
fn diff_of_unlike_images_is_said_to_be_a_full_image() {
    let bench = Bench::new();
    bench.write("source", &noise(1, 200_000));
    bench.write("target", &noise(2, 200_000));
    let run = bench.run("diff source target --output patch").expect_code(0);
    assert!(run.stdout.contains("the patch is the whole target"), "{}", run.stdout);
}

#[test]
fn options_outside_their_bounds_are_refused_by_name() {
    let bench = Bench::new();
    for (flag, says) in [
        ("--coder xz", "xz"),
        ("--memory 1M", "1.0 MiB is less than 256.0 MiB"),
        ("--memory 2T", "unit `t`"),
        ("--effort 0", "0 is not in 1..=9"),
        ("--effort 10", "10 is not in 1..=9"),
        ("--threads 0", "0 is not in"),
        ("--restart 4K", "4.0 KiB is less than 1.0 MiB"),
    ] {
        let run = bench.run(&format!("diff a b --output c {flag}")).expect_code(2);
        let flag = flag.split(' ').next().expect("a flag");
        assert!(run.stderr.contains(says) && run.stderr.contains(flag), "{}", run.stderr);
    }
}

#[test]
fn diff_never_replaces_an_image_or_a_device() {
    let bench = Bench::with_patch();
    let before = (bench.read("source"), bench.read("target"));
    std::os::unix::fs::symlink("target", bench.path("alias")).expect("linked");
    for (output, says) in [
        ("source", "the output is the source image"),
        ("alias", "the output is the target image"),
        ("/dev/null", "no regular file"),
        (".", "no regular file"),
    ] {
        let diff = format!("diff source target --output {output}");
        bench.run(&diff).expect_error(2, &[says, "nothing was written", "--output"]);
    }
    assert!(before == (bench.read("source"), bench.read("target")));
}

#[test]
fn failed_diff_leaves_the_folder_as_it_was() {
    let bench = Bench::with_patch();
    let (before, patch) = (bench.names(), bench.read("patch"));
    bench.run("diff source missing --output patch").expect_error(1, &["missing: ", "no such"]);
    bench.run("diff . target --output patch").expect_error(1, &["neither a regular file"]);
    bench.run("diff source target --output none/patch").expect_error(1, &["none/patch: "]);
    assert_eq!(bench.names(), before);
    assert!(bench.read("patch") == patch);
}

#[test]
fn restart_points_come_as_often_as_asked() {
    let bench = Bench::new();
    let source = noise(3, 2 << 20);
    bench.write("source", &source);
    bench.write("target", &[noise(1, 8 << 20), source].concat());
    bench.run("diff source target --output patch --effort 1 --restart 2M").expect_code(0);
    let json = bench.run("inspect patch --json").expect_code(0).json();
    let restarts = json["restart_points"].as_array().expect("a list").len();
    assert!((3..=7).contains(&restarts), "{restarts} restart points");
}

#[test]
fn inspect_accounts_for_every_byte() {
    let bench = Bench::with_patch();
    let json = bench.run("inspect patch --json").expect_code(0).json();
    let spent = json["patch_bytes"].as_object().expect("an object").values();
    let spent: u64 = spent.map(|len| len.as_u64().expect("bytes")).sum();
    assert_eq!(spent, bench.read("patch").len() as u64);
    let made = ["copies", "literals", "zeros"].map(|n| json["target_bytes"][n].as_u64());
    let made: u64 = made.into_iter().flatten().sum();
    assert_eq!(made, bench.read("target").len() as u64);
    assert_eq!(json["schema"], "neap.inspect.v1");
    assert_eq!(json["source_size"], bench.read("source").len());
    assert!(json["apply_memory"].as_u64() <= Some(24 << 20));
}

#[test]
fn inspect_reads_standard_input_and_prints_for_people() {
    let bench = Bench::with_patch();
    let run = bench.run_with("inspect - --quiet", &bench.read("patch")).expect_code(0);
    for part in ["source digest", "target digest", "apply needs", "restart points", "differences"] {
        assert!(run.stdout.contains(part), "`{part}` is not in\n{}", run.stdout);
    }
}

#[test]
fn inspect_of_an_image_says_what_is_packed_where() {
    let bench = Bench::new();
    let text: String = (0..5000).map(|number| format!("line {}\n", number * number)).collect();
    bench.write("text", text.as_bytes());
    let packed = Command::new("gzip").args(["-9n"]).arg(bench.path("text")).status();
    assert!(packed.is_ok_and(|status| status.success()), "gzip is installed");
    let image = [noise(3, 10_000), bench.read("text.gz"), noise(4, 10_000)].concat();
    bench.write("image", &image);
    let run = bench.run("inspect --image image -q").expect_code(0);
    assert!(run.stdout.contains("inside   gzip at 10,000, "), "{}", run.stdout);
    assert!(run.stdout.contains("1 block, "), "{}", run.stdout);
    assert!(run.stdout.contains(": can be packed again"), "{}", run.stdout);
    let json = bench.run("inspect --image image --json").expect_code(0).json();
    assert_eq!(json["schema"], "neap.inspect-image.v1");
    let gzip = &json["inside"]["containers"][0];
    assert_eq!((&gzip["name"], &gzip["count"]), (&"gzip".into(), &1.into()));
    assert_eq!(gzip["places"][0]["offset"], 10_000);
    bench.write("noise", &noise(5, 10_000));
    let run = bench.run("inspect --image noise -q").expect_code(0);
    assert!(run.stdout.contains("nothing that is packed was found"), "{}", run.stdout);
}

#[test]
fn inspect_finds_damage_anywhere() {
    let bench = Bench::with_patch();
    let patch = bench.read("patch");
    for at in (0..patch.len()).step_by(patch.len() / 40) {
        let mut damaged = patch.clone();
        damaged[at] ^= 0x10;
        bench.write("damaged", &damaged);
        bench.run("inspect damaged").expect_error(1, &["damaged: ", "nothing was written"]);
    }
}

#[test]
fn inspect_of_a_pipe_that_ends_early_is_an_error() {
    let bench = Bench::with_patch();
    let patch = bench.read("patch");
    let says = ["standard input: the patch ends", "fetch the patch again"];
    bench.run_with("inspect -", &patch[..patch.len() - 1]).expect_error(1, &says);
}

#[test]
fn verify_knows_both_sides_of_a_patch() {
    let bench = Bench::with_patch();
    let run = bench.run("verify target --patch patch").expect_code(0);
    assert!(run.stdout.starts_with("verified target: is the target"), "{}", run.stdout);
    let json = bench.run("verify source --patch patch --as source --json").expect_code(0).json();
    assert_eq!((&json["schema"], &json["is"]), (&"neap.verify.v1".into(), &"source".into()));
    assert!(json["bytes_checked"].as_u64() < json["size"].as_u64());
    bench.run("verify source --patch patch --as source --full").expect_code(0);
}

#[test]
fn verify_names_the_ranges_of_a_target_that_differ() {
    let bench = Bench::with_patch();
    let mut target = bench.read("target");
    target[100_000] ^= 1;
    bench.write("target", &target);
    let run = bench.run("verify target --patch patch --json");
    let run = run.expect_error(13, &["target: not the target", "differs: "]);
    let windows = bench.run("inspect patch --json").json();
    let window_size = windows["window_size"].as_u64().expect("a size");
    let first = run.json()["differing"][0].clone();
    assert_eq!(first["offset"].as_u64(), Some(100_000 / window_size * window_size));
    assert_eq!(first["len"].as_u64(), Some(window_size));
}

#[test]
fn verify_refuses_a_target_of_another_length() {
    let bench = Bench::with_patch();
    let target = bench.read("target");
    for other in [&target[1..], &[&target[..], &[0]].concat()] {
        bench.write("target", other);
        bench.run("verify target --patch patch").expect_error(13, &["target: has "]);
    }
}

#[test]
fn verify_of_a_source_looks_beyond_what_is_used_only_in_full() {
    let bench = Bench::with_patch();
    let mut source = bench.read("source");
    let last = source.len() - 1;
    source[last] ^= 1;
    bench.write("source", &source);
    bench.run("verify source --patch patch --as source").expect_code(0);
    let full = bench.run("verify source --patch patch --as source --full");
    full.expect_error(5, &["source: digest is", "can be applied"]);
    bench.write("source", &noise(3, source.len()));
    bench.run("verify source --patch patch --as source").expect_error(5, &["differs: "]);
    bench.write("source", b"short");
    bench.run("verify source --patch patch --as source").expect_error(5, &["has 5 bytes"]);
}

#[test]
fn verify_takes_a_digest_of_all_or_of_the_front() {
    let bench = Bench::with_patch();
    let json = bench.run("inspect patch --json").json();
    let digest = json["target_root"].as_str().expect("a digest").to_owned();
    bench.run(&format!("verify target --digest {digest}")).expect_code(0);
    let says = ["source: digest is ", &digest];
    bench.run(&format!("verify source --digest {digest}")).expect_error(13, &says);
    let target = bench.read("target");
    bench.write("longer", &[&target[..], b"more"].concat());
    let front = format!("verify longer --digest {digest} --size {}", target.len());
    bench.run(&front).expect_code(0);
    let past = format!("verify longer --digest {digest} --size {}", target.len() + 5);
    bench.run(&past).expect_error(13, &["fewer than"]);
}

#[test]
fn verify_needs_one_thing_to_check_against() {
    let bench = Bench::with_patch();
    bench.run("verify target").expect_code(2);
    bench.run("verify target --digest abc").expect_code(2);
    bench.run(&format!("verify target --patch patch --digest {}", "0".repeat(64))).expect_code(2);
}

#[test]
fn help_of_every_verb_shows_an_example() {
    let bench = Bench::new();
    for verb in ["diff", "apply", "inspect", "verify"] {
        let run = bench.run(&format!("{verb} --help")).expect_code(0);
        assert!(run.stdout.contains("Example"), "{}", run.stdout);
        assert!(run.stdout.contains(&format!("neap {verb} ")), "{}", run.stdout);
        assert!(run.stdout.contains("--json"), "{}", run.stdout);
    }
}

#[test]
fn images_of_every_edge_size_survive_the_round_trip() {
    let bench = Bench::new();
    let (source, target) = pair();
    bench.write("source", &source);
    let window = 1 << 16;
    for size in [0, 1, window - 1, window, window + 1, 2 * window + 1] {
        bench.write("target", &target[..size]);
        bench.run("diff source target --output patch -q --effort 1").expect_code(0);
        bench.run("apply patch --source source --target made --state state -q").expect_code(0);
        assert!(bench.read("made") == target[..size], "{size} bytes");
        bench.run("verify made --patch patch").expect_code(0);
        bench.run("inspect patch").expect_code(0);
    }
}

#[test]
fn patch_for_a_dear_link_is_coded_by_cm_and_inspect_says_so() {
    let bench = Bench::with_patch();
    let inspect = |patch: &str| bench.run(&format!("inspect {patch} --json")).expect_code(0).json();
    assert_eq!(inspect("patch")["coders"], serde_json::json!(["zstd"]));
    bench.run("diff source target --output dear --for sat --effort 3").expect_code(0);
    let dear = inspect("dear");
    assert_eq!(dear["coders"], serde_json::json!(["cm"]));
    assert_eq!(dear["layers"], serde_json::json!([]));
    assert!(dear["patch_bytes"]["mixed"].as_u64() > Some(0), "{dear}");
    assert!(dear["notes"]["estimates"]["full"].as_u64() > Some(2 << 20), "{dear}");
    let shown = bench.run("inspect dear").expect_code(0).stdout;
    assert!(shown.contains("coders          cm\nlayers          none\n"), "{shown}");
    bench.run("apply dear --source source --target made --state state").expect_code(0);
    assert!(bench.read("made") == bench.read("target"));
    bench.run("diff source target --output dear --for moon").expect_code(2);
}
