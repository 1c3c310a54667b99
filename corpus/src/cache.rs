//! The cache on disk: where recipes are read, and where built pairs lie and are found again.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::CorpusError;
use crate::recipe::Recipe;

/// A built pair, as its `pair.json` tells it.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub struct Pair {
    /// The recipe's name for it.
    pub name: String,
    /// What it stands for: see [`Kind::word`](crate::Kind::word).
    pub kind: String,
    /// Size of the source, bytes.
    pub source_size: u64,
    /// Size of the target, bytes.
    pub target_size: u64,
    /// BLAKE3 of the source, hexadecimal.
    pub source_blake3: String,
    /// BLAKE3 of the target, hexadecimal.
    pub target_blake3: String,
    /// Package and version of the source; `packages-source.txt` has all of them.
    pub source_version: String,
    /// Package and version of the target; `packages-target.txt` has all of them.
    pub target_version: String,
    /// The folder that holds the pair.
    #[serde(skip)]
    pub folder: PathBuf,
}

impl Pair {
    /// The image that a device has.
    #[must_use]
    pub fn source(&self) -> PathBuf {
        self.folder.join("source")
    }

    /// The image that it shall have.
    #[must_use]
    pub fn target(&self) -> PathBuf {
        self.folder.join("target")
    }
}

/// Every pair that is built in `cache`, by name.
///
/// # Errors
/// [`CorpusError::Io`] when the cache is there but cannot be read.
pub fn load(cache: &Path) -> Result<Vec<Pair>, CorpusError> {
    let folder = cache.join("pairs");
    let mut pairs = Vec::new();
    if folder.is_dir() {
        for path in entries(&folder)? {
            pairs.extend(read(&path));
        }
    }
    Ok(pairs)
}

/// `NEAP_CORPUS_CACHE`, or else `.cache/corpus` at the root of the workspace.
#[must_use]
pub fn default_cache() -> PathBuf {
    match std::env::var_os("NEAP_CORPUS_CACHE") {
        Some(path) if !path.is_empty() => path.into(),
        _ => Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache/corpus"),
    }
}

/// The recipes that come with this crate.
#[must_use]
pub fn recipes_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes")
}

/// Reads all recipes of a folder, file by file in order of names.
///
/// # Errors
/// [`CorpusError::Recipe`] for a recipe that breaks a rule or takes another's name.
pub fn recipes(folder: &Path) -> Result<Vec<Recipe>, CorpusError> {
    let mut recipes = Vec::new();
    for path in entries(folder)?.iter().filter(|it| it.extension().is_some_and(|it| it == "toml")) {
        let text = fs::read_to_string(path).map_err(CorpusError::io(path))?;
        recipes.extend(Recipe::parse(&path.display().to_string(), &text)?);
    }
    let mut names = BTreeSet::new();
    for Recipe { pair, .. } in &recipes {
        if !names.insert(&pair.name) {
            let fact = "the name is used twice, once is allowed".into();
            return Err(CorpusError::Recipe { name: pair.name.clone(), fact });
        }
    }
    Ok(recipes)
}

/// The pair of a recipe, if it is built, whole, and of this very recipe.
pub(crate) fn find(cache: &Path, recipe: &Recipe) -> Option<Pair> {
    let folder = cache.join("pairs").join(&recipe.pair.name);
    let stamp = fs::read_to_string(folder.join("stamp")).ok()?;
    if stamp != recipe.stamp() {
        return None;
    }
    read(&folder)
}

/// Puts a pair built in `folder` in its place: from here on it is found.
pub(crate) fn keep(
    cache: &Path,
    recipe: &Recipe,
    folder: &Path,
    mut pair: Pair,
) -> Result<Pair, CorpusError> {
    let json = serde_json::to_string_pretty(&pair)
        .map_err(|error| CorpusError::io(folder)(error.into()))?;
    for (file, text) in [("pair.json", json + "\n"), ("stamp", recipe.stamp())] {
        let path = folder.join(file);
        fs::write(&path, text).map_err(CorpusError::io(&path))?;
    }
    let place = cache.join("pairs").join(&pair.name);
    if place.exists() {
        fs::remove_dir_all(&place).map_err(CorpusError::io(&place))?;
    }
    fs::create_dir_all(cache.join("pairs")).map_err(CorpusError::io(cache))?;
    fs::rename(folder, &place).map_err(CorpusError::io(&place))?;
    pair.folder = place;
    Ok(pair)
}

/// A folder's `pair.json`, if both files are there in the sizes that it tells.
fn read(folder: &Path) -> Option<Pair> {
    let text = fs::read_to_string(folder.join("pair.json")).ok()?;
    let mut pair: Pair = serde_json::from_str(&text).ok()?;
    pair.folder = folder.to_path_buf();
    let size = |path: PathBuf| fs::metadata(path).ok().map(|it| it.len());
    let whole = size(pair.source()) == Some(pair.source_size)
        && size(pair.target()) == Some(pair.target_size);
    whole.then_some(pair)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, CorpusError> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(CorpusError::io(folder))? {
        paths.push(entry.map_err(CorpusError::io(folder))?.path());
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECIPE: &str = "[from.apt]\npackages=['a']\n[[pair]]\nname='a'\nkind='kernel'\n\
                          sets=['full']\nplatform='amd64'\ntake='package'\n";

    fn built(cache: &Path, recipe: &Recipe) -> Pair {
        let folder = cache.join("scratch");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("source"), "1").unwrap();
        fs::write(folder.join("target"), "22").unwrap();
        let pair = Pair {
            name: recipe.pair.name.clone(),
            kind: recipe.pair.kind.word().into(),
            source_size: 1,
            target_size: 2,
            source_blake3: String::new(),
            target_blake3: String::new(),
            source_version: String::new(),
            target_version: String::new(),
            folder: PathBuf::new(),
        };
        keep(cache, recipe, &folder, pair).unwrap()
    }

    #[test]
    fn a_kept_pair_is_found_until_its_recipe_or_its_files_change() {
        let cache = std::env::temp_dir().join(format!("neap-cache-{}", std::process::id()));
        let recipe = Recipe::parse("t", RECIPE).unwrap().remove(0);
        assert_eq!(find(&cache, &recipe), None);
        let pair = built(&cache, &recipe);
        assert_eq!(find(&cache, &recipe).as_ref(), Some(&pair));
        assert_eq!(load(&cache).unwrap().as_slice(), std::slice::from_ref(&pair));

        let changed = RECIPE.replace("package'", "package' # longer").replace("amd64", "arm64");
        assert_eq!(find(&cache, &Recipe::parse("t", &changed).unwrap()[0]), None);

        fs::write(pair.target(), "2").unwrap();
        assert_eq!(find(&cache, &recipe), None);
        assert_eq!(load(&cache).unwrap(), []);
        fs::remove_dir_all(cache).unwrap();
    }
}
