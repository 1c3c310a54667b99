//! The rules on Rust files and manifests: each takes what it judges and returns its complaints.
//!
//! Nothing here reads a file. Which files there are, and who is excused, is said in `tidy.rs`.

use std::collections::BTreeSet;

use crate::source::{Source, close_of, line_at, next_word, statement_start, words};

/// Lines of a file without its test module. Past this a file is split, or says why it is not.
pub(crate) const FILE_LINES_MAX: usize = 600;
/// Lines of a function: one screen.
pub(crate) const FUNCTION_LINES_MAX: usize = 70;
/// Characters of a line.
pub(crate) const WIDTH_MAX: usize = 100;

/// Parts of `std` that open, read, write, sleep, spawn or ask the time.
const EDGE_MODULES: [&str; 8] = ["env", "fs", "io", "net", "os", "process", "thread", "time"];

/// A manifest, reduced to what the layers are about.
pub(crate) struct Manifest {
    pub(crate) path: String,
    /// Empty for the workspace's own manifest.
    pub(crate) name: String,
    /// Words of normal and build dependencies: package names among other things.
    pub(crate) dependencies: BTreeSet<String>,
    /// The same of dev-dependencies.
    pub(crate) dev_dependencies: BTreeSet<String>,
    /// Rust files named by `path = "….rs"`, from the repository root.
    pub(crate) targets: Vec<String>,
}

/// What a package of ours may depend on.
pub(crate) enum Layer {
    /// These packages of ours; dev-dependencies may be any that is not `Top`.
    Uses(&'static [&'static str]),
    /// All of ours, and none of ours may depend on it.
    Top,
    /// All of ours, and only tests of ours may depend on it.
    Harness,
}

impl Manifest {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let folder = folder_of(path);
        let mut manifest = Self {
            path: path.into(),
            name: String::new(),
            dependencies: BTreeSet::new(),
            dev_dependencies: BTreeSet::new(),
            targets: Vec::new(),
        };
        let mut section = String::new();
        for line in text.lines().map(|line| line.split('#').next().unwrap_or_default().trim()) {
            if line.starts_with('[') {
                section = line.trim_matches(['[', ']']).into();
            }
            let value = line.split('"').nth(1).unwrap_or_default();
            if section == "package" && line.split('=').next().is_some_and(|k| k.trim() == "name") {
                manifest.name = value.into();
            }
            if line.starts_with("path") && has_extension(value, "rs") {
                manifest.targets.push(format!("{folder}{value}"));
            }
            let names = line.split(|c: char| !(c.is_alphanumeric() || c == '-' || c == '_'));
            if section.contains("dev-dependencies") {
                manifest.dev_dependencies.extend(names.map(str::to_owned));
            } else if section.contains("dependencies") && !section.starts_with("workspace") {
                manifest.dependencies.extend(names.map(str::to_owned));
            }
        }
        manifest
    }
}

/// The folder of a path, with its last `/`; empty at the root.
pub(crate) fn folder_of(path: &str) -> &str {
    path.rfind('/').map_or("", |at| &path[..=at])
}

pub(crate) fn has_extension(path: &str, extension: &str) -> bool {
    std::path::Path::new(path).extension().is_some_and(|found| found == extension)
}

pub(crate) fn long_file(source: &Source) -> Option<String> {
    let (path, lines) = (&source.path, source.shipped_lines);
    let excused = source.module_doc().contains("one piece");
    (lines > FILE_LINES_MAX && !excused).then(|| {
        format!(
            "{path}: {lines} lines without tests, {FILE_LINES_MAX} allowed; \
             split it, or say in its //! why it is one piece"
        )
    })
}

pub(crate) fn long_functions(source: &Source) -> Vec<String> {
    let long = |lines: usize| lines > FUNCTION_LINES_MAX;
    let functions = source.functions().into_iter().filter(|function| long(function.lines));
    let complaint = |name: &str, line: usize, lines: usize| {
        format!("{}:{line}: `{name}` has {lines} lines, {FUNCTION_LINES_MAX} allowed", source.path)
    };
    functions.map(|function| complaint(function.name, function.line, function.lines)).collect()
}

pub(crate) fn wide_lines(source: &Source) -> Vec<String> {
    let widths = source.text.lines().map(|line| line.chars().count()).enumerate();
    let wide = widths.filter(|(_, width)| *width > WIDTH_MAX);
    wide.map(|(index, width)| {
        format!("{}:{}: {width} characters wide, {WIDTH_MAX} allowed", source.path, index + 1)
    })
    .collect()
}

/// Functions that traits of other crates name: `BuilderProfile` of x509-cert.
const FOREIGN_NAMES: [&str; 2] = ["get_issuer", "get_subject"];

pub(crate) fn banned_names(source: &Source) -> Vec<String> {
    let mut complaints = Vec::new();
    for function in source.functions() {
        let prefix = if function.is_test { "test_" } else { "get_" };
        if function.name.starts_with(prefix) && !FOREIGN_NAMES.contains(&function.name) {
            let (path, line, name) = (&source.path, function.line, function.name);
            complaints.push(format!("{path}:{line}: `{name}` begins with `{prefix}`"));
        }
    }
    complaints
}

pub(crate) fn banned_words(source: &Source) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut complain = |at: usize, found: &str| {
        let line = line_at(&source.code, at);
        complaints.push(format!("{}:{line}: {found}", source.path));
    };
    for (at, word) in words(&source.code) {
        let called = source.code[at + word.len()..].starts_with('!');
        if called && ["todo", "unimplemented", "dbg"].contains(&word) {
            complain(at, &format!("`{word}!` is not finished work"));
        }
        if word == "let" && discards_a_call(&source.code[at..]) {
            complain(at, "`let _ =` hides what a call returned; handle it or name it");
        }
    }
    for (at, found) in source.text.match_indices(concat!("FIX", "ME")) {
        complain(at, &format!("`{found}`: fix it, or file it where it is found again"));
    }
    complaints
}

/// Whether a statement at `let` is `let _ = …` with a call in it.
fn discards_a_call(statement: &str) -> bool {
    let Some((at, "_")) = next_word(statement, "let".len()) else { return false };
    let Some(value) = statement[at + 1..].trim_start().strip_prefix('=') else { return false };
    value.split(';').next().is_some_and(|value| value.contains('('))
}

pub(crate) fn no_opening(source: &Source) -> Option<String> {
    let complaint = || format!("{}:1: does not open with `//!` and what it owns", source.path);
    (!source.text.starts_with("//! ")).then(complaint)
}

/// Uses of the outside world in shipped code: files, threads, clocks, the operating system.
pub(crate) fn edge_uses(source: &Source) -> Vec<String> {
    let code = &source.shipped;
    let mut complaints = Vec::new();
    for (at, word) in words(code) {
        let Some(path) = code[at + word.len()..].trim_start().strip_prefix("::") else {
            if word == "rustix" {
                complaints.push(edge_complaint(source, at, "rustix"));
            }
            continue;
        };
        if word == "rustix" || word == "File" {
            complaints.push(edge_complaint(source, at, &format!("{word}::")));
        }
        if word == "std" {
            let used = first_names(path).into_iter().filter(|name| EDGE_MODULES.contains(name));
            complaints.extend(used.map(|name| edge_complaint(source, at, &format!("std::{name}"))));
        }
    }
    complaints
}

fn edge_complaint(source: &Source, at: usize, what: &str) -> String {
    let line = line_at(&source.shipped, at);
    format!("{}:{line}: `{what}` outside engine/src/io; take bytes or `now` instead", source.path)
}

/// The name that goes on a path, or the outermost names where a `{ }` group does.
fn first_names(path: &str) -> Vec<&str> {
    let path = path.trim_start();
    if !path.starts_with('{') {
        return next_word(path, 0).map(|(_, name)| name).into_iter().collect();
    }
    let group = &path[1..close_of(path, 0)];
    let outermost = |at: usize| {
        let before = &group[..at];
        before.matches('{').count() == before.matches('}').count() && !before.ends_with("::")
    };
    words(group).filter(|(at, _)| outermost(*at)).map(|(_, name)| name).collect()
}

/// Rust files that no crate root leads to.
pub(crate) fn dead_files(sources: &[Source], manifests: &[Manifest]) -> Vec<String> {
    let mut open: Vec<(&Source, bool)> = Vec::new();
    for source in sources.iter().filter(|source| is_root(&source.path, manifests)) {
        open.push((source, true));
    }
    let mut reached: BTreeSet<&str> = BTreeSet::new();
    while let Some((source, root)) = open.pop() {
        if !reached.insert(&source.path) {
            continue;
        }
        let paths = module_paths(source, root);
        open.extend(sources.iter().filter(|s| paths.contains(&s.path)).map(|s| (s, false)));
    }
    let dead = sources.iter().filter(|source| !reached.contains(source.path.as_str()));
    dead.map(|source| format!("{}: no crate reaches it; declare it or delete it", source.path))
        .collect()
}

fn is_root(path: &str, manifests: &[Manifest]) -> bool {
    let packages = manifests.iter().filter(|manifest| !manifest.name.is_empty());
    packages.into_iter().any(|manifest| {
        let Some(inner) = path.strip_prefix(folder_of(&manifest.path)) else { return false };
        let parts: Vec<_> = inner.split('/').collect();
        manifest.targets.iter().any(|target| target == path)
            || ["src/lib.rs", "src/main.rs", "build.rs"].contains(&inner)
            || matches!(parts[..], ["src", "bin", _] | ["src", "bin", _, "main.rs"])
            || matches!(parts[..], ["tests" | "benches" | "examples", _])
            || matches!(parts[..], ["tests" | "benches" | "examples", _, "main.rs"])
    })
}

/// Where the modules and includes of a file may lie.
fn module_paths(source: &Source, root: bool) -> BTreeSet<String> {
    let here = folder_of(&source.path);
    let stem = source.path.trim_end_matches(".rs");
    let owns_folder = root || stem.ends_with("/mod");
    let below = if owns_folder { here.to_owned() } else { format!("{stem}/") };
    let mut paths = BTreeSet::new();
    for (at, _) in words(&source.code).filter(|(_, word)| *word == "mod") {
        let Some((name_at, name)) = next_word(&source.code, at + 3) else { continue };
        if !source.code[name_at + name.len()..].trim_start().starts_with(';') {
            continue;
        }
        paths.insert(format!("{below}{name}.rs"));
        paths.insert(format!("{below}{name}/mod.rs"));
        let above = &source.text[statement_start(&source.code, at)..at];
        let attribute = above.lines().filter(|line| line.trim_start().starts_with("#[path"));
        paths.extend(
            attribute
                .filter_map(|line| quoted_after(line, "path"))
                .map(|path| format!("{here}{path}")),
        );
    }
    for line in source.text.lines() {
        paths.extend(quoted_after(line, "include!(").map(|path| format!("{here}{path}")));
    }
    paths
}

fn quoted_after<'a>(line: &'a str, mark: &str) -> Option<&'a str> {
    line.split_once(mark).and_then(|(_, rest)| rest.split('"').nth(1))
}

/// Dependencies among our own packages that go against the layers.
pub(crate) fn wrong_layers(manifests: &[Manifest], layers: &[(&str, Layer)]) -> Vec<String> {
    let mut complaints = Vec::new();
    for manifest in manifests.iter().filter(|manifest| !manifest.name.is_empty()) {
        let (path, name) = (&manifest.path, &manifest.name);
        let Some((_, layer)) = layers.iter().find(|(known, _)| known == name) else {
            complaints.push(format!("{path}: `{name}` has no layer; give it one in tests/tidy.rs"));
            continue;
        };
        let Layer::Uses(allowed) = layer else { continue };
        for (other, layer) in layers.iter().filter(|(other, _)| other != name) {
            let used = manifest.dependencies.contains(*other) && !allowed.contains(other);
            let top = matches!(layer, Layer::Top);
            if used || (top && manifest.dev_dependencies.contains(*other)) {
                complaints.push(format!("{path}: `{name}` may not depend on `{other}`"));
            }
        }
    }
    complaints
}

/// Dependencies beyond `known` that have no `#` comment beside or above them.
pub(crate) fn unexplained_dependencies(path: &str, text: &str, known: &[&str]) -> Vec<String> {
    let mut complaints = Vec::new();
    let (mut section, mut above) = ("", "");
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
        }
        let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
        let entry = !name.is_empty() && !line.starts_with(['[', '#']);
        let said = line.contains('#') || above.starts_with('#') || known.contains(&name);
        if entry && section == "[dependencies]" && !said {
            complaints.push(format!("{path}: `{name}` has no comment that says why it is needed"));
        }
        above = line;
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::new("engine/src/a.rs", text)
    }

    fn manifest(name: &str, dependencies: &str) -> Manifest {
        let text = format!("[package]\nname = \"{name}\"\n{dependencies}\n");
        Manifest::new(&format!("{name}/Cargo.toml"), &text)
    }

    #[test]
    fn file_one_line_past_the_limit_is_flagged_unless_it_says_why() {
        let lines = "fn a() {}\n".repeat(FILE_LINES_MAX - 1);
        assert!(long_file(&source(&format!("//! A.\n{lines}"))).is_none());
        assert!(long_file(&source(&format!("//! A.\n\n{lines}"))).is_some());
        assert!(long_file(&source(&format!("//! It is one piece: why.\n\n{lines}"))).is_none());
    }

    #[test]
    fn function_one_line_past_the_limit_is_flagged() {
        let body = "\n".repeat(FUNCTION_LINES_MAX - 1);
        assert!(long_functions(&source(&format!("fn a() {{{body}}}"))).is_empty());
        assert_eq!(long_functions(&source(&format!("fn a() {{{body}\n}}"))).len(), 1);
    }

    #[test]
    fn line_one_character_too_wide_is_flagged() {
        assert!(wide_lines(&source(&"é".repeat(WIDTH_MAX))).is_empty());
        assert_eq!(wide_lines(&source(&"é".repeat(WIDTH_MAX + 1))).len(), 1);
    }

    #[test]
    fn getters_and_test_prefixes_are_flagged() {
        let text = "fn get_a() {}\n#[test]\nfn test_b() {}\nfn getter() {}\nfn test_pair() {}\n";
        let found = banned_names(&source(text));
        assert_eq!(found.len(), 2, "{found:?}");
    }

    #[test]
    fn unfinished_work_and_discarded_calls_are_flagged() {
        let text = "fn a() {\n todo!();\n dbg!(1);\n unimplemented!()\n}\n";
        assert_eq!(banned_words(&source(text)).len(), 3);
        assert_eq!(banned_words(&source("let _ = a\n  .b();")).len(), 1);
        assert_eq!(banned_words(&source(concat!("// FIX", "ME later"))).len(), 1);
        assert!(banned_words(&source("// todo!()\nlet _ = a; let _b = c(); todo();")).is_empty());
    }

    #[test]
    fn file_without_opening_is_flagged() {
        assert!(no_opening(&source("use a;\n//! A.\n")).is_some());
        assert!(no_opening(&source("//! A.\n")).is_none());
    }

    #[test]
    fn input_and_output_is_flagged_in_every_spelling() {
        let spellings = [
            "use std::fs;",
            "use std::{\n  fmt,\n  io::Read,\n};",
            "fn a() { std::thread::sleep(b) }",
            "let now = std::time::Instant::now();",
            "use rustix::fs::open;",
            "let file = File::open(path)?;",
        ];
        for text in spellings {
            assert_eq!(edge_uses(&source(text)).len(), 1, "{text}");
        }
    }

    #[test]
    fn pure_code_and_tests_are_no_input_and_output() {
        let text = "//! std::fs\nuse std::{fmt, sync::io};\nuse core::time::Duration;\n\
                    #[cfg(test)]\nmod tests { use std::fs; }\n";
        assert!(edge_uses(&source(text)).is_empty());
    }

    #[test]
    fn file_that_no_module_declares_is_flagged() {
        let manifests = [manifest("e", "[[test]]\npath = \"t.rs\"\n")];
        let files = [
            ("e/src/lib.rs", "mod a; mod f { }"),
            ("e/src/a.rs", "pub(crate) mod b;"),
            ("e/src/a/b.rs", "include!(\"d.rs\");"),
            ("e/src/a/d.rs", ""),
            ("e/src/c.rs", ""),
            ("e/src/f.rs", ""),
            ("e/t.rs", "#[path = \"t/g.rs\"]\nmod g;"),
            ("e/t/g.rs", "// mod h;"),
            ("e/t/h.rs", ""),
        ];
        let sources: Vec<_> = files.iter().map(|(path, text)| Source::new(path, text)).collect();
        let found = dead_files(&sources, &manifests);
        let dead: Vec<_> =
            found.iter().filter_map(|complaint| complaint.split(':').next()).collect();
        assert_eq!(dead, ["e/src/c.rs", "e/src/f.rs", "e/t/h.rs"]);
    }

    #[test]
    fn dependency_against_the_layers_is_flagged() {
        let layers = [
            ("low", Layer::Uses(&[])),
            ("high", Layer::Uses(&["low"])),
            ("b", Layer::Top),
            ("rig", Layer::Harness),
        ];
        let complaints = |name, text| wrong_layers(&[manifest(name, text)], &layers);
        assert_eq!(complaints("high", "[dependencies]\nlow.workspace = true"), [""; 0]);
        assert_eq!(complaints("b", "[dependencies]\nlow = \"1\"\nhigh = \"1\""), [""; 0]);
        assert_eq!(complaints("low", "[dev-dependencies]\nhigh = \"1\""), [""; 0]);
        assert_eq!(complaints("low", "[dependencies]\nx = { package = \"high\" }").len(), 1);
        assert_eq!(complaints("low", "[target.'cfg(unix)'.dependencies.high]").len(), 1);
        assert_eq!(complaints("high", "[dev-dependencies]\nb = \"1\"").len(), 1);
        assert_eq!(complaints("high", "[dev-dependencies]\nrig = \"1\""), [""; 0]);
        assert_eq!(complaints("high", "[dependencies]\nrig = \"1\"").len(), 1);
        assert_eq!(complaints("unknown", "").len(), 1);
    }

    #[test]
    fn dependency_without_a_reason_is_flagged() {
        let text =
            "[dependencies]\nblake3 = \"1\"\n# Why.\na = \"1\"\nb = \"1\" # Why.\nc = \"1\"\n";
        let found = unexplained_dependencies("Cargo.toml", text, &["blake3"]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("`c`"));
    }
}
