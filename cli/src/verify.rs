//! `neap verify`: an image or device against a patch or a digest.

use std::path::Path;

use neap_engine::digest::Digest;
use neap_engine::format::{Header, SourceRange};
use neap_engine::io::error::DriveError;
use neap_engine::io::file::FileSource;
use neap_engine::io::{Source, check, drive};
use serde_json::json;

use crate::apply::open_patch;
use crate::args::{Side, Verify};
use crate::exit::Exit;
use crate::failure::{Failure, Objects, of_drive};
use crate::inspect::of_reading;
use crate::outcome::Outcome;
use crate::progress::Reporter;
use crate::size::{exact, human};

pub(crate) fn run(args: &Verify) -> Result<Outcome, Failure> {
    let header = match &args.patch {
        Some(path) => {
            let header = drive::read_header(&mut open_patch(path)?);
            Some(header.map_err(|error| of_reading(error, path))?)
        }
        None => None,
    };
    let image = FileSource::open(&args.image)
        .map_err(|error| Failure::open("image", &args.image, &error))?;
    let progress = Reporter::new(args.common.quiet);
    let checked = match (&header, args.digest, args.side) {
        (Some(header), _, Side::Target) => target(args, &image, header, &progress),
        (Some(header), _, Side::Source) => source(args, &image, header, &progress),
        (None, Some(digest), _) => whole(args, &image, digest, &progress),
        (None, None, _) => Err(Failure::new(
            Exit::Usage,
            "nothing to check against".into(),
            "name --patch PATCH or --digest HEX",
        )),
    };
    progress.finish();
    checked
}

/// What was found to be right.
struct Right {
    what: &'static str,
    size: u64,
    checked: u64,
    digest: Digest,
}

fn target(
    args: &Verify,
    image: &FileSource,
    header: &Header,
    progress: &Reporter,
) -> Result<Outcome, Failure> {
    let (size, target_size) = (image.size(), header.target_size);
    let differs = |error: String, differing: Vec<SourceRange>| Failure {
        differing,
        ..Failure::new(Exit::VerificationFailed, error, "do not use it; apply the patch again")
    };
    let is_file = args.image.is_file();
    if size < target_size || (is_file && size > target_size) {
        let error = format!("{}: has {size} bytes, the target {target_size}", args.image.display());
        return Err(differs(error, Vec::new()));
    }
    let found = check::image(image, header, &|event| progress.event(event));
    let differing = found.map_err(|error| of_image(error, &args.image))?;
    if !differing.is_empty() {
        let len: u64 = differing.iter().map(|range| range.len).sum();
        let error = format!(
            "{}: not the target: {len} of {target_size} bytes are in {} ranges that differ",
            args.image.display(),
            differing.len(),
        );
        return Err(differs(error, differing));
    }
    let digest = header.target_root;
    Ok(right(args, &Right { what: "target", size: target_size, checked: target_size, digest }))
}

fn source(
    args: &Verify,
    image: &FileSource,
    header: &Header,
    progress: &Reporter,
) -> Result<Outcome, Failure> {
    let (size, needed) = (image.size(), header.source_size);
    let event = |event| progress.event(event);
    if size < needed {
        let error = DriveError::SourceTooSmall { size, needed };
        return Err(of_image(error, &args.image));
    }
    check::source(image, &header.source_map, &event)
        .map_err(|error| of_image(error, &args.image))?;
    let mut checked = header.source_map.used_len();
    if args.full {
        let root = check::root(image, needed, &event);
        let root = root.map_err(|error| of_image(error, &args.image))?;
        if root != header.source_root {
            return Err(Failure::new(
                Exit::WrongSource,
                format!(
                    "{}: digest is {root}, the source is {}; what the patch uses of it is right",
                    args.image.display(),
                    header.source_root
                ),
                "the patch can be applied; find out what changed the rest",
            ));
        }
        checked = needed;
    }
    let digest = header.source_root;
    Ok(right(args, &Right { what: "source", size: needed, checked, digest }))
}

fn whole(
    args: &Verify,
    image: &FileSource,
    digest: Digest,
    progress: &Reporter,
) -> Result<Outcome, Failure> {
    let shown = args.image.display();
    let next = "do not use it, or find out which image it is";
    let differs =
        |fact: String| Failure::new(Exit::VerificationFailed, format!("{shown}: {fact}"), next);
    let size = args.size.unwrap_or(image.size());
    if size > image.size() {
        return Err(differs(format!("has {} bytes, fewer than {size}", image.size())));
    }
    let root = check::root(image, size, &|event| progress.event(event));
    let root = root.map_err(|error| of_image(error, &args.image))?;
    if root != digest {
        return Err(differs(format!("digest is {root}, expected was {digest}")));
    }
    Ok(right(args, &Right { what: "digest", size, checked: size, digest }))
}

/// An error of reading the image, which stands for whichever side it was checked as.
fn of_image(error: DriveError, image: &Path) -> Failure {
    let objects = Objects { patch: image, source: image, target: image, journal: image };
    let failure = of_drive(error, objects);
    match failure.exit {
        Exit::WrongSource => {
            Failure { next: "find the patch that starts from this image".into(), ..failure }
        }
        _ => failure,
    }
}

fn right(args: &Verify, right: &Right) -> Outcome {
    let Right { what, size, checked, digest } = right;
    let image = args.image.display().to_string();
    let of = format!("{} ({} bytes), BLAKE3 {digest}", human(*size), exact(*size));
    let fact = match *what {
        "digest" => format!("has the digest: {of}"),
        "source" if checked < size => format!(
            "has all {} bytes that the patch uses of the source; --full checks the rest of {of}",
            exact(*checked)
        ),
        what => format!("is the {what}: {of}"),
    };
    Outcome {
        text: format!("verified {image}: {fact}\n"),
        json: json!({
            "schema": "neap.verify.v1",
            "image": image,
            "is": what,
            "size": size,
            "bytes_checked": checked,
            "digest": digest.to_string(),
        }),
    }
}
