//! `stick-bench`: export and import of a stick against `cp` and `sync` of the same bytes between
//! the same folders, in the same run.

use std::error::Error;
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use clap::Parser;
use neap_depot::depot::Depot;
use neap_depot::writer::Present;
use neap_engine::digest::Digest;
use neap_trust::client::Ask;
use neap_trust::fixture::Repository;
use neap_trust::state::MemoryState;
use neap_trust::time::{Clock, Timestamp};
use neap_usb_sideload::export::{self, Wanted};
use neap_usb_sideload::import;
use neap_usb_sideload::recorder::{self, Verified};
use neap_usb_sideload::stick::{Stick, room};

/// Write a release to a stick and take it off again, and do the same with `cp` and `sync`.
///
/// Example: stick-bench --stick /media/stick --device /var/tmp --bytes 512000000
#[derive(Parser)]
struct Options {
    /// A folder on the medium to measure
    #[arg(long)]
    stick: PathBuf,
    /// A folder on the device's own disk
    #[arg(long)]
    device: PathBuf,
    /// Length of the release, in bytes
    #[arg(long, default_value_t = 512 << 20)]
    bytes: u64,
    /// How often each is done; medians are printed
    #[arg(long, default_value_t = 3)]
    runs: usize,
}

/// Seconds of each thing that is timed, one a run.
#[derive(Default)]
struct Times {
    copy_to: Vec<f64>,
    copy_to_and_read: Vec<f64>,
    export: Vec<f64>,
    export_unread: Vec<f64>,
    copy_from: Vec<f64>,
    import: Vec<f64>,
}

fn main() -> ExitCode {
    match measure(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> Result<(), Box<dyn Error>> {
    let work = options.device.join("stick-bench");
    let medium = options.stick.join("stick-bench");
    let shore = work.join("shore");
    for folder in [&work, &medium] {
        clear(folder)?;
    }
    let root = publish(&shore, options.bytes)?;
    let mut times = Times::default();
    for run in 0..options.runs {
        // Whoever goes first finds the medium as the other left it, turn and turn about.
        for first in [run % 2 == 0, run % 2 == 1] {
            clear(&medium)?;
            if first {
                let (copied, read) = copy_and_read(&shore, &medium)?;
                times.copy_to.push(copied);
                times.copy_to_and_read.push(copied + read);
                times.copy_from.push(copy(&medium.join("blobs"), &work.join("copied"))?);
            } else {
                let unread = timed(|| exported(&shore, &medium, &root, false))?;
                times.export_unread.push(unread);
                clear(&medium)?;
                times.export.push(timed(|| exported(&shore, &medium, &root, true))?);
                forget(&medium.join("neap"))?;
                clear(&work.join("home"))?;
                times.import.push(timed(|| imported(&medium, &work.join("home"), &root))?);
            }
        }
    }
    clear(&medium)?;
    fs::remove_dir_all(&medium)?;
    fs::remove_dir_all(&work)?;
    report(options.bytes, times);
    Ok(())
}

fn report(bytes: u64, times: Times) {
    let mb_s = |seconds: f64| bytes as f64 / 1e6 / seconds;
    let (copy_to, read) = (median(times.copy_to), median(times.copy_to_and_read));
    let (export, unread) = (median(times.export), median(times.export_unread));
    let (copy_from, import) = (median(times.copy_from), median(times.import));
    println!("| what | s | MB/s | ÷ `cp` + `sync` |\n|---|--:|--:|--:|");
    for (what, seconds, against) in [
        ("`cp` + `sync` to the stick", copy_to, copy_to),
        ("the same, then read past the cache", read, copy_to),
        ("export, not read back", unread, copy_to),
        ("export", export, copy_to),
        ("`cp` + `sync` from the stick", copy_from, copy_from),
        ("import", import, copy_from),
    ] {
        println!("| {what} | {seconds:.2} | {:.0} | {:.2} |", mb_s(seconds), against / seconds);
    }
    println!("export ÷ copy that is read back: {:.2}", read / export);
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds.get(seconds.len() / 2).copied().unwrap_or(f64::NAN)
}

fn timed(work: impl FnOnce() -> Result<(), Box<dyn Error>>) -> Result<f64, Box<dyn Error>> {
    let began = Instant::now();
    work()?;
    Ok(began.elapsed().as_secs_f64())
}

fn clear(folder: &Path) -> Result<(), Box<dyn Error>> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder)?;
    sync(folder)
}

fn sync(folder: &Path) -> Result<(), Box<dyn Error>> {
    program(Command::new("sync").arg("--file-system").arg(folder))
}

fn program(command: &mut Command) -> Result<(), Box<dyn Error>> {
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(format!("{command:?} ended with {status}").into()) }
}

/// Copies a folder of files and syncs: seconds.
fn copy(from: &Path, to: &Path) -> Result<f64, Box<dyn Error>> {
    clear(to)?;
    forget(from)?;
    timed(|| {
        program(Command::new("cp").arg("-r").arg("--").arg(from).arg(to))?;
        sync(to)
    })
}

/// The same to the stick, and then seconds of reading it past the cache.
fn copy_and_read(shore: &Path, medium: &Path) -> Result<(f64, f64), Box<dyn Error>> {
    let blobs = shore.join("blobs");
    let copied = timed(|| {
        program(Command::new("cp").arg("-r").arg("--").arg(&blobs).arg(medium))?;
        sync(medium)
    })?;
    forget(medium)?;
    let read = timed(|| {
        for entry in fs::read_dir(medium.join("blobs"))? {
            program(Command::new("cat").arg(entry?.path()).stdout(std::process::Stdio::null()))?;
        }
        Ok(())
    })?;
    forget(medium)?;
    Ok((copied, read))
}

/// Lets what is read next come from the medium.
fn forget(folder: &Path) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            forget(&path)?;
        } else {
            let file = fs::File::open(&path)?;
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
        }
    }
    Ok(())
}

fn now() -> Timestamp {
    Timestamp::try_from(std::time::SystemTime::now()).unwrap_or_default()
}

/// A depot with one release of so many bytes that no coder makes smaller: its first root.
fn publish(place: &Path, len: u64) -> Result<Vec<u8>, Box<dyn Error>> {
    fs::create_dir_all(place)?;
    let depot = Depot::directory(place)?;
    let mut repository = Repository::new(now());
    repository.group("bench");
    let mut bytes = vec![0; usize::try_from(len)?];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    let writer = depot.writer("stick-bench")?;
    let added = writer.add(&mut Cursor::new(&bytes), Present::Verify)?;
    drop(bytes);
    let digest = added.digest.to_string();
    let custom = serde_json::json!({
        "blake3": digest, "kind": "full", "to": digest, "to_len": added.len, "content": "image",
        "product": "bench", "version": "1.0", "severity": "low",
    });
    repository.target("bench", "g/bench/bench/1.0/full", added.len, &added.sha256, custom);
    repository.publish(&["g.bench", "targets"]);
    let files: Vec<_> = repository.files.metadata.clone().into_iter().collect();
    writer.mirror(&files)?;
    Ok(repository.first_root())
}

fn verified(depot: &Depot, root: &[u8]) -> Result<Verified, Box<dyn Error>> {
    let clock = Clock { rtc: Some(now()), build: Timestamp::UNIX_EPOCH };
    let ask = Ask { groups: &["bench"], root: Some(root), clock, seen: None };
    Ok(recorder::verified(depot, &mut MemoryState::default(), &ask)?)
}

fn exported(
    shore: &Path,
    medium: &Path,
    root: &[u8],
    read_back: bool,
) -> Result<(), Box<dyn Error>> {
    let depot = Depot::directory(shore)?;
    let stick = Stick::make(medium)?;
    let verified = verified(&depot, root)?;
    let mut metadata = export::roots(&depot)?;
    metadata.extend(verified.files);
    let wanted = Wanted {
        needed: &verified.checked.groups[0].offers,
        welcome: &[],
        metadata: &metadata,
        timestamp: verified.checked.timestamp,
        root,
        to: None,
        read_back,
    };
    let draft = export::draft(&stick, &wanted, room(medium)?)?;
    export::write(&depot, &stick, &draft, &mut |_| {})?;
    Ok(())
}

fn imported(medium: &Path, home: &Path, root: &[u8]) -> Result<(), Box<dyn Error>> {
    let depot = Depot::directory(home)?;
    let stick = Stick::open(medium, None)?;
    let verified = verified(stick.depot(), root)?;
    let writer = depot.writer("stick-bench")?;
    for offer in &verified.checked.groups[0].offers {
        let digest = Digest::from_hex(&offer.custom.blake3).ok_or("no digest")?;
        let blob = stick.depot().blob(&digest)?.ok_or("no blob")?;
        let taken = import::take(&blob, &writer, &mut |_| {})?;
        if !taken.is_whole {
            return Err(format!("not whole: {taken:?}").into());
        }
    }
    writer.mirror(&verified.files)?;
    Ok(())
}
