//! Applies a patch: `cargo run --release -p neap-reference --example apply PATCH SOURCE TARGET`.

use std::env::args;
use std::fs;

fn main() -> Result<(), String> {
    let paths: Vec<String> = args().skip(1).collect();
    let [patch, source, target] = &paths[..] else {
        return Err("three paths are needed: a patch, its source, and the target".into());
    };
    let read = |path| fs::read(path).map_err(|error| format!("{path}: {error}"));
    let made = neap_reference::apply(&read(patch)?, &read(source)?)?;
    fs::write(target, made).map_err(|error| format!("{target}: {error}"))
}
