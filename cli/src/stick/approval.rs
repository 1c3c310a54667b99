//! Who must say yes before a device is written: asked once, after all was verified and before the
//! first write. The answers are signed files on the stick.

use std::path::Path;

use neap_engine::digest::Digest;
use neap_peer::config::Config;
use neap_trust::approval::{Asked, approved};
use neap_trust::client::directory::StateFolder;
use neap_trust::client::{Checked, Group, Offer, kept_profile};
use neap_trust::device_key::DeviceKey;
use neap_trust::profile::Approval;
use neap_trust::repo::changes::plain;
use neap_usb_sideload::stick::Stick;

use super::of_io;
use crate::ca;
use crate::check;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::net;

/// Longest file of a public key, in bytes: PEM of P-256 has 178.
const KEY_LEN_MAX: u64 = 4 << 10;

/// What is asked about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question<'a> {
    /// Who may approve, and who this device is.
    pub(super) config: &'a Config,
    /// Where approvals lie.
    pub(super) stick: &'a Stick,
    /// What was verified of the device's groups that are on the stick.
    pub(super) checked: &'a Checked,
    /// The group that offers it.
    pub(super) group: &'a Group,
    /// What would be installed.
    pub(super) offer: &'a Offer,
    /// What would be written over, for people.
    pub(super) target: &'a str,
}

/// Who approved, for the receipt.
///
/// # Errors
/// Exit code 9: someone must approve, and nobody did.
pub(super) fn asked(question: &Question<'_>) -> Result<Vec<String>, Failure> {
    let Question { config, stick, checked, group, offer, target } = question;
    let policy = Policy::of(config, checked)?;
    let keys = &config.approval.keys;
    if !policy.crew && keys.is_empty() {
        return Ok(Vec::new());
    }
    let own = group.profile.as_ref().map(|profile| &*profile.site);
    let site = own.unwrap_or_else(|| policy.site(config));
    let (product, version) = (&offer.custom.product, &offer.custom.version);
    let who = if site.is_empty() { "someone".into() } else { format!("the crew of {site}") };
    let error = format!("{target}: {who} must approve {product} {version} first");
    let missing = |found, next: &str| Failure {
        found,
        ..Failure::new(Exit::ApprovalMissing, error.clone(), next)
    };
    if keys.is_empty() {
        let next = "name the public keys of those who approve in `[approval]` of the configuration";
        return Err(missing(Box::default(), next));
    }
    let to = offer.custom.to.as_deref().and_then(Digest::from_hex);
    let to = to.ok_or_else(|| missing(Box::default(), "tell whoever publishes releases"))?.0;
    let device = device(config)?;
    let keys = keys.iter().map(|path| key(path)).collect::<Result<Vec<_>, _>>()?;
    let files = stick.approvals().map_err(|error| of_io(&error, stick.title()))?;
    let asked = Asked { to: &to, device: device.as_deref(), site, now: checked.staleness.time.at };
    let (who, refused) = approved(&files, &keys, config.approval.threshold, &asked);
    who.ok_or_else(|| {
        let threshold = config.approval.threshold;
        let next = format!(
            "neap stick approve {}, with {threshold} of the keys that the configuration names; \
             then the same command again",
            stick.title()
        );
        missing(refused.iter().map(|why| plain(why)).collect(), &next)
    })
}

/// What the signed profiles of a device's groups say: those that were verified just now, and of
/// other groups what was kept. Whoever has the stick can take a group's role off it, or the profile
/// that it signs, so a group that is not there still counts, and so does a profile.
pub(super) struct Policy {
    crew: bool,
    site: Option<String>,
}

impl Policy {
    pub(super) fn of(config: &Config, checked: &Checked) -> Result<Self, Failure> {
        let mut profiles: Vec<_> =
            checked.groups.iter().filter_map(|group| group.profile.clone()).collect();
        let is_verified = |name: &String| {
            checked.groups.iter().any(|group| group.name == *name && group.profile.is_some())
        };
        let mut crew = false;
        let state = StateFolder::new(config.state.join("trust"));
        for name in config.groups.iter().filter(|name| !is_verified(name)) {
            let kept = kept_profile(&state, name).map_err(|refusal| {
                check::of_refusal(&refusal, &config.state.to_string_lossy(), Some(&config.state))
            })?;
            // The profile that was not brought may ask for it.
            crew |= kept.is_outdated;
            profiles.extend(kept.profile);
        }
        crew |= profiles.iter().any(|profile| profile.approval == Approval::Crew);
        Ok(Self { crew, site: profiles.into_iter().next().map(|profile| profile.site) })
    }

    /// The site of the device: that of a signed profile, else what the configuration says.
    pub(super) fn site<'a>(&'a self, config: &'a Config) -> &'a str {
        self.site.as_ref().unwrap_or(&config.site)
    }
}

/// This device's name, if its configuration has a certificate.
fn device(config: &Config) -> Result<Option<String>, Failure> {
    let Some(files) = &config.identity else { return Ok(None) };
    let (certificate, _) = net::own(files, &ca::authority(&files.authority)?)?;
    Ok(Some(certificate.device().to_string()))
}

/// The public key of someone who approves.
fn key(path: &Path) -> Result<DeviceKey, Failure> {
    let pem = String::from_utf8(ca::limited(path, KEY_LEN_MAX)?).ok();
    pem.and_then(|pem| DeviceKey::from_pem(&pem)).ok_or_else(|| {
        let error = format!("{}: no public key of Ed25519 or P-256 in PEM", path.display());
        Failure::new(Exit::Usage, error, "neap key export-public writes one")
    })
}
