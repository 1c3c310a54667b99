//! `neap plan`: which release a device should take from a depot, on which way, and what that costs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args as Group;
use neap_depot::plan::{Device, NoPlan, Offer, Plan, plan};
use neap_engine::io::Source;
use neap_engine::io::file::FileSource;
use neap_trust::profile::Profile;
use serde_json::{Value, json};

use crate::args::Common;
use crate::check;
use crate::exit::Exit;
use crate::failure::{Failure, io_exit};
use crate::outcome::Outcome;
use crate::size::{self, exact, human};

#[derive(Debug, Group)]
pub(crate) struct Args {
    /// The depot: a folder with `metadata` in it, such as a mounted stick
    pub(crate) depot: PathBuf,
    /// The root that came with the device; needed until --state holds one
    #[arg(long, value_name = "ROOT.json")]
    pub(crate) root: Option<PathBuf>,
    /// What this device has seen before, which is also kept there [default: nothing is kept]
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// The group of the device
    #[arg(long)]
    pub(crate) group: String,
    /// The product
    #[arg(long)]
    pub(crate) product: String,
    #[command(flatten)]
    pub(crate) running: Running,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// What the device is and runs.
#[derive(Debug, Default, Group)]
pub(crate) struct Running {
    /// The image that the device runs: a file or block device, which is read and hashed
    #[arg(long, value_name = "PATH", conflicts_with = "digest")]
    pub(crate) image: Option<PathBuf>,
    /// Bytes of it that are the image [default: all]
    #[arg(long, value_name = "SIZE", requires = "image", value_parser = size::parse)]
    pub(crate) size: Option<u64>,
    /// The digest of the image that the device runs
    #[arg(long, value_name = "HEX")]
    pub(crate) digest: Option<String>,
    /// The version that the device runs
    #[arg(long)]
    pub(crate) version: Option<String>,
    /// The version that it shall run [default: the latest]
    #[arg(long)]
    pub(crate) wanted: Option<String>,
    /// The highest security epoch that it ever ran
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) security_epoch: u64,
    /// What hardware it is
    #[arg(long, value_name = "NAME", default_value = "")]
    pub(crate) hardware: String,
    /// Another product on it, such as charts=2026.11; give it for each
    #[arg(long, value_name = "PRODUCT=VERSION", value_parser = installed)]
    pub(crate) installed: Vec<(String, String)>,
    /// Room for images between two patches; without it no chain is planned
    #[arg(long, value_name = "SIZE", default_value = "0", value_parser = size::parse)]
    pub(crate) scratch: u64,
    /// Most bytes to fetch, such as 20M; more is refused before it is started
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub(crate) budget: Option<u64>,
}

impl Running {
    /// The device, as the planner asks for it.
    pub(crate) fn device(&self, product: &str, offers: &[Offer]) -> Result<Device, Failure> {
        let image = match (&self.digest, &self.image) {
            (Some(digest), _) => Some(digest.to_lowercase()),
            (None, Some(path)) => Some(digest_of(path, self.size)?),
            (None, None) => None,
        };
        // Who states no image may state a version; then its image is the one that is offered whole.
        let known = || {
            let version = self.version.as_ref()?;
            let is_it = |offer: &&Offer| {
                offer.custom.product == product && offer.custom.version == *version
            };
            offers.iter().find(is_it)?.custom.to.clone()
        };
        Ok(Device {
            product: product.to_owned(),
            image: image.or_else(known),
            version: self.version.clone(),
            security_epoch: self.security_epoch,
            hardware: self.hardware.clone(),
            installed: self.installed.iter().cloned().collect::<BTreeMap<_, _>>(),
            blobs: std::collections::BTreeSet::new(),
            scratch_len: self.scratch,
            budget: self.budget,
            wanted: self.wanted.clone(),
        })
    }
}

fn installed(text: &str) -> Result<(String, String), String> {
    let (product, version) = text.split_once('=').ok_or("expected PRODUCT=VERSION")?;
    Ok((product.trim().into(), version.trim().into()))
}

pub(crate) fn run(args: &Args) -> Result<Outcome, Failure> {
    let checked =
        check::checked(&args.depot, args.root.as_deref(), args.state.as_deref(), &[&args.group])?;
    let group = checked.groups.first();
    let offers = group.map(|group| &group.offers[..]).unwrap_or_default();
    let device = args.running.device(&args.product, offers)?;
    let planned = plan(offers, &device).map_err(|reason| refused(&reason, &args.product))?;
    let profile = group.and_then(|group| group.profile.as_ref());
    Ok(Outcome { text: text(&planned, profile), json: as_json(&planned) })
}

/// BLAKE3 of an image.
pub(crate) fn digest_of(path: &Path, size: Option<u64>) -> Result<String, Failure> {
    let source = FileSource::open(path).map_err(|error| Failure::open("image", path, &error))?;
    let size = size.unwrap_or_else(|| source.size());
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    while at < size {
        let len = usize::try_from(size - at).unwrap_or(usize::MAX).min(buffer.len());
        source.read_at(at, &mut buffer[..len]).map_err(|error| {
            let error = (io_exit(&error), format!("{}: {error}", path.display()));
            Failure::new(error.0, error.1, "check the device, and --size")
        })?;
        hasher.update(&buffer[..len]);
        at += len as u64;
    }
    Ok(hasher.finalize().to_hex().to_string())
}

pub(crate) fn refused(reason: &NoPlan, product: &str) -> Failure {
    let (exit, next) = match reason {
        NoPlan::UpToDate { .. } => (Exit::NothingToDo, "nothing"),
        NoPlan::EpochTooLow { .. } => (Exit::Rollback, "choose a later version"),
        NoPlan::OverBudget { .. } => {
            (Exit::OverBudget, "raise the budget, use a cheaper link, or send a stick")
        }
        NoPlan::Requires { .. } => (Exit::Error, "install what it requires first"),
        NoPlan::NoWay { .. } => {
            (Exit::Error, "ask for a patch from this image, or for the whole image")
        }
        _ => (Exit::Error, "neap check lists what is offered"),
    };
    Failure::new(exit, format!("{product}: {reason}"), next)
}

fn text(plan: &Plan<'_>, profile: Option<&Profile>) -> String {
    let mut text = String::new();
    for (index, step) in plan.steps.iter().enumerate() {
        let len = format!("{} bytes ({})", exact(step.len), human(step.len));
        text += &format!("{}  {}  {len}\n", index + 1, step.path);
        text += &format!("   blob {}\n", step.custom.blake3);
    }
    let full = plan
        .full_len
        .map_or(String::new(), |len| format!("; the whole image would take {} bytes", exact(len)));
    text += &format!("to fetch: {} bytes{full}\n", exact(plan.fetch_len));
    if profile.is_some_and(|profile| profile.approval == neap_trust::profile::Approval::Crew) {
        text += "this site's crew must approve before it is installed\n";
    }
    text
}

fn as_json(plan: &Plan<'_>) -> Value {
    let steps = plan.steps.iter().map(|step| {
        json!({
            "path": step.path,
            "len": step.len,
            "blake3": step.custom.blake3,
            "from": step.custom.from,
            "to": step.custom.to,
            "version": step.custom.version,
        })
    });
    json!({
        "schema": "neap.plan.v1",
        "steps": steps.collect::<Vec<_>>(),
        "fetch_len": plan.fetch_len,
        "full_len": plan.full_len,
    })
}
