//! `neap stick collect`: receipts from a stick, verified, added to a depot on shore.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args as Group;
use neap_depot::depot::Depot;
use neap_depot::name::Device;
use neap_depot::writer::Writer;
use neap_trust::receipt::chain::{self, ChainFault};
use neap_trust::receipt::{Receipt, Verified, export};
use neap_trust::repo::changes::plain;
use neap_usb_sideload::back::{self, Found};
use neap_usb_sideload::limits::{BROUGHT_LEN_MAX, RECEIPTS_MAX};
use neap_usb_sideload::stick::{Stick, folder};
use serde_json::{Value, json};

use super::{identity, of_io, of_stick};
use crate::args::Common;
use crate::depot;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::outcome::Outcome;
use crate::receipt::keys::{By, Keys};

#[derive(Debug, Group)]
pub(super) struct Args {
    /// The stick: where it is mounted, or a copy of its folder
    pub(super) stick: PathBuf,
    /// The depot that receipts are added to: a folder, or s3://BUCKET/PREFIX
    depot: String,
    /// The key that opens receipts which are encrypted to shore
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    #[command(flatten)]
    by: By,
    #[command(flatten)]
    pub(super) common: Common,
}

/// What came of one device.
struct Row {
    device: Device,
    /// Receipts that are new in the depot.
    new: Vec<Verified>,
    /// Its last receipt before.
    before: Option<Receipt>,
    /// What is wrong with its chain.
    faults: Vec<ChainFault>,
}

pub(super) fn run(args: &Args) -> Result<Outcome, Failure> {
    let keys = args.by.open()?;
    let key = args.identity.as_deref().map(identity).transpose()?;
    let failed = |error| of_stick(&error, &args.stick);
    let stick = Stick::open(&args.stick, None).map_err(failed)?;
    let brought = back::brought(&stick, key.as_ref()).map_err(failed)?;
    let depot = depot::open(&args.depot)?;
    let writer = depot.writer("neap stick collect").map_err(|error| {
        Failure::new(Exit::Error, format!("{}: {error}", args.depot), "wait until it ends")
    })?;
    let mut refused = Refused::default();
    refused.add(brought.refused.iter().map(|why| plain(why)));
    let (mut rows, mut more) = (Vec::new(), Vec::new());
    for (device, sealed) in brought.devices {
        let of_device = match back::of_device(&device, sealed, &stick, key.as_ref()) {
            Ok(of_device) => of_device,
            // It keeps no other device from being read.
            Err(error) => {
                refused.add([plain(&error.to_string())]);
                continue;
            }
        };
        refused.add(of_device.refused.iter().map(|why| plain(why)));
        if !of_device.is_all {
            more.push(format!("{}: only the first of its receipts were read", device.as_str()));
        }
        if of_device.receipts.is_empty() {
            continue;
        }
        let merge = Merge { args, keys: &keys, depot: &depot, writer: &writer, device };
        let merged = merge.run(of_device.receipts, &mut refused);
        rows.push(merged.map_err(|failure| Failure { state: added(args, &rows), ..failure })?);
    }
    let closed = brought.closed;
    let (text, json) = (text(args, &rows, closed), as_json(&rows, &refused.lines, closed));
    match incomplete(args, &rows, refused, more) {
        Some(failure) => Err(failure),
        None => Ok(Outcome { text, json }),
    }
}

/// What is refused: so many lines, since whoever had the stick can cause any number.
#[derive(Default)]
struct Refused {
    lines: Vec<String>,
    count: usize,
}

impl Refused {
    fn add(&mut self, lines: impl IntoIterator<Item = String>) {
        for line in lines {
            self.count += 1;
            if self.lines.len() < REFUSED_LINES_MAX {
                self.lines.push(line);
            }
        }
    }
}

/// Lines about receipts that are refused, at most.
const REFUSED_LINES_MAX: usize = 1000;

/// Why not all was taken, if it was not: the worst of it, and all else beside it.
fn incomplete(args: &Args, rows: &[Row], refused: Refused, more: Vec<String>) -> Option<Failure> {
    let shown = args.stick.display();
    let faults: Vec<String> = rows.iter().flat_map(broken).collect();
    let (exit, error, next) = if refused.count > 0 {
        let error = format!("{shown}: {} receipts are refused", refused.count);
        (Exit::Refused, error, "check the keys; whoever had the stick may have changed them")
    } else if !faults.is_empty() {
        let error = format!("{shown}: {} chains are broken", faults.len());
        (Exit::VerificationFailed, error, "find out who else has the key of this device")
    } else if !more.is_empty() {
        let error = format!(
            "{shown}: {} devices have more receipts on it than one visit reads of a device, \
             {RECEIPTS_MAX} or {} MiB",
            more.len(),
            BROUGHT_LEN_MAX >> 20
        );
        (Exit::Error, error, "look into their folders: no device signs that many")
    } else {
        return None;
    };
    Some(Failure {
        state: added(args, rows),
        found: refused.lines.into_iter().chain(faults).chain(more).collect(),
        ..Failure::new(exit, error, next)
    })
}

/// One device's receipts, on their way into the depot.
struct Merge<'a> {
    args: &'a Args,
    keys: &'a Keys,
    depot: &'a Depot,
    writer: &'a Writer<'a>,
    device: Device,
}

impl Merge<'_> {
    fn run(self, found: Vec<Found>, refused: &mut Refused) -> Result<Row, Failure> {
        let known = self.known()?;
        let before = known.last().map(|known| known.receipt.clone());
        let mut new = Vec::new();
        for Found { sequence, bytes, .. } in found {
            let file = format!("receipts/{}/{sequence}.cose", self.device.as_str());
            let path = folder(&self.args.stick).join(&file);
            let verified = match self.keys.verify(&path, &bytes) {
                Ok((verified, _)) => verified,
                Err(failure) => {
                    refused.add([failure.error]);
                    continue;
                }
            };
            let receipt = &verified.receipt;
            if receipt.device != self.device.as_str() || receipt.sequence != sequence {
                let (device, number) = (plain(&receipt.device), receipt.sequence);
                let why = format!("{file}: it is receipt {number} of {device}");
                refused.add([why]);
                continue;
            }
            if known.iter().any(|known| known.digest == verified.digest) {
                continue;
            }
            if known.iter().chain(&new).any(|known| known.receipt.sequence == sequence) {
                // Two of one number: the chain says so below, and the first one stays.
                new.push(verified);
                continue;
            }
            let kept = self.writer.keep_receipt(&self.device, sequence, &bytes);
            kept.map_err(|error| of_io(&error, &self.args.depot))?;
            new.push(verified);
        }
        let mut all: Vec<_> = known.iter().chain(&new).cloned().collect();
        let faults = chain::order(self.device.as_str(), None, &mut all);
        let is_known = |sequence| known.iter().any(|known| known.receipt.sequence == sequence);
        let mut seen = BTreeSet::new();
        new.retain(|verified| {
            let sequence = verified.receipt.sequence;
            !is_known(sequence) && seen.insert(sequence)
        });
        Ok(Row { device: self.device, new, before, faults })
    }

    /// What the depot has of it. It was verified when it was added.
    fn known(&self) -> Result<Vec<Verified>, Failure> {
        let failed = |error: std::io::Error| of_io(&error, &self.args.depot);
        let mut known = Vec::new();
        for number in back::all_numbers(self.depot, &self.device).map_err(failed)? {
            let bytes = self.depot.receipt(&self.device, number).map_err(failed)?;
            let Some(bytes) = bytes else { continue };
            if let Ok(receipt) = Receipt::claimed(&bytes) {
                known.push(Verified { receipt, digest: blake3::hash(&bytes).into() });
            }
        }
        Ok(known)
    }
}

/// What is in the depot now, of devices that were done with.
fn added(args: &Args, rows: &[Row]) -> String {
    let count: usize = rows.iter().map(|row| row.new.len()).sum();
    format!("{count} receipts were added to {}; none was replaced", args.depot)
}

/// Faults that more receipts cannot mend.
fn broken(row: &Row) -> Vec<String> {
    let lasting = row.faults.iter().filter(|fault| !matches!(fault, ChainFault::Missing { .. }));
    lasting.map(|fault| format!("{}: {fault}", row.device.as_str())).collect()
}

fn text(args: &Args, rows: &[Row], closed: u64) -> String {
    let mut text = String::new();
    for row in rows {
        let device = row.device.as_str();
        let last = row.new.last().map(|new| &new.receipt);
        let change = match (&row.before, last) {
            (_, None) => "nothing new".to_owned(),
            (before, Some(last)) => {
                let was = before.as_ref().map_or("nothing was known".to_owned(), |before| {
                    format!("was {} {}", before.product, before.version)
                });
                format!(
                    "{} new receipts; {} {} {} since {}, {was}",
                    row.new.len(),
                    export::outcome(last.outcome),
                    last.product,
                    last.version,
                    last.at
                )
            }
        };
        text += &format!("{device}: {change}\n");
        for fault in &row.faults {
            text += &format!("{device}: {fault}\n");
        }
    }
    if closed > 0 {
        text += &format!("note     {closed} receipts are encrypted to another key: --identity\n");
    }
    let count: usize = rows.iter().map(|row| row.new.len()).sum();
    text + &format!("{}: {count} receipts added\n", args.depot)
}

fn as_json(rows: &[Row], refused: &[String], closed: u64) -> Value {
    let devices = rows.iter().map(|row| {
        json!({
            "device": row.device.as_str(),
            "before": row.before.as_ref().map(|r| json!({
                "sequence": r.sequence, "product": r.product, "version": r.version,
            })),
            "new": row.new.iter().map(export::json).collect::<Vec<_>>(),
            "faults": row.faults.iter().map(ToString::to_string).collect::<Vec<_>>(),
        })
    });
    json!({
        "schema": "neap.stick-collect.v1",
        "devices": devices.collect::<Vec<_>>(),
        "refused": refused,
        "closed": closed,
    })
}
