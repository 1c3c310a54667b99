//! A node among its site: which sources there are, and a blob fetched from them. The decisions are
//! [`crate::swarm`]'s; this file carries them out.

mod fetch;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use neap_engine::digest::Digest;
use quinn::VarInt;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::mirror::{Mirror, Mirrors};
use super::node::{DialError, Event, Node, Peer};
use crate::groups::Groups;
use crate::link::{Class, Profile};
use crate::shelf::Shelf;
use crate::swarm::{self, End, Fault, Kind, RequestId, SourceId, Swarm, Taken};
use crate::wire::Notice;

/// A source behind a link, at an address that was told.
#[derive(Debug, Clone)]
pub struct Place {
    /// `host:port`.
    pub address: String,
    /// The device that must answer there, if that was said.
    pub device: Option<String>,
    /// The link on the way.
    pub link: Profile,
}

/// What is to be fetched.
#[derive(Debug, Clone, Copy)]
pub struct Want {
    /// The blob.
    pub blob: Digest,
    /// Its length in bytes, as signed.
    pub len: u64,
    /// Whether it is used while it comes.
    pub in_order: bool,
}

/// How far it is.
#[derive(Debug, Clone)]
pub struct Progress {
    /// Groups that are here, verified.
    pub groups: u64,
    /// Groups of all of it.
    pub of: u64,
    /// Groups that came in this run, by who sent them.
    pub taken: Taken,
    /// Members of the site that are connected.
    pub members: usize,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Fetched {
    /// Groups that came in this run, by who sent them.
    pub taken: Taken,
    /// Groups that were here before.
    pub before: u64,
    /// What sources did wrong: how often.
    pub blame: BTreeMap<(String, Fault), u64>,
    /// Bytes of UDP payload, headers of UDP and IP added, over links that cost, by link.
    pub crossed: BTreeMap<String, u64>,
}

/// Why it was not fetched.
#[derive(Debug)]
#[non_exhaustive]
pub enum FetchError {
    /// The depot failed.
    Depot(io::Error),
    /// No source gave anything for so long.
    Nobody {
        /// For how long, in seconds.
        for_s: u64,
        /// Why the last source was not reached.
        last: Option<String>,
    },
    /// What may cross the links that cost is spent: nothing more was asked for.
    Budget {
        /// The link.
        link: String,
    },
    /// The node was closed.
    Closed,
}

/// Says what may cross a link that costs. Asked before each request.
pub trait Purse: Send {
    /// Bytes that may still cross this link now; nothing if it is closed at this hour.
    fn left(&mut self, link: &Profile) -> u64;

    /// So many bytes have crossed it since the last time.
    fn crossed(&mut self, link: &Profile, bytes: u64);
}

/// A purse without a bottom.
#[derive(Debug, Clone, Copy)]
pub struct Unlimited;

impl Purse for Unlimited {
    fn left(&mut self, _: &Profile) -> u64 {
        u64::MAX
    }

    fn crossed(&mut self, _: &Profile, _: u64) {}
}

/// A node, what it hears, and where it can fetch from.
pub struct Site {
    node: Node,
    events: mpsc::Receiver<Event>,
    shelf: Shelf,
    purse: Box<dyn Purse>,
    costly: Vec<Costly>,
    mirrors: Mirrors,
    near: Vec<Place>,
    members: BTreeMap<u32, Arc<Peer>>,
    /// Peers at places on the LAN, by number.
    free: BTreeSet<u32>,
    done: (mpsc::Sender<Done>, mpsc::Receiver<Done>),
    started: Instant,
    /// Timestamps that members of the site showed, by peer.
    fresh: BTreeMap<u32, Vec<u8>>,
    /// What members said last of each blob: a fetch that begins later must know it.
    said: BTreeMap<(u32, [u8; 32]), Said>,
    last_failure: Option<String>,
    crossed: BTreeMap<String, u64>,
}

/// What a member said last of a blob.
#[derive(Debug, Clone, Default)]
struct Said {
    may_fetch: bool,
    have: Groups,
    claims: Groups,
}

struct Costly {
    place: Place,
    peer: Option<Arc<Peer>>,
    dialling: Option<JoinHandle<()>>,
    /// Bytes of the connection that were counted.
    counted: u64,
}

enum Done {
    Arrived(RequestId, Groups),
    Ended(RequestId, End, Option<String>),
    /// Our own depot could not keep what came.
    Failed(io::Error),
    Dialled(usize, Result<Arc<Peer>, DialError>),
    Near(Result<Arc<Peer>, DialError>),
}

impl Site {
    /// Takes a node and its events. Places on the LAN are dialled at once and again, the others
    /// only when they are needed.
    #[must_use]
    pub fn new(
        node: Node,
        events: mpsc::Receiver<Event>,
        shelf: Shelf,
        places: Vec<Place>,
        purse: Box<dyn Purse>,
    ) -> Self {
        let (near, far): (Vec<_>, Vec<_>) =
            places.into_iter().partition(|place| place.link.class == Class::Lan);
        let mut costly: Vec<_> = far
            .into_iter()
            .map(|place| Costly { place, peer: None, dialling: None, counted: 0 })
            .collect();
        costly.sort_by(|a, b| a.place.link.rank().cmp(&b.place.link.rank()));
        Self {
            node,
            events,
            shelf,
            purse,
            costly,
            mirrors: Mirrors::default(),
            near,
            members: BTreeMap::new(),
            free: BTreeSet::new(),
            done: mpsc::channel(256),
            started: Instant::now(),
            fresh: BTreeMap::new(),
            said: BTreeMap::new(),
            last_failure: None,
            crossed: BTreeMap::new(),
        }
    }

    /// Takes mirrors: the last sources.
    pub fn set_mirrors(&mut self, mirrors: Vec<Mirror>) {
        self.mirrors = Mirrors::new(mirrors);
    }

    /// The mirrors that may be asked now, the cheapest first.
    pub fn mirrors(&mut self) -> Vec<Arc<Mirror>> {
        let mirrors = self.mirrors.iter();
        mirrors.filter(|mirror| self.purse.left(&mirror.link) > 0).cloned().collect()
    }

    /// The class of the link to each costly place and mirror, by the name that its groups come by.
    #[must_use]
    pub fn classes(&self) -> BTreeMap<String, Class> {
        let places = self.costly.iter().enumerate();
        let places = places.map(|(index, costly)| (costly.name(index), costly.place.link.class));
        let mirrors = self.mirrors.iter();
        let mirrors = mirrors.map(|mirror| (mirror.name.clone(), mirror.link.class));
        places.chain(mirrors).collect()
    }

    /// Meets the site until `quiet` is over, or, where nobody else is looked for, until all
    /// places on the LAN were tried.
    pub async fn gather(&mut self, quiet: Duration, others: bool) {
        self.dial_near();
        let mut open = self.near.len();
        let end = tokio::time::sleep(quiet);
        tokio::pin!(end);
        while others || open > 0 {
            tokio::select! {
                event = self.events.recv() => match event {
                    Some(event) => self.note(&event),
                    None => return,
                },
                done = self.done.1.recv() => if let Some(Done::Near(dialled)) = done {
                    open = open.saturating_sub(1);
                    self.free.extend(dialled.ok().map(|peer| peer.id));
                },
                () = &mut end => return,
            }
        }
    }

    /// Members of the site that showed a timestamp, the one that comes first in the order first.
    #[must_use]
    pub fn fresh(&self) -> Vec<(Arc<Peer>, Vec<u8>)> {
        let fresh = self.fresh.iter();
        fresh
            .filter_map(|(id, bytes)| Some((Arc::clone(self.members.get(id)?), bytes.clone())))
            .collect()
    }

    /// Whether a member that fetches at this moment, and so has asked the shore, shows this
    /// timestamp.
    #[must_use]
    pub fn is_current(&self, timestamp: &[u8]) -> bool {
        let fetches =
            |id: &u32| self.said.iter().any(|((peer, _), said)| peer == id && said.may_fetch);
        self.fresh.iter().any(|(id, shown)| shown == timestamp && fetches(id))
    }

    /// Our place among the members of the site: 0 asks the shore first.
    #[must_use]
    pub fn place(&self) -> usize {
        let ours = swarm::draw(self.node.me());
        self.members.values().filter(|peer| swarm::draw(&peer.name) < ours).count()
    }

    /// Waits, and hears what members of the site say meanwhile.
    pub async fn wait(&mut self, time: Duration) {
        let end = tokio::time::Instant::now() + time;
        while let Ok(Some(event)) = tokio::time::timeout_at(end, self.events.recv()).await {
            let told = matches!(event, Event::Told(_, Notice::Fresh(_)));
            self.note(&event);
            if told {
                return;
            }
        }
    }

    /// Connects to the first costly place that answers, or gives the one that is connected.
    ///
    /// # Errors
    /// Why the last one did not answer; nothing if there is none.
    pub async fn shore(&mut self) -> Result<Arc<Peer>, Option<DialError>> {
        let mut connected = self.costly.iter().filter_map(|costly| costly.peer.as_ref());
        if let Some(peer) = connected.find(|peer| peer.is_open()) {
            return Ok(Arc::clone(peer));
        }
        let mut last = None;
        for index in 0..self.costly.len() {
            let place = self.costly[index].place.clone();
            if self.purse.left(&place.link) == 0 {
                continue;
            }
            match dial(&self.node, &place).await {
                Ok(peer) => {
                    self.costly[index].peer = Some(Arc::clone(&peer));
                    self.costly[index].counted = 0;
                    return Ok(peer);
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last)
    }

    /// Whether nobody is connected but over links that cost.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.members.is_empty() && self.neighbours().is_empty()
    }

    /// Peers at places on the LAN that are no members of the site.
    #[must_use]
    pub fn neighbours(&self) -> Vec<Arc<Peer>> {
        let peers = self.node.peers().into_iter();
        peers.filter(|peer| !peer.same_site && self.free.contains(&peer.id)).collect()
    }

    fn dial(&mut self, source: SourceId) {
        let index = source.0 as usize;
        let Some(costly) = self.costly.get_mut(index) else { return };
        // An older attempt comes no further either.
        if let Some(old) = costly.dialling.take() {
            old.abort();
        }
        let (node, place, done) = (self.node.clone(), costly.place.clone(), self.done.0.clone());
        costly.dialling = Some(tokio::spawn(async move {
            let dialled = dial(&node, &place).await;
            drop(done.send(Done::Dialled(index, dialled)).await);
        }));
    }

    fn dial_near(&mut self) {
        for place in &self.near {
            let (node, place, done) = (self.node.clone(), place.clone(), self.done.0.clone());
            let known = place
                .device
                .as_ref()
                .is_some_and(|device| self.members.values().any(|peer| peer.name == *device));
            if known {
                continue;
            }
            tokio::spawn(async move {
                let dialled = dial(&node, &place).await;
                drop(done.send(Done::Near(dialled)).await);
            });
        }
    }

    /// What matters beyond one blob.
    fn note(&mut self, event: &Event) {
        match event {
            Event::Up(peer) if peer.same_site => {
                self.members.insert(peer.id, Arc::clone(peer));
            }
            Event::Down(id) => {
                self.members.remove(id);
                self.fresh.remove(id);
                self.said.retain(|(peer, _), _| peer != id);
            }
            Event::Told(id, Notice::Fresh(timestamp)) => {
                self.fresh.insert(*id, timestamp.clone());
            }
            Event::Told(id, Notice::Have { blob, may_fetch, groups }) => {
                let said = self.said.entry((*id, blob.0)).or_default();
                (said.may_fetch, said.have) = (*may_fetch, groups.clone());
            }
            Event::Told(id, Notice::More { blob, groups }) => {
                let have = &mut self.said.entry((*id, blob.0)).or_default().have;
                if have.range_count() + groups.range_count() <= RANGES_MAX {
                    have.extend(groups);
                }
            }
            Event::Told(id, Notice::Claim { blob, groups }) => {
                self.said.entry((*id, blob.0)).or_default().claims = groups.clone();
            }
            _ => {}
        }
    }

    fn hear(&mut self, swarm: &mut Swarm, event: &Event) {
        let now = self.now_ms();
        self.note(event);
        match event {
            Event::Up(peer) => self.meet(swarm, peer),
            Event::Down(id) => {
                let costly = self
                    .costly
                    .iter()
                    .position(|costly| costly.peer.as_ref().is_some_and(|peer| peer.id == *id));
                match costly {
                    Some(index) => {
                        self.count();
                        self.costly[index].peer = None;
                        swarm.set_up(costly_id(index), false, now);
                    }
                    None => swarm.remove(SourceId(PEERS + id), now),
                }
            }
            Event::Told(id, notice) => swarm.heard(SourceId(PEERS + id), notice, now),
        }
    }

    fn meet(&mut self, swarm: &mut Swarm, peer: &Arc<Peer>) {
        let id = SourceId(PEERS + peer.id);
        if !peer.is_open() || swarm.knows(id) {
            return;
        }
        if peer.same_site {
            self.members.insert(peer.id, Arc::clone(peer));
            swarm.add(id, &peer.name, Kind::Site, false);
            self.repeat(swarm, peer.id);
        } else if self.free.contains(&peer.id) {
            swarm.add(id, &peer.name, Kind::Free, true);
        }
    }

    /// Tells a swarm what a member said before it began.
    fn repeat(&self, swarm: &mut Swarm, peer: u32) {
        let (id, now) = (SourceId(PEERS + peer), self.now_ms());
        let blob = swarm.blob();
        let Some(said) = self.said.get(&(peer, blob.0)) else { return };
        let Said { may_fetch, have, claims } = said.clone();
        swarm.heard(id, &Notice::Have { blob, may_fetch, groups: have }, now);
        swarm.heard(id, &Notice::Claim { blob, groups: claims }, now);
    }

    /// Counts what crossed the links that cost, by what the connections say.
    fn count(&mut self) {
        for costly in &mut self.costly {
            let Some(peer) = &costly.peer else { continue };
            let stats = peer.connection.stats();
            let datagrams = stats.udp_tx.datagrams + stats.udp_rx.datagrams;
            let bytes = stats.udp_tx.bytes + stats.udp_rx.bytes + datagrams * HEADERS_LEN;
            let new = bytes.saturating_sub(costly.counted);
            costly.counted = bytes;
            *self.crossed.entry(costly.place.link.name.clone()).or_default() += new;
            self.purse.crossed(&costly.place.link, new);
        }
        self.mirrors.count(&mut *self.purse, &mut self.crossed);
    }

    /// Ends sessions over links that cost: some plans bill each idle minute.
    pub fn hang_up(&mut self) {
        self.count();
        for costly in &mut self.costly {
            if let Some(peer) = costly.peer.take() {
                peer.connection.close(VarInt::from_u32(0), b"done");
            }
        }
    }

    /// The node.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.node
    }
}

impl Costly {
    fn name(&self, index: usize) -> String {
        self.place.device.clone().unwrap_or_else(|| format!("{} ({index})", self.place.address))
    }
}

fn window_groups(link: &Profile) -> u64 {
    link.window() / neap_depot::limits::GROUP_LEN as u64
}

async fn dial(node: &Node, place: &Place) -> Result<Arc<Peer>, DialError> {
    let failed = |error: io::Error| DialError::Connect(format!("{}: {error}", place.address));
    let found: Vec<SocketAddr> =
        tokio::net::lookup_host(&place.address).await.map_err(failed)?.collect();
    let mut last = DialError::Connect(format!("{}: no address", place.address));
    for at in found {
        match node.dial(at, &place.link, place.device.as_deref()).await {
            Ok(peer) => {
                if place.link.class != Class::Lan {
                    // All that was asked for may come, whatever is missing between.
                    let window = place.link.window() + ASKED_ELSE;
                    let window = VarInt::from_u64(window).unwrap_or(VarInt::MAX);
                    peer.connection.set_receive_window(window);
                }
                return Ok(peer);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn costly_id(index: usize) -> SourceId {
    SourceId(u32::try_from(index).unwrap_or(u32::MAX))
}

/// The peer of a source, unless it is a costly place.
fn peer_id(source: SourceId) -> Option<u32> {
    source.0.checked_sub(PEERS)
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Depot(error) => write!(f, "the depot: {error}"),
            Self::Nobody { for_s, last: None } => {
                write!(f, "no source gave anything for {for_s} s")
            }
            Self::Nobody { for_s, last: Some(why) } => {
                write!(f, "no source gave anything for {for_s} s; the last one: {why}")
            }
            Self::Budget { link } => write!(f, "the budget of the link {link} is spent"),
            Self::Closed => f.write_str("the node was closed"),
        }
    }
}

impl std::error::Error for FetchError {}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Site({:?}, {} members)", self.node, self.members.len())
    }
}

/// Ranges of a member's groups that are remembered for a fetch to come.
const RANGES_MAX: usize = 4096;

/// Sources below this number are costly places.
const PEERS: u32 = 1 << 16;

/// Bytes that come beside blobs at a time: what proves them, notices, metadata.
const ASKED_ELSE: u64 = 128 << 10;

/// Headers of IPv4 and UDP, which the link carries and its owner pays for.
const HEADERS_LEN: u64 = 28;
