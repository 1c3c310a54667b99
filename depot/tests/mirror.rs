//! A depot that takes only what it needs is whole without the rest, and what it lost is found.

mod sample;

use std::io::Cursor;

use neap_depot::depot::Depot;
use neap_depot::fsck::Report;
use neap_depot::memory::{Fate, Memory};
use neap_depot::name::{Folder, Name};
use neap_depot::store;
use neap_depot::tree::{Builder, Subtree};
use neap_depot::writer::{Present, Writer};
use neap_engine::digest::Digest;
use sample::{depot, image, publish, release, root};

const LENS: [usize; 3] = [70_000, 20_000, 5];

fn images() -> Vec<Vec<u8>> {
    (1..).zip(LENS).map(|(seed, len)| image(seed, len)).collect()
}

/// All metadata of a release of three blobs, by name.
fn metadata() -> Vec<(String, Vec<u8>)> {
    let made = release(1, &images(), &["a"]).publication;
    let timestamp = made.timestamp.map(|bytes| ("timestamp.json".to_owned(), bytes));
    made.roles.into_iter().chain(made.snapshot).chain(timestamp).chain([root(2, "a")]).collect()
}

fn add(writer: &Writer<'_>, bytes: &[u8]) -> Digest {
    writer.add(&mut Cursor::new(bytes), Present::Verify).expect("added").digest
}

/// What a device took: the second blob, and no first root.
fn mirrored() -> (Memory, Depot) {
    let memory = Memory::default();
    let depot = depot(&memory);
    let writer = depot.writer("test").expect("free");
    writer.begin_mirror().expect("begun");
    add(&writer, &images()[1]);
    writer.mirror(&metadata()).expect("kept");
    drop(writer);
    (memory, depot)
}

fn check(depot: &Depot) -> Report {
    depot.check(&mut |_| {}).expect("listed")
}

fn damage(depot: &Depot) -> Vec<String> {
    check(depot).damage().map(|finding| finding.what.to_string()).collect()
}

fn remove_blob(memory: &Memory, digest: &Digest) {
    memory.remove_file("blobs", &digest.to_string());
    memory.remove_file("blobs", &format!("{digest}.obao"));
}

trait Lose {
    fn remove_file(&self, folder: &str, file: &str);
}

impl Lose for Memory {
    fn remove_file(&self, folder: &str, file: &str) {
        use neap_depot::files::Files as _;
        self.remove(folder, file).expect("removed");
    }
}

#[test]
fn depot_that_took_what_it_needs_is_whole_and_says_how_much_is_not_here() {
    let (_, depot) = mirrored();
    let report = check(&depot);
    assert_eq!(report.findings.len(), 0, "{:?}", report.findings);
    let first = Name::metadata("1.root.json").expect("a name");
    assert_eq!((report.not_here.metadata, report.not_here.blobs), (vec![first], 2));
    assert!(report.is_published);
}

#[test]
fn what_such_a_depot_took_and_lost_is_damage() {
    let digest = Digest::of(&images()[1]);
    let lost = |file: &str| {
        let (memory, depot) = mirrored();
        memory.remove_file("metadata", file);
        damage(&depot)
    };
    for file in ["timestamp.json", "1.snapshot.json", "1.targets.json", "1.g.fleet.json"] {
        assert_eq!(lost(file), [format!("metadata/{file}: it is missing")]);
    }
    let found = lost("2.root.json");
    assert!(found[0].starts_with("metadata/2.root.json: it is missing"), "{found:?}");
    let (memory, depot) = mirrored();
    remove_blob(&memory, &digest);
    let text = format!("blobs/{digest}: it is missing, and g/fleet/p/1.1/full needs it");
    assert_eq!(damage(&depot), [text.as_str()]);
    // The next visit takes the same metadata, and does not forget what should be here.
    depot.writer("test").expect("free").mirror(&metadata()).expect("kept");
    assert_eq!(damage(&depot), [text]);
    let (memory, depot) = mirrored();
    memory.flip("blobs", &digest.to_string(), 3);
    assert_eq!(damage(&depot), [format!("blobs/{digest}: altered bytes: 16384 at 0")]);
    let (memory, depot) = mirrored();
    memory.remove_file("blobs", &digest.to_string());
    assert_eq!(damage(&depot).len(), 1, "its tree alone is no blob");
}

#[test]
fn blob_that_came_in_pieces_is_missed_once_it_was_written_down() {
    let (memory, depot) = mirrored();
    let bytes = &images()[2];
    let (mut builder, mut tree) = (Builder::default(), Vec::new());
    builder.update(bytes, &mut tree);
    let (digest, len) = builder.finish(&mut tree);
    let writer = depot.writer("test").expect("free");
    let partial = writer.partial(&digest, len).expect("begun");
    assert_eq!(damage(&depot), [""; 0], "it is still coming");
    let put = partial.put_subtree(&Subtree::whole(len), &[], bytes).expect("its groups");
    assert_eq!(put, Some(Vec::new()));
    let record = || store::read(depot.store(), &Name::mirror(), 1 << 20).expect("read");
    let before = record();
    assert!(partial.finish().expect("whole"));
    assert!(record() == before, "it is written once for all blobs that come");
    writer.mirror(&[]).expect("no file is new");
    assert!(record() != before);
    drop(writer);
    assert_eq!(check(&depot).not_here.blobs, 1);
    remove_blob(&memory, &digest);
    assert_eq!(damage(&depot).len(), 1);
}

#[test]
fn role_that_was_never_taken_stops_neither_list_nor_collection() {
    let memory = Memory::default();
    let depot = depot(&memory);
    let writer = depot.writer("test").expect("free");
    writer.begin_mirror().expect("begun");
    let old = add(&writer, b"of no release");
    let files: Vec<_> =
        metadata().into_iter().filter(|(name, _)| name != "1.g.fleet.json").collect();
    writer.mirror(&files).expect("kept");
    assert_eq!(damage(&depot), [""; 0]);
    assert!(depot.catalogue().1.is_none());
    let removed = writer.collect(1).expect("collected").removals;
    assert!(removed.iter().any(|(name, _)| *name == Name::blob(&old)), "{removed:?}");
    drop(writer);
    // One that was taken and is lost does.
    let (memory, depot) = mirrored();
    memory.remove_file("metadata", "1.g.fleet.json");
    assert!(depot.catalogue().1.is_some());
    assert!(depot.writer("test").expect("free").collect(1).is_err());
}

#[test]
fn collection_keeps_what_a_stick_names_as_encrypted() {
    let (memory, depot) = mirrored();
    let writer = depot.writer("test").expect("free");
    let sealed = add(&writer, b"only its digest is in the list");
    assert_eq!(depot.removable(1).expect("known").removals.len(), 2, "data and tree");
    let list = format!(r#"{{"sealed":[{{"sealed":"{sealed}"}}]}}"#);
    let put = |text: &str| {
        use neap_depot::files::Files as _;
        use neap_depot::store::Edit as _;
        let file = memory.create("", "stick.json").expect("made");
        file.write_at(0, text.as_bytes()).expect("written");
    };
    put(&list);
    assert_eq!(writer.collect(1).expect("collected").removals, []);
    memory.remove_file("", "stick.json");
    put("{");
    assert!(writer.collect(1).is_err(), "what it names is not known");
}

#[test]
fn depot_that_publishes_must_have_all() {
    let (memory, depot) = mirrored();
    let mut writer = depot.writer("test").expect("free");
    for bytes in images() {
        add(&writer, &bytes);
    }
    writer.mirror(&[root(1, "a")]).expect("kept");
    publish(&mut writer, &release(2, &images(), &["a"])).expect("published");
    drop(writer);
    assert_eq!(damage(&depot), [""; 0]);
    let top = depot.store().list(&Folder::Top).expect("listed");
    assert!(!top.iter().any(|entry| entry.file == "mirror.json"), "{top:?}");
    memory.remove_file("metadata", "1.root.json");
    assert_eq!(damage(&depot).len(), 1);
}

#[test]
fn what_a_whole_depot_lost_is_missed_after_it_took_from_another_too() {
    let memory = Memory::default();
    let depot = depot(&memory);
    let mut writer = depot.writer("test").expect("free");
    let digests: Vec<_> = images().iter().map(|bytes| add(&writer, bytes)).collect();
    publish(&mut writer, &release(1, &images(), &["a"])).expect("published");
    remove_blob(&memory, &digests[0]);
    memory.remove_file("metadata", "1.root.json");
    let lost = damage(&depot);
    assert_eq!(lost.len(), 2, "{lost:?}");
    writer.begin_mirror().expect("begun");
    writer.mirror(&[root(2, "a")]).expect("kept");
    drop(writer);
    assert_eq!(damage(&depot), lost);
}

#[test]
fn record_that_cannot_be_read_is_damage_and_written_anew_by_the_next_visit() {
    let (_, depot) = mirrored();
    for text in ["", "{}", r#"{"schema":"neap.mirror.v2","metadata":[],"blobs":[]}"#] {
        store::put(depot.store(), &Name::mirror(), text.as_bytes()).expect("put");
        assert!(damage(&depot)[0].starts_with("mirror.json: it cannot be parsed"), "{text}");
    }
    depot.writer("test").expect("free").mirror(&metadata()).expect("kept");
    assert_eq!(damage(&depot), [""; 0]);
}

#[test]
fn depot_to_which_nothing_came_yet_is_whole() {
    let depot = depot(&Memory::default());
    let report = check(&depot);
    assert_eq!((report.findings.len(), report.is_published), (0, false));
}

#[test]
fn depot_that_is_cut_short_while_it_takes_is_never_called_damaged() {
    for step in 0.. {
        let memory = Memory::default();
        let here = depot(&memory);
        let writer = here.writer("test").expect("free");
        memory.cut_at(memory.steps() + step);
        let took = || {
            writer.begin_mirror()?;
            writer.add(&mut Cursor::new(&images()[1]), Present::Verify).map_err(drop_error)?;
            writer.mirror(&metadata()).map_err(drop_error)
        };
        let is_done = took().is_ok();
        let mixed = (0..4).map(|seed| Fate::Mixed(step * 4 + seed));
        for fate in [Fate::Lost, Fate::Kept].into_iter().chain(mixed) {
            let left = depot(&memory.after_cut(fate));
            assert_eq!(damage(&left), [""; 0], "step {step}, {fate:?}");
        }
        if is_done {
            assert!(step > 20, "only {step} steps");
            return;
        }
    }
}

fn drop_error(error: impl std::fmt::Display) -> std::io::Error {
    std::io::Error::other(error.to_string())
}
