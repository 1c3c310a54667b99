//! The table of tools: what each is called, what it needs, and its command lines.
//!
//! `README.md` beside this crate says why these flags are fair.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use crate::chunks;
use crate::pairs::workspace_root;
use crate::process::{Argv, ChildError, Runner, find};

/// Where a tool comes from, and so how its version is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This workspace.
    Ours,
    /// A Debian package.
    Apt(&'static str),
    /// A PyPI package, in the venv of `install-peers.sh`.
    Pip(&'static str),
    /// Built by the user; `HDIFFZ` or `ZUCCHINI` names its folder, or it is in `PATH`.
    User(&'static str),
}

/// One tool.
pub struct Tool {
    /// Its name in every table.
    pub name: &'static str,
    /// Where it comes from.
    pub origin: Origin,
    /// What must be found on the machine.
    pub needs: &'static [&'static str],
    /// What happened at the last release and is not charged: a signature, a chunk store.
    pub prepare: fn(&Job) -> Vec<Argv>,
    /// Makes the patch.
    pub diff: fn(&Job) -> Vec<Argv>,
    /// Bytes that cross the link.
    pub patch_size: fn(&Job) -> Result<u64, ChildError>,
    /// Rebuilds the target from source and patch.
    pub apply: fn(&Job) -> Vec<Argv>,
    /// Bytes of memory that the diff needs, of source and target size; 0 where it is no concern.
    pub diff_memory: fn(u64, u64) -> u64,
}

/// One tool at work on one pair.
pub struct Job<'a> {
    /// The programs of this machine.
    pub programs: &'a Programs,
    /// Runs the reading of a result, where a tool must be asked for it.
    pub runner: &'a Runner,
    /// The source image.
    pub source: PathBuf,
    /// The target image.
    pub target: PathBuf,
    /// Bytes of the source.
    pub source_size: u64,
}

impl Job<'_> {
    /// A file of this tool alone.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.runner.folder.join(name)
    }

    /// Where the patch goes.
    #[must_use]
    pub fn patch(&self) -> PathBuf {
        self.file("patch")
    }

    /// Where the rebuilt target goes.
    #[must_use]
    pub fn rebuilt(&self) -> PathBuf {
        self.file("rebuilt")
    }

    fn argv(&self, program: &str, rest: &[&dyn AsRef<OsStr>]) -> Argv {
        let mut argv = vec![self.programs.path(program)];
        argv.extend(rest.iter().map(|arg| arg.as_ref().to_owned()));
        argv
    }
}

/// The programs of this machine.
#[derive(Clone, Debug, Default)]
pub struct Programs {
    /// The `neap` to measure.
    pub neap: Option<PathBuf>,
    /// Further options of `neap diff`, as `--effort 9`.
    pub neap_diff_options: Vec<OsString>,
    /// Folders that are searched before `PATH`.
    pub folders: Vec<PathBuf>,
}

impl Programs {
    /// Looks in `NEAP`, `HDIFFZ` (a program, or the folder of `hdiffz` and `hpatchz`), `ZUCCHINI`
    /// (likewise), the venv of `install-peers.sh`, and beside this program.
    #[must_use]
    pub fn of_this_machine() -> Self {
        let mut folders = vec![peers_folder().join("venv/bin")];
        for named in ["HDIFFZ", "ZUCCHINI"].into_iter().filter_map(std::env::var_os) {
            let named = PathBuf::from(named);
            let named = named.canonicalize().unwrap_or(named);
            let folder = if named.is_dir() { Some(&*named) } else { named.parent() };
            folders.extend(folder.map(Path::to_owned));
        }
        let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.to_owned()));
        let neap = std::env::var_os("NEAP").map(PathBuf::from);
        let neap = neap.or_else(|| find("neap", beside.as_slice()));
        // Tools run in folders of their own: a path from here would lead elsewhere there.
        let neap = neap.map(|neap| neap.canonicalize().unwrap_or(neap));
        Self { neap, neap_diff_options: Vec::new(), folders }
    }

    /// Whether a program, or a Python package of the venv, is there.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        match name {
            "neap" => self.neap.is_some(),
            "compare" => true,
            "hdiffpatch" => self.python_package(name),
            _ => find(name, &self.folders).is_some(),
        }
    }

    /// The path to start a program by; its bare name where it was not found.
    #[must_use]
    pub fn path(&self, name: &str) -> OsString {
        let found = match name {
            "neap" => self.neap.clone(),
            "compare" => std::env::current_exe().ok(),
            _ => find(name, &self.folders),
        };
        found.map_or_else(|| name.into(), PathBuf::into_os_string)
    }

    fn python_package(&self, name: &str) -> bool {
        let Ok(versions) = fs::read_dir(peers_folder().join("venv/lib")) else { return false };
        versions.flatten().any(|version| version.path().join("site-packages").join(name).is_dir())
    }
}

/// Where `install-peers.sh` puts its venv: `NEAP_BENCH_PEERS`, or `.cache/peers` of the workspace.
#[must_use]
pub fn peers_folder() -> PathBuf {
    std::env::var_os("NEAP_BENCH_PEERS")
        .map_or_else(|| workspace_root().join(".cache/peers"), PathBuf::from)
}

/// The tool called `name`.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static Tool> {
    TOOLS.iter().find(|tool| tool.name == name)
}

/// neap's own row.
pub const NEAP: &str = "neap";

/// neap with its smallest and slowest coder.
pub const NEAP_CM: &str = "neap --coder cm";

/// Whether a row is one of neap's own.
#[must_use]
pub fn is_neap(name: &str) -> bool {
    name == NEAP || name == NEAP_CM
}

/// Chromium's patcher of executables, and the compressor that its patches go through.
pub const ZUCCHINI: &str = "zucchini + xz";

/// The plain compressed image: what no patch may be larger than.
pub const FULL: &str = "full zstd -19";

/// The blocks of 4 KiB that the source does not have.
pub const BLOCKS: &str = "4 KiB blocks";

/// A delta of byte ranges, as most people know it.
pub const XDELTA3: &str = "xdelta3 -9";

/// HDiffPatch's in-memory mode, the nearest to its author's own build first.
pub const HDIFFPATCH: [&str; 3] = ["hdiffz -m lzma2", "hdiffpatch (PyPI)", "detools hdiffpatch"];

/// The rows whose apply is `hpatchz`: the smaller patch and the faster one.
pub const HPATCHZ: [&str; 2] = [HDIFFPATCH[0], "hdiffz -m zstd"];

/// What an entry of [`TOOLS`] says where it has nothing special to say.
const PLAIN: Tool = Tool {
    name: "",
    origin: Origin::Ours,
    needs: &[],
    prepare: |_| Vec::new(),
    diff: |_| Vec::new(),
    patch_size: |job| Ok(fs::metadata(job.patch())?.len()),
    apply: |_| Vec::new(),
    diff_memory: |_, _| 0,
};

/// Every tool, in the order of the tables.
pub static TOOLS: [Tool; 16] = [
    Tool {
        name: NEAP,
        needs: &["neap"],
        diff: |job| vec![neap_diff(job)],
        apply: |job| vec![neap_apply(job)],
        ..PLAIN
    },
    Tool {
        name: NEAP_CM,
        needs: &["neap"],
        diff: |job| {
            let mut argv = neap_diff(job);
            argv.extend(["--coder", "cm"].map(OsString::from));
            vec![argv]
        },
        apply: |job| vec![neap_apply(job)],
        ..PLAIN
    },
    Tool {
        name: ZUCCHINI,
        origin: Origin::User("zucchini"),
        needs: &["zucchini", "xz"],
        diff: |job| {
            let delta = job.file("delta");
            vec![
                job.argv("zucchini", &[&"-gen", &job.source, &job.target, &delta]),
                job.argv("xz", &[&"-9e", &"-k", &"-f", &delta]),
            ]
        },
        patch_size: |job| Ok(fs::metadata(job.file("delta.xz"))?.len()),
        apply: |job| {
            let (delta, rebuilt) = (job.file("delta"), job.rebuilt());
            vec![
                job.argv("xz", &[&"-d", &"-k", &"-f", &job.file("delta.xz")]),
                job.argv("zucchini", &[&"-apply", &job.source, &delta, &rebuilt]),
            ]
        },
        // As measured on executables, both images included.
        diff_memory: |source, _| 14 * source,
        ..PLAIN
    },
    hdiffz(HDIFFPATCH[0], |job| hdiffz_diff(job, "-c-lzma2-9")),
    hdiffz(HPATCHZ[1], |job| hdiffz_diff(job, "-c-zstd")),
    Tool {
        name: HDIFFPATCH[1],
        origin: Origin::Pip("hdiffpatch"),
        needs: &["python", "hdiffpatch"],
        diff: |job| vec![python(job, "diff", &job.target, &job.patch())],
        apply: |job| vec![python(job, "apply", &job.patch(), &job.rebuilt())],
        diff_memory: |source, target| 7 * source + 4 * target,
        ..PLAIN
    },
    detools(HDIFFPATCH[2], |job| detools_diff(job, "hdiffpatch")),
    detools("detools match-blocks", |job| detools_diff(job, "match-blocks")),
    Tool {
        name: "bsdiff",
        origin: Origin::Apt("bsdiff"),
        needs: &["bsdiff", "bspatch"],
        diff: |job| vec![job.argv("bsdiff", &[&job.source, &job.target, &job.patch()])],
        apply: |job| vec![job.argv("bspatch", &[&job.source, &job.rebuilt(), &job.patch()])],
        // Two arrays of 8-byte words over the source, the source, the target and its differences.
        diff_memory: |source, target| 17 * source + 2 * target,
        ..PLAIN
    },
    Tool {
        name: "zstd --patch-from",
        origin: Origin::Apt("zstd"),
        needs: &["zstd"],
        diff: |job| {
            let from = with_path("--patch-from=", &job.source);
            let mut argv = job.argv("zstd", &[&"-q", &"-f", &"-19", &"--long=31", &from]);
            argv.extend([job.target.clone().into(), "-o".into(), job.patch().into()]);
            vec![argv]
        },
        apply: |job| {
            let from = with_path("--patch-from=", &job.source);
            let mut argv = job.argv("zstd", &[&"-q", &"-f", &"-d", &"--long=31", &from]);
            argv.extend([job.patch().into(), "-o".into(), job.rebuilt().into()]);
            vec![argv]
        },
        ..PLAIN
    },
    Tool {
        name: XDELTA3,
        origin: Origin::Apt("xdelta3"),
        needs: &["xdelta3"],
        diff: |job| {
            let window = xdelta3_window(job.source_size);
            let mut argv = job.argv("xdelta3", &[&"-e", &"-9", &"-D", &"-f", &"-S", &"lzma"]);
            argv.extend(["-I", "0", "-W", "16777216", "-B", &window, "-s"].map(OsString::from));
            argv.extend([job.source.clone().into(), job.target.clone().into(), job.patch().into()]);
            vec![argv]
        },
        apply: |job| {
            let window = xdelta3_window(job.source_size);
            let mut argv = job.argv("xdelta3", &[&"-d", &"-D", &"-f", &"-B", &window, &"-s"]);
            argv.extend([job.source.clone().into(), job.patch().into(), job.rebuilt().into()]);
            vec![argv]
        },
        ..PLAIN
    },
    Tool {
        name: "rdiff + zstd",
        origin: Origin::Apt("rdiff"),
        needs: &["rdiff", "zstd"],
        prepare: |job| {
            let signature = job.file("signature");
            vec![job.argv("rdiff", &[&"-b", &"1024", &"signature", &job.source, &signature])]
        },
        diff: |job| {
            let (signature, delta) = (job.file("signature"), job.file("delta"));
            let pack: [&dyn AsRef<OsStr>; 6] = [&"-q", &"-f", &"-19", &delta, &"-o", &job.patch()];
            vec![
                job.argv("rdiff", &[&"-f", &"delta", &signature, &job.target, &delta]),
                job.argv("zstd", &pack),
            ]
        },
        apply: |job| {
            let (delta, rebuilt) = (job.file("delta"), job.rebuilt());
            let unpack: [&dyn AsRef<OsStr>; 6] = [&"-q", &"-f", &"-d", &job.patch(), &"-o", &delta];
            vec![
                job.argv("zstd", &unpack),
                job.argv("rdiff", &[&"-f", &"patch", &job.source, &delta, &rebuilt]),
            ]
        },
        ..PLAIN
    },
    Tool {
        name: "casync 16K",
        origin: Origin::Apt("casync"),
        needs: &["casync"],
        prepare: |job| vec![casync_make(job, "source", &job.source)],
        diff: |job| vec![casync_make(job, "target", &job.target)],
        patch_size: |job| {
            let store = |name: &str| job.file(&format!("{name}.castr"));
            let chunks = chunks::take_new(&store("source"), &store("target"), &store("wire"))?;
            Ok(chunks + fs::metadata(job.file("target.caibx"))?.len())
        },
        apply: |job| {
            let store = with_path("--store=", &job.file("wire.castr"));
            let seed = with_path("--seed=", &job.source);
            let (index, rebuilt) = (job.file("target.caibx"), job.rebuilt());
            vec![job.argv("casync", &[&"extract", &store, &seed, &index, &rebuilt])]
        },
        ..PLAIN
    },
    Tool {
        name: "zchunk",
        origin: Origin::Apt("zchunk"),
        needs: &["zck", "unzck", "zck_read_header"],
        prepare: |job| vec![job.argv("zck", &[&"-o", &job.file("source.zck"), &job.source])],
        diff: |job| vec![job.argv("zck", &[&"-o", &job.file("rebuilt.zck"), &job.target])],
        patch_size: |job| {
            let rows = |name: &str| {
                let argv = job.argv("zck_read_header", &[&"--show-chunks", &job.file(name)]);
                job.runner.run(&argv).map(|(_, text)| chunks::parse_zchunk(&text))
            };
            Ok(chunks::zchunk_fetched(&rows("source.zck")?, &rows("rebuilt.zck")?))
        },
        apply: |job| vec![job.argv("unzck", &[&job.file("rebuilt.zck")])],
        ..PLAIN
    },
    Tool {
        name: BLOCKS,
        needs: &["compare"],
        diff: |job| {
            let patch = job.patch();
            vec![job.argv("compare", &[&"blocks", &"diff", &job.source, &job.target, &patch])]
        },
        apply: |job| {
            let (patch, rebuilt) = (job.patch(), job.rebuilt());
            vec![job.argv("compare", &[&"blocks", &"apply", &job.source, &patch, &rebuilt])]
        },
        ..PLAIN
    },
    Tool {
        name: FULL,
        origin: Origin::Apt("zstd"),
        needs: &["zstd"],
        diff: |job| {
            let mut argv = job.argv("zstd", &[&"-q", &"-f", &"-19", &"--long=27", &job.target]);
            argv.extend(["-o".into(), job.patch().into()]);
            vec![argv]
        },
        apply: |job| {
            let mut argv = job.argv("zstd", &[&"-q", &"-f", &"-d", &"--long=27", &job.patch()]);
            argv.extend(["-o".into(), job.rebuilt().into()]);
            vec![argv]
        },
        ..PLAIN
    },
];

/// `neap diff` with what the user of the comparison asked for.
fn neap_diff(job: &Job) -> Argv {
    let output = job.patch();
    let fixed: [&dyn AsRef<OsStr>; 6] =
        [&"diff", &job.source, &job.target, &"--output", &output, &"--json"];
    let mut argv = job.argv("neap", &fixed);
    argv.extend_from_slice(&job.programs.neap_diff_options);
    argv
}

/// `neap apply` with everything a user gets by default, and the memory that a patch may have been
/// made for.
#[must_use]
pub fn neap_apply(job: &Job) -> Argv {
    let (patch, rebuilt, state) = (job.patch(), job.rebuilt(), job.file("state"));
    let mut argv = job.argv("neap", &[&"apply", &patch, &"--source", &job.source]);
    argv.extend(["--target".into(), rebuilt.into(), "--state".into(), state.into()]);
    argv.extend(["--unpack-memory", "4G", "--json"].map(OsString::from));
    argv
}

/// `neap apply` as the peers do it: neither the source is checked nor the target read back.
#[must_use]
pub fn neap_apply_unchecked(job: &Job) -> Argv {
    let mut argv = neap_apply(job);
    argv.extend(["--no-source-check", "--no-read-back"].map(OsString::from));
    argv
}

const fn hdiffz(name: &'static str, diff: fn(&Job) -> Vec<Argv>) -> Tool {
    Tool {
        name,
        origin: Origin::User("hdiffz"),
        needs: &["hdiffz", "hpatchz"],
        diff,
        apply: |job| vec![job.argv("hpatchz", &[&"-f", &job.source, &job.patch(), &job.rebuilt()])],
        diff_memory: |source, target| 6 * source + 2 * target,
        ..PLAIN
    }
}

fn hdiffz_diff(job: &Job, coder: &str) -> Vec<Argv> {
    let patch = job.patch();
    vec![job.argv("hdiffz", &[&"-m", &"-d", &"-f", &coder, &job.source, &job.target, &patch])]
}

const fn detools(name: &'static str, diff: fn(&Job) -> Vec<Argv>) -> Tool {
    Tool {
        name,
        origin: Origin::Pip("detools"),
        needs: &["detools"],
        diff,
        apply: |job| {
            let (patch, rebuilt) = (job.patch(), job.rebuilt());
            vec![job.argv("detools", &[&"apply_patch", &job.source, &patch, &rebuilt])]
        },
        diff_memory: |source, target| 7 * source + 4 * target,
        ..PLAIN
    }
}

fn detools_diff(job: &Job, algorithm: &str) -> Vec<Argv> {
    let patch = job.patch();
    let mut argv = job.argv("detools", &[&"create_patch", &"-c", &"lzma", &"-t", &"hdiffpatch"]);
    argv.extend(["-a".into(), algorithm.into()]);
    argv.extend([job.source.clone().into(), job.target.clone().into(), patch.into()]);
    vec![argv]
}

fn python(job: &Job, verb: &str, other: &Path, output: &Path) -> Argv {
    let script = include_str!("hdiffpatch.py");
    job.argv("python", &[&"-c", &script, &verb, &job.source, &other, &output])
}

fn casync_make(job: &Job, name: &str, image: &Path) -> Argv {
    let store = with_path("--store=", &job.file(&format!("{name}.castr")));
    let index = job.file(&format!("{name}.caibx"));
    job.argv("casync", &[&"make", &"--chunk-size=16384", &store, &index, &image])
}

fn with_path(option: &str, path: &Path) -> OsString {
    let mut text = OsString::from(option);
    text.push(path);
    text
}

/// The source window that holds the whole source: a power of two of at least 16 MiB, and no more
/// than the 2 GiB that xdelta3 takes.
fn xdelta3_window(source_size: u64) -> String {
    source_size.next_power_of_two().clamp(16 << 20, 1 << 31).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_the_special_ones_exist() {
        for tool in &TOOLS {
            assert_eq!(TOOLS.iter().filter(|other| other.name == tool.name).count(), 1);
        }
        for name in [NEAP, NEAP_CM, ZUCCHINI, FULL].into_iter().chain(HDIFFPATCH) {
            assert!(by_name(name).is_some(), "{name}");
        }
    }

    #[test]
    fn the_xdelta3_window_holds_the_whole_source_up_to_its_limit() {
        assert_eq!(xdelta3_window(1), "16777216");
        assert_eq!(xdelta3_window((64 << 20) + 1), "134217728");
        assert_eq!(xdelta3_window(3 << 30), "2147483648");
    }

    fn with_job<T>(programs: &Programs, ask: impl FnOnce(&Job) -> T) -> T {
        let runner = Runner { folder: "/w".into(), limit: Default::default(), gnu_time: None };
        let (source, target) = ("/s".into(), "/t".into());
        ask(&Job { programs, runner: &runner, source, target, source_size: 1 })
    }

    #[test]
    fn the_second_neap_is_the_first_with_another_coder() {
        let options = vec!["--effort=9".into()];
        let programs = Programs { neap_diff_options: options, ..Programs::default() };
        let diff = |name| {
            let tool = by_name(name).expect("it is in the table");
            with_job(&programs, tool.diff).concat()
        };
        let (fast, small) = (diff(NEAP), diff(NEAP_CM));
        assert!(fast.contains(&"--effort=9".into()));
        assert_eq!(small[..fast.len()], fast[..]);
        assert_eq!(small[fast.len()..], ["--coder", "cm"]);
    }

    #[test]
    fn what_zucchini_applies_is_what_its_compressor_unpacks() {
        let tool = by_name(ZUCCHINI).expect("it is in the table");
        let programs = Programs::default();
        let (diff, apply) = (with_job(&programs, tool.diff), with_job(&programs, tool.apply));
        assert_eq!(diff[0].last(), diff[1].last(), "what is made is packed");
        assert_eq!(apply[0].last(), Some(&"/w/delta.xz".into()));
        assert_eq!(apply[1][2..], ["/s", "/w/delta", "/w/rebuilt"]);
    }

    #[test]
    fn the_unchecked_apply_is_the_default_one_and_two_options() {
        let programs = Programs::default();
        let (checked, unchecked) =
            with_job(&programs, |job| (neap_apply(job), neap_apply_unchecked(job)));
        assert_eq!(unchecked[..checked.len()], checked[..]);
        assert_eq!(unchecked[checked.len()..], ["--no-source-check", "--no-read-back"]);
    }
}
