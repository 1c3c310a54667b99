//! The endpoint of a node: who is connected, what they say of themselves, and what we tell them.

mod greet;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use neap_engine::digest::Digest;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, EndpointConfig, VarInt};
use tokio::sync::mpsc;

use super::answer::Served;
use super::door::{Origin, accept, bind, is_near, mapped, server_config};
pub use super::error::DialError;
use super::notices::{self, Broken};
use super::transport;
use crate::allowance::Allowance;
use crate::limits::{
    ADDRESS_COUNT_MAX, BLOBS_PER_PEER_MAX, CONNECTION_COUNT_MAX, CONNECTIONS_PER_PEER_MAX,
    HELLO_MS_MAX, NOTICES_BURST, NOTICES_PER_S, REQUEST_MS_MAX,
};
use crate::link::{Class, Profile};
use crate::quota::Quota;
use crate::shelf::Shelf;
use crate::tls::{self, Admission, Identity};
use crate::wire::{Address, Hello, Notice, VERSION};
pub(super) use greet::greet;
use greet::hello_of;

/// What a node is set to.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where it listens; nothing if peers cannot connect to it.
    pub listen: Option<SocketAddr>,
    /// Its site, if it was told one.
    pub site: String,
    /// Who it is.
    pub identity: Identity,
    /// Whom it admits.
    pub admission: Arc<Admission>,
    /// The link to peers on the same network.
    pub lan: Profile,
    /// The link over which others come in.
    pub incoming: Profile,
    /// Bytes of blobs that one peer may be sent in 24 hours, unless it is a member of the site.
    pub peer_day_bytes: Option<u64>,
}

/// How long peers may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For a handshake, and for a hello after it.
    pub hello: Duration,
    /// For a request, from its stream's first byte to its last.
    pub request: Duration,
}

/// A node of the network. Copies are the same node; it ends when [`Node::close`] is called.
#[derive(Clone)]
pub struct Node {
    inner: Arc<Inner>,
}

/// A connected peer.
pub struct Peer {
    /// A number that no other connection of this node has.
    pub id: u32,
    /// Its device name, by its certificate.
    pub name: String,
    /// Whether it is a member of our site.
    pub same_site: bool,
    /// Of which kind the link to it is.
    pub class: Class,
    /// Whether we dialled it.
    pub is_dialled: bool,
    /// Where it listens, if it does.
    pub listens: Option<SocketAddr>,
    /// The connection.
    pub connection: Connection,
    certificate: Vec<u8>,
    tell: mpsc::Sender<Notice>,
    told: Mutex<BTreeSet<[u8; 32]>>,
}

/// What happens on the network.
#[derive(Debug)]
pub enum Event {
    /// A peer is connected.
    Up(Arc<Peer>),
    /// It is not any more.
    Down(u32),
    /// It told something.
    Told(u32, Notice),
}

pub(super) struct Inner {
    pub(super) endpoint: Endpoint,
    socket: std::net::UdpSocket,
    pub(super) settings: Settings,
    me: String,
    shelf: Shelf,
    pub(super) patience: Patience,
    served: Arc<Served>,
    quota: Option<Arc<Mutex<Quota>>>,
    next: AtomicU64,
    /// Connections beyond what is allowed.
    pub(super) turned_away: AtomicU64,
    events: mpsc::Sender<Event>,
    state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    peers: BTreeMap<u32, Arc<Peer>>,
    /// Bytes that peers were sent which are gone, by class of link.
    sent: BTreeMap<Class, u64>,
    /// The newest timestamp that is known, which members of the site are told.
    fresh: Option<Vec<u8>>,
    dialling: BTreeSet<String>,
    /// How many handshakes are under way, and hellos are waited for.
    pub(super) coming: BTreeMap<Origin, usize>,
}

impl Node {
    /// Opens the socket. What happens is told by the receiver; it must be read.
    ///
    /// # Errors
    /// If the address is taken or TLS cannot be set up.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(settings: Settings, shelf: Shelf) -> io::Result<(Self, mpsc::Receiver<Event>)> {
        Self::start_with(settings, shelf, Patience::default())
    }

    /// The same, with other patience than the protocol's.
    ///
    /// # Errors
    /// As [`Node::start`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start_with(
        settings: Settings,
        shelf: Shelf,
        patience: Patience,
    ) -> io::Result<(Self, mpsc::Receiver<Event>)> {
        let local = settings.listen.unwrap_or_else(|| SocketAddr::from(([0_u16; 8], 0)));
        let socket = bind(local)?;
        let same_socket = socket.try_clone()?;
        let server = match settings.listen {
            Some(_) => Some(server_config(&settings, &settings.incoming)?),
            None => None,
        };
        let mut endpoint_config = EndpointConfig::default();
        endpoint_config
            .max_udp_payload_size(transport::DATAGRAM_LEN_MAX)
            .map_err(io::Error::other)?;
        // Four bytes tell 64 connections apart, and each packet carries them.
        endpoint_config
            .cid_generator(|| Box::new(quinn_proto::RandomConnectionIdGenerator::new(4)));
        let runtime = Arc::new(quinn::TokioRuntime);
        let endpoint = Endpoint::new(endpoint_config, server, socket, runtime)?;
        let (events, received) = mpsc::channel(EVENTS);
        let quota = settings.peer_day_bytes.map(|bytes| Arc::new(Mutex::new(Quota::new(bytes))));
        let me = settings.identity.certificate.device().to_string();
        let inner = Arc::new(Inner {
            endpoint,
            socket: same_socket,
            settings,
            me,
            shelf,
            patience,
            served: Arc::default(),
            quota,
            next: AtomicU64::new(1),
            turned_away: AtomicU64::new(0),
            events,
            state: Mutex::default(),
        });
        if inner.settings.listen.is_some() {
            tokio::spawn(accept(Arc::clone(&inner)));
        }
        Ok((Self { inner }, received))
    }

    /// This node's device name.
    #[must_use]
    pub fn me(&self) -> &str {
        &self.inner.me
    }

    /// Where it listens.
    ///
    /// # Errors
    /// If the socket is gone.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.inner.endpoint.local_addr()
    }

    /// What it has answered so far.
    #[must_use]
    pub fn served(&self) -> &Served {
        &self.inner.served
    }

    /// Bytes of UDP payload that peers were sent so far, by class of link.
    #[must_use]
    pub fn sent(&self) -> BTreeMap<Class, u64> {
        let state = self.inner.state();
        let mut sent = state.sent.clone();
        for peer in state.peers.values() {
            *sent.entry(peer.class).or_default() += peer.connection.stats().udp_tx.bytes;
        }
        sent
    }

    /// Connections that were refused so far because there were too many.
    #[must_use]
    pub fn turned_away(&self) -> u64 {
        self.inner.turned_away.load(Ordering::Relaxed)
    }

    /// Who is connected.
    #[must_use]
    pub fn peers(&self) -> Vec<Arc<Peer>> {
        self.inner.state().peers.values().cloned().collect()
    }

    /// A peer by its number, if it is connected.
    #[must_use]
    pub fn peer(&self, id: u32) -> Option<Arc<Peer>> {
        self.inner.state().peers.get(&id).cloned()
    }

    /// Connects to a peer over a link.
    ///
    /// # Errors
    /// If it is not reached or is not who it should be.
    pub async fn dial(
        &self,
        at: SocketAddr,
        link: &Profile,
        expected: Option<&str>,
    ) -> Result<Arc<Peer>, DialError> {
        dial(&self.inner, at, link, expected).await
    }

    /// Dials a member of the site in the background, if it is not connected or being dialled.
    /// Of two members the one whose name comes first dials.
    pub fn meet(&self, address: Address) {
        meet(&self.inner, address);
    }

    /// Tells all members of the site of a newer timestamp.
    pub fn set_fresh(&self, timestamp: Vec<u8>) {
        let peers = {
            let mut state = self.inner.state();
            state.fresh = Some(timestamp.clone());
            state.peers.values().cloned().collect::<Vec<_>>()
        };
        for peer in peers.iter().filter(|peer| peer.same_site) {
            peer.tell(Notice::Fresh(timestamp.clone()));
        }
    }

    /// Shows every peer the address that we have now, after it may have changed: connections that
    /// we dialled migrate (RFC 9000, section 9). One packet to each.
    ///
    /// # Errors
    /// If the system gives no more sockets.
    pub fn migrate(&self) -> io::Result<()> {
        // The same socket: its port stays, and the system chooses the address it sends from.
        self.inner.endpoint.rebind(self.inner.socket.try_clone()?)
    }

    /// Ends connections of peers that are not admitted any more.
    pub fn drop_refused(&self) {
        for peer in self.peers() {
            if self.inner.settings.admission.admit(&peer.certificate).is_err() {
                peer.connection.close(MISTAKEN, b"not admitted any more");
            }
        }
    }

    /// Ends all connections, and tells peers so.
    pub async fn close(&self) {
        self.inner.endpoint.close(CLOSED, b"");
        let done = self.inner.endpoint.wait_idle();
        // What is lost on the way is not waited for.
        drop(tokio::time::timeout(Duration::from_millis(200), done).await);
    }
}

impl Peer {
    /// Whether the connection has not ended.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.connection.close_reason().is_none()
    }

    /// Why the peer ended the connection, if it did. One that does not admit us says so only after
    /// its handshake, when ours is long over.
    #[must_use]
    pub fn sent_away(&self) -> Option<DialError> {
        match self.connection.close_reason()? {
            ConnectionError::ConnectionClosed(close) => Some(DialError::Connect(close.to_string())),
            ConnectionError::ApplicationClosed(close) => {
                Some(DialError::Protocol(close.to_string()))
            }
            _ => None,
        }
    }

    /// Tells the peer something. A peer that does not take its notices loses its connection.
    pub fn tell(&self, notice: Notice) {
        if self.tell.try_send(notice).is_err() {
            self.connection.close(BEHIND, b"notices are not taken");
        }
    }
}

impl Inner {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is said first, to whoever we dialled over a link or who dialled us.
    fn hello(&self, dialled: Option<&Profile>) -> Notice {
        let listens = self.settings.listen.is_some();
        let port = self.endpoint.local_addr().map_or(0, |address| address.port());
        let rate_kbit = dialled.and_then(|link| link.rate_bps).map(|rate| rate / 1000);
        Notice::Hello(Hello {
            version: VERSION,
            same_site: dialled.is_some_and(|link| link.class == Class::Lan),
            site: self.settings.site.clone(),
            port: if listens { port } else { 0 },
            rate_kbit: rate_kbit.and_then(|rate| u32::try_from(rate).ok()).unwrap_or(0),
        })
    }

    /// Enters a peer, unless there are too many, or a better connection to it. Between two
    /// members that dialled each other, the connection stays that the first of the names made.
    fn enter(&self, peer: &Arc<Peer>) -> bool {
        let mut state = self.state();
        let same = state.peers.values().filter(|other| other.name == peer.name);
        let same: Vec<_> = same.cloned().collect();
        let is_full = state.peers.len() >= CONNECTION_COUNT_MAX;
        if is_full || same.len() >= CONNECTIONS_PER_PEER_MAX {
            self.turned_away.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        let rank = |peer: &Peer| peer.is_dialled == (self.me < peer.name);
        if same.iter().any(|other| peer.same_site && rank(other) && !rank(peer)) {
            return false;
        }
        // The newer one of the same kind is the one that works.
        for other in same.iter().filter(|other| peer.same_site && other.same_site) {
            other.connection.close(REPLACED, b"");
        }
        state.peers.insert(peer.id, Arc::clone(peer));
        true
    }
}

async fn dial(
    inner: &Arc<Inner>,
    at: SocketAddr,
    link: &Profile,
    expected: Option<&str>,
) -> Result<Arc<Peer>, DialError> {
    let failed = |why: &dyn fmt::Display| DialError::Connect(why.to_string());
    let (identity, admission) = (&inner.settings.identity, &inner.settings.admission);
    let tls = tls::client(identity, admission).map_err(|error| failed(&error))?;
    let crypto = QuicClientConfig::try_from(tls).map_err(|error| failed(&error))?;
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport::config(link)));
    let at = match inner.endpoint.local_addr() {
        Ok(local) if local.is_ipv6() => mapped(at),
        _ => at,
    };
    let connecting = inner.endpoint.connect_with(config, at, SERVER_NAME);
    let connecting = connecting.map_err(|error| failed(&error))?;
    let connected = tokio::time::timeout(inner.patience.hello, connecting).await;
    let connection = connected.map_err(|_| failed(&"no answer"))?;
    let connection = connection.map_err(|error| failed(&error))?;
    greet(inner, connection, Some(link), expected).await
}

/// Hears a peer until its connection ends; its hello first, if that was not waited for.
async fn listen(inner: Arc<Inner>, peer: Arc<Peer>, heard: Option<quinn::RecvStream>) {
    introduce(&inner, &peer);
    if inner.events.send(Event::Up(Arc::clone(&peer))).await.is_err() {
        peer.connection.close(CLOSED, b"");
    }
    let heard = match heard {
        Some(heard) => Ok(heard),
        None => hello_of(&inner, &peer.connection).await.map(|(heard, _)| heard),
    };
    match heard {
        Ok(heard) => hear(&inner, &peer, heard).await,
        Err(error) => peer.connection.close(MISTAKEN, error.to_string().as_bytes()),
    }
    peer.connection.closed().await;
    {
        let mut state = inner.state();
        state.peers.remove(&peer.id);
        *state.sent.entry(peer.class).or_default() += peer.connection.stats().udp_tx.bytes;
    }
    // Nobody listens any more where the node is closed.
    drop(inner.events.send(Event::Down(peer.id)).await);
}

/// Hears notices until they end, or are no notices.
async fn hear(inner: &Arc<Inner>, peer: &Peer, mut heard: quinn::RecvStream) {
    let mut blobs = BTreeSet::new();
    let (mut allowance, start) = (Allowance::new(NOTICES_PER_S, NOTICES_BURST), Instant::now());
    loop {
        let notice = match notices::next(&mut heard).await {
            Ok(notice) => notice,
            Err(Broken::Wire(error)) => {
                peer.connection.close(MISTAKEN, error.to_string().as_bytes());
                break;
            }
            Err(Broken::Ended) => {
                peer.connection.close(CLOSED, b"");
                break;
            }
        };
        let wait = allowance.take(1, start.elapsed());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        // Only members of the site have anything to tell.
        if !peer.same_site {
            continue;
        }
        match &notice {
            Notice::Have { blob, .. } | Notice::More { blob, .. } | Notice::Claim { blob, .. } => {
                if blobs.len() >= BLOBS_PER_PEER_MAX && !blobs.contains(&blob.0) {
                    continue;
                }
                blobs.insert(blob.0);
                tell_whole(inner, peer, *blob).await;
            }
            Notice::Peers(addresses) => {
                let near = addresses.iter().filter(|address| is_near(address.at.ip()));
                near.for_each(|address| meet(inner, address.clone()));
                continue;
            }
            Notice::Fresh(_) => {}
            Notice::Hello(_) => {
                peer.connection.close(MISTAKEN, b"a second hello");
                break;
            }
        }
        if inner.events.send(Event::Told(peer.id, notice)).await.is_err() {
            break;
        }
    }
}

/// Tells a new member of the site what is fresh and who else is there, and them of it.
fn introduce(inner: &Inner, peer: &Peer) {
    if !peer.same_site {
        return;
    }
    let (fresh, members) = {
        let state = inner.state();
        let members = state.peers.values().filter(|other| other.same_site && other.id != peer.id);
        (state.fresh.clone(), members.cloned().collect::<Vec<_>>())
    };
    if let Some(fresh) = fresh {
        peer.tell(Notice::Fresh(fresh));
    }
    let address = |peer: &Peer| peer.listens.map(|at| Address { device: peer.name.clone(), at });
    let known = members.iter().filter_map(|member| address(member)).take(ADDRESS_COUNT_MAX);
    let known: Vec<_> = known.collect();
    if !known.is_empty() {
        peer.tell(Notice::Peers(known));
    }
    if let Some(new) = address(peer) {
        members.iter().for_each(|member| member.tell(Notice::Peers(vec![new.clone()])));
    }
}

/// Tells a member that asks about a blob that it is here whole, once.
async fn tell_whole(inner: &Inner, peer: &Peer, blob: Digest) {
    let told = || peer.told.lock().unwrap_or_else(PoisonError::into_inner);
    if told().contains(&blob.0) {
        return;
    }
    if let Ok(Some(len)) = inner.shelf.len(blob).await {
        let groups = crate::groups::Groups::of(0..neap_depot::tree::groups(len));
        told().insert(blob.0);
        peer.tell(Notice::Have { blob, may_fetch: false, groups });
    }
}

fn meet(inner: &Arc<Inner>, address: Address) {
    {
        let mut state = inner.state();
        let known = state.peers.values().any(|peer| peer.name == address.device && peer.same_site);
        let full = state.dialling.len() >= ADDRESS_COUNT_MAX;
        if address.device <= inner.me || known || full {
            return;
        }
        if !state.dialling.insert(address.device.clone()) {
            return;
        }
    }
    let inner = Arc::clone(inner);
    tokio::spawn(async move {
        let lan = inner.settings.lan.clone();
        // Who is not there now is met again when it is found again.
        drop(dial(&inner, address.at, &lan, Some(&address.device)).await);
        inner.state().dialling.remove(&address.device);
    });
}

impl Default for Patience {
    /// That of the protocol.
    fn default() -> Self {
        Self {
            hello: Duration::from_millis(HELLO_MS_MAX),
            request: Duration::from_millis(REQUEST_MS_MAX),
        }
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({})", self.inner.me)
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Peer({}, {})", self.id, self.name)
    }
}

/// TLS wants a name; ours are in the certificates.
const SERVER_NAME: &str = "neap";

/// Events that may wait; where more do, peers wait.
const EVENTS: usize = 256;

// Why a connection was closed, as the peer sees it (docs/wire.md).
const CLOSED: VarInt = VarInt::from_u32(0);
const MISTAKEN: VarInt = VarInt::from_u32(1);
const SUPERFLUOUS: VarInt = VarInt::from_u32(2);
const REPLACED: VarInt = VarInt::from_u32(3);
const BEHIND: VarInt = VarInt::from_u32(4);
