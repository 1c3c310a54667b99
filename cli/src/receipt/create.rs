//! `neap receipt create`: a device's next receipt, from what the command line says. The folder has
//! the receipts before it, whose last one gives the number and the digest.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use neap_engine::digest::Digest;
use neap_trust::device_key::{DeviceKey, DeviceSigner};
use neap_trust::identity::DeviceName;
use neap_trust::limits::RECEIPT_LEN_MAX;
use neap_trust::receipt::chain::order;
use neap_trust::receipt::{self, Receipt, ReceiptError, Verified, export};
use neap_trust::time::{Source, Timestamp};

use super::{below, limited, now};
use crate::args::Common;
use crate::ca;
use crate::exit::Exit;
use crate::failure::{Failure, io_exit};
use crate::outcome::Outcome;
use crate::secret::Secrets;

#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// Folder of the device's receipts, made if it is missing
    folder: PathBuf,
    /// The device, as its certificate names it
    #[arg(long)]
    device: DeviceName,
    /// The device's private key: a file, or what `--key` takes elsewhere
    #[arg(long, value_name = "KEY")]
    key: String,
    /// What became of the update
    #[arg(long, value_enum)]
    outcome: Became,
    /// The product
    #[arg(long, default_value = "", hide_default_value = true)]
    product: String,
    /// The version that runs now, or that was refused
    #[arg(long, default_value = "", hide_default_value = true)]
    version: String,
    /// What hardware it is
    #[arg(long, default_value = "", hide_default_value = true)]
    hardware: String,
    /// BLAKE3 of the image before
    #[arg(long, value_name = "HEX", value_parser = digest)]
    from: Option<Digest>,
    /// BLAKE3 of the image that was to be made
    #[arg(long, value_name = "HEX", value_parser = digest)]
    to: Option<Digest>,
    /// BLAKE3 of what was read back
    #[arg(long, value_name = "HEX", value_parser = digest)]
    read_back: Option<Digest>,
    /// The exit code that stands for it
    #[arg(long, value_name = "N", default_value_t = 0)]
    exit: u8,
    /// Why, in words
    #[arg(long, default_value = "", hide_default_value = true)]
    detail: String,
    /// When [default: now, by this machine's clock]
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// How it came
    #[arg(long, value_enum, default_value_t)]
    carrier: By,
    /// Which one: the label of a stick, the name of a peer
    #[arg(long, default_value = "", hide_default_value = true)]
    carrier_id: String,
    /// Who approved; give it for each
    #[arg(long, value_name = "NAME")]
    approval: Vec<String>,
    #[command(flatten)]
    secrets: Secrets,
    #[command(flatten)]
    pub(super) common: Common,
}

/// What became of an update.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Became {
    /// Nothing was updated: the device says what it runs
    Inventory,
    /// The target was written, read back and kept
    Committed,
    /// The target was written and not kept
    RolledBack,
    /// Nothing was written
    Refused,
    /// The target is not whole
    Failed,
}

/// How an update came.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(crate) enum By {
    /// By hand, as a file
    #[default]
    File,
    /// Over a link that costs
    Wan,
    /// From another device of the site
    Lan,
    /// On a stick
    Stick,
}

impl From<Became> for receipt::Outcome {
    fn from(became: Became) -> Self {
        match became {
            Became::Inventory => Self::Inventory,
            Became::Committed => Self::Committed,
            Became::RolledBack => Self::RolledBack,
            Became::Refused => Self::Refused,
            Became::Failed => Self::Failed,
        }
    }
}

impl From<By> for receipt::Carrier {
    fn from(by: By) -> Self {
        match by {
            By::File => Self::File,
            By::Wan => Self::Wan,
            By::Lan => Self::Lan,
            By::Stick => Self::Stick,
        }
    }
}

pub(super) fn create(args: &Create) -> Result<Outcome, Failure> {
    let signer = ca::device_key(&args.key, &args.secrets)?;
    let at = args.at.unwrap_or_else(now);
    let (path, verified) =
        append(&args.folder, &args.device, &*signer, |sequence, previous| Receipt {
            device: args.device.to_string(),
            sequence,
            previous,
            hardware: args.hardware.clone(),
            product: args.product.clone(),
            version: args.version.clone(),
            from: args.from.map(|digest| digest.0),
            to: args.to.map(|digest| digest.0),
            read_back: args.read_back.map(|digest| digest.0),
            outcome: args.outcome.into(),
            exit: args.exit,
            detail: args.detail.clone(),
            at: whole_seconds(at),
            at_source: Source::Rtc,
            stale_s: 0,
            timestamp_version: 0,
            carrier: args.carrier.into(),
            carrier_id: args.carrier_id.clone(),
            approvals: args.approval.clone(),
        })?;
    let sequence = verified.receipt.sequence;
    let text = format!("receipt {sequence} of {}: {}\n", args.device, path.display());
    Ok(Outcome { text, json: export::json(&verified) })
}

/// A time as receipts have it.
pub(crate) fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

/// Signs a device's next receipt and keeps it in the folder of its receipts: `fill` is given its
/// number and the digest of the one before.
pub(crate) fn append(
    folder: &Path,
    device: &DeviceName,
    signer: &dyn DeviceSigner,
    fill: impl FnOnce(u64, Option<[u8; 32]>) -> Receipt,
) -> Result<(PathBuf, Verified), Failure> {
    let _lock = locked(folder)?;
    let before = before(folder, device, &signer.device_key())?;
    let last = before.last();
    let sequence = last.map_or(1, |last| last.receipt.sequence + 1);
    let receipt = fill(sequence, last.map(|last| last.digest));
    let bytes = receipt.sign(signer).map_err(|why| {
        let next = "shorten the field, or check the key";
        Failure::new(Exit::Error, format!("{device}: {why}"), next)
    })?;
    let path = folder.join(format!("{sequence}.cose"));
    ca::whole(&path, &bytes, 0o644).map_err(|error| {
        let shown = path.display();
        Failure::new(io_exit(&error), format!("{shown}: {error}"), format!("check {shown}"))
    })?;
    let verified = Receipt::verify(&bytes, &signer.device_key()).map_err(|error| {
        Failure::new(Exit::Refused, format!("{device}: {error}"), "the signer is broken")
    })?;
    Ok((path, verified))
}

/// The folder, for one writer at a time: two would make two receipts of one number.
fn locked(folder: &Path) -> Result<File, Failure> {
    let shown = folder.display().to_string();
    let failed = |error: std::io::Error| {
        Failure::new(io_exit(&error), format!("{shown}: {error}"), format!("check {shown}"))
    };
    fs::create_dir_all(folder).map_err(failed)?;
    let opened = File::open(folder).map_err(failed)?;
    match opened.try_lock() {
        Ok(()) => Ok(opened),
        Err(TryLockError::Error(error)) => Err(failed(error)),
        Err(TryLockError::WouldBlock) => {
            let text = format!("{shown}: another neap is writing a receipt");
            Err(Failure::new(Exit::Error, text, "wait until it ends, then run this again"))
        }
    }
}

/// The receipts before, which must be whole: a gap would be this device's own.
fn before(folder: &Path, device: &DeviceName, key: &DeviceKey) -> Result<Vec<Verified>, Failure> {
    let mut receipts = Vec::new();
    let opened = |path: &Path, error| Failure::open("receipt", path, &error);
    for path in below(folder).map_err(|error| opened(folder, error))? {
        let bytes = limited(&path, RECEIPT_LEN_MAX).map_err(|error| opened(&path, error))?;
        let read = match Receipt::verify(&bytes, key) {
            // The device had another key then; the chain goes on under the new one.
            Err(ReceiptError::OtherKey { .. }) => Receipt::claimed(&bytes)
                .map(|receipt| Verified { receipt, digest: blake3::hash(&bytes).into() }),
            read => read,
        };
        receipts.push(read.map_err(|error| {
            let next = "name the folder of this device";
            Failure::new(Exit::Refused, format!("{}: {error}", path.display()), next)
        })?);
    }
    let faults = order(device.as_str(), None, &mut receipts);
    match faults.first() {
        None => Ok(receipts),
        Some(fault) => Err(Failure::new(
            Exit::VerificationFailed,
            format!("{}: {fault}", folder.display()),
            "bring back the receipts that are missing, or name the folder of this device",
        )),
    }
}

fn digest(text: &str) -> Result<Digest, String> {
    Digest::from_hex(text).ok_or_else(|| "expected 64 hexadecimal digits".to_owned())
}
