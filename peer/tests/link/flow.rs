//! One flow: a server that pushes streams and a client that reads them, without a socket.

use bytes::BytesMut;
use neap_peer::congestion::Satellite;
use quinn_proto::congestion::{ControllerFactory, CubicConfig, NewRenoConfig};
use quinn_proto::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn_proto::{
    ClientConfig, Connection, ConnectionHandle, DatagramEvent, Dir, Endpoint, EndpointConfig,
    Event, ServerConfig, StreamEvent, StreamId, TransportConfig, VarInt, WriteError,
};
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes of one stream, as one request of a range asks for.
const STREAM_LEN: usize = 256 << 10;

/// Most datagrams of one call, as quinn asks for with segmentation offload.
const BATCH_COUNT: usize = 10;

/// Which controller a flow's sender has, and when it sends.
#[derive(Clone)]
pub(crate) struct FlowPlan {
    pub(crate) factory: Arc<dyn ControllerFactory + Send + Sync>,
    pub(crate) start: Duration,
    pub(crate) stop: Duration,
    /// Streams under way at once.
    pub(crate) parallel: usize,
    /// Bytes that the receiver takes before they are read.
    pub(crate) receive_window: Option<u32>,
    pub(crate) wake: Wake,
}

/// What the receiver does when nothing comes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wake {
    /// Nothing: the sender's probe timeout alone finds that the link is back.
    Nothing,
    /// After so long, and each so long again, it sends from another port, as quinn's
    /// `Endpoint::rebind` does.
    Rebind(Duration),
}

impl FlowPlan {
    pub(crate) fn new(factory: Arc<dyn ControllerFactory + Send + Sync>) -> Self {
        Self {
            factory,
            start: Duration::ZERO,
            stop: Duration::MAX,
            parallel: 16,
            receive_window: None,
            wake: Wake::Nothing,
        }
    }

    pub(crate) fn satellite() -> Self {
        Self::new(Arc::new(Satellite::default()))
    }

    pub(crate) fn cubic() -> Self {
        Self::new(Arc::new(CubicConfig::default()))
    }

    pub(crate) fn new_reno() -> Self {
        Self::new(Arc::new(NewRenoConfig::default()))
    }

    pub(crate) fn from(mut self, start: Duration) -> Self {
        self.start = start;
        self
    }

    pub(crate) fn until(mut self, stop: Duration) -> Self {
        self.stop = stop;
        self
    }

    pub(crate) fn parallel(mut self, parallel: usize) -> Self {
        self.parallel = parallel;
        self
    }

    pub(crate) fn receive_window(mut self, bytes: u32) -> Self {
        self.receive_window = Some(bytes);
        self
    }

    pub(crate) fn wake(mut self, wake: Wake) -> Self {
        self.wake = wake;
        self
    }
}

/// One end of a flow.
pub(crate) struct End {
    endpoint: Endpoint,
    connection: Option<(ConnectionHandle, Connection)>,
    remote: SocketAddr,
    /// When the connection wants to be called.
    pub(crate) timeout: Option<Instant>,
}

/// Both ends, and what their applications do.
pub(crate) struct Flow {
    pub(crate) client: End,
    pub(crate) server: End,
    client_config: ClientConfig,
    client_addr: SocketAddr,
    parallel: usize,
    open: usize,
    /// Streams that are not written to their end, and how far they are.
    writing: VecDeque<(StreamId, usize)>,
    stopped: bool,
    payload: Vec<u8>,
    /// Bytes of streams that the client read.
    pub(crate) delivered: u64,
}

/// A datagram that an end sends.
pub(crate) struct Datagram {
    pub(crate) source: SocketAddr,
    pub(crate) payload: BytesMut,
}

impl Flow {
    pub(crate) fn new(plan: &FlowPlan, seed: u64) -> Self {
        let (client_tls, server_tls) = tls();
        let mut sender = transport();
        sender.congestion_controller_factory(plan.factory.clone());
        let mut server_config = ServerConfig::with_crypto(server_tls);
        server_config.transport_config(Arc::new(sender));
        let mut client_config = ClientConfig::new(client_tls);
        let mut receiver = transport();
        if let Some(bytes) = plan.receive_window {
            receiver.receive_window(VarInt::from_u32(bytes));
        }
        client_config.transport_config(Arc::new(receiver));
        let server_addr = address(443);
        let client_addr = address(1000);
        Self {
            client: End::new(None, server_addr, seed * 2),
            server: End::new(Some(Arc::new(server_config)), client_addr, seed * 2 + 1),
            client_config,
            client_addr,
            parallel: plan.parallel,
            open: 0,
            writing: VecDeque::new(),
            stopped: false,
            payload: vec![0x5a; STREAM_LEN],
            delivered: 0,
        }
    }

    pub(crate) fn connect(&mut self, now: Instant) {
        let made = self.client.endpoint.connect(
            now,
            self.client_config.clone(),
            address(443),
            "localhost",
        );
        self.client.connection = Some(made.expect("the client's configuration is sound"));
    }

    /// The sender opens no more streams.
    pub(crate) fn stop(&mut self) {
        self.stopped = true;
    }

    /// The client sends from another port from now on, and says so.
    pub(crate) fn rebind(&mut self) {
        self.client_addr = address(self.client_addr.port() + 1);
        if let Some((_, connection)) = &mut self.client.connection {
            connection.local_address_changed();
        }
    }

    pub(crate) fn drive_client(
        &mut self,
        now: Instant,
        arrived: Option<Datagram>,
    ) -> Vec<Datagram> {
        if let Some(datagram) = arrived {
            self.client.take(now, datagram);
        }
        self.client.wake(now);
        if let Some((_, connection)) = &mut self.client.connection {
            self.delivered += read_streams(connection);
        }
        self.client.send(now, self.client_addr)
    }

    pub(crate) fn drive_server(
        &mut self,
        now: Instant,
        arrived: Option<Datagram>,
    ) -> Vec<Datagram> {
        if let Some(datagram) = arrived {
            self.server.take(now, datagram);
        }
        self.server.wake(now);
        self.write_streams();
        self.server.send(now, address(443))
    }

    /// Keeps `parallel` streams under way, each begun when another was acknowledged to its end:
    /// the time of a request that follows a reply.
    fn write_streams(&mut self) {
        let Some((_, connection)) = &mut self.server.connection else { return };
        while let Some(event) = connection.poll() {
            match event {
                Event::Stream(StreamEvent::Finished { .. }) => self.open -= 1,
                Event::ConnectionLost { reason } => unreachable!("connection lost: {reason}"),
                _ => {}
            }
        }
        while !self.stopped && !connection.is_handshaking() && self.open < self.parallel {
            let Some(id) = connection.streams().open(Dir::Uni) else { return };
            self.writing.push_back((id, 0));
            self.open += 1;
        }
        // In order, as what was asked first is sent first; windows may be full.
        while let Some((id, written)) = self.writing.front_mut() {
            let mut stream = connection.send_stream(*id);
            match stream.write(&self.payload[*written..]) {
                Ok(count) => *written += count,
                Err(WriteError::Blocked) => return,
                Err(error) => unreachable!("the receiver reads all: {error}"),
            }
            if *written == self.payload.len() {
                stream.finish().expect("it is open");
                self.writing.pop_front();
            }
        }
    }
}

impl End {
    fn new(server: Option<Arc<ServerConfig>>, remote: SocketAddr, seed: u64) -> Self {
        let mut config = EndpointConfig::default();
        let mut rng_seed = [0; 32];
        rng_seed[..8].copy_from_slice(&seed.to_le_bytes());
        config.rng_seed(Some(rng_seed));
        let endpoint = Endpoint::new(Arc::new(config), server, true, None);
        Self { endpoint, connection: None, remote, timeout: None }
    }

    pub(crate) fn connection(&self) -> Option<&Connection> {
        self.connection.as_ref().map(|(_, connection)| connection)
    }

    fn take(&mut self, now: Instant, datagram: Datagram) {
        let mut reply = Vec::new();
        self.remote = datagram.source;
        let event =
            self.endpoint.handle(now, datagram.source, None, None, datagram.payload, &mut reply);
        match event {
            Some(DatagramEvent::ConnectionEvent(_, event)) => {
                if let Some((_, connection)) = &mut self.connection {
                    connection.handle_event(event);
                }
            }
            Some(DatagramEvent::NewConnection(incoming)) => {
                let accepted = self.endpoint.accept(incoming, now, &mut reply, None);
                self.connection = accepted.ok();
                assert!(self.connection.is_some(), "the server accepts");
            }
            Some(DatagramEvent::Response(_)) | None => {}
        }
    }

    fn wake(&mut self, now: Instant) {
        let Some((handle, connection)) = &mut self.connection else { return };
        if self.timeout.is_some_and(|timeout| timeout <= now) {
            connection.handle_timeout(now);
        }
        while let Some(event) = connection.poll_endpoint_events() {
            if let Some(event) = self.endpoint.handle_event(*handle, event) {
                connection.handle_event(event);
            }
        }
    }

    fn send(&mut self, now: Instant, source: SocketAddr) -> Vec<Datagram> {
        let mut datagrams = Vec::new();
        let Some((_, connection)) = &mut self.connection else { return datagrams };
        let mut buffer = Vec::new();
        while let Some(transmit) = connection.poll_transmit(now, BATCH_COUNT, &mut buffer) {
            let segment = transmit.segment_size.unwrap_or(transmit.size);
            for part in buffer[..transmit.size].chunks(segment) {
                datagrams.push(Datagram { source, payload: BytesMut::from(part) });
            }
            buffer.clear();
        }
        self.timeout = connection.poll_timeout();
        datagrams
    }
}

/// Reads what has come in the order of each stream, as what is asked for is read; how much it is.
fn read_streams(connection: &mut Connection) -> u64 {
    let mut readable: Vec<StreamId> = Vec::new();
    while let Some(event) = connection.poll() {
        match event {
            Event::Stream(StreamEvent::Readable { id }) => readable.push(id),
            Event::Stream(StreamEvent::Opened { dir: Dir::Uni }) => {
                while let Some(id) = connection.streams().accept(Dir::Uni) {
                    readable.push(id);
                }
            }
            Event::ConnectionLost { reason } => unreachable!("connection lost: {reason}"),
            _ => {}
        }
    }
    let mut bytes = 0;
    for id in readable {
        let mut stream = connection.recv_stream(id);
        let Ok(mut chunks) = stream.read(true) else { continue };
        while let Ok(Some(chunk)) = chunks.next(usize::MAX) {
            bytes += chunk.bytes.len() as u64;
        }
        // What this says is to be sent, `send` asks for in any case.
        let _should_transmit = chunks.finalize();
    }
    bytes
}

/// What both ends have in common. No idle timeout: outages are part of the link.
fn transport() -> TransportConfig {
    let mut config = TransportConfig::default();
    config.max_idle_timeout(None);
    config
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// TLS by ring with one key for all runs, so that all handshakes have the same sizes.
fn tls() -> (Arc<QuicClientConfig>, Arc<QuicServerConfig>) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    // An Ed25519 key in PKCS #8 (RFC 8410, section 7), its 32 bytes all 7.
    let mut pkcs8 = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20".to_vec();
    pkcs8.extend([7; 32]);
    let der = rustls::pki_types::PrivatePkcs8KeyDer::from(pkcs8);
    let key = rcgen::KeyPair::try_from(&der).expect("the key is sound");
    let params = rcgen::CertificateParams::new(["localhost".to_owned()]).expect("a DNS name");
    let certificate = params.self_signed(&key).expect("the key signs").der().clone();

    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.clone()).expect("the certificate is sound");
    let client = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring has TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring has TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], der.into())
        .expect("the key fits the certificate");
    let client = QuicClientConfig::try_from(client).expect("ring has the initial suite");
    let server = QuicServerConfig::try_from(server).expect("ring has the initial suite");
    (Arc::new(client), Arc::new(server))
}
