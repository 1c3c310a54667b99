//! Checks the commands that a document tells its reader to type.
//!
//! A command is a line `$ …` in a ```` ```console ```` block. It is looked up, not run: verbs and
//! flags in the sources of `cli`, packages in the manifests, scripts among the tracked files.

use std::collections::BTreeSet;

use crate::rules::Manifest;
use crate::source::{Source, words};

const CARGO_VERBS: [&str; 11] =
    ["add", "bench", "build", "check", "clippy", "deny", "doc", "fmt", "fuzz", "install", "test"];

/// What the commands are looked up in.
pub(crate) struct Known<'a> {
    pub(crate) manifests: &'a [Manifest],
    pub(crate) sources: &'a [Source],
    /// Every tracked file, from the repository root.
    pub(crate) paths: &'a [String],
}

/// Commands of a document with their line numbers; continued lines joined, pipes taken apart.
pub(crate) fn commands(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut console = false;
    let mut pending: Option<(usize, String)> = None;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            console = line.trim() == "```console";
            continue;
        }
        let (at, mut command) = match pending.take() {
            Some((at, begun)) => (at, format!("{begun} {}", line.trim())),
            None if console && line.starts_with("$ ") => (index + 1, line[2..].to_owned()),
            None => continue,
        };
        if command.ends_with('\\') {
            command.pop();
            pending = Some((at, command));
            continue;
        }
        let command = command.split(" #").next().unwrap_or_default().replace("&&", "|");
        found.extend(command.split(['|', ';']).map(|part| (at, part.trim().to_owned())));
    }
    found
}

/// What is wrong with one command, if anything is.
pub(crate) fn wrong(command: &str, known: &Known<'_>) -> Option<String> {
    let plain = |word: &&str| *word == "sudo" || *word == "nice" || word.contains('=');
    let typed: Vec<_> = command.split_whitespace().skip_while(plain).collect();
    let (program, arguments) = typed.split_first()?;
    let name = program.rsplit('/').next().unwrap_or_default();
    match name {
        "cargo" => wrong_cargo(arguments, known),
        "neap" => wrong_neap(arguments, known),
        _ if program.contains('/') => {
            let path = program.trim_start_matches("./");
            let missing = !path.starts_with("target/") && !known.paths.iter().any(|p| p == path);
            missing.then(|| format!("no file `{path}`"))
        }
        _ => None,
    }
}

fn wrong_cargo(arguments: &[&str], known: &Known<'_>) -> Option<String> {
    let verb = arguments.iter().find(|argument| !argument.starts_with('+'))?;
    if *verb != "run" && !CARGO_VERBS.contains(verb) {
        return Some(format!("no verb `cargo {verb}`"));
    }
    for pair in arguments.windows(2) {
        let (value, found) = match pair[0] {
            "-p" | "--package" => {
                (pair[1], known.manifests.iter().any(|manifest| manifest.name == pair[1]))
            }
            "--bin" | "--example" | "--test" => (pair[1], known.has_target(pair[1])),
            "--path" => (pair[1], known.paths.contains(&format!("{}/Cargo.toml", pair[1]))),
            _ => continue,
        };
        if !found {
            return Some(format!("no `{value}` for `{}`", pair[0]));
        }
    }
    let package = arguments.windows(2).any(|pair| pair == ["-p", "neap"]);
    let split = arguments.iter().position(|argument| *argument == "--")?;
    if package && *verb == "run" { wrong_neap(&arguments[split + 1..], known) } else { None }
}

fn wrong_neap(arguments: &[&str], known: &Known<'_>) -> Option<String> {
    let cli = known.sources.iter().filter(|source| source.path.starts_with("cli/src/"));
    let spoken: BTreeSet<String> = cli.flat_map(spoken).collect();
    let verb = arguments.iter().take(1).filter(|verb| !verb.starts_with('-'));
    let flags = arguments.iter().filter_map(|argument| argument.strip_prefix("--"));
    let flags = flags.filter_map(|flag| flag.split('=').next()).filter(|flag| !flag.is_empty());
    let missing = verb.copied().chain(flags).find(|word| !spoken.contains(*word));
    missing.map(|word| format!("`{word}` is nowhere in cli/src"))
}

/// Names and strings of a source as a command line would spell them: `no_sync` is `no-sync`.
fn spoken(source: &Source) -> Vec<String> {
    let mut spoken = vec!["help".to_owned(), "version".to_owned()];
    for (_, word) in words(&source.shipped) {
        let mut kebab = String::new();
        for c in word.chars() {
            if c.is_uppercase() && !kebab.is_empty() {
                kebab.push('-');
            }
            kebab.extend(c.to_lowercase());
        }
        spoken.push(kebab.replace('_', "-"));
    }
    let quoted = source.text.split('"').filter(|part| !part.contains(char::is_whitespace));
    spoken.extend(quoted.map(|part| part.trim_start_matches('-').to_owned()));
    spoken
}

impl Known<'_> {
    /// Whether a binary, example or test of this name exists, by file or by manifest.
    fn has_target(&self, name: &str) -> bool {
        let ends = [format!("/{name}.rs"), format!("/{name}/main.rs")];
        let file = self.paths.iter().any(|path| ends.iter().any(|end| path.ends_with(end)));
        file || self.manifests.iter().any(|manifest| manifest.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "//! To verify.\nenum Verb { Diff }\nstruct A { no_sync: bool }\n\"apply\"";

    fn complaint(command: &str) -> Option<String> {
        let sources = [
            Source::new("cli/src/main.rs", TEXT),
            Source::new("engine/src/lib.rs", "fn verify() {}"),
        ];
        let manifest = |name| Manifest::new(name, &format!("[package]\nname = \"{name}\"\n"));
        let manifests = [manifest("neap"), manifest("neap-bench")];
        let paths = ["fuzz/smoke.sh".into(), "bench/src/bin/compare.rs".into()];
        wrong(command, &Known { manifests: &manifests, sources: &sources, paths: &paths })
    }

    #[test]
    fn commands_are_prompts_in_console_blocks() {
        let text =
            "$ no\n```console\n$ a --b \\\n    c\nout\n$ d | e # why\n```\n```sh\n$ no\n```\n";
        let expected = [(3, "a --b c".into()), (6, "d".into()), (6, "e".into())];
        let found: Vec<_> =
            commands(text).into_iter().map(|(at, c)| (at, c.replace("  ", " "))).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn commands_that_exist_pass() {
        let good = [
            "neap diff a b --no-sync",
            "sudo ./target/release/neap apply - --help",
            "cargo run --release -p neap -- diff a",
            "cargo run -p neap-bench --bin compare -- --set small",
            "cargo test --workspace",
            "fuzz/smoke.sh 10",
            "RUST_LOG=a ls",
        ];
        for command in good {
            let found = complaint(command);
            assert_eq!(found, None, "{command}");
        }
    }

    #[test]
    fn commands_that_do_not_exist_are_flagged() {
        let bad = [
            "neap verify a",
            "neap diff a b --sync",
            "cargo tset",
            "cargo run -p nap",
            "cargo run -p neap -- verify",
            "cargo run --bin compere",
            "cargo install --path client",
            "fuzz/smoke 10",
        ];
        for command in bad {
            assert!(complaint(command).is_some(), "{command}");
        }
    }
}
