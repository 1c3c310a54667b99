//! Finding members of the site on the LAN, and being found: DNS-SD over multicast (RFC 6762, 6763).
//! What is found there is a hint where to dial; who answers shows its certificate.

use std::collections::HashMap;
use std::net::SocketAddr;

use mdns_sd::{ServiceDaemon, ServiceEvent, ServiceInfo};
use neap_depot::name::Device;

use super::node::Node;
use crate::wire::Address;

/// As long as this lives, the node is found and finds others.
pub struct Discovery {
    daemon: ServiceDaemon,
}

impl std::fmt::Debug for Discovery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Discovery")
    }
}

/// Begins to look for members of `site`, which the node then dials, and to be found.
///
/// # Errors
/// If multicast cannot be used; static peers still can.
pub fn begin(node: &Node, site: &str) -> Result<Discovery, String> {
    let failed = |error: mdns_sd::Error| error.to_string();
    let daemon = ServiceDaemon::new().map_err(failed)?;
    let me = node.me().to_owned();
    let port = node.address().map_err(|error| error.to_string())?.port();
    let facts: HashMap<String, String> =
        [("device".to_owned(), me.clone()), ("site".to_owned(), site.to_owned())].into();
    let host = format!("{me}.local.");
    let info = ServiceInfo::new(SERVICE, &me, &host, "", port, facts).map_err(failed)?;
    daemon.register(info.enable_addr_auto()).map_err(failed)?;
    let found = daemon.browse(SERVICE).map_err(failed)?;
    let (node, site) = (node.clone(), site.to_owned());
    tokio::spawn(async move {
        while let Ok(event) = found.recv_async().await {
            let ServiceEvent::ServiceResolved(service) = event else { continue };
            let fact = |key| service.get_property_val_str(key).unwrap_or_default().to_owned();
            let device = fact("device");
            if fact("site") != site || Device::new(&device).is_none() {
                continue;
            }
            // One address that works is enough; the newest announcement brings them all again.
            let mut all: Vec<_> =
                service.get_addresses().iter().map(mdns_sd::ScopedIp::to_ip_addr).collect();
            all.sort_by_key(|ip| ip.is_ipv6());
            if let Some(ip) = all.first() {
                let at = SocketAddr::new(*ip, service.get_port());
                node.meet(Address { device, at });
            }
        }
    });
    Ok(Discovery { daemon })
}

impl Drop for Discovery {
    fn drop(&mut self) {
        // It says goodbye to others if it still can.
        drop(self.daemon.shutdown());
    }
}

/// The service's name in DNS-SD.
const SERVICE: &str = "_neap._udp.local.";
