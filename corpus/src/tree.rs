//! An unpacked tree on disk: finds the one member a recipe names, makes trees and tars repeatable.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::CorpusError;
use crate::process::run;
use crate::recipe::fits;

/// Every time stamp that is ours to choose, seconds since 1970: 1 January 2024.
pub(crate) const EPOCH: &str = "1704067200";

/// The one path below `root` that fits `pattern`, in which a `*` stays within a component.
pub(crate) fn member(root: &Path, pattern: &str) -> Result<PathBuf, CorpusError> {
    let mut matches = vec![root.to_path_buf()];
    for part in pattern.split('/') {
        let mut next = Vec::new();
        for folder in &matches {
            if part.contains('*') {
                next.extend(children(folder, part)?);
            } else if folder.join(part).symlink_metadata().is_ok() {
                next.push(folder.join(part));
            }
        }
        matches = next;
    }
    match matches.as_slice() {
        [path] => Ok(path.clone()),
        _ => Err(CorpusError::Member { pattern: pattern.into(), count: matches.len() }),
    }
}

/// Writes a tar of `folder` whose bytes depend only on names, modes and contents.
pub(crate) fn tar(folder: &Path, output: &Path) -> Result<(), CorpusError> {
    run(Command::new("tar")
        .args(["--format=gnu", "--sort=name", "--owner=0", "--group=0", "--numeric-owner"])
        .arg(format!("--mtime=@{EPOCH}"))
        .arg("-cf")
        .arg(output)
        .arg("-C")
        .arg(folder)
        .arg("."))
    .map(drop)
}

/// Gives folders and links a fixed time: theirs is when they were unpacked, not when packaged.
pub(crate) fn fix_times(root: &Path) -> Result<(), CorpusError> {
    let stamp = format!("@{EPOCH}");
    run(Command::new("find")
        .arg(root)
        .args(["(", "-type", "d", "-o", "-type", "l", "-o", "-newermt", &stamp, ")"])
        .args(["-exec", "touch", "-h", "-d", &stamp, "{}", "+"]))
    .map(drop)
}

fn children(folder: &Path, pattern: &str) -> Result<Vec<PathBuf>, CorpusError> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(CorpusError::io(folder))? {
        let entry = entry.map_err(CorpusError::io(folder))?;
        if fits(pattern, &entry.file_name().to_string_lossy(), |_| true) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(name: &str, files: &[&str]) -> PathBuf {
        let root = std::env::temp_dir().join(format!("neap-tree-{}-{name}", std::process::id()));
        for file in files {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, file).unwrap();
        }
        root
    }

    #[test]
    fn a_pattern_must_match_exactly_one_path() {
        let root = tree("one", &["boot/vmlinuz-1", "boot/config-1", "lib/1/a", "lib/2/a"]);
        assert_eq!(member(&root, "boot/vmlinuz-*").unwrap(), root.join("boot/vmlinuz-1"));
        let count = |pattern| match member(&root, pattern) {
            Err(CorpusError::Member { count, .. }) => count,
            _ => 1,
        };
        assert_eq!(count("boot/initrd-*"), 0);
        assert_eq!(count("lib/*/a"), 2);
        assert_eq!(count("boot/vmlinuz-*/x"), 0);
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_tar_does_not_depend_on_when_its_files_were_written() {
        let first = tree("tar1", &["t/b", "t/a"]);
        let second = tree("tar2", &["t/a", "t/b"]);
        let stamp = std::time::SystemTime::UNIX_EPOCH;
        fs::File::open(second.join("t/a")).unwrap().set_modified(stamp).unwrap();
        for root in [&first, &second] {
            tar(&root.join("t"), &root.join("out.tar")).unwrap();
        }
        let [a, b] = [&first, &second].map(|root| fs::read(root.join("out.tar")).unwrap());
        assert_eq!(a, b);
        fs::remove_dir_all(first).unwrap();
        fs::remove_dir_all(second).unwrap();
    }
}
