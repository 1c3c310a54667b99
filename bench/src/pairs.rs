//! What is compared: a source and a target on disk, from the corpus cache or named by hand.
//!
//! Building pairs is the corpus crate's; this reads what it left in `<cache>/pairs/<name>/`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Two images: the one a device has and the one it shall have.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pair {
    /// Unique name, fit for a file name.
    pub name: String,
    /// `executable-x86_64`, `rootfs-ext4`, …; `given` for files named by hand.
    pub kind: String,
    /// Bytes of the source.
    pub source_size: u64,
    /// Bytes of the target.
    pub target_size: u64,
    /// What the source is, in its package's words.
    #[serde(default)]
    pub source_version: String,
    /// What the target is.
    #[serde(default)]
    pub target_version: String,
    /// The sets it belongs to, where the corpus says so.
    #[serde(default)]
    pub sets: Vec<String>,
    /// Where the source lies.
    #[serde(skip)]
    pub source: PathBuf,
    /// Where the target lies.
    #[serde(skip)]
    pub target: PathBuf,
}

/// The corpus cache: `NEAP_CORPUS_CACHE`, otherwise `.cache/corpus` under the workspace root.
#[must_use]
pub fn default_cache() -> PathBuf {
    std::env::var_os("NEAP_CORPUS_CACHE")
        .map_or_else(|| workspace_root().join(".cache/corpus"), PathBuf::from)
}

/// The folder of the workspace that this program was built from.
#[must_use]
pub fn workspace_root() -> PathBuf {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_folder.parent().unwrap_or(crate_folder).to_owned()
}

/// Every built pair of a cache, small ones first; an absent cache has none.
///
/// # Errors
/// A `pair.json` that cannot be read or is not what the corpus writes.
pub fn load(cache: &Path) -> io::Result<Vec<Pair>> {
    let folder = cache.join("pairs");
    let mut pairs = Vec::new();
    if !folder.is_dir() {
        return Ok(pairs);
    }
    for entry in fs::read_dir(&folder)? {
        let folder = entry?.path();
        let description = folder.join("pair.json");
        if description.is_file() {
            pairs.push(parse(&fs::read(&description)?, &folder)?);
        }
    }
    pairs.sort_by(|a, b| (a.target_size, &a.name).cmp(&(b.target_size, &b.name)));
    Ok(pairs)
}

/// The pairs that `wanted` names: set names (`small`, `full`) or pair names, in the order of `all`.
///
/// # Errors
/// A name that is neither a set nor a built pair: nothing is measured with half of what was asked.
pub fn select(all: Vec<Pair>, wanted: &[String]) -> Result<Vec<Pair>, String> {
    for name in wanted {
        if !all.iter().any(|pair| belongs(pair, name)) {
            let built: Vec<&str> = all.iter().map(|pair| pair.name.as_str()).collect();
            return Err(format!("{name}: no such built pair or set; built: {}", built.join(" ")));
        }
    }
    Ok(all.into_iter().filter(|pair| wanted.iter().any(|name| belongs(pair, name))).collect())
}

/// A pair of any two files.
///
/// # Errors
/// A file that cannot be looked at, or is not a file.
pub fn given(source: &Path, target: &Path) -> Result<Pair, String> {
    let size = |path: &Path| {
        let metadata =
            fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?;
        if metadata.is_file() {
            Ok(metadata.len())
        } else {
            Err(format!("{}: not a regular file", path.display()))
        }
    };
    let stem = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.replace(|c: char| !c.is_ascii_alphanumeric() && !".-_".contains(c), "_")
    };
    Ok(Pair {
        name: format!("{}--{}", stem(source), stem(target)),
        kind: "given".to_owned(),
        source_size: size(source)?,
        target_size: size(target)?,
        source_version: stem(source),
        target_version: stem(target),
        sets: Vec::new(),
        source: source.to_owned(),
        target: target.to_owned(),
    })
}

/// Largest target of the `small` set where the corpus does not say which pairs are in it: 128 MiB,
/// so that every tool finishes a pair within a CI job.
const SMALL_TARGET_SIZE_MAX: u64 = 128 << 20;

fn belongs(pair: &Pair, name: &str) -> bool {
    if pair.name == name || pair.sets.iter().any(|set| set == name) {
        return true;
    }
    let unsaid = pair.sets.is_empty();
    match name {
        "full" => true,
        "small" => unsaid && pair.target_size.max(pair.source_size) <= SMALL_TARGET_SIZE_MAX,
        _ => false,
    }
}

fn parse(json: &[u8], folder: &Path) -> io::Result<Pair> {
    let mut pair: Pair = serde_json::from_slice(json).map_err(|error| {
        io::Error::other(format!("{}: {error}", folder.join("pair.json").display()))
    })?;
    pair.source = folder.join("source");
    pair.target = folder.join("target");
    Ok(pair)
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &[u8] = br#"{"name":"libcrypto","kind":"executable-x86_64","source_size":10,
        "target_size":12,"source_blake3":"aa","target_blake3":"bb","source_version":"3.0.20",
        "target_version":"3.0.22"}"#;

    fn pair(name: &str, target_size: u64, sets: &[&str]) -> Pair {
        let mut pair = parse(JSON, Path::new("/cache/pairs/x")).expect("the sample is well formed");
        name.clone_into(&mut pair.name);
        pair.target_size = target_size;
        pair.sets = sets.iter().map(ToString::to_string).collect();
        pair
    }

    fn names(pairs: Vec<Pair>) -> Vec<String> {
        pairs.into_iter().map(|pair| pair.name).collect()
    }

    #[test]
    fn a_pair_lies_beside_its_description() {
        let pair = parse(JSON, Path::new("/cache/pairs/libcrypto")).expect("well formed");
        assert_eq!(pair.source, Path::new("/cache/pairs/libcrypto/source"));
        assert_eq!((pair.source_size, pair.target_size), (10, 12));
    }

    #[test]
    fn a_description_without_sizes_is_refused() {
        assert!(parse(br#"{"name":"x","kind":"y"}"#, Path::new("/p")).is_err());
    }

    #[test]
    fn a_set_takes_what_the_corpus_put_into_it_and_nothing_else() {
        let all = vec![pair("a", 5, &["small", "full"]), pair("b", 5, &["full"])];
        assert_eq!(names(select(all, &["small".to_owned()]).expect("exists")), ["a"]);
    }

    #[test]
    fn without_set_names_small_goes_by_size() {
        let all =
            vec![pair("a", SMALL_TARGET_SIZE_MAX, &[]), pair("b", SMALL_TARGET_SIZE_MAX + 1, &[])];
        assert_eq!(names(select(all, &["small".to_owned()]).expect("exists")), ["a"]);
    }

    #[test]
    fn an_unknown_name_is_refused_with_what_there_is() {
        let refused = select(vec![pair("a", 5, &[])], &["b".to_owned()]).expect_err("no such pair");
        assert!(refused.contains("built: a"), "{refused}");
    }
}
