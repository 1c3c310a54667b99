//! Peers that ask for as much as they may and read nothing: what that costs the node is bounded.
//! Alone in its process, whose memory is measured; the peers are in it, too, with windows so small
//! that what they hold does not count.

#![cfg(target_os = "linux")]
#![allow(unreachable_pub, reason = "modules of a test have no public")]

#[allow(dead_code, reason = "shared with hostile.rs, which uses all of it")]
#[path = "hostile/world.rs"]
mod world;

use std::time::Duration;

use neap_peer::groups::Groups;
use neap_peer::limits::STREAMS_PER_PEER_MAX;
use neap_peer::wire::Request;
use quinn::{TransportConfig, VarInt};
use world::World;

/// Peers, each with all the streams that it may have.
const PEERS: u8 = 12;

const GROWTH_MAX: u64 = 32 << 20;

#[tokio::test]
async fn answers_that_nobody_reads_take_bounded_memory() {
    let mut world = World::new();
    let _events = world.drain();
    world.serves_the_honest().await;
    let before = resident();
    let (mut held, mut peers) = (Vec::new(), Vec::new());
    for byte in 0..PEERS {
        let mut transport = TransportConfig::default();
        transport.stream_receive_window(VarInt::from_u32(2048));
        let raw = world.raw_over(&format!("deaf-{byte}"), 100 + byte, false, transport).await;
        for _ in 0..STREAMS_PER_PEER_MAX {
            let (mut send, answer) = raw.connection.open_bi().await.expect("a stream");
            let request = Request::Blob { blob: world.blob, groups: Groups::of(0..19) };
            send.write_all(&request.encode()).await.expect("it is taken");
            send.finish().expect("it is open");
            held.push((send, answer));
        }
        peers.push(raw);
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let grown = resident().saturating_sub(before);
    println!(
        "{} streams of {} peers that are not read: {} KiB",
        held.len(),
        peers.len(),
        grown >> 10
    );
    assert!(grown < GROWTH_MAX, "{grown} bytes more, {GROWTH_MAX} allowed");
    world.serves_the_honest().await;
}

/// Resident memory of this process, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux says it");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it is there");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib << 10
}
