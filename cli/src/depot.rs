//! `neap depot`: what a depot holds, whether it is whole, and clearing away what nothing names.

use std::collections::BTreeMap;
use std::io;

use clap::{Args as Group, Subcommand};
use neap_depot::catalogue::Entry;
use neap_depot::depot::{BUCKET, Depot};
use neap_depot::fsck::{Finding, Report};
use neap_depot::gc::{GcError, KEEP_DEFAULT, Plan};
use neap_depot::store::LockError;
use neap_depot::writer::Writer;
use neap_engine::io::Event;
use serde_json::{Value, json};

use crate::args::Common;
use crate::exit::Exit;
use crate::failure::{Failure, io_exit};
use crate::outcome::Outcome;
use crate::progress::Reporter;
use crate::size::{exact, human};

#[derive(Debug, Group)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List what the published release names, and the blobs that are there
    #[command(after_help = "Examples:\n  neap depot list /srv/depot\n  \
        neap depot list s3://releases/fleet --json")]
    List(List),
    /// Read all of a depot and name every damage
    #[command(after_help = "Example:\n  neap depot fsck /srv/depot --repair\n\n\
        Ends with 13 if there is damage left. Trees and left-over files can be repaired; a\n\
        damaged blob is written again by whatever adds it again. Signatures are not looked at.")]
    Fsck(Fsck),
    /// Remove what neither published nor staged metadata names
    #[command(after_help = "Examples:\n  neap depot gc /srv/depot --dry-run\n  \
        neap depot gc /srv/depot --keep 5\n\n\
        Roots and receipts are never removed. Killing it is safe at any moment.")]
    Gc(Gc),
    /// Break the lock that a dead writer left in a bucket
    #[command(after_help = "Example:\n  neap depot unlock s3://releases/fleet\n\n\
        Only if that writer is gone: one that still runs loses its publication, not the depot.")]
    Unlock(Unlock),
}

#[derive(Debug, Group)]
struct List {
    /// The depot: a folder, or s3://BUCKET/PREFIX
    depot: String,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Group)]
struct Fsck {
    /// The depot: a folder, or s3://BUCKET/PREFIX
    depot: String,
    /// Make damaged trees again and remove what writers that were cut short left
    #[arg(long)]
    repair: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Group)]
struct Gc {
    /// The depot: a folder, or s3://BUCKET/PREFIX
    depot: String,
    /// Releases to keep, the published one among them
    #[arg(long, value_name = "N", default_value_t = KEEP_DEFAULT)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1000))]
    keep: u64,
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Group)]
struct Unlock {
    /// The depot: a folder, or s3://BUCKET/PREFIX
    depot: String,
    #[command(flatten)]
    common: Common,
}

impl Args {
    pub(crate) fn common(&self) -> &Common {
        match &self.verb {
            Verb::List(args) => &args.common,
            Verb::Fsck(args) => &args.common,
            Verb::Gc(args) => &args.common,
            Verb::Unlock(args) => &args.common,
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<Outcome, Failure> {
    match &args.verb {
        Verb::List(args) => list(args),
        Verb::Fsck(args) => fsck(args),
        Verb::Gc(args) => gc(args),
        Verb::Unlock(args) => unlock(args),
    }
}

/// Opens a depot by its place.
pub(crate) fn open(place: &str) -> Result<Depot, Failure> {
    Depot::open(place).map_err(|error| {
        let fact = format!("{place}: cannot open the depot: {error}");
        Failure::new(io_exit(&error), fact, "name a folder that is there, or s3://BUCKET/PREFIX")
    })
}

/// Becomes the one writer of a depot.
pub(crate) fn writer<'a>(depot: &'a Depot, place: &str, verb: &str) -> Result<Writer<'a>, Failure> {
    depot.writer(&who(verb)).map_err(|error| of_lock(&error, place))
}

fn list(args: &List) -> Result<Outcome, Failure> {
    let depot = open(&args.depot)?;
    let (catalogue, fault) = depot.catalogue();
    if let Some((name, fault)) = fault {
        let next = format!("neap depot fsck {}", args.depot);
        let error = format!("{}: {name}: {fault}", args.depot);
        return Err(Failure::new(Exit::Error, error, next));
    }
    let blobs = depot.blobs().map_err(|error| of_io(&error, &args.depot))?;
    let mut roles: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
    for entry in &catalogue.entries {
        roles.entry(&entry.role).or_default().push(entry);
    }
    let mut text = format!(
        "timestamp {}, snapshot {}, {} targets, {} blobs\n",
        catalogue.timestamp,
        catalogue.snapshot,
        catalogue.entries.len(),
        blobs.len(),
    );
    for (role, entries) in &roles {
        text += &format!("{role}\n");
        for entry in entries {
            text += &format!("  {}  {}\n", entry.path, human(entry.len));
        }
    }
    let targets = catalogue.entries.iter().map(|entry| {
        let blob = entry.blob.map(|blob| blob.to_string());
        json!({"role": entry.role, "path": entry.path, "len": entry.len, "blob": blob})
    });
    let blobs: Vec<_> = blobs.iter().map(ToString::to_string).collect();
    let json = json!({
        "schema": "neap.depot.list.v1",
        "depot": args.depot,
        "timestamp": catalogue.timestamp,
        "snapshot": catalogue.snapshot,
        "targets": targets.collect::<Vec<_>>(),
        "blobs": blobs,
    });
    Ok(Outcome { text, json })
}

fn fsck(args: &Fsck) -> Result<Outcome, Failure> {
    let place = &args.depot;
    let depot = open(place)?;
    let writer = if args.repair { Some(writer(&depot, place, "depot fsck")?) } else { None };
    let progress = Reporter::new(args.common.quiet);
    progress.event(Event::Phase { name: "read blobs", total: 0 });
    let checked = depot.check(&mut |len| progress.event(Event::Advance(len)));
    progress.finish();
    let mut report = checked.map_err(|error| of_io(&error, place))?;
    if let Some(writer) = &writer {
        writer.repair(&mut report).map_err(|error| of_io(&error, place))?;
    }
    let lines: Vec<_> = report.findings.iter().map(line).collect();
    let damages = report.damage().count();
    if damages > 0 {
        let error = format!("{place}: {damages} damages");
        let next = if args.repair {
            "add the damaged blobs again, or copy the files from another depot".into()
        } else {
            format!("neap depot fsck {place} --repair   (repairs what needs no key)")
        };
        let repaired = report.findings.iter().filter(|finding| finding.repaired).count();
        let state = if repaired == 0 {
            crate::failure::NOTHING_WRITTEN.into()
        } else {
            format!("{repaired} findings were repaired")
        };
        let failure = Failure::new(Exit::VerificationFailed, error, next);
        return Err(Failure { state, found: lines.into(), ..failure });
    }
    let mut text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    text += &whole(&report);
    let Report { blobs, bytes, targets, is_published, not_here, .. } = &report;
    let json = json!({
        "schema": "neap.depot.fsck.v1",
        "depot": place,
        "blobs": blobs,
        "bytes": bytes,
        "targets": targets,
        "published": is_published,
        "not_here": {
            "metadata": not_here.metadata.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "blobs": not_here.blobs,
        },
        "found": report.findings.iter().map(finding).collect::<Vec<_>>(),
    });
    Ok(Outcome { text, json })
}

/// What is said of a depot without damage.
fn whole(report: &Report) -> String {
    let Report { blobs, bytes, targets, is_published, not_here, .. } = report;
    let mut text = String::new();
    if !is_published {
        text += "nothing is published here\n";
    }
    if !not_here.metadata.is_empty() || not_here.blobs > 0 {
        text += &format!(
            "not here: blobs {}, metadata files {} (this depot takes what it needs, and never had \
             them)\n",
            not_here.blobs,
            not_here.metadata.len()
        );
    }
    let bytes = exact(*bytes);
    text += &format!(
        "whole: {blobs} blobs, {bytes} bytes, {targets} targets; signatures were not looked at\n"
    );
    text
}

fn gc(args: &Gc) -> Result<Outcome, Failure> {
    let place = &args.depot;
    let depot = open(place)?;
    let plan = if args.dry_run {
        depot.removable(args.keep)
    } else {
        writer(&depot, place, "depot gc")?.collect(args.keep)
    };
    let plan = plan.map_err(|error| of_gc(&error, place))?;
    let done = if args.dry_run { "would remove" } else { "removed" };
    let Plan { removals, snapshots, blobs } = &plan;
    let mut text: String =
        removals.iter().map(|(name, len)| format!("{done} {name}  {}\n", human(*len))).collect();
    text += &format!(
        "{done} {} files, {}; {blobs} blobs of {} releases stay\n",
        removals.len(),
        human(plan.bytes()),
        snapshots.len(),
    );
    let removed = removals.iter().map(|(name, len)| json!({"file": name.to_string(), "len": len}));
    let json = json!({
        "schema": "neap.depot.gc.v1",
        "depot": place,
        "dry_run": args.dry_run,
        "removed": removed.collect::<Vec<_>>(),
        "bytes": plan.bytes(),
        "blobs": blobs,
        "snapshots": snapshots,
    });
    Ok(Outcome { text, json })
}

fn unlock(args: &Unlock) -> Result<Outcome, Failure> {
    let depot = open(&args.depot)?;
    let holder = depot.store().break_lock().map_err(|error| of_io(&error, &args.depot))?;
    let text = match &holder {
        Some(who) => format!("broke the lock of: {who}\n"),
        None => "there was no lock to break\n".into(),
    };
    let json = json!({"schema": "neap.depot.unlock.v1", "depot": args.depot, "holder": holder});
    Ok(Outcome { text, json })
}

fn line(finding: &Finding) -> String {
    let Finding { what, repaired } = finding;
    let kind = match (repaired, what.is_damage()) {
        (true, _) => "repaired",
        (false, true) => "damage",
        (false, false) => "untidy",
    };
    format!("{kind}: {what}")
}

fn finding(finding: &Finding) -> Value {
    let Finding { what, repaired } = finding;
    json!({"what": what.to_string(), "damage": what.is_damage(), "repaired": repaired})
}

/// Who writes, for whoever is refused meanwhile.
fn who(verb: &str) -> String {
    let user = std::env::var("USER").unwrap_or_else(|_| "unknown".into());
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("neap {verb}, {user}@{}, process {}", host.trim(), std::process::id())
}

fn of_lock(error: &LockError, place: &str) -> Failure {
    let (exit, next) = match error {
        LockError::Io(error) => (io_exit(error), "check who may write there".into()),
        _ if place.starts_with(BUCKET) => {
            (Exit::Error, format!("wait for it; if it is gone for good: neap depot unlock {place}"))
        }
        _ => (Exit::Error, "wait for it, and run the same command again".into()),
    };
    Failure::new(exit, format!("{place}: {error}"), next)
}

fn of_gc(error: &GcError, place: &str) -> Failure {
    let fact = format!("{place}: {error}");
    let fsck = format!("neap depot fsck {place}");
    match error {
        GcError::Lock(error) => of_lock(error, place),
        GcError::List(_, error) => Failure::new(io_exit(error), fact, fsck),
        GcError::Remove(_, error) => {
            let state = "some files were removed; nothing that is named".into();
            let next = "run the same command again: it goes on from there";
            Failure { state, ..Failure::new(io_exit(error), fact, next) }
        }
        _ => Failure::new(Exit::Error, fact, fsck),
    }
}

fn of_io(error: &io::Error, place: &str) -> Failure {
    Failure::new(io_exit(error), format!("{place}: {error}"), "check that it can be reached")
}
