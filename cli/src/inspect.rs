//! `neap inspect`: what a patch holds, or what is packed in an image.

use std::path::Path;

use neap_engine::diff::{self, Count, Options};
use neap_engine::format::Header;
use neap_engine::inspect::Report;
use neap_engine::io::Source;
use neap_engine::io::error::DriveError;
use neap_engine::io::file::FileSource;
use neap_engine::io::inspect::inspect;
use serde_json::{Map, Value, json};

use crate::apply::open_patch;
use crate::args::Inspect;
use crate::exit::Exit;
use crate::failure::{Failure, Objects, of_drive};
use crate::fields::{self, CODERS, Spent};
use crate::inside::{self, Purpose};
use crate::outcome::Outcome;
use crate::progress::Reporter;
use crate::size::{exact, human, percent};

pub(crate) fn run(args: &Inspect) -> Result<Outcome, Failure> {
    if args.image {
        return of_image(args);
    }
    let mut patch = open_patch(&args.patch)?;
    let progress = Reporter::new(args.common.quiet);
    let inspected = inspect(&mut patch, &|event| progress.event(event));
    progress.finish();
    let (header, report) = inspected.map_err(|error| of_reading(error, &args.patch))?;
    Ok(Outcome { text: text(&header, &report), json: json(&header, &report) })
}

/// What is packed in an image, and what of it a device could pack again.
fn of_image(args: &Inspect) -> Result<Outcome, Failure> {
    let path = &args.patch;
    let image = FileSource::open(path).map_err(|error| Failure::open("image", path, &error))?;
    let progress = Reporter::new(args.common.quiet);
    let looked = diff::look(&image, &Options::default(), &|event| progress.event(event));
    progress.finish();
    let seen = looked.map_err(|error| {
        let next = "check the image, and room in the folder for temporary files";
        Failure::new(Exit::Error, format!("{}: {error}", path.display()), next)
    })?;
    let (size, looked) = (image.size(), inside::text(&seen, Purpose::Look));
    let mut text = format!("image    {} ({} bytes)\n", human(size), exact(size)) + &looked;
    if looked.is_empty() {
        text += "inside   nothing that is packed was found\n";
    }
    let fields = [
        ("schema", "neap.inspect-image.v1".into()),
        ("image_size", size.into()),
        ("inside", inside::json(&seen, None)),
    ];
    Ok(Outcome { text, json: fields::object(fields) })
}

/// An error of a verb that only reads: a pipe that ends early is not resumed.
pub(crate) fn of_reading(error: DriveError, patch: &Path) -> Failure {
    let ended = matches!(error, DriveError::PatchEnded(_));
    let failure = of_drive(error, Objects { patch, source: patch, target: patch, journal: patch });
    match ended {
        true => Failure { exit: Exit::Error, next: "fetch the patch again".into(), ..failure },
        false => failure,
    }
}

/// Patch bytes by what they are for.
fn patch_bytes(header: &Header, report: &Report) -> Vec<(&'static str, u64)> {
    let spent = Spent {
        header: header.header_len,
        columns: &report.columns,
        literals: report.literals_coded,
        mixed: report.mixed,
    };
    spent.parts(header.patch_size)
}

/// Names of the coders that code any frame.
fn coders(report: &Report) -> Vec<&'static str> {
    let used = CODERS.into_iter().zip(report.coders).filter(|(_, count)| *count > 0);
    used.map(|(name, _)| name).collect()
}

fn listed(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn text(header: &Header, report: &Report) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        text += &format!("{}\n", format!("{name:<16}{value}").trim_end());
    };
    let sized = |size: u64| format!("{} ({} bytes)", human(size), exact(size));
    let target_size = header.of_view().target_size;
    let of_target = |len: u64| format!("{:>15} {:>9}", exact(len), percent(len, target_size));
    let of_patch = |len: u64| format!("{:>15} {:>9}", exact(len), percent(len, header.patch_size));
    line("patch", format!("{}, version 1, undamaged", sized(header.patch_size)));
    line("patch id", header.id.to_string());
    line("coders", listed(&coders(report)));
    line("layers", listed(&fields::layers(header)));
    line("source", sized(header.source_size));
    line("source digest", header.source_root.to_string());
    line(
        "source used",
        format!("{}, checked before the first write", { sized(header.source_map.used_len()) }),
    );
    line("target", sized(header.target_size));
    line("target digest", header.target_root.to_string());
    line("windows", format!("{} of {}", header.target_windows.len(), human(header.window_len())));
    for (codec, packed, unpacked) in inside::of_header(header) {
        let blocks =
            |count: Count| format!("{} blocks of {}", exact(count.count), human(count.len));
        let (packed, unpacked) = (blocks(packed), blocks(unpacked));
        if inside::is_derived(codec) {
            line("computed again", format!("{codec}: {packed}"));
            continue;
        }
        line("packed again", format!("{codec}: {packed}, from {unpacked} of the source"));
    }
    if let Some(blocks) = &header.blocks {
        line("packing takes", inside::cores(blocks));
    }
    line("frames", format!("{}, {} segments", report.frame_count, exact(report.segment_count)));
    if header.refs {
        line("regions", format!("{}, whose addresses are rewritten", exact(report.regions)));
    }
    line("restart points", header.restarts.len().to_string());
    line("apply needs", format!("{} of memory at most", human(report.memory)));
    if let Some(others) = header.estimates {
        line("others' patches", "as estimated when this one was made".to_owned());
        line("  xdelta3 class", of_patch(others.delta));
        line("  block reuse", of_patch(others.blocks));
        line("  whole image", of_patch(others.full));
    }
    let of_what = if header.blocks.is_some() { "of the target unpacked" } else { "" };
    line("target bytes", of_what.to_owned());
    line("  copied", of_target(report.copies));
    line("  of them differ", of_target(report.differing));
    line("  literals", of_target(report.literals));
    line("  zeros", of_target(report.zeros));
    line("patch bytes", String::new());
    for (name, len) in patch_bytes(header, report) {
        line(&format!("  {name}"), of_patch(len));
    }
    text
}

fn json(header: &Header, report: &Report) -> Value {
    let spent = patch_bytes(header, report).into_iter();
    let restarts = header.restarts.iter();
    let restarts: Vec<_> = restarts
        .map(|at| json!({"patch_offset": at.patch_offset, "target_offset": at.target_offset}))
        .collect();
    let mut fields = vec![("schema", "neap.inspect.v1".into()), ("version", 1.into())];
    fields.extend(fields::of_header(header));
    let target_bytes = json!({
        "copies": report.copies,
        "copies_differing": report.differing,
        "literals": report.literals,
        "zeros": report.zeros,
    });
    let packed = inside::of_header(header).into_iter().map(|(codec, packed, unpacked)| {
        json!({
            "codec": codec,
            "packed_again": {"blocks": packed.count, "len": packed.len},
            "unpacked": {"blocks": unpacked.count, "len": unpacked.len},
        })
    });
    fields.extend([
        ("inside", packed.collect::<Vec<_>>().into()),
        ("core_seconds", header.blocks.as_ref().map(inside::core_seconds).into()),
        ("view_size", header.of_view().target_size.into()),
        ("window_size", header.window_len().into()),
        ("windows", header.target_windows.len().into()),
        ("frames", report.frame_count.into()),
        ("coders", coders(report).into()),
        ("segments", report.segment_count.into()),
        ("regions", report.regions.into()),
        ("restart_points", restarts.into()),
        ("apply_memory", report.memory.into()),
        ("target_bytes", target_bytes),
        (
            "patch_bytes",
            spent.map(|(n, len)| (n.to_owned(), len.into())).collect::<Map<_, _>>().into(),
        ),
    ]);
    fields::object(fields)
}
