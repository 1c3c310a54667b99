//! What each part of the diff is worth: the patch with everything on, and with one part left out
//! at a time, for each coder. Owns the making and checking of these patches; how they are shown is
//! in [`ablation_table`](crate::ablation_table).
//!
//! The diff runs in this process, through the engine, so that nothing but the part differs.

use std::path::Path;
use std::time::Instant;

use neap_engine::diff::{self, Coder, Options, Parts};
use neap_engine::io::drive;
use neap_engine::io::file::FileSource;
use neap_engine::io::memory::{MemoryJournal, MemoryTarget, PatchBytes};
use serde::{Deserialize, Serialize};

use crate::machine::{self, Machine};
use crate::measure::holds;
use crate::pairs::Pair;

/// Everything that was measured: the content of `ablation.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AblationRecord {
    /// Where it ran.
    pub machine: Machine,
    /// The pairs, in the order they were measured.
    pub pairs: Vec<AblationPair>,
}

/// One pair and the patches that were made of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AblationPair {
    /// What was compared.
    pub pair: Pair,
    /// Load of the machine when the pair began: times say little where others were working, too.
    pub load_before: f64,
    /// Coder by coder: everything on, then each part left out.
    pub patches: Vec<AblationPatch>,
}

/// One patch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AblationPatch {
    /// The coder's name on the command line.
    pub coder: String,
    /// The part that was left out; `None` with everything on.
    pub without: Option<String>,
    /// Its bytes; `None` where it could not be made or did not rebuild the target.
    pub patch_size: Option<u64>,
    /// Wall seconds of making it, in one run.
    pub diff_s: f64,
    /// Why there is no size.
    pub reason: String,
}

impl AblationPair {
    /// The patch of a coder without a part.
    #[must_use]
    pub fn patch(&self, coder: &str, without: Option<&str>) -> Option<&AblationPatch> {
        let fits =
            |patch: &&AblationPatch| patch.coder == coder && patch.without.as_deref() == without;
        self.patches.iter().find(fits)
    }

    /// Its size.
    #[must_use]
    pub fn size(&self, coder: &str, without: Option<&str>) -> Option<u64> {
        self.patch(coder, without)?.patch_size
    }
}

/// The coders, by their names on the command line.
pub const CODERS: [(&str, Coder); 2] = [("zstd", Coder::Zstd), ("cm", Coder::Cm)];

/// Leaves a part out.
pub type LeaveOut = fn(&mut Parts);

/// The parts that can be left out, by name.
pub const PARTS: [(&str, LeaveOut); 5] = [
    ("refs", |parts| parts.refs = false),
    ("unpack", |parts| parts.unpack = false),
    ("moves", |parts| parts.moves = false),
    ("rematch", |parts| parts.rematch = false),
    ("chains", |parts| parts.chains = false),
];

/// Makes every patch of one pair, telling progress on standard error. A patch that cannot be made
/// or does not rebuild the target says so in its place.
#[must_use]
pub fn pair(pair: &Pair, coders: &[String]) -> AblationPair {
    let load_before = machine::load();
    let mut patches = Vec::new();
    let chosen = |name: &str| coders.is_empty() || coders.iter().any(|coder| coder == name);
    for (name, coder) in CODERS.into_iter().filter(|(name, _)| chosen(name)) {
        let nothing: LeaveOut = |_| ();
        let parts = PARTS.map(|(part, leave_out)| (Some(part), leave_out));
        for (without, leave_out) in [(None, nothing)].into_iter().chain(parts) {
            let mut options = Options { coder, ..Options::default() };
            leave_out(&mut options.parts);
            let start = Instant::now();
            let made = make(&pair.source, &pair.target, &options);
            let diff_s = start.elapsed().as_secs_f64();
            let made = made.and_then(|patch| check(&pair.source, &pair.target, patch));
            let (coder, without) = (name.to_owned(), without.map(str::to_owned));
            let (patch_size, reason) = match made {
                Ok(size) => (Some(size), String::new()),
                Err(reason) => (None, reason),
            };
            let patch = AblationPatch { coder, without, patch_size, diff_s, reason };
            eprintln!("  {}", line(&patch));
            patches.push(patch);
        }
    }
    AblationPair { pair: pair.clone(), load_before, patches }
}

fn make(source: &Path, target: &Path, options: &Options) -> Result<Vec<u8>, String> {
    let (source, target) = (open(source)?, open(target)?);
    let mut frames = Vec::new();
    let made = diff::diff(&source, &target, options, &mut frames, &|_| ());
    let mut patch = made.map_err(|error| error.to_string())?.header_bytes;
    patch.append(&mut frames);
    Ok(patch)
}

/// The size of the patch, if it rebuilds the target.
fn check(source: &Path, target: &Path, patch: Vec<u8>) -> Result<u64, String> {
    let source = open(source)?;
    let (mut made, mut journal) = (MemoryTarget::default(), MemoryJournal::default());
    let options = drive::Options::default();
    let mut bytes = PatchBytes::new(&patch);
    drive::apply(&mut bytes, &source, &mut made, &mut journal, options, &|_| ())
        .map_err(|stopped| format!("applying it: {}", stopped.error))?;
    let same = holds(target, &made.bytes).map_err(|error| error.to_string())?;
    if !same {
        return Err("it rebuilt another target".to_owned());
    }
    Ok(patch.len() as u64)
}

fn open(path: &Path) -> Result<FileSource, String> {
    FileSource::open(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn line(patch: &AblationPatch) -> String {
    let without = patch
        .without
        .as_deref()
        .map_or("everything on".to_owned(), |part| format!("without {part}"));
    let size = patch.patch_size.map_or_else(|| "-".to_owned(), crate::stats::grouped);
    let diff = crate::stats::seconds(patch.diff_s);
    format!("{:5} {without:16} {size:>12}  diff {diff} s  {}", patch.coder, patch.reason)
}
