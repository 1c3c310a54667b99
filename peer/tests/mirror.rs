//! A blob from mirrors, with a real node: on a web server, in a folder; honest ones and liars.

#[path = "../../depot/tests/web/server.rs"]
mod server;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use neap_depot::depot::Depot;
use neap_depot::limits::GROUP_LEN;
use neap_depot::writer::Present;
use neap_engine::digest::Digest;
use neap_peer::config::MirrorPlace;
use neap_peer::link::{Class, Profile};
use neap_peer::quic::mirror::Mirror;
use neap_peer::quic::node::{Node, Settings};
use neap_peer::quic::site::{FetchError, Fetched, Purse, Site, Unlimited, Want};
use neap_peer::shelf::{Shelf, Use};
use neap_peer::swarm::Fault;
use neap_peer::tls::{Admission, Identity};
use neap_trust::device_key::DeviceSigner;
use neap_trust::fixture::identity::{Ca, at, device, request};
use server::{Manner, Server};
use tokio::sync::watch;

/// A blob whose tree has some pages.
const LEN: usize = 9 * (1 << 20) + 77;

fn image() -> Vec<u8> {
    let mut bytes = vec![0; LEN];
    blake3::Hasher::new().update(b"image").finalize_xof().fill(&mut bytes);
    bytes
}

fn filled(folder: &Path) -> Vec<u8> {
    let depot = Depot::directory(folder).expect("a folder");
    let image = image();
    depot
        .writer("test")
        .expect("alone")
        .add(&mut std::io::Cursor::new(&image), Present::Verify)
        .expect("added");
    image
}

fn node(shelf: &Shelf) -> (Node, tokio::sync::mpsc::Receiver<neap_peer::quic::node::Event>) {
    let ca = Ca::new(1);
    let key = device(neap_trust::device_key::file::Kind::Ed25519, 3);
    let certificate = ca.certificate(&request("radar-7", &key), 9);
    let signer: Arc<dyn DeviceSigner + Send + Sync> = Arc::new(key);
    let admission = Admission::new(ca.authority, None, Box::new(|| at(0)), Box::new(|_| {}));
    let settings = Settings {
        listen: None,
        site: String::new(),
        identity: Identity { certificate, signer },
        admission: Arc::new(admission),
        lan: Profile::of_class("lan", Class::Lan),
        incoming: Profile::of_class("sat", Class::Sat),
        peer_day_bytes: None,
    };
    Node::start(settings, shelf.clone()).expect("a node")
}

fn web(server: &Server, class: Class) -> Mirror {
    let link = Profile::of_class(class.name(), class);
    Mirror::open(&MirrorPlace::Web(server.url()), &link).expect("an address")
}

/// Fetches the image into a folder from these mirrors.
fn fetch(
    folder: &Path,
    mirrors: Vec<Mirror>,
    purse: Box<dyn Purse>,
    patience: Duration,
) -> Result<Fetched, FetchError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let depot = Arc::new(Depot::directory(folder).expect("a folder"));
        let shelf = Shelf::open(depot, Use::Writes).expect("alone");
        let (node, events) = node(&shelf);
        let mut site = Site::new(node, events, shelf, Vec::new(), purse);
        site.set_mirrors(mirrors);
        let want = Want { blob: Digest::of(&image()), len: LEN as u64, in_order: false };
        let (tell, _told) = watch::channel(0);
        let fetched = site.fetch(want, patience, &tell, &mut |_| {}).await;
        site.hang_up();
        site.node().close().await;
        fetched
    })
}

const PATIENCE: Duration = Duration::from_secs(20);

fn is_whole(folder: &Path) -> bool {
    let depot = Depot::directory(folder).expect("a folder");
    let blob = depot.blob(&Digest::of(&image())).expect("asked");
    blob.is_some_and(|blob| blob.check().expect("read").is_good())
}

/// Counts, and allows so many bytes.
struct Counting {
    crossed: Arc<Mutex<BTreeMap<String, u64>>>,
    allowed: u64,
}

impl Purse for Counting {
    fn left(&mut self, link: &Profile) -> u64 {
        let crossed = self.crossed.lock().expect("no test panicked");
        self.allowed.saturating_sub(crossed.get(&link.name).copied().unwrap_or(0))
    }

    fn crossed(&mut self, link: &Profile, bytes: u64) {
        let mut crossed = self.crossed.lock().expect("no test panicked");
        *crossed.entry(link.name.clone()).or_default() += bytes;
    }
}

fn folders() -> (tempfile::TempDir, tempfile::TempDir) {
    (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"))
}

#[test]
fn a_blob_comes_from_a_mirror_alone_and_its_bytes_are_counted() {
    let (shore, ship) = folders();
    filled(shore.path());
    for class in [Class::Sat, Class::Lan] {
        let server = Server::start(shore.path(), Manner::Honest);
        let crossed = Arc::<Mutex<BTreeMap<_, _>>>::default();
        let purse = Counting { crossed: Arc::clone(&crossed), allowed: u64::MAX };
        let ship = ship.path().join(class.name());
        std::fs::create_dir(&ship).expect("made");
        let fetched = fetch(&ship, vec![web(&server, class)], Box::new(purse), PATIENCE);
        let fetched = fetched.expect("fetched");
        assert!(is_whole(&ship));
        let groups = LEN.div_ceil(GROUP_LEN) as u64;
        assert_eq!(fetched.taken.by_name, BTreeMap::from([(server.url(), groups)]));
        assert!(fetched.blame.is_empty(), "{fetched:?}");
        let sent = server.bytes();
        assert!(sent < LEN as u64 * 102 / 100 + (64 << 10), "{sent} bytes were sent");
        let counted = crossed.lock().expect("no test panicked").get("sat").copied();
        match class {
            Class::Lan => assert_eq!(counted, None, "the LAN costs nothing"),
            _ => assert!(counted >= Some(sent) && counted < Some(sent / 4 * 5), "{counted:?}"),
        }
    }
}

#[test]
fn a_folder_is_a_mirror_too() {
    let (shore, ship) = folders();
    filled(shore.path());
    let link = Profile::of_class("port", Class::Port);
    let place = MirrorPlace::Folder(shore.path().to_owned());
    let mirror = Mirror::open(&place, &link).expect("a folder");
    fetch(ship.path(), vec![mirror], Box::new(Unlimited), PATIENCE).expect("fetched");
    assert!(is_whole(ship.path()));
}

#[test]
fn a_mirror_with_wrong_bytes_is_charged_and_never_believed() {
    let (shore, ship) = folders();
    filled(shore.path());
    let liar = Server::start(shore.path(), Manner::Flips);
    let alone = fetch(
        ship.path(),
        vec![web(&liar, Class::Port)],
        Box::new(Unlimited),
        Duration::from_secs(2),
    );
    assert!(matches!(alone, Err(FetchError::Nobody { .. })), "{alone:?}");
    assert!(!is_whole(ship.path()));
    let (_, ship) = folders();
    let honest = Server::start(shore.path(), Manner::Honest);
    let mirrors = vec![web(&liar, Class::Port), web(&honest, Class::Sat)];
    let fetched = fetch(ship.path(), mirrors, Box::new(Unlimited), PATIENCE).expect("fetched");
    assert!(is_whole(ship.path()));
    let blame = BTreeMap::from([((liar.url(), Fault::WrongBytes), 1)]);
    assert_eq!(fetched.blame, blame);
}

#[test]
fn a_mirror_that_fails_is_asked_again() {
    let (shore, ship) = folders();
    filled(shore.path());
    let server = Server::start(shore.path(), Manner::Status(503));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_secs(1));
            server.set(Manner::Truncates);
            std::thread::sleep(Duration::from_secs(2));
            server.set(Manner::Honest);
        });
        let mirrors = vec![web(&server, Class::Sat)];
        fetch(ship.path(), mirrors, Box::new(Unlimited), PATIENCE).expect("fetched");
    });
    assert!(is_whole(ship.path()));
}

#[test]
fn no_more_crosses_than_the_budget_allows() {
    let (shore, ship) = folders();
    filled(shore.path());
    let server = Server::start(shore.path(), Manner::Honest);
    let crossed = Arc::<Mutex<BTreeMap<_, _>>>::default();
    let allowed = 4 << 20;
    let purse = Counting { crossed: Arc::clone(&crossed), allowed };
    let fetched = fetch(ship.path(), vec![web(&server, Class::Sat)], Box::new(purse), PATIENCE);
    assert!(matches!(fetched, Err(FetchError::Budget { .. })), "{fetched:?}");
    let counted = crossed.lock().expect("no test panicked").get("sat").copied();
    assert!(counted <= Some(allowed) && counted > Some(allowed / 2), "{counted:?}");
}
