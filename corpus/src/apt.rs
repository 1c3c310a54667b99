//! Debian packages through apt and dpkg, for any architecture, beside the machine's own state.
//!
//! Owns the choice of the two versions. Trust is apt's: it checks the signed lists, and each
//! package's digest against them. Sources are the machine's; no mirror is named here.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::CorpusError;
use crate::process::{pipe, run};
use crate::recipe::{Apt, fits};

/// A private set of package lists: one architecture, perhaps one more suite.
pub(crate) struct Lists {
    architecture: String,
    state: PathBuf,
}

/// One version of one package.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    pub(crate) name: String,
    pub(crate) version: String,
}

impl Lists {
    /// Fetches the lists anew. `warn` is told when some could not be had.
    pub(crate) fn fetch(
        cache: &Path,
        architecture: &str,
        extra_suite: Option<&str>,
        warn: &mut dyn FnMut(&str),
    ) -> Result<Self, CorpusError> {
        let suffix = extra_suite.map(|suite| format!("-{suite}")).unwrap_or_default();
        let state = cache.join("apt").join(format!("{architecture}{suffix}"));
        for folder in ["lists/partial", "cache/archives/partial", "preferences.d"] {
            let folder = state.join(folder);
            fs::create_dir_all(&folder).map_err(CorpusError::io(&folder))?;
        }
        let lists = Self { architecture: architecture.into(), state };
        lists.write("sources.list", "")?;
        lists.write("preferences", "")?;
        if let Some(suite) = extra_suite {
            lists.write("sources.list", &lists.source_line(suite)?)?;
        }
        if let Err(error) = run(lists.apt("apt-get").arg("update")) {
            // apt keeps the lists whose signatures and digests were right; those are usable.
            warn(&format!("package lists for {architecture} are incomplete: {error}"));
        }
        Ok(lists)
    }

    /// The versions of both sides: source, then target.
    pub(crate) fn sides(&self, apt: &Apt) -> Result<[Vec<Version>; 2], CorpusError> {
        let sides = if apt.closure_before.is_empty() {
            let mut sides = [Vec::new(), Vec::new()];
            for pattern in &apt.packages {
                let newest = self.newest_two(pattern)?;
                let [source, target] = &mut sides;
                source.extend(newest.last().cloned());
                target.extend(newest.first().cloned());
            }
            sides
        } else {
            let held_back: String = apt.closure_before.iter().map(|suite| pin(suite)).collect();
            [self.closure(&apt.packages, &held_back)?, self.closure(&apt.packages, "")?]
        };
        let [source, target] = &sides;
        if source != target {
            return Ok(sides);
        }
        let found = source.first().map(|it| format!("only {} {}", it.name, it.version));
        Err(CorpusError::NoUpdate {
            packages: apt.packages.join(", "),
            fact: found.unwrap_or_else(|| "no version at all".into()),
        })
    }

    /// Fetches packages into `folder` unless they are there, and returns their paths in order.
    pub(crate) fn download(
        &self,
        versions: &[Version],
        folder: &Path,
    ) -> Result<Vec<PathBuf>, CorpusError> {
        fs::create_dir_all(folder).map_err(CorpusError::io(folder))?;
        let path = |it: &Version| {
            let version = it.version.replace(':', "%3a");
            ["all", &self.architecture]
                .map(|arch| folder.join(format!("{}_{version}_{arch}.deb", it.name)))
                .into_iter()
                .find(|path| path.is_file())
        };
        let lacking = versions.iter().filter(|it| path(it).is_none());
        let wanted: Vec<_> = lacking.map(|it| format!("{}={}", it.name, it.version)).collect();
        for some in wanted.chunks(DOWNLOADS_PER_CALL) {
            run(self.apt("apt-get").current_dir(folder).arg("download").args(some))?;
        }
        versions
            .iter()
            .map(|it| {
                path(it).ok_or_else(|| CorpusError::NoUpdate {
                    packages: it.name.clone(),
                    fact: format!("apt-get left no package of version {}", it.version),
                })
            })
            .collect()
    }

    /// The newest and second newest version of a package or series; the newest alone if it is one.
    fn newest_two(&self, pattern: &str) -> Result<Vec<Version>, CorpusError> {
        let mut found = Vec::new();
        for name in self.names(pattern)? {
            found.extend(self.versions(&name)?.into_iter().take(2));
            // In a series each name is a release; else both versions are of the one name.
            if pattern.contains('*') {
                found.dedup_by(|next, kept| next.name == kept.name);
            }
            if found.len() >= 2 {
                break;
            }
        }
        if found.is_empty() {
            let fact = format!("apt knows no such package for {}", self.architecture);
            return Err(CorpusError::NoUpdate { packages: pattern.into(), fact });
        }
        Ok(found)
    }

    /// Names that fit a pattern, the highest number first.
    fn names(&self, pattern: &str) -> Result<Vec<String>, CorpusError> {
        let Some((before, after)) = pattern.split_once('*') else {
            return Ok(vec![pattern.into()]);
        };
        let listed = run(self.apt("apt-cache").args(["pkgnames", before]))?;
        let digit = |c: char| c.is_ascii_digit();
        let mut names: Vec<_> =
            listed.lines().filter(|name| fits(pattern, name, digit)).map(String::from).collect();
        let number = |name: &String| -> Option<u64> {
            name.strip_prefix(before)?.strip_suffix(after)?.parse().ok()
        };
        names.sort_by_key(|name| std::cmp::Reverse(number(name)));
        Ok(names)
    }

    /// All versions of a package that lists name, the newest first, as apt orders them.
    fn versions(&self, name: &str) -> Result<Vec<Version>, CorpusError> {
        let table = run(self.apt("apt-cache").args(["madison", name]))?;
        Ok(madison(&table, name))
    }

    /// The packages with all they depend on, sorted by name.
    fn closure(&self, packages: &[String], pins: &str) -> Result<Vec<Version>, CorpusError> {
        self.write("preferences", pins)?;
        let arguments = ["--simulate", "--no-install-recommends", "install"];
        let plan = run(self.apt("apt-get").args(arguments).args(packages))?;
        Ok(planned(&plan))
    }

    /// A source line for one more suite, from wherever the machine gets its main suite.
    fn source_line(&self, suite: &str) -> Result<String, CorpusError> {
        let format = "$(REPO_URI) $(RELEASE)";
        let mut apt = Command::new("apt-get");
        let listed = run(apt.args(["indextargets", "--format", format, "Created-By: Packages"]))?;
        listed
            .lines()
            .filter_map(|line| line.split_once(' '))
            .find(|(_, release)| !release.contains(['-', '/']))
            .map(|(uri, _)| format!("deb {uri} {suite} main\n"))
            .ok_or_else(|| CorpusError::NoUpdate {
                packages: format!("suite {suite}"),
                fact: "the machine's own sources name no main suite".into(),
            })
    }

    fn write(&self, file: &str, text: &str) -> Result<(), CorpusError> {
        let path = self.state.join(file);
        fs::write(&path, text).map_err(CorpusError::io(&path))
    }

    /// A call of an apt tool that sees only our lists, no installed package, one architecture.
    fn apt(&self, tool: &str) -> Command {
        let mut command = Command::new(tool);
        let state = |path: &str| self.state.join(path).display().to_string();
        for option in [
            "quiet=2".into(),
            format!("Dir::State={}", state("")),
            format!("Dir::State::Lists={}", state("lists")),
            "Dir::State::status=/dev/null".into(),
            format!("Dir::Cache={}", state("cache")),
            format!("Dir::Etc::sourcelist={}", state("sources.list")),
            format!("Dir::Etc::preferences={}", state("preferences")),
            format!("Dir::Etc::preferencesparts={}", state("preferences.d")),
            format!("APT::Architecture={}", self.architecture),
            format!("APT::Architectures::={}", self.architecture),
            "APT::Sandbox::User=root".into(),
            "Acquire::Languages=none".into(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".into(),
        ] {
            command.arg("-o").arg(option);
        }
        command
    }
}

/// Makes an empty root with the merged-/usr links that Debian's packages expect.
pub(crate) fn prepare_root(root: &Path) -> Result<(), CorpusError> {
    for name in ["bin", "sbin", "lib", "lib64"] {
        let folder = root.join("usr").join(name);
        fs::create_dir_all(&folder).map_err(CorpusError::io(&folder))?;
        let link = root.join(name);
        std::os::unix::fs::symlink(format!("usr/{name}"), &link).map_err(CorpusError::io(&link))?;
    }
    Ok(())
}

/// Unpacks one package over `root`; folders that are links stay links.
pub(crate) fn unpack(package: &Path, root: &Path) -> Result<(), CorpusError> {
    let mut tar = Command::new("tar");
    tar.args(["-x", "-p", "--numeric-owner", "--keep-directory-symlink", "-C"]).arg(root);
    pipe(Command::new("dpkg-deb").arg("--fsys-tarfile").arg(package), &mut tar)
}

/// Writes the list of installed packages, as an installed system has it.
pub(crate) fn write_status(packages: &[PathBuf], root: &Path) -> Result<(), CorpusError> {
    let folder = root.join("var/lib/dpkg");
    fs::create_dir_all(&folder).map_err(CorpusError::io(&folder))?;
    let path = folder.join("status");
    let mut file = fs::File::create(&path).map_err(CorpusError::io(&path))?;
    for package in packages {
        let fields = run(Command::new("dpkg-deb").arg("--field").arg(package))?;
        let entry = fields.replacen('\n', "\nStatus: install ok installed\n", 1);
        writeln!(file, "{}\n", entry.trim_end()).map_err(CorpusError::io(&path))?;
    }
    Ok(())
}

/// An apt preference that hides a suite.
fn pin(suite: &str) -> String {
    format!("Package: *\nPin: release n={suite}\nPin-Priority: -1\n\n")
}

/// Reads `apt-cache madison`: `name | version | place`, the newest first.
fn madison(table: &str, name: &str) -> Vec<Version> {
    let mut versions: Vec<_> = table
        .lines()
        .filter_map(|line| {
            let mut columns = line.split('|').map(str::trim);
            let (found, version, place) = (columns.next()?, columns.next()?, columns.next()?);
            (found == name && place.ends_with("Packages")).then(|| version.to_string())
        })
        .map(|version| Version { name: name.into(), version })
        .collect();
    versions.dedup();
    versions
}

/// Reads the plan of `apt-get --simulate`: `Inst name (version place [architecture])`.
fn planned(plan: &str) -> Vec<Version> {
    let versions: BTreeSet<_> = plan
        .lines()
        .filter_map(|line| {
            let (name, rest) = line.strip_prefix("Inst ")?.split_once(" (")?;
            let version = rest.split(' ').next()?.to_string();
            Some(Version { name: name.split(':').next()?.to_string(), version })
        })
        .collect();
    versions.into_iter().collect()
}

/// Packages named in one call of apt-get: keeps the command line short.
const DOWNLOADS_PER_CALL: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn version(name: &str, version: &str) -> Version {
        Version { name: name.into(), version: version.into() }
    }

    #[test]
    fn versions_are_read_newest_first_without_sources_or_repeats() {
        let table = " a | 1:3-1 | http://x s-security/main amd64 Packages\n \
                     a | 1:2-1 | http://x s/main amd64 Packages\n \
                     a | 1:2-1 | http://x s-updates/main amd64 Packages\n \
                     a | 1:2-1 | http://x s/main Sources\n";
        assert_eq!(madison(table, "a"), [version("a", "1:3-1"), version("a", "1:2-1")]);
        assert_eq!(madison(table, "b"), []);
    }

    #[test]
    fn a_plan_is_read_in_order_of_names() {
        let plan = "NOTE: simulation\nInst zlib1g (1:1.2 Debian:12/s [amd64])\n\
                    Inst bash:amd64 (5.2-2 Debian:12/s [amd64]) []\nConf bash (5.2-2 x)\n";
        assert_eq!(planned(plan), [version("bash", "5.2-2"), version("zlib1g", "1:1.2")]);
    }
}
