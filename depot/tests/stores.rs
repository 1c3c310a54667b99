//! Every store behaves alike: a model in memory, a folder, a bucket on a real server process.

#[cfg(feature = "s3")]
mod moto;
mod sample;

use std::io::Cursor;
use std::path::Path;

use neap_depot::depot::Depot;
use neap_depot::directory::Directory;
use neap_depot::memory::Memory;
use neap_depot::name::{Device, Folder, Name};
use neap_depot::publish::PublishError;
use neap_depot::store::{self, LockError, Store};
use neap_depot::writer::{AddError, Present};
use neap_engine::digest::Digest;
use sample::{client, image, publish, release, root};

/// Makes one more handle of the same store.
type Open<'a> = &'a dyn Fn() -> Box<dyn Store>;

fn behaves(open: Open<'_>) {
    files_are_put_whole(&*open());
    a_switch_is_refused_to_whoever_is_late(&*open());
    releases_come_and_go(open);
    blobs_are_what_they_are_called(open);
    there_is_one_writer(open);
}

fn files_are_put_whole(store: &dyn Store) {
    let name = Name::metadata("7.g.put.json").expect("a name");
    assert!(store.open(&name).expect("asked").is_none());
    assert_eq!(store.list(&Folder::Staged).expect("listed"), []);
    drop(store.put(&name).expect("begun"));
    assert!(store.open(&name).expect("asked").is_none(), "what is dropped unfinished is not there");
    store::put(store, &name, b"first").expect("put");
    let before = store.open(&name).expect("asked").expect("there");
    let mut bytes = [0; 3];
    before.read_at(2, &mut bytes).expect("read");
    assert_eq!((before.len(), &bytes), (5, b"rst"));
    assert!(before.read_at(3, &mut bytes).is_err(), "past the end");
    before.read_at(5, &mut []).expect("nothing is read");
    store::put(store, &name, b"second").expect("put again");
    assert_eq!(store::read(store, &name, 6).expect("read"), Some(b"second".to_vec()));
    assert!(store::read(store, &name, 5).is_err(), "it is longer than that");
    let listed = store.list(&Folder::Metadata).expect("listed");
    assert_eq!(listed.iter().map(|e| (&*e.file, e.len)).collect::<Vec<_>>(), [(name.file(), 6)]);
    store.delete(&name).expect("removed");
    store.delete(&name).expect("removed again");
    store.settle(&Folder::Metadata).expect("settled");
    assert!(store.open(&name).expect("asked").is_none());
}

fn a_switch_is_refused_to_whoever_is_late(store: &dyn Store) {
    let name = Name::timestamp();
    let seen = store.stamp(&name).expect("stamped");
    store.switch(&name, &seen, b"one").expect("the first");
    let late = store.switch(&name, &seen, b"two").expect_err("another was faster");
    assert_eq!(late.kind(), std::io::ErrorKind::AlreadyExists);
    let seen = store.stamp(&name).expect("stamped");
    store.switch(&name, &seen, b"three").expect("nobody was faster");
    let late = store.switch(&name, &seen, b"four").expect_err("another was faster");
    assert_eq!(late.kind(), std::io::ErrorKind::AlreadyExists);
    assert_eq!(store::read(store, &name, 9).expect("read"), Some(b"three".to_vec()));
    store.delete(&name).expect("removed");
}

fn releases_come_and_go(open: Open<'_>) {
    let depot = Depot::new(open()).with_part_len(sample::PART_LEN);
    let mut writer = depot.writer("test").expect("nobody else writes");
    let mut first = release(1, &[image(1, 70_000), Vec::new()], &["a"]);
    first.publication.roots.push(root(1, "a"));
    publish(&mut writer, &first).expect("published");
    publish(&mut writer, &first).expect("published already");
    assert_eq!(client(&depot), Ok(1));
    for version in 2..=4 {
        let images = [image(version, 40_000), image(9, 20_000)];
        publish(&mut writer, &release(version, &images, &["a"])).expect("published");
        assert_eq!(client(&depot), Ok(version));
    }
    let again = writer.publish(&first.publication);
    assert!(matches!(again, Err(PublishError::NotNewer { .. })), "{again:?}");
    let device = Device::new("ecdis-1").expect("a name");
    assert!(writer.keep_receipt(&device, 1, b"receipt").expect("kept"));
    assert!(!writer.keep_receipt(&device, 1, b"receipt").expect("kept already"));
    assert!(writer.keep_receipt(&device, 1, b"forged").is_err(), "it is never replaced");

    let trees = depot.blobs().expect("listed").len();
    assert_eq!(trees, 6, "two of the first, three, and the shared one");
    let plan = depot.removable(2).expect("known");
    let done = writer.collect(2).expect("collected");
    assert_eq!(plan, done);
    assert_eq!((done.blobs, depot.blobs().expect("listed").len()), (3, 3));
    assert_eq!(client(&depot), Ok(4));
    let report = depot.check(&mut |_| {}).expect("checked");
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    assert_eq!(writer.collect(2).expect("collected").removals, []);
}

fn blobs_are_what_they_are_called(open: Open<'_>) {
    let depot = Depot::new(open());
    let writer = depot.writer("test").expect("nobody else writes");
    // More than one piece of an upload.
    let long = image(8, 9 << 20);
    let added = writer.add(&mut Cursor::new(&long), Present::Verify).expect("added");
    assert!(added.written);
    assert_eq!(added.digest, Digest::of(&long));
    assert!(!writer.add(&mut Cursor::new(&long), Present::Trust).expect("there").written);
    assert!(!writer.add(&mut Cursor::new(&long), Present::Verify).expect("there").written);
    let blob = depot.blob(&added.digest).expect("whole").expect("there");
    let mut bytes = vec![0; 100_000];
    blob.read_at(8_500_000, &mut bytes).expect("read");
    assert_eq!(bytes, &long[8_500_000..8_600_000]);
    assert!(blob.check().expect("checked").is_good());

    let digest = Digest::of(b"what was promised");
    let other =
        writer.add_known(&digest, 17, &mut Cursor::new(b"something elsewhe"), Present::Trust);
    assert!(matches!(other, Err(AddError::Differs { .. })), "{other:?}");
    for len in [16, 18] {
        let known = Cursor::new(b"what was promised");
        let wrong = writer.add_known(&digest, len, &mut { known }, Present::Trust);
        assert!(matches!(wrong, Err(AddError::LengthDiffers { .. })), "{wrong:?}");
    }
    assert!(depot.blob(&digest).expect("asked").is_none());
    let mut known = Cursor::new(b"what was promised");
    assert!(writer.add_known(&digest, 17, &mut known, Present::Trust).expect("added"));
    assert!(depot.blob(&digest).expect("whole").is_some());
}

fn there_is_one_writer(open: Open<'_>) {
    let depot = Depot::new(open());
    let other = Depot::new(open());
    let mut writer = depot.writer("neap test, ana@shore-1").expect("nobody else writes");
    let refused = other.writer("second").map(|_| ());
    let is_told = matches!(&refused, Err(LockError::Held(who)) if who == "neap test, ana@shore-1");
    assert!(is_told, "{refused:?}");
    if let Some(who) = other.store().break_lock().expect("asked") {
        assert_eq!(who, "neap test, ana@shore-1");
        let mut second = other.writer("second").expect("the lock was broken");
        let lost = writer.publish(&release(5, &[], &["a"]).publication);
        assert!(matches!(lost, Err(PublishError::LockLost(_))), "{lost:?}");
        publish(&mut second, &release(5, &[], &["a"])).expect("published");
    }
    drop(writer);
    drop(other.writer("third").expect("nobody else writes"));
}

#[test]
fn memory_behaves() {
    let memory = Memory::default();
    behaves(&|| Box::new(Directory::new(memory.clone())));
}

#[test]
fn a_folder_behaves() {
    let folder = tempfile::tempdir().expect("a folder");
    behaves(&|| directory(folder.path()));
}

#[test]
fn links_and_special_files_are_not_opened() {
    let folder = tempfile::tempdir().expect("a folder");
    let outside = tempfile::tempdir().expect("a folder");
    let path = |file: &str| folder.path().join(file);
    std::fs::write(outside.path().join("1.root.json"), "{}").expect("written");
    std::fs::create_dir(path("metadata")).expect("made");
    use std::os::unix::fs::symlink as link;
    link(outside.path().join("1.root.json"), path("metadata/1.root.json")).expect("linked");
    link(outside.path(), path("blobs")).expect("linked");
    std::os::unix::net::UnixListener::bind(path("metadata/2.root.json")).expect("a socket");
    std::fs::create_dir(path("metadata/3.root.json")).expect("made");
    let store = directory(folder.path());
    for version in 1..=3 {
        let name = Name::metadata(&format!("{version}.root.json")).expect("a name");
        assert!(store.open(&name).is_err(), "{name}");
    }
    let name = Name::blob(&Digest::of(b""));
    assert!(store.open(&name).is_err(), "through a link");
    assert!(store::put(&*store, &name, b"").is_err(), "through a link");
    assert!(store.list(&Folder::Blobs).is_err(), "through a link");
    // A link that stands where a file is put is replaced, not followed.
    let name = Name::metadata("1.root.json").expect("a name");
    store::put(&*store, &name, b"ours").expect("put");
    assert_eq!(std::fs::read(outside.path().join("1.root.json")).expect("read"), b"{}");
    assert_eq!(store::read(&*store, &name, 9).expect("read"), Some(b"ours".to_vec()));
}

fn directory(path: &Path) -> Box<dyn Store> {
    let files = neap_depot::posix::Posix::open(path).expect("it is a folder");
    Box::new(Directory::new(files))
}

#[cfg(feature = "s3")]
mod bucket {
    use neap_depot::s3::{Place, S3};

    use super::behaves;
    use super::moto::Server;

    #[test]
    fn a_bucket_behaves() {
        let Some(server) = Server::start("depots") else { return };
        let open = |prefix: &str| {
            let place = Place {
                bucket: "depots".into(),
                prefix: prefix.into(),
                endpoint: Some(server.endpoint()),
                key: Some(("id".into(), "secret".into())),
            };
            Box::new(S3::at(&place).expect("a place"))
        };
        behaves(&|| open(""));
        behaves(&|| open("ships/aurora"));
    }
}
