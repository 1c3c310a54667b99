//! Metadata over a link where each round trip is long: one question brings all of it, and what a
//! peer adds that nobody asked for is not kept.

#![allow(unreachable_pub, reason = "modules of a test have no public")]

#[path = "hostile/world.rs"]
#[allow(dead_code, reason = "another test uses the rest")]
mod world;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use neap_peer::limits::REQUEST_LEN_MAX;
use neap_peer::quic::metadata::{self, Wanted};
use neap_peer::shelf::Use;
use neap_peer::tls;
use neap_peer::wire::{Request, Status, encode_files};
use neap_trust::client::directory::StateFolder;
use neap_trust::fixture::Repository;
use neap_trust::fixture::identity::{Ca, at};
use neap_trust::time::Clock;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, Endpoint, ServerConfig, TransportConfig};
use world::{admission, connect, identity, shelf};

type Files = BTreeMap<String, Vec<u8>>;

/// Files of no role that anybody follows: one that a peer makes up, and one of another group.
const NOT_ASKED: [&str; 2] = ["77.g.other.json", "1.g.deck.json"];

/// A peer with these files that answers `latest`, or not, and notes what it was asked.
async fn peer(files: Files, latest: bool, asked: Arc<Mutex<Vec<Request>>>) -> Connection {
    let ca = Ca::new(1);
    let tls = tls::server(&identity(&ca, "shore-1", 3).0, &admission(&ca, None, &Arc::default()));
    let crypto = QuicServerConfig::try_from(tls.expect("TLS 1.3")).expect("TLS 1.3");
    let config = ServerConfig::with_crypto(Arc::new(crypto));
    let server = Endpoint::server(config, ([127, 0, 0, 1], 0).into()).expect("a socket");
    let at = server.local_addr().expect("it listens");
    tokio::spawn(async move {
        let connection = server.accept().await.expect("one comes").await.expect("it is admitted");
        while let Ok((mut send, mut read)) = connection.accept_bi().await {
            let bytes = read.read_to_end(REQUEST_LEN_MAX).await.expect("a request");
            let request = Request::decode(&bytes).expect("a request");
            let answer = match &request {
                Request::Latest { .. } if latest => {
                    let roots = |name: &&String| !name.ends_with("root.json");
                    let files = files.keys().filter(roots).map(|name| (name, &files[name]));
                    let files: Vec<_> = files.map(|(a, b)| (a.clone(), b.clone())).collect();
                    [vec![Status::Ok.byte()], encode_files(&files)].concat()
                }
                Request::Metadata { name, .. } => match files.get(name) {
                    Some(bytes) => [&[Status::Ok.byte()][..], bytes].concat(),
                    None => vec![Status::None.byte()],
                },
                _ => vec![Status::Refused.byte()],
            };
            asked.lock().expect("no test panicked").push(request);
            send.write_all(&answer).await.expect("it is taken");
            send.finish().expect("it is open");
        }
    });
    let tls = tls::client(&identity(&ca, "radar-7", 4).0, &admission(&ca, None, &Arc::default()));
    let connected = connect(at, tls.expect("TLS 1.3"), TransportConfig::default()).await;
    let (connection, endpoint) = connected.expect("it is admitted");
    // It lives as long as the test.
    std::mem::forget(endpoint);
    connection
}

/// A repository of two groups; nothing of what the fleet `other` has is signed.
fn repository() -> (Vec<u8>, Files) {
    let mut repository = Repository::new(at(0));
    repository.group("crew");
    repository.group("deck");
    repository.publish(&["targets", "g.crew", "g.deck"]);
    let mut files = repository.files.metadata.clone();
    files.insert(NOT_ASKED[0].to_owned(), b"{}".to_vec());
    (repository.first_root(), files)
}

fn wanted(root: Vec<u8>, state: &std::path::Path) -> Wanted {
    Wanted {
        groups: vec!["crew".into()],
        root: Some(root),
        state: StateFolder::new(state),
        clock: Clock { rtc: Some(at(60)), build: at(0) },
    }
}

fn names(asked: &Mutex<Vec<Request>>) -> Vec<String> {
    let asked = asked.lock().expect("no test panicked");
    let names = asked.iter().filter_map(|request| match request {
        Request::Metadata { name, .. } if !name.ends_with("root.json") => Some(name.clone()),
        _ => None,
    });
    names.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_question_brings_all_metadata_and_only_what_is_followed_is_kept() {
    let (root, files) = repository();
    let (state, asked) = (tempfile::tempdir().expect("a folder"), Arc::default());
    let connection = peer(files, true, Arc::clone(&asked)).await;
    let (into, _) = shelf(None, Use::Writes);
    let wanted = wanted(root, state.path());
    metadata::sync(Some(connection), &into, wanted).await.expect("it is signed");
    assert_eq!(names(&asked), Vec::<String>::new(), "more questions, one after the other");
    let kept = |name: &'static str| into.metadata(name, 1 << 20);
    assert!(kept("1.g.crew.json").await.expect("it reads").is_some());
    for name in NOT_ASKED {
        assert!(kept(name).await.expect("it reads").is_none(), "{name} was never verified");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peer_that_does_not_answer_it_is_asked_for_each_file() {
    let (root, files) = repository();
    let (state, asked) = (tempfile::tempdir().expect("a folder"), Arc::default());
    let connection = peer(files, false, Arc::clone(&asked)).await;
    let (into, _) = shelf(None, Use::Writes);
    let wanted = wanted(root, state.path());
    metadata::sync(Some(connection), &into, wanted).await.expect("it is signed");
    assert_eq!(
        names(&asked),
        ["timestamp.json", "2.snapshot.json", "2.targets.json", "1.g.crew.json"]
    );
}
