//! What a fetch moves on this machine, against what plain quinn moves in the same run: one sender,
//! one receiver, loopback, each on two threads.
//!
//! ```text
//! cargo bench -p neap-peer --bench lan [-- MEBIBYTES]
//! ```
//!
//! Plain quinn is quinn as it comes: a stream that is read and dropped. The second row has the
//! settings of our links in a LAN, the third is that read from a file on $TMPDIR, hashed on both
//! sides, written to a file there and synced: what no fetch can do without. The fetch verifies
//! every group on both sides and keeps it in a depot. Prints the median of five, alternating.
//!
//! Loopback carries 64 KiB, so the larger datagrams of jumbo frames fit. As on Ethernet without:
//!
//! ```text
//! unshare --net sh -c 'ip link set lo up mtu 1500; cargo bench -p neap-peer --bench lan'
//! ```

use std::error::Error;
use std::fs::File;
use std::io::{self, Cursor, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use neap_depot::depot::Depot;
use neap_depot::writer::Present;
use neap_engine::digest::Digest;
use neap_peer::link::{Class, Profile};
use neap_peer::quic::node::{Node, Settings};
use neap_peer::quic::site::{Place, Site, Unlimited, Want};
use neap_peer::quic::transport;
use neap_peer::shelf::{Shelf, Use};
use neap_peer::tls::{Admission, Identity};
use neap_trust::device_key::file::Kind;
use neap_trust::fixture::identity::{Ca, device, request};
use quinn::{Endpoint, EndpointConfig, ServerConfig, TransportConfig};
use tokio::runtime::Runtime;
use tokio::sync::watch;

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let mebibytes = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(256);
    let len: usize = mebibytes << 20;
    let folder = tempfile::tempdir()?;
    let fleet = Ca::new(1);
    let blob = source(&folder.path().join("source"), len)?;
    let (mut plain, mut ours, mut kept, mut fetched) =
        <(Vec<_>, Vec<_>, Vec<_>, Vec<_>)>::default();
    let file = folder.path().join("file");
    std::fs::write(&file, noise(len))?;
    for run in 0..5 {
        plain.push(move_stream(&fleet, len, As::ItComes, None)?);
        ours.push(move_stream(&fleet, len, As::WeSet, None)?);
        kept.push(move_stream(&fleet, len, As::WeSet, Some(&file))?);
        fetched.push(fetch(&fleet, folder.path(), run, blob, len as u64)?);
    }
    let rate = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        mebibytes as f64 / times[times.len() / 2].as_secs_f64()
    };
    let plain = rate(&mut plain);
    println!("plain quinn               {plain:7.0} MiB/s");
    let rows = [
        ("quinn, set as our links", rate(&mut ours)),
        ("and hashed, written", rate(&mut kept)),
        ("neap fetch", rate(&mut fetched)),
    ];
    for (name, rate) in rows {
        println!("{name:25} {rate:7.0} MiB/s   {:.2} of plain", rate / plain);
    }
    Ok(())
}

/// How quinn is set.
#[derive(Clone, Copy)]
enum As {
    ItComes,
    WeSet,
}

impl As {
    fn transport(self) -> Arc<TransportConfig> {
        Arc::new(match self {
            Self::ItComes => TransportConfig::default(),
            Self::WeSet => transport::config(&lan()),
        })
    }

    /// A socket that accepts what the other side may then send.
    fn endpoint(self, server: Option<ServerConfig>) -> io::Result<Endpoint> {
        let mut config = EndpointConfig::default();
        if let Self::WeSet = self {
            let max = config.max_udp_payload_size(transport::DATAGRAM_LEN_MAX);
            max.map_err(io::Error::other)?;
        }
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        Endpoint::new(config, server, socket, Arc::new(quinn::TokioRuntime))
    }
}

fn lan() -> Profile {
    Profile::of_class("lan", Class::Lan)
}

/// Bytes that no two groups share.
fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(b"bench").finalize_xof().fill(&mut bytes);
    bytes
}

/// A depot with one blob.
fn source(path: &Path, len: usize) -> Result<Digest, Failure> {
    let bytes = noise(len);
    let depot = Depot::make(&path.to_string_lossy())?;
    let writer = depot.writer("the bench").map_err(|error| error.to_string())?;
    let added = writer.add(&mut Cursor::new(bytes), Present::Verify);
    Ok(added.map_err(|error| error.to_string())?.digest)
}

fn two_threads() -> Result<Runtime, Failure> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

fn identity(fleet: &Ca, name: &str) -> (Identity, Arc<Admission>) {
    let number = u8::try_from(name.len()).unwrap_or(u8::MAX);
    let signer = device(Kind::Ed25519, number);
    let certificate = fleet.certificate(&request(name, &signer), number);
    let authority = fleet.authority.clone();
    let now = certificate.validity().0;
    let admission = Admission::new(authority, None, Box::new(move || now), Box::new(|_| {}));
    (Identity { certificate, signer: Arc::new(signer) }, Arc::new(admission))
}

fn settings(fleet: &Ca, name: &str) -> Settings {
    let (identity, admission) = identity(fleet, name);
    let listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let (site, lan) = ("bench".to_owned(), lan());
    Settings { listen, site, identity, admission, incoming: lan.clone(), lan, peer_day_bytes: None }
}

/// One stream, as fast as it goes; from a file into another one beside it, hashed, if one is named.
fn move_stream(fleet: &Ca, len: usize, set: As, file: Option<&Path>) -> Result<Duration, Failure> {
    let (here, there) = (two_threads()?, two_threads()?);
    let (identity, admission) = identity(fleet, "sender");
    let tls = neap_peer::tls::server(&identity, &admission)?;
    let crypto = quinn::crypto::rustls::QuicServerConfig::try_from(tls)?;
    let mut server = ServerConfig::with_crypto(Arc::new(crypto));
    server.transport_config(set.transport());
    let sender = {
        let _guard = there.enter();
        set.endpoint(Some(server))?
    };
    let at = sender.local_addr()?;
    let mut input = file.map(File::open).transpose()?;
    let mut output = file.map(|file| File::create(file.with_extension("copy"))).transpose()?;
    there.spawn(async move {
        let Some(incoming) = sender.accept().await else { return };
        let Ok(connection) = incoming.await else { return };
        let Ok(mut stream) = connection.open_uni().await else { return };
        let (mut piece, mut hasher) = (vec![7; 1 << 16], blake3::Hasher::new());
        for _ in 0..len >> 16 {
            if let Some(input) = &mut input {
                input.read_exact(&mut piece).expect("it was written");
                hasher.update(&piece);
            }
            if stream.write_all(&piece).await.is_err() {
                return;
            }
        }
        drop(stream.finish());
        connection.closed().await;
    });
    let tls = neap_peer::tls::client(&identity, &admission)?;
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls)?;
    let mut client = quinn::ClientConfig::new(Arc::new(crypto));
    client.transport_config(set.transport());
    here.block_on(async move {
        let endpoint = set.endpoint(None)?;
        let connection = endpoint.connect_with(client, at, "neap")?.await?;
        let mut stream = connection.accept_uni().await?;
        let (begun, mut got) = (Instant::now(), 0);
        let mut chunks: [bytes::Bytes; 32] = std::array::from_fn(|_| bytes::Bytes::new());
        let (mut piece, mut hasher) = (Vec::new(), blake3::Hasher::new());
        while let Some(count) = stream.read_chunks(&mut chunks).await? {
            got += chunks[..count].iter().map(bytes::Bytes::len).sum::<usize>();
            let Some(output) = &mut output else { continue };
            chunks[..count].iter().for_each(|chunk| piece.extend_from_slice(chunk));
            if piece.len() >= 1 << 16 {
                hasher.update(&piece);
                output.write_all(&piece)?;
                piece.clear();
            }
        }
        if let Some(output) = &mut output {
            hasher.update(&piece);
            output.write_all(&piece)?;
            output.sync_all()?;
        }
        assert_eq!(got, len >> 16 << 16, "all of it came");
        Ok(begun.elapsed())
    })
}

/// The same bytes as a blob, from a depot into a depot.
fn fetch(
    fleet: &Ca,
    folder: &Path,
    run: usize,
    blob: Digest,
    len: u64,
) -> Result<Duration, Failure> {
    let (here, there) = (two_threads()?, two_threads()?);
    let from = Arc::new(Depot::directory(&folder.join("source"))?);
    let into = folder.join(format!("target-{run}"));
    let sender = {
        let _guard = there.enter();
        Node::start(settings(fleet, "sender"), Shelf::open(from, Use::Reads)?)?
    };
    let (sender, mut heard) = sender;
    there.spawn(async move { while heard.recv().await.is_some() {} });
    let address = sender.address()?.to_string();
    let took = here.block_on(async {
        let depot = Arc::new(Depot::make(&into.to_string_lossy())?);
        let shelf = Shelf::open(depot, Use::Writes)?;
        let (node, events) = Node::start(settings(fleet, "receiver"), shelf.clone())?;
        let place = Place { address, device: None, link: lan() };
        let mut site = Site::new(node, events, shelf, vec![place], Box::new(Unlimited));
        site.gather(Duration::from_secs(2), false).await;
        let (tell, _told) = watch::channel(0);
        let want = Want { blob, len, in_order: false };
        let begun = Instant::now();
        site.fetch(want, Duration::from_secs(60), &tell, &mut |_| {}).await?;
        let took = begun.elapsed();
        site.node().close().await;
        Ok::<_, Failure>(took)
    })?;
    std::fs::remove_dir_all(into)?;
    Ok(took)
}
