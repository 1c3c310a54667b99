//! The door of a node: its socket, and who may come in, before it is known who that is and until it
//! says so.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use quinn::ServerConfig;
use quinn::crypto::rustls::QuicServerConfig;

use super::node::{Inner, Settings, greet};
use super::transport;
use crate::limits::{CONNECTION_COUNT_MAX, CONNECTIONS_PER_PEER_MAX, HANDSHAKES_PER_ADDRESS_MAX};
use crate::link::Profile;
use crate::tls;

/// From where a connection comes: its address until it has shown who it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    Address(IpAddr),
    Device(String),
}

/// A connection on its way in; counted until this is dropped.
pub(super) struct Coming {
    inner: Arc<Inner>,
    from: Origin,
}

/// A socket for both families where the system allows it.
pub(super) fn bind(at: SocketAddr) -> io::Result<std::net::UdpSocket> {
    match std::net::UdpSocket::bind(at) {
        Err(_) if at.ip().is_unspecified() && at.is_ipv6() => {
            std::net::UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, at.port()))
        }
        bound => bound,
    }
}

pub(super) fn server_config(settings: &Settings, link: &Profile) -> io::Result<ServerConfig> {
    let tls = tls::server(&settings.identity, &settings.admission).map_err(io::Error::other)?;
    let crypto = QuicServerConfig::try_from(tls).map_err(io::Error::other)?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(Arc::new(transport::config(link)));
    // Who comes in is taken or sent away at once; what is not waits in little memory.
    config.max_incoming(CONNECTION_COUNT_MAX);
    config.incoming_buffer_size(16 << 10).incoming_buffer_size_total(1 << 20);
    Ok(config)
}

/// Lets peers in for as long as the node listens.
pub(super) async fn accept(inner: Arc<Inner>) {
    let Ok(near) = server_config(&inner.settings, &inner.settings.lan) else { return };
    let near = Arc::new(near);
    while let Some(incoming) = inner.endpoint.accept().await {
        // Half of them are those that are not yet let in.
        if inner.endpoint.open_connections() >= 2 * CONNECTION_COUNT_MAX {
            inner.turned_away.fetch_add(1, Ordering::Relaxed);
            incoming.refuse();
            continue;
        }
        // Where many come at a time, each has to show that its address is its own.
        let is_many = inner.endpoint.open_connections() > HANDSHAKES_FREE;
        if is_many && incoming.may_retry() && !incoming.remote_address_validated() {
            drop(incoming.retry());
            continue;
        }
        let ip = incoming.remote_address().ip().to_canonical();
        // An honest peer says it again after a moment.
        let Some(counted) = coming(&inner, Origin::Address(ip)) else {
            incoming.ignore();
            continue;
        };
        let connecting = match is_near(ip) {
            true => incoming.accept_with(Arc::clone(&near)),
            false => incoming.accept(),
        };
        let Ok(connecting) = connecting else { continue };
        let inner = Arc::clone(&inner);
        tokio::spawn(async move {
            let connected = tokio::time::timeout(inner.patience.hello, connecting).await;
            drop(counted);
            if let Ok(Ok(connection)) = connected {
                drop(greet(&inner, connection, None, None).await);
            }
        });
    }
}

/// Counts a connection on its way in; nothing if there are too many from there.
pub(super) fn coming(inner: &Arc<Inner>, from: Origin) -> Option<Coming> {
    let max = match &from {
        Origin::Address(_) => HANDSHAKES_PER_ADDRESS_MAX,
        Origin::Device(_) => CONNECTIONS_PER_PEER_MAX,
    };
    let mut state = inner.state();
    let count = state.coming.entry(from.clone()).or_default();
    if *count >= max {
        inner.turned_away.fetch_add(1, Ordering::Relaxed);
        return None;
    }
    *count += 1;
    Some(Coming { inner: Arc::clone(inner), from })
}

impl Drop for Coming {
    fn drop(&mut self) {
        let mut state = self.inner.state();
        if let Some(count) = state.coming.get_mut(&self.from) {
            *count -= 1;
            if *count == 0 {
                state.coming.remove(&self.from);
            }
        }
    }
}

/// An address as a socket for both families takes it.
pub(super) fn mapped(at: SocketAddr) -> SocketAddr {
    match at.ip() {
        IpAddr::V4(ip) => SocketAddr::new(IpAddr::V6(ip.to_ipv6_mapped()), at.port()),
        IpAddr::V6(_) => at,
    }
}

/// Whether an address is on a network that this machine is on.
pub(super) fn is_near(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    if ip.is_loopback() {
        return true;
    }
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    interfaces.iter().any(|interface| match (&interface.addr, ip) {
        (if_addrs::IfAddr::V4(own), IpAddr::V4(ip)) => {
            let mask = u32::from(own.netmask);
            mask != 0 && u32::from(own.ip) & mask == u32::from(ip) & mask
        }
        (if_addrs::IfAddr::V6(own), IpAddr::V6(ip)) => {
            let mask = u128::from(own.netmask);
            mask != 0 && u128::from(own.ip) & mask == u128::from(ip) & mask
        }
        _ => false,
    })
}

/// Connections up to which addresses are not asked to prove themselves.
const HANDSHAKES_FREE: usize = 32;
