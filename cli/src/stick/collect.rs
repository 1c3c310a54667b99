//! `neap stick collect`: receipts from a stick, verified, added to a depot on shore.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use clap::Args as Group;
use neap_depot::depot::Depot;
use neap_depot::name::Device;
use neap_depot::writer::Writer;
use neap_trust::receipt::chain::{self, ChainFault};
use neap_trust::receipt::{Receipt, Verified, export};
use neap_trust::repo::changes::plain;
use neap_usb_sideload::back::{self, Found};
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
    let mut refused: Vec<String> = brought.refused.iter().map(|why| plain(why)).collect();
    let mut devices: BTreeMap<Device, Vec<Found>> = BTreeMap::new();
    for found in brought.receipts {
        devices.entry(found.device.clone()).or_default().push(found);
    }
    let mut rows = Vec::new();
    for (device, found) in devices {
        let merge = Merge { args, keys: &keys, depot: &depot, writer: &writer, device };
        rows.push(merge.run(found, &mut refused)?);
    }
    let closed = brought.closed;
    let (text, json) = (text(args, &rows, closed), as_json(&rows, &refused, closed));
    let faults: Vec<String> = rows.iter().flat_map(broken).collect();
    let count: usize = rows.iter().map(|row| row.new.len()).sum();
    let state = format!("{count} receipts were added to {}; none was replaced", args.depot);
    if !refused.is_empty() {
        let error = format!("{}: {} receipts are refused", args.stick.display(), refused.len());
        let next = "check the keys; whoever had the stick may have changed them";
        let found = refused.into_iter().chain(faults).collect();
        return Err(Failure { state, found, ..Failure::new(Exit::Refused, error, next) });
    }
    if !faults.is_empty() {
        let error = format!("{}: {} chains are broken", args.stick.display(), faults.len());
        let next = "find out who else has the key of this device";
        let found = faults.into_iter().collect();
        return Err(Failure {
            state,
            found,
            ..Failure::new(Exit::VerificationFailed, error, next)
        });
    }
    Ok(Outcome { text, json })
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
    fn run(self, found: Vec<Found>, refused: &mut Vec<String>) -> Result<Row, Failure> {
        let known = self.known()?;
        let before = known.last().map(|known| known.receipt.clone());
        let mut new = Vec::new();
        for Found { sequence, bytes, .. } in found {
            let file = format!("receipts/{}/{sequence}.cose", self.device.as_str());
            let path = folder(&self.args.stick).join(&file);
            let verified = match self.keys.verify(&path, &bytes) {
                Ok((verified, _)) => verified,
                Err(failure) => {
                    refused.push(failure.error);
                    continue;
                }
            };
            let receipt = &verified.receipt;
            if receipt.device != self.device.as_str() || receipt.sequence != sequence {
                let (device, number) = (plain(&receipt.device), receipt.sequence);
                refused.push(format!("{file}: it is receipt {number} of {device}"));
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
        let all = self.depot.receipts().map_err(failed)?;
        let numbers = all.into_iter().find(|(device, _)| *device == self.device);
        let mut known = Vec::new();
        for number in numbers.map(|(_, numbers)| numbers).unwrap_or_default() {
            let bytes = self.depot.receipt(&self.device, number).map_err(failed)?;
            let Some(bytes) = bytes else { continue };
            if let Ok(receipt) = Receipt::claimed(&bytes) {
                known.push(Verified { receipt, digest: blake3::hash(&bytes).into() });
            }
        }
        Ok(known)
    }
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
