//! Sticks that someone made to hurt: each is refused with its own message, or ignored, within two
//! seconds and 64 MiB. And copies that a scanning station made: they are as good as the stick.

mod shore;

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use peak_alloc::PeakAlloc;
use shore::{Shore, visit};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// What is counted is counted of one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

const TIME_MAX: Duration = Duration::from_secs(2);
const HEAP_MAX: usize = 64 << 20;

/// A way to spoil a stick, and what a reader says of it: nothing where it does not matter.
struct Case {
    name: &'static str,
    spoil: fn(&Path, &Shore),
    says: Option<&'static str>,
}

fn any_blob(neap: &Path, shore: &Shore) -> PathBuf {
    neap.join("blobs").join(&shore.image)
}

fn many(folder: &Path) {
    fs::create_dir_all(folder).expect("made");
    // A file system has room for so many links of one file.
    let (count, links_max) = (100_000, 50_000);
    for index in 0..count {
        let (name, first) = (index.to_string(), (index / links_max * links_max).to_string());
        match index % links_max {
            0 => drop(File::create(folder.join(name)).expect("made")),
            _ => fs::hard_link(folder.join(first), folder.join(name)).expect("linked"),
        }
    }
}

fn long(file: &Path, len: u64) {
    File::create(file).expect("made").set_len(len).expect("sized");
}

const CASES: &[Case] = &[
    Case {
        name: "metadata with 100,000 entries",
        spoil: |neap, _| many(&neap.join("metadata")),
        says: Some("metadata: more than 32768 entries"),
    },
    Case {
        name: "blobs with 100,000 entries",
        spoil: |neap, _| many(&neap.join("blobs")),
        says: Some("blobs: more than 32768 entries"),
    },
    Case {
        name: "receipts of 100,000 devices",
        spoil: |neap, _| many(&neap.join("receipts")),
        says: Some("receipts: more than 32768 entries"),
    },
    Case {
        name: "a device with 100,000 receipts",
        spoil: |neap, _| many(&neap.join("receipts/radar-7")),
        says: Some("receipts/radar-7: more than 32768 entries"),
    },
    Case {
        name: "100,000 encrypted receipts",
        spoil: |neap, _| many(&neap.join("sealed")),
        says: Some("sealed: more than 32768 entries"),
    },
    Case {
        name: "folders 900 deep beside ours and in ours",
        spoil: |neap, _| {
            for top in ["deep", "metadata/deep", "blobs/deep"] {
                let deep = (0..450).fold(neap.join(top), |path, _| path.join("d"));
                fs::create_dir_all(deep).expect("made");
            }
        },
        says: None,
    },
    Case {
        name: "foreign files of other systems",
        spoil: |neap, _| {
            fs::create_dir_all(neap.join("System Volume Information")).expect("made");
            fs::create_dir_all(neap.join("receipts")).expect("made");
            for file in ["._metadata", ".Trashes", "blobs/._x", "receipts/Thumbs.db", "autorun.inf"]
            {
                fs::write(neap.join(file), b"x").expect("written");
            }
        },
        says: None,
    },
    Case {
        name: "names that steer a terminal, and names that are no text",
        spoil: |neap, _| {
            for name in [&b"\x1b[2J\x1b[31m"[..], b"\xff\xfe", b"..\\..\\x", b"a\nb"] {
                let name = std::ffi::OsStr::from_bytes(name);
                for folder in ["", "blobs", "metadata", "receipts"] {
                    fs::create_dir_all(neap.join(folder)).expect("made");
                    fs::write(neap.join(folder).join(name), b"x").expect("written");
                }
            }
        },
        says: None,
    },
    Case {
        name: "metadata is a link to itself",
        spoil: |neap, _| {
            fs::rename(neap.join("metadata"), neap.join("moved")).expect("moved");
            symlink("metadata", neap.join("metadata")).expect("linked");
        },
        says: Some("timestamp.json: not on the carrier"),
    },
    Case {
        name: "the timestamp is a link out of the stick",
        spoil: |neap, _| {
            fs::remove_file(neap.join("metadata/timestamp.json")).expect("removed");
            symlink("/etc/passwd", neap.join("metadata/timestamp.json")).expect("linked");
        },
        says: Some("symbolic links"),
    },
    Case {
        name: "the timestamp is a pipe",
        spoil: |neap, _| {
            let path = neap.join("metadata/timestamp.json");
            fs::remove_file(&path).expect("removed");
            let mode = rustix::fs::Mode::from(0o644);
            let kind = rustix::fs::FileType::Fifo;
            rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode, 0).expect("made");
        },
        says: Some("not a regular file"),
    },
    Case {
        name: "the timestamp is a folder",
        spoil: |neap, _| {
            let path = neap.join("metadata/timestamp.json");
            fs::remove_file(&path).expect("removed");
            fs::create_dir(&path).expect("made");
        },
        says: Some("not a regular file"),
    },
    Case {
        name: "the timestamp is a hole of 1 TiB",
        spoil: |neap, _| long(&neap.join("metadata/timestamp.json"), 1 << 40),
        says: Some("timestamp.json"),
    },
    Case {
        name: "the timestamp is nested a thousand times",
        spoil: |neap, _| {
            let text = format!("{}1{}", "[".repeat(1000), "]".repeat(1000));
            fs::write(neap.join("metadata/timestamp.json"), text).expect("written");
        },
        says: Some("timestamp.json: damaged"),
    },
    Case {
        name: "a role that nobody signed",
        spoil: |neap, _| {
            let path = neap.join("metadata/1.g.fleet.json");
            let text = fs::read_to_string(&path).expect("read");
            fs::write(path, text.replace("radar", "rader")).expect("written");
        },
        says: Some("1.g.fleet.json"),
    },
    Case {
        name: "a snapshot is missing",
        spoil: |neap, _| {
            fs::remove_file(neap.join("metadata/2.snapshot.json")).expect("removed");
        },
        says: Some("2.snapshot.json: not on the carrier"),
    },
    Case {
        name: "a blob is cut short",
        spoil: |neap, shore| {
            let file = File::options().write(true).open(any_blob(neap, shore)).expect("opened");
            file.set_len(100).expect("cut");
        },
        says: Some("100 bytes of data"),
    },
    Case {
        name: "a blob's tree says that it has 512 GiB",
        spoil: |neap, shore| {
            let groups = (512_u64 << 30) / 16_384;
            let path = neap.join("blobs").join(format!("{}.obao", shore.image));
            long(&path, (groups - 1) * 64 + 8);
            let file = File::options().write(true).open(path).expect("opened");
            file.write_all_at(&(512_u64 << 30).to_le_bytes(), (groups - 1) * 64).expect("written");
            long(&any_blob(neap, shore), 4 << 30);
        },
        says: Some("part 0 of its data is missing"),
    },
    Case {
        name: "a blob is a hole of its own length",
        spoil: |neap, shore| {
            let path = any_blob(neap, shore);
            let len = fs::metadata(&path).expect("there").len();
            fs::remove_file(&path).expect("removed");
            long(&path, len);
        },
        says: Some("are not those of its digest"),
    },
    Case {
        name: "a blob is another one",
        spoil: |neap, shore| {
            let path = any_blob(neap, shore);
            let len = usize::try_from(fs::metadata(&path).expect("there").len()).expect("short");
            fs::write(path, vec![7; len]).expect("written");
        },
        says: Some("are not those of its digest"),
    },
    Case {
        name: "the list of what is encrypted is a hole of 1 GiB",
        spoil: |neap, _| long(&neap.join("stick.json"), 1 << 30),
        says: Some("stick.json: 1073741824 bytes, at most 1048576 allowed"),
    },
    Case {
        name: "the list of what is encrypted is none",
        spoil: |neap, _| fs::write(neap.join("stick.json"), b"{\"schema\":1}").expect("written"),
        says: Some("stick.json: not understood"),
    },
    Case {
        name: "the list says that a plain blob is encrypted",
        spoil: |neap, shore| {
            let blobs = neap.join("blobs");
            let other = &shore.documents[0];
            let text = format!(
                "{{\"schema\":\"neap.stick.v1\",\"id\":\"00000000\",\"sealed\":[{{\"blob\":\"{}\",\
                 \"len\":{},\"sealed\":\"{other}\",\"to\":\"0000000000000000\"}}]}}",
                shore.image, shore.image_len,
            );
            fs::write(neap.join("stick.json"), text).expect("written");
            for end in ["", ".obao"] {
                fs::remove_file(blobs.join(format!("{}{end}", shore.image))).expect("removed");
            }
        },
        says: Some("it is encrypted, and no key was given"),
    },
    Case {
        name: "two folders differ in case only",
        spoil: |neap, _| {
            fs::rename(neap.join("blobs"), neap.join("Blobs")).expect("moved");
            fs::create_dir(neap.join("bLOBS")).expect("made");
        },
        says: Some("two entries have this name in different case"),
    },
    Case {
        name: "a receipt is a hole of 1 GiB",
        spoil: |neap, _| {
            fs::create_dir_all(neap.join("receipts/radar-7")).expect("made");
            long(&neap.join("receipts/radar-7/1.cose"), 1 << 30);
        },
        says: Some("receipts/radar-7/1.cose: 1073741824 bytes"),
    },
];

#[test]
fn hostile_sticks_are_refused_each_with_its_message() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let shore = Shore::new();
    let mut failures = Vec::new();
    for case in CASES {
        let folder = shore.stick();
        (case.spoil)(&folder.path().join("neap"), &shore);
        HEAP.reset_peak_usage();
        let (before, began) = (HEAP.current_usage(), Instant::now());
        let said = visit(folder.path(), &shore);
        let (took, held) = (began.elapsed(), HEAP.peak_usage().saturating_sub(before));
        let as_expected = match (case.says, &said) {
            (Some(says), Err(why)) => why.contains(says),
            (None, Ok(_)) => true,
            _ => false,
        };
        println!("{}: {} ms, {} KiB: {said:?}", case.name, took.as_millis(), held >> 10);
        if !as_expected || took > TIME_MAX || held > HEAP_MAX {
            failures.push(format!("{}: {said:?} after {took:?}, {held} bytes", case.name));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let said: std::collections::BTreeSet<_> = CASES.iter().filter_map(|case| case.says).collect();
    let refused = CASES.iter().filter(|case| case.says.is_some()).count();
    assert!(said.len() + 4 >= refused, "messages tell the cases apart");
}

#[test]
fn folder_that_is_a_link_is_not_followed() {
    let shore = Shore::new();
    let stick = shore.stick();
    let other = tempfile::tempdir().expect("a folder");
    symlink(stick.path().join("neap"), other.path().join("neap")).expect("linked");
    let refused = visit(other.path(), &shore).expect_err("a link");
    assert!(refused.contains("links are not followed"), "{refused}");
    let none = tempfile::tempdir().expect("a folder");
    let refused = visit(none.path(), &shore).expect_err("nothing");
    assert!(refused.contains("no folder `neap` is on it"), "{refused}");
}

/// Cause: a folder `receipts` or `metadata` at the top of a stick made it a copy of ours. Effect: a
/// stranger's stick was written to. Cure: only the list that every stick of ours has makes it one.
#[test]
fn stick_of_a_stranger_is_not_taken_for_a_copy_of_ours() {
    let shore = Shore::new();
    let other = tempfile::tempdir().expect("a folder");
    for folder in ["receipts", "metadata", "blobs"] {
        fs::create_dir(other.path().join(folder)).expect("made");
    }
    let refused = visit(other.path(), &shore).expect_err("nothing of ours");
    assert!(refused.contains("no folder `neap` is on it"), "{refused}");
    fs::create_dir(other.path().join("stick.json")).expect("made");
    let refused = visit(other.path(), &shore).expect_err("a folder is no list");
    assert!(refused.contains("no folder `neap` is on it"), "{refused}");
    visit(&shore.stick().path().join("neap"), &shore).expect("a copy of our folder");
}

/// Copies the folder as stations do: in another order, in another case, with new times.
fn copy(from: &Path, to: &Path, case: fn(&str) -> String, reverse: bool) {
    fs::create_dir_all(to).expect("made");
    let mut entries: Vec<_> =
        fs::read_dir(from).expect("listed").map(|entry| entry.expect("read")).collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    if reverse {
        entries.reverse();
    }
    for entry in entries {
        let name = case(&entry.file_name().to_string_lossy());
        if entry.file_type().expect("told").is_dir() {
            copy(&entry.path(), &to.join(name), case, reverse);
        } else {
            let bytes = fs::read(entry.path()).expect("read");
            let mut file = File::create(to.join(name)).expect("made");
            file.write_all(&bytes).expect("written");
            file.set_modified(std::time::UNIX_EPOCH).expect("set");
        }
    }
}

#[test]
fn copies_of_a_stick_are_as_good_in_any_order_and_case() {
    let shore = Shore::new();
    let stick = shore.stick();
    let whole = visit(stick.path(), &shore).expect("the stick itself");
    let mixed = |name: &str| {
        let letters = name.chars().enumerate();
        letters.map(|(at, c)| if at % 2 == 0 { c.to_ascii_uppercase() } else { c }).collect()
    };
    let cases: [fn(&str) -> String; 3] = [str::to_owned, |name| name.to_uppercase(), mixed];
    for case in cases {
        for reverse in [false, true] {
            for below in ["", "NEAP"] {
                let folder = tempfile::tempdir().expect("a folder");
                copy(&stick.path().join("neap"), &folder.path().join(below), case, reverse);
                let seen = visit(folder.path(), &shore);
                assert_eq!(seen.as_deref(), Ok(&*whole), "{below} {reverse}");
            }
        }
    }
}
