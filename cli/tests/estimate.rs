//! What `neap estimate` says about a patch, and what it refuses.

mod common;

use common::Bench;
use neap_engine::digest::Digest;

const ESTIMATE: &str = "estimate patch --link 88kbit/s --price 5.00/MB";

/// The lines of the table: what is sent, and the cells behind.
fn rows(stdout: &str) -> Vec<Vec<&str>> {
    let rows = stdout.lines().filter(|line| line.starts_with("  "));
    rows.map(|row| row.split("   ").map(str::trim).filter(|cell| !cell.is_empty()).collect())
        .collect()
}

/// The same patch as a program without the note would have made it.
fn without_note(patch: &[u8]) -> Vec<u8> {
    let number = |at: usize| u32::from_le_bytes(*patch[at..].first_chunk().expect("a header"));
    let note_len = 4 + usize::from(u16::from_le_bytes([patch[114], patch[115]]));
    assert_eq!((patch[11], &patch[112..114]), (1, &[0x00, 0x80][..]), "a note and no layer");
    let less = u32::try_from(note_len).expect("short");
    let header_len = usize::try_from(number(12)).expect("short");
    let mut header = [&patch[..112], &patch[112 + note_len..header_len - 32]].concat();
    header[11] = 0;
    header[12..16].copy_from_slice(&(number(12) - less).to_le_bytes());
    header[16..20].copy_from_slice(&(number(16) - less).to_le_bytes());
    assert_eq!(number(104), 0, "no restart point, whose offset would have to be moved");
    header.extend(Digest::of(&header).0);
    [&header, &patch[header_len..]].concat()
}

#[test]
fn estimate_shows_time_and_cost_of_four_ways() {
    let bench = Bench::with_patch();
    let run = bench.run(ESTIMATE).expect_code(0);
    assert!(run.stdout.contains("over a link of 88 kbit/s, at 5.00 per MB\n"), "{}", run.stdout);
    assert!(run.stdout.contains("MB is 1,000,000 bytes. What the protocol adds is not included"));
    assert!(run.stdout.contains("Against the whole image the patch saves"), "{}", run.stdout);
    let rows = rows(&run.stdout);
    let names: Vec<_> = rows.iter().map(|row| row[0]).collect();
    let others = ["delta of the xdelta3 class", "changed blocks of 4 KiB"];
    assert_eq!(names, ["to send", "this patch", others[0], others[1], "whole image, compressed"]);
    assert_eq!(rows[0], ["to send", "size", "time", "cost"]);
    assert!(rows.iter().all(|row| row.len() == 4), "{}", run.stdout);
    // Three megabytes that do not compress: 11,000 bytes a second, 5.00 a million.
    assert_eq!(rows[4][1..], ["2.89 MB", "4 min 23 s", "14.43"]);
}

#[test]
fn object_of_estimate_has_the_same_figures() {
    let bench = Bench::with_patch();
    let json = bench.run(&format!("{ESTIMATE} --overhead 10% --json")).expect_code(0).json();
    assert_eq!(json["schema"], "neap.estimate.v1");
    assert_eq!((&json["link_bits_per_s"], &json["currency"]), (&88_000.into(), &().into()));
    assert_eq!(json["price_per_mb"], "5.00");
    let patch = &json["ways"][0];
    let size = bench.read("patch").len() as u64;
    let sent = (size * 11).div_ceil(10);
    assert_eq!((&patch["way"], &patch["is_estimate"]), (&"patch".into(), &false.into()));
    assert_eq!((&patch["size"], &patch["sent"]), (&size.into(), &sent.into()));
    assert_eq!(patch["seconds"], (sent * 8).div_ceil(88_000));
    assert_eq!(json["ways"][3]["way"], "full");
    assert_eq!(json["ways"][3]["is_estimate"], true);
    let sizes: Vec<_> = (0..4).map(|index| json["ways"][index]["size"].as_u64()).collect();
    assert!(sizes[1] < sizes[2] && sizes[2] < sizes[3], "{sizes:?}");
}

#[test]
fn patch_without_the_note_gets_its_own_figures_alone() {
    let bench = Bench::with_patch();
    bench.write("plain", &without_note(&bench.read("patch")));
    let run = bench.run(&ESTIMATE.replace("patch", "plain")).expect_code(0);
    assert!(run.stdout.contains("The patch does not say what other ways would have sent.\n"));
    assert!(!run.stdout.contains("saves"), "{}", run.stdout);
    assert_eq!(rows(&run.stdout).len(), 2, "{}", run.stdout);
    let json = bench.run(&format!("{} --json", ESTIMATE.replace("patch", "plain"))).json();
    assert_eq!(json["ways"].as_array().map(Vec::len), Some(1));
}

#[test]
fn one_of_link_and_price_is_enough_and_neither_is_a_usage_error() {
    let bench = Bench::with_patch();
    let header = |run: &str| {
        let run = bench.run(run).expect_code(0);
        rows(&run.stdout)[0].join(" ")
    };
    assert_eq!(header("estimate patch --link 1MB/s"), "to send size time");
    assert_eq!(header("estimate patch --price 5/GB"), "to send size cost");
    bench.run("estimate patch").expect_code(2);
    for wrong in ["--link 88kb/s", "--link 0bit/s", "--price 5.00", "--link 1B/s --overhead 5"] {
        bench.run(&format!("estimate patch {wrong}")).expect_code(2);
    }
}

#[test]
fn header_alone_is_enough_and_can_come_from_standard_input() {
    let bench = Bench::with_patch();
    let mut patch = bench.read("patch");
    let of_file = bench.run(ESTIMATE).expect_code(0).stdout;
    patch.truncate(usize::from(u16::from_le_bytes([patch[12], patch[13]])));
    let run = bench.run_with(&ESTIMATE.replace("patch", "-"), &patch).expect_code(0);
    assert_eq!(run.stdout, of_file.replace("patch: an", "standard input: an"));
    patch.truncate(100);
    bench.run_with(&ESTIMATE.replace("patch", "-"), &patch).expect_error(1, &["standard input"]);
    bench.run("estimate source --link 1B/s").expect_error(1, &["source: not a neap patch"]);
    bench.run("estimate missing --link 1B/s").expect_error(1, &["missing: cannot open the patch"]);
}
