//! The rules of this project that a machine can check: each is one test, its name the claim.
//!
//! This file owns what is checked and who is excused; `tidy/` owns how. Checked are the files that
//! git tracks, or, in a copy without git, all that are not build products.

#[path = "tidy/commands.rs"]
mod commands;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/tables.rs"]
mod tables;
#[path = "tidy/threats.rs"]
mod threats;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use rules::{Layer, Manifest};
use source::Source;
use tables::Marked;

/// Which of our packages may use which. `Top` packages use all, and nothing uses them;
/// a `Harness` uses all, and tests use it.
const LAYERS: &[(&str, Layer)] = &[
    ("neap-engine", Layer::Uses(&["neap-lz4-exact"])),
    // Calls into liblz4.
    ("neap-lz4-exact", Layer::Uses(&[])),
    // A call of the C library.
    ("neap-malloc", Layer::Uses(&[])),
    // Codecs of packed blocks, which are libraries.
    ("neap-reference", Layer::Uses(&["neap-engine"])),
    ("neap-trust", Layer::Uses(&[])),
    ("neap-depot", Layer::Uses(&["neap-trust", "neap-engine"])),
    ("neap-peer", Layer::Uses(&["neap-depot", "neap-trust", "neap-engine"])),
    ("neap-usb-sideload", Layer::Uses(&["neap-depot", "neap-trust", "neap-engine"])),
    (
        "neap",
        Layer::Uses(&[
            "neap-engine",
            "neap-malloc",
            "neap-trust",
            "neap-depot",
            "neap-peer",
            "neap-usb-sideload",
        ]),
    ),
    ("neap-bench", Layer::Top),
    ("neap-corpus", Layer::Top),
    ("neap-fuzz", Layer::Top),
    ("neap-tests", Layer::Harness),
    ("neap-same-bytes", Layer::Top),
];

/// Files of `engine/src` outside `io/` that may touch the outside world, each with its reason.
const EDGE_EXCUSED: &[(&str, &str)] = &[];

/// Dependencies of the engine that need no comment in its manifest.
const ENGINE_DEPENDENCIES: &[&str] = &["blake3", "zstd"];

/// The reference applier must be read in one sitting, each layer in one more: lines of all files of
/// a folder, without tests.
const REFERENCE_LINES_MAX: [(&str, usize); 4] = [
    // Of what 400 lines were for before, and the views of `unpack`.
    ("engine/reference/src/", 420),
    ("engine/reference/src/refs/", 2280),
    ("engine/reference/src/mix/", 1450),
    // The table, the views and their runs; regions that are derived are a sitting of their own.
    ("engine/reference/src/unpack/", 420),
];

/// Tables of `docs/format.md` that code repeats: header, frame and window at the least.
const FORMAT_TABLES_MIN: usize = 3;

/// Rows of the threat table, so that it is not emptied by a change of its form.
const THREATS_MIN: usize = 50;

/// Recipes, not blobs: bytes of a tracked file.
const TRACKED_SIZE_MAX: u64 = 512 << 10;

#[test]
fn files_are_short_or_say_why_not() {
    assert_none(sources().iter().filter_map(rules::long_file));
}

#[test]
fn functions_fit_one_screen() {
    assert_none(sources().iter().flat_map(rules::long_functions));
}

#[test]
fn lines_fit_the_width() {
    assert_none(sources().iter().flat_map(rules::wide_lines));
}

#[test]
fn files_open_with_what_they_own() {
    assert_none(sources().iter().filter_map(rules::no_opening));
}

#[test]
fn names_follow_the_house_style() {
    assert_none(sources().iter().flat_map(rules::banned_names));
}

#[test]
fn nothing_is_unfinished_and_no_result_is_thrown_away() {
    assert_none(sources().iter().flat_map(rules::banned_words));
}

#[test]
fn every_file_is_reached_by_a_crate() {
    assert_none(rules::dead_files(&sources(), &manifests()));
}

#[test]
fn dependencies_point_one_way() {
    assert_none(rules::wrong_layers(&manifests(), LAYERS));
}

#[test]
fn engine_dependencies_have_reasons() {
    let path = "engine/Cargo.toml";
    assert_none(rules::unexplained_dependencies(path, &read(path), ENGINE_DEPENDENCIES));
}

#[test]
fn engine_touches_the_outside_only_in_io() {
    let sources = sources();
    let excused = |path: &str| EDGE_EXCUSED.iter().any(|(file, _)| *file == path);
    let inside =
        |path: &str| path.starts_with("engine/src/") && !path.starts_with("engine/src/io/");
    let pure = sources.iter().filter(|source| inside(&source.path) && !excused(&source.path));
    assert_none(pure.flat_map(rules::edge_uses));

    let uses =
        |file: &str| sources.iter().any(|s| s.path == file && !rules::edge_uses(s).is_empty());
    let stale = EDGE_EXCUSED.iter().filter(|(file, reason)| !uses(file) || reason.is_empty());
    assert_none(stale.map(|(file, _)| format!("{file}: needs no excuse, or gives no reason")));
}

#[test]
fn reference_applier_is_read_in_one_sitting() {
    let sources = sources();
    for (folder, lines_max) in REFERENCE_LINES_MAX {
        let is_in = |path: &str| path.strip_prefix(folder).is_some_and(|file| !file.contains('/'));
        let files = sources.iter().filter(|source| is_in(&source.path));
        let lines: usize = files.map(|source| source.shipped_lines).sum();
        assert!(
            (1..=lines_max).contains(&lines),
            "{folder}: {lines} lines without tests, 1 to {lines_max} allowed"
        );
    }
    let is_listed = |path: &str| {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        REFERENCE_LINES_MAX.iter().any(|(listed, _)| listed.trim_end_matches('/') == folder)
    };
    let reference = sources.iter().filter(|s| s.path.starts_with("engine/reference/src/"));
    assert_none(reference.filter(|s| !is_listed(&s.path)).map(|s| s.path.clone()));
}

#[test]
fn format_tables_are_those_of_the_code() {
    let sources = sources();
    let marked = marked("docs/format.md");
    let count = marked.len();
    assert!(
        count >= FORMAT_TABLES_MIN,
        "docs/format.md: {count} tables marked, at least {FORMAT_TABLES_MIN} expected; \
         put `<!-- table: path/to/file.rs TypeName -->` before each table that code repeats"
    );
    assert_none(tables::differences(&marked, &sources));
    let engine = sources.iter().filter(|source| source.path.starts_with("engine/src/"));
    assert_none(engine.flat_map(|source| tables::unmarked(&marked, source)));
}

#[test]
fn fields_of_receipts_are_those_of_the_code() {
    let marked = marked("docs/receipts.md");
    assert!(!marked.is_empty(), "docs/receipts.md: no table is marked");
    assert_none(tables::differences(&marked, &sources()));
}

#[test]
fn tables_of_depots_and_sticks_are_those_of_the_code() {
    for path in ["docs/depot.md", "docs/stick.md", "docs/field-guide.md"] {
        let marked = marked(path);
        assert!(!marked.is_empty(), "{path}: no table is marked as repeated in code");
        assert_none(tables::differences(&marked, &sources()));
    }
}

#[test]
fn exit_codes_are_those_of_the_code() {
    let (path, code) = ("docs/exit-codes.md", "cli/src/exit.rs");
    let sources = sources();
    let marked: Vec<_> = marked(path).into_iter().filter(|mark| mark.file == code).collect();
    assert!(!marked.is_empty(), "{path}: no table is marked as repeated in {code}");
    assert_none(tables::differences(&marked, &sources));

    let rows = marked.iter().flat_map(|mark| mark.table.iter().skip(1));
    let documented: BTreeSet<_> = rows.filter_map(|row| row.first()).cloned().collect();
    let given = sources.iter().find(|source| source.path == code).map(tables::numbers);
    let unknown = given.into_iter().flatten().filter(|number| !documented.contains(number));
    assert_none(unknown.map(|number| format!("{code}: exit code {number} is not in {path}")));
}

#[test]
fn trust_tables_are_those_of_the_code() {
    let marked = marked("docs/trust-client.md");
    assert!(!marked.is_empty(), "docs/trust-client.md: no table is marked as repeated in code");
    assert_none(tables::differences(&marked, &sources()));
}

#[test]
fn every_threat_has_its_test() {
    let path = "docs/trust-threats.md";
    let rows = threats::rows(path, &read(path));
    assert!(rows.len() >= THREATS_MIN, "{path}: {} rows, {THREATS_MIN} expected", rows.len());
    assert_none(threats::without_test(&rows, &sources()));
}

#[test]
fn documented_commands_exist() {
    let (manifests, sources, paths) = (manifests(), sources(), paths());
    let known = commands::Known { manifests: &manifests, sources: &sources, paths: &paths };
    let mut complaints = Vec::new();
    for document in paths.iter().filter(|path| rules::has_extension(path, "md")) {
        for (line, command) in commands::commands(&read(document)) {
            let wrong = commands::wrong(&command, &known);
            complaints.extend(wrong.map(|why| format!("{document}:{line}: `{command}`: {why}")));
        }
    }
    assert_none(complaints);
    let readme = commands::commands(&read("README.md"));
    let shown = |verb: &str| readme.iter().any(|(_, command)| command.contains(verb));
    for verb in ["neap diff ", "neap apply ", "cargo test "] {
        assert!(shown(verb), "README.md: no ```console block shows `$ {verb}…`");
    }
}

#[test]
fn readme_and_command_open_with_the_same_sentence() {
    let readme = read("README.md");
    let lines = readme.lines().skip_while(|line| line.trim().is_empty() || line.starts_with('#'));
    let paragraph: Vec<_> = lines.map(str::trim).take_while(|line| !line.is_empty()).collect();
    let sources = sources();
    let main = sources.iter().find(|source| source.path == "cli/src/main.rs");
    let opening = main.map(Source::opening).unwrap_or_default();
    assert_eq!(
        first_sentence(&paragraph.join(" ")),
        first_sentence(&opening),
        "the first sentence of README.md (left) is not that of cli/src/main.rs (right)"
    );
}

#[test]
fn tracked_files_are_small() {
    let size = |path: &String| fs::metadata(root().join(path)).map_or(0, |found| found.len());
    let paths = paths();
    let large = paths.iter().filter(|path| size(path) > TRACKED_SIZE_MAX);
    assert_none(large.map(|path| {
        format!("{path}: {} bytes, {TRACKED_SIZE_MAX} allowed; keep a recipe", size(path))
    }));
}

#[test]
fn tidy_sees_the_files() {
    let (sources, manifests) = (sources(), manifests());
    for path in ["engine/src/lib.rs", "cli/src/main.rs", "tests/tidy.rs", "tests/tidy/rules.rs"] {
        assert!(sources.iter().any(|source| source.path == path), "{path} is not seen");
    }
    for (name, _) in LAYERS.iter().filter(|(name, _)| *name != "neap-fuzz") {
        assert!(manifests.iter().any(|manifest| manifest.name == *name), "{name} is not seen");
    }
}

#[test]
fn copy_without_git_has_the_same_rust_files() {
    let rust = |paths: Vec<String>| -> BTreeSet<_> {
        paths.into_iter().filter(|path| rules::has_extension(path, "rs")).collect()
    };
    let (walked, tracked) = (rust(walked(root(), "")), rust(paths()));
    let missed: Vec<_> = tracked.difference(&walked).collect();
    assert!(missed.is_empty(), "tracked, but not found by walking: {missed:?}");
}

#[test]
fn first_sentence_ends_at_its_full_stop() {
    assert_eq!(first_sentence("It is v1.0. Next."), "It is v1.0.");
    assert_eq!(first_sentence("One"), "One");
}

/// Fails with all complaints, one a line.
fn assert_none(complaints: impl IntoIterator<Item = String>) {
    let complaints: Vec<_> = complaints.into_iter().collect();
    assert!(complaints.is_empty(), "{} found:\n{}", complaints.len(), complaints.join("\n"));
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate lies in the repository")
}

/// A file that must be there.
fn read(path: &str) -> String {
    let text = fs::read_to_string(root().join(path));
    assert!(text.is_ok(), "{path}: cannot be read as text; it must be there");
    text.unwrap_or_default()
}

fn sources() -> Vec<Source> {
    let rust = paths().into_iter().filter(|path| rules::has_extension(path, "rs"));
    rust.map(|path| Source::new(&path, &read(&path))).collect()
}

fn manifests() -> Vec<Manifest> {
    let named = |path: &String| path == "Cargo.toml" || path.ends_with("/Cargo.toml");
    let manifests = paths().into_iter().filter(named);
    manifests.map(|path| Manifest::new(&path, &read(&path))).collect()
}

fn marked(path: &str) -> Vec<Marked> {
    tables::marked(path, &read(path))
}

/// Tracked files that are there, from the repository root.
fn paths() -> Vec<String> {
    let listed = Command::new("git").arg("-C").arg(root()).args(["ls-files", "-z"]).output();
    let paths = listed.ok().filter(|listed| listed.status.success()).map(|listed| {
        let names = String::from_utf8_lossy(&listed.stdout).into_owned();
        names.split('\0').map(str::to_owned).filter(|path| !path.is_empty()).collect()
    });
    let paths: Vec<String> = paths.unwrap_or_else(|| walked(root(), ""));
    paths.into_iter().filter(|path| root().join(path).is_file()).collect()
}

/// Files below a folder, without hidden folders and build products.
fn walked(folder: &Path, prefix: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && !name.starts_with('.') && name != "target" => {
                paths.extend(walked(&entry.path(), &format!("{path}/")));
            }
            Ok(kind) if kind.is_file() => paths.push(path),
            _ => {}
        }
    }
    paths
}

fn first_sentence(text: &str) -> &str {
    text.find(". ").map_or(text, |at| &text[..=at])
}
