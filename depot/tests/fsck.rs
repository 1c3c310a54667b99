//! Every damage is found and named; what needs no key is repaired; nothing is called damage that is
//! none.

mod sample;

use std::io::Cursor;

use neap_depot::blob::BlobError;
use neap_depot::catalogue::Fault;
use neap_depot::depot::Depot;
use neap_depot::files::Files;
use neap_depot::fsck::{Finding, Report, What};
use neap_depot::gc::GcError;
use neap_depot::memory::Memory;
use neap_depot::name::Name;
use neap_depot::store::{self, Edit};
use neap_depot::writer::Present;
use neap_engine::digest::Digest;
use sample::{client, depot, image, publish, release, root};

/// In two parts and a rest, and in one file.
const SPLIT: usize = 70_000;
const WHOLE: usize = 20_000;

/// A depot with one release of three blobs.
fn made() -> (Memory, Depot) {
    let memory = Memory::default();
    let depot = depot(&memory);
    let mut first = release(1, &[image(1, SPLIT), image(2, WHOLE), image(3, 5)], &["a"]);
    first.publication.roots.push(root(1, "a"));
    first.publication.roots.push(root(2, "a"));
    let mut writer = depot.writer("test").expect("nobody else writes");
    publish(&mut writer, &first).expect("published");
    drop(writer);
    (memory, depot)
}

fn check(depot: &Depot) -> Report {
    depot.check(&mut |_| {}).expect("listed")
}

/// The one thing that is wrong after some damage, as text; and whether repair cures it.
fn found(damage: impl FnOnce(&Memory, &Depot)) -> (String, bool) {
    let (memory, depot) = made();
    assert!(check(&depot).findings.is_empty());
    damage(&memory, &depot);
    let mut report = check(&depot);
    let texts: Vec<_> = report.findings.iter().map(|finding| finding.what.to_string()).collect();
    assert_eq!(texts.len(), 1, "{texts:?}");
    let is_damage = report.damage().count() == 1;
    if is_damage && !matches!(report.findings[0].what, What::RootMissing(_) | What::Staged(..)) {
        assert!(report.findings[0].repaired || client(&depot).is_err() || is_tree(&report));
    }
    depot.writer("test").expect("free").repair(&mut report).expect("repaired");
    let cured = check(&depot).findings.is_empty();
    assert_eq!(cured, report.findings[0].repaired);
    (texts[0].clone(), cured)
}

fn is_tree(report: &Report) -> bool {
    matches!(report.findings[0].what, What::Tree(_) | What::Metadata(..) | What::CaseClash(_))
}

fn blob(seed: u64, len: usize) -> String {
    Digest::of(&image(seed, len)).to_string()
}

fn remove(memory: &Memory, folder: &str, file: &str) {
    memory.remove(folder, file).expect("removed");
}

#[test]
fn blobs_that_are_missing_short_or_altered_are_named() {
    let split = blob(1, SPLIT);
    let whole = blob(2, WHOLE);
    let (text, cured) = found(|memory, _| {
        remove(memory, "blobs", &whole);
        remove(memory, "blobs", &format!("{whole}.obao"));
    });
    assert_eq!(text, format!("blobs/{whole}: it is missing, and g/fleet/p/1.1/full needs it"));
    assert!(!cured);
    let (text, _) = found(|memory, _| remove(memory, "blobs", &format!("{split}.001")));
    assert_eq!(text, format!("blobs/{split}: part 1 of its data is missing"));
    let (text, _) = found(|memory, _| memory.truncate("blobs", &format!("{split}.002"), 9));
    assert_eq!(text, format!("blobs/{split}: 65545 bytes of data, 70000 expected"));
    let (text, _) = found(|memory, _| memory.truncate("blobs", &whole, 0));
    assert_eq!(text, format!("blobs/{whole}: 0 bytes of data, 20000 expected"));
    let (text, cured) = found(|memory, _| {
        memory.flip("blobs", &format!("{split}.000"), 16_383);
        memory.flip("blobs", &format!("{split}.001"), 16_384);
        memory.flip("blobs", &format!("{split}.002"), 0);
    });
    let ranges = "16384 at 0 20848 at 49152";
    assert_eq!(text, format!("blobs/{split}: altered bytes: {ranges}"));
    assert!(!cured, "there is nothing to repair it from");
}

#[test]
fn a_damaged_blob_is_written_again_by_whoever_adds_it() {
    let (memory, depot) = made();
    memory.flip("blobs", &blob(2, WHOLE), 7);
    assert!(client(&depot).is_err());
    let writer = depot.writer("test").expect("free");
    let mut input = Cursor::new(image(2, WHOLE));
    assert!(!writer.add(&mut input, Present::Trust).expect("there").written);
    assert!(writer.add(&mut input, Present::Verify).expect("added").written);
    assert_eq!(client(&depot), Ok(1));
    assert!(check(&depot).findings.is_empty());
}

#[test]
fn trees_are_made_again_from_good_data() {
    let tree = format!("{}.obao", blob(1, SPLIT));
    let short = format!("{}.obao", blob(3, 5));
    let texts = [
        found(|memory, _| remove(memory, "blobs", &tree)),
        found(|memory, _| memory.flip("blobs", &tree, 100)),
        found(|memory, _| memory.truncate("blobs", &tree, 100)),
        found(|memory, _| memory.truncate("blobs", &tree, 0)),
        // The length at its end, made one that the tree could still have.
        found(|memory, _| memory.flip("blobs", &tree, 4 * 64)),
    ];
    for (text, cured) in texts {
        assert_eq!(text, format!("blobs/{tree}: missing or damaged; the data is good"));
        assert!(cured);
    }
    let (text, cured) = found(|memory, _| memory.truncate("blobs", &short, 7));
    assert_eq!(text, format!("blobs/{short}: missing or damaged; the data is good"));
    assert!(cured);
}

#[test]
fn metadata_that_is_missing_or_wrong_is_named() {
    let missing = found(|memory, _| remove(memory, "metadata", "1.g.fleet.json"));
    // Without it nothing names the blobs that it named: that is not said, for it is not known.
    assert_eq!(missing, ("metadata/1.g.fleet.json: it is missing".into(), false));
    let (text, _) = found(|memory, _| remove(memory, "metadata", "1.root.json"));
    assert!(text.starts_with("metadata/1.root.json: it is missing"), "{text}");
    let (text, _) = found(|memory, _| memory.truncate("metadata", "2.root.json", 10));
    assert!(text.starts_with("metadata/2.root.json: it cannot be parsed"), "{text}");
    let (text, _) = found(|memory, _| {
        let file = memory.open("metadata", "1.targets.json").expect("opened").expect("there");
        file.write_at(neap_depot::store::Object::len(&file), b" ").expect("written");
    });
    assert!(text.starts_with("metadata/1.targets.json: "), "{text}");
    assert!(text.ends_with("expected"), "{text}");
    let (text, _) = found(|memory, depot| {
        let name = Name::metadata("1.g.fleet.json").expect("a name");
        let content = store::read(depot.store(), &name, 1 << 20).expect("read").expect("there");
        let text = String::from_utf8(content).expect("JSON");
        memory.flip("metadata", name.file(), text.find("low").expect("a severity"));
    });
    assert_eq!(text, "metadata/1.g.fleet.json: its SHA-256 is not the one that names it");
}

#[test]
fn a_depot_without_a_timestamp_is_damaged_and_never_collected() {
    let (memory, depot) = made();
    remove(&memory, "metadata", "timestamp.json");
    let report = check(&depot);
    let missing = |finding: &Finding| match &finding.what {
        What::Metadata(name, Fault::Missing) => *name == Name::timestamp(),
        _ => false,
    };
    assert!(report.findings.iter().any(missing));
    let writer = depot.writer("test").expect("free");
    assert!(matches!(writer.collect(1), Err(GcError::NothingPublished)));
    assert_eq!(depot.blobs().expect("listed").len(), 3);
}

#[test]
fn what_is_left_over_is_untidy_not_damage() {
    let (text, cured) = found(|memory, _| drop(memory.create("blobs", "~5.tmp").expect("made")));
    assert_eq!((&*text, cured), ("blobs/~5.tmp: left by a writer that was cut short", true));
    let name = format!("{}.003", blob(1, SPLIT));
    let (text, cured) = found(|memory, _| drop(memory.create("blobs", &name).expect("made")));
    assert_eq!((text, cured), (format!("blobs/{name}: the blob is there in another form"), true));
    let (text, _) = found(|memory, _| drop(memory.create("blobs", "._x").expect("made")));
    assert_eq!(text, "blobs/._x: not a file of a depot, ignored");
    let other = blob(9, 9);
    let (text, _) = found(|_, depot| {
        let writer = depot.writer("test").expect("free");
        writer.add(&mut Cursor::new(image(9, 9)), Present::Verify).expect("added");
    });
    assert_eq!(text, format!("blobs/{other}: nothing names it"));
    let (text, _) = found(|memory, _| drop(memory.create("blobs", &other).expect("made")));
    assert_eq!(text, format!("blobs/{other}: cut short while it was written"));
    let file = format!("{other}.partial");
    let (text, _) = found(|memory, _| drop(memory.create("blobs", &file).expect("made")));
    assert_eq!(text, format!("blobs/{other}: still coming"));
    let (text, _) = found(|_, depot| {
        let name = Name::metadata("7.g.lost.json").expect("a name");
        store::put(depot.store(), &name, b"{}").expect("put");
    });
    assert_eq!(text, "metadata/7.g.lost.json: no kept snapshot names it");
}

#[test]
fn names_that_clash_where_case_is_ignored_are_named() {
    let (memory, depot) = made();
    drop(memory.create("metadata", "Timestamp.json").expect("made"));
    let report = check(&depot);
    let clash = "metadata/Timestamp.json, metadata/timestamp.json: one name where case is ignored";
    assert!(report.findings.iter().any(|finding| finding.what.to_string() == clash));
    assert_eq!(report.damage().count(), 1);
}

#[test]
fn what_is_staged_counts_as_named_and_unreadable_staging_stops_collection() {
    let (memory, depot) = made();
    let writer = depot.writer("test").expect("free");
    let added = writer.add(&mut Cursor::new(image(9, 9)), Present::Verify).expect("added");
    let staged = format!(r#"{{"any":[{{"deep":"{}"}}]}}"#, added.digest);
    writer.stage("g.fleet.json", staged.as_bytes()).expect("staged");
    assert_eq!(writer.collect(1).expect("collected").removals, []);
    writer.stage("g.other.json", b"{").expect("staged");
    assert!(matches!(writer.collect(1), Err(GcError::Faulty(..))));
    assert_eq!(check(&depot).damage().count(), 1);
    writer.unstage("g.other.json").expect("unstaged");
    writer.unstage("g.fleet.json").expect("unstaged");
    assert_eq!(writer.collect(1).expect("collected").removals.len(), 2);
    assert_eq!(client(&depot), Ok(1));
    drop(memory);
}

#[test]
fn a_target_that_does_not_fit_its_blob_is_refused_and_named() {
    let (_, depot) = made();
    let mut writer = depot.writer("test").expect("free");
    let missing = writer.publish(&release(2, &[image(7, 7)], &["a"]).publication);
    let missing = missing.expect_err("there is no such blob").to_string();
    assert!(missing.contains("is missing"), "{missing}");
    assert_eq!(client(&depot), Ok(1));
}

#[test]
fn reads_of_a_damaged_blob_fail_only_where_it_is_damaged() {
    let (memory, depot) = made();
    let digest = Digest::of(&image(1, SPLIT));
    memory.flip("blobs", &format!("{digest}.001"), 0);
    let blob = depot.blob(&digest).expect("lengths are right").expect("there");
    let mut bytes = vec![0; 16_384];
    blob.read_at(0, &mut bytes).expect("good");
    blob.read_at(16_384, &mut bytes).expect("good");
    let altered = blob.read_at(32_767, &mut bytes[..2]);
    assert!(matches!(altered, Err(BlobError::Altered { offset: 32_768, len: 16_384 })));
    blob.read_at(SPLIT as u64 - 5, &mut bytes[..5]).expect("good");
    assert_eq!(bytes[..5], image(1, SPLIT)[SPLIT - 5..]);
    assert!(matches!(
        blob.read_at(SPLIT as u64 - 5, &mut bytes[..6]),
        Err(BlobError::PastEnd { end: 70_001, len: 70_000 })
    ));
    assert!(matches!(blob.read_at(u64::MAX, &mut bytes), Err(BlobError::PastEnd { .. })));
}
