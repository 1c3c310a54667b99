//! An answer that is called off while all of it waits to be sent: over a link that costs, what is
//! sent all the same is a mebibyte for nothing.

#![allow(unreachable_pub, reason = "modules of a test have no public")]

#[path = "hostile/world.rs"]
#[allow(dead_code, reason = "another test uses the rest")]
mod world;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use neap_peer::groups::Groups;
use neap_peer::wire::Request;
use quinn::{TransportConfig, VarInt};
use tokio::net::UdpSocket;
use world::World;

/// A link from shore that takes this long for each datagram: 120 kB/s.
const DATAGRAM: Duration = Duration::from_millis(10);

/// Carries datagrams, and counts the bytes from shore.
async fn slow_link(front: UdpSocket, shore: SocketAddr, passed: Arc<AtomicUsize>) {
    let front = Arc::new(front);
    let back = Arc::new(UdpSocket::bind("127.0.0.1:0").await.expect("a port"));
    let mut out = [0; 2048];
    let (len, device) = front.recv_from(&mut out).await.expect("the device's datagram");
    back.send_to(&out[..len], shore).await.expect("it is sent");
    let (home, sent) = (Arc::clone(&front), Arc::clone(&back));
    tokio::spawn(async move {
        let mut bytes = [0; 2048];
        loop {
            let len = back.recv(&mut bytes).await.expect("the shore's datagram");
            tokio::time::sleep(DATAGRAM).await;
            home.send_to(&bytes[..len], device).await.expect("it is sent");
            passed.fetch_add(len, Ordering::Relaxed);
        }
    });
    loop {
        let len = front.recv(&mut out).await.expect("the device's datagram");
        sent.send_to(&out[..len], shore).await.expect("it is sent");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answer_that_is_called_off_is_not_sent() {
    let mut world = World::new();
    let _events = world.drain();
    let front = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let through = front.local_addr().expect("bound");
    let passed = Arc::default();
    tokio::spawn(slow_link(front, world.at, Arc::clone(&passed)));
    world.at = through;
    let raw = world.raw_over("fickle", 9, false, TransportConfig::default()).await;

    let (mut send, mut answer) = raw.connection.open_bi().await.expect("a stream");
    let request = Request::Blob { blob: world.blob, groups: Groups::of(0..19) };
    send.write_all(&request.encode()).await.expect("it is taken");
    send.finish().expect("it is open");
    answer.read_exact(&mut [0]).await.expect("it begins");
    tokio::time::sleep(20 * DATAGRAM).await;
    answer.stop(VarInt::from_u32(0)).expect("it is open");
    // What is asked later is answered later.
    assert!(raw.ask(&Request::Receipts.encode()).await.is_some());
    let passed = passed.load(Ordering::Relaxed);
    assert!(passed < world.bytes.len() / 3 * 2, "{passed} bytes of {}", world.bytes.len());
}
