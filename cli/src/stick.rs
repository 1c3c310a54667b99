//! `neap stick`: sticks that carry releases to sites without a link, and receipts back.

mod approval;
mod approve;
mod collect;
mod export;
mod import;
mod install;
mod led;
mod offered;
mod patience;
mod plugged;
mod proof;
mod show;

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use clap::{Args as Group, Subcommand};
use neap_peer::config::Config;
use neap_trust::client::directory::StateFolder;
use neap_trust::client::{Ask, Checked, Refusal};
use neap_usb_sideload::error::StickError;
use neap_usb_sideload::limits::IDENTITY_LEN_MAX;
use neap_usb_sideload::recorder::{self, Verified};
use neap_usb_sideload::seal::{Identity, Recipient};
use neap_usb_sideload::stick::{self, Stick};
use serde_json::json;

use crate::args::Common;
use crate::ca;
use crate::check;
use crate::exit::Exit;
use crate::failure::{Failure, io_exit};
use crate::net::Configuration;
use crate::outcome::Outcome;

#[derive(Debug, Group)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Write to a stick what the devices of a site need, from what their receipts say
    #[command(after_help = "Examples:\n  \
        neap stick export /srv/depot /media/stick --site 'MV Aurora'\n  \
        neap stick export /srv/depot /media/stick --group bridge --full --dry-run\n\n\
        Exit codes: 7 the stick holds a newer release; 8 the depot's metadata has expired;\n\
        12 too little room. Pulling the stick is safe: run the same command again.")]
    Export(Box<export::Args>),
    /// Take from a stick what is for this device or this ship, verified, and write receipts to it
    #[command(after_help = "Examples:\n  neap stick import /media/stick\n  \
        neap stick import /media/stick --to /srv/depot --group bridge --root root.json\n  \
        neap stick import /media/stick --receipts-only --image /dev/sda2 --version 1.4.0\n\n\
        Exit codes: 6 a signature or role refused; 7 an older stick than this device knows;\n\
        8 expired; 10 not all came: the same command, with this or another stick, goes on.")]
    Import(Box<import::Args>),
    /// Write a release to a device straight from a stick, without room for a copy
    #[command(after_help = "Examples:\n  \
        neap stick install /media/stick --source /dev/sda2 --target /dev/sda3\n  \
        neap stick install /media/stick --product radar --image base.img --source base.img \
        --target new.img\n\n\
        Exit codes: 3 it has the latest; 5 a wrong source; 6, 7, 8 as for import; 9 nobody\n\
        approved. Pulling the stick is safe: run the same command again.")]
    Install(Box<install::Args>),
    /// Take receipts from a stick on shore, verified, and say what changed on each device
    #[command(after_help = "Examples:\n  \
        neap stick collect /media/stick /srv/depot --ca ca.pem --certificate certificates \
        --crl fleet.crl\n  \
        neap stick collect /media/stick /srv/depot --key radar-7.pem --identity shore.key\n\n\
        Exit codes: 6 a receipt is not of its device's key; 13 two receipts of one number.")]
    Collect(Box<collect::Args>),
    /// Say by a signature, on site, that what a stick has may be installed
    #[command(after_help = "Examples:\n  \
        neap stick approve /media/stick --key captain.pem --as 'master, MV Aurora' --yes\n  \
        neap stick approve /media/stick --key chief.pem --as chief --device radar-7\n\n\
        Every image that lies on the stick is shown and approved: which of them fits a device,\n\
        the device decides. --product and --version choose among them.\n\
        Without --yes it shows what would be installed, signs nothing, and ends with exit code 9.")]
    Approve(Box<approve::Args>),
    /// Do what the configuration says when a stick is plugged in, and show it by LED and console
    #[command(after_help = "Example:\n  neap stick plugged /run/neap-stick/sda1\n\n\
        neap-stick@.service runs it. `[stick] when_plugged` says what is done: by default the\n\
        stick is verified and announced, and nothing is taken from it.")]
    Plugged(Box<plugged::Args>),
    /// Show what lies on a stick, and its code
    #[command(after_help = "Example:\n  neap stick show /media/stick")]
    Show(show::Args),
    /// Make a key for a site, or for shore, that opens what is encrypted to it
    #[command(after_help = "Example:\n  neap stick new-key /etc/neap/stick.key\n\n\
        The recipient that it prints is what --encrypt-to takes.")]
    NewKey(NewKey),
}

#[derive(Debug, Group)]
struct NewKey {
    /// The file of the new key; one that is there is not replaced
    file: PathBuf,
    #[command(flatten)]
    common: Common,
}

/// Who this device is, and what it remembers.
#[derive(Debug, Clone, Group)]
struct Here {
    #[command(flatten)]
    configuration: Configuration,
    /// A group of this device or ship; may be given more than once [default: the configured ones]
    #[arg(long)]
    group: Vec<String>,
    /// The root that came with the device [default: the configured one]
    #[arg(long, value_name = "ROOT.json")]
    root: Option<PathBuf>,
    /// What this device remembers [default: the configured folder]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// The key that opens what is encrypted to this site [default: stick.key in the state folder]
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    /// Encrypt receipts on the stick to shore, as `neap stick new-key` names it
    #[arg(long, value_name = "RECIPIENT")]
    encrypt_to: Option<Recipient>,
}

impl Args {
    pub(crate) fn common(&self) -> &Common {
        match &self.verb {
            Verb::Export(args) => &args.common,
            Verb::Import(args) => &args.common,
            Verb::Install(args) => &args.common,
            Verb::Collect(args) => &args.common,
            Verb::Approve(args) => &args.common,
            Verb::Plugged(args) => &args.common,
            Verb::Show(args) => &args.common,
            Verb::NewKey(args) => &args.common,
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<Outcome, Failure> {
    match &args.verb {
        Verb::Export(args) => unless_pulled((&args.stick, args.common), true, || export::run(args)),
        Verb::Import(args) => {
            unless_pulled((&args.stick, args.common), false, || import::run(args))
        }
        Verb::Install(args) => {
            unless_pulled((&args.stick, args.common), true, || install::run(args))
        }
        Verb::Collect(args) => {
            unless_pulled((&args.stick, args.common), false, || collect::run(args))
        }
        Verb::Approve(args) => {
            unless_pulled((&args.stick, args.common), true, || approve::run(args))
        }
        Verb::Plugged(args) => plugged::run(args),
        Verb::Show(args) => unless_pulled((&args.stick, args.common), false, || show::run(args)),
        Verb::NewKey(args) => new_key(args),
    }
}

/// What came of something that was done with a stick. One that was pulled may look empty, so what
/// was not found on it says nothing; where what is `done` cannot be less than all, that counts.
fn unless_pulled(
    (place, common): (&Path, Common),
    done_counts: bool,
    act: impl FnOnce() -> Result<Outcome, Failure>,
) -> Result<Outcome, Failure> {
    let (done, is_gone) = patience::with(common.quiet, || {
        let was_there = stick::is_there(place);
        let done = act();
        let is_gone = was_there && !stick::is_there(place);
        (done, is_gone)
    });
    match done {
        Ok(_) if done_counts => return done,
        Err(Failure { exit: Exit::Interrupted, .. }) => return done,
        _ if !is_gone => return done,
        _ => {}
    }
    let shown = place.display();
    let next = "put the stick back, and run the same command again";
    Err(match done {
        Ok(_) => Failure {
            state: "what was read before is kept".into(),
            ..Failure::new(Exit::Interrupted, format!("{shown}: it was pulled"), next)
        },
        Err(failure) => Failure {
            exit: Exit::Interrupted,
            error: format!("{shown}: it was pulled: {}", failure.error),
            next: next.into(),
            ..failure
        },
    })
}

fn new_key(args: &NewKey) -> Result<Outcome, Failure> {
    let shown = args.file.display();
    if args.file.exists() {
        let error = format!("{shown}: it is there already");
        return Err(Failure::new(Exit::Error, error, "name another file"));
    }
    let key = Identity::generate();
    ca::whole(&args.file, key.file().as_bytes(), 0o600).map_err(|error| {
        Failure::new(io_exit(&error), format!("{shown}: {error}"), format!("check {shown}"))
    })?;
    let recipient = key.recipient().to_string();
    let text = format!("key        {shown}\nrecipient  {recipient}\n");
    let json = json!({
        "schema": "neap.stick-key.v1", "file": shown.to_string(), "recipient": recipient,
    });
    Ok(Outcome { text, json })
}

impl Here {
    /// The configuration, with what the command line says otherwise.
    fn load(&self) -> Result<Config, Failure> {
        let mut config = self.configuration.load()?;
        if !self.group.is_empty() {
            config.groups.clone_from(&self.group);
        }
        if let Some(root) = &self.root {
            config.root = Some(root.clone());
        }
        if let Some(state) = &self.state {
            config.state.clone_from(state);
        }
        Ok(config)
    }

    /// Opens a stick with the key of this site, if there is one.
    fn open(&self, place: &Path, config: &Config) -> Result<Stick, Failure> {
        let kept = config.state.join("stick.key");
        let key = match &self.identity {
            Some(path) => Some(identity(path)?),
            None if kept.exists() => Some(identity(&kept)?),
            None => None,
        };
        Stick::open(place, key).map_err(|error| of_stick(&error, place))
    }
}

/// A key that opens what is encrypted.
fn identity(path: &Path) -> Result<Identity, Failure> {
    let mut text = String::new();
    let read = fs::File::open(path)
        .and_then(|file| file.take(IDENTITY_LEN_MAX + 1).read_to_string(&mut text));
    read.map_err(|error| Failure::open("key", path, &error))?;
    Identity::of_file(&text).map_err(|why| {
        let error = format!("{}: {why}", path.display());
        Failure::new(Exit::Usage, error, "neap stick new-key makes one")
    })
}

/// What a stick has for the groups of this device, verified before anything else is looked at.
fn verified(stick: &Stick, config: &Config, place: &Path) -> Result<Verified, Failure> {
    let shown = place.display();
    if config.groups.is_empty() {
        let error = "neither the command line nor the configuration names a group";
        return Err(Failure::new(Exit::Usage, error.into(), "give --group"));
    }
    let there = stick.groups().map_err(|error| of_io(&error, &format!("{shown}: metadata")))?;
    let groups: Vec<&str> =
        config.groups.iter().map(String::as_str).filter(|g| there.iter().any(|t| t == g)).collect();
    if groups.is_empty() {
        let ours = config.groups.join(", ");
        let theirs = if there.is_empty() { "nobody".into() } else { there.join(", ") };
        let error = format!("{shown}: it is for {theirs}, and this device is of {ours}");
        return Err(Failure::new(
            Exit::Error,
            error,
            "bring the stick that was made for this site",
        ));
    }
    let root = config.root.as_ref().map(|path| check::read_root(path)).transpose()?;
    let mut state = StateFolder::new(config.state.join("trust"));
    let ask = Ask { groups: &groups, root: root.as_deref(), clock: check::clock(), seen: None };
    recorder::verified(stick.depot(), &mut state, &ask).map_err(|refusal| {
        let failure = check::of_refusal(&refusal, &shown.to_string(), Some(&config.state));
        match &refusal {
            Refusal::Unreadable { error, .. } => Failure { exit: system_exit(error), ..failure },
            _ => failure,
        }
    })
}

/// A line that says how old what was verified may be, if that is not plain.
fn staleness(checked: &Checked) -> String {
    let days = checked.staleness.stale_s().div_ceil(86_400);
    let mut text = match checked.staleness.is_stale() {
        true => format!(
            "stale    {days} days; this site may be stale for {}\n",
            checked.staleness.allowed_days
        ),
        false => String::new(),
    };
    for note in &checked.notes {
        text += &format!("note     {note}\n");
    }
    text
}

/// What stops a stick, in the words of the command.
fn of_stick(error: &StickError, place: &Path) -> Failure {
    let shown = place.display();
    let text = match error {
        StickError::NoStick { .. } | StickError::NotAFolder { .. } | StickError::Twins { .. } => {
            error.to_string()
        }
        _ => format!("{shown}: {error}"),
    };
    if let Some(error) = error.io() {
        return of_system(error, text);
    }
    let (exit, next) = match error {
        StickError::NoStick { .. } => {
            (Exit::Error, "check that the stick is mounted there; neap stick export writes one")
        }
        StickError::NoRoom { .. } => (
            Exit::NoSpace,
            "use a larger stick, or empty this one once its receipts were collected",
        ),
        StickError::Newer { .. } => {
            (Exit::Rollback, "bring the depot up to date, or use another stick")
        }
        StickError::Blob { .. } | StickError::BlobLength { .. } => {
            (Exit::VerificationFailed, "write the stick again, or use another one")
        }
        StickError::ReadBack { .. } => (Exit::VerificationFailed, "use another stick"),
        StickError::Lock(_) => (Exit::Error, "wait until it ends, then run this again"),
        _ => (Exit::Error, "write the stick again; the same command goes on from there"),
    };
    Failure::new(exit, text, next)
}

fn of_io(error: &io::Error, what: &str) -> Failure {
    of_system(error, format!("{what}: {error}"))
}

/// What the system says of a stick, or of the depot on the other side.
fn of_system(error: &io::Error, text: String) -> Failure {
    let exit = system_exit(error);
    let next = match exit {
        Exit::NoSpace => "make room, then run the same command again",
        _ if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
            "if it was not mounted so, a pull or another system left a fault on it: unmount it, \
             fsck -a, mount it, and run the same command again"
        }
        Exit::Interrupted => {
            "put the stick back, or use another one, and run the same command again"
        }
        _ if error.kind() == io::ErrorKind::PermissionDenied => {
            "if it is encrypted, give the key of this site with --identity; else check who may read"
        }
        _ => "write the stick again, or use another one",
    };
    Failure::new(exit, text, next)
}

/// A stick that is gone or fails can be put back; one that holds what it must not cannot.
fn system_exit(error: &io::Error) -> Exit {
    use io::ErrorKind as Kind;
    // ELOOP: a link, where none is followed.
    let is_link = error.raw_os_error() == Some(40);
    match error.kind() {
        Kind::FileTooLarge | Kind::InvalidData | Kind::InvalidInput => Exit::Error,
        _ if is_link => Exit::Error,
        _ => match io_exit(error) {
            Exit::DeviceIo => Exit::Interrupted,
            exit => exit,
        },
    }
}
