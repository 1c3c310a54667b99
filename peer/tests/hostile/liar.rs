//! What a node asks of a peer that answers wrongly: it takes what is right, says how it ended, and
//! keeps no wrong byte.

use std::sync::Arc;
use std::time::Duration;

use neap_engine::digest::Digest;
use neap_peer::groups::Groups;
use neap_peer::quic::ask;
use neap_peer::shelf::{Shelf, Use};
use neap_peer::slice::Steps;
use neap_peer::swarm::End;
use neap_peer::tls;
use neap_peer::wire::Status;
use neap_trust::fixture::identity::Ca;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, Endpoint, ServerConfig, TransportConfig, VarInt};

use super::world::{admission, connect, identity, noise, shelf};

/// What comes after the bytes of an answer.
#[derive(Debug, Clone, Copy)]
enum Then {
    Finish,
    Reset,
    Close,
    Nothing,
}

/// A peer that answers each request with the same bytes, and a connection to it.
async fn liar(answer: Vec<u8>, then: Then) -> (Connection, [Endpoint; 2]) {
    let ca = Ca::new(1);
    let tls = tls::server(&identity(&ca, "liar-1", 3).0, &admission(&ca, None, &Arc::default()));
    let crypto = QuicServerConfig::try_from(tls.expect("TLS 1.3")).expect("TLS 1.3");
    let config = ServerConfig::with_crypto(Arc::new(crypto));
    let server = Endpoint::server(config, ([127, 0, 0, 1], 0).into()).expect("a socket");
    let at = server.local_addr().expect("it listens");
    let serving = server.clone();
    tokio::spawn(async move {
        let incoming = serving.accept().await.expect("one comes");
        let connection = incoming.await.expect("it is admitted");
        while let Ok((mut send, mut asked)) = connection.accept_bi().await {
            drop(asked.read_to_end(1 << 20).await);
            drop(send.write_all(&answer).await);
            match then {
                Then::Finish => drop(send.finish()),
                Then::Nothing => drop(send.stopped().await),
                Then::Reset => {
                    // What was written would be dropped with the stream.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    drop(send.reset(VarInt::from_u32(4)));
                }
                Then::Close => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    connection.close(VarInt::from_u32(0), b"");
                }
            }
        }
    });
    let tls = tls::client(&identity(&ca, "asker", 4).0, &admission(&ca, None, &Arc::default()));
    let connected = connect(at, tls.expect("TLS 1.3"), TransportConfig::default()).await;
    let (connection, client) = connected.expect("it is admitted");
    (connection, [server, client])
}

/// An honest answer: status, length, slice of all groups.
async fn honest(bytes: &[u8]) -> (Digest, Vec<u8>) {
    let (from, blob) = shelf(Some(bytes), Use::Reads);
    let len = bytes.len() as u64;
    let steps = Steps::new(len, Groups::of(0..neap_depot::tree::groups(len))).collect();
    let slice = from.steps(blob, steps).await.expect("it reads").expect("it is there");
    (blob, [&[Status::Ok.byte()][..], &len.to_le_bytes(), &slice].concat())
}

/// How asking ends, and how many groups were kept.
async fn ask(blob: Digest, len: u64, answer: Vec<u8>, then: Then) -> (End, u64, Shelf) {
    let (connection, _endpoints) = liar(answer, then).await;
    let (into, _) = shelf(None, Use::Writes);
    into.begin(blob, len).await.expect("it begins");
    let groups = Groups::of(0..neap_depot::tree::groups(len));
    let mut came = 0;
    let count = |ask::Came(groups): ask::Came| came += groups.count();
    let asking = ask::blob(&connection, &into, (blob, len), groups, count);
    let asked = tokio::time::timeout(Duration::from_secs(10), asking).await;
    let (end, _) = asked.expect("it ends").expect("the depot works");
    (end, came, into)
}

#[tokio::test]
async fn honest_answer_is_kept_whole() {
    let bytes = noise(300_000);
    let (blob, answer) = honest(&bytes).await;
    let (end, came, into) = ask(blob, 300_000, answer, Then::Finish).await;
    assert_eq!((end, came), (End::Done, 19));
    assert!(into.finish(blob).await.expect("it is all there"));
}

#[tokio::test]
async fn wrong_lengths_statuses_and_bytes_too_many_are_wrong() {
    let bytes = noise(300_000);
    let (blob, answer) = honest(&bytes).await;
    let mut lengths = answer.clone();
    lengths[1] ^= 1;
    let mut huge = answer.clone();
    huge[1..9].fill(255);
    let no_status = [&[9][..], &answer[1..]].concat();
    for (what, answer) in [("length", lengths), ("longest", huge), ("status", no_status)] {
        let (end, came, _) = ask(blob, 300_000, answer, Then::Finish).await;
        assert_eq!((end, came), (End::Wrong, 0), "{what}");
    }
    let longer = [&answer[..], &[0]].concat();
    let (end, came, into) = ask(blob, 300_000, longer, Then::Finish).await;
    assert_eq!((end, came), (End::Wrong, 19), "one byte more");
    assert!(into.finish(blob).await.expect("what was right is kept"));
}

#[tokio::test]
async fn wrong_byte_anywhere_is_wrong_and_only_groups_before_it_are_kept() {
    let bytes = noise(300_000);
    let (blob, answer) = honest(&bytes).await;
    for at in [9, 9 + 63, 9 + 200, answer.len() / 2, answer.len() - 1] {
        let mut wrong = answer.clone();
        wrong[at] ^= 4;
        let (end, came, into) = ask(blob, 300_000, wrong, Then::Finish).await;
        assert_eq!(end, End::Wrong, "byte {at}");
        assert!(came < 19, "byte {at}: {came} groups");
        assert!(!into.finish(blob).await.expect("it can be read"), "byte {at}");
    }
}

#[tokio::test]
async fn answers_that_stop_half_way_are_lost_or_lacking_and_what_came_is_kept() {
    let bytes = noise(300_000);
    let (blob, answer) = honest(&bytes).await;
    let half = answer[..answer.len() / 2].to_vec();
    for (then, expected) in
        [(Then::Finish, End::Lacking), (Then::Reset, End::Lost), (Then::Close, End::Lost)]
    {
        let (end, came, _) = ask(blob, 300_000, half.clone(), then).await;
        assert_eq!(end, expected, "{then:?}");
        assert!((5..12).contains(&came), "{then:?}: {came} groups");
    }
    for at in [0, 1, 5, 9] {
        let (end, came, _) = ask(blob, 300_000, answer[..at].to_vec(), Then::Close).await;
        assert_eq!((end, came), (End::Lost, 0), "after {at} bytes");
    }
}

/// Nothing comes and the stream stays: whoever asks gives up by dropping the question, and a short
/// answer has its time. Here is shown that dropping it stops the peer.
#[tokio::test]
async fn peer_that_says_nothing_is_stopped_when_nobody_waits_any_more() {
    let (blob, answer) = honest(&noise(300_000)).await;
    let (connection, _endpoints) = liar(answer[..1000].to_vec(), Then::Nothing).await;
    let (into, _) = shelf(None, Use::Writes);
    into.begin(blob, 300_000).await.expect("it begins");
    let asking = ask::blob(&connection, &into, (blob, 300_000), Groups::of(0..19), |_| ());
    assert!(tokio::time::timeout(Duration::from_millis(500), asking).await.is_err());
    let again = ask::blob(&connection, &into, (blob, 300_000), Groups::of(0..19), |_| ());
    let again = tokio::time::timeout(Duration::from_secs(2), again).await;
    assert!(again.is_err(), "it answers the next question as badly");
    assert!(connection.close_reason().is_none());
}

#[tokio::test]
async fn short_answers_longer_than_asked_for_are_not_taken() {
    let mut long = vec![Status::Ok.byte()];
    long.resize(5000, b' ');
    let (connection, _endpoints) = liar(long, Then::Finish).await;
    assert!(ask::metadata(&connection, "timestamp.json", 4096).await.is_err());
    assert!(ask::has(&connection, &[Digest([1; 32])]).await.is_err());
    assert!(ask::receipts(&connection).await.is_err(), "no list of receipts");
    assert!(ask::document(&connection, Digest([1; 32]), 100).await.is_err());
}
