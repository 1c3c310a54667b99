//! `neap repo`: its verbs and their flags. What they do is in the files below.

mod change;
mod crl;
pub(crate) mod expiry;
pub(crate) mod place;
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
    /// Stage a new group, more keys, or a file or site profile for the devices of a group
    Add(Add),
    /// Stage that a group is there no more
    Remove(Remove),
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
            Self::Remove(args) => args.what.common(),
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
    /// The depot: a folder, made if it is missing, or s3://BUCKET/PREFIX
    depot: String,
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
    /// What the site of a group's devices may do on its own, in place of what it might before
    #[command(after_help = "Example:\n  neap repo add profile depot aurora --site 'MV Aurora' \
        --stale-days 180 --approval crew \\\n    --update-budget 20M --month-budget 200M\n\n\
        It is signed like a release of the group; signers see what it allows. `neap check` shows \
        the one that counts.")]
    Profile(AddProfile),
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
            Self::Profile(args) => &args.common,
            Self::Crl(args) => &args.common,
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct AddGroup {
    /// The depot: a folder, or s3://BUCKET/PREFIX
    depot: String,
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
    /// The depot: a folder, or s3://BUCKET/PREFIX
    depot: String,
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
    /// The depot: a folder, or s3://BUCKET/PREFIX
    depot: String,
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
pub(crate) struct AddProfile {
    /// The depot: a folder, or s3://BUCKET/PREFIX
    depot: String,
    /// The group: one for each site that has rules of its own
    group: String,
    /// Name of the site, for people
    #[arg(long, value_name = "NAME")]
    site: String,
    /// Days past its expiry that metadata still counts there
    #[arg(long, value_name = "N", default_value_t = 0)]
    stale_days: u32,
    /// Who must say yes before a device is written
    #[arg(long, value_enum, value_name = "WHO", default_value_t = Asked::None)]
    approval: Asked,
    /// Most that one update of one device may cost over the costly link, such as 20M
    #[arg(long, value_name = "SIZE", value_parser = crate::size::parse)]
    update_budget: Option<u64>,
    /// Most in a day, UTC
    #[arg(long, value_name = "SIZE", value_parser = crate::size::parse)]
    day_budget: Option<u64>,
    /// Most in a month, UTC
    #[arg(long, value_name = "SIZE", value_parser = crate::size::parse)]
    month_budget: Option<u64>,
    #[command(flatten)]
    expiry: Expiry,
    #[command(flatten)]
    common: Common,
}

/// Who must say yes, as it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Asked {
    /// Nobody: the signatures are enough
    None,
    /// Someone on site
    Crew,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Remove {
    #[command(subcommand)]
    what: Gone,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Gone {
    /// A group: nobody signs for it any more, and its devices are offered nothing
    #[command(after_help = "Example:\n  neap repo remove group depot fleet\n\n\
        For good: its devices keep what they run, and the name is not used again.")]
    Group(RemoveGroup),
}

impl Gone {
    fn common(&self) -> &Common {
        let Self::Group(args) = self;
        &args.common
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct RemoveGroup {
    /// The depot: a folder, or s3://BUCKET/PREFIX
    depot: String,
    /// The group
    group: String,
    #[command(flatten)]
    expiry: Expiry,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
pub(crate) struct AddCrl {
    /// The depot: a folder, or s3://BUCKET/PREFIX
    depot: String,
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
    /// The staged file or a copy: depot/staged/ROLE.json, s3://BUCKET/PREFIX/staged/ROLE.json
    request: String,
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
    /// The depot: a folder, or s3://BUCKET/PREFIX
    depot: String,
    /// Signatures that `neap repo sign` made
    #[arg(required = true)]
    signatures: Vec<PathBuf>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Publish {
    /// The depot: a folder, or s3://BUCKET/PREFIX
    depot: String,
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
    /// The depot: a folder, or s3://BUCKET/PREFIX
    depot: String,
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
    /// The depot: a folder, or s3://BUCKET/PREFIX
    depot: String,
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
    /// The depot: a folder, or s3://BUCKET/PREFIX
    depot: String,
    /// The role: root, targets, or g.GROUP
    role: String,
    #[command(flatten)]
    expiry: Expiry,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Withdraw {
    /// The depot: a folder, or s3://BUCKET/PREFIX
    depot: String,
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
    /// The depot: a folder, or s3://BUCKET/PREFIX
    depot: String,
    /// The role
    role: String,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Status {
    /// The depot: a folder, or s3://BUCKET/PREFIX
    depot: String,
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
            What::Profile(args) => change::add_profile(args),
            What::Crl(args) => crl::add(args),
        },
        Verb::Remove(Remove { what: Gone::Group(args) }) => change::remove_group(args),
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
