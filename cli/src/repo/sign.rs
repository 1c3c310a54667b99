//! The verbs by which a staged change becomes what devices see: sign, merge, publish.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::path::Path;

use jiff::Timestamp;
use neap_depot::depot::BUCKET;
use neap_depot::name::Name;
use neap_depot::store;
use neap_trust::key::Signer;
use neap_trust::limits::{REQUEST_LEN_MAX, ROOT_LEN_MAX, SIGNATURE_FILE_LEN_MAX};
use neap_trust::repo::changes::{Change, plain};
use neap_trust::repo::document::Envelope;
use neap_trust::repo::publish::OnlineExpiry;
use neap_trust::repo::request::Request;
use neap_trust::repo::signature::SignatureFile;
use neap_trust::repo::{RepoError, Step};
use serde_json::json;

use super::place::{self, of_repo};
use super::{Merge, Publish, Sign, status};
use crate::exit::Exit;
use crate::failure::{Failure, io_exit};
use crate::keyring;
use crate::outcome::Outcome;

/// Longest answer to a question, in bytes.
const ANSWER_LEN_MAX: u64 = 64;

pub(super) fn sign(args: &Sign) -> Result<Outcome, Failure> {
    let shown = &args.request;
    let failed = |error| of_repo(shown, error);
    let bytes = match shown.starts_with(BUCKET) {
        true => of_bucket(shown)?,
        false => file(Path::new(shown), REQUEST_LEN_MAX)?,
    };
    let request = Request::parse(shown, &bytes).map_err(failed)?;
    let trusted = match &args.trusted_root {
        Some(path) => {
            let name = path.display().to_string();
            let root = file(path, ROOT_LEN_MAX)?;
            Some(Envelope::parse(&name, &root).map_err(|error| of_repo(&name, error))?)
        }
        None => None,
    };
    let changes = request.judge(trusted.as_ref(), Timestamp::now()).map_err(failed)?;
    if !(args.yes && args.common.quiet) {
        let text = shown_changes(&request, &changes, trusted.is_some());
        io::stderr().write_all(text.as_bytes()).map_err(|e| of_io("standard error", &e))?;
    }
    if !args.yes {
        agreed(&args.key)?;
    }
    let signer = keyring::signer(&args.key, &args.secrets)?;
    let id = signer.public().id();
    let authorities = request.authorities().map_err(failed)?;
    if !authorities.iter().any(|authority| authority.role.has(&id)) {
        return Err(failed(RepoError::WrongRole(id.to_string(), request.role.clone())));
    }
    let staged = request.staged();
    let made = SignatureFile::make(&request.role, staged, &*signer).map_err(failed)?;
    write_new(&args.output, &made.bytes())?;
    let output = args.output.display().to_string();
    let (role, version, digest) = (plain(&made.role), made.version, &made.digest);
    let text = format!(
        "signed  role {role} version {version}\nbytes   SHA-256 {digest}\nkey     {id}\nwrote   \
         {output}\nNext, at the depot: neap repo merge DEPOT {output}\n"
    );
    let changes: Vec<_> =
        changes.iter().map(|c| json!({"text": c.text, "warning": c.is_warning})).collect();
    let json = json!({
        "schema": "neap.signed.v1",
        "role": made.role,
        "version": version,
        "sha256": digest,
        "key": id.as_str(),
        "signature": output,
        "changes": changes,
    });
    Ok(Outcome { text, json })
}

pub(super) fn merge(args: &Merge) -> Result<Outcome, Failure> {
    let len_max = u64::try_from(SIGNATURE_FILE_LEN_MAX).expect("4 KiB fit 64 bits");
    let mut signatures = Vec::new();
    for path in &args.signatures {
        let shown = path.display().to_string();
        let bytes = file(path, len_max)?;
        let read = SignatureFile::parse(&shown, &bytes);
        signatures.push((shown.clone(), read.map_err(|error| of_repo(&shown, error))?));
    }
    let depot = crate::depot::open(&args.depot)?;
    let mut writer = crate::depot::writer(&depot, &args.depot, "repo merge")?;
    let mut repo = place::load(&depot, &args.depot)?;
    // All are checked before any is written.
    for (shown, signature) in &signatures {
        let merged = repo.merge(std::slice::from_ref(signature));
        merged.map_err(|error| of_repo(shown, error))?;
    }
    place::save(&mut writer, &repo, &args.depot)?;
    let (text, staged) = status::of_staged(&repo).map_err(|error| of_repo(&args.depot, error))?;
    Ok(Outcome { text, json: json!({"schema": "neap.merged.v1", "staged": staged}) })
}

pub(super) fn publish(args: &Publish) -> Result<Outcome, Failure> {
    let depot = crate::depot::open(&args.depot)?;
    // Secrets are asked for before others are kept waiting.
    let signers = args.key.iter().map(|key| keyring::signer(key, &args.secrets));
    let signers = signers.collect::<Result<Vec<_>, _>>()?;
    let signers: Vec<&dyn Signer> = signers.iter().map(|signer| &**signer).collect();
    let mut writer = crate::depot::writer(&depot, &args.depot, "repo publish")?;
    let repo = place::load(&depot, &args.depot)?;
    let now = Timestamp::now();
    let expiry = OnlineExpiry {
        snapshot: args.snapshot_expires.map(|until| until.at(now)),
        timestamp: args.timestamp_expires.map(|until| until.at(now)),
    };
    let done = match args.timestamp_only {
        true => repo.refresh(&signers, now, expiry),
        false => repo.publish(&signers, now, expiry),
    };
    let done = match done {
        // A publication that was cut short may have left its staged files.
        Err(RepoError::NothingToDo(text)) => {
            place::save(&mut writer, &repo, &args.depot)?;
            return Err(of_repo(&args.depot, RepoError::NothingToDo(text)));
        }
        done => done.map_err(|error| of_repo(&args.depot, error))?,
    };
    place::take(&mut writer, &done.steps, &args.depot)?;
    let mut text = String::new();
    for (role, version) in &done.published {
        text += &format!("published  {role} version {version}\n");
    }
    for warning in &done.warnings {
        text += &format!("WARNING: {warning}\n");
    }
    let written = done.steps.iter().filter(|step| matches!(step, Step::Write(..))).count();
    let roles: Vec<_> =
        done.published.iter().map(|(r, version)| json!({"role": r, "version": version})).collect();
    let json = json!({
        "schema": "neap.published.v1",
        "published": roles,
        "files": written,
        "warnings": done.warnings,
    });
    Ok(Outcome { text, json })
}

/// What a person reads before signing.
fn shown_changes(request: &Request, changes: &[Change], is_trusted: bool) -> String {
    let staged = request.staged();
    let mut text = format!(
        "role {}, version {} (after {})\n",
        plain(&request.role),
        staged.version(),
        request.base().map_or("nothing".to_owned(), |base| base.version().to_string()),
    );
    for change in changes {
        let mark = if change.is_warning { "  WARNING: " } else { "  " };
        text += &format!("{mark}{}\n", change.text);
    }
    text += &format!("bytes: SHA-256 {}\n", staged.digest());
    match (request.root(), is_trusted) {
        (None, _) => text += "This repository is not published yet.\n",
        (Some(root), true) => {
            text += &format!("root {}: follows on the root that you trust\n", root.version());
        }
        (Some(root), false) => {
            text += &format!(
                "root {}: SHA-256 {}\nCompare it with the root that you have, or give \
                 --trusted-root.\n",
                root.version(),
                root.digest()
            );
        }
    }
    text
}

/// Asks whether to sign. Without a terminal there is no one to ask.
fn agreed(key: &str) -> Result<(), Failure> {
    let missing = |text: &str| {
        let next = "read the changes above; then run it on a terminal, or add --yes";
        Failure::new(Exit::ApprovalMissing, format!("{key}: {text}"), next)
    };
    let terminal = File::options().read(true).write(true).open("/dev/tty");
    let Ok(terminal) = terminal else { return Err(missing("there is no terminal to ask on")) };
    if !terminal.is_terminal() {
        return Err(missing("there is no terminal to ask on"));
    }
    let failed = |error: io::Error| of_io("/dev/tty", &error);
    let question = format!("Sign this with {key}? Type yes: ");
    (&terminal).write_all(question.as_bytes()).map_err(failed)?;
    let mut answer = String::new();
    BufReader::new(terminal.take(ANSWER_LEN_MAX)).read_line(&mut answer).map_err(failed)?;
    match answer.trim() {
        "yes" => Ok(()),
        _ => Err(missing("not signed: the answer was not yes")),
    }
}

/// A whole file that must be there.
fn file(path: &Path, len_max: u64) -> Result<Vec<u8>, Failure> {
    let shown = path.display().to_string();
    let mut bytes = Vec::new();
    let read = File::open(path)
        .and_then(|file| file.take(len_max.saturating_add(1)).read_to_end(&mut bytes));
    read.map_err(|error| of_io(&shown, &error))?;
    match u64::try_from(bytes.len()).is_ok_and(|len| len <= len_max) {
        true => Ok(bytes),
        false => {
            let text = format!("{shown}: longer than {len_max} bytes");
            Err(Failure::new(Exit::Error, text, format!("check {shown}")))
        }
    }
}

/// A staged file that lies in a bucket.
fn of_bucket(address: &str) -> Result<Vec<u8>, Failure> {
    let parts = address.rsplit_once("/staged/");
    let Some((place, name)) = parts.and_then(|(place, f)| Some((place, Name::staged(f)?))) else {
        let text = format!("{address}: no staged file");
        return Err(Failure::new(Exit::Usage, text, "name s3://BUCKET/PREFIX/staged/ROLE.json"));
    };
    let depot = crate::depot::open(place)?;
    let found = store::read(depot.store(), &name, REQUEST_LEN_MAX);
    let found = found.map_err(|error| of_io(address, &error))?;
    found.ok_or_else(|| of_io(address, &io::ErrorKind::NotFound.into()))
}

/// Writes a signature, in place of no other file.
fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let written = File::create_new(path).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(|error| of_io(&path.display().to_string(), &error))
}

fn of_io(object: &str, error: &io::Error) -> Failure {
    Failure::new(io_exit(error), format!("{object}: {error}"), format!("check {object}"))
}
