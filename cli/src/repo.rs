//! `neap repo`: its verbs and their flags. What they do is in the files below.

mod change;
mod crl;
pub(crate) mod directory;
pub(crate) mod expiry;
mod sign;
mod status;

use std::path::PathBuf;

use clap::Subcommand;

use crate::args::Common;
use crate::failure::Failure;
use crate::keyring::KEY_HELP;
use crate::outcome::Outcome;
use crate::secret::Secrets;
use expiry::Expiry;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Begin a repository: stage its first root
    #[command(after_help = "Example:\n  neap repo init depot --root-key alice.pub --root-key \
        bob.pub --root-threshold 2 \\\n    --targets-key alice.pub --targets-key bob.pub \
        --snapshot-key online.pub --timestamp-key online.pub\n\n\
        Nothing is seen by devices before `neap repo publish`.")]
    Init(Init),
    /// Stage a new group, more keys, or a file for the devices of a group
    Add(Add),
    /// Show what staged metadata changes, and sign it: on any machine, without the depot
    #[command(after_help = "Example:\n  neap repo sign depot/staged/g.fleet.json --key alice \
        --output alice.sig\n\n\
        With --trusted-root, what the file says of the present cannot be made up.")]
    Sign(Sign),
    /// Add signatures to what is staged
    #[command(after_help = "Example:\n  neap repo merge depot alice.sig bob.sig")]
    Merge(Merge),
    /// Publish what is staged and signed by enough people
    #[command(after_help = "Examples:\n  neap repo publish depot --key online\n  \
        neap repo publish depot --key online --timestamp-only")]
    Publish(Publish),
    /// Replace a key of a role by another
    #[command(after_help = "Example:\n  neap repo rotate depot root --remove bob.pub --add \
        carol.pub\n\n\
        Roots are signed by the old keys and the new ones. For timestamp and snapshot, publish \
        with both keys.")]
    Rotate(Rotate),
    /// Take a key from every role that has it
    #[command(after_help = "Example:\n  neap repo revoke depot bob.pub --replace carol.pub")]
    Revoke(Revoke),
    /// Stage a role as it is, with a later expiry
    #[command(after_help = "Example:\n  neap repo renew depot g.fleet --expires 90d")]
    Renew(Renew),
    /// Stage that files are no longer offered to a group
    #[command(after_help = "Example:\n  neap repo withdraw depot fleet \
        g/fleet/bridge-display/1.5/full")]
    Withdraw(Withdraw),
    /// Forget what is staged of a role
    #[command(after_help = "Example:\n  neap repo drop depot g.fleet")]
    Drop(Drop),
    /// Show roles, versions and expiry, and which signatures are missing
    #[command(after_help = "Example:\n  neap repo status depot")]
    Status(Status),
}

impl Verb {
    pub(crate) fn common(&self) -> &Common {
        match self {
            Self::Init(args) => &args.common,
            Self::Add(args) => args.what.common(),
            Self::Sign(args) => &args.common,
            Self::Merge(args) => &args.common,
            Self::Publish(args) => &args.common,
            Self::Rotate(args) => &args.common,
            Self::Revoke(args) => &args.common,
            Self::Renew(args) => &args.common,
            Self::Withdraw(args) => &args.common,
            Self::Drop(args) => &args.common,
            Self::Status(args) => &args.common,
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Init {
    /// Folder of the depot, made if it is missing
    depot: PathBuf,
    /// Public key that signs roots; give it for each
    #[arg(long, value_name = "FILE.pub", required = true)]
    root_key: Vec<String>,
    /// How many of them must sign [default: 2, or 1 of one]
    #[arg(long, value_name = "N")]
    root_threshold: Option<usize>,
    /// Public key that says who signs for which group
    #[arg(long, value_name = "FILE.pub", required = true)]
    targets_key: Vec<String>,
    /// How many of them must sign [default: 2, or 1 of one]
    #[arg(long, value_name = "N")]
    targets_threshold: Option<usize>,
    /// Public key that says which versions belong together
    #[arg(long, value_name = "FILE.pub", required = true)]
    snapshot_key: Vec<String>,
    /// Public key that says which version is newest
    #[arg(long, value_name = "FILE.pub", required = true)]
    timestamp_key: Vec<String>,
    #[command(flatten)]
    expiry: Expiry,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Add {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// A group of devices and who signs for it; one that there is gets these keys instead
    #[command(after_help = "Example:\n  neap repo add group depot fleet --key alice.pub --key \
        bob.pub --threshold 2")]
    Group(AddGroup),
    /// Keys of a role that there is
    #[command(after_help = "Example:\n  neap repo add key depot g.fleet --key carol.pub")]
    Key(AddKey),
    /// A document for the devices of a group
    #[command(after_help = "Example:\n  neap repo add file depot fleet sbom.json \
        --product bridge-display --version 1.5")]
    File(AddFile),
    /// The list of a fleet's revoked certificates, in place of the one before
    #[command(
        after_help = "Example:\n  neap repo add crl depot fleet ca/fleet.crl --ca ca/ca.pem\n\n\
        Exit code 7: the group has a newer list."
    )]
    Crl(AddCrl),
}

impl What {
    fn common(&self) -> &Common {
        match self {
            Self::Group(args) => &args.common,
            Self::Key(args) => &args.common,
            Self::File(args) => &args.common,
            Self::Crl(args) => &args.common,
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct AddGroup {
    /// Folder of the depot
    depot: PathBuf,
    /// Name of the group: 1 to 32 of a-z, 0-9, `-`
    group: String,
    /// Public key that signs for it; give it for each
    #[arg(long, value_name = "FILE.pub", required = true)]
    key: Vec<String>,
    /// How many of them must sign [default: 2, or 1 of one]
    #[arg(long, value_name = "N")]
    threshold: Option<usize>,
    #[command(flatten)]
    expiry: Expiry,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
pub(crate) struct AddKey {
    /// Folder of the depot
    depot: PathBuf,
    /// The role: root, targets, snapshot, timestamp, or g.GROUP
    role: String,
    /// Public key that it gets; give it for each
    #[arg(long, value_name = "FILE.pub", required = true)]
    key: Vec<String>,
    /// How many of its keys must sign from then on [default: as before]
    #[arg(long, value_name = "N")]
    threshold: Option<usize>,
    #[command(flatten)]
    expiry: Expiry,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
pub(crate) struct AddFile {
    /// Folder of the depot
    depot: PathBuf,
    /// The group
    group: String,
    /// The file
    file: PathBuf,
    /// The product that it is about
    #[arg(long)]
    product: String,
    /// The version that it is about
    #[arg(long)]
    version: String,
    /// What it is called there [default: the name of the file]
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    expiry: Expiry,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
pub(crate) struct AddCrl {
    /// Folder of the depot
    depot: PathBuf,
    /// The group
    group: String,
    /// The list, in PEM or DER
    list: PathBuf,
    /// The certificate of the fleet's authority
    #[arg(long, value_name = "FILE")]
    ca: PathBuf,
    #[command(flatten)]
    expiry: Expiry,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Sign {
    /// The staged file, such as depot/staged/g.fleet.json
    request: PathBuf,
    #[arg(long, value_name = "KEY", help = KEY_HELP)]
    key: String,
    /// Where the signature goes
    #[arg(long, short, value_name = "FILE.sig")]
    output: PathBuf,
    /// A root of this repository that you have from elsewhere, such as 1.root.json
    #[arg(long, value_name = "FILE")]
    trusted_root: Option<PathBuf>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    secrets: Secrets,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Merge {
    /// Folder of the depot
    depot: PathBuf,
    /// Signatures that `neap repo sign` made
    #[arg(required = true)]
    signatures: Vec<PathBuf>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Publish {
    /// Folder of the depot
    depot: PathBuf,
    #[arg(long, value_name = "KEY", required = true, help = KEY_HELP)]
    key: Vec<String>,
    /// Publish nothing but a newer timestamp
    #[arg(long)]
    timestamp_only: bool,
    /// Until when the timestamp is valid, such as 7d [default: 7d]
    #[arg(long, value_name = "WHEN", value_parser = expiry::parse)]
    timestamp_expires: Option<expiry::Until>,
    /// Until when the snapshot is valid [default: 30d]
    #[arg(long, value_name = "WHEN", value_parser = expiry::parse)]
    snapshot_expires: Option<expiry::Until>,
    #[command(flatten)]
    secrets: Secrets,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Rotate {
    /// Folder of the depot
    depot: PathBuf,
    /// The role: root, targets, snapshot, timestamp, or g.GROUP
    role: String,
    /// The key that goes: its file, or 8 or more digits of its id; give it for each
    #[arg(long, value_name = "KEY")]
    remove: Vec<String>,
    /// The key that comes; give it for each
    #[arg(long, value_name = "FILE.pub")]
    add: Vec<String>,
    /// How many of its keys must sign from then on [default: as before]
    #[arg(long, value_name = "N")]
    threshold: Option<usize>,
    #[command(flatten)]
    expiry: Expiry,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Revoke {
    /// Folder of the depot
    depot: PathBuf,
    /// The key: its file, or 8 or more digits of its id
    key: String,
    /// The key that takes its place
    #[arg(long, value_name = "FILE.pub")]
    replace: Option<String>,
    #[command(flatten)]
    expiry: Expiry,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Renew {
    /// Folder of the depot
    depot: PathBuf,
    /// The role: root, targets, or g.GROUP
    role: String,
    #[command(flatten)]
    expiry: Expiry,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Withdraw {
    /// Folder of the depot
    depot: PathBuf,
    /// The group
    group: String,
    /// Paths of files, such as g/fleet/bridge-display/1.5/full
    #[arg(required = true)]
    paths: Vec<String>,
    #[command(flatten)]
    expiry: Expiry,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Drop {
    /// Folder of the depot
    depot: PathBuf,
    /// The role
    role: String,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Status {
    /// Folder of the depot
    depot: PathBuf,
    #[command(flatten)]
    common: Common,
}

pub(crate) fn run(verb: &Verb) -> Result<Outcome, Failure> {
    match verb {
        Verb::Init(args) => change::init(args),
        Verb::Add(args) => match &args.what {
            What::Group(args) => change::add_group(args),
            What::Key(args) => change::add_key(args),
            What::File(args) => change::add_file(args),
            What::Crl(args) => crl::add(args),
        },
        Verb::Sign(args) => sign::sign(args),
        Verb::Merge(args) => sign::merge(args),
        Verb::Publish(args) => sign::publish(args),
        Verb::Rotate(args) => change::rotate(args),
        Verb::Revoke(args) => change::revoke(args),
        Verb::Renew(args) => change::renew(args),
        Verb::Withdraw(args) => change::withdraw(args),
        Verb::Drop(args) => change::drop_staged(args),
        Verb::Status(args) => status::status(args),
    }
}
