//! `neap ca`: its verbs and their flags. What they do is in the files below.

mod ask;
mod folder;
mod issue;
mod revoke;
mod show;

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use neap_trust::device_key::file::Kind;
use neap_trust::identity::ledger::KeyDigest;
use neap_trust::identity::{DeviceName, Fleet, Reason};

use crate::args::Common;
use crate::failure::Failure;
use crate::keyring::KEY_HELP;
use crate::outcome::Outcome;
use crate::repo::expiry::{self, Until};
use crate::secret::Secrets;

pub(crate) use ask::device_key;
pub(crate) use folder::{authority, limited, list_of, of_identity, whole};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Begin a fleet's authority: its certificate and its ledger
    #[command(after_help = "Example:\n  neap ca init ca --key fleet --name coast\n\n\
        Devices and peers are given ca/ca.pem; the folder stays where the key is.")]
    Init(Init),
    /// Make a device's key and the request for its certificate, on the device
    #[command(after_help = "Examples:\n  \
        neap ca request radar-7 --new-key device.pem --output radar-7.csr\n  \
        neap ca request radar-7 --key device.pem --output radar-7.csr\n\n\
        Prints the digest of the key: read it to who runs the authority.")]
    Request(Request),
    /// Say that devices get one certificate each without being asked about
    #[command(after_help = "Examples:\n  neap ca allow ca radar-7 --digest 91fe…07c2\n  \
        neap ca allow ca --list devices.txt\n  neap ca allow ca radar-7 --remove\n\n\
        A list has a line for each: the device, and the digest of its key if it is known.")]
    Allow(Allow),
    /// Issue certificates to devices that are allowed; keep the requests of others
    #[command(after_help = "Example:\n  neap ca issue ca radar-7.csr sonar.csr --key fleet\n\n\
        Exit code 9: a request waits until `neap ca accept`. 6: one is refused.")]
    Issue(Issue),
    /// Accept a request that waits, and issue its certificate
    #[command(after_help = "Examples:\n  neap ca accept ca radar-7 --key fleet\n  \
        neap ca accept ca 91fe07c2 --key fleet --yes\n\n\
        Compare the digest with what the device shows before you type yes.")]
    Accept(Accept),
    /// Drop a request that waits
    #[command(after_help = "Example:\n  neap ca reject ca 91fe07c2")]
    Reject(Reject),
    /// Revoke a device, or one certificate, and make the new list
    #[command(after_help = "Example:\n  \
        neap ca revoke ca radar-7 --reason key-compromise --key fleet\n\n\
        Devices learn it from the list: neap repo add crl DEPOT GROUP ca/fleet.crl --ca ca/ca.pem")]
    Revoke(Revoke),
    /// Make the list of revoked certificates anew, before the last one is too old
    #[command(after_help = "Example:\n  neap ca crl ca --key fleet")]
    Crl(Crl),
    /// List what was issued, what is allowed, and what waits
    #[command(after_help = "Example:\n  neap ca list ca --waiting")]
    List(List),
    /// Show what a request, a certificate or a list says
    #[command(after_help = "Examples:\n  neap ca show radar-7.csr\n  \
        neap ca show radar-7.pem --ca ca.pem\n  neap ca show fleet.crl --ca ca.pem")]
    Show(Show),
}

impl Verb {
    pub(crate) fn common(&self) -> &Common {
        match self {
            Self::Init(args) => &args.common,
            Self::Request(args) => &args.common,
            Self::Allow(args) => &args.common,
            Self::Issue(args) => &args.signing.common,
            Self::Accept(args) => &args.signing.common,
            Self::Reject(args) => &args.common,
            Self::Revoke(args) => &args.common,
            Self::Crl(args) => &args.common,
            Self::List(args) => &args.common,
            Self::Show(args) => &args.common,
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Init {
    /// Folder of the authority, made if it is missing
    dir: PathBuf,
    #[arg(long, value_name = "KEY", help = KEY_HELP)]
    key: String,
    /// Name of the fleet: 1 to 32 of a-z, 0-9, `-`
    #[arg(long, value_name = "FLEET")]
    name: Fleet,
    /// Until when the authority is valid
    #[arg(long, value_name = "WHEN", default_value = "20y", value_parser = expiry::parse)]
    expires: Until,
    #[command(flatten)]
    secrets: Secrets,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("which").required(true))]
pub(crate) struct Request {
    /// The device's serial number: 1 to 63 of a-z, 0-9, `-`, `.`
    device: DeviceName,
    /// Where the request goes
    #[arg(long, short, value_name = "FILE.csr")]
    output: PathBuf,
    /// The device's private key: a file of Ed25519 or P-256, or what `--key` takes elsewhere
    #[arg(long, value_name = "KEY", group = "which")]
    key: Option<String>,
    /// Make a new key in this file, for its owner alone and without a passphrase
    #[arg(long, value_name = "FILE.pem", group = "which")]
    new_key: Option<PathBuf>,
    /// What kind of key to make
    #[arg(long, value_enum, default_value_t, requires = "new_key")]
    kind: KeyKind,
    #[command(flatten)]
    secrets: Secrets,
    #[command(flatten)]
    common: Common,
}

/// Kinds of keys that devices have.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(crate) enum KeyKind {
    /// Ed25519
    #[default]
    Ed25519,
    /// P-256, where hardware has no Ed25519
    P256,
}

impl From<KeyKind> for Kind {
    fn from(kind: KeyKind) -> Self {
        match kind {
            KeyKind::Ed25519 => Self::Ed25519,
            KeyKind::P256 => Self::P256,
        }
    }
}

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("who").required(true))]
pub(crate) struct Allow {
    /// Folder of the authority
    dir: PathBuf,
    /// The device
    #[arg(group = "who")]
    device: Option<DeviceName>,
    /// SHA-256 of the device's public key, 64 hexadecimal digits [default: any key]
    #[arg(long, value_name = "HEX", requires = "device", conflicts_with = "remove")]
    digest: Option<KeyDigest>,
    /// Allow all devices of this list
    #[arg(long, value_name = "FILE", group = "who", conflicts_with = "remove")]
    list: Option<PathBuf>,
    /// Allow it no longer
    #[arg(long, requires = "device")]
    remove: bool,
    #[command(flatten)]
    common: Common,
}

/// What issuing takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Signing {
    #[arg(long, value_name = "KEY", help = KEY_HELP)]
    key: String,
    /// Until when certificates are valid [default: 3y, or until the authority ends]
    #[arg(long, value_name = "WHEN", value_parser = expiry::parse)]
    expires: Option<Until>,
    /// Let the device have another key than before, whose certificate is then revoked
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    secrets: Secrets,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Issue {
    /// Folder of the authority
    dir: PathBuf,
    /// Requests, in PEM or DER
    #[arg(required = true, value_name = "FILE.csr")]
    requests: Vec<PathBuf>,
    /// Issue another certificate to a device that has one for this key
    #[arg(long)]
    renew: bool,
    #[command(flatten)]
    signing: Signing,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Accept {
    /// Folder of the authority
    dir: PathBuf,
    /// The device, or 8 or more digits of its key's digest
    which: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    signing: Signing,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Reject {
    /// Folder of the authority
    dir: PathBuf,
    /// The device, or 8 or more digits of its key's digest
    which: String,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Revoke {
    /// Folder of the authority
    dir: PathBuf,
    /// The device, or the number of one certificate
    which: String,
    /// Why: unspecified, key-compromise, affiliation-changed, superseded,
    /// cessation-of-operation, privilege-withdrawn
    #[arg(long, value_name = "REASON")]
    reason: Reason,
    #[command(flatten)]
    list: NewList,
    #[command(flatten)]
    common: Common,
}

/// What making a list takes.
#[derive(Debug, clap::Args)]
pub(crate) struct NewList {
    #[arg(long, value_name = "KEY", help = KEY_HELP)]
    key: String,
    /// When the next list is due at the latest
    #[arg(long, value_name = "WHEN", default_value = "90d", value_parser = expiry::parse)]
    next: Until,
    #[command(flatten)]
    secrets: Secrets,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Crl {
    /// Folder of the authority
    dir: PathBuf,
    #[command(flatten)]
    list: NewList,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// Folder of the authority
    dir: PathBuf,
    /// Only requests that wait
    #[arg(long)]
    waiting: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    /// A request, a certificate or a list
    file: PathBuf,
    /// The authority's certificate, by which a certificate or list is verified
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

pub(crate) fn run(verb: &Verb) -> Result<Outcome, Failure> {
    match verb {
        Verb::Init(args) => revoke::init(args),
        Verb::Request(args) => ask::request(args),
        Verb::Allow(args) => ask::allow(args),
        Verb::Issue(args) => issue::issue(args),
        Verb::Accept(args) => issue::accept(args),
        Verb::Reject(args) => ask::reject(args),
        Verb::Revoke(args) => revoke::revoke(args),
        Verb::Crl(args) => revoke::renew(args),
        Verb::List(args) => show::list(args),
        Verb::Show(args) => show::show(args),
    }
}
