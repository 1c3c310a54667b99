//! Congestion control for satellite links: [`Satellite`].
//!
//! It decides how many bytes may be in flight, by quinn's `Controller` trait, and nothing else: it
//! asks for no time and sends nothing. Why it is as it is, and what it was measured to do:
//! `docs/congestion.md`.
//!
//! The window is what the link carries in its shortest round trip, plus a little headroom. Headroom
//! that makes no queue is doubled: that is how a faster link is found. A queue that was not meant
//! is a brake: what comes back while there is a queue is the link's rate, whatever was believed
//! before. A queue that stays although we braked belongs to somebody else, who is then met on equal
//! terms. Loss by itself slows nothing.

mod compete;
mod cubic;
mod model;
mod rate;
mod search;
mod span;
mod steady;
mod train;

use model::Model;
use quinn_proto::RttEstimator;
use quinn_proto::congestion::{Controller, ControllerFactory, ControllerMetrics};
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Congestion control for links with long round trips, random loss and a price for each byte.
///
/// ```
/// use neap_peer::congestion::Satellite;
/// use std::sync::Arc;
///
/// let mut transport = quinn::TransportConfig::default();
/// transport.congestion_controller_factory(Arc::new(Satellite::default().rate(2_000_000)));
/// ```
#[derive(Debug, Clone)]
pub struct Satellite {
    rate: Option<u64>,
    initial_window: u64,
}

impl Satellite {
    /// Never sends faster than this, in bit/s with IPv4 and UDP headers, averaged over a round
    /// trip; and begins at it, without start-up.
    ///
    /// For a link whose rate is known. Where the link is slower than said, the first round trip
    /// pays for it in dropped packets; what follows adapts.
    pub fn rate(mut self, bits_per_second: u64) -> Self {
        self.rate = Some(bits_per_second);
        self
    }

    /// Bytes that may be in flight before anything is known of the link: 14,720 unless said, at
    /// least two datagrams (RFC 9002, section 7.2).
    pub fn initial_window(mut self, bytes: u64) -> Self {
        self.initial_window = bytes.max(2 * DATAGRAM_SIZE_MIN);
        self
    }
}

impl Default for Satellite {
    fn default() -> Self {
        Self { rate: None, initial_window: INITIAL_WINDOW }
    }
}

impl ControllerFactory for Satellite {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        let model = Model::new(&self, now, current_mtu);
        Box::new(SatelliteController { config: self, model, told: Arc::default() })
    }
}

/// Tells a controller what the peer's link takes at the most, in bit/s: as [`Satellite::rate`], and
/// the lower of both counts. Any copy of the controller will do; one of another kind is not told.
pub fn tell_rate(controller: Box<dyn Controller>, bits_per_second: u64) {
    if let Ok(satellite) = controller.into_any().downcast::<SatelliteController>() {
        satellite.told.store(bits_per_second, Ordering::Relaxed);
    }
}

/// What [`Satellite`] builds: the trait over the [`Model`].
#[derive(Debug, Clone)]
struct SatelliteController {
    config: Arc<Satellite>,
    model: Model,
    /// What the peer said that its link takes, in bit/s; 0 if it said nothing. Copies share it.
    told: Arc<AtomicU64>,
}

impl Controller for SatelliteController {
    fn on_sent(&mut self, now: Instant, _bytes: u64, _last_packet_number: u64) {
        self.model.send(now);
    }

    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        // Not used: its smallest round trip begins as a guess of 333 ms, below a satellite's.
        _rtt: &RttEstimator,
    ) {
        self.model.ack(now, sent, bytes, app_limited);
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        _app_limited: bool,
        _largest_packet_num_acked: Option<u64>,
    ) {
        let told = self.told.load(Ordering::Relaxed);
        if told > 0 {
            self.model.bound_rate(told);
        }
        self.model.end_batch(now, in_flight);
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        self.model.lose(now, sent, lost_bytes);
        if is_persistent_congestion {
            self.model.restart(now);
        }
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.model.set_mtu(new_mtu);
    }

    fn window(&self) -> u64 {
        self.model.window()
    }

    fn metrics(&self) -> ControllerMetrics {
        let mut metrics = ControllerMetrics::default();
        metrics.congestion_window = self.model.window();
        metrics.pacing_rate = Some(self.model.rate().saturating_mul(8));
        metrics
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        self.config.initial_window
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// The smallest datagram that QUIC may count on, in bytes (RFC 9000, section 14).
const DATAGRAM_SIZE_MIN: u64 = 1200;

/// RFC 9002, section 7.2, in bytes.
const INITIAL_WINDOW: u64 = 14_720;
