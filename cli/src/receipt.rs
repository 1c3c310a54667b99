//! `neap receipt`: what devices signed, verified, shown, and handed to other programs.

pub(crate) mod create;
pub(crate) mod keys;

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::{Args as Group, Subcommand, ValueEnum};
use neap_trust::limits::RECEIPT_LEN_MAX;
use neap_trust::receipt::chain::{self, ChainFault};
use neap_trust::receipt::{Verified, export};
use neap_trust::time::Timestamp;
use serde_json::{Value, json};

use crate::args::Common;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::outcome::Outcome;

/// Most receipts that are taken at once.
const RECEIPTS_MAX: usize = 100_000;

#[derive(Debug, Group)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Verify the receipts of a device, and that none is missing
    #[command(after_help = "Examples:\n  \
        neap receipt verify /srv/depot/receipts/radar-7 --key radar-7.pem\n  \
        neap receipt verify /srv/depot/receipts/radar-7 --ca ca.pem --certificate certificates \
        --crl fleet.crl\n\n\
        Exit code 6: a receipt is not of this device's key. 13: the chain has a gap or a fork.")]
    Verify(Select),
    /// Show receipts, latest last
    #[command(after_help = "Example:\n  \
        neap receipt show /srv/depot/receipts/radar-7/12.cose --key radar-7.pem")]
    Show(Select),
    /// Write verified receipts for other programs: JSON, CSV, or service reports
    #[command(after_help = "Example:\n  \
        neap receipt export /srv/depot/receipts/radar-7 --key radar-7.pem --format csv")]
    Export(Export),
    /// Make a device's next receipt, on the device, where no agent does
    #[command(after_help = "Example:\n  \
        neap receipt create receipts/radar-7 --device radar-7 --key device.pem \\\n    \
        --outcome committed --product radar --version 1.5.0")]
    Create(Box<create::Create>),
}

impl Verb {
    pub(crate) fn common(&self) -> &Common {
        match self {
            Self::Verify(args) | Self::Show(args) => &args.common,
            Self::Export(args) => &args.select.common,
            Self::Create(args) => &args.common,
        }
    }
}

#[derive(Debug, Group)]
pub(crate) struct Select {
    /// Receipts, or folders with receipts of one device
    #[arg(required = true)]
    pub(crate) receipts: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) by: keys::By,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Group)]
pub(crate) struct Export {
    #[command(flatten)]
    pub(crate) select: Select,
    /// What to write
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// An array of objects
    #[default]
    Json,
    /// A table with a head line (RFC 4180)
    Csv,
    /// A service report for each receipt, for a ship's software log
    Report,
}

pub(crate) fn run(verb: &Verb) -> Result<Outcome, Failure> {
    match verb {
        Verb::Verify(args) => verify(args),
        Verb::Show(args) => {
            let (receipts, _) = read(args)?;
            let printed = now();
            let reports: Vec<_> =
                receipts.iter().map(|receipt| export::service_report(receipt, printed)).collect();
            Ok(Outcome { text: reports.join("\n"), json: list(&receipts) })
        }
        Verb::Export(args) => {
            let (receipts, _) = read(&args.select)?;
            let printed = now();
            let text = match args.format {
                Format::Json => format!("{:#}\n", list(&receipts)),
                Format::Csv => export::csv(&receipts),
                Format::Report => receipts
                    .iter()
                    .map(|receipt| export::service_report(receipt, printed))
                    .collect::<Vec<_>>()
                    .join("\n"),
            };
            Ok(Outcome { text, json: list(&receipts) })
        }
        Verb::Create(args) => create::create(args),
    }
}

fn now() -> Timestamp {
    Timestamp::try_from(SystemTime::now()).unwrap_or_default()
}

fn list(receipts: &[Verified]) -> Value {
    Value::Array(receipts.iter().map(export::json).collect())
}

fn verify(args: &Select) -> Result<Outcome, Failure> {
    let (mut receipts, standings) = read(args)?;
    let device = receipts.first().map(|first| first.receipt.device.clone()).unwrap_or_default();
    let faults = chain::order(&device, None, &mut receipts);
    if !faults.is_empty() {
        let told: Vec<_> = faults.iter().map(ChainFault::to_string).collect();
        return Err(Failure {
            state: format!("{} receipts of {device} are valid one by one", receipts.len()),
            ..Failure::new(
                Exit::VerificationFailed,
                format!("{device}: {}", told.join("; ")),
                "collect the missing receipts from the device, or find out who else has its key",
            )
        });
    }
    let last = receipts.last().map(|last| &last.receipt);
    let stands = last.map_or(String::new(), |last| {
        format!("; runs {} {} since {}", last.product, last.version, last.at)
    });
    let mut text = format!("{device}: {} receipts, none missing{stands}\n", receipts.len());
    text += &keys::told(args, &standings);
    let json = json!({
        "schema": "neap.receipt-chain.v1",
        "device": device,
        "count": receipts.len(),
        "standing": keys::fields(args, &standings),
        "receipts": list(&receipts),
    });
    Ok(Outcome { text, json })
}

/// Reads and verifies them all, in order; and what each is worth by its certificate.
fn read(args: &Select) -> Result<(Vec<Verified>, Vec<keys::Worth>), Failure> {
    let keys = args.by.open()?;
    let mut paths = Vec::new();
    for path in &args.receipts {
        paths.extend(below(path).map_err(|error| Failure::open("receipt", path, &error))?);
    }
    if paths.is_empty() || paths.len() > RECEIPTS_MAX {
        let error = format!("{} receipts found, 1 to {RECEIPTS_MAX} expected", paths.len());
        return Err(Failure::new(
            Exit::Error,
            error,
            "name files that end in .cose, or their folder",
        ));
    }
    let mut receipts = Vec::new();
    for path in paths {
        let bytes = limited(&path, RECEIPT_LEN_MAX)
            .map_err(|error| Failure::open("receipt", &path, &error))?;
        receipts.push(keys.verify(&path, &bytes)?);
    }
    receipts.sort_by_key(|(verified, _)| verified.receipt.sequence);
    let (receipts, worths): (Vec<_>, Vec<_>) = receipts.into_iter().unzip();
    Ok((receipts, worths.into_iter().flatten().collect()))
}

/// The file itself, or the receipts in a folder.
fn below(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let entries = fs::read_dir(path)?.take(RECEIPTS_MAX + 1);
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "cose") {
            paths.push(path);
        }
    }
    Ok(paths)
}

fn limited(path: &Path, len_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(len_max + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
