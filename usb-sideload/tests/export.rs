//! What an export goes by: the newer release is told by its signatures, and a depot that changes
//! while it is read is not put on a stick.

use neap_depot::depot::Depot;
use neap_depot::directory::Directory;
use neap_depot::files::Files as _;
use neap_depot::memory::{Fate, Memory};
use neap_depot::store::Edit as _;
use neap_trust::client::Ask;
use neap_trust::fixture::Repository;
use neap_trust::state::MemoryState;
use neap_trust::time::{Clock, Timestamp};
use neap_usb_sideload::error::StickError;
use neap_usb_sideload::export::{self, Wanted};
use neap_usb_sideload::recorder::{self, Verified};
use neap_usb_sideload::stick::{Room, Stick};

fn now() -> Timestamp {
    "2026-11-01T00:00:00Z".parse().expect("a time")
}

fn verified(carrier: &dyn neap_trust::carrier::Carrier, root: &[u8], group: &str) -> Verified {
    let clock = Clock { rtc: Some(now()), build: now() };
    let ask = Ask { groups: &[group], root: Some(root), clock, seen: None };
    recorder::verified(carrier, &mut MemoryState::default(), &ask).expect("it is honest")
}

/// A depot with all that a repository has published.
fn shore(repository: &Repository) -> Depot {
    let depot = Depot::new(Box::new(Directory::new(Memory::default())));
    let writer = depot.writer("test").expect("free");
    let files: Vec<_> = repository.files.metadata.clone().into_iter().collect();
    writer.mirror(&files).expect("kept");
    drop(writer);
    depot
}

fn exported(shore: &Depot, root: &[u8], memory: &Memory) -> Result<(), StickError> {
    let stick = Stick::on(memory.clone(), None)?;
    let verified = verified(shore, root, "fleet");
    let mut metadata = export::roots(shore)?;
    metadata.extend(verified.files);
    let wanted = Wanted {
        needed: &[],
        welcome: &[],
        metadata: &metadata,
        timestamp: verified.checked.timestamp,
        root,
        to: None,
        read_back: true,
    };
    let room = Room { free: Room::UNKNOWN, cluster: 4096 };
    let draft = export::draft(&stick, &wanted, room)?;
    export::write(shore, &stick, &draft, &mut |_| {}).map(drop)
}

fn repository() -> Repository {
    let mut repository = Repository::new(now());
    repository.group("fleet");
    repository.publish(&["g.fleet", "targets"]);
    repository
}

fn put(stick: &Memory, file: &str, content: &[u8]) {
    stick.remove("metadata", file).expect("removed");
    let made = stick.create("metadata", file).expect("new");
    made.write_at(0, content).expect("written");
}

fn timestamp(stick: &Memory) -> Vec<u8> {
    use neap_trust::carrier::Carrier as _;
    let stick = Stick::on(stick.clone(), None).expect("a stick");
    stick.depot().metadata("timestamp.json", 1 << 20).expect("read").expect("there")
}

/// Cause: the version of a stick's timestamp was believed without its signatures. Effect: whoever
/// had the stick for a minute made every later export call it newer. Cure: one that is not signed
/// is none, and does not stay. Nor does a root that devices would refuse.
#[test]
fn timestamp_and_roots_that_nobody_signed_do_not_stay() {
    let repository = repository();
    let (shore, root) = (shore(&repository), repository.first_root());
    let stick = Memory::default();
    exported(&shore, &root, &stick).expect("written");
    let ours = timestamp(&stick);
    let forged = String::from_utf8(ours.clone()).expect("text");
    let forged = forged.replace("\"version\":2", "\"version\":9");
    assert_ne!(forged.as_bytes(), ours);
    for forged in [forged.as_bytes(), b"", &[b' '; 1 << 20]] {
        put(&stick, "timestamp.json", forged);
        exported(&shore, &root, &stick).expect("it is none");
        assert!(timestamp(&stick) == ours);
    }
    // A root that does not follow from ours keeps devices from all that is signed after it.
    put(&stick, "2.root.json", &root);
    put(&stick, "4.root.json", b"{}");
    exported(&shore, &root, &stick).expect("they are none");
    let roots = stick.list("metadata", 99).expect("listed").into_iter();
    let roots: Vec<_> = roots.map(|entry| entry.file).filter(|f| f.contains("root")).collect();
    assert_eq!(roots, ["1.root.json"]);
    // A cut on the way leaves that one, ours, or none; and the next export goes on.
    put(&stick, "timestamp.json", forged.as_bytes());
    for cut in 0.. {
        let once = stick.after_cut(Fate::Kept);
        once.cut_at(cut);
        let done = exported(&shore, &root, &once);
        let left = once.after_cut(Fate::Mixed(cut));
        exported(&shore, &root, &left).expect("it goes on");
        assert!(timestamp(&left) == ours, "at step {cut}");
        if done.is_ok() {
            break;
        }
    }
}

#[test]
fn newer_release_that_is_signed_is_not_written_over() {
    let mut repository = repository();
    let root = repository.first_root();
    let old = shore(&repository);
    repository.publish(&["g.fleet"]);
    let same_root = shore(&repository);
    repository.root_role("timestamp", &["another"], 1);
    repository.publish(&["root"]);
    let next_root = shore(&repository);
    for (newer, version) in [(same_root, 3), (next_root, 4)] {
        let stick = Memory::default();
        exported(&newer, &root, &stick).expect("written");
        let before = timestamp(&stick);
        let refused = exported(&old, &root, &stick).expect_err("it is newer");
        let is_it = |found, ours| (found, ours) == (version, 2);
        assert!(
            matches!(refused, StickError::Newer { found, ours } if is_it(found, ours)),
            "{refused}"
        );
        assert!(timestamp(&stick) == before);
    }
}

#[test]
fn release_that_is_published_between_two_groups_is_refused() {
    let mut repository = repository();
    repository.group("galley");
    repository.publish(&["g.galley", "targets"]);
    let root = repository.first_root();
    let files = |repository: &Repository, group| verified(&repository.files, &root, group).files;
    let mut metadata = files(&repository, "fleet");
    export::join(&mut metadata, files(&repository, "galley")).expect("of one publication");
    let names: Vec<_> = metadata.iter().map(|(name, _)| &**name).collect();
    assert!(names.contains(&"1.g.fleet.json") && names.contains(&"1.g.galley.json"), "{names:?}");
    repository.publish(&["g.fleet"]);
    let refused = export::join(&mut metadata, files(&repository, "galley"));
    let refused = refused.expect_err("of another");
    let is_it = |file: &str| file == "timestamp.json";
    assert!(matches!(&refused, StickError::Published { file } if is_it(file)), "{refused}");
}
