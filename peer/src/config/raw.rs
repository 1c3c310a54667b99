//! The configuration as it is written: every key of every table, and nothing else.
//!
//! Whatever has a form of its own is checked as it is read, so that an error has a line.

use std::collections::BTreeMap;

use neap_trust::identity::DeviceName;
use serde::Deserialize;

use super::WhenPlugged;
use super::value::{
    AbsolutePath, GroupName, HostPort, LinkName, Listen, MirrorPlace, OfPrice, ProductName,
    RateKbit, RttMs, SiteName, Size,
};
use crate::link::{Class, Hours};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    pub(super) depot: Option<AbsolutePath>,
    pub(super) state: Option<AbsolutePath>,
    pub(super) site: Option<SiteName>,
    pub(super) listen: Option<Listen>,
    pub(super) peer_day_bytes: Option<Size>,
    #[serde(default)]
    pub(super) groups: Vec<GroupName>,
    pub(super) product: Option<ProductName>,
    pub(super) root: Option<AbsolutePath>,
    #[serde(default)]
    pub(super) identity: RawIdentity,
    #[serde(default)]
    pub(super) discovery: RawDiscovery,
    #[serde(default)]
    pub(super) peer: Vec<RawPeer>,
    #[serde(default)]
    pub(super) mirror: Vec<RawMirror>,
    #[serde(default)]
    pub(super) link: BTreeMap<LinkName, RawLink>,
    #[serde(default)]
    pub(super) metrics: RawMetrics,
    #[serde(default)]
    pub(super) approval: RawApproval,
    #[serde(default)]
    pub(super) stick: RawStick,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawApproval {
    #[serde(default)]
    pub(super) keys: Vec<AbsolutePath>,
    pub(super) threshold: Option<usize>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawStick {
    pub(super) when_plugged: Option<WhenPlugged>,
    pub(super) source: Option<AbsolutePath>,
    pub(super) target: Option<AbsolutePath>,
    pub(super) led: Option<AbsolutePath>,
    pub(super) console: Option<AbsolutePath>,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawIdentity {
    pub(super) certificate: Option<AbsolutePath>,
    pub(super) key: Option<AbsolutePath>,
    pub(super) authority: Option<AbsolutePath>,
    pub(super) crl: Option<AbsolutePath>,
    pub(super) certificates: Option<AbsolutePath>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDiscovery {
    pub(super) mdns: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPeer {
    pub(super) address: HostPort,
    pub(super) device: Option<DeviceName>,
    pub(super) link: LinkName,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMirror {
    pub(super) url: MirrorPlace,
    pub(super) link: LinkName,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLink {
    pub(super) class: Option<Class>,
    pub(super) rate_kbit: Option<RateKbit>,
    pub(super) rtt_ms: Option<RttMs>,
    pub(super) price: Option<OfPrice>,
    pub(super) update_bytes: Option<Size>,
    pub(super) day_bytes: Option<Size>,
    pub(super) month_bytes: Option<Size>,
    #[serde(default)]
    pub(super) hours: Vec<Hours>,
    pub(super) metered: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMetrics {
    pub(super) listen: Option<Listen>,
    pub(super) textfile: Option<AbsolutePath>,
}
