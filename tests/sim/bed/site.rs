//! A site: devices on a LAN, and a gateway that leads to the shore over the emulated link.
//!
//! The LAN is a bridge in a namespace of its own, with one cable to each node.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

use serde::Serialize;

use super::link::{Link, SHORE};
use super::namespace::{BedError, inside, ip};
use super::node::Process;
use super::options::LinkOptions;
use super::pump::Totals;

/// A machine of the testbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Node {
    /// Behind the link.
    Shore,
    /// The site's router.
    Gateway,
    /// A device of the site, from 1.
    Device(u32),
}

/// Most devices of a site; their addresses are one byte apart.
pub const DEVICES_MAX: u32 = 200;

/// A site with its link.
#[derive(Debug)]
pub struct Site {
    link: Link,
    device_count: u32,
    folder: PathBuf,
}

/// Bytes that crossed one node's LAN cable, as Ethernet frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LanBytes {
    /// From the node into the LAN.
    pub sent: u64,
    /// From the LAN to the node.
    pub received: u64,
}

impl Site {
    /// Builds the site. Logs and the link's statistics, [`STATS`], go to `folder`.
    ///
    /// # Errors
    /// If anything cannot be made.
    pub fn start(
        device_count: u32,
        options: &LinkOptions,
        folder: &Path,
    ) -> Result<Self, BedError> {
        if device_count > DEVICES_MAX {
            return Err(BedError::Failed(format!("{device_count} devices; {DEVICES_MAX} allowed")));
        }
        fs::create_dir_all(folder)?;
        let link = Link::start(options, Some(&folder.join(STATS)))?;
        let site = Self { link, device_count, folder: folder.into() };
        site.build_lan()?;
        Ok(site)
    }

    /// Starts a program at a node; its output goes to `name.out` and `name.err` in the folder.
    ///
    /// # Errors
    /// If it does not start.
    pub fn spawn<S: AsRef<OsStr>>(
        &self,
        node: Node,
        name: &str,
        argv: &[S],
    ) -> Result<Process, BedError> {
        Process::start(&self.namespace(node), name, &self.folder, argv)
    }

    /// Runs `work` in a thread at a node.
    ///
    /// # Errors
    /// If the node cannot be entered; what `work` returns otherwise.
    pub fn inside<T: Send>(
        &self,
        node: Node,
        work: impl FnOnce() -> io::Result<T> + Send,
    ) -> io::Result<T> {
        inside(&self.namespace(node), work)
    }

    /// A node's address: of the gateway, that on the LAN.
    #[must_use]
    pub fn address(node: Node) -> String {
        match node {
            Node::Shore => SHORE.into(),
            Node::Gateway => format!("{LAN}1"),
            Node::Device(index) => format!("{LAN}{}", index + 10),
        }
    }

    /// A node's namespace.
    #[must_use]
    pub fn namespace(&self, node: Node) -> String {
        self.link.network().name(&node.to_string())
    }

    /// Gives a device another address on the LAN; it keeps none of the old one.
    ///
    /// # Errors
    /// If there is no such device, or its network cannot be set.
    pub fn readdress(&self, device: u32) -> Result<(), BedError> {
        let last = u32::from(u8::MAX).checked_sub(device).filter(|last| *last > DEVICES_MAX + 10);
        let Some(last) = last.filter(|_| (1..=self.device_count).contains(&device)) else {
            return Err(BedError::Failed(format!("device {device} cannot get another address")));
        };
        let namespace = self.namespace(Node::Device(device));
        ip(&["-n", &namespace, "addr", "flush", "dev", CABLE])?;
        ip(&["-n", &namespace, "addr", "add", &format!("{LAN}{last}/24"), "dev", CABLE])?;
        let gateway = Self::address(Node::Gateway);
        ip(&["-n", &namespace, "route", "add", "default", "via", &gateway]).map(drop)
    }

    /// The devices.
    pub fn devices(&self) -> impl Iterator<Item = Node> + use<> {
        (1..=self.device_count).map(Node::Device)
    }

    /// What crossed each cable of the LAN so far. Large segments that the kernel passes on whole
    /// count the header once.
    ///
    /// # Errors
    /// If the kernel's counters cannot be read.
    pub fn lan_bytes(&self) -> io::Result<BTreeMap<Node, LanBytes>> {
        let lan = self.link.network().name(BRIDGE_AT);
        let text = inside(&lan, || fs::read_to_string("/proc/thread-self/net/dev"))?;
        let nodes = self.devices().chain([Node::Gateway]);
        Ok(nodes.filter_map(|node| Some((node, counters(&text, &port(node))?))).collect())
    }

    /// The link, to begin its clock.
    #[must_use]
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// Ends the link and removes everything; returns what crossed it.
    ///
    /// # Errors
    /// If the emulator failed.
    pub fn finish(self) -> Result<Totals, BedError> {
        self.link.finish()
    }

    fn build_lan(&self) -> Result<(), BedError> {
        let lan = self.link.network().namespace(BRIDGE_AT)?;
        ip(&["-n", &lan, "link", "add", BRIDGE, "type", "bridge"])?;
        ip(&["-n", &lan, "link", "set", BRIDGE, "up"])?;
        self.plug(&lan, Node::Gateway)?;
        let gateway = Self::address(Node::Gateway);
        for device in self.devices() {
            let namespace = self.link.network().namespace(&device.to_string())?;
            self.plug(&lan, device)?;
            ip(&["-n", &namespace, "route", "add", "default", "via", &gateway])?;
        }
        Ok(())
    }

    /// A cable from the bridge to a node, whose end is its [`CABLE`].
    fn plug(&self, lan: &str, node: Node) -> Result<(), BedError> {
        let (namespace, port) = (self.namespace(node), port(node));
        let (address, node) = (format!("{}/24", Self::address(node)), namespace.as_str());
        ip(&[
            "-n", lan, "link", "add", &port, "type", "veth", "peer", "name", CABLE, "netns", node,
        ])?;
        ip(&["-n", lan, "link", "set", &port, "master", BRIDGE, "up"])?;
        ip(&["-n", node, "addr", "add", &address, "broadcast", "+", "dev", CABLE])?;
        ip(&["-n", node, "link", "set", CABLE, "up"])?;
        Ok(())
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shore => f.write_str("shore"),
            Self::Gateway => f.write_str("gateway"),
            Self::Device(index) => write!(f, "dev{index}"),
        }
    }
}

/// The statistics in a site's folder.
pub const STATS: &str = "link.jsonl";
/// A node's device on the LAN.
pub const CABLE: &str = "eth0";
const LAN: &str = "10.78.0.";
const BRIDGE: &str = "br0";
/// The namespace with the bridge.
const BRIDGE_AT: &str = "lan";

/// The bridge's end of a node's cable.
fn port(node: Node) -> String {
    format!("p-{node}")
}

/// A device's line of `/proc/net/dev`, seen from the bridge: what it receives, the node sent.
fn counters(text: &str, device: &str) -> Option<LanBytes> {
    let values = text.lines().find_map(|line| {
        let (name, values) = line.split_once(':')?;
        (name.trim() == device).then_some(values)
    })?;
    let mut values = values.split_whitespace().map(str::parse::<u64>);
    let sent = values.next()?.ok()?;
    Some(LanBytes { sent, received: values.nth(7)?.ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_those_of_the_device_seen_from_its_other_end() {
        let text = "Inter-| Receive | Transmit\n face |bytes packets\n\
                    p-dev11: 5 0 0 0 0 0 0 0 6 0 0\n p-dev1: 10 1 0 0 0 0 0 0 20 2 0 0\n";
        assert_eq!(counters(text, "p-dev1"), Some(LanBytes { sent: 10, received: 20 }));
        assert_eq!(counters(text, "p-dev2"), None);
    }

    #[test]
    fn names_of_ports_fit_the_kernel() {
        assert!(port(Node::Gateway).len() < 16 && port(Node::Device(DEVICES_MAX)).len() < 16);
    }
}
