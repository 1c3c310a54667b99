//! `neap stick export`: what a site needs, on a stick.

use std::path::PathBuf;

use clap::Args as Group;
use neap_depot::depot::Depot;
use neap_trust::carrier::Carrier as _;
use neap_trust::client::{self, Ask};
use neap_trust::limits::ROOT_LEN_MAX;
use neap_trust::state::MemoryState;
use neap_trust::time::Timestamp;
use neap_usb_sideload::clear::{clear, room_after};
use neap_usb_sideload::export::{self, Draft, Piece, Wanted, Written};
use neap_usb_sideload::recorder::{self, Verified};
use neap_usb_sideload::seal::Recipient;
use neap_usb_sideload::select::{self, Full, Selection, Takes};
use neap_usb_sideload::stick::{self, Room, Stick};
use serde_json::{Value, json};

use super::{of_io, of_stick};
use crate::args::Common;
use crate::check;
use crate::depot;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::outcome::Outcome;
use crate::size::{exact, human};

#[derive(Debug, Group)]
pub(super) struct Args {
    /// The depot: a folder, or s3://BUCKET/PREFIX
    depot: String,
    /// The stick: where it is mounted, or a copy of its folder
    pub(super) stick: PathBuf,
    /// A group of devices; may be given more than once [default: all groups]
    #[arg(long)]
    group: Vec<String>,
    /// A site: the groups whose signed profile names it; may be given more than once
    #[arg(long)]
    site: Vec<String>,
    /// Write whole images too, of every product
    #[arg(long, conflicts_with = "deltas_only")]
    full: bool,
    /// Write whole images only where no patch leads to the release [default: as far as they fit]
    #[arg(long)]
    deltas_only: bool,
    /// Encrypt images to a site, as `neap stick new-key` names it there
    #[arg(long, value_name = "RECIPIENT")]
    encrypt_to: Option<Recipient>,
    /// Do not read the stick back; what a bad one did to the files stays unseen
    #[arg(long)]
    no_read_back: bool,
    /// The root that the depot must follow from [default: the depot's own first one]
    #[arg(long, value_name = "ROOT.json")]
    root: Option<PathBuf>,
    /// Say what would be written, and write nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    pub(super) common: Common,
}

/// What the depot offers to the groups that were chosen.
#[derive(Default)]
struct Chosen {
    groups: Vec<client::Group>,
    metadata: Vec<(String, Vec<u8>)>,
    timestamp: u64,
    /// The newest root of it.
    root: Vec<u8>,
    /// What time it is.
    now: Timestamp,
    notes: Vec<String>,
}

pub(super) fn run(args: &Args) -> Result<Outcome, Failure> {
    let depot = depot::open(&args.depot)?;
    let failed = |error| of_stick(&error, &args.stick);
    let stick = match args.dry_run {
        // Nothing is made where nothing is to be written.
        true => match Stick::open(&args.stick, None) {
            Err(neap_usb_sideload::error::StickError::NoStick { .. }) => empty(args)?,
            opened => opened.map_err(failed)?,
        },
        false => Stick::make(&args.stick).map_err(failed)?,
    };
    let chosen = chosen(args, &depot, &stick)?;
    let running = select::running(&depot);
    let running = running.map_err(|error| of_io(&error, &args.depot))?;
    let full = match (args.full, args.deltas_only) {
        (true, _) => Full::Always,
        (_, true) => Full::Never,
        _ => Full::IfItFits,
    };
    let selection = select::select(&chosen.groups, &running, full);
    // What goes anyway takes no room.
    if !args.dry_run {
        clear(&stick, chosen.now).map_err(failed)?;
    }
    let room = stick::room(&args.stick);
    let room = room.map_err(|error| of_io(&error, &args.stick.display().to_string()))?;
    let left = match args.dry_run {
        true => room_after(&stick, chosen.now, room).map_err(failed)?,
        false => room,
    };
    let wanted = Wanted {
        needed: &selection.needed,
        welcome: &selection.welcome,
        metadata: &chosen.metadata,
        timestamp: chosen.timestamp,
        root: &chosen.root,
        to: args.encrypt_to.as_ref(),
        read_back: !args.no_read_back,
    };
    let draft = export::draft(&stick, &wanted, left).map_err(failed)?;
    if args.dry_run {
        return Ok(outcome(args, &selection, &draft, &chosen.notes, room, None));
    }
    let told = &mut |piece: &Piece| {
        if !args.common.quiet {
            eprintln!("{}: {}", piece.path, human(piece.len));
        }
    };
    let written = export::write(&depot, &stick, &draft, told);
    let written = written.map_err(|error| Failure {
        state: "what was on the stick before is good; what was written to the end is kept".into(),
        ..failed(error)
    })?;
    Ok(outcome(args, &selection, &draft, &chosen.notes, room, Some(&written)))
}

/// A stick that nothing was written to yet.
fn empty(args: &Args) -> Result<Stick, Failure> {
    let memory = neap_depot::memory::Memory::default();
    Stick::on(memory, None).map_err(|error| of_stick(&error, &args.stick))
}

/// Verifies what the depot has for each group, as a device would.
fn chosen(args: &Args, depot: &Depot, stick: &Stick) -> Result<Chosen, Failure> {
    let failed = |error: std::io::Error| of_io(&error, &args.depot);
    let root = match &args.root {
        Some(path) => Some(check::read_root(path)?),
        None => depot.metadata("1.root.json", ROOT_LEN_MAX).map_err(failed)?,
    };
    let on_stick = stick.groups().unwrap_or_default();
    let metadata = export::roots(depot).map_err(|error| of_stick(&error, &args.stick))?;
    let mut chosen = Chosen { metadata, ..Chosen::default() };
    for name in stick::groups(depot).map_err(failed)? {
        let is_named = args.group.contains(&name);
        let all = args.group.is_empty() && args.site.is_empty();
        let groups = [name.as_str()];
        let (root, clock) = (root.as_deref(), check::clock());
        let ask = Ask { groups: &groups, root, clock, seen: None };
        let mut state = MemoryState::default();
        let Verified { checked, files, .. } = match recorder::verified(depot, &mut state, &ask) {
            Ok(verified) => verified,
            Err(refusal) if is_named || all => {
                return Err(check::of_refusal(&refusal, &args.depot, None));
            }
            Err(refusal) => {
                chosen.notes.push(format!("group {name} is left out: {refusal}"));
                continue;
            }
        };
        let site = checked.groups.first().and_then(|group| group.profile.as_ref());
        let of_site = site.is_some_and(|profile| args.site.contains(&profile.site));
        let is_chosen = is_named || of_site || all;
        // Whoever is on the stick already must find its role there in the version of the snapshot.
        if !is_chosen && !on_stick.contains(&name) {
            continue;
        }
        chosen.timestamp = checked.timestamp;
        chosen.now = checked.staleness.time.at;
        chosen.root = state.0.remove("root.json").unwrap_or_default();
        export::join(&mut chosen.metadata, files).map_err(|error| {
            let text = format!("{}: {error}", args.depot);
            Failure::new(Exit::Interrupted, text, "run the same command again")
        })?;
        if is_chosen {
            chosen.groups.extend(checked.groups);
        }
    }
    let missing = args.group.iter().find(|name| chosen.groups.iter().all(|g| g.name != **name));
    if let Some(name) = missing {
        let error = format!("{}: no group {name} is in it", args.depot);
        return Err(Failure::new(Exit::Error, error, "neap repo status shows the groups"));
    }
    if chosen.groups.is_empty() {
        let error = format!("{}: no group is of site {}", args.depot, args.site.join(", "));
        let next = "neap repo add profile says which site a group is; or give --group";
        return Err(Failure::new(Exit::Error, error, next));
    }
    Ok(chosen)
}

fn outcome(
    args: &Args,
    selection: &Selection,
    draft: &Draft,
    notes: &[String],
    room: Room,
    written: Option<&Written>,
) -> Outcome {
    let mut text = String::new();
    for decided in &selection.devices {
        let runs = decided.running.version.as_deref().unwrap_or("an unknown version");
        let takes = match &decided.takes {
            Takes::Nothing(version) => format!("{version} is there already"),
            Takes::Path(path) => path.clone(),
            Takes::NoWay(why) => why.clone(),
        };
        let running = &decided.running;
        text += &format!("{}: {} {runs}: {takes}\n", running.device, running.product);
    }
    for piece in &draft.pieces {
        let there = if piece.is_there { ", there already" } else { "" };
        let sealed = if piece.is_sealed { ", encrypted" } else { "" };
        text += &format!("{}  {} bytes{sealed}{there}\n", piece.path, exact(piece.len));
    }
    for note in notes {
        text += &format!("note     {note}\n");
    }
    let shown = args.stick.display();
    match written {
        None => {
            let free = match room.free {
                Room::UNKNOWN => "an unknown number".to_owned(),
                free => exact(free),
            };
            text += &format!(
                "would write {} bytes to {shown}, where {free} are free; nothing was written\n",
                exact(draft.write_len)
            );
        }
        Some(written) => {
            text += &format!(
                "stick    {shown}, number {}: {} files of {} bytes written{}\n\
                 code     {}\n",
                written.id,
                written.blobs,
                exact(written.bytes),
                if args.no_read_back { ", not read back" } else { " and read back" },
                written.code
            );
        }
    }
    let json = as_json(selection, draft, notes, room, written);
    Outcome { text, json }
}

fn as_json(
    selection: &Selection,
    draft: &Draft,
    notes: &[String],
    room: Room,
    written: Option<&Written>,
) -> Value {
    let devices = selection.devices.iter().map(|decided| {
        let (takes, path, why) = match &decided.takes {
            Takes::Nothing(_) => ("nothing", None, None),
            Takes::Path(path) => ("path", Some(path), None),
            Takes::NoWay(why) => ("no-way", None, Some(why)),
        };
        json!({
            "device": decided.running.device,
            "sequence": decided.running.sequence,
            "product": decided.running.product,
            "version": decided.running.version,
            "image": decided.running.image,
            "takes": takes,
            "path": path,
            "why": why,
        })
    });
    let pieces = draft.pieces.iter().map(|piece| {
        json!({
            "path": piece.path,
            "blake3": piece.digest.to_string(),
            "len": piece.len,
            "sealed": piece.is_sealed,
            "was_there": piece.is_there,
        })
    });
    json!({
        "schema": "neap.stick-export.v1",
        "devices": devices.collect::<Vec<_>>(),
        "files": pieces.collect::<Vec<_>>(),
        "notes": notes,
        "write_len": draft.write_len,
        "free_len": Some(room.free).filter(|free| *free != Room::UNKNOWN),
        "id": written.map(|written| &written.id),
        "code": written.map(|written| written.code.to_string()),
        "written_files": written.map(|written| written.blobs),
        "written_len": written.map(|written| written.bytes),
    })
}
