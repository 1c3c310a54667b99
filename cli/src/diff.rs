//! `neap diff`: from two images to a patch file.

use std::fs;
use std::path::Path;

use neap_depot::spool::{FileSpool, folder_of, resolved};
use neap_engine::diff::{self, DiffError, Options, Patch};
use neap_engine::io::file::FileSource;
use serde_json::{Map, Value, json};

use crate::args::{Coder, Diff};
use crate::exit::Exit;
use crate::failure::{Failure, io_exit};
use crate::fields::{self, Spent};
use crate::inside::{self, Purpose};
use crate::outcome::Outcome;
use crate::progress::Reporter;
use crate::size::{exact, human, percent};

pub(crate) fn run(args: &Diff) -> Result<Outcome, Failure> {
    let source = open("source", &args.source)?;
    let target = open("target", &args.target)?;
    let output = resolved(&args.output);
    check_output(args, &output, &source, &target)?;
    let failed = |error: &std::io::Error| {
        let next = format!("check room and permissions in {}", folder_of(&output).display());
        Failure::new(io_exit(error), format!("{}: {error}", args.output.display()), next)
    };
    let mut spool = FileSpool::new(&folder_of(&output)).map_err(|error| failed(&error))?;
    let (coder, effort) = args.coder_and_effort();
    let options = Options {
        effort,
        memory: args.memory,
        restart_len: args.restart,
        coder: match coder {
            Coder::Zstd => diff::Coder::Zstd,
            Coder::Cm => diff::Coder::Cm,
        },
        parts: args.parts(),
        unpack_memory: args.unpack_memory,
        not_unpacked: args.not_unpacked(),
        link_rate: args.link_rate(),
    };
    let progress = Reporter::new(args.common.quiet);
    // Without a number rayon takes one thread a core.
    let threads = args.threads.map_or(0, usize::from);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().map_err(|error| {
        Failure::new(Exit::Error, format!("threads: {error}"), "try again with --threads 1")
    })?;
    let made = pool.install(|| {
        diff::diff(&source, &target, &options, &mut spool, &|event| progress.event(event))
    });
    progress.finish();
    let patch = made.map_err(|error| of_diff(&error, args))?;
    spool.publish(&patch.header_bytes, &output).map_err(|error| failed(&error))?;
    Ok(Outcome { text: text(args, &patch), json: json(args, &patch, &progress) })
}

fn open(what: &'static str, path: &Path) -> Result<FileSource, Failure> {
    FileSource::open(path).map_err(|error| Failure::open(what, path, &error))
}

/// The output must be a new name or a regular file, and none of the images: it is replaced.
fn check_output(
    args: &Diff,
    output: &Path,
    source: &FileSource,
    target: &FileSource,
) -> Result<(), Failure> {
    let refused = |fact: &str| {
        let error = format!("{}: {fact}", args.output.display());
        Err(Failure::new(Exit::Usage, error, "name another file after --output"))
    };
    if fs::metadata(output).is_ok_and(|found| !found.is_file()) {
        return refused("the output is there, and is no regular file");
    }
    for (name, image) in [("source", source), ("target", target)] {
        if image.is_same(output).unwrap_or(false) {
            return refused(&format!("the output is the {name} image, which would be replaced"));
        }
    }
    Ok(())
}

fn of_diff(error: &DiffError, args: &Diff) -> Failure {
    let (path, exit) = match error {
        DiffError::Source(error) => (&args.source, io_exit(error)),
        DiffError::Target(error) => (&args.target, io_exit(error)),
        DiffError::Spool(error) | DiffError::Scratch(error) => (&args.output, io_exit(error)),
        _ => (&args.target, Exit::Error),
    };
    let next = match exit {
        Exit::NoSpace => "make room on the disk of the patch, and run it again",
        _ => "check the images, and run it again",
    };
    Failure::new(exit, format!("{}: {error}", path.display()), next)
}

/// Patch bytes by what they are for.
fn patch_bytes(patch: &Patch) -> Vec<(&'static str, u64)> {
    let summary = &patch.summary;
    let spent = Spent {
        header: summary.header,
        columns: &summary.columns,
        literals: summary.literals_coded,
        mixed: summary.mixed,
    };
    spent.parts(patch.header.patch_size)
}

fn text(args: &Diff, patch: &Patch) -> String {
    let (header, summary) = (&patch.header, &patch.summary);
    let (patch_size, target_size) = (header.patch_size, header.target_size);
    let mut text = format!(
        "patch    {}: {} ({} bytes), {} of the target\n",
        args.output.display(),
        human(patch_size),
        exact(patch_size),
        percent(patch_size, target_size),
    );
    text += &inside::text(&summary.seen, Purpose::of(header));
    if let Some(blocks) = &header.blocks {
        text += &format!("  applying takes about {} more\n", inside::cores(blocks));
    }
    if summary.is_full || (summary.literals == target_size && target_size > 0) {
        text += "         no delta was smaller: the patch is the whole target, compressed\n";
    }
    let mut line = |name: &str, len: u64, whole: u64, meaning: &str| {
        let (len, part) = (exact(len), percent(len, whole));
        let line = format!("  {name:<14}{len:>16}{part:>10}  {meaning}");
        text += &format!("{}\n", line.trim_end());
    };
    // Of what is packed the plain bytes are made.
    let view = if header.blocks.is_some() { summary.view } else { target_size };
    let meaning =
        if header.blocks.is_some() { "bytes unpacked, made from" } else { "bytes, made from" };
    line("target", view, view, meaning);
    line("exact", summary.exact, view, "blocks that the source has, too");
    line("near", summary.near, view, "stretches nearly as in the source");
    line("literals", summary.literals, view, "bytes carried in the patch");
    line("zeros", summary.zeros, view, "runs of zeros");
    line("patch", patch_size, patch_size, "bytes, spent on");
    for (name, len) in patch_bytes(patch).into_iter().filter(|(_, len)| *len > 0) {
        line(name, len, patch_size, "");
    }
    text
}

fn json(args: &Diff, patch: &Patch, progress: &Reporter) -> Value {
    let (header, summary) = (&patch.header, &patch.summary);
    let spent = patch_bytes(patch).into_iter().map(|(name, len)| (name.to_owned(), len.into()));
    let phases: Vec<_> = progress
        .phases()
        .into_iter()
        .map(|(name, seconds)| json!({"phase": name, "seconds": seconds}))
        .collect();
    let mut fields = vec![
        ("schema", "neap.diff.v1".into()),
        ("patch", args.output.display().to_string().into()),
    ];
    fields.extend(fields::of_header(header));
    let target_bytes = json!({
        "exact": summary.exact,
        "near": summary.near,
        "near_differing": summary.differing,
        "literals": summary.literals,
        "zeros": summary.zeros,
    });
    fields.extend([
        ("is_full", summary.is_full.into()),
        ("regions", summary.regions.into()),
        ("target_bytes", target_bytes),
        ("inside", inside::json(&summary.seen, Some(header))),
        ("patch_bytes", spent.collect::<Map<_, _>>().into()),
        ("restart_points", header.restarts.len().into()),
        ("phases", phases.into()),
    ]);
    fields::object(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_patch_byte_is_accounted_for() {
        let source = vec![7_u8; 100_000];
        let target: Vec<u8> =
            (0..100_000_u32).map(|i| (i.wrapping_mul(i) >> 5).to_le_bytes()[0]).collect();
        let mut spool = Vec::new();
        let made = diff::diff(&source, &target, &Options::default(), &mut spool, &|_| ());
        let patch = made.expect("memory does not fail");
        let sum: u64 = patch_bytes(&patch).iter().map(|(_, len)| len).sum();
        assert_eq!(sum, (patch.header_bytes.len() + spool.len()) as u64);
    }
}
