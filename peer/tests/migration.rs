//! A connection that outlives a change of address, as devices behind routers of ships see it.

#![allow(unreachable_pub, reason = "modules of a test have no public")]

#[path = "hostile/world.rs"]
#[allow(dead_code, reason = "another test uses the rest")]
mod world;

use std::net::SocketAddr;
use std::time::Duration;

use neap_peer::link::{Class, Profile};
use neap_peer::quic::node::{Event, Node, Settings};
use neap_peer::quic::site::{Place, Site, Unlimited, Want};
use neap_peer::shelf::Use;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use world::{World, admission, identity, shelf};

/// Datagrams from shore after which the router forgets the device.
const BEFORE: usize = 40;

/// How long nothing passes then: what the device has to acknowledge is lost as well.
const GAP: Duration = Duration::from_millis(600);

/// A router that once gives the device another port, after a gap.
async fn router(front: UdpSocket, shore: SocketAddr) {
    let bind = || async { UdpSocket::bind("127.0.0.1:0").await.expect("a port") };
    let (mut back, mut device, mut passed) = (bind().await, None, 0);
    let (mut out, mut home) = ([0; 2048], [0; 2048]);
    loop {
        tokio::select! {
            got = front.recv_from(&mut out) => {
                let (len, from) = got.expect("the device's datagram");
                device = Some(from);
                back.send_to(&out[..len], shore).await.expect("it is sent");
            }
            got = back.recv_from(&mut home) => {
                let (len, _) = got.expect("the shore's datagram");
                front.send_to(&home[..len], device.expect("it spoke first")).await.expect("sent");
                passed += 1;
                if passed == BEFORE {
                    tokio::time::sleep(GAP).await;
                    while front.try_recv_from(&mut out).is_ok() {}
                    back = bind().await;
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_goes_on_over_its_connection_after_the_address_changed() {
    let mut world = World::new();
    let mut happened = world.drain();
    let front = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let through = front.local_addr().expect("bound");
    tokio::spawn(router(front, world.at));

    let (shelf, _) = shelf(None, Use::Writes);
    let settings = Settings {
        listen: None,
        site: "MV Aurora".into(),
        identity: identity(&world.ca, "radar-7", 2).0,
        admission: admission(&world.ca, None, &std::sync::Arc::default()),
        lan: Profile::of_class("lan", Class::Lan),
        incoming: Profile::of_class("sat", Class::Sat),
        peer_day_bytes: None,
    };
    let (node, events) = Node::start(settings, shelf.clone()).expect("it starts");
    let link = Profile::of_class("sat", Class::Sat);
    let place = Place { address: through.to_string(), device: None, link };
    let mut site = Site::new(node, events, shelf, vec![place], Box::new(Unlimited));
    let want = Want { blob: world.blob, len: world.bytes.len() as u64, in_order: false };
    let (tell, _told) = watch::channel(0);
    let fetched = site.fetch(want, Duration::from_secs(30), &tell, &mut |_| {}).await;
    let fetched = fetched.expect("it is fetched");
    assert_eq!(fetched.taken.by_name.len(), 1, "{fetched:?}");

    site.node().close().await;
    world.node.close().await;
    let mut ups = 0;
    while let Ok(event) = happened.try_recv() {
        ups += usize::from(matches!(event, Event::Up(_)));
    }
    assert_eq!(ups, 1, "the device had to connect again");
}
