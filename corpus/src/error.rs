//! Why a pair could not be had. Owns the messages; leaves printing and exit codes to `main.rs`.

use std::fmt;
use std::path::{Path, PathBuf};

/// Every way in which reading a recipe, fetching a package or building a pair can fail.
#[derive(Debug)]
#[non_exhaustive]
pub enum CorpusError {
    /// A recipe breaks a rule. Its author can mend it.
    Recipe {
        /// The recipe's file or the pair's name.
        name: String,
        /// What was found and what was allowed.
        fact: String,
    },
    /// A program that the recipe needs is not installed. The user can install it.
    ToolMissing {
        /// The program's name.
        tool: String,
    },
    /// A program ended with an error: a registry out of reach, a package gone, a full disk.
    ToolFailed {
        /// The program and its first arguments.
        command: String,
        /// The last lines it wrote.
        said: String,
    },
    /// The package manager knows no such package, or only one version of it.
    NoUpdate {
        /// The packages asked for.
        packages: String,
        /// What was found instead of two versions.
        fact: String,
    },
    /// The package does not hold the one file or folder that the recipe takes from it.
    Member {
        /// The pattern of the recipe.
        pattern: String,
        /// How many paths it matched.
        count: usize,
    },
    /// A pinned file is not the one that the recipe names.
    Digest {
        /// `source` or `target`.
        side: &'static str,
        /// The BLAKE3 digest of what was built.
        found: String,
        /// The BLAKE3 digest in the recipe.
        allowed: String,
    },
    /// Both sides came out equal: there is nothing to update.
    SidesEqual,
    /// A file of the cache could not be read or written.
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
}

impl CorpusError {
    /// Ties an I/O error to the path it happened at.
    pub fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |error| Self::Io { path, error }
    }

    /// What the user can do next, one line.
    #[must_use]
    pub fn next_step(&self) -> String {
        match self {
            Self::Recipe { .. } | Self::Member { .. } => "correct the recipe".into(),
            Self::ToolMissing { tool } => match debian_package(tool) {
                Some(package) => format!("apt-get install {package}"),
                None => format!("install {tool} and put it on PATH"),
            },
            Self::ToolFailed { .. } => {
                "check the network, the disk and the size of the image, then run it again".into()
            }
            Self::NoUpdate { .. } | Self::SidesEqual => {
                "wait for the next update of the package, or name another".into()
            }
            Self::Digest { .. } => {
                "find out what changed; only then write the new digest into the recipe".into()
            }
            Self::Io { .. } => "check the path, its owner and the free space".into(),
        }
    }
}

impl fmt::Display for CorpusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Recipe { name, fact } => write!(f, "recipe {name}: {fact}"),
            Self::ToolMissing { tool } => write!(f, "{tool} is not installed"),
            Self::ToolFailed { command, said } => write!(f, "`{command}` failed: {said}"),
            Self::NoUpdate { packages, fact } => {
                write!(f, "no update of {packages} to be had: {fact}")
            }
            Self::Member { pattern, count } => {
                write!(f, "{pattern} matches {count} paths of the package, exactly 1 is allowed")
            }
            Self::Digest { side, found, allowed } => {
                write!(f, "{side} digest is {found}, the recipe allows {allowed}")
            }
            Self::SidesEqual => write!(f, "source and target are the same bytes"),
            Self::Io { path, error } => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for CorpusError {}

/// The Debian package that holds a program we call.
fn debian_package(tool: &str) -> Option<&'static str> {
    Some(match tool {
        "apt-get" | "apt-cache" => "apt",
        "dpkg-deb" => "dpkg",
        "debugfs" | "dumpe2fs" | "mkfs.ext4" => "e2fsprogs",
        "find" => "findutils",
        "mkfs.erofs" => "erofs-utils",
        "mksquashfs" => "squashfs-tools",
        "veritysetup" => "cryptsetup-bin",
        "npm" => "npm",
        "pip" => "python3-pip",
        "tar" => "tar",
        "touch" => "coreutils",
        "unzip" => "unzip",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_tool_is_named_with_the_package_that_holds_it() {
        let error = CorpusError::ToolMissing { tool: "mksquashfs".into() };
        assert_eq!(error.to_string(), "mksquashfs is not installed");
        assert_eq!(error.next_step(), "apt-get install squashfs-tools");
    }
}
