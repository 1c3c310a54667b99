//! A real node on loopback among peers that do not keep to the protocol: each is bounded as
//! `docs/wire.md` says (section 7), and an honest peer is served all the same. That claims which
//! are repeated and never kept cost a lease and no byte is the simulator's to show (`site.rs`,
//! members that hog); what memory peers take that never read, `never_reads.rs`.

#![allow(unreachable_pub, reason = "modules of a test have no public")]

#[path = "hostile/liar.rs"]
mod liar;
#[path = "hostile/world.rs"]
mod world;

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use neap_depot::name::Device;
use neap_engine::digest::Digest;
use neap_peer::groups::Groups;
use neap_peer::limits::{
    BLOBS_PER_PEER_MAX, CONNECTIONS_PER_PEER_MAX, FRAME_LEN_MAX, HANDSHAKES_PER_ADDRESS_MAX,
    HAS_COUNT_MAX, NOTICES_BURST, NOTICES_PER_S, REQUEST_COST_BURST, REQUEST_COST_PER_S,
    REQUEST_LEN_MAX, STREAMS_PER_PEER_MAX, TELLS_MAX,
};
use neap_peer::quic::ask::{self, AskError};
use neap_peer::quic::node::{Event, Patience};
use neap_peer::receipts::{Bearer, NotKept};
use neap_peer::shelf::Use;
use neap_peer::tls;
use neap_peer::wire::{Hello, Notice, Request, Status};
use neap_trust::fixture::identity::{Ca, at, device, receipts, request};
use neap_trust::identity::issuer::Span;
use neap_trust::identity::{Number, Reason, Revocation};
use quinn::{TransportConfig, VarInt};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use world::{World, admission, closed, connect, identity};

const MISTAKEN: Option<u64> = Some(1);
const SUPERFLUOUS: Option<u64> = Some(2);
const BEHIND: Option<u64> = Some(4);

fn short() -> Patience {
    Patience { hello: Duration::from_millis(400), request: Duration::from_millis(300) }
}

#[tokio::test]
async fn strangers_expired_and_revoked_devices_are_refused_by_name_and_get_no_answer() {
    let ca = Ca::new(1);
    let (_, stolen) = identity(&ca, "stolen-1", 9);
    let why = Revocation { at: at(-60), reason: Reason::KeyCompromise };
    let world = World::with(Patience::default(), Some(ca.crl(1, &[(stolen.number(), why)])));
    let mine = admission(&ca, None, &Arc::default());

    let other_fleet = identity(&Ca::new(2), "spy-1", 8).0;
    let (mut expired, _) = identity(&ca, "old-1", 7);
    let span = Span { from: at(-3600), until: at(-600) };
    let asked = request("old-1", &device(neap_trust::device_key::file::Kind::Ed25519, 7));
    let number = Number::from_random([77; 16]);
    expired.certificate = ca.issuer().certificate(&asked, &number, span).expect("made");
    let (revoked, _) = identity(&ca, "stolen-1", 9);
    for (who, told) in [
        (&other_fleet, "certificate of no device of this fleet"),
        (&expired, "old-1: certificate valid from"),
        (&revoked, "stolen-1: certificate revoked"),
    ] {
        let tls = tls::client(who, &mine).expect("TLS 1.3");
        assert!(is_refused(&world, tls).await, "{who:?}");
        let refused = world.refused.lock().unwrap_or_else(PoisonError::into_inner).clone();
        assert!(refused.iter().any(|why| why.contains(told)), "{told}: {refused:?}");
    }
    assert!(is_refused(&world, nobody()).await, "without a certificate");
    assert!(world.node.peers().is_empty());
    world.serves_the_honest().await;
}

/// Whether no request of it is answered.
async fn is_refused(world: &World, tls: rustls::ClientConfig) -> bool {
    // In TLS 1.3 a client believes itself connected before its certificate was looked at.
    let connected = connect(world.at, tls, TransportConfig::default()).await;
    let Ok((connection, _endpoint)) = connected else { return true };
    let asking = async {
        let (mut send, mut answer) = connection.open_bi().await.ok()?;
        send.write_all(&Request::Receipts.encode()).await.ok()?;
        send.finish().ok()?;
        answer.read_to_end(64 << 10).await.ok()
    };
    let asked = tokio::time::timeout(Duration::from_secs(5), asking).await;
    asked.ok().flatten().is_none() && connection.close_reason().is_some()
}

/// TLS of a client that shows no certificate and looks at none.
fn nobody() -> rustls::ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider);
    let builder = builder.with_protocol_versions(&[&rustls::version::TLS13]).expect("TLS 1.3");
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody));
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = vec![neap_peer::wire::ALPN.to_vec()];
    config
}

#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519, SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

#[tokio::test]
async fn protocol_of_another_name_is_not_spoken() {
    let world = World::new();
    let mut tls = world.tls("pump-1", 5);
    tls.alpn_protocols = vec![b"neap/0".to_vec()];
    assert!(is_refused(&world, tls).await);
    world.serves_the_honest().await;
}

#[tokio::test]
async fn strangers_in_great_numbers_do_not_keep_honest_peers_out() {
    let world = World::with(short(), None);
    let until = Instant::now() + Duration::from_secs(2);
    for _ in 0..3 * HANDSHAKES_PER_ADDRESS_MAX {
        let at = world.at;
        tokio::spawn(async move {
            while Instant::now() < until {
                drop(connect(at, nobody(), TransportConfig::default()).await);
            }
        });
    }
    world.serves_the_honest().await;
}

#[tokio::test]
async fn thousand_streams_of_a_peer_are_sixty_four_and_others_are_served() {
    let world = World::new();
    let raw = world.raw("greedy-1", 5, false).await;
    let mut open = Vec::new();
    for _ in 0..1000 {
        let opening = raw.connection.open_bi();
        let Ok(stream) = tokio::time::timeout(Duration::from_millis(300), opening).await else {
            break;
        };
        let (mut send, answer) = stream.expect("it is connected");
        send.write_all(&[1]).await.expect("a byte of a request");
        open.push((send, answer));
    }
    assert_eq!(open.len(), usize::try_from(STREAMS_PER_PEER_MAX).expect("few"));
    let more = raw.connection.open_uni();
    assert!(tokio::time::timeout(Duration::from_millis(300), more).await.is_err());
    world.serves_the_honest().await;
}

#[tokio::test]
async fn requests_that_come_byte_by_byte_are_cut_off() {
    let world = World::with(short(), None);
    let raw = world.raw("slow-1", 5, false).await;
    let (mut send, mut answer) = raw.connection.open_bi().await.expect("a stream");
    let start = Instant::now();
    let dripping = tokio::spawn(async move {
        // The node stops the stream, and then it takes no more.
        while send.write_all(&[1]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let answered = answer.read_to_end(64).await.expect("an answer");
    assert_eq!(answered, [Status::Refused.byte()]);
    assert!((250..3_000).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
    dripping.await.expect("it ends");
    let malformed = world.node.served().malformed.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(malformed, 1);
    world.serves_the_honest().await;
}

#[tokio::test]
async fn malformed_and_too_long_frames_and_a_second_hello_end_the_session() {
    let world = World::new();
    let len = |len: usize| u32::try_from(len).expect("short").to_le_bytes().to_vec();
    let site = "MV Aurora".to_owned();
    let hello = Hello { version: 1, same_site: true, site, port: 0, rate_kbit: 0 };
    let frame = |body: &[u8]| [len(body.len()), body.to_vec()].concat();
    for (byte, (what, bytes)) in (10..).zip([
        ("too long", len(FRAME_LEN_MAX + 1)),
        ("of gigabytes", vec![255; 4]),
        ("empty", len(0)),
        ("of no kind", frame(&[7])),
        ("short", frame(&[3; 20])),
        ("of ranges in disorder", frame(&[&[3][..], &[7; 32], &[2, 0], &[0; 16]].concat())),
        ("a second hello", Notice::Hello(hello).encode()),
    ]) {
        let mut raw = world.raw(&format!("bad-{byte}"), byte, true).await;
        raw.said.write_all(&bytes).await.expect("it is taken");
        assert_eq!(closed(&raw.connection).await, MISTAKEN, "a frame {what}");
    }
    world.serves_the_honest().await;
}

#[tokio::test]
async fn no_hello_or_another_frame_first_ends_the_session() {
    let world = World::with(short(), None);
    let (mute, _endpoint) = world.silent("mute-1", 5).await;
    assert_eq!(closed(&mute).await, MISTAKEN, "no hello");
    let (hasty, _endpoint) = world.silent("hasty-1", 6).await;
    let mut said = hasty.open_uni().await.expect("a stream");
    said.write_all(&Notice::Fresh(b"{}".to_vec()).encode()).await.expect("it is taken");
    assert_eq!(closed(&hasty).await, MISTAKEN, "another frame first");
    let (half, _endpoint) = world.silent("half-1", 7).await;
    let mut said = half.open_uni().await.expect("a stream");
    said.write_all(&[9, 0, 0]).await.expect("it is taken");
    assert_eq!(closed(&half).await, MISTAKEN, "half a length");
    assert!(world.node.peers().is_empty());
    world.serves_the_honest().await;
}

#[tokio::test]
async fn hellos_that_do_not_come_hold_three_places_of_a_device() {
    let world = World::new();
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(world.silent("mute-1", 5).await);
    }
    let mut ended = 0;
    for (connection, _) in held.iter().skip(CONNECTIONS_PER_PEER_MAX) {
        ended += usize::from(closed(connection).await == SUPERFLUOUS);
    }
    assert_eq!(ended, 10 - CONNECTIONS_PER_PEER_MAX);
    world.serves_the_honest().await;
}

#[tokio::test]
async fn connections_of_a_device_beyond_three_are_closed() {
    let mut world = World::new();
    let _events = world.drain();
    let mut open = Vec::new();
    for _ in 0..10 {
        open.push(world.raw("many-1", 5, false).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for raw in open.iter().skip(CONNECTIONS_PER_PEER_MAX) {
        assert_eq!(closed(&raw.connection).await, SUPERFLUOUS);
    }
    let alive = open.iter().filter(|raw| raw.connection.close_reason().is_none());
    assert_eq!(alive.count(), CONNECTIONS_PER_PEER_MAX);
    assert_eq!(world.node.turned_away(), 10 - CONNECTIONS_PER_PEER_MAX as u64);
    world.serves_the_honest().await;
}

#[tokio::test]
async fn notices_in_a_flood_are_slowed_and_of_many_blobs_only_sixteen_are_heard() {
    let mut world = World::new();
    let mut events = world.drain();
    let mut raw = world.raw("loud-1", 5, true).await;
    let count = NOTICES_BURST + NOTICES_PER_S;
    let start = Instant::now();
    let flood = tokio::spawn(async move {
        for number in 0..count {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&number.to_le_bytes());
            let (blob, groups) = (Digest(digest), Groups::of(0..9));
            let notice = match number % 2 {
                0 => Notice::Have { blob, may_fetch: true, groups },
                _ => Notice::Claim { blob, groups },
            };
            raw.said.write_all(&notice.encode()).await.expect("it is taken in the end");
        }
        raw.said.write_all(&Notice::Fresh(b"end".to_vec()).encode()).await.expect("it is taken");
        raw
    });
    world.serves_the_honest().await;
    let (mut heard, mut blobs) = (0, BTreeSet::new());
    while let Some(event) = events.recv().await {
        match event {
            Event::Told(_, Notice::Have { blob, .. } | Notice::Claim { blob, .. }) => {
                heard += 1;
                blobs.insert(blob.0);
            }
            Event::Told(_, Notice::Fresh(_)) => break,
            _ => {}
        }
    }
    assert_eq!((heard, blobs.len()), (BLOBS_PER_PEER_MAX, BLOBS_PER_PEER_MAX));
    assert!(start.elapsed() >= Duration::from_millis(900), "{:?}", start.elapsed());
    let raw = flood.await.expect("it ends");
    assert!(raw.connection.close_reason().is_none(), "it was slow, and may go on");
}

#[tokio::test]
async fn who_is_no_member_of_the_site_is_not_heard() {
    let mut world = World::new();
    let mut events = world.drain();
    let mut raw = world.raw("guest-1", 5, false).await;
    let (blob, groups) = (world.blob, Groups::of(0..9));
    let claim = Notice::Claim { blob, groups };
    raw.said.write_all(&claim.encode()).await.expect("it is taken");
    let answered = raw.ask(&Request::Receipts.encode()).await;
    assert_eq!(answered, Some(vec![Status::Ok.byte()]), "it may ask");
    world.serves_the_honest().await;
    while let Ok(event) = events.try_recv() {
        assert!(!matches!(event, Event::Told(..)), "{event:?}");
    }
}

#[tokio::test]
async fn requests_in_a_flood_wait_and_others_do_not() {
    let world = World::new();
    let raw = world.raw("eager-1", 5, false).await;
    let request = Request::Has(vec![Digest([1; 32]); HAS_COUNT_MAX]);
    let count = (REQUEST_COST_BURST + REQUEST_COST_PER_S).div_ceil(request.cost());
    let start = Instant::now();
    let asked = async {
        for _ in 0..count {
            let answer = raw.ask(&request.encode()).await.expect("an answer");
            assert_eq!(answer.len(), 1 + 8 * HAS_COUNT_MAX);
        }
    };
    let ((), ()) = tokio::join!(asked, world.serves_the_honest());
    assert!(start.elapsed() >= Duration::from_millis(900), "{:?}", start.elapsed());
}

#[tokio::test]
async fn requests_for_nothing_too_much_or_files_outside_are_refused() {
    let world = World::new();
    let raw = world.raw("odd-1", 5, false).await;
    let blob = |start: u32, count: u32| {
        let range = [start.to_le_bytes(), count.to_le_bytes()].concat();
        [&[1][..], &world.blob.0, &[1, 0], &range].concat()
    };
    let refused = Some(vec![Status::Refused.byte()]);
    assert_eq!(raw.ask(&blob(0, 65)).await, refused, "more groups than a request may have");
    assert_eq!(raw.ask(&blob(0, u32::MAX)).await, refused, "all groups that there can be");
    assert_eq!(raw.ask(&[&blob(0, 1)[..33], &[0, 0]].concat()).await, refused, "no groups");
    assert_eq!(raw.ask(&[]).await, refused, "nothing at all");
    assert_eq!(raw.ask(&[99]).await, refused, "of no kind");
    assert_eq!(raw.ask(&vec![6; REQUEST_LEN_MAX + 1]).await, refused, "too long");
    // The blob has 19 groups.
    assert_eq!(raw.ask(&blob(19, 5)).await, Some(vec![Status::None.byte()]), "past its end");
    let receipt = [&[5, 8][..], b"../../et", &[0; 8]].concat();
    assert_eq!(raw.ask(&receipt).await, refused, "a device that is a path");
    for name in ["../blobs", "/etc/passwd", "a/b", "..", "", ".", "..\\x", "~lock", "timestamp"] {
        let asked = Request::Metadata { name: name.into(), len_max: 4096 }.encode();
        let answer = raw.ask(&asked).await.expect("an answer");
        let no = [Status::None.byte(), Status::Refused.byte()];
        assert!(answer.len() == 1 && no.contains(&answer[0]), "{name}: {answer:?}");
    }
    world.serves_the_honest().await;
}

#[tokio::test]
async fn what_is_no_receipt_of_its_device_and_number_is_not_kept() {
    let world = World::new();
    let raw = world.raw("litter-1", 5, false).await;
    let key = device(neap_trust::device_key::file::Kind::Ed25519, 5);
    let [first, _] = receipts("litter-1", &key);
    let other = Device::new("litter-2").expect("a name");
    let name = Device::new("litter-1").expect("a name");
    for (what, device, sequence, bytes) in [
        ("no receipt", &name, 1, vec![b' '; 60_000]),
        ("nothing", &name, 1, Vec::new()),
        ("of another number", &name, 2, first.clone()),
        ("of another device", &other, 1, first.clone()),
    ] {
        let put = Request::PutReceipt { device: device.clone(), sequence, bytes };
        let answer = raw.ask(&put.encode()).await;
        assert_eq!(answer, Some(vec![Status::Refused.byte()]), "{what}");
    }
    let put = Request::PutReceipt { device: name, sequence: 1, bytes: first };
    assert_eq!(raw.ask(&put.encode()).await, Some(vec![Status::Ok.byte()]), "a receipt");
    world.serves_the_honest().await;
}

/// A device of the fleet puts a receipt of its own making in another's place.
#[tokio::test]
async fn receipt_in_the_name_of_another_device_does_not_take_its_place() {
    let mut world = World::new();
    let _events = world.drain();
    let key = |byte| device(neap_trust::device_key::file::Kind::Ed25519, byte);
    let [forged, _] = receipts("radar-7", &key(5));
    let [first, second] = receipts("radar-7", &key(7));
    let name = Device::new("radar-7").expect("a name");
    let put = |sequence, bytes: &[u8]| {
        let bytes = bytes.to_vec();
        Request::PutReceipt { device: name.clone(), sequence, bytes }.encode()
    };
    let (kept, refused) = (Some(vec![Status::Ok.byte()]), Some(vec![Status::Refused.byte()]));
    let ferry = world.raw("ferry-1", 6, false).await;
    assert_eq!(ferry.ask(&put(1, &first)).await, refused, "a key that nobody knows here");
    let thief = world.raw("litter-1", 5, true).await;
    assert_eq!(thief.ask(&put(1, &forged)).await, refused, "its key is known for another's");
    // From now on the true key is known, whoever brings what it signed.
    let itself = world.raw("radar-7", 7, false).await;
    assert_eq!(itself.ask(&put(1, &first)).await, kept);
    assert_eq!(thief.ask(&put(2, &forged)).await, refused);
    let mut changed = second.clone();
    *changed.last_mut().expect("a signature") ^= 1;
    assert_eq!(thief.ask(&put(2, &changed)).await, refused, "a member of the site");
    assert_eq!(itself.ask(&put(2, &changed)).await, refused, "even itself");
    assert_eq!(ferry.ask(&put(2, &second)).await, kept, "a ship that passes");
    world.serves_the_honest().await;
}

/// A peer that is asked for one receipt gives another one that is as good.
#[test]
fn receipt_is_taken_for_no_other() {
    let ca = Ca::new(1);
    let admission = admission(&ca, None, &Arc::default());
    let [first, _] = receipts("radar-7", &device(neap_trust::device_key::file::Kind::Ed25519, 7));
    let itself = Bearer { name: "radar-7", same_site: true };
    let [radar, sonar] = ["radar-7", "sonar-2"].map(|name| Device::new(name).expect("a name"));
    assert_eq!(admission.receipt(&first, (&radar, 1), &itself), Ok(()));
    for other in [(&radar, 2), (&sonar, 1)] {
        let taken = admission.receipt(&first, other, &itself);
        assert!(matches!(taken, Err(NotKept::Another { number: 1, .. })), "{taken:?}");
    }
}

#[tokio::test]
async fn receipts_behind_a_gap_are_asked_for_again() {
    let (shelf, _) = world::shelf(None, Use::Writes);
    let radar = Device::new("radar-7").expect("a name");
    for number in [1, 2, 4] {
        assert!(shelf.put_receipt(radar.clone(), number, vec![7]).await.expect("it is kept"));
    }
    assert_eq!(shelf.receipts().await.expect("listed"), [(radar.clone(), 4)]);
    assert_eq!(shelf.gapless().await.expect("listed"), [(radar, 2)]);
}

#[tokio::test]
async fn peer_that_ends_its_notices_ends_the_session() {
    let mut world = World::new();
    let _events = world.drain();
    let mut raw = world.raw("done-1", 5, true).await;
    raw.said.finish().expect("it is open");
    assert_eq!(closed(&raw.connection).await, Some(0));
    world.serves_the_honest().await;
}

#[tokio::test]
async fn peer_that_does_not_read_its_notices_loses_its_connection() {
    let mut world = World::new();
    let _events = world.drain();
    let mut transport = TransportConfig::default();
    transport.stream_receive_window(VarInt::from_u32(1024));
    let raw = world.raw_over("deaf-1", 5, true, transport).await;
    while world.node.peers().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for _ in 0..2 * TELLS_MAX {
        world.node.set_fresh(vec![b' '; 8 << 10]);
        tokio::task::yield_now().await;
    }
    assert_eq!(closed(&raw.connection).await, BEHIND);
    drop(raw.heard);
    world.serves_the_honest().await;
}

#[tokio::test]
async fn peer_that_had_its_bytes_of_the_day_waits_for_the_next_and_others_do_not() {
    // The blob, its tree, and not once more.
    let mut world = World::allowing(Patience::default(), None, Some(310_000));
    let _events = world.drain();
    let len = world.bytes.len() as u64;
    let raw = world.raw("greedy", 5, false).await;
    let got = ask::document(&raw.connection, world.blob, len).await.expect("its share");
    assert!(got == world.bytes);
    for _ in 0..2 {
        let again = ask::document(&raw.connection, world.blob, len).await;
        assert!(matches!(again, Err(AskError::Status(Status::Busy))), "{again:?}");
    }
    drop(raw);
    let raw = world.raw("greedy", 5, false).await;
    let again = ask::document(&raw.connection, world.blob, len).await;
    assert!(again.is_err(), "a new connection gives no new share");
    world.serves_the_honest().await;
}
