//! A node on loopback with a fleet's authority, and peers of it that do what they like.

use std::io::Cursor;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use neap_depot::depot::Depot;
use neap_depot::directory::Directory;
use neap_depot::memory::Memory;
use neap_depot::writer::Present;
use neap_engine::digest::Digest;
use neap_peer::link::{Class, Profile};
use neap_peer::quic::ask;
use neap_peer::quic::node::{Event, Node, Patience, Settings};
use neap_peer::shelf::{Shelf, Use};
use neap_peer::tls::{self, Admission, Identity};
use neap_peer::wire::{Hello, Notice};
use neap_trust::device_key::DeviceSigner;
use neap_trust::device_key::file::Kind;
use neap_trust::fixture::identity::{Ca, at, device, request};
use neap_trust::identity::{Certificate, Crl};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{
    ClientConfig, Connection, ConnectionError, Endpoint, RecvStream, SendStream, TransportConfig,
};
use tokio::sync::mpsc;

/// The node and what it can be asked.
pub struct World {
    pub ca: Ca,
    pub node: Node,
    pub events: mpsc::Receiver<Event>,
    pub at: SocketAddr,
    pub blob: Digest,
    pub bytes: Vec<u8>,
    /// Whom it refused, in words.
    pub refused: Arc<Mutex<Vec<String>>>,
}

/// A peer that said hello, or not yet, and says what it likes.
pub struct Raw {
    pub connection: Connection,
    pub said: SendStream,
    pub heard: RecvStream,
    _endpoint: Endpoint,
}

/// Who a peer is.
pub fn identity(ca: &Ca, name: &str, byte: u8) -> (Identity, Certificate) {
    let key = device(Kind::Ed25519, byte);
    let certificate = ca.certificate(&request(name, &key), byte);
    let signer: Arc<dyn DeviceSigner + Send + Sync> = Arc::new(key);
    (Identity { certificate: certificate.clone(), signer }, certificate)
}

pub fn admission(ca: &Ca, crl: Option<Crl>, told: &Arc<Mutex<Vec<String>>>) -> Arc<Admission> {
    let told = Arc::clone(told);
    let refused = move |refused: &tls::Refused| {
        told.lock().unwrap_or_else(PoisonError::into_inner).push(refused.to_string());
    };
    Arc::new(Admission::new(ca.authority.clone(), crl, Box::new(|| at(0)), Box::new(refused)))
}

/// A depot in memory with this blob, or empty.
pub fn shelf(bytes: Option<&[u8]>, usage: Use) -> (Shelf, Digest) {
    let depot = Depot::new(Box::new(Directory::new(Memory::default())));
    let mut blob = Digest([0; 32]);
    if let Some(bytes) = bytes {
        let writer = depot.writer("test").expect("nobody else writes");
        let added = writer.add(&mut Cursor::new(bytes), Present::Verify).expect("memory takes it");
        blob = added.digest;
    }
    (Shelf::open(Arc::new(depot), usage).expect("it opens"), blob)
}

pub fn noise(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i / 7 % 251).to_le_bytes()[0] ^ (i % 13).to_le_bytes()[0]).collect()
}

impl World {
    pub fn new() -> Self {
        Self::with(Patience::default(), None)
    }

    pub fn with(patience: Patience, crl: Option<Crl>) -> Self {
        Self::allowing(patience, crl, None)
    }

    /// One that sends each peer so much in a day.
    pub fn allowing(patience: Patience, crl: Option<Crl>, peer_day_bytes: Option<u64>) -> Self {
        let (ca, refused) = (Ca::new(1), Arc::default());
        let bytes = noise(300_000);
        let (shelf, blob) = shelf(Some(&bytes), Use::Reads);
        let settings = Settings {
            listen: Some(([127, 0, 0, 1], 0).into()),
            site: "MV Aurora".into(),
            identity: identity(&ca, "server", 1).0,
            admission: admission(&ca, crl, &refused),
            lan: Profile::of_class("lan", Class::Lan),
            incoming: Profile::of_class("port", Class::Port),
            peer_day_bytes,
        };
        let (node, events) = Node::start_with(settings, shelf, patience).expect("it starts");
        let at = node.address().expect("it listens");
        Self { ca, node, events, at, blob, bytes, refused }
    }

    /// Reads what happens, so that the node need not wait for us.
    pub fn drain(&mut self) -> mpsc::UnboundedReceiver<Event> {
        let (_, none) = mpsc::channel(1);
        let mut events = std::mem::replace(&mut self.events, none);
        let (tell, told) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                drop(tell.send(event));
            }
        });
        told
    }

    /// An honest node fetches the blob, and is served within some seconds.
    pub async fn serves_the_honest(&self) {
        let (shelf, _) = shelf(None, Use::Reads);
        let settings = Settings {
            listen: None,
            site: "elsewhere".into(),
            identity: identity(&self.ca, "honest", 2).0,
            admission: admission(&self.ca, None, &Arc::default()),
            lan: Profile::of_class("lan", Class::Lan),
            incoming: Profile::of_class("port", Class::Port),
            peer_day_bytes: None,
        };
        let (node, mut events) = Node::start(settings, shelf).expect("it starts");
        tokio::spawn(async move { while events.recv().await.is_some() {} });
        let link = Profile::of_class("port", Class::Port);
        let fetching = async {
            let peer = node.dial(self.at, &link, Some("server")).await.expect("it is reached");
            let lens = ask::has(&peer.connection, &[self.blob]).await.expect("it answers");
            let len = lens[0].expect("it has the blob");
            ask::document(&peer.connection, self.blob, len).await.expect("it gives the blob")
        };
        let fetched = tokio::time::timeout(Duration::from_secs(15), fetching).await;
        assert!(fetched.expect("an honest peer is served in time") == self.bytes);
        node.close().await;
    }

    /// TLS of a device of the fleet.
    pub fn tls(&self, name: &str, byte: u8) -> rustls::ClientConfig {
        let admission = admission(&self.ca, None, &Arc::default());
        tls::client(&identity(&self.ca, name, byte).0, &admission).expect("TLS 1.3")
    }

    /// A device of the fleet that has said nothing yet.
    pub async fn silent(&self, name: &str, byte: u8) -> (Connection, Endpoint) {
        let connected = connect(self.at, self.tls(name, byte), TransportConfig::default()).await;
        connected.expect("it is admitted")
    }

    /// A device of the fleet that said hello.
    pub async fn raw(&self, name: &str, byte: u8, same_site: bool) -> Raw {
        self.raw_over(name, byte, same_site, TransportConfig::default()).await
    }

    pub async fn raw_over(
        &self,
        name: &str,
        byte: u8,
        same_site: bool,
        transport: TransportConfig,
    ) -> Raw {
        let connected = connect(self.at, self.tls(name, byte), transport).await;
        let (connection, endpoint) = connected.expect("it is admitted");
        let mut said = connection.open_uni().await.expect("a stream");
        let site = "MV Aurora".to_owned();
        let hello = Hello { version: 1, same_site, site, port: 0, rate_kbit: 0 };
        said.write_all(&Notice::Hello(hello).encode()).await.expect("it is taken");
        let heard = connection.accept_uni().await.expect("the node's notices");
        Raw { connection, said, heard, _endpoint: endpoint }
    }
}

impl Raw {
    /// Sends bytes as a request; what comes back, at most 64 KiB; nothing if the stream is reset.
    pub async fn ask(&self, request: &[u8]) -> Option<Vec<u8>> {
        let (mut send, mut answer) = self.connection.open_bi().await.ok()?;
        send.write_all(request).await.ok()?;
        send.finish().ok()?;
        answer.read_to_end(64 << 10).await.ok()
    }
}

/// Connects with whatever TLS and transport.
pub async fn connect(
    at: SocketAddr,
    tls: rustls::ClientConfig,
    transport: TransportConfig,
) -> Result<(Connection, Endpoint), ConnectionError> {
    let crypto = QuicClientConfig::try_from(tls).expect("TLS 1.3");
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport));
    let endpoint = Endpoint::client(([127, 0, 0, 1], 0).into()).expect("a socket");
    let connecting = endpoint.connect_with(config, at, "neap").expect("an address");
    Ok((connecting.await?, endpoint))
}

/// The code with which the other side closed a connection, within some seconds.
pub async fn closed(connection: &Connection) -> Option<u64> {
    let closed = tokio::time::timeout(Duration::from_secs(5), connection.closed()).await;
    match closed.ok()? {
        ConnectionError::ApplicationClosed(close) => Some(close.error_code.into_inner()),
        _ => None,
    }
}
