//! `neap check`: what a depot offers to a group of devices, verified from its root on.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::Args as Group;
use neap_trust::client::directory::{Folder, StateFolder};
use neap_trust::client::{self, Ask, Checked, Offer, Refusal, Staleness, check};
use neap_trust::limits::ROOT_LEN_MAX;
use neap_trust::profile::{Approval, Profile};
use neap_trust::state::{MemoryState, State};
use neap_trust::target::Kind;
use neap_trust::time::{Clock, Timestamp};
use serde_json::{Value, json};

use crate::args::Common;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::outcome::Outcome;
use crate::size::{exact, human};

#[derive(Debug, Group)]
pub(crate) struct Args {
    /// The depot: a folder with `metadata` in it, such as a mounted stick
    pub(crate) depot: PathBuf,
    /// A group of devices; only its role is read. May be given more than once
    #[arg(long, value_name = "GROUP", required = true)]
    pub(crate) group: Vec<String>,
    /// The root that came with the device; needed until --state holds one
    #[arg(long, value_name = "ROOT.json")]
    pub(crate) root: Option<PathBuf>,
    /// What this device has seen before, which is also kept there [default: nothing is kept]
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) common: Common,
}

pub(crate) fn run(args: &Args) -> Result<Outcome, Failure> {
    let groups: Vec<_> = args.group.iter().map(String::as_str).collect();
    let checked = checked(&args.depot, args.root.as_deref(), args.state.as_deref(), &groups)?;
    Ok(Outcome { text: text(&checked), json: json(&checked) })
}

/// What a depot offers to these groups, verified from the root on.
pub(crate) fn checked(
    depot: &Path,
    root: Option<&Path>,
    state: Option<&Path>,
    groups: &[&str],
) -> Result<Checked, Failure> {
    let root = root.map(read_root).transpose()?;
    let ask = Ask { groups, root: root.as_deref(), clock: clock(), seen: None };
    let mut kept: Box<dyn State> = match state {
        Some(folder) => Box::new(StateFolder::new(folder)),
        None => Box::new(MemoryState::default()),
    };
    let checked = check(&Folder::new(depot), &mut *kept, &ask);
    checked.map_err(|refusal| failure(&refusal, depot, state))
}

/// When this program was built, for devices without a clock. Who packages it sets
/// `SOURCE_DATE_EPOCH`; else it is the first day of the month of the last release.
fn build_time() -> Timestamp {
    const RELEASED_S: i64 = 1_793_491_200; // 2026-11-01
    let epoch = option_env!("SOURCE_DATE_EPOCH").and_then(|text| text.parse().ok());
    Timestamp::from_second(epoch.unwrap_or(RELEASED_S)).unwrap_or_default()
}

pub(crate) fn clock() -> Clock {
    Clock { rtc: Timestamp::try_from(SystemTime::now()).ok(), build: build_time() }
}

pub(crate) fn read_root(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = File::open(path)
        .and_then(|file| file.take(ROOT_LEN_MAX.saturating_add(1)).read_to_end(&mut bytes));
    read.map_err(|error| Failure::open("root", path, &error))?;
    match bytes.len() as u64 > ROOT_LEN_MAX {
        true => Err(Failure::new(
            Exit::Error,
            format!("{}: more than the {ROOT_LEN_MAX} bytes a root may have", path.display()),
            "give the root that came with the device",
        )),
        false => Ok(bytes),
    }
}

fn failure(refusal: &Refusal, depot: &Path, state: Option<&Path>) -> Failure {
    of_refusal(refusal, &depot.display().to_string(), state)
}

/// A refusal of what a carrier offers.
pub(crate) fn of_refusal(refusal: &Refusal, carrier: &str, state: Option<&Path>) -> Failure {
    let exit = match refusal.exit_code() {
        6 => Exit::Refused,
        7 => Exit::Rollback,
        8 => Exit::Expired,
        10 => Exit::Interrupted,
        _ => Exit::Error,
    };
    let state = match state {
        Some(folder) => format!("nothing was installed; {} keeps what was seen", folder.display()),
        None => "nothing was installed, and nothing was kept".into(),
    };
    let error = format!("{carrier}: {refusal}");
    Failure { state, ..Failure::new(exit, error, refusal.next()) }
}

fn text(checked: &Checked) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| text += &format!("{name:<16}{value}\n");
    let Staleness { time, issued, expires, allowed_days } = checked.staleness;
    line("root", checked.root.to_string());
    let issued = issued.map_or(String::new(), |at| format!(", issued {at}"));
    line("timestamp", format!("{}{issued}", checked.timestamp));
    line("time", format!("{} or later, by {}", time.at, time.source));
    line("valid until", expires.to_string());
    if checked.staleness.is_stale() {
        let days = checked.staleness.stale_s().div_ceil(DAY_S);
        line("stale", format!("{days} days; this site may be stale for {allowed_days}"));
    }
    for group in &checked.groups {
        line("group", format!("{}, version {}", group.name, group.version));
        if let Some(profile) = &group.profile {
            line("  site", site(profile));
        }
        for offer in &group.offers {
            line(&format!("  {}", offer.custom.product), described(offer));
        }
        for refused in &group.refused {
            line("  not understood", format!("{}: {}", refused.path, refused.why));
        }
    }
    for note in &checked.notes {
        line("note", note.to_string());
    }
    text
}

/// Seconds of a day.
const DAY_S: u64 = 86_400;

fn site(profile: &Profile) -> String {
    let approval = match profile.approval {
        Approval::None => "no approval needed",
        Approval::Crew => "the crew approves",
    };
    format!("{}, {approval}", profile.site)
}

fn described(offer: &Offer) -> String {
    let custom = &offer.custom;
    let kind = match (&custom.kind, &custom.from) {
        (Kind::Delta, Some(from)) => format!("from {}", &from[..16]),
        _ => offer.name().to_owned(),
    };
    let sized = format!("{} ({} bytes)", human(offer.len), exact(offer.len));
    let severity = word(&custom.severity);
    format!("{:<12} {kind:<22} {sized}, severity {severity}", custom.version)
}

fn json(checked: &Checked) -> Value {
    let staleness = &checked.staleness;
    let groups = checked.groups.iter().map(|group| {
        json!({
            "name": group.name,
            "version": group.version,
            "expires": group.expires.to_string(),
            "offers": group.offers.iter().map(offered).collect::<Vec<_>>(),
            "refused": refused(group),
            "profile": group.profile,
        })
    });
    let notes = checked.notes.iter();
    let notes = notes.map(|note| json!({"note": note.word(), "text": note.to_string()}));
    json!({
        "schema": "neap.check.v1",
        "root": checked.root,
        "timestamp": checked.timestamp,
        "snapshot": checked.snapshot,
        "time": {"at": staleness.time.at.to_string(), "source": word(&staleness.time.source)},
        "staleness": {
            "issued": staleness.issued.map(|at| at.to_string()),
            "expires": staleness.expires.to_string(),
            "age_s": staleness.age_s(),
            "stale_s": staleness.stale_s(),
            "allowed_days": staleness.allowed_days,
        },
        "groups": groups.collect::<Vec<_>>(),
        "notes": notes.collect::<Vec<_>>(),
    })
}

fn refused(group: &client::Group) -> Vec<Value> {
    let refused = group.refused.iter();
    refused.map(|target| json!({"path": target.path, "why": target.why.to_string()})).collect()
}

fn offered(offer: &Offer) -> Value {
    json!({
        "path": offer.path, "len": offer.len, "sha256": offer.sha256, "custom": offer.custom,
    })
}

/// A value as JSON has it, where that is one word.
fn word(value: &impl serde::Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}
