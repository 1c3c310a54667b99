//! `neap apply`: from source and patch to a verified target.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use neap_engine::io::drive::{self, Applied, Options, Stopped};
use neap_engine::io::error::DriveError;
use neap_engine::io::file::{FileJournal, FileSource, FileTarget, PatchInput};
use serde_json::{Value, json};

use crate::args::Apply;
use crate::exit::Exit;
use crate::failure::{Failure, Objects, of_drive};
use crate::outcome::Outcome;
use crate::progress::Reporter;
use crate::size::{exact, human, percent};

pub(crate) fn run(args: &Apply) -> Result<Outcome, Failure> {
    run_with(args, open_patch(&args.patch)?)
}

/// The same with a patch that comes from elsewhere; `args` names it for people only.
pub(crate) fn run_with(args: &Apply, mut patch: PatchInput) -> Result<Outcome, Failure> {
    let source = FileSource::open(&args.source)
        .map_err(|error| Failure::open("source", &args.source, &error))?;
    check_target(args, &source)?;
    let (mut target, created) = open_target(&args.target)?;
    let opened = FileJournal::open(&args.state, &args.target);
    let mut journal = opened.map_err(|error| no_state(&args.state, &error))?;
    let journal_path = journal.path().to_path_buf();
    let begun_before = journal_path.exists();
    let progress = Reporter::new(args.common.quiet);
    let options = Options {
        no_source_check: args.no_source_check,
        no_read_back: args.no_read_back,
        unpack_memory_max: args.unpack_memory,
        give_back: neap_malloc::give_free_memory_back,
        ..Options::default()
    };
    let event = |event| progress.event(event);
    neap_malloc::keep_little();
    let done = drive::apply(&mut patch, &source, &mut target, &mut journal, options, &event);
    progress.finish();
    match done {
        Ok(applied) => {
            created.keep();
            Ok(Outcome {
                text: text(args, &applied, &progress),
                json: json(args, &applied, &progress),
            })
        }
        Err(stopped) => {
            if stopped.wrote {
                created.keep();
            }
            Err(of_stopped(stopped, args, &journal_path, begun_before))
        }
    }
}

/// Opens a patch, and refuses a file that is not as long as its header says.
pub(crate) fn open_patch(path: &Path) -> Result<PatchInput, Failure> {
    if path == Path::new("-") {
        return Ok(PatchInput::pipe(io::stdin()));
    }
    let failed = |error: io::Error| Failure::open("patch", path, &error);
    let found = fs::metadata(path).map_err(failed)?;
    if found.is_dir() {
        return Err(failed(io::ErrorKind::InvalidInput.into()));
    }
    let mut patch = PatchInput::open(path).map_err(failed)?;
    if !found.is_file() {
        return Ok(patch);
    }
    let damaged = |fact: String| {
        let error = format!("{}: {fact}", path.display());
        Failure::new(Exit::Error, error, "fetch the patch again")
    };
    let size = found.len();
    let objects = Objects { patch: path, source: path, target: path, journal: path };
    let header = drive::read_header(&mut patch).map_err(|error| match error {
        DriveError::PatchEnded(_) => {
            damaged(format!("truncated: {size} bytes end inside the header"))
        }
        error => of_drive(error, objects),
    })?;
    if size < header.patch_size {
        return Err(damaged(format!(
            "truncated: the file has {size} bytes, its header promises {}",
            header.patch_size
        )));
    }
    if size > header.patch_size {
        return Err(damaged(format!(
            "the file has {size} bytes, its header promises {}",
            header.patch_size
        )));
    }
    PatchInput::open(path).map_err(failed)
}

/// Refuses targets that are no image, or that are what the apply reads.
fn check_target(args: &Apply, source: &FileSource) -> Result<(), Failure> {
    let (path, target) = (&args.target, args.target.display());
    let refused = |fact: &str| {
        let next = "name another file or device after --target";
        Failure::new(Exit::Usage, format!("{target}: {fact}"), next)
    };
    let failed = |error: io::Error| Failure::open("target", path, &error);
    if source.is_same(path).map_err(failed)? {
        return Err(refused(
            "source and target are the same or overlap; neap never patches in place",
        ));
    }
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(found) => {
            use std::os::unix::fs::FileTypeExt;
            if !found.is_file() && !found.file_type().is_block_device() {
                return Err(refused("the target is neither a regular file nor a block device"));
            }
        }
    }
    if let Ok(patch) = FileSource::open(&args.patch)
        && patch.is_same(path).map_err(failed)?
    {
        return Err(refused("patch and target are the same"));
    }
    Ok(())
}

/// A target file that this run made, and that goes again unless something was written.
struct Created(Option<PathBuf>);

impl Created {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Created {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // An empty file that stays is no harm, and an error is being reported already.
            drop(fs::remove_file(path));
        }
    }
}

fn open_target(path: &Path) -> Result<(FileTarget, Created), Failure> {
    let missing = !path.exists();
    let target = FileTarget::open(path).map_err(|error| Failure::open("target", path, &error))?;
    Ok((target, Created(missing.then(|| path.to_path_buf()))))
}

fn no_state(state: &Path, error: &io::Error) -> Failure {
    let error = format!("{}: cannot keep the journal there: {error}", state.display());
    let next = "run as root, or name a folder you may write to: --state DIR";
    Failure::new(Exit::Error, error, next)
}

fn of_stopped(stopped: Stopped, args: &Apply, journal: &Path, begun_before: bool) -> Failure {
    let Apply { patch, source, target, .. } = args;
    let Stopped { error, wrote } = stopped;
    let read_back = matches!(error, DriveError::ReadBackDiffers { .. });
    let failure = of_drive(error, Objects { patch, source, target, journal });
    let shown = target.display();
    let state = match (wrote, begun_before) {
        (true, _) if read_back => format!("{shown} was written whole, and is not what was written"),
        (true, _) if journal.exists() => format!(
            "{shown} is not complete; only verified bytes were written, and {} says how many",
            journal.display()
        ),
        (true, _) => format!("{shown} is not complete; only verified bytes were written"),
        (false, true) => format!("{shown} is not complete since an earlier run; none was added"),
        (false, false) => crate::failure::NOTHING_WRITTEN.into(),
    };
    Failure { state, ..failure }
}

/// Each phase's name in the engine and in the output.
const PHASES: [(&str, &str); 4] = [
    ("source check", "source_check_s"),
    ("resume check", "resume_check_s"),
    ("apply", "apply_s"),
    ("read-back", "read_back_s"),
];

fn text(args: &Apply, applied: &Applied, progress: &Reporter) -> String {
    let header = &applied.header;
    let checked = if args.no_read_back {
        "verified before it was written, not read back"
    } else {
        "verified before it was written and read back after"
    };
    let mut text = format!(
        "target   {}: {} ({} bytes), {checked}\ndigest   {}\npatch    {} ({} bytes), {}\n",
        args.target.display(),
        human(header.target_size),
        exact(header.target_size),
        header.target_root,
        human(header.patch_size),
        exact(header.patch_size),
        percent(header.patch_size, header.target_size) + " of the target",
    );
    if applied.windows_resumed > 0 {
        let (done, all) = (applied.windows_resumed, header.target_windows.len());
        text += &format!("resumed  {done} of {all} windows were there from an earlier run\n");
    }
    if let Some(note) = applied.journal_note {
        text += &format!("journal  {note}\n");
    }
    let times = PHASES.iter().map(|(phase, _)| (phase, progress.seconds(phase)));
    let times: Vec<_> = times
        .filter(|(_, seconds)| *seconds > 0.0)
        .map(|(phase, seconds)| format!("{phase} {seconds:.2} s"))
        .collect();
    text + &format!("time     {}\n", times.join(", "))
}

fn json(args: &Apply, applied: &Applied, progress: &Reporter) -> Value {
    let header = &applied.header;
    let mut json = json!({
        "schema": "neap.apply.v1",
        "target": args.target.display().to_string(),
        "target_size": header.target_size,
        "target_root": header.target_root.to_string(),
        "patch_size": header.patch_size,
        "windows": header.target_windows.len(),
        "windows_resumed": applied.windows_resumed,
        "journal_note": applied.journal_note,
        "source_checked": !args.no_source_check,
        "read_back": !args.no_read_back,
    });
    for (phase, key) in PHASES {
        json[key] = progress.seconds(phase).into();
    }
    json
}
