//! Builds pairs: fetch, unpack, assemble, check. Leaves each step to the file named after it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::apt::{self, Lists, Version};
use crate::cache::{self, Pair};
use crate::error::CorpusError;
use crate::process::run;
use crate::recipe::{From, Pinned, Recipe, Take};
use crate::{mkfs, registry, tree};

/// Builds one pair after the other; packages and trees of the pair before are used again.
pub struct Builder<'a> {
    cache: PathBuf,
    report: &'a mut dyn FnMut(&str),
    lists: BTreeMap<String, Lists>,
    unpacked: Option<Unpacked>,
    /// Held while building: two builders would unpack over each other's trees.
    _lock: fs::File,
}

/// Both sides of a set of packages, fetched; and unpacked if a recipe looks inside.
struct Unpacked {
    key: String,
    sides: [Side; 2],
}

struct Side {
    packages: Vec<PathBuf>,
    versions: Vec<Version>,
    root: PathBuf,
}

impl<'a> Builder<'a> {
    /// A builder on a cache folder; `report` gets one line per step and per warning.
    pub fn new(cache: &Path, report: &'a mut dyn FnMut(&str)) -> Result<Self, CorpusError> {
        fs::create_dir_all(cache).map_err(CorpusError::io(cache))?;
        // Tools run in other folders, so the path must hold from anywhere.
        let cache = cache.canonicalize().map_err(CorpusError::io(cache))?;
        let path = cache.join("lock");
        let lock = fs::File::create(&path).map_err(CorpusError::io(&path))?;
        if lock.try_lock().is_err() {
            report("waiting for another build in this cache to end");
            lock.lock().map_err(CorpusError::io(&path))?;
        }
        Ok(Self { cache, report, lists: BTreeMap::new(), unpacked: None, _lock: lock })
    }

    /// The pair of a recipe: from the cache, or built anew.
    ///
    /// # Errors
    /// Any [`CorpusError`]; an earlier build of the pair is then still in the cache.
    pub fn build(&mut self, recipe: &Recipe, refresh: bool) -> Result<Pair, CorpusError> {
        if !refresh && let Some(pair) = cache::find(&self.cache, recipe) {
            return Ok(pair);
        }
        let pair = &recipe.pair;
        self.unpack(recipe)?;
        let Some(unpacked) = &self.unpacked else { unreachable!("unpack() has just set it") };
        (self.report)(&format!("{}: assembling", pair.name));
        let folder = fresh_folder(&self.cache.join("scratch").join(&pair.name))?;
        let mut built = Vec::new();
        let pins = [("source", &pair.source_blake3), ("target", &pair.target_blake3)];
        for ((name, pin), side) in pins.into_iter().zip(&unpacked.sides) {
            let output = folder.join(name);
            assemble(&pair.take, side, &output)?;
            let (size, digest) = measure(&output)?;
            if let Some(allowed) = pin
                && *allowed != digest
            {
                let allowed = allowed.clone();
                return Err(CorpusError::Digest { side: name, found: digest, allowed });
            }
            let list: String =
                side.versions.iter().map(|it| format!("{} {}\n", it.name, it.version)).collect();
            let path = folder.join(format!("packages-{name}.txt"));
            fs::write(&path, list).map_err(CorpusError::io(&path))?;
            built.push((size, digest));
        }
        let [source, target] = built.as_slice() else { unreachable!("there are two sides") };
        if source.1 == target.1 {
            return Err(CorpusError::SidesEqual);
        }
        let [source_version, target_version] = summaries(&unpacked.sides);
        let pair = Pair {
            name: pair.name.clone(),
            kind: pair.kind.word().into(),
            source_size: source.0,
            target_size: target.0,
            source_blake3: source.1.clone(),
            target_blake3: target.1.clone(),
            source_version,
            target_version,
            folder: PathBuf::new(),
        };
        cache::keep(&self.cache, recipe, &folder, pair)
    }

    /// Removes what only the building needed; packages stay for the next time.
    ///
    /// # Errors
    /// [`CorpusError::Io`] when the folder cannot be removed.
    pub fn finish(self) -> Result<(), CorpusError> {
        let scratch = self.cache.join("scratch");
        if scratch.exists() {
            fs::remove_dir_all(&scratch).map_err(CorpusError::io(&scratch))?;
        }
        Ok(())
    }

    /// Makes `self.unpacked` hold the packages of a recipe.
    fn unpack(&mut self, recipe: &Recipe) -> Result<(), CorpusError> {
        let key = recipe.tree_key();
        if self.unpacked.as_ref().is_some_and(|it| it.key == key) {
            return Ok(());
        }
        self.unpacked = None;
        (self.report)(&format!("{}: fetching", recipe.pair.name));
        let [source, target] = self.fetch(recipe)?;
        (self.report)(&format!("{}: unpacking", recipe.pair.name));
        let scratch = self.cache.join("scratch");
        let mut sides = [("tree-source", source), ("tree-target", target)].map(|(name, it)| Side {
            versions: it.0,
            packages: it.1,
            root: scratch.join(name),
        });
        for side in &mut sides {
            fresh_folder(&side.root)?;
            match &recipe.from {
                From::Apt(_) => {
                    apt::prepare_root(&side.root)?;
                    for package in &side.packages {
                        apt::unpack(package, &side.root)?;
                    }
                    apt::write_status(&side.packages, &side.root)?;
                }
                From::Pip(_) | From::Npm(_) => {
                    for package in &side.packages {
                        registry::unpack(package, &side.root)?;
                    }
                }
            }
            tree::fix_times(&side.root)?;
        }
        self.unpacked = Some(Unpacked { key, sides });
        Ok(())
    }

    /// Versions and package files of both sides.
    fn fetch(&mut self, recipe: &Recipe) -> Result<[Fetched; 2], CorpusError> {
        let platform = &recipe.pair.platform;
        match &recipe.from {
            From::Apt(apt) => {
                let suite = apt.extra_suite.as_deref();
                let key = format!("{platform} {}", suite.unwrap_or_default());
                if !self.lists.contains_key(&key) {
                    let fetched = Lists::fetch(&self.cache, platform, suite, &mut self.report)?;
                    self.lists.insert(key.clone(), fetched);
                }
                let Some(lists) = self.lists.get(&key) else { unreachable!("just inserted") };
                let [source, target] = lists.sides(apt)?;
                let folder = self.cache.join("packages");
                let paths = [lists.download(&source, &folder)?, lists.download(&target, &folder)?];
                let [source_paths, target_paths] = paths;
                Ok([(source, source_paths), (target, target_paths)])
            }
            From::Pip(pinned) => pinned_sides(pinned, |version| {
                registry::wheel(&self.cache, &pinned.package, version, platform)
            }),
            From::Npm(pinned) => {
                pinned_sides(pinned, |version| registry::npm(&self.cache, &pinned.package, version))
            }
        }
    }
}

type Fetched = (Vec<Version>, Vec<PathBuf>);

fn pinned_sides(
    pinned: &Pinned,
    fetch: impl Fn(&str) -> Result<PathBuf, CorpusError>,
) -> Result<[Fetched; 2], CorpusError> {
    let side = |version: &String| -> Result<Fetched, CorpusError> {
        let it = Version { name: pinned.package.clone(), version: version.clone() };
        Ok((vec![it], vec![fetch(version)?]))
    };
    Ok([side(&pinned.source)?, side(&pinned.target)?])
}

/// Makes one side's file at `output`.
fn assemble(take: &Take, side: &Side, output: &Path) -> Result<(), CorpusError> {
    let copy = |from: &Path| fs::copy(from, output).map(drop).map_err(CorpusError::io(from));
    match take {
        Take::Package => match side.packages.as_slice() {
            [package] => copy(package),
            packages => {
                let count = packages.len();
                Err(CorpusError::Member { pattern: "the package itself".into(), count })
            }
        },
        Take::File(pattern) => copy(&tree::member(&side.root, pattern)?),
        Take::Gzip(pattern) => {
            copy(&tree::member(&side.root, pattern)?)?;
            let name = output.with_extension("gz");
            run(Command::new("gzip").arg("-9nf").arg("--suffix=.gz").arg(output))?;
            fs::rename(&name, output).map_err(CorpusError::io(&name))
        }
        Take::Tree(pattern) => tree::tar(&tree::member(&side.root, pattern)?, output),
        Take::Ext4(size_mib) => mkfs::ext4(&side.root, *size_mib, output),
        Take::Erofs(packer) => mkfs::erofs(&side.root, packer, output),
        Take::Squashfs(packer) => mkfs::squashfs(&side.root, packer, output),
        Take::SquashfsVerity(packer) => {
            mkfs::squashfs(&side.root, packer, output).and_then(|()| mkfs::add_verity(output))
        }
    }
}

/// Size and BLAKE3 of a file.
fn measure(path: &Path) -> Result<(u64, String), CorpusError> {
    let file = fs::File::open(path).map_err(CorpusError::io(path))?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file).map_err(CorpusError::io(path))?;
    Ok((hasher.count(), hasher.finalize().to_hex().to_string()))
}

/// One line for each side: the one package, or how many there are and the first that changes.
fn summaries(sides: &[Side; 2]) -> [String; 2] {
    let [source, target] = sides.each_ref().map(|side| &side.versions);
    let line = |mine: &[Version], other: &[Version]| {
        let changed: Vec<_> = mine.iter().filter(|it| !other.contains(it)).collect();
        match (mine, changed.first()) {
            ([one], _) => format!("{} {}", one.name, one.version),
            (_, Some(first)) => format!(
                "{} packages, {} not as on the other side, such as {} {}",
                mine.len(),
                changed.len(),
                first.name,
                first.version
            ),
            (_, None) => format!("{} packages", mine.len()),
        }
    };
    [line(source, target), line(target, source)]
}

fn fresh_folder(folder: &Path) -> Result<PathBuf, CorpusError> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(CorpusError::io(folder))?;
    }
    fs::create_dir_all(folder).map_err(CorpusError::io(folder))?;
    Ok(folder.to_path_buf())
}
