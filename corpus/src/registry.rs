//! Pinned packages through pip and npm. Owns the calls; the clients check the registries' digests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::CorpusError;
use crate::process::run;

/// Fetches one wheel, or finds it in the cache.
pub(crate) fn wheel(
    cache: &Path,
    package: &str,
    version: &str,
    platform: &str,
) -> Result<PathBuf, CorpusError> {
    let tag = if platform.is_empty() { "any" } else { platform };
    let folder = cache.join("packages").join(format!("pip-{package}-{version}-{tag}"));
    fetch_into(&folder, |folder| {
        let mut pip = Command::new("pip");
        // The Python version is fixed, so that the same wheel is chosen on every machine.
        pip.args(["download", "--quiet", "--disable-pip-version-check", "--no-deps"])
            .args(["--only-binary=:all:", "--python-version=3.11", "--implementation=cp"])
            .args(["--platform", tag, "--dest"])
            .arg(folder)
            .arg(format!("{package}=={version}"));
        pip
    })
}

/// Fetches one npm package, or finds it in the cache.
pub(crate) fn npm(cache: &Path, package: &str, version: &str) -> Result<PathBuf, CorpusError> {
    let plain = package.replace(['@', '/'], "-");
    let folder = cache.join("packages").join(format!("npm{plain}-{version}"));
    fetch_into(&folder, |folder| {
        let mut npm = Command::new("npm");
        npm.args(["pack", "--silent", "--pack-destination"])
            .arg(folder)
            .arg(format!("{package}@{version}"));
        npm
    })
}

/// Unpacks a wheel (zip) or an npm package (tar.gz) into `root`.
pub(crate) fn unpack(package: &Path, root: &Path) -> Result<(), CorpusError> {
    let mut command = if package.extension().is_some_and(|it| it == "whl") {
        let mut unzip = Command::new("unzip");
        unzip.arg("-q").arg(package).arg("-d").arg(root);
        unzip
    } else {
        let mut tar = Command::new("tar");
        tar.arg("-xzf").arg(package).arg("-C").arg(root);
        tar
    };
    run(&mut command).map(drop)
}

/// Runs `fetch` on a fresh folder and keeps the folder only if one file came of it.
fn fetch_into(folder: &Path, fetch: impl FnOnce(&Path) -> Command) -> Result<PathBuf, CorpusError> {
    if folder.is_dir() {
        return only_file(folder);
    }
    let partial = folder.with_extension("partial");
    if partial.is_dir() {
        fs::remove_dir_all(&partial).map_err(CorpusError::io(&partial))?;
    }
    fs::create_dir_all(&partial).map_err(CorpusError::io(&partial))?;
    run(&mut fetch(&partial))?;
    only_file(&partial)?;
    fs::rename(&partial, folder).map_err(CorpusError::io(folder))?;
    only_file(folder)
}

fn only_file(folder: &Path) -> Result<PathBuf, CorpusError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(CorpusError::io(folder))? {
        files.push(entry.map_err(CorpusError::io(folder))?.path());
    }
    match files.as_slice() {
        [file] => Ok(file.clone()),
        _ => Err(CorpusError::Member {
            pattern: folder.join("*").display().to_string(),
            count: files.len(),
        }),
    }
}
