//! `neap stick approve`: someone on site reads what a stick would install, and signs that it may.

use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::Args as Group;
use neap_engine::digest::Digest;
use neap_peer::config::Config;
use neap_trust::approval::{Approval, Scope};
use neap_trust::client::{Checked, Offer};
use neap_trust::identity::DeviceName;
use neap_trust::repo::changes::plain;
use neap_trust::target::Severity;
use neap_trust::time::Timestamp;
use neap_usb_sideload::limits::APPROVALS_MAX;
use neap_usb_sideload::stick::Stick;
use serde_json::json;

use super::approval::Policy;
use super::offered::{Lies, images};
use super::{Here, of_stick, staleness, verified};
use crate::args::Common;
use crate::ca;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::keyring::KEY_HELP;
use crate::outcome::Outcome;
use crate::receipt::create::whole_seconds;
use crate::secret::Secrets;

#[derive(Debug, Group)]
pub(super) struct Args {
    /// The stick: where it is mounted, or a copy of its folder
    pub(super) stick: PathBuf,
    #[arg(long, value_name = "KEY", help = KEY_HELP)]
    key: String,
    /// Who approves, as the receipt will name them, such as "master of the MV Aurora"
    #[arg(long = "as", value_name = "NAME")]
    approver: String,
    /// Approve it for this device alone [default: for the site]
    #[arg(long, value_name = "NAME")]
    device: Option<DeviceName>,
    /// The site [default: that of the signed profile, else the configured one]
    #[arg(long, conflicts_with = "device")]
    site: Option<String>,
    /// Approve one product only
    #[arg(long)]
    product: Option<String>,
    /// Approve one version only [default: every image that lies on the stick]
    #[arg(long, value_name = "VERSION")]
    version: Option<String>,
    /// Days until when it counts
    #[arg(long, value_name = "N", default_value_t = 14)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=365))]
    days: u16,
    /// Sign it; without, it is only shown
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    secrets: Secrets,
    #[command(flatten)]
    here: Here,
    #[command(flatten)]
    pub(super) common: Common,
}

pub(super) fn run(args: &Args) -> Result<Outcome, Failure> {
    let config = args.here.load()?;
    let stick = args.here.open(&args.stick, &config)?;
    let checked = verified(&stick, &config, &args.stick)?.checked;
    let images = chosen(args, &checked, &stick)?;
    let scope = scope(args, &config, &checked)?;
    let mut text = String::new();
    for offer in &images {
        text += &shown(offer, &checked);
    }
    text += &staleness(&checked);
    text += &format!("for      {}, for {} days\n", plain(&scope.to_string()), args.days);
    if !(args.yes && args.common.quiet) {
        let told = io::stderr().write_all(text.as_bytes());
        told.map_err(|error| super::of_io(&error, "standard error"))?;
    }
    if !args.yes {
        let error = format!("{}: shown, and not signed", args.stick.display());
        let next = "read what is above; if you agree, run it again with --yes";
        return Err(Failure::new(Exit::ApprovalMissing, error, next));
    }
    let at = whole_seconds(checked.staleness.time.at);
    let life = jiff::SignedDuration::from_hours(24 * i64::from(args.days));
    let expires = at.checked_add(life).unwrap_or(Timestamp::MAX);
    let signer = ca::device_key(&args.key, &args.secrets)?;
    let mut done = Vec::new();
    let mut told = String::new();
    for offer in &images {
        let to = offer.custom.to.as_deref().and_then(Digest::from_hex);
        let Some(Digest(to)) = to else { continue };
        let approval = Approval {
            to,
            scope: scope.clone(),
            product: offer.custom.product.clone(),
            version: offer.custom.version.clone(),
            approver: args.approver.clone(),
            at,
            expires,
        };
        let bytes = approval.sign(&*signer).map_err(|why| {
            let next = "shorten the field, or check the key";
            Failure::new(Exit::Usage, format!("approval: {why}"), next)
        })?;
        let file = stick.approve(&bytes).map_err(|error| of_stick(&error, &args.stick))?;
        let what = format!("{} {}", offer.custom.product, offer.custom.version);
        told += &format!("approved {what}, until {expires}: {file}\n");
        done.push(json!({
            "file": file, "product": offer.custom.product, "version": offer.custom.version,
            "to": offer.custom.to, "expires": expires.to_string(),
        }));
    }
    let json = json!({
        "schema": "neap.stick-approval.v1",
        "id": stick.id(),
        "approver": args.approver,
        "scope": scope.to_string(),
        "approvals": done,
    });
    Ok(Outcome { text: told, json })
}

/// The images that lie on the stick, one offer for each. Which of them a device takes depends on
/// what it runs and what hardware it is, and whoever approves here need not know.
fn chosen<'a>(args: &Args, checked: &'a Checked, stick: &Stick) -> Result<Vec<&'a Offer>, Failure> {
    let shown = args.stick.display();
    let mut images = images(checked, stick, args.product.as_deref(), &[Lies::Open, Lies::Closed]);
    images.retain(|offer| args.version.as_ref().is_none_or(|v| *v == offer.custom.version));
    match images.len() {
        0 => {
            let error = format!("{shown}: nothing is on it that could be installed");
            Err(Failure::new(Exit::Error, error, "neap stick show says what lies on it"))
        }
        count if count > IMAGES_MAX => {
            let error = format!("{shown}: {count} images are on it, at most {IMAGES_MAX} at once");
            Err(Failure::new(Exit::Usage, error, "choose with --product or --version"))
        }
        _ => Ok(images),
    }
}

/// Most images that are approved at once: with 8 people, as many approvals as a stick has.
const IMAGES_MAX: usize = 32;
const _: () = assert!(IMAGES_MAX * 8 <= APPROVALS_MAX);

/// Where it may be installed.
fn scope(args: &Args, config: &Config, checked: &Checked) -> Result<Scope, Failure> {
    if let Some(device) = &args.device {
        return Ok(Scope::Device(device.to_string()));
    }
    let policy = Policy::of(config, checked)?;
    let site = args.site.clone().unwrap_or_else(|| policy.site(config).to_owned());
    match site.is_empty() {
        false => Ok(Scope::Site(site)),
        true => Err(Failure::new(
            Exit::Usage,
            "neither a device nor a site is named".into(),
            "give --device, or --site",
        )),
    }
}

/// What would be installed, for whoever must say yes.
fn shown(offer: &Offer, checked: &Checked) -> String {
    let custom = &offer.custom;
    let severity = match custom.severity {
        Severity::None => "none",
        Severity::Low => "low",
        Severity::Medium => "medium",
        Severity::High => "high",
        Severity::Critical => "critical",
    };
    let to = custom.to.as_deref().unwrap_or_default();
    let mut text = format!(
        "product  {}\nversion  {}\nseverity {severity}\n",
        plain(&custom.product),
        plain(&custom.version)
    );
    if !custom.hardware.is_empty() {
        text += &format!("hardware {}\n", plain(&custom.hardware.join(", ")));
    }
    if let Some(advisory) = &custom.advisory {
        text += &format!("advisory {}\n", plain(advisory));
    }
    let same = checked.groups.iter().flat_map(|group| &group.offers);
    for other in same.filter(|other| other.custom.to == custom.to) {
        let from = other.custom.from.as_deref().unwrap_or("any image");
        text += &format!("image    {from} -> {to}\n");
    }
    text
}
