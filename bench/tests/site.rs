//! Scenarios on the testbed as a user runs them, with what people use today.
//!
//! Takes root and /dev/net/tun; says SKIPPED without.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use neap_sim::bed::namespace::available;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn is_skipped() -> bool {
    let missing =
        ["curl", "python3"].into_iter().find(|name| neap_bench::process::find(name, &[]).is_none());
    let why = available().err().or(missing.map(|name| format!("{name} is not installed")));
    why.inspect(|why| println!("SKIPPED: {why}")).is_some()
}

fn site_bench(folder: &Path, arguments: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_site-bench"));
    command.args(arguments.split_whitespace()).arg("--output").arg(folder);
    command.output().expect("site-bench starts")
}

#[test]
fn a_killed_download_begins_anew_and_both_cross_the_link() {
    if is_skipped() {
        return;
    }
    let folder = folder("site-kill");
    let output = site_bench(
        &folder,
        "--devices 2 --rate-kbit 8000 --delay-ms 20 --blob-bytes 1500000 --kill-at 2:1 \
         --restart-after 0.5 --outage 1.2:0.4 --json",
    );
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let record: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(record["complete"], true, "{said}");
    assert_eq!(record["kills"].as_array().map(Vec::len), Some(1));
    assert_eq!(record["fluid_s"].as_f64(), Some(1.9), "1.5 s, and an outage of 0.4 s");
    let down = record["down"]["delivered"]["bytes"].as_u64().expect("a count");
    // Twice the blob, what the killed one had got, and headers of 4 %.
    assert!((3_300_000..4_500_000).contains(&down), "{down}");
    for node in record["nodes"].as_array().expect("a list") {
        assert!(node["peak_rss"].as_u64() > Some(1 << 20), "{node}");
    }
    let picture = fs::read_to_string(folder.join("timeline.svg")).expect("it was written");
    assert!(picture.contains("dev2 killed") && picture.contains("class=\"outage\""));
}

#[test]
fn a_folder_of_somebody_else_is_not_emptied() {
    if is_skipped() {
        return;
    }
    let folder = folder("site-foreign");
    fs::create_dir_all(&folder).expect("made");
    fs::write(folder.join("letter"), "dear").expect("written");
    let output = site_bench(&folder, "--blob-bytes 1000");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("neither empty nor"), "{said}");
    assert!(folder.join("letter").exists());
}

/// Runs peers on a site, with the `neap` of `NEAP` or the one beside site-bench: the record and
/// what was said. Nothing where there is none.
fn peers(folder: &Path, arguments: &str) -> Option<(serde_json::Value, String)> {
    let neap = Path::new(env!("CARGO_BIN_EXE_site-bench")).with_file_name("neap");
    let mut command = Command::new(env!("CARGO_BIN_EXE_site-bench"));
    if std::env::var_os("NEAP").is_none() {
        if !neap.exists() {
            println!("SKIPPED: neap is not built beside site-bench");
            return None;
        }
        command.env("NEAP", neap);
    }
    command.args("--method neap --json".split(' ')).args(arguments.split_whitespace());
    let output = command.arg("--output").arg(folder).output().expect("site-bench starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let record: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(record["complete"], true, "{said}");
    Some((record, said))
}

#[test]
fn members_that_were_told_of_nobody_find_each_other_and_the_blob_crosses_once() {
    if is_skipped() {
        return;
    }
    let ran = peers(
        &folder("site-discover"),
        "--devices 3 --rate-kbit 4000 --delay-ms 50 --blob-bytes 2500000 --discover \
         --time-limit 60",
    );
    let Some((record, said)) = ran else { return };
    let down = record["down"]["delivered"]["bytes"].as_u64().expect("a count");
    // Each for itself would be 7.5 MB.
    assert!((2_500_000..3_700_000).contains(&down), "{down}: {said}");
}

#[test]
fn a_liar_is_named_by_all_and_a_changed_address_costs_no_second_download() {
    if is_skipped() {
        return;
    }
    let ran = peers(
        &folder("site-liar"),
        "--devices 4 --rate-kbit 4000 --delay-ms 50 --blob-bytes 2500000 --liar 2 \
         --readdress-at 3:4 --time-limit 60",
    );
    let Some((record, said)) = ran else { return };
    assert_eq!(record["blamed"]["dev2"], 3, "{said}");
    let down = record["down"]["delivered"]["bytes"].as_u64().expect("a count");
    // Once, with headers and what was under way to old addresses.
    assert!((2_500_000..3_700_000).contains(&down), "{down}");
}
