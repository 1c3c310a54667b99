//! A depot behind web servers: a real one, an honest one of our own, and hostile ones.
#![cfg(feature = "web")]

#[path = "web/nginx.rs"]
mod nginx;
mod sample;
#[path = "web/server.rs"]
mod server;

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use neap_depot::depot::Depot;
use neap_depot::limits::GROUP_LEN;
use neap_depot::name::{Folder, Name};
use neap_depot::store::{self, Store};
use neap_depot::web::Web;
use neap_depot::writer::Present;
use neap_engine::digest::Digest;
use sample::{client, image, publish, release, root};
use server::{Manner, Server};

/// Long enough for a busy machine, short enough to wait for.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// A depot in a folder with a release of these blobs.
fn filled(folder: &Path, images: &[Vec<u8>]) {
    let depot = Depot::directory(folder).expect("a folder");
    let mut writer = depot.writer("test").expect("nobody else writes");
    let mut first = release(1, images, &["a"]);
    first.publication.roots.push(root(1, "a"));
    publish(&mut writer, &first).expect("published");
}

fn images() -> Vec<Vec<u8>> {
    let lens = [0, 1, GROUP_LEN - 1, GROUP_LEN, GROUP_LEN + 1, 2 * GROUP_LEN + 1, 6 << 20];
    lens.iter().zip(1..).map(|(len, seed)| image(seed, *len)).collect()
}

fn web(server: &Server) -> Web {
    Web::with_patience(&server.url(), PATIENCE).expect("an address")
}

/// What reading a short blob fails of.
fn refused(manner: Manner) -> io::Error {
    let folder = tempfile::tempdir().expect("a folder");
    let image = image(1, 3_000);
    filled(folder.path(), std::slice::from_ref(&image));
    let server = Server::start(folder.path(), manner);
    let began = Instant::now();
    let read = store::read(&web(&server), &Name::blob(&Digest::of(&image)), 1 << 20);
    assert!(began.elapsed() < 8 * PATIENCE, "{manner:?} took {:?}", began.elapsed());
    read.expect_err("refused")
}

fn reads_all(depot: &Depot, images: &[Vec<u8>]) {
    assert_eq!(client(depot), Ok(1));
    for image in images {
        let blob = depot.blob(&Digest::of(image)).expect("asked").expect("there");
        assert_eq!(blob.len(), image.len() as u64);
        let mut streamed = Vec::new();
        let taken = blob.stream_unverified(0, blob.len(), &mut |bytes| {
            streamed.extend_from_slice(bytes);
            Ok(())
        });
        taken.expect("streamed");
        assert!(streamed == *image, "{} bytes", image.len());
    }
    assert!(depot.blob(&Digest::of(b"no such blob")).expect("asked").is_none());
}

#[test]
fn all_of_a_depot_is_read_from_a_server_that_knows_ranges() {
    let folder = tempfile::tempdir().expect("a folder");
    filled(folder.path(), &images());
    let server = Server::start(folder.path(), Manner::Honest);
    let depot = Depot::open(&server.url()).expect("an address");
    reads_all(&depot, &images());
    let crossed = depot.store().crossed();
    let sent = server.bytes();
    assert!(crossed > sent && crossed < 2 * sent, "{crossed} counted, {sent} sent");
    let mut bytes = [0; 10];
    let object = depot.store().open(&Name::timestamp()).expect("asked").expect("there");
    object.read_at(object.len(), &mut []).expect("nothing is read");
    assert!(object.read_at(object.len() - 9, &mut bytes).is_err(), "past the end");
}

#[test]
fn all_of_a_depot_is_read_from_nginx() {
    let folder = tempfile::tempdir().expect("a folder");
    filled(folder.path(), &images());
    let Some(server) = nginx::Server::start(folder.path()) else { return };
    let depot = Depot::open(&format!("{}/", server.url())).expect("an address");
    reads_all(&depot, &images());
}

#[test]
fn parts_of_a_long_blob_are_read_as_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let image = image(3, 5 * GROUP_LEN + 7);
    let part_len = 2 * GROUP_LEN as u64;
    let local = Depot::directory(folder.path()).expect("a folder").with_part_len(part_len);
    let writer = local.writer("test").expect("nobody else writes");
    writer.add(&mut io::Cursor::new(&image), Present::Verify).expect("added");
    let server = Server::start(folder.path(), Manner::Honest);
    let depot = Depot::open(&server.url()).expect("an address").with_part_len(part_len);
    let blob = depot.blob(&Digest::of(&image)).expect("asked").expect("there");
    let mut bytes = vec![0; 3 * GROUP_LEN];
    blob.read_at(GROUP_LEN as u64 + 5, &mut bytes).expect("verified");
    assert!(bytes == image[GROUP_LEN + 5..4 * GROUP_LEN + 5]);
    let mut streamed = Vec::new();
    let taken = blob.stream_unverified(5, 4 * GROUP_LEN as u64, &mut |bytes| {
        streamed.extend_from_slice(bytes);
        Ok(())
    });
    taken.expect("streamed");
    assert!(streamed == image[5..4 * GROUP_LEN + 5]);
}

#[test]
fn nothing_is_written_and_nothing_listed() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path(), Manner::Honest);
    let web = web(&server);
    let name = Name::timestamp();
    let unsupported = |done: io::Result<()>| done.expect_err("refused").kind();
    let seen = [
        unsupported(web.list(&Folder::Blobs).map(drop)),
        unsupported(web.put(&name).map(drop)),
        unsupported(web.stamp(&name).map(drop)),
        unsupported(web.delete(&name)),
        unsupported(web.settle(&Folder::Blobs)),
        unsupported(web.break_lock().map(drop)),
        unsupported(web.edit(&name).map(drop)),
        unsupported(web.promote(&name, &name)),
    ];
    assert_eq!(seen, [io::ErrorKind::Unsupported; 8]);
    assert!(web.lock("test").is_err());
    assert_eq!(server.requests(), 0);
}

#[test]
fn a_server_that_ignores_ranges_is_told_apart() {
    let error = refused(Manner::IgnoresRange).to_string();
    assert!(error.contains("ignores `Range`"), "{error}");
}

#[test]
fn answers_that_are_not_what_was_asked_for_are_refused() {
    for (manner, fact) in [
        (Manner::OtherRange, "another range"),
        (Manner::Huge, "longer than any file"),
        (Manner::Grows, "replaced while it was read"),
        (Manner::Replaces, "replaced while it was read"),
        (Manner::Compresses, "compresses"),
        (Manner::Endless, "more bytes than it said"),
        (Manner::Status(301), "answers 301"),
        (Manner::Status(403), "answers 403"),
    ] {
        let error = refused(manner);
        assert!(error.to_string().contains(fact), "{manner:?}: {error}");
        assert_ne!(error.kind(), io::ErrorKind::TimedOut, "{manner:?}: {error}");
    }
}

#[test]
fn a_server_that_is_down_slow_or_cut_off_may_be_asked_again() {
    for manner in [Manner::Silent, Manner::Drips, Manner::Truncates, Manner::Status(503)] {
        let error = refused(manner);
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{manner:?}: {error}");
    }
    let gone = Web::with_patience("http://127.0.0.1:1", PATIENCE).expect("an address");
    let error = store::read(&gone, &Name::timestamp(), 1 << 20).expect_err("nobody is there");
    assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
}

#[test]
fn three_redirects_are_followed_and_a_fourth_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    filled(folder.path(), &[image(1, 40_000)]);
    let server = Server::start(folder.path(), Manner::Redirects(3));
    let read = |server: &Server| store::read(&web(server), &Name::timestamp(), 1 << 20);
    assert!(read(&server).expect("it was found").is_some());
    server.set(Manner::Redirects(4));
    let error = read(&server).expect_err("too many");
    assert!(error.to_string().contains("redirect"), "{error}");
}

#[test]
fn a_file_that_is_missing_is_no_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path(), Manner::Honest);
    assert!(web(&server).open(&Name::timestamp()).expect("asked").is_none());
    server.set(Manner::Status(410));
    assert!(web(&server).open(&Name::timestamp()).expect("asked").is_none());
}

#[test]
fn wrong_bytes_are_found_where_they_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let image = image(1, 4 * GROUP_LEN);
    filled(folder.path(), std::slice::from_ref(&image));
    let server = Server::start(folder.path(), Manner::Flips);
    let depot = Depot::open(&server.url()).expect("an address");
    let blob = depot.blob(&Digest::of(&image)).expect("asked").expect("there");
    let mut group = vec![0; GROUP_LEN];
    // One request reads all of the data; the wrong bit moves with what is asked for.
    assert!(blob.read_at(2 * GROUP_LEN as u64, &mut group).is_err());
    blob.read_at(GROUP_LEN as u64, &mut group).expect("this group is right");
}
