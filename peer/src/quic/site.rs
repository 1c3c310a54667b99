//! A node among its site: which sources there are, and a blob fetched from them. The decisions are
//! [`crate::swarm`]'s; this file carries them out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use neap_engine::digest::Digest;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::ask;
use super::mirror::{self, Mirror, Mirrors};
use super::node::{DialError, Event, Node, Peer};
use crate::groups::Groups;
use crate::limits::SPAN_GROUPS;
use crate::link::{Class, Profile};
use crate::shelf::Shelf;
use crate::swarm::{Action, End, Fault, Kind, Plan, RequestId, SourceId, Swarm, Taken};
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
    last_failure: Option<String>,
    crossed: BTreeMap<String, u64>,
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

    /// Our place among the members of the site: 0 asks the shore first.
    #[must_use]
    pub fn place(&self) -> usize {
        let draw = |name: &str| *blake3::hash(name.as_bytes()).as_bytes();
        let ours = draw(self.node.me());
        self.members.values().filter(|peer| draw(&peer.name) < ours).count()
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
        let open = |peer: &Arc<Peer>| peer.connection.close_reason().is_none();
        let connected = self.costly.iter().filter_map(|costly| costly.peer.as_ref());
        if let Some(peer) = connected.into_iter().find(|peer| open(peer)) {
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

    /// Fetches a blob from whoever has it, keeps it in the depot, and goes on until all of it is
    /// there and verified. `verified` is told how many groups from the start on are there.
    ///
    /// # Errors
    /// [`FetchError`]; what came until then stays and is not fetched again.
    pub async fn fetch(
        &mut self,
        want: Want,
        patience: Duration,
        verified: &watch::Sender<u64>,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<Fetched, FetchError> {
        let have = self.shelf.begin(want.blob, want.len).await.map_err(FetchError::Depot)?;
        let before = have.count();
        let mut run = Run {
            swarm: Swarm::new(
                Plan {
                    blob: want.blob,
                    len: want.len,
                    me: self.node.me().to_owned(),
                    have,
                    in_order: want.in_order,
                    may_fetch: true,
                    quiet_ms: if self.members.is_empty() { 0 } else { QUIET_MS },
                    lease_ms: LEASE_MS,
                },
                0,
            ),
            want,
            tasks: BTreeMap::new(),
            blame: BTreeMap::new(),
            moved: Instant::now(),
        };
        self.started = Instant::now();
        for (index, costly) in self.costly.iter().enumerate() {
            run.swarm.add(costly_id(index), &costly.name(index), Kind::Costly, true);
            let up =
                costly.peer.as_ref().is_some_and(|peer| peer.connection.close_reason().is_none());
            run.swarm.set_up(costly_id(index), up, 0);
        }
        self.mirrors.add_to(&mut run.swarm);
        for peer in self.node.peers() {
            self.meet(&mut run.swarm, &peer);
        }
        let fetched = self.drive(&mut run, patience, verified, progress).await;
        run.tasks.values().for_each(JoinHandle::abort);
        self.count();
        fetched?;
        let whole = self.shelf.finish(want.blob).await.map_err(FetchError::Depot)?;
        if !whole {
            let why = "it was whole, and is not any more";
            return Err(FetchError::Depot(io::Error::new(io::ErrorKind::InvalidData, why)));
        }
        let taken = run.swarm.taken().clone();
        self.serve_until_complete(&mut run).await;
        Ok(Fetched { taken, before, blame: run.blame, crossed: self.crossed.clone() })
    }

    async fn drive(
        &mut self,
        run: &mut Run,
        patience: Duration,
        verified: &watch::Sender<u64>,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<(), FetchError> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut redial = Instant::now();
        loop {
            self.act(run)?;
            let prefix = run.swarm.have().gaps(0..run.swarm.count()).next();
            let prefix = prefix.map_or(run.swarm.count(), |gap| gap.start);
            verified.send_if_modified(|known| std::mem::replace(known, prefix) != prefix);
            if run.swarm.is_complete() {
                // The last news reach the site before anything else happens.
                self.act(run)?;
                return Ok(());
            }
            if run.moved.elapsed() > patience {
                let for_s = run.moved.elapsed().as_secs();
                return Err(FetchError::Nobody { for_s, last: self.last_failure.clone() });
            }
            tokio::select! {
                event = self.events.recv() => {
                    let event = event.ok_or(FetchError::Closed)?;
                    self.hear(&mut run.swarm, &event);
                }
                done = self.done.1.recv() => {
                    let done = done.ok_or(FetchError::Closed)?;
                    self.finish(run, done)?;
                    // What else is there already is taken along.
                    while let Ok(done) = self.done.1.try_recv() {
                        self.finish(run, done)?;
                    }
                }
                _ = tick.tick() => {
                    self.count();
                    progress(&self.progress(run));
                    if redial.elapsed() > REDIAL {
                        redial = Instant::now();
                        self.dial_near();
                    }
                }
            }
        }
    }

    fn progress(&self, run: &Run) -> Progress {
        Progress {
            groups: run.swarm.have().count(),
            of: run.swarm.count(),
            taken: run.swarm.taken().clone(),
            members: self.members.len(),
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Carries out what the swarm decided.
    fn act(&mut self, run: &mut Run) -> Result<(), FetchError> {
        let mut spent = None;
        for (index, costly) in self.costly.iter().enumerate() {
            let left = self.purse.left(&costly.place.link);
            if left == 0 {
                spent = Some(costly.place.link.name.clone());
            }
            run.swarm.set_costly(costly_id(index), window_groups(&costly.place.link), left);
        }
        // What came since is counted before more is allowed: mirrors may be fast.
        self.mirrors.count(&mut *self.purse, &mut self.crossed);
        let (swarm, purse) = (&mut run.swarm, &mut *self.purse);
        let (mirror_spent, mirrors_spent) = self.mirrors.allow(swarm, purse, window_groups);
        let spent = spent.or(mirror_spent);
        let all_spent = mirrors_spent
            && self.costly.iter().all(|costly| self.purse.left(&costly.place.link) == 0);
        run.swarm.set_may_fetch(!all_spent);
        if let Some(link) = spent.filter(|_| all_spent && self.is_alone() && !self.mirrors.any_near()) {
            return Err(FetchError::Budget { link });
        }
        for action in run.swarm.poll(self.now_ms()) {
            match action {
                Action::Ask { request, source, groups } => self.ask(run, request, source, groups),
                Action::Cancel(request) => {
                    if let Some(task) = run.tasks.remove(&request) {
                        task.abort();
                    }
                }
                Action::Tell(source, notice) => {
                    if let Some(peer) = peer_id(source).and_then(|id| self.members.get(&id)) {
                        peer.tell(notice);
                    }
                }
                Action::Dial(source) if self.mirrors.of(source).is_some() => {
                    run.swarm.set_up(source, true, self.now_ms());
                }
                Action::Dial(source) => self.dial(source),
                // In an outage it is everybody's turn and nobody's fault.
                Action::Blame { what: Fault::Idle, .. } => {}
                Action::Blame { name, what } => {
                    *run.blame.entry((name, what)).or_default() += 1;
                }
            }
        }
        Ok(())
    }

    fn ask(&mut self, run: &mut Run, request: RequestId, source: SourceId, groups: Groups) {
        let mirror = self.mirrors.of(source).cloned();
        let peer = match peer_id(source) {
            Some(id) => self.node.peers().into_iter().find(|peer| peer.id == id),
            None => self.costly.get(source.0 as usize).and_then(|costly| costly.peer.clone()),
        };
        if mirror.is_none() && peer.is_none() {
            run.swarm.ended(request, End::Lost, self.now_ms());
            return;
        }
        let (shelf, done, want) = (self.shelf.clone(), self.done.0.clone(), run.want);
        let task = tokio::spawn(async move {
            let arrived = done.clone();
            let (tell, mut told) = mpsc::unbounded_channel();
            let came = move |ask::Came(groups)| drop(tell.send(groups));
            let blob = (want.blob, want.len);
            let asking = async {
                match (mirror, peer) {
                    (Some(mirror), _) => mirror::blob(&mirror, &shelf, blob, groups, came).await,
                    (None, Some(peer)) => {
                        ask::blob(&peer.connection, &shelf, blob, groups, came).await
                    }
                    (None, None) => (End::Lost, None),
                }
            };
            let telling = async {
                while let Some(groups) = told.recv().await {
                    drop(arrived.send(Done::Arrived(request, groups)).await);
                }
            };
            let ((end, why), ()) = tokio::join!(asking, telling);
            drop(done.send(Done::Ended(request, end, why)).await);
        });
        run.tasks.insert(request, task);
    }

    fn finish(&mut self, run: &mut Run, done: Done) -> Result<(), FetchError> {
        let now = self.now_ms();
        match done {
            Done::Arrived(request, groups) => {
                run.moved = Instant::now();
                run.swarm.arrived(request, groups, now);
            }
            Done::Ended(request, end, why) => {
                run.tasks.remove(&request);
                self.last_failure = why.or(self.last_failure.take());
                run.swarm.ended(request, end, now);
            }
            Done::Dialled(index, dialled) => {
                self.costly[index].dialling = None;
                match dialled {
                    Ok(peer) => {
                        self.count();
                        if let Some(old) = self.costly[index].peer.replace(peer) {
                            old.connection.close(quinn::VarInt::from_u32(0), b"");
                        }
                        self.costly[index].counted = 0;
                        run.swarm.set_up(costly_id(index), false, now);
                        run.swarm.set_up(costly_id(index), true, now);
                    }
                    Err(error) => self.last_failure = Some(error.to_string()),
                }
            }
            Done::Near(Ok(peer)) => {
                self.free.insert(peer.id);
                self.meet(&mut run.swarm, &peer);
            }
            Done::Near(Err(_)) => {}
        }
        Ok(())
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
            }
            Event::Told(id, Notice::Fresh(timestamp)) => {
                self.fresh.insert(*id, timestamp.clone());
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
        if peer.connection.close_reason().is_some() || swarm.knows(id) {
            return;
        }
        if peer.same_site {
            self.members.insert(peer.id, Arc::clone(peer));
            swarm.add(id, &peer.name, Kind::Site, false);
        } else if self.free.contains(&peer.id) {
            swarm.add(id, &peer.name, Kind::Free, true);
        }
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
                peer.connection.close(quinn::VarInt::from_u32(0), b"done");
            }
        }
    }

    /// What is here is given on until each member that takes part has it, or none asks any more.
    async fn serve_until_complete(&mut self, run: &mut Run) {
        self.hang_up();
        let end = Instant::now() + LINGER;
        let mut tick = tokio::time::interval(TICK);
        while !run.swarm.is_site_complete() && Instant::now() < end {
            if self.act(run).is_err() {
                return;
            }
            tokio::select! {
                event = self.events.recv() => match event {
                    Some(event) => self.hear(&mut run.swarm, &event),
                    None => return,
                },
                _ = tick.tick() => {}
            }
        }
    }

    /// The node.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.node
    }
}

struct Run {
    swarm: Swarm,
    want: Want,
    tasks: BTreeMap<RequestId, JoinHandle<()>>,
    blame: BTreeMap<(String, Fault), u64>,
    moved: Instant,
}

impl Costly {
    fn name(&self, index: usize) -> String {
        self.place.device.clone().unwrap_or_else(|| format!("{} ({index})", self.place.address))
    }
}

/// What may be asked for at a time over a link: twice what is under way on it, so that the sender
/// never waits for us.
fn window_groups(link: &Profile) -> u64 {
    let group = neap_depot::limits::GROUP_LEN as u64;
    let Some(rate) = link.rate_bps else { return WINDOW_GROUPS };
    let rtt_ms = u64::try_from(link.rtt().as_millis()).unwrap_or(u64::MAX);
    let held = rate / 8 * rtt_ms / 1000;
    (2 * held / group + 2 * SPAN_GROUPS).min(WINDOW_GROUPS)
}

async fn dial(node: &Node, place: &Place) -> Result<Arc<Peer>, DialError> {
    let failed = |error: io::Error| DialError::Connect(format!("{}: {error}", place.address));
    let found: Vec<SocketAddr> =
        tokio::net::lookup_host(&place.address).await.map_err(failed)?.collect();
    let mut last = DialError::Connect(format!("{}: no address", place.address));
    for at in found {
        match node.dial(at, &place.link, place.device.as_deref()).await {
            Ok(peer) => return Ok(peer),
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

/// Sources below this number are costly places.
const PEERS: u32 = 1 << 16;

/// How long whoever fetches for the site may come no further.
const LEASE_MS: u64 = 8_000;

/// How long members of the site are listened to before the first byte crosses a link that costs.
const QUIET_MS: u64 = 400;

/// How often the swarm is asked what to do when nothing happens.
const TICK: Duration = Duration::from_millis(100);

/// How often places on the LAN that are not connected are dialled.
const REDIAL: Duration = Duration::from_secs(3);

/// Under way over a costly link whose rate is not known: 2 MiB.
const WINDOW_GROUPS: u64 = 128;

/// Headers of IPv4 and UDP, which the link carries and its owner pays for.
const HEADERS_LEN: u64 = 28;

/// How long a member that has all stays for the others.
const LINGER: Duration = Duration::from_secs(600);
