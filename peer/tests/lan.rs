//! Datagrams on a LAN grow to what it carries, and no further.

#![allow(unreachable_pub, reason = "modules of a test have no public")]

#[path = "hostile/world.rs"]
#[allow(dead_code, reason = "another test uses the rest")]
mod world;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use neap_peer::link::{Class, Profile};
use neap_peer::quic::ask;
use neap_peer::quic::node::{Node, Settings};
use neap_peer::shelf::Use;
use tokio::net::UdpSocket;
use world::{World, admission, identity, shelf};

/// UDP payload of Ethernet's 1,500 bytes.
const ETHERNET_LEN: usize = 1_472;

/// Carries datagrams between a node and whoever comes, but none that are longer than Ethernet's.
async fn switch(front: UdpSocket, node: SocketAddr) {
    let (front, mut bytes) = (Arc::new(front), vec![0; 1 << 16]);
    let back = Arc::new(UdpSocket::bind("127.0.0.1:0").await.expect("a port"));
    let (len, device) = front.recv_from(&mut bytes).await.expect("the device's datagram");
    back.send_to(&bytes[..len], node).await.expect("it is sent");
    let (home, sent) = (Arc::clone(&front), Arc::clone(&back));
    tokio::spawn(async move {
        let mut bytes = vec![0; 1 << 16];
        loop {
            let len = back.recv(&mut bytes).await.expect("the node's datagram");
            if len <= ETHERNET_LEN {
                home.send_to(&bytes[..len], device).await.expect("it is sent");
            }
        }
    });
    loop {
        let len = front.recv(&mut bytes).await.expect("the device's datagram");
        if len <= ETHERNET_LEN {
            sent.send_to(&bytes[..len], node).await.expect("it is sent");
        }
    }
}

/// Fetches the blob of a node at `at` until its datagrams have grown to `len`: to what they grew.
async fn grown(world: &World, at: SocketAddr, len: usize) -> usize {
    let lan = Profile::of_class("lan", Class::Lan);
    let settings = Settings {
        listen: None,
        site: "MV Aurora".into(),
        identity: identity(&world.ca, "radar", 2).0,
        admission: admission(&world.ca, None, &Arc::default()),
        lan: lan.clone(),
        incoming: Profile::of_class("port", Class::Port),
        peer_day_bytes: None,
    };
    let (node, mut events) = Node::start(settings, shelf(None, Use::Reads).0).expect("it starts");
    tokio::spawn(async move { while events.recv().await.is_some() {} });
    let peer = node.dial(at, &lan, Some("server")).await.expect("it is reached");
    let mut mtu = 0;
    for _ in 0..200 {
        let blob = (world.blob, world.bytes.len() as u64);
        let fetched = ask::document(&peer.connection, blob.0, blob.1).await;
        assert!(fetched.expect("it comes") == world.bytes);
        let there = world.node.peers();
        mtu = there[0].connection.stats().path.current_mtu.into();
        if mtu >= len {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    node.close().await;
    mtu
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn datagrams_are_jumbo_frames_where_these_pass() {
    let mut world = World::new();
    let _events = world.drain();
    assert!(grown(&world, world.at, 6_000).await >= 6_000);
}

// Nobody says that a datagram was too long: it is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn datagrams_are_those_of_ethernet_where_longer_ones_are_lost() {
    let mut world = World::new();
    let _events = world.drain();
    let front = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let through = front.local_addr().expect("bound");
    tokio::spawn(switch(front, world.at));
    let grown = grown(&world, through, 1_440).await;
    assert!((1_440..=ETHERNET_LEN).contains(&grown), "{grown}");
}
