//! `neap stick import`: takes what a stick has for this device or ship, and gives it receipts.

use std::collections::BTreeSet;
use std::io::{self, Cursor};
use std::path::{Path, PathBuf};

use clap::Args as Group;
use neap_depot::blob::BlobError;
use neap_depot::depot::Depot;
use neap_depot::name::Name;
use neap_depot::writer::{Present, Writer};
use neap_engine::digest::Digest;
use neap_trust::client::Offer;
use neap_trust::target::Kind;
use neap_usb_sideload::back::{self, Given};
use neap_usb_sideload::error::{Closed, StickError};
use neap_usb_sideload::import::{self, Taken};
use neap_usb_sideload::stick::{self, Stick};
use serde_json::{Value, json};

use super::proof::Inventory;
use super::{Here, of_io, of_stick, staleness, verified};
use crate::args::Common;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::outcome::Outcome;
use crate::size::exact;

#[derive(Debug, Group)]
pub(super) struct Args {
    /// The stick: where it is mounted, or a copy of its folder
    pub(super) stick: PathBuf,
    /// The depot of this device or ship, made if it is missing [default: the configured one]
    #[arg(long, value_name = "DEPOT")]
    to: Option<PathBuf>,
    /// Take one product only; may be given more than once
    #[arg(long)]
    product: Vec<String>,
    /// Write receipts to the stick, and take nothing from it
    #[arg(long)]
    receipts_only: bool,
    #[command(flatten)]
    inventory: Inventory,
    #[command(flatten)]
    here: Here,
    #[command(flatten)]
    pub(super) common: Common,
}

impl Args {
    /// All that a stick has for this device, into its own depot.
    pub(super) fn plugged(stick: PathBuf, here: Here, common: Common) -> Self {
        let (to, product, inventory) = (None, Vec::new(), Inventory::default());
        Self { stick, to, product, receipts_only: false, inventory, here, common }
    }
}

/// What came of one file.
struct Row {
    path: String,
    digest: Digest,
    len: u64,
    taken: Taken,
    /// Why nothing of it could be taken from this stick.
    wrong: Option<String>,
}

/// What came of all files.
#[derive(Default)]
struct Came<'a> {
    rows: Vec<Row>,
    /// What is encrypted to another key, and not here already.
    closed: Vec<&'a Offer>,
    /// Products of which there is an image that could be read.
    opened: BTreeSet<&'a str>,
}

pub(super) fn run(args: &Args) -> Result<Outcome, Failure> {
    let config = args.here.load()?;
    let place = args.to.clone().unwrap_or_else(|| config.depot.clone());
    let stick = args.here.open(&args.stick, &config)?;
    let depot = Depot::make(&place.to_string_lossy())
        .map_err(|error| Failure::open("depot", &place, &error))?;
    args.inventory.keep(&config, args.product.first(), &place)?;
    let given = give(&depot, &stick, &args.here);
    if args.receipts_only {
        let (text, json) = (told(&stick, &given), as_json(&stick, None, &Came::default(), &given));
        return match &given {
            Ok(_) => Ok(Outcome { text, json }),
            Err(error) => Err(of_stick(error, &args.stick)),
        };
    }
    let code = stick.code().map_err(|error| of_stick(&error, &args.stick))?;
    let code = code.map(|code| code.to_string());
    let verified = verified(&stick, &config, &args.stick)?;
    let offers: Vec<&Offer> =
        verified.checked.groups.iter().flat_map(|group| &group.offers).collect();
    let writer = depot.writer("neap stick import").map_err(|error| {
        Failure::new(Exit::Error, format!("{}: {error}", place.display()), "wait until it ends")
    })?;
    writer.begin_mirror().map_err(|error| of_io(&error, &place.display().to_string()))?;
    for document in &verified.documents {
        let added = writer.add(&mut Cursor::new(document), Present::Verify);
        added.map_err(|error| {
            let error = format!("{}: {error}", place.display());
            Failure::new(Exit::Error, error, "check the depot")
        })?;
    }
    let visit = Visit { args, stick: &stick, depot: &depot, writer: &writer, place: &place };
    let came = visit.blobs(&offers)?;
    writer.mirror(&verified.files).map_err(|error| of_stick(&error.into(), &place))?;
    let mut text = String::new();
    for row in &came.rows {
        let what = match (row.taken.is_whole, row.taken.came) {
            (true, 0) => "there already".to_owned(),
            (true, _) => "verified".to_owned(),
            (false, _) => format!("not whole: {}", row.lacks()),
        };
        text += &format!("{}  {} bytes, {what}\n", row.path, exact(row.len));
    }
    for offer in &came.closed {
        text += &format!("note     {}: passed over, encrypted to another key\n", offer.path);
    }
    text += &staleness(&verified.checked);
    text += &told(&stick, &given);
    text += &format!("code     {}\n", code.as_deref().unwrap_or("none"));
    let json = as_json(&stick, code.as_deref(), &came, &given);
    match incomplete(args, &came.rows, &place).or_else(|| closed(args, &came, &place)) {
        Some(failure) => Err(failure),
        None => Ok(Outcome { text, json }),
    }
}

/// What to do about files that are not whole yet; nothing if all are.
fn incomplete(args: &Args, rows: &[Row], place: &Path) -> Option<Failure> {
    let lacking: Vec<_> = rows.iter().filter(|row| !row.taken.is_whole).collect();
    let first = lacking.first()?;
    let lines = lacking.iter().map(|row| format!("{}: {}", row.path, row.lacks()));
    let is_wrong = lacking.iter().any(|row| row.wrong.is_some());
    let (exit, next) = match is_wrong {
        true => (Exit::VerificationFailed, "bring another stick: what this one has is wrong"),
        false => (
            Exit::Interrupted,
            "put the stick back, or use another one, and run the same command again",
        ),
    };
    let error = match lacking.len() {
        1 => format!("{}: {} is not whole yet", args.stick.display(), first.path),
        count => format!("{}: {count} files are not whole yet", args.stick.display()),
    };
    Some(Failure {
        state: format!("what came and was verified is kept in {}", place.display()),
        found: lines.collect(),
        ..Failure::new(exit, error, next)
    })
}

/// That nothing of a product could be read, where something of it is encrypted to another key. One
/// stick may carry what is for several sites: what is for others is no fault.
fn closed(args: &Args, came: &Came<'_>, place: &Path) -> Option<Failure> {
    let is_needed = |offer: &&&Offer| !came.opened.contains(&*offer.custom.product);
    let needed: Vec<_> = came.closed.iter().filter(is_needed).collect();
    let first = needed.first()?;
    let error = format!(
        "{}: all it has of {} is encrypted, and not to a key that was given",
        args.stick.display(),
        first.custom.product
    );
    Some(Failure {
        state: format!("metadata, and what came and was verified, is kept in {}", place.display()),
        found: needed.iter().map(|offer| offer.path.clone()).collect(),
        ..Failure::new(Exit::Error, error, "give the key of this site with --identity")
    })
}

/// Receipts go first: whoever pulls the stick early has them. A stick that cannot be written is no
/// reason to take nothing from it.
fn give(depot: &Depot, stick: &Stick, here: &Here) -> Result<Given, StickError> {
    back::give(depot, stick, here.encrypt_to.as_ref())
}

/// One visit of a stick to a depot.
struct Visit<'a> {
    args: &'a Args,
    stick: &'a Stick,
    depot: &'a Depot,
    writer: &'a Writer<'a>,
    place: &'a Path,
}

impl Visit<'_> {
    /// Takes every file that is offered and lies on the stick. One that is wrong there is no reason
    /// to leave the others.
    fn blobs<'o>(&self, offers: &[&'o Offer]) -> Result<Came<'o>, Failure> {
        let mut seen = BTreeSet::new();
        let mut came = Came::default();
        let products = &self.args.product;
        for offer in offers {
            let is_wanted = products.is_empty() || products.contains(&offer.custom.product);
            let Some(digest) = Digest::from_hex(&offer.custom.blake3).filter(|_| is_wanted) else {
                continue;
            };
            if !seen.insert(digest.0) {
                continue;
            }
            let (path, len) = (offer.path.clone(), offer.len);
            let (taken, wrong) = match self.take(offer, &digest) {
                Ok(None) => continue,
                Ok(Some(taken)) => (taken, None),
                Err(error) if error.io().is_some_and(Closed::is_in) => {
                    came.closed.push(offer);
                    continue;
                }
                Err(error) if error.io().is_some() => return Err(self.failed(&error)),
                Err(error) => (Taken::default(), Some(error.to_string())),
            };
            let is_gone = taken.gone.is_some();
            came.rows.push(Row { path, digest, len, taken, wrong });
            if matches!(offer.custom.kind, Kind::Full | Kind::Delta) {
                came.opened.insert(&offer.custom.product);
            }
            if is_gone {
                break;
            }
        }
        Ok(came)
    }

    /// Takes one file, if it lies on the stick.
    fn take(&self, offer: &Offer, digest: &Digest) -> Result<Option<Taken>, StickError> {
        let (digest, len) = (*digest, offer.len);
        let there = self.depot.blob(&digest);
        let is_there = there.is_ok_and(|there| there.is_some_and(|there| there.len() == len));
        let whole = || Taken { before: len, is_whole: true, ..Taken::default() };
        let blob = match self.stick.depot().blob(&digest) {
            Ok(Some(blob)) => blob,
            Ok(None) => return Ok(None),
            Err(BlobError::Io(error)) if is_there && Closed::is_in(&error) => {
                return Ok(Some(whole()));
            }
            Err(error) => return Err(StickError::Blob { digest, error }),
        };
        if blob.len() != len {
            return Err(StickError::BlobLength { digest, found: blob.len(), expected: len });
        }
        if is_there {
            return Ok(Some(whole()));
        }
        let begun = self.depot.store().open(&Name::tree(&digest).partial());
        if matches!(begun, Ok(None)) {
            check_room(self.place, len)?;
        }
        if !self.args.common.quiet {
            eprintln!("{}: {} bytes", offer.path, exact(len));
        }
        import::take(&blob, self.writer, &mut |_| {}).map(Some)
    }

    fn failed(&self, error: &StickError) -> Failure {
        Failure {
            state: format!("what came and was verified is kept in {}", self.place.display()),
            ..of_stick(error, &self.args.stick)
        }
    }
}

/// Refuses what would not fit, before it begins.
fn check_room(place: &Path, len: u64) -> Result<(), StickError> {
    let what = || place.display().to_string();
    let room = stick::room(place).map_err(|error| StickError::Io { what: what(), error })?;
    if room.free >= len {
        return Ok(());
    }
    let text = format!("{len} bytes are needed, {} are free", room.free);
    let error = io::Error::new(io::ErrorKind::StorageFull, text);
    Err(StickError::Io { what: what(), error })
}

impl Row {
    /// What is missing of it, and why.
    fn lacks(&self) -> String {
        if let Some(wrong) = &self.wrong {
            return wrong.clone();
        }
        let taken = &self.taken;
        let mut text = format!("{} bytes came", exact(taken.before + taken.came));
        if taken.altered > 0 {
            text += &format!(", {} are wrong on this stick", exact(taken.altered));
        }
        if taken.unreadable > 0 {
            text += &format!(", {} cannot be read from it", exact(taken.unreadable));
        }
        if let Some(error) = &taken.gone {
            text += &format!(", then it was gone: {error}");
        }
        text
    }
}

fn told(stick: &Stick, given: &Result<Given, StickError>) -> String {
    let mut text = format!("stick    {}, number {}\n", stick.title(), stick.id());
    match given {
        Ok(given) => {
            let Given { devices, written, refused } = given;
            text += &format!("receipts {written} written to it, of {devices} devices\n");
            for why in refused {
                text += &format!("note     {why}\n");
            }
        }
        Err(error) => text += &format!("note     receipts were not written to it: {error}\n"),
    }
    text
}

fn as_json(
    stick: &Stick,
    code: Option<&str>,
    came: &Came<'_>,
    given: &Result<Given, StickError>,
) -> Value {
    let files = came.rows.iter().map(|row| {
        json!({
            "path": row.path,
            "blake3": row.digest.to_string(),
            "len": row.len,
            "before": row.taken.before,
            "came": row.taken.came,
            "altered": row.taken.altered,
            "unreadable": row.taken.unreadable,
            "whole": row.taken.is_whole,
            "wrong": row.wrong,
        })
    });
    json!({
        "schema": "neap.stick-import.v1",
        "id": stick.id(),
        "code": code,
        "files": files.collect::<Vec<_>>(),
        "closed": came.closed.iter().map(|offer| &offer.path).collect::<Vec<_>>(),
        "receipts_written": given.as_ref().ok().map(|given| given.written),
        "receipts_error": given.as_ref().err().map(ToString::to_string),
    })
}
