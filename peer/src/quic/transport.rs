//! What a connection is set to, by the link that it is over.

use std::sync::Arc;
use std::time::Duration;

use quinn::{AckFrequencyConfig, IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};

use crate::congestion::Satellite;
use crate::limits::STREAMS_PER_PEER_MAX;
use crate::link::{Class, Profile};

/// The settings for a link.
#[must_use]
pub fn config(link: &Profile) -> TransportConfig {
    let mut config = TransportConfig::default();
    let idle = IdleTimeout::try_from(link.idle_timeout()).ok();
    config.max_idle_timeout(idle);
    config.keep_alive_interval(link.keep_alive());
    config.max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_PER_PEER_MAX));
    // One for notices.
    config.max_concurrent_uni_streams(VarInt::from_u32(1));
    config.datagram_receive_buffer_size(None);
    config.receive_window(window(link));
    config.send_window(window(link).into_inner());
    config.initial_rtt(link.rtt());
    let mut mtu = MtuDiscoveryConfig::default();
    // Where less passes, discovery finds that out.
    mtu.upper_bound(if link.class == Class::Lan { DATAGRAM_LEN_MAX } else { ETHERNET_LEN_MAX });
    config.mtu_discovery_config(Some(mtu));
    if link.class == Class::Lan {
        let mut acks = AckFrequencyConfig::default();
        acks.ack_eliciting_threshold(VarInt::from_u32(ACK_EVERY));
        acks.max_ack_delay(Some(ACK_DELAY));
        config.ack_frequency_config(Some(acks));
    } else {
        let mut satellite = Satellite::default();
        if let Some(rate) = link.rate_bps {
            satellite = satellite.rate(rate);
        }
        config.congestion_controller_factory(Arc::new(satellite));
    }
    config
}

/// Bytes that may be under way on a connection: twice what the link holds, and on a LAN enough
/// for a gigabit at 8 ms.
fn window(link: &Profile) -> VarInt {
    let rate = link.rate_bps.unwrap_or(match link.class {
        Class::Lan => 0,
        Class::Port | Class::Sat => RATE_BPS,
    });
    let held = u128::from(rate / 8) * link.rtt().max(Duration::from_millis(1)).as_millis() / 1000;
    let window = u64::try_from(held).unwrap_or(u64::MAX).saturating_mul(2);
    let window = window.clamp(WINDOW_MIN, WINDOW_MAX);
    VarInt::from_u64(window).unwrap_or(VarInt::MAX)
}

/// Most bytes of UDP payload in a datagram, of a LAN whose Ethernet has jumbo frames: quinn gives
/// the system ten at a time, which takes at most 65,507 bytes together.
pub const DATAGRAM_LEN_MAX: u16 = 6_500;

/// The same where nobody has said that there may be jumbo frames: Ethernet's 1,500 less headers of
/// IPv4 and UDP.
const ETHERNET_LEN_MAX: u16 = 1_472;

/// Packets that are acknowledged together on a LAN (the acknowledgement frequency extension): two
/// calls of the system's worth. Each costs both sides what a packet of data does.
const ACK_EVERY: u32 = 19;

/// How long the last ones may wait for that.
const ACK_DELAY: Duration = Duration::from_millis(5);

/// What a link may be whose rate is not known, in bit/s.
const RATE_BPS: u64 = 20_000_000;

/// Bounds of a window, in bytes: the lower one for 20 peers in 24 MiB.
const WINDOW_MIN: u64 = 1 << 20;
const WINDOW_MAX: u64 = 8 << 20;
