//! The configuration of a node: TOML files in layers, checked once, and typed from then on.
//!
//! `docs/links.md` is its reference. Layers are given in order; a later one overrides an earlier
//! one key by key: tables are merged, arrays and all else are replaced. Every layer is checked by
//! itself, so that an error names its file and line; then what they make together. Opening files
//! is [`mod@file`]'s.

mod error;
pub mod file;
mod layers;
mod raw;
mod value;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use neap_trust::identity::DeviceName;

pub use error::ConfigError;
pub use layers::Layer;
pub use value::{HostPort, MirrorPlace};

use crate::limits::{
    APPROVAL_KEY_COUNT_MAX, CONFIG_GROUP_COUNT_MAX, CONFIG_PEER_COUNT_MAX, HOURS_COUNT_MAX,
    LINK_COUNT_MAX, MIRROR_COUNT_MAX,
};
use crate::link::{Class, Profile};
use layers::Layers;
use raw::{Raw, RawApproval, RawIdentity, RawLink, RawStick};

/// The configuration of a node; all of it has passed its checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Folder of the node's depot.
    pub depot: PathBuf,
    /// Folder of what the node remembers.
    pub state: PathBuf,
    /// Name of its site; empty if it was told none.
    pub site: String,
    /// Where it listens, if it does.
    pub listen: Option<SocketAddr>,
    /// Bytes of blobs that it sends to one peer in 24 hours, unless that is a member of its site.
    pub peer_day_bytes: Option<u64>,
    /// Who it is, if it was told.
    pub identity: Option<Identity>,
    /// Groups that it follows.
    pub groups: Vec<String>,
    /// What kind of device it is.
    pub product: Option<String>,
    /// The root that it trusts to begin with.
    pub root: Option<PathBuf>,
    /// Whether it looks for peers on its LAN, and lets them find it.
    pub mdns: bool,
    /// Peers that it was told.
    pub peers: Vec<Peer>,
    /// Depots behind web servers, buckets and folders: its last sources.
    pub mirrors: Vec<Mirror>,
    /// All links by name; `lan`, `port` and `sat` are always among them.
    pub links: BTreeMap<String, Profile>,
    /// Where its metrics go.
    pub metrics: MetricsPlace,
    /// Who must approve before it is written.
    pub approval: Approval,
    /// What it does with sticks.
    pub stick: Stick,
}

/// Who must approve before a device is written, beside those who sign releases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// Public keys, PEM. If there are any, nothing is installed from a stick without approval.
    pub keys: Vec<PathBuf>,
    /// How many of them must.
    pub threshold: usize,
}

/// What a node does with sticks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stick {
    /// What happens when one is plugged in.
    pub when_plugged: WhenPlugged,
    /// The image that an install starts from, and what it overwrites.
    pub places: Option<(PathBuf, PathBuf)>,
    /// The folder of an LED.
    pub led: Option<PathBuf>,
    /// Where a line is written for whoever has a console.
    pub console: Option<PathBuf>,
}

/// What happens when a stick is plugged in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhenPlugged {
    /// It is verified, and what it has is said.
    #[default]
    Announce,
    /// What it has for this device is copied to the device's depot.
    Import,
    /// It is installed, where an approval is on it.
    InstallAfterApproval,
}

/// Files that say who a node is to its peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its certificate, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// The certificate of its fleet's authority, PEM.
    pub authority: PathBuf,
    /// The list of revoked certificates, if it was given one.
    pub crl: Option<PathBuf>,
    /// A folder with certificates of devices, whose receipts others may bring.
    pub certificates: Option<PathBuf>,
}

/// A peer at a known address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Where it is.
    pub address: HostPort,
    /// The device that must answer there; any of the fleet if that is not said.
    pub device: Option<DeviceName>,
    /// The link on the way to it.
    pub link: Profile,
}

/// A depot that no peer serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// Where it is.
    pub place: MirrorPlace,
    /// The link on the way to it.
    pub link: Profile,
}

/// Where metrics go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MetricsPlace {
    /// Where they are served over HTTP, if they are.
    pub listen: Option<SocketAddr>,
    /// The file that they are written to, if they are.
    pub textfile: Option<PathBuf>,
}

impl Config {
    /// Reads layers, the least important first. None at all is a node with its defaults.
    ///
    /// # Errors
    /// If a layer is no configuration, or all of them together are none.
    pub fn parse(layers: &[Layer]) -> Result<Self, ConfigError> {
        let layers = Layers::parse(layers)?;
        Self::of(layers.merged()?, &layers)
    }

    fn of(raw: Raw, layers: &Layers) -> Result<Self, ConfigError> {
        for (key, what, found, allowed) in [
            ("link", "links", raw.link.len(), LINK_COUNT_MAX),
            ("peer", "peers", raw.peer.len(), CONFIG_PEER_COUNT_MAX),
            ("mirror", "mirrors", raw.mirror.len(), MIRROR_COUNT_MAX),
            ("groups", "groups", raw.groups.len(), CONFIG_GROUP_COUNT_MAX),
        ] {
            if found > allowed {
                return Err(layers.wrong(&[key], format!("{found} {what}, {allowed} allowed")));
            }
        }
        let links = links(raw.link, layers)?;
        let link = |key: &str, name: &str| {
            links.get(name).cloned().ok_or_else(|| {
                let known: Vec<_> = links.keys().map(String::as_str).collect();
                let known = known.join(", ");
                layers
                    .wrong(&[key, "link"], format!("no link is called `{name}`; there are {known}"))
            })
        };
        let peers = raw.peer.into_iter().map(|peer| {
            let link = link("peer", peer.link.as_str())?;
            Ok(Peer { address: peer.address, device: peer.device, link })
        });
        let peers = peers.collect::<Result<_, _>>()?;
        let mirrors = raw.mirror.into_iter().map(|mirror| {
            let link = link("mirror", mirror.link.as_str())?;
            Ok(Mirror { place: mirror.url, link })
        });
        let mirrors = mirrors.collect::<Result<_, _>>()?;
        let state = raw.state.map_or_else(|| PathBuf::from(STATE), PathBuf::from);
        Ok(Self {
            depot: raw.depot.map_or_else(|| state.join("depot"), PathBuf::from),
            state,
            site: raw.site.map(String::from).unwrap_or_default(),
            listen: raw.listen.map_or(Some(LISTEN), |listen| listen.0),
            peer_day_bytes: raw.peer_day_bytes.map(|size| size.0),
            identity: identity(raw.identity, layers)?,
            groups: raw.groups.into_iter().map(String::from).collect(),
            product: raw.product.map(String::from),
            root: raw.root.map(PathBuf::from),
            mdns: raw.discovery.mdns.unwrap_or(true),
            peers,
            mirrors,
            links,
            metrics: MetricsPlace {
                listen: raw.metrics.listen.and_then(|listen| listen.0),
                textfile: raw.metrics.textfile.map(PathBuf::from),
            },
            stick: stick(raw.stick, !raw.approval.keys.is_empty(), layers)?,
            approval: approval(raw.approval, layers)?,
        })
    }
}

/// All or nothing of an identity.
fn identity(raw: RawIdentity, layers: &Layers) -> Result<Option<Identity>, ConfigError> {
    if raw == RawIdentity::default() {
        return Ok(None);
    }
    let RawIdentity { certificate, key, authority, crl, certificates } = raw;
    let needed = |name: &str, path: Option<value::AbsolutePath>| {
        let missing = || layers.wrong(&["identity"], format!("`{name}` is missing"));
        path.map(PathBuf::from).ok_or_else(missing)
    };
    Ok(Some(Identity {
        certificate: needed("certificate", certificate)?,
        key: needed("key", key)?,
        authority: needed("authority", authority)?,
        crl: crl.map(PathBuf::from),
        certificates: certificates.map(PathBuf::from),
    }))
}

/// Keys of those who approve; their number is a number of them.
fn approval(raw: RawApproval, layers: &Layers) -> Result<Approval, ConfigError> {
    let count = raw.keys.len();
    let wrong = |why: String| layers.wrong(&["approval"], why);
    if count > APPROVAL_KEY_COUNT_MAX {
        return Err(wrong(format!("{count} keys, {APPROVAL_KEY_COUNT_MAX} allowed")));
    }
    let threshold = raw.threshold.unwrap_or(1);
    if raw.threshold.is_some() && !(1..=count).contains(&threshold) {
        return Err(wrong(format!("`threshold` is {threshold}, and there are {count} keys")));
    }
    Ok(Approval { keys: raw.keys.into_iter().map(PathBuf::from).collect(), threshold })
}

/// Both places or none: what is read, and what is overwritten.
fn stick(raw: RawStick, has_keys: bool, layers: &Layers) -> Result<Stick, ConfigError> {
    let wrong = |why: &str| layers.wrong(&["stick"], why.to_owned());
    let when_plugged = raw.when_plugged.unwrap_or_default();
    let places = match (raw.source, raw.target) {
        (Some(source), Some(target)) => Some((source.into(), target.into())),
        (None, None) if when_plugged == WhenPlugged::InstallAfterApproval => {
            return Err(wrong("`source` and `target` are missing: an install needs them"));
        }
        (None, None) => None,
        (Some(_), None) => return Err(wrong("`target` is missing")),
        (None, Some(_)) => return Err(wrong("`source` is missing")),
    };
    if when_plugged == WhenPlugged::InstallAfterApproval && !has_keys {
        return Err(wrong("an install needs `keys` of `[approval]`"));
    }
    let (led, console) = (raw.led.map(PathBuf::from), raw.console.map(PathBuf::from));
    Ok(Stick { when_plugged, places, led, console })
}

/// The links that are always there, and those that were described.
fn links(
    raw: BTreeMap<value::LinkName, RawLink>,
    layers: &Layers,
) -> Result<BTreeMap<String, Profile>, ConfigError> {
    let built_in =
        Class::ALL.map(|class| (class.name().to_owned(), Profile::of_class(class.name(), class)));
    let mut links = BTreeMap::from(built_in);
    for (name, raw) in raw {
        let name = name.as_str();
        let link = link(name, raw).map_err(|why| layers.wrong(&["link", name], why))?;
        links.insert(name.to_owned(), link);
    }
    Ok(links)
}

fn link(name: &str, raw: RawLink) -> Result<Profile, String> {
    let built_in = Class::ALL.into_iter().find(|class| class.name() == name);
    let class = match (built_in, raw.class) {
        (Some(own), Some(other)) if own != other => {
            return Err(format!("`class` of the link {name} is {name}, not {}", other.name()));
        }
        (own, said) => own.or(said).ok_or("`class` is missing: lan, port or sat")?,
    };
    let costs = raw.price.as_ref().is_some_and(|price| price.0.micros_per_mb() > 0);
    if costs && raw.metered == Some(false) {
        return Err("a link with a price cannot be `metered = false`".to_owned());
    }
    if raw.hours.len() > HOURS_COUNT_MAX {
        return Err(format!("`hours` has {} entries, {HOURS_COUNT_MAX} allowed", raw.hours.len()));
    }
    Ok(Profile {
        name: name.to_owned(),
        class,
        rate_bps: raw.rate_kbit.map(|rate| rate.0 * 1000),
        rtt_ms: raw.rtt_ms.map(|rtt| rtt.0),
        price: raw.price.map(|price| price.0),
        update_bytes: raw.update_bytes.map(|size| size.0),
        day_bytes: raw.day_bytes.map(|size| size.0),
        month_bytes: raw.month_bytes.map(|size| size.0),
        hours: raw.hours,
        metered: raw.metered.unwrap_or(class.is_metered() || costs),
    })
}

/// Where a node keeps what it remembers.
const STATE: &str = "/var/lib/neap";

/// Where a node listens: all addresses.
const LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED), 4747);
