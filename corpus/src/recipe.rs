//! What a recipe may say. Owns parsing and the rules; leaves fetching and assembling to others.
//!
//! A recipe file names one place that packages come from (`[from.apt]`, `[from.pip]`,
//! `[from.npm]`) and one or more pairs made of them (`[[pair]]`). `corpus/README.md` has the table.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::error::CorpusError;

/// One pair to be built: a [`Recipe`] exists only once its file has passed every check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// Where both sides come from; pairs with equal origin and platform share their packages.
    pub from: From,
    /// Name, kind, sets and assembly of this pair.
    pub pair: PairRecipe,
}

/// The place packages come from, and which versions the two sides are.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum From {
    /// Debian packages. Versions there move on, so the two newest are taken.
    Apt(Apt),
    /// A wheel from PyPI, two pinned versions.
    Pip(Pinned),
    /// An npm package, two pinned versions.
    Npm(Pinned),
}

/// Debian packages and how their two versions are chosen.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Apt {
    /// Package names. A `*` stands for digits: `linux-image-6.1.0-*-amd64`.
    ///
    /// Of each, source is the second newest version to be had and target the newest.
    pub packages: Vec<String>,
    /// With suites named here, dependencies come too, and the sides are chosen by suite instead:
    /// source is what a machine without these suites would install, target one with them.
    #[serde(default)]
    pub closure_before: Vec<String>,
    /// One more suite to look in, beside those that the machine is set up for.
    #[serde(default)]
    pub extra_suite: Option<String>,
}

/// One package of a registry that keeps every version for ever.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Pinned {
    /// The package's name.
    pub package: String,
    /// The version of the source.
    pub source: String,
    /// The version of the target.
    pub target: String,
}

/// One `[[pair]]` of a recipe file.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct PairRecipe {
    /// The pair's name: lower case, digits and hyphens; also its folder in the cache.
    pub name: String,
    /// What it stands for in the benchmark's tables.
    pub kind: Kind,
    /// The sets that it is built in.
    pub sets: BTreeSet<Set>,
    /// Debian architecture or wheel platform tag; empty where packages are for any machine.
    #[serde(default)]
    pub platform: String,
    /// What is made of the unpacked packages.
    pub take: Take,
    /// BLAKE3 of the source. Needed where versions are pinned, refused where they are not.
    pub source_blake3: Option<String>,
    /// BLAKE3 of the target, as above.
    pub target_blake3: Option<String>,
}

/// A set of pairs: `full` holds all of them.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "snake_case")]
pub enum Set {
    /// A few pairs for CI: under 60 MB to fetch.
    Small,
    /// Every pair.
    Full,
}

/// What one side consists of.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Take {
    /// The package file itself, still packed.
    Package,
    /// One file inside, by path; `*` stands for any characters of one path component.
    File(String),
    /// The same, packed by `gzip -9n`.
    Gzip(String),
    /// A deterministic tar of the one folder that the pattern matches.
    Tree(String),
    /// An ext4 image of everything, so many MiB large.
    Ext4(u64),
    /// An erofs image of everything; the argument is a compressor, or `none`.
    Erofs(String),
    /// A squashfs image of everything; the argument is its compressor.
    Squashfs(String),
    /// The same, and behind it the hash tree of dm-verity and parity.
    SquashfsVerity(String),
}

/// The kinds of pairs, one line each in the benchmark's summary.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// An ELF file for x86-64.
    #[serde(rename = "executable-x86_64")]
    ExecutableX86_64,
    /// An ELF file for 64-bit Arm.
    ExecutableAarch64,
    /// An ELF file for 32-bit Arm.
    ExecutableArmv7,
    /// A kernel image, packed as it boots.
    Kernel,
    /// A tree of kernel modules.
    Modules,
    /// Boot firmware.
    Firmware,
    /// A root file system as ext4.
    RootfsExt4,
    /// A root file system as erofs, files stored plain.
    RootfsErofs,
    /// A root file system as erofs, files packed with lz4hc.
    RootfsErofsLz4hc,
    /// A root file system as squashfs, packed with zstd.
    RootfsSquashfsZstd,
    /// A root file system as squashfs, packed with xz.
    RootfsSquashfsXz,
    /// A root file system as squashfs, packed with gzip.
    RootfsSquashfsGzip,
    /// A root file system as squashfs, packed with lz4.
    RootfsSquashfsLz4,
    /// A root file system as squashfs, packed with gzip, that dm-verity protects.
    RootfsSquashfsGzipVerity,
    /// A compressed archive.
    Archive,
    /// Weights of a neural network.
    Model,
}

impl Kind {
    /// The word used in recipes, `pair.json` and tables.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::ExecutableX86_64 => "executable-x86_64",
            Self::ExecutableAarch64 => "executable-aarch64",
            Self::ExecutableArmv7 => "executable-armv7",
            Self::Kernel => "kernel",
            Self::Modules => "modules",
            Self::Firmware => "firmware",
            Self::RootfsExt4 => "rootfs-ext4",
            Self::RootfsErofs => "rootfs-erofs",
            Self::RootfsErofsLz4hc => "rootfs-erofs-lz4hc",
            Self::RootfsSquashfsZstd => "rootfs-squashfs-zstd",
            Self::RootfsSquashfsXz => "rootfs-squashfs-xz",
            Self::RootfsSquashfsGzip => "rootfs-squashfs-gzip",
            Self::RootfsSquashfsLz4 => "rootfs-squashfs-lz4",
            Self::RootfsSquashfsGzipVerity => "rootfs-squashfs-gzip-verity",
            Self::Archive => "archive",
            Self::Model => "model",
        }
    }
}

impl Recipe {
    /// Reads one recipe file; `file` names it in errors.
    ///
    /// # Errors
    /// [`CorpusError::Recipe`] for anything that the format or the rules do not allow.
    pub fn parse(file: &str, text: &str) -> Result<Vec<Self>, CorpusError> {
        let refuse = |fact: String| CorpusError::Recipe { name: file.into(), fact };
        let RecipeFile { from, pair: pairs } =
            toml::from_str(text).map_err(|error| refuse(error.to_string().trim().into()))?;
        if pairs.is_empty() {
            return Err(refuse("no [[pair]], at least 1 is needed".into()));
        }
        from.check().map_err(refuse)?;
        pairs
            .into_iter()
            .map(|pair| {
                let refuse = |fact| CorpusError::Recipe { name: pair.name.clone(), fact };
                pair.check(&from).map_err(refuse)?;
                Ok(Self { from: from.clone(), pair })
            })
            .collect()
    }

    /// Pairs of one key are made of the same trees, which are then fetched and unpacked once.
    #[must_use]
    pub fn tree_key(&self) -> String {
        format!("{:?} {}", self.from, self.pair.platform)
    }

    /// Changes whenever anything in the recipe does, so that a cached pair is built again.
    #[must_use]
    pub fn stamp(&self) -> String {
        blake3::hash(format!("{self:?}").as_bytes()).to_hex().to_string()
    }
}

impl From {
    fn check(&self) -> Result<(), String> {
        match self {
            Self::Apt(apt) if apt.packages.is_empty() => Err("no packages, 1 is needed".into()),
            Self::Apt(apt) if apt.packages.iter().any(|name| name.matches('*').count() > 1) => {
                Err("a package name has 2 `*`, 1 is allowed".into())
            }
            Self::Pip(pinned) | Self::Npm(pinned) if pinned.source == pinned.target => {
                Err(format!("source and target are both version {}", pinned.source))
            }
            _ => Ok(()),
        }
    }
}

impl PairRecipe {
    fn check(&self, from: &From) -> Result<(), String> {
        let name_ok = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if self.name.is_empty() || !self.name.chars().all(name_ok) {
            return Err("a name is lower case letters, digits and hyphens".into());
        }
        if !self.sets.contains(&Set::Full) {
            return Err("every pair is in the set `full`".into());
        }
        let digests = [&self.source_blake3, &self.target_blake3];
        if digests.iter().any(|digest| digest.as_ref().is_some_and(|hex| !is_digest(hex))) {
            return Err("a digest is 64 hexadecimal digits in lower case".into());
        }
        let pinned = !matches!(from, From::Apt(_));
        if digests.iter().any(|digest| digest.is_some() != pinned) {
            return Err(if pinned {
                "pinned versions need source_blake3 and target_blake3".into()
            } else {
                "versions move on in Debian, so a digest cannot be pinned".into()
            });
        }
        if matches!(from, From::Apt(_)) && self.platform.is_empty() {
            return Err("Debian packages need a platform, such as `amd64`".into());
        }
        self.take.check()
    }
}

impl Take {
    fn check(&self) -> Result<(), String> {
        match self {
            Self::File(path) | Self::Tree(path)
                if path.split('/').any(|part| matches!(part, "" | "." | "..")) =>
            {
                Err(format!("{path} is no plain relative path"))
            }
            Self::Ext4(size_mib) if !(1..=EXT4_MIB_MAX).contains(size_mib) => {
                Err(format!("ext4 image of {size_mib} MiB, 1 to {EXT4_MIB_MAX} are allowed"))
            }
            Self::Erofs(packer) if !["none", "lz4hc"].contains(&packer.as_str()) => {
                Err(format!("erofs compressor {packer}, none and lz4hc are allowed"))
            }
            Self::Squashfs(packer) | Self::SquashfsVerity(packer)
                if !["zstd", "xz", "gzip", "lz4"].contains(&packer.as_str()) =>
            {
                Err(format!("squashfs compressor {packer}, zstd, xz, gzip and lz4 are allowed"))
            }
            _ => Ok(()),
        }
    }
}

/// Says whether `name` fits `pattern`, in which one `*` stands for what `star` allows.
pub(crate) fn fits(pattern: &str, name: &str, star: fn(char) -> bool) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == name };
    name.strip_prefix(before)
        .and_then(|rest| rest.strip_suffix(after))
        .is_some_and(|middle| middle.chars().all(star))
}

fn is_digest(hex: &str) -> bool {
    hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecipeFile {
    from: From,
    #[serde(default)]
    pair: Vec<PairRecipe>,
}

/// Largest ext4 image, MiB: a typing error must not fill the disk.
const EXT4_MIB_MAX: u64 = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    const APT: &str = r#"
[from.apt]
packages = ["libssl3"]
[[pair]]
name = "libcrypto-amd64"
kind = "executable-x86_64"
sets = ["small", "full"]
platform = "amd64"
take = { file = "usr/lib/x86_64-linux-gnu/libcrypto.so.3" }
"#;

    fn fact(text: &str) -> String {
        match Recipe::parse("t.toml", text) {
            Err(CorpusError::Recipe { fact, .. }) => fact,
            other => format!("not refused: {other:?}"),
        }
    }

    fn pinned() -> String {
        let digest = "ab".repeat(32);
        format!(
            "[from.npm]\npackage='a'\nsource='1'\ntarget='2'\n[[pair]]\nname='a'\nkind='archive'\n\
             sets=['full']\ntake='package'\nsource_blake3='{digest}'\ntarget_blake3='{digest}'\n"
        )
    }

    #[test]
    fn a_well_formed_recipe_is_read_in_full() {
        let recipes = Recipe::parse("t.toml", APT).unwrap();
        let [recipe] = recipes.as_slice() else { unreachable!("one pair was written") };
        assert_eq!(recipe.pair.kind, Kind::ExecutableX86_64);
        assert!(recipe.pair.sets.contains(&Set::Small));
        let path = "usr/lib/x86_64-linux-gnu/libcrypto.so.3";
        assert_eq!(recipe.pair.take, Take::File(path.into()));
    }

    #[test]
    fn pinned_versions_without_digests_are_refused() {
        assert!(Recipe::parse("t.toml", &pinned()).is_ok());
        let text = pinned().replace("target_blake3", "#");
        assert_eq!(fact(&text), "pinned versions need source_blake3 and target_blake3");
    }

    #[test]
    fn a_digest_for_a_debian_package_is_refused() {
        let text = format!("{APT}source_blake3='{}'\n", "ab".repeat(32));
        assert_eq!(fact(&text), "versions move on in Debian, so a digest cannot be pinned");
    }

    #[test]
    fn a_digest_of_63_digits_is_refused() {
        let text = pinned().replace(&"ab".repeat(32), &"ab".repeat(32)[1..]);
        assert_eq!(fact(&text), "a digest is 64 hexadecimal digits in lower case");
    }

    #[test]
    fn a_name_that_leaves_the_cache_is_refused() {
        let text = APT.replace("libcrypto-amd64", "../x");
        assert_eq!(fact(&text), "a name is lower case letters, digits and hyphens");
    }

    #[test]
    fn a_member_path_that_leaves_the_package_is_refused() {
        assert_eq!(
            fact(&APT.replace("usr/lib/", "../")).split(' ').next(),
            Some("../x86_64-linux-gnu/libcrypto.so.3")
        );
        assert!(fact(&APT.replace("usr/lib", "/usr")).ends_with("is no plain relative path"));
    }

    #[test]
    fn unknown_words_are_refused() {
        assert!(fact(&APT.replace("executable-x86_64", "executable-vax")).contains("vax"));
        assert!(fact(&APT.replace("take", "takes")).contains("takes"));
        assert!(fact(&APT.replace("{ file", "{ folder")).contains("folder"));
    }

    #[test]
    fn equal_versions_are_refused() {
        assert_eq!(fact(&pinned().replace("'2'", "'1'")), "source and target are both version 1");
    }

    #[test]
    fn image_sizes_and_compressors_outside_the_bounds_are_refused() {
        let image = |take: &str| {
            APT.replace("take = { file = \"usr/lib/x86_64-linux-gnu/libcrypto.so.3\" }", take)
        };
        assert!(Recipe::parse("t.toml", &image("take = { ext4 = 8192 }")).is_ok());
        assert!(fact(&image("take = { ext4 = 8193 }")).starts_with("ext4 image of 8193 MiB"));
        assert!(fact(&image("take = { ext4 = 0 }")).starts_with("ext4 image of 0 MiB"));
        assert!(fact(&image("take = { squashfs = 'rar' }")).starts_with("squashfs compressor rar"));
        assert!(fact(&image("take = { erofs = 'rar' }")).starts_with("erofs compressor rar"));
    }

    #[test]
    fn any_change_of_a_recipe_changes_its_stamp() {
        let stamp = |text: &str| Recipe::parse("t.toml", text).unwrap()[0].stamp();
        assert_eq!(stamp(APT), stamp(APT));
        assert_ne!(stamp(APT), stamp(&APT.replace("libcrypto.so.3", "libssl.so.3")));
    }

    #[test]
    fn a_star_stands_only_for_the_allowed_characters() {
        let digits = |c: char| c.is_ascii_digit();
        assert!(fits("linux-6.1.0-*-amd64", "linux-6.1.0-56-amd64", digits));
        assert!(!fits("linux-6.1.0-*-amd64", "linux-6.1.0-56-cloud-amd64", digits));
        assert!(!fits("linux-6.1.0-*-amd64", "linux-6.1.0-56-amd64-dbg", digits));
        assert!(!fits("aXa*aXa", "aXa", digits));
    }

    #[test]
    fn every_recipe_of_the_repository_is_valid_and_every_name_is_used_once() {
        let recipes = crate::cache::recipes(&crate::cache::recipes_folder()).unwrap();
        let names: BTreeSet<_> = recipes.iter().map(|recipe| &recipe.pair.name).collect();
        assert_eq!(names.len(), recipes.len());
        assert!(recipes.len() >= 16, "{} pairs", recipes.len());
    }
}
