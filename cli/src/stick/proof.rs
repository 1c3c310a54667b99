//! What a device signs: that it installed from a stick, and what it runs.

use std::path::{Path, PathBuf};

use clap::Args as Group;
use neap_depot::depot::Depot;
use neap_depot::name::Device;
use neap_engine::digest::Digest;
use neap_peer::config::Config;
use neap_trust::identity::DeviceName;
use neap_trust::receipt::{Carrier, Outcome, Receipt, Verified};
use neap_trust::time::Source;

use crate::ca;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::net;
use crate::plan::digest_of;
use crate::receipt::create;
use crate::size;

/// What this device runs, for a receipt.
#[derive(Debug, Default, Group)]
pub(super) struct Inventory {
    /// Say in a signed receipt what this device runs: its image, a file or block device
    #[arg(long, value_name = "PATH")]
    image: Option<PathBuf>,
    /// Bytes of it that are the image [default: all]
    #[arg(long, value_name = "SIZE", requires = "image", value_parser = size::parse)]
    size: Option<u64>,
    /// Say in a signed receipt which version this device runs
    #[arg(long)]
    version: Option<String>,
    /// What hardware it is
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    hardware: String,
}

/// Signs a device's next receipt and keeps it in a depot; nothing if this device was given no key.
pub(super) fn sign(
    config: &Config,
    depot: &Path,
    fill: impl FnOnce(&DeviceName, u64, Option<[u8; 32]>) -> Receipt,
) -> Result<Option<Verified>, Failure> {
    let Some(files) = &config.identity else { return Ok(None) };
    let authority = ca::authority(&files.authority)?;
    let (certificate, key) = net::own(files, &authority)?;
    let device = certificate.device();
    let receipts = depot.join("receipts").join(device.as_str());
    let signed = create::append(&receipts, device, &key, |sequence, previous| {
        fill(device, sequence, previous)
    });
    signed.map(|(_, verified)| Some(verified))
}

impl Inventory {
    /// Signs what this device runs, if it was told and its last receipt does not say so already:
    /// the number of the new one.
    pub(super) fn keep(
        &self,
        config: &Config,
        product: Option<&String>,
        place: &Path,
    ) -> Result<Option<u64>, Failure> {
        if self.image.is_none() && self.version.is_none() {
            return Ok(None);
        }
        let unknown = |what: &str| {
            let error = format!("what this device runs cannot be signed: no {what}");
            Failure::new(Exit::Usage, error, "docs/links.md describes the configuration")
        };
        let product = product.or(config.product.as_ref()).ok_or_else(|| unknown("product"))?;
        let image = self.image.as_ref().map(|path| digest_of(path, self.size)).transpose()?;
        let image = image.as_deref().and_then(Digest::from_hex).map(|digest| digest.0);
        let version = self.version.clone().unwrap_or_default();
        let runs = |receipt: &Receipt| {
            let says = matches!(receipt.outcome, Outcome::Committed | Outcome::Inventory);
            let same = receipt.product == *product && receipt.version == version;
            says && same && receipt.read_back == image
        };
        if last(config, place)?.is_some_and(|receipt| runs(&receipt)) {
            return Ok(None);
        }
        let signed = sign(config, place, |device, sequence, previous| Receipt {
            device: device.to_string(),
            sequence,
            previous,
            hardware: self.hardware.clone(),
            product: product.clone(),
            version,
            from: None,
            to: None,
            read_back: image,
            outcome: Outcome::Inventory,
            exit: 0,
            detail: String::new(),
            at: create::whole_seconds(net::now()),
            at_source: Source::Rtc,
            stale_s: 0,
            timestamp_version: 0,
            carrier: Carrier::Stick,
            carrier_id: String::new(),
            approvals: Vec::new(),
        })?;
        let signed = signed.ok_or_else(|| unknown("`[identity]` in the configuration"))?;
        Ok(Some(signed.receipt.sequence))
    }
}

/// The last receipt of this device, as it lies in its depot.
fn last(config: &Config, place: &Path) -> Result<Option<Receipt>, Failure> {
    let Some(files) = &config.identity else { return Ok(None) };
    let (certificate, _) = net::own(files, &ca::authority(&files.authority)?)?;
    let failed = |error: std::io::Error| Failure::open("depot", place, &error);
    let depot = Depot::make(&place.to_string_lossy()).map_err(failed)?;
    let Some(device) = Device::new(certificate.device().as_str()) else { return Ok(None) };
    let all = depot.receipts().map_err(failed)?;
    let numbers = all.into_iter().find(|(name, _)| *name == device).map(|(_, numbers)| numbers);
    let Some(number) = numbers.and_then(|numbers| numbers.last().copied()) else {
        return Ok(None);
    };
    let bytes = depot.receipt(&device, number).map_err(failed)?;
    Ok(bytes.and_then(|bytes| Receipt::claimed(&bytes).ok()))
}
