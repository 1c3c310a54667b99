//! `neap release`: makes the files of a release and stages them; signing is for `neap repo`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use clap::{Args as Group, Subcommand, ValueEnum};
use neap_depot::depot::{BUCKET, Depot};
use neap_depot::name::Device;
use neap_depot::plan::Offer;
use neap_depot::release::{self as releases};
use neap_depot::release::{Earlier, Made, Making, Patched, Release, ReleaseError, archive};
use neap_depot::spool::folder_of;
use neap_engine::diff::{Coder, Options};
use neap_engine::io::file::FileSource;
use neap_trust::receipt::Receipt;
use neap_trust::repo::Repo;
use neap_trust::repo::document::TargetFile;
use neap_trust::target::{Content, Custom, Kind, Requirement, Severity, role_of};
use serde_json::{Value, json};

use crate::args::{Common, LinkKind, memory};
use crate::exit::Exit;
use crate::failure::{Failure, io_exit};
use crate::outcome::Outcome;
use crate::repo::expiry::Expiry;
use crate::repo::place::{self, of_repo};
use crate::size::{exact, human, percent};

/// Most earlier images that a release is made from.
const EARLIER_MAX: usize = 64;

#[derive(Debug, Group)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make the whole image and patches from what devices have, and stage them for a group
    #[command(after_help = "Examples:\n  \
        neap release create depot --group bridge --product radar --version 1.5.0 \
        --image new.img\n  \
        neap release create depot --group bridge --product charts --version 2026.11 --tree charts \
        \\\n    --from last:5 --sbom charts.cdx.json --severity high --advisory 'Fixes …'\n\n\
        Nobody sees it before it is signed, merged and published: see neap repo.")]
    Create(Box<Create>),
    /// Pack a folder as releases of trees do: one folder, one archive, byte for byte
    #[command(after_help = "Example:\n  neap release pack /opt/charts --output charts.tar\n\n\
        Owners, times and extended attributes are not kept. tar -xf unpacks it.")]
    Pack(Pack),
}

impl Verb {
    pub(crate) fn common(&self) -> &Common {
        match self {
            Self::Create(args) => &args.common,
            Self::Pack(args) => &args.common,
        }
    }
}

#[derive(Debug, Group)]
pub(crate) struct Pack {
    /// The folder
    folder: PathBuf,
    /// Where the archive goes
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Group)]
#[command(group = clap::ArgGroup::new("content").required(true))]
pub(crate) struct Create {
    /// The depot: a folder, or s3://BUCKET/PREFIX
    depot: String,
    /// The group of devices
    #[arg(long)]
    group: String,
    /// The product: a-z, 0-9 and `-`
    #[arg(long)]
    product: String,
    /// The version, such as 1.5.0
    #[arg(long)]
    version: String,
    /// The image of a system: a file or block device
    #[arg(long, value_name = "FILE", group = "content")]
    image: Option<PathBuf>,
    /// One file
    #[arg(long, value_name = "FILE", group = "content")]
    file: Option<PathBuf>,
    /// A folder with all below it
    #[arg(long, value_name = "DIR", group = "content")]
    tree: Option<PathBuf>,
    /// What to make patches from: last:N, receipts (what devices say they run), none, or a version;
    /// give it for each
    #[arg(long, value_name = "WHAT", default_value = "last:3", value_delimiter = ',')]
    from: Vec<From>,
    /// Bill of materials: CycloneDX or SPDX, as JSON
    #[arg(long, value_name = "FILE")]
    sbom: Option<PathBuf>,
    /// What operators should know
    #[arg(long, value_name = "TEXT")]
    advisory: Option<String>,
    /// How much it matters
    #[arg(long, value_enum, default_value_t = Grade::None)]
    severity: Grade,
    /// Devices that ran a release of this number refuse those of a lower one
    #[arg(long, value_name = "N", default_value_t = 0)]
    security_epoch: u64,
    /// Hardware it runs on; give it for each [default: any]
    #[arg(long, value_name = "NAME")]
    hardware: Vec<String>,
    /// What must be on a device first, such as 'radar>=1.4.0'; give it for each
    #[arg(long, value_name = "PRODUCT>=VERSION", value_parser = requirement)]
    requires: Vec<Requirement>,
    /// The link that the patches are for
    #[arg(long = "for", value_enum, value_name = "LINK", default_value_t = LinkKind::Lan)]
    link: LinkKind,
    /// Memory for all patches that are made at the same time
    #[arg(long, value_name = "SIZE", default_value = "2G", value_parser = memory)]
    memory: u64,
    /// Patches made at the same time
    #[arg(long, value_name = "N", default_value_t = 2)]
    jobs: u8,
    /// Folder for images in the making [default: the depot, or for a bucket the system's own]
    #[arg(long, value_name = "DIR")]
    work: Option<PathBuf>,
    #[command(flatten)]
    expiry: Expiry,
    #[command(flatten)]
    common: Common,
}

/// What patches are made from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum From {
    Last(usize),
    Receipts,
    Version(String),
    None,
}

impl std::str::FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match (text, text.strip_prefix("last:")) {
            ("receipts", _) => Self::Receipts,
            ("none", _) => Self::None,
            (_, Some(count)) => {
                let count = count.parse().ok().filter(|count| *count <= EARLIER_MAX);
                Self::Last(count.ok_or_else(|| format!("expected last:0 to last:{EARLIER_MAX}"))?)
            }
            (version, None) => Self::Version(version.to_owned()),
        })
    }
}

/// Severities, as they are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Grade {
    /// No security content
    None,
    Low,
    Medium,
    High,
    Critical,
}

fn requirement(text: &str) -> Result<Requirement, String> {
    let (product, version) = text.split_once(">=").ok_or("expected PRODUCT>=VERSION")?;
    Ok(Requirement { product: product.trim().into(), version: version.trim().into() })
}

pub(crate) fn run(verb: &Verb) -> Result<Outcome, Failure> {
    match verb {
        Verb::Create(args) => create(args),
        Verb::Pack(args) => pack(args),
    }
}

fn pack(args: &Pack) -> Result<Outcome, Failure> {
    let failed = |error: &std::io::Error| {
        let next = "look at what the error names, and run it again";
        Failure::new(io_exit(error), format!("{}: {error}", args.folder.display()), next)
    };
    let folder = folder_of(&args.output);
    let mut output = tempfile::NamedTempFile::new_in(&folder).map_err(|error| failed(&error))?;
    archive::pack(&args.folder, output.as_file_mut()).map_err(|error| failed(&error))?;
    let len = output.as_file().metadata().map_or(0, |metadata| metadata.len());
    let synced = output.as_file().sync_all();
    synced
        .and_then(|()| output.persist(&args.output).map_err(|error| error.error).map(drop))
        .map_err(|error| failed(&error))?;
    Ok(Outcome {
        text: format!("{}: {} bytes\n", args.output.display(), exact(len)),
        json: json!({"schema": "neap.packed.v1", "output": args.output, "len": len}),
    })
}

fn create(args: &Create) -> Result<Outcome, Failure> {
    let place = &args.depot;
    let release = release(args)?;
    let depot = crate::depot::open(place)?;
    let mut writer = crate::depot::writer(&depot, place, "release create")?;
    let mut repo = place::load(&depot, place)?;
    check_names(&release, &repo, args)?;
    let offers = offers(&repo, &args.group);
    let earlier = earlier(args, &offers, &depot)?;
    let work = args.work.clone().unwrap_or_else(|| match place.starts_with(BUCKET) {
        true => std::env::temp_dir(),
        false => place.into(),
    });
    let work = tempfile::tempdir_in(&work).map_err(|error| failed(&work, &error))?;
    let image = content(args, work.path())?;
    let (coder, effort) = match args.link {
        LinkKind::Lan => (Coder::Zstd, Options::EFFORT_DEFAULT),
        LinkKind::Port => (Coder::Zstd, Options::EFFORT_DEFAULT + 1),
        LinkKind::Sat => (Coder::Cm, Options::EFFORT_DEFAULT),
    };
    let err = Mutex::new(std::io::stderr());
    let say = |text: &str| {
        if let (false, Ok(mut err)) = (args.common.quiet, err.lock()) {
            // Without stderr there is no one left to tell.
            drop(writeln!(err, "{text}"));
        }
    };
    let options = Options { coder, effort, memory: args.memory, ..Options::default() };
    let making = Making { options, jobs: args.jobs.into(), folder: work.path(), say: &say };
    let made = release.make(&image, &earlier, &writer, &making);
    let made = made.map_err(|error| not_made(&error, args))?;
    let added = repo.add_targets(&args.group, made.targets.clone(), &args.expiry.when());
    added.map_err(|error| of_repo(place, error))?;
    place::save(&mut writer, &repo, place)?;
    Ok(Outcome { text: text(args, &made), json: as_json(args, &made) })
}

fn release(args: &Create) -> Result<Release, Failure> {
    let sbom = args.sbom.as_deref().map(crate::sbom::bytes).transpose()?;
    Ok(Release {
        group: args.group.clone(),
        product: args.product.clone(),
        version: args.version.clone(),
        content: match (&args.file, &args.tree) {
            (Some(_), _) => Content::File,
            (_, Some(_)) => Content::Tree,
            _ => Content::Image,
        },
        security_epoch: args.security_epoch,
        severity: match args.severity {
            Grade::None => Severity::None,
            Grade::Low => Severity::Low,
            Grade::Medium => Severity::Medium,
            Grade::High => Severity::High,
            Grade::Critical => Severity::Critical,
        },
        advisory: args.advisory.clone(),
        hardware: args.hardware.clone(),
        requires: args.requires.clone(),
        sbom,
    })
}

/// Names that the group's role may not have are refused before anything takes minutes.
fn check_names(release: &Release, repo: &Repo, args: &Create) -> Result<(), Failure> {
    let custom = Custom {
        blake3: String::new(),
        kind: Kind::Full,
        from: None,
        to: None,
        to_len: None,
        content: Some(release.content),
        product: release.product.clone(),
        version: release.version.clone(),
        security_epoch: release.security_epoch,
        severity: release.severity,
        sbom: None,
        advisory: release.advisory.clone(),
        hardware: release.hardware.clone(),
        requires: release.requires.clone(),
    };
    let path = format!("g/{}/{}/{}/full", args.group, args.product, args.version);
    if offers(repo, &args.group).iter().any(|offer| offer.path == path) {
        let error = format!("{} {} is offered already", args.product, args.version);
        return Err(Failure::new(Exit::NothingToDo, error, "give it another version"));
    }
    let file = TargetFile::new(0, &"0".repeat(64), &custom);
    let added = file.and_then(|file| {
        repo.clone().add_targets(&args.group, BTreeMap::from([(path, file)]), &args.expiry.when())
    });
    added.map_err(|error| of_repo(&args.depot, error))
}

/// What the group is offered, staged or published: not verified, since it only says what to make.
fn offers(repo: &Repo, group: &str) -> Vec<Offer> {
    let targets = repo.next(&role_of(group)).and_then(|envelope| envelope.targets().ok());
    let offer = |(path, file): (String, TargetFile)| {
        let custom = file.custom()?;
        Some(Offer { path, len: file.length, sha256: String::new(), custom })
    };
    targets.into_iter().flat_map(|targets| targets.targets).filter_map(offer).collect()
}

/// The images to make patches from, each once.
fn earlier(args: &Create, offers: &[Offer], depot: &Depot) -> Result<Vec<Earlier>, Failure> {
    let whole = releases::offered_whole(offers, &args.product);
    let mut chosen: Vec<Earlier> = Vec::new();
    for from in &args.from {
        let found: Vec<_> = match from {
            From::None => Vec::new(),
            From::Last(count) => whole.iter().take(*count).collect(),
            From::Receipts => {
                let run = run_by_devices(depot);
                whole.iter().filter(|earlier| run.contains(&earlier.image.0)).collect()
            }
            From::Version(version) => {
                let found: Vec<_> = whole.iter().filter(|e| e.version == *version).collect();
                if found.is_empty() {
                    let error = format!("{} {version} is not offered whole", args.product);
                    return Err(Failure::new(Exit::Error, error, "name a version that is there"));
                }
                found
            }
        };
        chosen.extend(found.into_iter().cloned());
    }
    let mut seen = Vec::new();
    chosen.retain(|earlier| {
        let is_new = !seen.contains(&earlier.image.0);
        seen.push(earlier.image.0);
        is_new
    });
    chosen.truncate(EARLIER_MAX);
    Ok(chosen)
}

/// The images that the last receipt of each device names. They are not verified: a receipt that
/// lies makes a patch that nobody takes.
fn run_by_devices(depot: &Depot) -> Vec<[u8; 32]> {
    let devices = depot.receipts().unwrap_or_default();
    let last = devices.iter().filter_map(|(device, sequences): &(Device, Vec<u64>)| {
        let bytes = depot.receipt(device, *sequences.last()?).ok()??;
        let receipt = Receipt::claimed(&bytes).ok()?;
        receipt.read_back.or(receipt.from)
    });
    last.collect()
}

/// The image, the file, or the folder packed.
fn content(args: &Create, work: &Path) -> Result<FileSource, Failure> {
    let opened = |path: &Path, what: &str| {
        FileSource::open(path).map_err(|error| Failure::open(what, path, &error))
    };
    match (&args.image, &args.file, &args.tree) {
        (Some(image), ..) => opened(image, "image"),
        (_, Some(file), _) => opened(file, "file"),
        (_, _, Some(tree)) => {
            let path = work.join("tree.tar");
            let packed = File::create(&path).and_then(|file| archive::pack(tree, file));
            packed.map_err(|error| failed(tree, &error))?;
            opened(&path, "tree")
        }
        _ => unreachable_content(),
    }
}

fn unreachable_content() -> Result<FileSource, Failure> {
    Err(Failure::new(Exit::Usage, "nothing to release".into(), "give --image, --file or --tree"))
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    let shown = path.display();
    Failure::new(io_exit(error), format!("{shown}: {error}"), format!("check {shown}"))
}

fn not_made(error: &ReleaseError, args: &Create) -> Failure {
    let (exit, next) = match error {
        ReleaseError::Work(error) => (io_exit(error), "make room, or name another --work folder"),
        ReleaseError::Blob { .. } | ReleaseError::Missing { .. } => {
            (Exit::Error, "neap depot fsck shows what is damaged; leave that version out of --from")
        }
        ReleaseError::Sbom(_) => (Exit::Error, "give CycloneDX or SPDX, as JSON"),
        _ => (Exit::Error, "run it again"),
    };
    Failure {
        state: "nothing is staged; neap depot gc removes what was added".into(),
        ..Failure::new(exit, format!("{}: {error}", args.depot), next)
    }
}

fn text(args: &Create, made: &Made) -> String {
    let mut text = format!(
        "{} {}: {} bytes, digest {}\n",
        args.product,
        args.version,
        exact(made.image_len),
        made.image
    );
    text += &format!("  whole         {:>16}  {}\n", exact(made.full_len), human(made.full_len));
    for (earlier, patched) in &made.patches {
        let told = match patched {
            Patched::Kept(len) => {
                let share = percent(*len, made.full_len);
                format!("{:>16}  {share} of the whole", exact(*len))
            }
            Patched::Dropped(len) => {
                format!("{:>16}  not offered: no smaller than the whole", exact(*len))
            }
            Patched::Same => format!("{:>16}  the same image", 0),
        };
        text += &format!("  from {:<9}{told}\n", earlier.version);
    }
    let request = place::request(&args.depot, &role_of(&args.group));
    text += &format!("staged  {request}\n");
    text += "Nobody sees it yet: sign it (neap repo sign), merge, publish.\n";
    text
}

fn as_json(args: &Create, made: &Made) -> Value {
    let patches = made.patches.iter().map(|(earlier, patched)| {
        let (offered, len) = match patched {
            Patched::Kept(len) => (true, *len),
            Patched::Dropped(len) => (false, *len),
            Patched::Same => (false, 0),
        };
        json!({
            "from_version": earlier.version,
            "from": earlier.image.to_string(),
            "offered": offered,
            "len": len,
        })
    });
    json!({
        "schema": "neap.release.v1",
        "group": args.group,
        "product": args.product,
        "version": args.version,
        "image": made.image.to_string(),
        "image_len": made.image_len,
        "full_len": made.full_len,
        "patches": patches.collect::<Vec<_>>(),
        "targets": made.targets.keys().collect::<Vec<_>>(),
        "request": place::request(&args.depot, &role_of(&args.group)),
    })
}
