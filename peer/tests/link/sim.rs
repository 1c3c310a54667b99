//! The loop: datagrams through the bottleneck, timers, and the virtual clock.

use super::flow::{Datagram, Flow, FlowPlan, Wake};
use super::report::{FlowCount, Report};
use super::{IP_UDP_HEADERS, Link, Loss, Random};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// A run of flows over one link.
pub(crate) struct Sim {
    link: Link,
    plans: Vec<FlowPlan>,
    flows: Vec<Flow>,
    counts: Vec<FlowCount>,
    waits: Vec<(Duration, Duration)>,
    random: Random,
    in_burst: bool,
    /// Where the clock of the run begins; only differences to it matter.
    epoch: Instant,
    now: Duration,
    events: BTreeMap<(Duration, u64), Event>,
    event_count: u64,
    queue: VecDeque<Queued>,
    queue_len: u64,
    sending: Option<Queued>,
    /// When the last datagram of each direction arrives: jitter keeps the order.
    last_arrival: [Duration; 2],
    /// Of each flow: when its receiver last heard or tried.
    heard: Vec<Duration>,
}

enum Event {
    Start(usize),
    Stop(usize),
    ToClient(usize, Datagram),
    ToServer(usize, Datagram),
    /// The bottleneck has sent what it was sending.
    Sent,
    /// Time to see whether a receiver heard nothing.
    Listen(usize, Duration),
}

struct Queued {
    flow: usize,
    datagram: Datagram,
    since: Duration,
}

impl Sim {
    pub(crate) fn new(link: Link, plans: Vec<FlowPlan>, seed: u64) -> Self {
        let count = plans.len();
        let seeds = (0..).map(|index| seed * 100 + index);
        let mut sim = Self {
            flows: plans.iter().zip(seeds).map(|(plan, seed)| Flow::new(plan, seed)).collect(),
            counts: plans.iter().map(|_| FlowCount::default()).collect(),
            waits: Vec::new(),
            random: Random(seed),
            in_burst: false,
            epoch: Instant::now(),
            now: Duration::ZERO,
            events: BTreeMap::new(),
            event_count: 0,
            queue: VecDeque::new(),
            queue_len: 0,
            sending: None,
            last_arrival: [Duration::ZERO; 2],
            heard: vec![Duration::ZERO; count],
            link,
            plans,
        };
        for flow in 0..count {
            sim.schedule(sim.plans[flow].start, Event::Start(flow));
            sim.schedule(sim.plans[flow].stop, Event::Stop(flow));
            if let Wake::Rebind(silence) = sim.plans[flow].wake {
                sim.schedule(sim.plans[flow].start, Event::Listen(flow, silence));
            }
        }
        sim
    }

    /// Runs so long, in seconds of the virtual clock.
    pub(crate) fn run(mut self, seconds: u64) -> Report {
        let end = Duration::from_secs(seconds);
        while let Some((at, timer)) = self.next() {
            if at > end {
                break;
            }
            self.now = self.now.max(at);
            match timer {
                Some((flow, true)) => self.drive_client(flow, None),
                Some((flow, false)) => self.drive_server(flow, None),
                None => {
                    let (_, event) = self.events.pop_first().expect("it was there");
                    self.handle(event);
                }
            }
        }
        Report { link: self.link, flows: self.counts, waits: self.waits, duration: end }
    }

    /// When something happens next: an event, or the timer of a flow's client or server.
    fn next(&self) -> Option<(Duration, Option<(usize, bool)>)> {
        let mut next = self.events.keys().next().map(|&(at, _)| (at, None));
        for (index, flow) in self.flows.iter().enumerate() {
            for (is_client, timeout) in [(true, flow.client.timeout), (false, flow.server.timeout)]
            {
                let Some(timeout) = timeout else { continue };
                let at = timeout.saturating_duration_since(self.epoch);
                if next.is_none_or(|(soonest, _)| at < soonest) {
                    next = Some((at, Some((index, is_client))));
                }
            }
        }
        next
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Start(flow) => {
                self.flows[flow].connect(self.epoch + self.now);
                self.drive_client(flow, None);
            }
            Event::Stop(flow) => self.flows[flow].stop(),
            Event::ToClient(flow, datagram) => {
                self.heard[flow] = self.now;
                self.counts[flow].arrived += datagram.payload.len() as u64;
                self.drive_client(flow, Some(datagram));
            }
            Event::ToServer(flow, datagram) => self.drive_server(flow, Some(datagram)),
            Event::Sent => self.sent(),
            Event::Listen(flow, silence) => {
                if self.now >= self.heard[flow] + silence {
                    self.heard[flow] = self.now;
                    self.flows[flow].rebind();
                    self.drive_client(flow, None);
                }
                self.schedule(self.heard[flow] + silence, Event::Listen(flow, silence));
            }
        }
    }

    fn drive_client(&mut self, flow: usize, arrived: Option<Datagram>) {
        let before = self.flows[flow].delivered;
        let datagrams = self.flows[flow].drive_client(self.epoch + self.now, arrived);
        self.counts[flow].deliver(self.now, self.flows[flow].delivered - before);
        for datagram in datagrams {
            if !self.loses() {
                let at = self.arrival(0);
                self.schedule(at, Event::ToServer(flow, datagram));
            }
        }
    }

    fn drive_server(&mut self, flow: usize, arrived: Option<Datagram>) {
        for datagram in self.flows[flow].drive_server(self.epoch + self.now, arrived) {
            let len = datagram.payload.len() as u64;
            self.counts[flow].send(self.now, len);
            let queued = Queued { flow, datagram, since: self.now };
            if self.sending.is_none() {
                self.transmit(queued);
            } else if self.queue_len + len + IP_UDP_HEADERS > self.link.queue {
                self.counts[flow].dropped += len;
            } else {
                self.queue_len += len + IP_UDP_HEADERS;
                self.queue.push_back(queued);
            }
        }
    }

    /// Begins to send a packet, at the rate of now.
    fn transmit(&mut self, queued: Queued) {
        let bits = (queued.datagram.payload.len() as u64 + IP_UDP_HEADERS) * 8;
        let time = Duration::from_nanos(bits * 1_000_000_000 / self.link.rate_at(self.now));
        self.waits.push((self.now, self.now - queued.since));
        self.sending = Some(queued);
        self.schedule(self.now + time, Event::Sent);
    }

    fn sent(&mut self) {
        if let Some(Queued { flow, datagram, .. }) = self.sending.take() {
            if self.loses() {
                self.counts[flow].lost += datagram.payload.len() as u64;
            } else {
                let at = self.arrival(1);
                self.schedule(at, Event::ToClient(flow, datagram));
            }
        }
        if let Some(next) = self.queue.pop_front() {
            self.queue_len -= next.datagram.payload.len() as u64 + IP_UDP_HEADERS;
            self.transmit(next);
        }
    }

    fn loses(&mut self) -> bool {
        let by_chance = match self.link.loss {
            Loss::Random { ppm } => self.random.happens(ppm),
            Loss::Bursts { begin_ppm, end_ppm } => {
                let lost = self.in_burst || self.random.happens(begin_ppm);
                self.in_burst = lost && !self.random.happens(end_ppm);
                lost
            }
        };
        by_chance || self.link.is_out(self.now)
    }

    fn arrival(&mut self, direction: usize) -> Duration {
        let jitter_ns = u64::try_from(self.link.jitter.as_nanos()).expect("jitter is short");
        let jitter = Duration::from_nanos(self.random.draw() % (jitter_ns + 1));
        let at =
            (self.now + self.link.one_way_at(self.now) + jitter).max(self.last_arrival[direction]);
        self.last_arrival[direction] = at;
        at
    }

    fn schedule(&mut self, at: Duration, event: Event) {
        self.event_count += 1;
        self.events.insert((at, self.event_count), event);
    }
}
