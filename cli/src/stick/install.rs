//! `neap stick install`: a release, straight from a stick to a device.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Args as Group;
use neap_depot::depot::Depot;
use neap_depot::plan::{Device, Offer, plan};
use neap_engine::digest::Digest;
use neap_engine::io::file::{FileSource, PatchInput};
use neap_engine::io::{Source as _, drive};
use neap_engine::limits::UNPACK_MEMORY_MAX;
use neap_peer::config::Config;
use neap_trust::client::Checked;
use neap_trust::receipt::{Carrier, Outcome as Became, Receipt};
use neap_trust::target::Custom;
use neap_usb_sideload::back;
use neap_usb_sideload::error::StickError;
use neap_usb_sideload::patch::BlobInput;
use neap_usb_sideload::stick::{Stick, folder};
use serde_json::json;

use super::approval::{Question, asked};
use super::offered::Lies;
use super::{Here, of_stick, proof, staleness, verified};
use crate::apply;
use crate::args::{Apply, Common};
use crate::exit::Exit;
use crate::failure::{Failure, io_exit};
use crate::outcome::Outcome;
use crate::plan::{Running, refused};
use crate::receipt::create;

#[derive(Debug, Group)]
pub(super) struct Args {
    /// The stick: where it is mounted, or a copy of its folder
    pub(super) stick: PathBuf,
    /// The image that the patch starts from: a file or block device, which is only read
    #[arg(long, value_name = "PATH")]
    source: PathBuf,
    /// What is overwritten: a file, made if missing, or a block device nobody uses
    #[arg(long, value_name = "PATH")]
    target: PathBuf,
    /// The product [default: the configured one]
    #[arg(long)]
    product: Option<String>,
    #[command(flatten)]
    running: Running,
    #[command(flatten)]
    here: Here,
    #[command(flatten)]
    pub(super) common: Common,
}

impl Args {
    /// What the configuration says, with what it says is the source and the target.
    pub(super) fn plugged(
        stick: PathBuf,
        here: Here,
        (source, target): (PathBuf, PathBuf),
        common: Common,
    ) -> Self {
        let (product, running) = (None, Running::default());
        Self { stick, source, target, product, running, here, common }
    }
}

pub(super) fn run(args: &Args) -> Result<Outcome, Failure> {
    let config = args.here.load()?;
    let product = args.product.clone().or_else(|| config.product.clone()).ok_or_else(|| {
        let error = "neither the command line nor the configuration names a product";
        Failure::new(Exit::Usage, error.into(), "give --product")
    })?;
    let stick = args.here.open(&args.stick, &config)?;
    let checked = verified(&stick, &config, &args.stick)?.checked;
    let (group, offer) = chosen(args, &checked, &stick, &product)?;
    let blob = patch(args, &stick, offer)?;
    let approvals = asked(&Question {
        config: &config,
        stick: &stick,
        checked: &checked,
        group: &checked.groups[group],
        offer,
        target: &args.target.display().to_string(),
    })?;
    let apply = Apply {
        unpack_memory: UNPACK_MEMORY_MAX,
        patch: folder(&args.stick).join("blobs").join(&offer.custom.blake3),
        source: args.source.clone(),
        target: args.target.clone(),
        state: config.state.clone(),
        no_source_check: false,
        no_read_back: false,
        common: args.common,
    };
    let applied = apply::run_with(&apply, PatchInput::pipe(blob));
    let applied = applied.map_err(|failure| of_apply(failure, &apply.patch))?;
    let mut text = format!("release  {}\n", offer.path);
    text += &applied.text;
    text += &staleness(&checked);
    let proof = Proof { args, config: &config, checked: &checked, offer, approvals, stick: &stick };
    let (told, receipt) = match proof.keep() {
        Ok(Some((sequence, device, None))) => {
            (format!("receipt  {sequence} of {device}, on the stick\n"), Some(sequence))
        }
        Ok(Some((sequence, device, Some(why)))) => (
            format!("receipt  {sequence} of {device}\nnote     it is not on the stick: {why}\n"),
            Some(sequence),
        ),
        Ok(None) => ("receipt  none: the configuration has no [identity]\n".into(), None),
        Err(failure) => (format!("note     no receipt: {}\n", failure.error), None),
    };
    text += &told;
    // It is done: what cannot be told now is no failure.
    let onward = onward(args, &checked.groups[group].offers, &stick, offer).ok().flatten();
    if let Some(version) = &onward {
        text += &format!(
            "note     {version} is on the stick too: start what was written, then run this again \
             with source and target exchanged\n"
        );
    }
    let json = json!({
        "schema": "neap.stick-install.v1",
        "id": stick.id(),
        "path": offer.path,
        "version": offer.custom.version,
        "applied": applied.json,
        "receipt": receipt,
        "onward": onward,
    });
    Ok(Outcome { text, json })
}

/// The version that the stick leads to from the image that was written. A device has two places for
/// images, and the one that runs is not written over, so a chain is gone patch by patch.
fn onward(
    args: &Args,
    offers: &[Offer],
    stick: &Stick,
    written: &Offer,
) -> Result<Option<String>, Failure> {
    let Custom { product, version, to, security_epoch, .. } = &written.custom;
    let device = Device {
        image: to.clone(),
        version: Some(version.clone()),
        security_epoch: args.running.security_epoch.max(*security_epoch),
        ..args.running.device(product, offers)?
    };
    let there: Vec<Offer> =
        offers.iter().filter(|offer| Lies::of(offer, stick) == Lies::Open).cloned().collect();
    let planned = plan(&there, &device).ok();
    Ok(planned.and_then(|planned| planned.steps.last().map(|step| step.custom.version.clone())))
}

/// What stopped an apply: a stick that is gone or reads badly is no failing device.
fn of_apply(failure: Failure, patch: &Path) -> Failure {
    let is_stick = failure.error.starts_with(&format!("{}: ", patch.display()));
    match failure.exit {
        Exit::DeviceIo if is_stick => Failure {
            exit: Exit::Interrupted,
            next: "put the stick back, or use another one, and run the same command again".into(),
            ..failure
        },
        _ => failure,
    }
}

/// What to install, of which group: one patch, or the whole image, that lies on the stick.
fn chosen<'a>(
    args: &Args,
    checked: &'a Checked,
    stick: &Stick,
    product: &str,
) -> Result<(usize, &'a Offer), Failure> {
    let mut devices = Vec::new();
    for group in &checked.groups {
        let lie: Vec<_> = group.offers.iter().map(|offer| Lies::of(offer, stick)).collect();
        devices.push((group, lie, device(args, &group.offers, product)?));
    }
    let mut reason = None;
    // What is encrypted to another key comes last: where nothing else leads on, that is why.
    for lie in [&[Lies::Open][..], &[Lies::Open, Lies::Closed]] {
        reason = None;
        for (index, (group, lies, device)) in devices.iter().enumerate() {
            let there = group.offers.iter().zip(lies).filter(|(_, lies)| lie.contains(lies));
            let there: Vec<_> = there.map(|(offer, _)| offer.clone()).collect();
            let planned = match plan(&there, device) {
                Ok(planned) => planned,
                Err(why) => {
                    reason = reason.or(Some(why));
                    continue;
                }
            };
            let path = planned.steps.first().map(|step| step.path.clone());
            let found = group.offers.iter().find(|offer| Some(&offer.path) == path.as_ref());
            return match (found, planned.steps.len()) {
                (Some(offer), 1) => Ok((index, offer)),
                _ => {
                    let error = "the way to this version takes several patches".to_owned();
                    let next = "neap stick import, then apply them one after the other";
                    Err(Failure::new(Exit::Usage, error, next))
                }
            };
        }
    }
    let next = "neap check lists what is offered".to_owned();
    Err(match reason {
        Some(reason) => refused(&reason, product),
        None => Failure::new(Exit::Error, format!("{product}: not offered"), next),
    })
}

/// What the device has, of what a group offers. The image that runs may be named by a version that
/// is not on the stick.
fn device(args: &Args, offers: &[Offer], product: &str) -> Result<Device, Failure> {
    let mut device = args.running.device(product, offers)?;
    if device.image.is_none() {
        device.image = image_of(&args.source, offers, product)?;
    }
    if device.version.is_none() {
        let makes = |offer: &&Offer| offer.custom.to.is_some() && offer.custom.to == device.image;
        device.version = offers.iter().find(makes).map(|offer| offer.custom.version.clone());
    }
    Ok(device)
}

/// The digest of the image that a source begins with: of those that are known, by their lengths,
/// since a device is larger than the image on it. Nothing if it is none of them.
fn image_of(path: &Path, offers: &[Offer], product: &str) -> Result<Option<String>, Failure> {
    let source = FileSource::open(path).map_err(|error| Failure::open("source", path, &error))?;
    let size = source.size();
    let of_product = offers.iter().filter(|offer| offer.custom.product == product);
    let known: BTreeSet<_> =
        of_product.clone().flat_map(|o| [&o.custom.to, &o.custom.from]).flatten().collect();
    let lens = of_product.filter_map(|offer| offer.custom.to_len).filter(|len| *len < size);
    let lens: BTreeSet<u64> = lens.chain([size]).collect();
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    for end in lens {
        while at < end {
            let len = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
            source.read_at(at, &mut buffer[..len]).map_err(|error| {
                let (exit, text) = (io_exit(&error), format!("{}: {error}", path.display()));
                Failure::new(exit, text, "check the device")
            })?;
            hasher.update(&buffer[..len]);
            at += len as u64;
        }
        let digest = hasher.finalize().to_hex().to_string();
        if known.contains(&digest) {
            return Ok(Some(digest));
        }
    }
    Ok(None)
}

/// The patch, after its header was held against what is signed.
fn patch(args: &Args, stick: &Stick, offer: &Offer) -> Result<BlobInput, Failure> {
    let digest = Digest::from_hex(&offer.custom.blake3).unwrap_or(Digest([0; 32]));
    let open = || {
        let blob = stick.depot().blob(&digest);
        let blob = blob.map_err(|error| StickError::Blob { digest, error });
        let blob = blob.map_err(|error| of_stick(&error, &args.stick))?.ok_or_else(|| {
            let error = format!("{}: {} is not on it", args.stick.display(), offer.path);
            Failure::new(Exit::Interrupted, error, "put the stick back and run it again")
        })?;
        let (found, expected) = (blob.len(), offer.len);
        if found != expected {
            let error = StickError::BlobLength { digest, found, expected };
            return Err(of_stick(&error, &args.stick));
        }
        Ok(BlobInput::new(blob))
    };
    let shown = format!("{}: {}", args.stick.display(), offer.path);
    let header = drive::read_header(&mut PatchInput::pipe(open()?)).map_err(|error| {
        let next = "put the stick back and run it again, or use another one";
        Failure::new(Exit::Interrupted, format!("{shown}: {error}"), next)
    })?;
    let makes = Some(header.target_root.to_string());
    if makes != offer.custom.to {
        let error = format!("{shown}: the patch makes another image than what is signed");
        return Err(Failure::new(Exit::Refused, error, "tell whoever publishes releases"));
    }
    open()
}

/// What is signed about an install, and where that is kept.
struct Proof<'a> {
    args: &'a Args,
    config: &'a Config,
    checked: &'a Checked,
    offer: &'a Offer,
    approvals: Vec<String>,
    stick: &'a Stick,
}

impl Proof<'_> {
    /// Signs a receipt, keeps it in the device's depot, and writes all receipts to the stick: the
    /// number of the new one, and why it is not on the stick; nothing if this device was given no
    /// key.
    fn keep(self) -> Result<Option<(u64, String, Option<String>)>, Failure> {
        let Self { args, config, checked, offer, approvals, stick } = self;
        let digest = |hex: &Option<String>| hex.as_deref().and_then(Digest::from_hex).map(|d| d.0);
        let time = checked.staleness.time;
        let signed = proof::sign(config, &config.depot, |device, sequence, previous| Receipt {
            device: device.to_string(),
            sequence,
            previous,
            hardware: args.running.hardware.clone(),
            product: offer.custom.product.clone(),
            version: offer.custom.version.clone(),
            from: digest(&offer.custom.from),
            to: digest(&offer.custom.to),
            read_back: digest(&offer.custom.to),
            outcome: Became::Committed,
            exit: 0,
            detail: "written and read back; not started yet".into(),
            at: create::whole_seconds(time.at),
            at_source: time.source,
            stale_s: checked.staleness.stale_s(),
            timestamp_version: checked.timestamp,
            carrier: Carrier::Stick,
            carrier_id: stick.id().to_owned(),
            approvals,
        });
        let Some(signed) = signed? else { return Ok(None) };
        let depot = Depot::make(&config.depot.display().to_string());
        let depot = depot.map_err(|error| Failure::open("depot", &config.depot, &error))?;
        let given = back::give(&depot, stick, args.here.encrypt_to.as_ref());
        let name = format!("receipts/{}/{}.cose:", signed.receipt.device, signed.receipt.sequence);
        let why = match given {
            Ok(given) => given.refused.into_iter().find(|why| why.starts_with(&name)),
            Err(error) => Some(of_stick(&error, &args.stick).error),
        };
        Ok(Some((signed.receipt.sequence, signed.receipt.device, why)))
    }
}
